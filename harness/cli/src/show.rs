//! Everything that is printed for people: tables and results on stdout, everything else on stderr.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};
use windtunnel_ledger::compare::{Comparison, Pair, Row};
use windtunnel_ledger::record::Planned;
use windtunnel_ledger::series::Series;
use windtunnel_ledger::summary::Location;
use windtunnel_ledger::unit::{Bytes, Nanos};

use crate::benchmarks;
use crate::estimate::Estimate;
use crate::hub::Outlook;
use crate::plan::Plan;
use crate::starved::Starved;

mod baseline;
mod bisect;
mod calibration;
mod data;
mod doctor;
mod explanation;
mod gap;
mod gate;
mod hub;
mod ink;
mod integration;
mod live;
mod museum;
mod percentiles;
mod results;
mod roof;
mod room;
mod sheet;
mod stages;
mod upstream;
mod verdicts;

pub(crate) use baseline::{baseline, baselines};
pub(crate) use bisect::{answer, bisected};
pub(crate) use calibration::calibration;
pub(crate) use data::{Data, judged};
pub(crate) use doctor::diagnosis;
pub(crate) use explanation::explanation;
pub(crate) use gap::gap;
pub(crate) use gate::{
    census, control, counts, numbers, origin, row_in_words, row_verdict, ruling, verdict_in_words,
    verdicts_of,
};
pub(crate) use hub::fetched;
pub(crate) use ink::Ink;
pub(crate) use integration::{integration, integration_markdown};
pub(crate) use live::so_far;
pub(crate) use museum::{museum, museum_markdown};
pub(crate) use results::{records, run};
pub(crate) use room::Room;
pub(crate) use stages::{stages, stages_of_two};
pub(crate) use upstream::{commit, commits, proposals, status};
pub(crate) use verdicts::verdicts;

