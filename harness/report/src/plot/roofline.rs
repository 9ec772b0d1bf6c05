//! The roofline: operations per second over operations per byte.
//!
//! No dot can lie above the lines: the sloped one is the limit of memory bandwidth, the level ones
//! are the limits of arithmetic. The distance of a dot from the lines is what can be gained, and
//! the line above it says by what.

use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::drawing::IntoDrawingArea;
use plotters::element::{PathElement, Text};
use windtunnel_ledger::case::Dtype;
use windtunnel_ledger::metric::{Metric, Unit};
use windtunnel_ledger::roof::{self, Roof, Standing};
use windtunnel_ledger::series::Series;

use super::axis::{Axis, bounds};
use super::ink::{self, Ink};
use super::room::Room;
use super::{Outcome, TICKS, WIDTH, draw_dot};
use crate::Error;
use crate::view::{Numbered, View};

/// The roof of a device, and every case under it.
pub(crate) struct RooflinePlot {
    /// Where the cases ran, such as `cpu` or `cuda:0`; empty if unknown.
    pub(crate) place: String,
    /// The roof drawn: the median, if subjects measured different ones.
    pub(crate) roof: Roof,
    /// The drawing, an `svg` element with a text alternative.
    pub(crate) svg: String,
}

/// One case of one subject.
struct Dot {
    number: usize,
    subject: usize,
    /// Operations per byte.
    intensity: f64,
    /// Operations per second.
    rate: f64,
}

const HEIGHT: u32 = 300;
const TOP: i32 = 20;
const RIGHT: i32 = 20;
/// Room for tick labels.
const LEFT: u32 = 76;
const BOTTOM: u32 = 22;
/// The distance from a level to the middle of its name.
const BESIDE: i32 = 9;

