//! The results of a run: a table for each scenario, then notes for the reader.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use windtunnel_ledger::case::{Case, Source, Workload};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Record, Run};
use windtunnel_ledger::series::{Quantile, Series};
use windtunnel_ledger::store::Contents;
use windtunnel_ledger::summary::{Summary, Unmeasured, summarise};
use windtunnel_report::blocks;

use super::sheet::Sheet;
use super::{Data, Room, data, located, percentiles, roof};
use crate::args::Format;

/// The results of a run, in the requested format.
pub(crate) fn run(contents: &Contents, format: Format) -> Result<String> {
    let Contents { run, records, .. } = contents;
    Ok(match format {
        Format::Table => self::records(run, records, Room::of_stdout()),
        Format::Markdown => markdown(run, records),
        Format::Csv => data::measured(contents, Data::Csv)?,
        Format::Json => data::measured(contents, Data::Json)?,
    })
}

/// A table for each scenario, for a document.
fn markdown(run: &Run, records: &[Record]) -> String {
    let summaries = summarise(records);
    let sheets = scenarios(records, &summaries).into_iter();
    let texts: Vec<String> =
        sheets.filter_map(|(name, rows)| Some(sheet(run, name, &rows)?.markdown())).collect();
    texts.join("\n")
}

/// The scenarios in the order of their records, with their cases.
fn scenarios<'a>(
    records: &'a [Record],
    summaries: &'a [Summary],
) -> Vec<(&'a str, Vec<(&'a Case, &'a Summary)>)> {
    let cases: BTreeMap<_, &Case> = records.iter().map(|r| (&r.case.id, &r.case)).collect();
    let mut scenarios: Vec<(&str, Vec<(&Case, &Summary)>)> = Vec::new();
    for summary in summaries {
        let Some(case) = cases.get(&summary.case) else { continue };
        match scenarios.iter_mut().find(|(name, _)| *name == case.scenario()) {
            Some((_, rows)) => rows.push((case, summary)),
            None => scenarios.push((case.scenario(), vec![(case, summary)])),
        }
    }
    scenarios
}

/// The records of a run: a table for each scenario, then notes for the reader.
pub(crate) fn records(run: &Run, records: &[Record], room: Room) -> String {
    let summaries = summarise(records);
    let scenarios = scenarios(records, &summaries);
    let mut text = String::new();
    for (name, rows) in &scenarios {
        text.push_str(&sheet(run, name, rows).map_or_else(String::new, |sheet| sheet.text(room)));
    }
    for (name, rows) in &scenarios {
        text.push_str(&percentiles::of_scenario(run, name, rows, records));
        text.push_str(&roof::of_scenario(run, name, rows, records));
    }

    // Only where the origin says more than the tables and their notes.
    let told = run.subjects.iter().filter(|subject| subject.origin() != subject.to_string());
    let origins: Vec<String> =
        told.map(|subject| format!("subject {}\n", subject.origin())).collect();
    if !origins.is_empty() {
        let _ = write!(text, "\n{}", origins.concat());
    }

    let mut notes: Vec<(String, Vec<String>)> = Vec::new();
    for summary in &summaries {
        let unmeasured =
            summary.unmeasured.iter().map(|unmeasured| (unmeasured.to_string(), tail(unmeasured)));
        let caveats = summary.caveats.iter().map(|caveat| (caveat.to_string(), None));
        for (note, tail) in unmeasured.chain(caveats) {
            let note = tail.into_iter().fold(note, |note, tail| note + "\n" + &tail);
            let place = match run.subjects.len() {
                0 | 1 => summary.case.to_string(),
                _ => format!("{} on {}", summary.case, summary.subject.name),
            };
            put(&mut notes, note, place);
        }
    }
    // Apart, because these cases are none of those with a summary.
    let mut skips: Vec<(String, Vec<String>)> = Vec::new();
    for skipped in &run.skipped {
        put(&mut skips, format!("skipped: {}", skipped.reason), skipped.id.to_string());
    }
    let everywhere = |places: &[String]| places.len() == summaries.len() && places.len() > 1;
    for (note, places) in notes {
        let place = if everywhere(&places) { "every case".to_owned() } else { together(&places) };
        let _ = writeln!(text, "\n{place}: {note}");
    }
    for (note, places) in skips {
        let _ = writeln!(text, "\n{}: {note}", together(&places));
    }
    text
}

/// Adds a place to the note with this text, or adds the note. A case whose rounds all give the same
/// note is one place.
fn put(notes: &mut Vec<(String, Vec<String>)>, note: String, place: String) {
    match notes.iter_mut().find(|(known, _)| *known == note) {
        Some((_, places)) if places.contains(&place) => (),
        Some((_, places)) => places.push(place),
        None => notes.push((note, vec![place])),
    }
}

