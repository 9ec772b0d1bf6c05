//! Percentiles of latencies, with bounds.

use std::fmt::Write as _;

use comfy_table::{Cell, Table};
use windtunnel_ledger::case::Case;
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Outcome, Record, Run, Samples};
use windtunnel_ledger::summary::Summary;
use windtunnel_ledger::tail::{CONFIDENCE, LEVELS, Percentile, tails};

use super::{count, right, table};

/// The percentiles of one scenario: a line for each case and subject, followed by a row for each
/// latency. Empty if no case has any.
pub(super) fn of_scenario(
    run: &Run,
    scenario: &str,
    rows: &[(&Case, &Summary)],
    records: &[Record],
) -> String {
    let mut header = vec![Cell::new("latency"), right("samples")];
    header.extend(LEVELS.map(|(name, _)| right(name)));
    let mut table = table(header);
    let (mut names, mut too_few) = (Vec::new(), 0);
    for (case, summary) in rows {
        for tail in tails(&measured(summary, records)) {
            let is_known = |p: &Percentile| matches!(p, Percentile::Bounded { .. });
            if !tail.at.iter().any(is_known) {
                too_few += 1;
                continue;
            }
            let mut row = vec![Cell::new(tail.metric.spec().label), right(tail.samples)];
            row.extend(tail.at.map(|percentile| right(shown(tail.metric, percentile))));
            table.add_row(row);
            names.push(match run.subjects.len() {
                0 | 1 => short(case, rows),
                _ => format!("{} on {}", short(case, rows), summary.subject.name),
            });
        }
    }
    if names.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n{scenario}: percentiles of all samples, with bounds between which the true one lies with {:.0} %\n",
        CONFIDENCE * 100.0
    );
    text.push_str(&named(&table, &names));
    if too_few > 0 {
        let rows = count(too_few, "row");
        let _ = writeln!(text, "{rows} left out: too few samples, even for a median");
    }
    text
}

/// A table with the name of each row above it, where it differs from the previous row's: a column
/// of names would take the room that the numbers need.
fn named(table: &Table, names: &[String]) -> String {
    let text = table.trim_fmt();
    let mut lines = text.lines();
    let mut named = String::new();
    for (line, margin) in lines.by_ref().take(2).zip(["  ", "──"]) {
        let _ = writeln!(named, "{margin}{line}");
    }
    let mut before = None;
    for (line, name) in lines.zip(names) {
        if before != Some(name) {
            let _ = writeln!(named, "  {name}");
            before = Some(name);
        }
        let _ = writeln!(named, "  {line}");
    }
    named
}

/// The measured rounds of one case and subject.
fn measured<'a>(summary: &Summary, records: &'a [Record]) -> Vec<&'a Samples> {
    let theirs =
        records.iter().filter(|r| r.case.id == summary.case && r.subject == summary.subject);
    let samples = theirs.filter_map(|record| match &record.outcome {
        Outcome::Measured(samples) => Some(samples),
        Outcome::Attributed(_)
        | Outcome::Void { .. }
        | Outcome::Failed(_)
        | Outcome::Skipped(_) => None,
    });
    samples.collect()
}

/// The name of a case without its scenario and without the axes that all of `rows` share.
pub(super) fn short(case: &Case, rows: &[(&Case, &Summary)]) -> String {
    let shared =
        |axis: &str| rows.iter().all(|(other, _)| other.axes().split(',').any(|a| a == axis));
    let axes: Vec<&str> = case.axes().split(',').filter(|axis| !shared(axis)).collect();
    match axes[..] {
        [] => case.model.name.clone(),
        _ => format!("{}/{}", case.model.name, axes.join(",")),
    }
}

/// `12.3 ms -2+5%`, or how many samples are needed.
fn shown(metric: Metric, percentile: Percentile) -> String {
    match percentile {
        Percentile::Bounded { value, low, high } if value > 0.0 => {
            let per_cent = |bound: f64| (bound / value - 1.0).abs() * 100.0;
            format!("{} -{:.0}+{:.0}%", metric.show(value), per_cent(low), per_cent(high))
        }
        Percentile::Bounded { value, .. } => metric.show(value),
        Percentile::TooFew { needed } => format!("needs {needed}"),
    }
}
