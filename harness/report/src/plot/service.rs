//! Latency over throughput: a line for each service, through its loads.
//!
//! The throughput of a service grows with its load up to a point, and beyond that point its latency
//! grows. The plot shows where this bend is.

use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::drawing::IntoDrawingArea;
use plotters::element::{PathElement, Text};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::series::{Quantile, Series};

use super::axis::Axis;
use super::ink::{self, Ink};
use super::{Outcome, TICKS, WIDTH, draw_dot};
use crate::Error;
use crate::view::{Curve, Scenario, View};

/// The latency of the services of one scenario over their throughput.
pub(crate) struct ServicePlot {
    /// The scenario, such as `gate/serve`.
    pub(crate) scenario: String,
    /// The latency.
    pub(crate) y: Series,
    /// The curves; the index of each is that of its mark.
    pub(crate) curves: Vec<Curve>,
    /// The drawing, an `svg` element with a text alternative.
    pub(crate) svg: String,
}

/// The series on the horizontal axis.
pub(crate) const THROUGHPUT: Series = Series::median(Metric::SystemRate);
/// The latencies shown.
const LATENCIES: [Metric; 2] = [Metric::TimeToFirstToken, Metric::InterToken];

const HEIGHT: u32 = 300;
const TOP: i32 = 18;
const RIGHT: i32 = 34;
/// Room for tick labels.
const LEFT: u32 = 62;
const BOTTOM: u32 = 22;
/// From a mark to the label of its load.
const LABEL: (i32, i32) = (7, -14);

/// The plots of every scenario that has a service, in order.
pub(crate) fn services(view: &View<'_>) -> Result<Vec<ServicePlot>, Error> {
    let mut plots = Vec::new();
    for scenario in &view.scenarios {
        for y in LATENCIES.map(|metric| latency(scenario, metric)) {
            let mut curves = scenario.curves(THROUGHPUT, y).into_iter().peekable();
            while curves.peek().is_some() {
                // At most as many curves as there are marks.
                let curves = curves.by_ref().take(ink::SHAPES.len()).collect();
                plots.push(plot(scenario, y, curves)?);
            }
        }
    }
    Ok(plots)
}

/// The 95th percentile of `metric` if every service has one, else the median.
fn latency(scenario: &Scenario<'_>, metric: Metric) -> Series {
    let tail = Series { metric, quantile: Quantile::P95 };
    let all = scenario.services().all(|(_, result)| result.location(tail).is_some());
    if all { tail } else { Series::median(metric) }
}

fn plot(scenario: &Scenario<'_>, y: Series, curves: Vec<Curve>) -> Result<ServicePlot, Error> {
    let mut svg = String::new();
    draw(&mut svg, y, &curves)
        .map_err(|source| Error::Plot { series: y, source: Box::new(source) })?;
    let svg = ink::themed(&svg, &alt(y, &curves));
    Ok(ServicePlot { scenario: scenario.name.clone(), y, curves, svg })
}

/// The text alternative of the plot: where each curve begins and ends.
fn alt(y: Series, curves: &[Curve]) -> String {
    let at = |(rate, latency): (f64, f64)| {
        format!("{} at {}", y.metric.show(latency), THROUGHPUT.metric.show(rate))
    };
    let curve = |curve: &Curve| match curve.points.as_slice() {
        [] => String::new(),
        [only] => format!(" {}: {}.", curve.name, at(only.at)),
        [first, .., last] => {
            format!(" {}: from {} to {}.", curve.name, at(first.at), at(last.at))
        }
    };
    let curves: String = curves.iter().map(curve).collect();
    format!("{} over output tokens per second.{curves}", y.label())
}

fn draw(svg: &mut String, y: Series, curves: &[Curve]) -> Outcome {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let rates = Axis::over(THROUGHPUT.metric.spec().unit, points().map(|point| point.at.0), TICKS);
    let latencies = Axis::over(y.metric.spec().unit, points().map(|point| point.at.1), TICKS);
    let area = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin_top(TOP)
        .margin_right(RIGHT)
        .x_label_area_size(BOTTOM)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(rates, latencies)?;
    chart
        .configure_mesh()
        .x_labels(TICKS)
        .y_labels(TICKS)
        .bold_line_style(Ink::Grid.colour())
        .axis_style(Ink::Grid.colour())
        .label_style(ink::text(11.0, Ink::Muted))
        .draw()?;

    for (i, curve) in curves.iter().enumerate() {
        let ink = Ink::subject(i);
        let at = |point: (f64, f64)| chart.backend_coord(&point);
        let places: Vec<(i32, i32)> = curve.points.iter().map(|point| at(point.at)).collect();
        area.draw(&PathElement::new(places.clone(), ink.stroke(1)))?;
        for (point, (x, y)) in curve.points.iter().zip(places) {
            draw_dot(&area, i, (x, y))?;
            let place = (x + LABEL.0, y + LABEL.1);
            area.draw(&Text::new(point.load.to_string(), place, ink::text(11.0, ink)))?;
        }
    }
    area.present()
}
