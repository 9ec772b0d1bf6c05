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

/// An entry whose fields are the columns of a table.
trait Entry: Serialize {
    /// The names of its fields, in their order.
    const COLUMNS: &'static [&'static str];
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

impl Entry for Measured {
    const COLUMNS: &'static [&'static str] =
        &["case", "subject", "commit", "series", "unit", "better", "rounds", "median", "spread"];
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

impl Entry for Judged {
    const COLUMNS: &'static [&'static str] = &[
        "case", "series", "unit", "better", "verdict", "weight", "base", "head", "worse_by", "low",
        "high", "margin", "mde", "rounds",
    ];
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

fn written<T: Entry>(entries: Vec<T>, data: Data) -> Result<String> {
    match data {
        Data::Json => {
            let text =
                serde_json::to_string_pretty(&entries).context("cannot write the numbers")?;
            Ok(text + "\n")
        }
        Data::Csv => {
            // Written here, because the library takes the header from the first entry: a table
            // without rows would have none.
            let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
            writer.write_record(T::COLUMNS).context("cannot write the numbers")?;
            for entry in &entries {
                writer.serialize(entry).context("cannot write the numbers")?;
            }
            let bytes = writer.into_inner().map_err(|error| error.into_error())?;
            String::from_utf8(bytes).context("cannot write the numbers")
        }
    }
}

#[cfg(test)]
mod tests {
    use windtunnel_ledger::metric::Metric;

    use super::*;

    /// Checks that the columns are the fields of `entry`, and are written without any entry too.
    #[track_caller]
    fn check<T: Entry>(entry: T) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.serialize(&entry).unwrap();
        let fields = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let header = written(Vec::<T>::new(), Data::Csv).unwrap();
        assert_eq!(fields.lines().next(), Some(header.trim_end()));
        assert_eq!(written(vec![entry], Data::Csv).unwrap(), fields);
        assert_eq!(written(Vec::<T>::new(), Data::Json).unwrap(), "[]\n");
    }

    #[test]
    fn a_table_without_rows_has_its_header() {
        let series = Series::median(Metric::DecodeRate);
        let (unit, better) = (Unit::TokensPerSecond, Better::Higher);
        check(Measured {
            case: "a".to_owned(),
            subject: "b, c".to_owned(),
            commit: None,
            series,
            unit,
            better,
            rounds: 3,
            median: 41.5,
            spread: Some(0.01),
        });
        check(Judged {
            case: "a".to_owned(),
            series,
            unit,
            better,
            verdict: Verdict::Pass,
            weight: Weight::Warns,
            base: Some(1.0),
            head: None,
            worse_by: None,
            low: None,
            high: None,
            margin: None,
            mde: None,
            rounds: None,
        });
    }
}
