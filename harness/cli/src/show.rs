//! All that is said to people: tables and results on stdout, everything else on stderr.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};
use windtunnel_ledger::case::Case;
use windtunnel_ledger::compare::{Comparison, Pair};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Record, Run};
use windtunnel_ledger::summary::{Location, Summary, Unmeasured, summarise};
use windtunnel_ledger::unit::{Bytes, Nanos};

use crate::estimate::Estimate;
use crate::plan::Plan;

/// Prints a result. A reader who has closed the pipe has seen enough: that is no error.
pub(crate) fn result(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Says something about the work. That nobody can hear it stops no work.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Says what went wrong, with its causes.
pub(crate) fn error(error: &anyhow::Error) {
    note(&format!("error: {error:#}"));
}

/// A plan: its cases, what is left out, and what it would take.
pub(crate) fn plan(plan: &Plan, estimates: &[Estimate]) -> String {
    let mut table = table(vec![Cell::new("case"), right("rounds"), right("time"), right("memory")]);
    let mut time = Some(Nanos(0));
    let mut memory = Some(Bytes(0));
    for (planned, estimate) in plan.cases.iter().zip(estimates) {
        let rounds = u64::from(planned.rounds);
        let whole = estimate.time.map(|time| Nanos(time.0.saturating_mul(rounds)));
        time = time.zip(whole).map(|(sum, whole)| Nanos(sum.0.saturating_add(whole.0)));
        memory = memory.zip(estimate.memory).map(|(most, this)| most.max(this));
        table.add_row([
            Cell::new(&planned.case.id),
            right(rounds),
            right(about(whole)),
            right(about(estimate.memory)),
        ]);
    }
    let mut text = String::new();
    if !plan.cases.is_empty() {
        push(&mut text, &table);
    }
    if !plan.skipped.is_empty() {
        text.push_str("\nskipped by the scenarios:\n");
        for skipped in &plan.skipped {
            let _ = writeln!(text, "  {}: {}", skipped.id, skipped.reason);
        }
    }
    let _ = writeln!(
        text,
        "\n{}, {} skipped, {} left out by the filter. Time {}, memory {} at most.",
        count(plan.cases.len(), "case"),
        plan.skipped.len(),
        plan.filtered,
        about(time),
        about(memory),
    );
    text
}

fn about(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| format!("~{}", value.to_string()))
}

/// The records of a run: a table for each scenario, then what a reader should know.
pub(crate) fn records(run: &Run, records: &[Record]) -> String {
    let cases: BTreeMap<_, &Case> = records.iter().map(|r| (&r.case.id, &r.case)).collect();
    let summaries = summarise(records);
    let mut scenarios: Vec<(&str, Vec<(&Case, &Summary)>)> = Vec::new();
    for summary in &summaries {
        let Some(case) = cases.get(&summary.case) else { continue };
        match scenarios.iter_mut().find(|(name, _)| *name == case.scenario()) {
            Some((_, rows)) => rows.push((case, summary)),
            None => scenarios.push((case.scenario(), vec![(case, summary)])),
        }
    }
    let mut text = String::new();
    for (name, rows) in scenarios {
        text.push_str(&scenario_table(run, name, &rows));
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
            match notes.iter_mut().find(|(known, _)| *known == note) {
                Some((_, places)) => places.push(place),
                None => notes.push((note, vec![place])),
            }
        }
    }
    notes.extend(
        run.skipped.iter().map(|s| (format!("skipped: {}", s.reason), vec![s.id.to_string()])),
    );
    for (note, places) in notes {
        let places = match places.as_slice() {
            all if all.len() == summaries.len() && all.len() > 1 => "every case".to_owned(),
            [place] => place.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
            [] => continue,
        };
        let _ = writeln!(text, "\n{places}: {note}");
    }
    text
}

