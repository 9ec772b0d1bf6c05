//! The report of a gate: for each case a table of all its series, the worst first, then what was
//! not judged, and the verdict in the last line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use comfy_table::Cell;
use windtunnel_ledger::baseline::Key;
use windtunnel_ledger::gate::{Arm, CaseReport, Control, Report, Row};
use windtunnel_ledger::judge::Finding;
use windtunnel_ledger::policy::Weight;
use windtunnel_ledger::record::{Run, Subject};
use windtunnel_ledger::unit::{share, signed};
use windtunnel_ledger::verdict::Verdict;

use super::verdicts::two_modes;
use super::{Ink, count, push, right, table};

/// The report of a gate.
pub(crate) fn ruling(run: &Run, report: &Report, ink: Ink) -> String {
    let name = |arm: Arm| run.subjects.get(arm as usize).map_or_else(String::new, Subject::origin);
    let names = format!("base {}\nhead {}\n", name(Arm::Base), name(Arm::Head));
    let origin = origin(run).map_or_else(String::new, |line| format!("{line}\n"));
    names + &origin + &verdicts_of(report, ink)
}

/// The origin of a stored base, as a line.
pub(crate) fn origin(run: &Run) -> Option<String> {
    let origin = run.gate.as_ref()?.baseline.as_ref()?;
    // A run leaves one session file per scenario; their names all begin with the time of the run.
    let time = |name: &str| Some(Key::parse(name)?.session.split('-').next()?.to_owned());
    let times: BTreeSet<String> = origin.sessions.iter().filter_map(|name| time(name)).collect();
    Some(format!("stored {origin}, {}", count(times.len(), "session")))
}

/// The report of a comparison whose sides have been named already.
pub(crate) fn verdicts_of(report: &Report, ink: Ink) -> String {
    let mut text = String::new();
    let mut cases: Vec<&CaseReport> = report.cases.iter().collect();
    cases.sort_by_key(|case| case.verdict);
    let mut told = BTreeSet::new();
    for case in cases {
        // A failed build fails all cases in the same way: its output is shown once.
        let tail = case.tail.as_deref().filter(|tail| told.insert(*tail));
        text.push_str(&of_case(case, tail, ink));
    }
    let (company, counts) = (report.company(), counts(report));
    let _ = writeln!(text, "\n{} judged {company}{counts}", report.judged);
    for control in &report.control {
        let _ = writeln!(text, "{}", self::control(control));
    }
    for line in census(report) {
        let _ = writeln!(text, "{line}");
    }
    let verdict = ink.verdict(report.verdict, &verdict_in_words(report));
    let _ = writeln!(text, "\nverdict: {verdict}");
    text
}

/// How many series got each verdict, to follow their total: `: 5 regressed, 9 pass`.
pub(crate) fn counts(report: &Report) -> String {
    let of = |verdict: Verdict| {
        let rows = report.cases.iter().flat_map(|case| &case.rows);
        let count = rows.filter(|row| row.rule.is_some() && row.verdict == verdict).count();
        (count > 0).then(|| format!("{count} {verdict}"))
    };
    let counts: Vec<String> = Verdict::ALL.into_iter().filter_map(of).collect();
    if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) }
}

fn of_case(case: &CaseReport, tail: Option<&str>, ink: Ink) -> String {
    let mut verdict = ink.verdict(case.verdict, &case.verdict.to_string());
    // For any other verdict the rows say it.
    if let Verdict::Pass | Verdict::Improved = case.verdict {
        for (_, words) in case.warned() {
            let _ = write!(verdict, "; {words}");
        }
    }
    let mut text = format!("\n{}: {verdict}\n", case.case);
    for remark in case.remarks() {
        let _ = writeln!(text, "  {remark}");
    }
    for line in tail.iter().flat_map(|tail| tail.lines()) {
        let _ = writeln!(text, "  | {line}");
    }
    let mut rows: Vec<&Row> = case.rows.iter().collect();
    rows.sort_by_key(|row| row.verdict);
    let mut table = table(
        [Cell::new("series"), Cell::new("verdict")].into_iter().chain(COLUMNS.map(right)).collect(),
    );
    for row in &rows {
        let named = [Cell::new(row.series.label()), Cell::new(row_verdict(row))];
        table.add_row(named.into_iter().chain(numbers(row).map(right)));
    }
    if !rows.is_empty() {
        push(&mut text, &table);
    }
    for row in rows {
        let label = row.series.label();
        if let Some(lack) = row.lacks {
            let _ = writeln!(text, "  {label} lacks {lack}");
        }
        if let Some(reason) = &row.reason {
            let _ = writeln!(text, "  {label}: {reason}");
        }
        for (side, modes) in &row.modes {
            let show = |value| row.series.metric.show(value);
            let _ = writeln!(text, "  {label}: {}", two_modes(*side, modes, show));
        }
    }
    for difference in &case.differences {
        let _ = writeln!(text, "  {difference}");
    }
    text
}