/// Prints a result. A reader that has closed the pipe is no error: it has read enough.
pub(crate) fn result(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints a message about the work. Failing to print it stops nothing.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints an error with its causes.
pub(crate) fn error(error: &anyhow::Error) {
    note(&format!("error: {error:#}"));
}

/// How a plan shows the cases that this machine cannot run.
pub(crate) enum Unable {
    /// Below the others, each with what it lacks.
    Named,
    /// As one line for each thing that is lacking.
    Counted {
        /// The shell line that lists them.
        named_by: String,
    },
}

/// A plan: its cases, those that can run here first, what is left out, and the estimates.
pub(crate) fn plan(
    plan: &Plan,
    estimates: &[Estimate],
    unable: &Unable,
    starved: &Starved,
    outlooks: &[Outlook],
) -> String {
    let mut table = table(vec![Cell::new("case"), right("rounds"), right("time"), right("memory")]);
    let (mut times, mut memories) = (Vec::new(), Vec::new());
    let mut lacking: BTreeMap<&str, Vec<&Planned>> = BTreeMap::new();
    for (planned, estimate) in plan.cases.iter().zip(estimates) {
        if let Some(lack) = estimate.lacks {
            lacking.entry(lack).or_default().push(planned);
            continue;
        }
        let rounds = u64::from(planned.rounds);
        let whole = estimate.time.map(|time| Nanos(time.0.saturating_mul(rounds)));
        times.push(whole);
        memories.push(estimate.memory);
        table.add_row([
            Cell::new(&planned.case.id),
            right(rounds),
            right(about(whole.map(long))),
            right(about(estimate.memory)),
        ]);
    }
    let mut folded = String::new();
    for (lack, cases) in &lacking {
        match unable {
            Unable::Named => {
                for planned in cases {
                    let (id, rounds) = (Cell::new(&planned.case.id), right(planned.rounds));
                    table.add_row([id, rounds, right(format!("needs {lack}")), right("–")]);
                }
            }
            Unable::Counted { named_by } => {
                let (cases, need, them) = match cases.len() {
                    1 => (count(1, "case"), "needs", "it"),
                    many => (count(many, "case"), "need", "them"),
                };
                let _ = writeln!(folded, "{cases} {need} {lack}: `{named_by}` names {them}");
            }
        }
    }
    let mut text = String::new();
    if !table.is_empty() {
        push(&mut text, &table);
    }
    if !folded.is_empty() {
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = write!(text, "{gap}{folded}");
    }
    if plan.cases.iter().any(benchmarks::is_open) {
        text.push_str(
            "\nA bench stands for all of its benchmarks: once it is built, each is a case.\n",
        );
    }
    if !plan.skipped.is_empty() {
        text.push_str("\nskipped by the scenarios:\n");
        for skipped in &plan.skipped {
            let _ = writeln!(text, "  {}: {}", skipped.id, skipped.reason);
        }
    }
    text.push_str(&short_of_memory(plan, starved));
    text.push_str(&hub::outlooks(outlooks));
    let gap = if text.is_empty() { "" } else { "\n" };
    let _ = writeln!(
        text,
        "{gap}{}, {} skipped, {} left out by the filter{}.{}",
        count(plan.cases.len(), "case"),
        plan.skipped.len(),
        plan.filtered,
        plan.in_other_shards(),
        match times.is_empty() && !lacking.is_empty() {
            true => " Nothing here can run on this machine.".to_owned(),
            false => needs(&times, &memories),
        }
    );
    text
}

/// What the cases that can run need in total, as far as it is known.
fn needs(times: &[Option<Nanos>], memories: &[Option<Bytes>]) -> String {
    if times.is_empty() {
        return String::new();
    }
    let sum = times.iter().flatten().fold(0_u64, |sum, time| sum.saturating_add(time.0));
    let time = match times.iter().filter(|time| time.is_none()).count() {
        0 => about(Some(long(Nanos(sum)))),
        all if all == times.len() => "unknown".to_owned(),
        some => format!(
            "{}, plus {} of unknown time",
            about(Some(long(Nanos(sum)))),
            count(some, "case")
        ),
    };
    let memory = match memories.iter().flatten().max() {
        Some(most) if memories.contains(&None) => format!("~{most} at most, as far as is known"),
        Some(most) => format!("~{most} at most"),
        None => "unknown".to_owned(),
    };
    format!(" Time {time}, memory {memory}.")
}

/// A time, rounded for a person who waits for it.
fn long(time: Nanos) -> String {
    const MINUTE: u64 = 60_000_000_000;
    let minutes = time.0.saturating_add(MINUTE / 2) / MINUTE;
    match minutes {
        _ if time.0 < 2 * MINUTE => time.to_string(),
        ..120 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

/// The cases that will be skipped because a case that is no larger ran out of memory before, with
/// the subject on which it did.
fn short_of_memory(plan: &Plan, starved: &Starved) -> String {
    let mut text = String::new();
    for planned in &plan.cases {
        for (subject, reason) in starved.reasons(&planned.case) {
            let features = match subject.features.is_empty() {
                true => String::new(),
                false => format!(" [{}]", subject.features.join(",")),
            };
            let (id, name) = (&planned.case.id, &subject.name);
            let _ = writeln!(text, "  {id} on `{name}`{features}: {reason}");
        }
    }
    match text.is_empty() {
        true => text,
        false => format!("\nskipped by `run` until `--forget-oom` tries them again:\n{text}"),
    }
}

fn about(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| format!("~{}", value.to_string()))
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
                        Cell::new(row.series.label()),
                        right(located(row.series, &row.base)),
                        right(located(row.series, &row.head)),
                        right(format!("{} {:11}", ratio(row), row.change())),
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
    text
}

fn located(series: Series, location: &Location) -> String {
    let value = series.metric.show(location.median);
    match location.spread {
        Some(spread) => format!("{value} ±{}", per_cent(spread)),
        None => value,
    }
}

/// head / base; there is no ratio to zero.
fn ratio(row: &Row) -> String {
    row.ratio().map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.3}"))
}

/// `1 case`, `2 cases`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// The beginning of a commit's hash.
pub(crate) fn short(hash: &str) -> &str {
    hash.get(..9).unwrap_or(hash)
}

fn per_cent(fraction: f64) -> String {
    format!("{:.1}%", fraction * 100.0)
}

/// A value in any unit with `digits` significant digits; whole numbers keep all of theirs, and what
/// is below a thousandth is shown as a power of ten.
fn digits(value: f64, digits: usize) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 1e-3 => format!("{value:.*e}", digits.saturating_sub(1)),
        size => {
            let whole = (size.log10().floor() as i32).saturating_add(1);
            let decimals = (digits as i32).saturating_sub(whole).max(0) as usize;
            format!("{value:.decimals$}")
        }
    }
}

fn right(content: impl ToString) -> Cell {
    Cell::new(content).set_alignment(CellAlignment::Right)
}

/// A table with no lines but one below its header.
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