fn tail(unmeasured: &Unmeasured) -> Option<String> {
    let Unmeasured::Failed { failure, .. } = unmeasured else { return None };
    let lines = failure.tail()?.lines().map(|line| format!("  | {line}"));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// The table of one scenario, under a heading that holds what all its cases share.
fn scenario_table(run: &Run, scenario: &str, rows: &[(&Case, &Summary)]) -> String {
    let axes_of = |case: &Case| -> Vec<(String, String)> {
        let pairs = case.axes().split(',').filter_map(|axis| axis.split_once('='));
        pairs.map(|(axis, value)| (axis.to_owned(), value.to_owned())).collect()
    };
    let Some((first, _)) = rows.first() else { return String::new() };
    let (shared, varied): (Vec<_>, Vec<_>) = axes_of(first)
        .into_iter()
        .partition(|axis| rows.iter().all(|(case, _)| axes_of(case).contains(axis)));
    let metrics = columns(first);
    let several = run.subjects.len() > 1;

    let mut header = vec![Cell::new("model")];
    header.extend(varied.iter().map(|(axis, _)| Cell::new(axis)));
    if several {
        header.push(Cell::new("subject"));
    }
    header.extend(metrics.iter().map(|metric| right(metric.spec().label)));
    let mut table = table(header);
    for (case, summary) in rows {
        let mut row = vec![Cell::new(&case.model.name)];
        let values = axes_of(case);
        let value_of =
            |axis: &str| values.iter().find(|(a, _)| a == axis).map_or("", |(_, value)| value);
        row.extend(varied.iter().map(|(axis, _)| Cell::new(value_of(axis))));
        if several {
            row.push(Cell::new(&summary.subject.name));
        }
        let mut absent = match summary.unmeasured.first() {
            Some(Unmeasured::Failed { .. }) => "failed",
            Some(Unmeasured::Skipped { .. }) => "skipped",
            None => "",
        };
        for metric in &metrics {
            let found = summary.metrics.iter().find(|(m, _)| m == metric);
            row.push(match found {
                Some((_, location)) => right(located(*metric, location)),
                // Said once in a row.
                None => right(std::mem::take(&mut absent)),
            });
        }
        table.add_row(row);
    }
    let mut text = format!("\n{scenario}");
    for (axis, value) in shared {
        let _ = write!(text, "  {axis}={value}");
    }
    text.push('\n');
    push(&mut text, &table);
    text
}

/// The metrics for the sake of which a case is run.
fn columns(case: &Case) -> Vec<Metric> {
    let memory = [Metric::PeakRss];
    match case.workload.metrics() {
        [] => [Metric::LoadTime, Metric::PeakRss, Metric::WeightBytes, Metric::KvBytes].to_vec(),
        metrics => metrics.iter().copied().chain(memory).collect(),
    }
}

fn located(metric: Metric, location: &Location) -> String {
    let value = metric.show(location.median);
    match location.spread {
        Some(spread) => format!("{value} ±{}", per_cent(spread)),
        None => value,
    }
}

/// Two subjects side by side.
pub(crate) fn comparison(base: &str, head: &str, pairs: &[Pair]) -> String {
    let mut text = format!("base {base}\nhead {head}\n");
    for pair in pairs {
        let _ = writeln!(text, "\n{}", pair.case);
        match &pair.comparison {
            Comparison::Rows(rows) => {
                let mut table = table(vec![
                    Cell::new("metric"),
                    right("base"),
                    right("head"),
                    right("head/base"),
                ]);
                for row in rows {
                    table.add_row([
                        Cell::new(row.metric.spec().label),
                        right(located(row.metric, &row.base)),
                        right(located(row.metric, &row.head)),
                        right(format!("{:.3} {:11}", row.ratio(), row.change())),
                    ]);
                }
                push(&mut text, &table);
            }
            Comparison::Broken(reason) => {
                let _ = writeln!(text, "  broken: {reason}");
            }
            Comparison::Invalid(reasons) => {
                let _ = writeln!(text, "  not comparable:");
                for reason in reasons {
                    let _ = writeln!(text, "    {reason}");
                }
            }
            Comparison::Missing(reason) => {
                let _ = writeln!(text, "  not compared: {reason}");
            }
        }
        for difference in &pair.differences {
            let _ = writeln!(text, "  {difference}");
        }
        for note in &pair.notes {
            let _ = writeln!(text, "  {note}");
        }
    }
    text.push_str(
        "\nThis shows medians and the scaled median deviation of rounds. It is no verdict.\n",
    );
    text
}

/// `1 case`, `2 cases`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

fn per_cent(fraction: f64) -> String {
    format!("{:.1}%", fraction * 100.0)
}

fn right(content: impl ToString) -> Cell {
    Cell::new(content).set_alignment(CellAlignment::Right)
}

/// A table with nothing but a line below its header.
fn table(header: Vec<Cell>) -> Table {
    const STYLE: TableStyle =
        TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
    let mut table = Table::new();
    table.load_style(STYLE).set_header(header);
    table
}

fn push(text: &mut String, table: &Table) {
    text.push_str(&table.trim_fmt());
    text.push('\n');
}

/// A path as it is shown: relative to the current directory where that is shorter.
pub(crate) fn path(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}
