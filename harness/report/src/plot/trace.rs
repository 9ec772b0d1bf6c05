//! What a watcher saw of a round: a panel for each gauge, one below the other, over the same time
//! axis.
//!
//! Every panel begins at zero and names its highest value. Phases are lines through all panels,
//! with their names on top; prefill is tinted. Where a GPU's clocks were held down, the baseline of
//! its panels is thick.

use plotters::backend::SVGBackend;
use plotters::drawing::IntoDrawingArea;
use plotters::element::{PathElement, Rectangle, Text};
use windtunnel_ledger::case::CaseId;
use windtunnel_ledger::trace::{Gauge, Phase, Trace, Track};

use super::ink::{self, Ink};
use super::{Area, Outcome, WIDTH};
use crate::Error;
use crate::view::View;

/// The plot of one round.
pub(crate) struct TracePlot {
    /// Which case.
    pub(crate) case: CaseId,
    /// Which subject.
    pub(crate) subject: usize,
    /// The drawing, an `svg` element with a text alternative.
    pub(crate) svg: String,
}

/// Height of the phase names.
const TOP: i32 = 18;
/// Height of a panel's name.
const NAME: i32 = 16;
/// Height of a panel's curve.
const CURVE: i32 = 52;
const GAP: i32 = 8;
/// Height of the ticks.
const BOTTOM: i32 = 20;
const LEFT: i32 = 2;
const RIGHT: i32 = WIDTH as i32 - 2;
/// Room for the name of a phase.
const PHASE: i32 = 62;
/// CPU time is counted in ticks of 10 ms, so shares are taken over at least ten ticks.
const SHARE_MS: i64 = 100;

/// One panel: times in milliseconds, with values.
struct Panel {
    name: String,
    points: Vec<(i64, f64)>,
    /// When clocks were held down, in milliseconds.
    throttled: Vec<i64>,
}

/// The plot of each case and subject with a watched round, in the order of the page; none if there
/// are more than a reader would look at.
pub(crate) fn traces(view: &View<'_>) -> Result<Vec<TracePlot>, Error> {
    if view.is_long() {
        return Ok(Vec::new());
    }
    let rounds = view.cases().flat_map(|case| {
        case.results.iter().filter_map(move |result| Some((case, result.subject, result.watched?)))
    });
    let mut plots = Vec::new();
    for (case, subject, record) in rounds {
        let Some(trace) = &record.trace else { continue };
        let panels = panels(trace);
        if panels.is_empty() {
            continue;
        }
        let case = case.case.id.clone();
        let mut svg = String::new();
        draw(&mut svg, trace, &panels)
            .map_err(|source| Error::Trace { case: case.clone(), source: Box::new(source) })?;
        plots.push(TracePlot { case, subject, svg: ink::themed(&svg, &alt(&panels)) });
    }
    Ok(plots)
}

/// The text alternative of the plot.
fn alt(panels: &[Panel]) -> String {
    let names: Vec<&str> = panels.iter().map(|panel| panel.name.as_str()).collect();
    format!("A round over time. {}.", names.join(". "))
}

fn panels(trace: &Trace) -> Vec<Panel> {
    let mut panels = Vec::new();
    if let Some(track) = trace.process() {
        panels.extend(panel(track, Gauge::Rss, Vec::new()));
        panels.extend(processors(track));
    }
    for track in trace.gpus() {
        let held = track.points(Gauge::Throttle).filter(|(_, bits)| bits & !IDLE != 0);
        let held: Vec<i64> = held.map(|(at, _)| at).collect();
        for gauge in [Gauge::DeviceUsed, Gauge::SmClock, Gauge::Power] {
            panels.extend(panel(track, gauge, held.clone()));
        }
    }
    panels
}

/// NVML's throttle bit for an idle GPU, which is no cause for concern.
const IDLE: i64 = 1;

fn panel(track: &Track, gauge: Gauge, throttled: Vec<i64>) -> Option<Panel> {
    let highest = gauge.show(track.highest(gauge)?);
    let points = track.points(gauge).map(|(at, value)| (at, value as f64)).collect();
    Some(Panel { name: format!("{} up to {highest}", gauge.label()), points, throttled })
}

