//! The measurements of a model's weight formats over the memory that they take.

use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::drawing::IntoDrawingArea;
use plotters::element::Text;
use windtunnel_ledger::case::Quant;

use super::axis::Axis;
use super::ink::{self, Ink};
use super::room::Room;
use super::{Outcome, TICKS, WIDTH, draw_dot};
use crate::Error;
use crate::view::{Column, TradeOff, View};

/// One column of a table of formats, over the weights in its first column.
pub(crate) struct TradeOffPlot {
    /// The index of the table in the view.
    pub(crate) table: usize,
    /// The index of the column in the table.
    pub(crate) column: usize,
    /// The drawing, an `svg` element with a text alternative.
    pub(crate) svg: String,
}

/// A format, the size of its weights, and its value.
type Dot = (Quant, f64, f64);

const HEIGHT: u32 = 240;
const TOP: i32 = 18;
const RIGHT: i32 = 40;
/// Room for tick labels.
const LEFT: u32 = 76;
const BOTTOM: u32 = 22;

/// A plot for each column of each table with known weights.
pub(crate) fn trade_offs(view: &View<'_>) -> Result<Vec<TradeOffPlot>, Error> {
    let tables = view.trade_offs.iter().enumerate().filter(|(_, table)| table.weighs());
    let columns =
        tables.flat_map(|(at, table)| (1..table.columns.len()).map(move |c| (at, table, c)));
    columns.map(|(at, table, column)| plot(at, table, column)).collect()
}

fn plot(table_at: usize, table: &TradeOff, column: usize) -> Result<TradeOffPlot, Error> {
    let dot = |(quant, cells): &(Quant, Vec<_>)| {
        let value = |at: usize| {
            cells.get(at).copied().flatten().map(|value: crate::view::Value| value.median)
        };
        Some((*quant, value(0)?, value(column)?))
    };
    let dots: Vec<Dot> = table.rows.iter().filter_map(dot).collect();
    let (x, y) = (&table.columns[0], &table.columns[column]);
    let mut svg = String::new();
    draw(&mut svg, (x, y), &dots, table.subject)
        .map_err(|source| Error::Plot { series: y.series, source: Box::new(source) })?;
    let svg = ink::themed(&svg, &alt(y, &dots));
    Ok(TradeOffPlot { table: table_at, column, svg })
}

/// The text alternative of the plot.
fn alt(y: &Column, dots: &[Dot]) -> String {
    let metric = y.series.metric;
    let dots: Vec<String> =
        dots.iter().map(|(quant, _, value)| format!("{quant} {}", metric.show(*value))).collect();
    format!("{} over bytes of weights: {}.", y.series.label(), dots.join(", "))
}

fn draw(svg: &mut String, (x, y): (&Column, &Column), dots: &[Dot], subject: usize) -> Outcome {
    let [weights, values] = [x, y].map(|column| column.series.metric.spec().unit);
    let weights = Axis::over(weights, dots.iter().map(|dot| dot.1).chain([0.0]), TICKS);
    let values = Axis::over(values, dots.iter().map(|dot| dot.2).chain([0.0]), TICKS);
    let area = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin_top(TOP)
        .margin_right(RIGHT)
        .x_label_area_size(BOTTOM)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(weights, values)?;
    chart
        .configure_mesh()
        .x_labels(TICKS)
        .y_labels(TICKS)
        .bold_line_style(Ink::Grid.colour())
        .axis_style(Ink::Grid.colour())
        .label_style(ink::text(11.0, Ink::Muted))
        .draw()?;
    let at = |dot: &Dot| chart.backend_coord(&(dot.1, dot.2));
    let mut taken: Vec<Room> = dots.iter().map(|dot| Room::of_dot(at(dot))).collect();
    for dot in dots {
        draw_dot(&area, subject, at(dot))?;
        let name = dot.0.to_string();
        let corner = Room::beside(at(dot), &name, &taken);
        area.draw(&Text::new(name.clone(), corner, ink::text(11.0, Ink::Text)))?;
        taken.push(Room::of_text(corner, &name));
    }
    area.present()
}
