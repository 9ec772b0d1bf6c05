//! One dot plot per series: a strip for each case, a lane for each subject, a dot for each round, a
//! bar at the median.
//!
//! Subjects differ by the shape and the colour of their dots, and either alone is enough. All
//! lengths are in units of the SVG's view box, about one pixel on a phone.

mod axis;
mod course;
mod ink;
mod layout;
mod order;
mod roofline;
mod room;
mod service;
mod trace;
mod trade_off;

use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Text};
use windtunnel_ledger::series::Series;

use self::axis::Axis;
pub(crate) use self::course::{courses, spark};
use self::ink::Ink;
pub(crate) use self::ink::SHAPES;
use self::layout::{Layout, Strip};
pub(crate) use self::order::ruled;
pub(crate) use self::roofline::{RooflinePlot, rooflines};
pub(crate) use self::service::{ServicePlot, services};
pub(crate) use self::trace::{TracePlot, traces};
pub(crate) use self::trade_off::{TradeOffPlot, trade_offs};
use crate::Error;
use crate::view::View;

/// The plot of one series.
pub(crate) struct Plot {
    /// Which series.
    pub(crate) series: Series,
    /// The drawing, an `svg` element with a text alternative.
    pub(crate) svg: String,
}

/// Every drawing of a page.
pub(crate) struct Drawn {
    /// One per series.
    pub(crate) plots: Vec<Plot>,
    /// Of weight formats.
    pub(crate) trade_offs: Vec<TradeOffPlot>,
    /// Of all cases under the roof of their device.
    pub(crate) rooflines: Vec<RooflinePlot>,
    /// Of services.
    pub(crate) services: Vec<ServicePlot>,
    /// Of watched rounds.
    pub(crate) traces: Vec<TracePlot>,
    /// Of the series that a gate judged, worst first.
    pub(crate) ruled: Vec<String>,
    /// Of series over commits, in the order in which a reader must see them.
    pub(crate) courses: Vec<String>,
}

/// Width of every plot.
pub(crate) const WIDTH: u32 = 460;
/// Where names begin, and the margin at which medians end.
const TEXT: i32 = 2;
/// Where dots may begin and end. There is room on the left for half of a tick's label, and on the
/// right for medians.
const LEFT: i32 = 26;
const RIGHT: i32 = WIDTH as i32 - 88;
/// The most ticks whose labels fit side by side.
const TICKS: usize = 5;
/// Half the size of a dot.
const DOT: i32 = 4;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Outcome = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// One plot for each series that occurs, in the order of [`Series::all`].
pub(crate) fn plots(view: &View<'_>) -> Result<Vec<Plot>, Error> {
    if view.is_long() {
        return Ok(Vec::new());
    }
    let occurs = |series: &Series| view.scenarios.iter().any(|s| s.series.contains(series));
    Series::all().filter(occurs).map(|series| plot(view, series)).collect()
}

fn plot(view: &View<'_>, series: Series) -> Result<Plot, Error> {
    let layout = Layout::of(view, series);
    let values = layout.lanes().flat_map(|lane| lane.location.rounds.iter().copied());
    let axis = Axis::over(series.metric.spec().unit, values, TICKS);
    let mut svg = String::new();
    draw(&mut svg, &layout, axis)
        .map_err(|source| Error::Plot { series, source: Box::new(source) })?;
    Ok(Plot { series, svg: ink::themed(&svg, &alt(&layout)) })
}

/// The text alternative of the plot; the numbers are in the table.
fn alt(layout: &Layout) -> String {
    let Series { metric, .. } = layout.series;
    let medians: Vec<f64> = layout.lanes().map(|lane| lane.location.median).collect();
    let low = medians.iter().copied().fold(f64::INFINITY, f64::min);
    let high = medians.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let cases = match layout.strips.len() {
        1 => "one case".to_owned(),
        n => format!("{n} cases"),
    };
    match low < high {
        true => format!(
            "{} of {cases}: medians from {} to {}.",
            layout.series.label(),
            metric.show(low),
            metric.show(high)
        ),
        false => format!("{} of {cases}: {}.", layout.series.label(), metric.show(high)),
    }
}

fn draw(svg: &mut String, layout: &Layout, axis: Axis) -> Outcome {
    let height = layout.height();
    let area = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    let margin = layout::AXIS as u32;
    let mut chart = ChartBuilder::on(&area)
        .margin_left(LEFT)
        .margin_right(WIDTH as i32 - RIGHT)
        .x_label_area_size(margin)
        .top_x_label_area_size(margin)
        .build_cartesian_2d(axis.clone(), 0.0..1.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(TICKS)
        .bold_line_style(Ink::Grid.colour())
        .axis_style(Ink::Grid.colour())
        .label_style(ink::text(11.0, Ink::Muted))
        .draw()?;

    let at = |value: f64| chart.backend_coord(&(value, 0.0)).0;
    for (heading, top) in &layout.headings {
        area.draw(&Text::new(heading.clone(), (TEXT, *top), ink::bold(12.0)))?;
    }
    for strip in &layout.strips {
        draw_strip(&area, strip, layout, &at)?;
    }
    area.present()
}

fn draw_strip(area: &Area<'_>, strip: &Strip, layout: &Layout, at: &dyn Fn(f64) -> i32) -> Outcome {
    for (line, top) in strip.label.iter().zip((strip.top..).step_by(layout::LINE as usize)) {
        area.draw(&Text::new(line.clone(), (TEXT, top), ink::text(12.0, Ink::Text)))?;
    }
    for lane in &strip.lanes {
        let ink = Ink::subject(lane.subject);
        let y = lane.middle;
        area.draw(&PathElement::new([(LEFT, y), (RIGHT, y)], Ink::Grid.colour()))?;
        for round in &lane.location.rounds {
            draw_dot(area, lane.subject, (at(*round), y))?;
        }
        let median = at(lane.location.median);
        let bar = [(median, y - DOT - 3), (median, y + DOT + 3)];
        area.draw(&PathElement::new(bar, ink.stroke(2)))?;
        let value = layout.series.metric.show(lane.location.median);
        let right = (WIDTH as i32 - TEXT, y - 1);
        area.draw(&Text::new(value, right, ink::value(12.0, ink)))?;
    }
    Ok(())
}

/// Dots are open, so that several in one place can be told apart.
fn draw_dot(area: &Area<'_>, subject: usize, (x, y): (i32, i32)) -> Outcome {
    let style = Ink::subject(subject).stroke(1);
    let closed = |corners: &[(i32, i32)]| {
        let points = corners.iter().chain(corners.first()).map(|(dx, dy)| (x + dx, y + dy));
        area.draw(&PathElement::new(points.collect::<Vec<_>>(), style))
    };
    match subject % ink::SHAPES.len() {
        0 => area.draw(&Circle::new((x, y), DOT, style)),
        1 => {
            let corners = [(0, -DOT - 1), (DOT + 1, 0), (0, DOT + 1), (-DOT - 1, 0)];
            let points = corners.map(|(dx, dy)| (x + dx, y + dy));
            area.draw(&Polygon::new(points, Ink::subject(subject).faint()))?;
            closed(&corners)
        }
        2 => closed(&[(0, -DOT), (DOT, DOT), (-DOT, DOT)]),
        _ => closed(&[(-DOT, -DOT), (DOT, -DOT), (DOT, DOT), (-DOT, DOT)]),
    }
}