/// The number of processors that the process keeps busy.
fn processors(track: &Track) -> Option<Panel> {
    let times: Vec<(i64, i64)> = track.points(Gauge::CpuTime).collect();
    let share = |(i, (at, time)): (usize, &(i64, i64))| {
        let before =
            times[..i].iter().rev().find(|(then, _)| at.saturating_sub(*then) >= SHARE_MS)?;
        Some((*at, time.saturating_sub(before.1) as f64 / at.saturating_sub(before.0) as f64))
    };
    let points: Vec<(i64, f64)> = times.iter().enumerate().filter_map(share).collect();
    let highest = points.iter().map(|(_, share)| *share).reduce(f64::max)?;
    Some(Panel { name: format!("CPU up to {highest:.1} cores"), points, throttled: Vec::new() })
}

fn draw(svg: &mut String, trace: &Trace, panels: &[Panel]) -> Outcome {
    let step = NAME + CURVE + GAP;
    let bottom = TOP + step * panels.len() as i32;
    let area =
        SVGBackend::with_string(svg, (WIDTH, (bottom + BOTTOM).unsigned_abs())).into_drawing_area();
    let moments = panels.iter().flat_map(|panel| panel.points.last());
    let end = moments.map(|(at, _)| *at).max().unwrap_or(0).max(1);
    let x = |ms: i64| {
        LEFT + ((RIGHT - LEFT) as f64 * (ms as f64 / end as f64).clamp(0.0, 1.0)).round() as i32
    };

    draw_phases(&area, trace, &x, bottom)?;
    for (panel, top) in panels.iter().zip((TOP..).step_by(step as usize)) {
        area.draw(&Text::new(panel.name.clone(), (LEFT, top), ink::text(11.0, Ink::Text)))?;
        let ground = top + NAME + CURVE;
        let highest =
            panel.points.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        let y = |value: f64| {
            ground - (f64::from(CURVE) * (value / highest).clamp(-1.0, 1.0)).round() as i32
        };
        area.draw(&PathElement::new([(LEFT, ground), (RIGHT, ground)], Ink::Grid.colour()))?;
        let curve: Vec<(i32, i32)> = panel.points.iter().map(|(at, v)| (x(*at), y(*v))).collect();
        area.draw(&PathElement::new(curve, Ink::subject(0).stroke(1)))?;
        for at in &panel.throttled {
            let mark = [(x(*at) - 1, ground), (x(*at) + 2, ground)];
            area.draw(&PathElement::new(mark, Ink::subject(1).stroke(4)))?;
        }
    }
    for (at, place) in [(0, ink::text(11.0, Ink::Muted)), (end, ink::value(11.0, Ink::Muted))] {
        let text = format!("{:.1} s", at as f64 / 1000.0);
        let top = if at == 0 { bottom + 2 } else { bottom + 8 };
        area.draw(&Text::new(text, (x(at), top), place))?;
    }
    area.present()
}

fn draw_phases(area: &Area<'_>, trace: &Trace, x: &dyn Fn(i64) -> i32, bottom: i32) -> Outcome {
    let ms = |mark: usize| trace.marks.get(mark).map(|mark| (mark.at.0 / 1_000_000) as i64);
    let mut free = 0;
    for (i, mark) in trace.marks.iter().enumerate() {
        let (from, to) = (x(ms(i).unwrap_or(0)), x(ms(i + 1).unwrap_or(i64::MAX)));
        match mark.phase {
            Phase::Prefill => {
                let tint =
                    Rectangle::new([(from, TOP), (to, bottom)], Ink::subject(0).faint_fill());
                area.draw(&tint)?;
            }
            Phase::Decode => (),
            Phase::Load | Phase::WarmUp(_) | Phase::Iteration(_) | Phase::Done => {
                let line = [(from, TOP), (from, bottom)];
                area.draw(&PathElement::new(line, Ink::Grid.colour()))?;
                if from >= free && from + PHASE <= RIGHT {
                    let name = ink::text(11.0, Ink::Muted);
                    area.draw(&Text::new(mark.phase.to_string(), (from, 2), name))?;
                    free = from + PHASE;
                }
            }
        }
    }
    Ok(())
}