/// The headers of [`numbers`].
const COLUMNS: [&str; 7] = ["base", "head", "worse by", "interval", "margin", "MDE", "rounds"];

/// The numbers of a series.
pub(crate) fn numbers(row: &Row) -> [String; 7] {
    let value = |value: Option<f64>| {
        value.map_or_else(|| "–".to_owned(), |value| row.series.metric.show(value))
    };
    let finding =
        |show: fn(&Finding) -> String| row.finding.as_ref().map_or_else(|| "–".to_owned(), show);
    [
        value(row.base),
        value(row.head),
        finding(|finding| signed(finding.effect)),
        finding(|finding| format!("{} to {}", signed(finding.low), signed(finding.high))),
        finding(|finding| share(finding.margin)),
        finding(|finding| share(finding.mde)),
        finding(|finding| finding.rounds.to_string()),
    ]
}

/// The verdict on a series, with its remarks.
pub(crate) fn row_verdict(row: &Row) -> String {
    let words = row.beside();
    match words.is_empty() {
        true => row.verdict.to_string(),
        false => format!("{} ({})", row.verdict, words.join(", ")),
    }
}

/// A series and its verdict in one sentence.
pub(crate) fn row_in_words(row: &Row) -> String {
    let mut text = format!("{}: {}", row.series.label(), row_verdict(row));
    if let Some(Finding { effect, low, high, margin, mde, rounds }) = row.finding {
        let _ = write!(
            text,
            ", worse by {} (from {} to {}) with a margin of {} after {rounds} rounds that could have seen {}",
            signed(effect),
            signed(low),
            signed(high),
            share(margin),
            share(mde)
        );
    }
    if let Some(lack) = row.lacks {
        let _ = write!(text, "; it lacks {lack}");
    }
    if let Some(reason) = &row.reason {
        let _ = write!(text, "; {reason}");
    }
    text
}

/// How much the base differed from itself, as a line.
pub(crate) fn control(control: &Control) -> String {
    let Control { class, pairs, low, high } = control;
    format!(
        "control, {class}: base against itself: {low:+.2} to {high:+.2} margins worse ({})",
        count(*pairs, "pair")
    )
}

/// What was not judged: a line for each reason.
pub(crate) fn census(report: &Report) -> Vec<String> {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for unjudged in &report.unjudged {
        let what = match unjudged.series {
            Some(series) => format!("{series} of {}", unjudged.case),
            None => unjudged.case.to_string(),
        };
        reasons.entry(&unjudged.reason).or_default().push(what);
    }
    let line = |(reason, what): (&str, Vec<String>)| match what.as_slice() {
        [only] => format!("not judged: {only}: {reason}"),
        [first, rest @ ..] => format!("not judged: {first} and {} more: {reason}", rest.len()),
        [] => String::new(),
    };
    reasons.into_iter().map(line).collect()
}

/// The verdict on a run. It also counts the cases that were not seen, and says what only warns and
/// was not decided: neither has passed.
pub(crate) fn verdict_in_words(report: &Report) -> String {
    let seen = report.cases.len();
    let unseen = report.unjudged.iter().filter(|unjudged| unjudged.series.is_none()).count();
    let mut text = match (report.verdict, report.cases.is_empty()) {
        (Verdict::Invalid, true) => "invalid: nothing was compared".to_owned(),
        (verdict, _) => verdict.to_string(),
    };
    if unseen > 0 && seen > 0 {
        let _ = write!(text, " in the {} seen; {unseen} not seen", count(seen, "case"));
    }
    if report.verdict == Verdict::Inconclusive && report.weight == Weight::Warns {
        text.push_str(" (the policy lets that pass)");
    }
    for (_, words) in report.warned() {
        let _ = write!(text, "; {words}");
    }
    text
}
