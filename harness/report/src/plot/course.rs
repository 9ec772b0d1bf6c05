//! One series over the measured commits: a dot for each build, a line for each level, a mark where
//! one level changes into the next.
//!
//! ```text
//!  ticks │      ·  ·         ╎▲ ·  ·
//!        │                   ╎ ━━━━━━━━
//!        │ ━━━━━━━━━━━━━━━━━━╎·    ·
//!        │  ·    ·      ·    ╎
//!          first commit           newest
//! ```

use maud::{Markup, html};
use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::drawing::IntoDrawingArea;
use plotters::element::{Circle, PathElement, Text};
use windtunnel_ledger::course::EventKind;
use windtunnel_ledger::stats;

use super::axis::Axis;
use super::ink::{self, Ink};
use super::{Outcome, TICKS, WIDTH};
use crate::Error;
use crate::history::{Along, History, Track};

const HEIGHT: u32 = 180;
const TOP: i32 = 18;
const LEFT: u32 = 70;
const RIGHT: i32 = 10;
const BOTTOM: i32 = 22;
/// The most columns of dots: with more points, several share a column, which shows their range.
const COLUMNS: usize = 190;
/// The steps of a sparkline beside a name, and its size.
const STEPS: usize = 60;
const SPARK: (f64, f64) = (120.0, 22.0);

/// The plots of the series that a reader must see first, in that order; at most `most`.
pub(crate) fn courses(history: &History, most: usize) -> Result<Vec<String>, Error> {
    let ranked = history.ranked();
    ranked.iter().take(most).map(|track| course(history, track)).collect()
}

fn course(history: &History, track: &Track) -> Result<String, Error> {
    let mut svg = String::new();
    draw(&mut svg, history, track)
        .map_err(|source| Error::Plot { series: track.series, source: Box::new(source) })?;
    Ok(ink::themed(&svg, &alt(track)))
}

/// The text alternative of the plot; the events are described beside it.
fn alt(track: &Track) -> String {
    let metric = track.series.metric;
    let first = track.points.first().map(|point| metric.show(point.median()));
    format!(
        "{} over {} builds, from {} to {}, with {} marked.",
        track.series.label(),
        track.points.len(),
        first.unwrap_or_default(),
        metric.show(track.now()),
        match track.course.events.len() {
            1 => "1 event".to_owned(),
            n => format!("{n} events"),
        }
    )
}

/// The points that share a column: their middle position, and their least, median and largest
/// value.
fn columns(values: &[f64], most: usize) -> Vec<(f64, [f64; 3])> {
    let width = values.len().div_ceil(most).max(1);
    let column = |(place, values): (usize, &[f64])| {
        let start = (place * width) as f64;
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let median = stats::median(values)?;
        Some((start + (values.len() as f64 - 1.0) / 2.0, [least, median, most]))
    };
    values.chunks(width).enumerate().filter_map(column).collect()
}

fn draw(svg: &mut String, history: &History, track: &Track) -> Outcome {
    let values: Vec<f64> = track.points.iter().map(|point| point.median()).collect();
    let axis = Axis::over(track.series.metric.spec().unit, values.iter().copied(), TICKS);
    let area = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let last = values.len() as f64 - 0.5;
    let mut chart = ChartBuilder::on(&area)
        .margin_top(TOP)
        .margin_bottom(BOTTOM)
        .margin_right(RIGHT)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(-0.5..last, axis)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .y_labels(TICKS)
        .bold_line_style(Ink::Grid.colour())
        .axis_style(Ink::Grid.colour())
        .label_style(ink::text(11.0, Ink::Muted))
        .draw()?;
    let at = |place: f64, value: f64| chart.backend_coord(&(place, value));

    let columns = columns(&values, COLUMNS);
    let dot = if columns.len() > 80 { 1 } else { 2 };
    for (place, [least, median, most]) in columns {
        if least < most {
            let range = [at(place, least), at(place, most)];
            area.draw(&PathElement::new(range, Ink::Subject(0).faint()))?;
        }
        area.draw(&Circle::new(at(place, median), dot, Ink::Subject(0).stroke(1)))?;
    }
    for level in &track.course.levels {
        let (start, end) = (level.sessions.start as f64, level.sessions.end as f64 - 1.0);
        let line = [at(start - 0.4, level.from), at(end + 0.4, level.to)];
        area.draw(&PathElement::new(line, Ink::Text.stroke(2)))?;
    }
    for event in &track.course.events {
        let ink = if event.effect > 0.0 { Ink::Worse } else { Ink::Better };
        let place = match event.kind {
            EventKind::Drift => (event.between.start + event.between.end) as f64 / 2.0,
            EventKind::Change | EventKind::Unconfirmed => event.at as f64 - 0.5,
        };
        let (x, _) = at(place, event.before);
        if event.kind != EventKind::Drift {
            let mark = [(x, TOP - 2), (x, HEIGHT as i32 - BOTTOM)];
            area.draw(&PathElement::new(mark, ink.stroke(1)))?;
        }
        let sign = ink::centred(11.0, ink);
        area.draw(&Text::new(crate::page::event_sign(event), (x, TOP - 10), sign))?;
    }
    let below = HEIGHT as i32 - BOTTOM + 6;
    let names = [track.points.first(), track.points.last()]
        .map(|point| point.and_then(|point| history.builds.get(point.build)));
    if let [Some(first), Some(newest)] = names {
        let first = shown(&first.name(history.along));
        let along = match history.along {
            Along::Own => "commits →",
            Along::Upstream => "upstream commits →",
        };
        let left = (LEFT as i32, below);
        area.draw(&Text::new(format!("{first}   {along}"), left, ink::text(11.0, Ink::Muted)))?;
        let right = (WIDTH as i32 - RIGHT, below + 6);
        let newest = shown(&newest.name(history.along));
        area.draw(&Text::new(newest, right, ink::value(11.0, Ink::Muted)))?;
    }
    area.present()
}

/// XML allows no control characters, and a line has no room for a long name.
fn shown(text: &str) -> String {
    let text =
        text.replace(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'), "\u{fffd}");
    text.chars().take(24).collect()
}

/// The course of a series as a sparkline without ticks. Noise looks as small as it is.
pub(crate) fn spark(track: &Track) -> Markup {
    let values: Vec<f64> = track.points.iter().map(|point| point.median()).collect();
    let steps = columns(&values, STEPS);
    let medians = || steps.iter().map(|(_, [_, median, _])| *median).filter(|m| m.is_finite());
    let (low, high) =
        (medians().fold(f64::INFINITY, f64::min), medians().fold(f64::NEG_INFINITY, f64::max));
    let (width, height) = SPARK;
    let middle = f64::midpoint(low, high);
    let half = ((high - low) / 2.0).max(0.05 * middle.abs()).max(f64::MIN_POSITIVE);
    let last = (values.len().max(2) - 1) as f64;
    let point = |(place, value): (f64, f64)| {
        let x = 2.0 + place / last * (width - 4.0);
        let y = height / 2.0 - (value - middle) / half * (height / 2.0 - 3.0);
        format!("{x:.1},{y:.1}")
    };
    let line: Vec<String> = steps
        .iter()
        .filter(|(_, [_, median, _])| median.is_finite())
        .map(|(place, [_, median, _])| point((*place, *median)))
        .collect();
    let end = line.last().and_then(|end| end.split_once(','));
    html! {
        svg.spark xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (width) " " (height) } aria-hidden="true" {
            @if line.len() > 1 { polyline points=(line.join(" ")) {} }
            @if let Some((x, y)) = end { circle cx=(x) cy=(y) r="2" {} }
        }
    }
}