/// One plot for each device, in the order of the page: the roof of one device does not apply to
/// another.
pub(crate) fn rooflines(view: &View<'_>) -> Result<Vec<RooflinePlot>, Error> {
    let mut devices: Vec<(&str, Option<u32>, Vec<Numbered<'_>>)> = Vec::new();
    for numbered in view.standings() {
        let place = roof::place(numbered.case.case).unwrap_or_default();
        let multiprocessors = numbered.standing.roof.multiprocessors;
        match devices.iter_mut().find(|(at, of, _)| (*at, *of) == (place, multiprocessors)) {
            Some((.., own)) => own.push(numbered),
            None => devices.push((place, multiprocessors, vec![numbered])),
        }
    }
    let plots = devices.iter().filter_map(|(place, _, numbered)| roofline(place, numbered));
    plots.collect()
}

/// The plot of one device; none if nothing ran on it.
fn roofline(place: &str, numbered: &[Numbered<'_>]) -> Option<Result<RooflinePlot, Error>> {
    let mut roofs: Vec<Roof> = numbered.iter().map(|numbered| numbered.standing.roof).collect();
    roofs.sort_by_key(|roof| roof.read);
    let roof = *roofs.get(roofs.len() / 2)?;
    let dots = numbered.iter().map(Dot::of);
    let dots: Vec<Dot> = dots.filter(|dot| dot.intensity > 0.0 && dot.rate > 0.0).collect();
    let in_halves =
        |numbered: &Numbered<'_>| matches!(numbered.standing.dtype, Dtype::Bf16 | Dtype::F16);
    let (halves, full) = (numbered.iter().any(in_halves), !numbered.iter().all(in_halves));
    let levels: Vec<(&str, Dtype)> = [(full, "f32", Dtype::F32), (halves, "bf16", Dtype::Bf16)]
        .into_iter()
        .filter_map(|(occurs, name, dtype)| occurs.then_some((name, dtype)))
        .collect();
    let mut svg = String::new();
    let drawn = draw(&mut svg, &roof, &levels, &dots);
    Some(match drawn {
        Ok(()) => {
            let svg = ink::themed(&svg, &alt(numbered));
            Ok(RooflinePlot { place: place.to_owned(), roof, svg })
        }
        Err(source) => Err(Error::Plot {
            series: Series::median(Metric::TokenFlops),
            source: Box::new(source),
        }),
    })
}

impl Dot {
    fn of(numbered: &Numbered<'_>) -> Dot {
        let Numbered { number, subject, standing, .. } = *numbered;
        let Standing { bytes, flops, rate, .. } = *standing;
        Dot { number, subject, intensity: flops / bytes.max(1.0), rate: flops * rate }
    }
}

/// The text alternative of the plot; the numbers are in the table.
fn alt(standings: &[Numbered<'_>]) -> String {
    let shares = standings.iter().map(|numbered| numbered.standing.share * 100.0);
    let (low, high) = bounds(shares).unwrap_or_default();
    format!(
        "Operations a second over operations a byte: from {low:.0} % to {high:.0} % of the roof."
    )
}

fn draw(svg: &mut String, roof: &Roof, levels: &[(&str, Dtype)], dots: &[Dot]) -> Outcome {
    let read = roof.read.max(1) as f64;
    let level = |dtype: Dtype| roof.ridge(dtype) * read;
    // The ridges are shown in full, with some room on either side.
    let ridges = levels.iter().map(|(_, dtype)| roof.ridge(*dtype));
    let intensities = dots.iter().map(|dot| dot.intensity).chain(ridges);
    let (from, to) = bounds(intensities).unwrap_or((0.1, 10.0));
    let (from, to) = ((from / 2.0).max(f64::MIN_POSITIVE), to * 3.0);
    let lowest = dots.iter().map(|dot| dot.rate).fold(from * read, f64::min);
    let highest = levels.iter().map(|(_, dtype)| level(*dtype));
    let highest = highest.chain(dots.iter().map(|dot| dot.rate)).fold(lowest * 2.0, f64::max);

    let area = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin_top(TOP)
        .margin_right(RIGHT)
        .x_label_area_size(BOTTOM)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(
            Axis::logarithmic(Unit::Ratio, from..to, TICKS),
            Axis::logarithmic(Unit::Operations, lowest..highest * 1.3, TICKS),
        )?;
    chart
        .configure_mesh()
        .x_labels(TICKS)
        .y_labels(TICKS)
        .bold_line_style(Ink::Grid.colour())
        .axis_style(Ink::Grid.colour())
        .label_style(ink::text(11.0, Ink::Muted))
        .draw()?;

    let at = |intensity: f64, rate: f64| chart.backend_coord(&(intensity, rate));
    let highest = levels.iter().map(|(_, dtype)| level(*dtype)).fold(0.0, f64::max);
    for (name, dtype) in levels {
        let (ridge, level) = (roof.ridge(*dtype), level(*dtype));
        let line = [at(from, from * read), at(ridge, level), at(to, level)];
        area.draw(&PathElement::new(line, Ink::Muted.stroke(2)))?;
        let (right, y) = at(to, level);
        // Two levels may lie close together, so their names go to opposite sides.
        let place = (right, if level < highest { y + BESIDE } else { y - BESIDE });
        area.draw(&Text::new((*name).to_owned(), place, ink::value(11.0, Ink::Muted)))?;
    }
    let places: Vec<(i32, i32)> = dots.iter().map(|dot| at(dot.intensity, dot.rate)).collect();
    for (dot, place) in dots.iter().zip(&places) {
        draw_dot(&area, dot.subject, *place)?;
    }
    let mut taken: Vec<Room> = places.iter().map(|place| Room::of_dot(*place)).collect();
    for (dot, (x, y)) in dots.iter().zip(&places) {
        let number = dot.number.to_string();
        let corner = Room::beside((*x, *y), &number, &taken);
        let room = Room::of_text(corner, &number);
        // If there is no room, the number is only in the table.
        if room.is_free(&taken) {
            let style = ink::text(11.0, Ink::subject(dot.subject));
            area.draw(&Text::new(number, corner, style))?;
            taken.push(room);
        }
    }
    area.present()
}