/// Several places in a few words.
fn together(places: &[String]) -> String {
    match places {
        [] => String::new(),
        [place] => place.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

fn tail(unmeasured: &Unmeasured) -> Option<String> {
    let Unmeasured::Failed { failure, .. } = unmeasured else { return None };
    let lines = failure.tail()?.lines().map(|line| format!("  | {line}"));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// The table of one scenario, under a heading with everything that its cases share.
fn sheet(run: &Run, scenario: &str, rows: &[(&Case, &Summary)]) -> Option<Sheet> {
    let axes_of = |case: &Case| -> Vec<(String, String)> {
        let pairs = case.axes().split(',').filter_map(|axis| axis.split_once('='));
        pairs.map(|(axis, value)| (axis.to_owned(), value.to_owned())).collect()
    };
    let (first, _) = rows.first()?;
    let (shared, varied): (Vec<_>, Vec<_>) = axes_of(first)
        .into_iter()
        .partition(|axis| rows.iter().all(|(case, _)| axes_of(case).contains(axis)));
    let columns = columns(first, rows);
    let wide = columns.len() > ROOMY;
    let several = run.subjects.len() > 1;
    let one_model = rows.iter().all(|(case, _)| case.model.name == first.model.name);
    let model_above = wide && one_model && !varied.is_empty();

    let mut words = Vec::new();
    if !model_above {
        let is_bench = matches!(first.model.source, Source::Bench(_));
        words.push(if is_bench { "bench" } else { "model" }.to_owned());
    }
    words.extend(varied.iter().map(|(axis, _)| axis.clone()));
    if several {
        words.push("subject".to_owned());
    }
    let (mut table, mut courses) = (Vec::new(), Vec::new());
    for (case, summary) in rows {
        let mut row = Vec::new();
        if !model_above {
            row.push(case.model.name.clone());
        }
        let values = axes_of(case);
        let value_of = |axis: &str| {
            values.iter().find(|(a, _)| a == axis).map_or("", |(_, value)| value.as_str())
        };
        row.extend(varied.iter().map(|(axis, _)| value_of(axis).to_owned()));
        if several {
            row.push(summary.subject.name.clone());
        }
        let mut absent = match summary.unmeasured.first() {
            Some(Unmeasured::Failed { .. }) => "failed",
            Some(Unmeasured::Void { .. }) => "void",
            Some(Unmeasured::Skipped { .. }) => "skipped",
            None => "",
        };
        for series in &columns {
            let found = summary.series.iter().find(|(known, _)| known == series);
            row.push(match found {
                Some((_, location)) if wide => series.metric.show(location.median),
                Some((_, location)) => located(*series, location),
                // Said once per row.
                None => std::mem::take(&mut absent).to_owned(),
            });
        }
        table.push(row);
        let main = columns.first().and_then(|first| {
            summary.series.iter().find(|(known, _)| known == first).map(|(_, location)| location)
        });
        courses.push(main.map_or_else(String::new, |main| blocks(&main.rounds, STEPS)));
    }
    let shared = shared.into_iter().map(|(axis, value)| format!("{axis}={value}"));
    let model = model_above.then(|| first.model.name.clone());
    Some(Sheet {
        name: scenario.to_owned(),
        shared: model.into_iter().chain(shared).collect::<Vec<_>>().join("  "),
        words,
        numbers: columns.iter().map(|series| series.label()).collect(),
        rows: table,
        courses,
    })
}

/// The most blocks that a course of rounds is drawn with.
const STEPS: usize = 24;

/// Up to this many columns there is room for the spread of the rounds, and for the model in a
/// scenario with one model only. A terminal is 120 characters wide; the report has everything.
const ROOMY: usize = 4;

/// The series that matter most for a case like `case`, the main one first; only those that occur in
/// `rows`.
fn columns(case: &Case, rows: &[(&Case, &Summary)]) -> Vec<Series> {
    // Occurs only with several devices.
    let moved = [Metric::Transfers, Metric::TransferBytes].map(Series::median);
    let memory = [Metric::PeakRss].map(Series::median);
    // Occurs only if the GPUs report their power draw.
    let energy = [Metric::EnergyPerToken].map(Series::median);
    let chosen: Vec<Series> = match case.workload {
        Workload::Load => {
            let once = [Metric::LoadTime, Metric::PeakRss, Metric::WeightBytes, Metric::KvBytes];
            once.map(Series::median).to_vec()
        }
        Workload::Serve { .. } => [
            (Metric::SystemRate, Quantile::Median),
            (Metric::RequestRate, Quantile::Median),
            (Metric::Goodput, Quantile::Median),
            (Metric::TimeToFirstToken, Quantile::Median),
            (Metric::TimeToFirstToken, Quantile::P95),
            (Metric::TimePerOutputToken, Quantile::Median),
            (Metric::InterToken, Quantile::P99),
            (Metric::QueueTime, Quantile::Median),
        ]
        .map(|(metric, quantile)| Series { metric, quantile })
        .to_vec(),
        Workload::Soak { .. } | Workload::Parity { .. } | Workload::Quality { .. } => {
            case.workload.metrics().iter().copied().map(Series::median).collect()
        }
        _ => {
            let metrics = case.workload.metrics().iter().copied();
            metrics.map(Series::median).chain(energy).chain(moved).chain(memory).collect()
        }
    };
    let occurs = |series: &Series| {
        rows.iter().any(|(_, summary)| summary.series.iter().any(|(known, _)| known == series))
    };
    let occurring: Vec<Series> = chosen.iter().copied().filter(occurs).collect();
    // If nothing was measured, one column says so.
    if occurring.is_empty() { chosen.into_iter().take(1).collect() } else { occurring }
}