/// A path as it is shown: relative to the current directory if it is inside.
pub(crate) fn path(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;
    use crate::workspace::Workspace;

    /// The output for a plan of `batch=1` to `batch=3`; `need_a_gpu` says which cases need a GPU.
    fn listed(need_a_gpu: [bool; 3], unable: &Unable) -> String {
        const SCENARIO: &str = "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = 2\n\
            matrix = { batch = [1, 2, 3] }\n";
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("scenarios/a")).unwrap();
        std::fs::write(dir.path().join("scenarios/a/x.toml"), SCENARIO).unwrap();
        let workspace = Workspace::around(dir.path()).unwrap();
        let scenarios = scenario::load(&workspace, &["a".into()], &[]).unwrap();
        let expanded = crate::plan::expand(&scenarios, &[], None);
        let estimates = need_a_gpu.map(|needs| match needs {
            true => Estimate { time: Some(Nanos(0)), memory: Some(Bytes(0)), lacks: Some("a GPU") },
            false => Estimate {
                time: Some(Nanos(20_000_000_000)),
                memory: Some(Bytes(2 << 20)),
                lacks: None,
            },
        });
        plan(&expanded, &estimates, unable, &Starved::default(), &[])
    }

    #[test]
    fn what_can_run_here_is_listed_first_and_the_rest_is_counted_or_named() {
        let counted = Unable::Counted { named_by: "windtunnel list a --all".into() };
        insta::assert_snapshot!(listed([true, false, true], &counted), @"
          case                     rounds      time      memory
        ─────────────────────────────────────────────────────────
          a/x/tiny-qwen3/batch=2        2   ~40.0 s   ~2.00 MiB

        2 cases need a GPU: `windtunnel list a --all` names them

        3 cases, 0 skipped, 0 left out by the filter. Time ~40.0 s, memory ~2.00 MiB at most.
        ");
        insta::assert_snapshot!(listed([true, false, false], &Unable::Named), @"
          case                     rounds          time      memory
        ─────────────────────────────────────────────────────────────
          a/x/tiny-qwen3/batch=2        2       ~40.0 s   ~2.00 MiB
          a/x/tiny-qwen3/batch=3        2       ~40.0 s   ~2.00 MiB
          a/x/tiny-qwen3/batch=1        2   needs a GPU           –

        3 cases, 0 skipped, 0 left out by the filter. Time ~80.0 s, memory ~2.00 MiB at most.
        ");
        insta::assert_snapshot!(listed([true; 3], &counted), @"
        3 cases need a GPU: `windtunnel list a --all` names them

        3 cases, 0 skipped, 0 left out by the filter. Nothing here can run on this machine.
        ");
    }

    #[test]
    fn a_small_value_keeps_the_digits_in_which_two_of_them_differ() {
        let large = [100.0698, 27.951, 1.2, 16_358_834_176.0];
        assert_eq!(large.map(|value| digits(value, 4)), ["100.1", "27.95", "1.200", "16358834176"]);
        let small = [0.512_34, 0.001_234_56, 0.000_123_456, -2e-7, 0.0];
        assert_eq!(
            small.map(|value| digits(value, 4)),
            ["0.5123", "0.001235", "1.235e-4", "-2.000e-7", "0"]
        );
        assert_eq!(digits(100.069_84, 6), "100.070");
        assert_eq!([f64::NAN, f64::INFINITY].map(|value| digits(value, 4)), ["NaN", "inf"]);
    }

    #[test]
    fn what_a_plan_needs_is_told_as_far_as_it_is_known() {
        let seconds = |seconds: u64| Some(Nanos(seconds * 1_000_000_000));
        let mebibytes = |n: u64| Some(Bytes(n << 20));
        assert_eq!(needs(&[], &[]), "");
        assert_eq!(needs(&[None], &[None]), " Time unknown, memory unknown.");
        assert_eq!(
            needs(&[seconds(40), seconds(50)], &[mebibytes(2), mebibytes(3)]),
            " Time ~90.0 s, memory ~3.00 MiB at most."
        );
        assert_eq!(
            needs(&[seconds(5_000), None, seconds(900)], &[mebibytes(2), None, None]),
            " Time ~98 min, plus 1 case of unknown time, memory ~2.00 MiB at most, as far as is known."
        );
        assert_eq!(long(Nanos(7_260_000_000_000)), "2 h 1 min");
        assert_eq!(long(Nanos(119_000_000_000)), "119 s");
        assert_eq!(long(Nanos(179_000_000_000)), "3 min");
        assert_eq!(long(Nanos(u64::MAX)), "5124095 h 34 min");
    }
}
