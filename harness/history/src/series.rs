//! How the median of one metric of one case developed on one machine: a point for each run and
//! subject.
//!
//! Values of different machines are never in one series. Whether a change is real is not asked here.

use polars::prelude::{
    BooleanChunked, DataFrame, IntoLazy, NewChunkedArray, SortMultipleOptions, StringChunked, col,
    lit,
};
use windtunnel_ledger::case::matches;
use windtunnel_ledger::compare::Row;
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::summary::Location;

use crate::Error;

/// One metric of one case on one machine, over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The case's id.
    pub case: String,
    /// The metric.
    pub metric: Metric,
    /// The kind of machine, by its key.
    pub machine: String,
    /// At least one point, the oldest first.
    pub points: Vec<Point>,
}

/// What one subject gave in one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// When its first round began, RFC 3339 in UTC.
    pub at: String,
    /// The run's name.
    pub run: String,
    /// The subject's commit, with `+` if files differed from it; none if it is unknown.
    pub commit: Option<String>,
    /// The subject as the user named it.
    pub subject: String,
    /// Its rounds.
    pub location: Location,
}

/// What there is of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The case's id.
    pub case: String,
    /// How many runs measured it.
    pub runs: usize,
    /// What they measured, in the order of [`Metric::ALL`].
    pub metrics: Vec<Metric>,
}

impl Series {
    /// Each point but the first, set against the one before it.
    pub fn changes(&self) -> impl Iterator<Item = Row> {
        self.points.windows(2).map(|pair| Row {
            series: windtunnel_ledger::Series::median(self.metric),
            base: pair[0].location.clone(),
            head: pair[1].location.clone(),
        })
    }
}

/// The series of `metric` of every case in which `pattern` occurs, by case and machine.
///
/// # Errors
/// If the frame is not one that [`load`](crate::frame::load) made.
pub fn series(frame: &DataFrame, pattern: &str, metric: Metric) -> Result<Vec<Series>, Error> {
    let points = cases(frame, pattern)?
        .lazy()
        .filter(col("metric").eq(lit(metric.spec().name)))
        .sort(["case", "machine", "at", "run", "subject", "round"], SortMultipleOptions::default())
        .group_by_stable([col("case"), col("machine"), col("run"), col("subject"), col("commit")])
        .agg([col("at").first(), col("value")])
        .collect()?;

    let (case, machine) = (text(&points, "case")?, text(&points, "machine")?);
    let (run, subject) = (text(&points, "run")?, text(&points, "subject")?);
    let (commit, at) = (text(&points, "commit")?, text(&points, "at")?);
    let rounds = points.column("value")?.list()?;

    let mut list: Vec<Series> = Vec::new();
    for i in 0..points.height() {
        let rounds = rounds.get_as_series(i).ok_or(Error::Column("value"))?;
        let rounds = rounds.f64()?.into_no_null_iter().collect();
        let Some(location) = Location::of(rounds) else { continue };
        let owned = |column: &StringChunked, name| {
            column.get(i).map(str::to_owned).ok_or(Error::Column(name))
        };
        let point = Point {
            at: owned(at, "at")?,
            run: owned(run, "run")?,
            commit: commit.get(i).map(str::to_owned),
            subject: owned(subject, "subject")?,
            location,
        };
        let (case, machine) = (owned(case, "case")?, owned(machine, "machine")?);
        match list.last_mut().filter(|last| last.case == case && last.machine == machine) {
            Some(last) => last.points.push(point),
            None => list.push(Series { case, metric, machine, points: vec![point] }),
        }
    }
    Ok(list)
}

/// What there is of every case in which `pattern` occurs, by case.
///
/// # Errors
/// If the frame is not one that [`load`](crate::frame::load) made.
pub fn known(frame: &DataFrame, pattern: &str) -> Result<Vec<Known>, Error> {
    let cases = cases(frame, pattern)?
        .lazy()
        .group_by_stable([col("case")])
        .agg([col("run").n_unique().alias("runs"), col("metric").unique()])
        .sort(["case"], SortMultipleOptions::default())
        .collect()?;
    let (case, runs) = (text(&cases, "case")?, cases.column("runs")?.u32()?);
    let metrics = cases.column("metric")?.list()?;
    let row = |i| {
        let names = metrics.get_as_series(i).ok_or(Error::Column("metric"))?;
        let names: Vec<&str> = names.str()?.iter().flatten().collect();
        let measured = |metric: &Metric| names.contains(&metric.spec().name);
        Ok(Known {
            case: case.get(i).ok_or(Error::Column("case"))?.to_owned(),
            runs: runs.get(i).ok_or(Error::Column("runs"))? as usize,
            metrics: Metric::ALL.into_iter().filter(measured).collect(),
        })
    };
    (0..cases.height()).map(row).collect()
}

/// The rows of the cases in which `pattern` occurs.
fn cases(frame: &DataFrame, pattern: &str) -> Result<DataFrame, Error> {
    let cases = text(frame, "case")?.iter();
    let wanted = cases.map(|case| case.is_some_and(|case| matches(case, pattern)));
    let wanted = BooleanChunked::from_iter_values("wanted".into(), wanted);
    Ok(frame.filter(&wanted)?)
}

fn text<'a>(frame: &'a DataFrame, column: &'static str) -> Result<&'a StringChunked, Error> {
    frame.column(column).and_then(|column| column.str()).map_err(|_| Error::Column(column))
}
