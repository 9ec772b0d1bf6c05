//! The rounds of one series in the order of measuring, both sides over one axis.
//!
//! ```text
//!  ticks │ ○ ◇ ◇ ○ ○ ◇ …         │ ○│  the same rounds once more,
//!        │                       │  ◇  without their order
//! ```
//!
//! On the left, drift of the machine shows as a slope shared by both sides; on the right, how far
//! apart the sides are.

use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::drawing::IntoDrawingArea;
use plotters::element::{PathElement, Text};
use windtunnel_ledger::series::Series;
use windtunnel_ledger::stats;

use super::axis::Axis;
use super::ink::{self, Ink};
use super::{Outcome, TICKS, WIDTH, draw_dot};
use crate::Error;
use crate::view::{DETAILED, View};

/// One round: the index of its subject, and its value.
type Measured = (usize, f64);

const HEIGHT: u32 = 190;
const TOP: i32 = 10;
/// Room for tick labels.
const LEFT: u32 = 70;
const BOTTOM: u32 = 20;
/// Room for the rounds without order.
const ASIDE: i32 = 78;
/// The distance between subjects there.
const LANE: i32 = 22;

/// The drawing of each series that a gate judged, worst first, as far as their evidence is on the
/// page; an empty text for a series without rounds.
pub(crate) fn ruled(view: &View<'_>) -> Result<Vec<String>, Error> {
    let ruled = view.ruled();
    let worst = ruled.iter().take(DETAILED);
    worst.map(|ruled| in_order(ruled.row.series, &ruled.values())).collect()
}

/// The drawing of `rounds`, which are in order of time.
fn in_order(series: Series, rounds: &[Measured]) -> Result<String, Error> {
    let mut svg = String::new();
    if rounds.is_empty() {
        return Ok(svg);
    }
    draw(&mut svg, series, rounds)
        .map_err(|source| Error::Plot { series, source: Box::new(source) })?;
    Ok(ink::themed(&svg, &alt(series, rounds)))
}

/// The text alternative of the plot.
fn alt(series: Series, rounds: &[Measured]) -> String {
    let all = |pick: fn(f64, f64) -> f64| rounds.iter().map(|(_, value)| *value).reduce(pick);
    let show = |value: Option<f64>| value.map_or_else(String::new, |v| series.metric.show(v));
    format!(
        "{} of {} rounds in the order of time, between {} and {}.",
        series.label(),
        rounds.len(),
        show(all(f64::min)),
        show(all(f64::max))
    )
}

fn draw(svg: &mut String, series: Series, rounds: &[Measured]) -> Outcome {
    let axis = Axis::over(series.metric.spec().unit, rounds.iter().map(|(_, value)| *value), TICKS);
    let area = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let last = rounds.len() as f64 - 0.5;
    let mut chart = ChartBuilder::on(&area)
        .margin_top(TOP)
        .margin_bottom(BOTTOM as i32)
        .margin_right(ASIDE)
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
    let aside = |subject: usize| WIDTH as i32 - ASIDE + LANE / 2 + 4 + LANE * subject as i32;
    for (place, (subject, value)) in rounds.iter().enumerate() {
        let (x, y) = at(place as f64, *value);
        draw_dot(&area, *subject, (x, y))?;
        draw_dot(&area, *subject, (aside(*subject), y))?;
    }
    for subject in 0..ink::SHAPES.len() {
        let of: Vec<f64> = rounds.iter().filter(|(s, _)| *s == subject).map(|(_, v)| *v).collect();
        let Some(median) = stats::median(&of) else { continue };
        let (_, y) = at(0.0, median);
        let x = aside(subject);
        let bar = [(x - LANE / 2 + 1, y), (x + LANE / 2 - 1, y)];
        area.draw(&PathElement::new(bar, Ink::subject(subject).stroke(2)))?;
    }
    let below = (HEIGHT - BOTTOM) as i32 + 4;
    let words = ink::text(11.0, Ink::Muted);
    area.draw(&Text::new("in the order of time →", (LEFT as i32, below), words))?;
    let right = (WIDTH as i32 - 2, below + 6);
    area.draw(&Text::new("all rounds", right, ink::value(11.0, Ink::Muted)))?;
    area.present()
}
