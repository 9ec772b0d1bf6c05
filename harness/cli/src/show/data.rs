//! Numbers for spreadsheets and programs: one entry for each series, in the units of the records.

use anyhow::{Context, Result};
use serde::Serialize;
use windtunnel_ledger::gate::{CaseReport, Report, Row};
use windtunnel_ledger::metric::{Better, Unit};
use windtunnel_ledger::policy::Weight;
use windtunnel_ledger::series::Series;
use windtunnel_ledger::store::Contents;
use windtunnel_ledger::summary::{Location, Summary, summarise};
use windtunnel_ledger::verdict::Verdict;

/// The output format.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Data {
    /// Comma-separated values with a header line.
    Csv,
    /// A list of objects.
    Json,
}

/// A measured series of one case and subject.
#[derive(Serialize)]
struct Measured {
    case: String,
    subject: String,
    commit: Option<String>,
    series: Series,
    unit: Unit,
    better: Better,
    rounds: usize,
    median: f64,
    spread: Option<f64>,
}

/// A judged series of one case, between two subjects.
#[derive(Serialize)]
struct Judged {
    case: String,
    series: Series,
    unit: Unit,
    better: Better,
    verdict: Verdict,
    weight: Weight,
    base: Option<f64>,
    head: Option<f64>,
    worse_by: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    margin: Option<f64>,
    mde: Option<f64>,
    rounds: Option<usize>,
}

/// Everything that a run measured.
pub(crate) fn measured(contents: &Contents, data: Data) -> Result<String> {
    let summaries = summarise(&contents.records);
    let entries = summaries.iter().flat_map(|summary| {
        summary.series.iter().map(move |(series, location)| of_series(summary, *series, location))
    });
    written(entries.collect(), data)
}

/// Everything that was judged between two sides.
pub(crate) fn judged(report: &Report, data: Data) -> Result<String> {
    let rows = report.cases.iter().flat_map(|case| case.rows.iter().map(move |row| (case, row)));
    written(rows.map(|(case, row)| of_row(case, row)).collect(), data)
}

fn of_series(summary: &Summary, series: Series, location: &Location) -> Measured {
    let spec = series.metric.spec();
    Measured {
        case: summary.case.to_string(),
        subject: summary.subject.name.clone(),
        commit: summary.subject.commit.clone(),
        series,
        unit: spec.unit,
        better: spec.better,
        rounds: location.rounds.len(),
        median: location.median,
        spread: location.spread,
    }
}

fn of_row(case: &CaseReport, row: &Row) -> Judged {
    let spec = row.series.metric.spec();
    let finding = row.finding.as_ref();
    Judged {
        case: case.case.to_string(),
        series: row.series,
        unit: spec.unit,
        better: spec.better,
        verdict: row.verdict,
        weight: row.weight,
        base: row.base,
        head: row.head,
        worse_by: finding.map(|finding| finding.effect),
        low: finding.map(|finding| finding.low),
        high: finding.map(|finding| finding.high),
        margin: finding.map(|finding| finding.margin),
        mde: finding.map(|finding| finding.mde),
        rounds: finding.map(|finding| finding.rounds),
    }
}

fn written<T: Serialize>(entries: Vec<T>, data: Data) -> Result<String> {
    match data {
        Data::Json => {
            let text =
                serde_json::to_string_pretty(&entries).context("cannot write the numbers")?;
            Ok(text + "\n")
        }
        Data::Csv => {
            let mut writer = csv::Writer::from_writer(Vec::new());
            for entry in &entries {
                writer.serialize(entry).context("cannot write the numbers")?;
            }
            let bytes = writer.into_inner().map_err(|error| error.into_error())?;
            String::from_utf8(bytes).context("cannot write the numbers")
        }
    }
}
