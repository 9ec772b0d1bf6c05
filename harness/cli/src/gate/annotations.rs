//! Findings as workflow commands, which a service shows beside the changed lines.

use std::fmt::Write as _;

use windtunnel_ledger::gate::{CaseReport, Report, Row};
use windtunnel_ledger::policy::Weight;
use windtunnel_ledger::verdict::Verdict;

use super::code_of;
use crate::exit;
use crate::show::{row_in_words, verdict_in_words};

/// One line per finding, as GitHub Actions reads it. Only the first ten of each level are shown, so
/// the worst come first.
pub(super) fn github(report: &Report) -> String {
    let mut findings: Vec<(Verdict, String)> = Vec::new();
    let mut find = |level: &str, verdict: Verdict, case: &CaseReport, message: &str| {
        findings.push((verdict, command(level, verdict, case, message)));
    };
    for case in &report.cases {
        if is_whole(case) {
            find("error", case.verdict, case, &case.reasons.join("; "));
        } else if let Some(unfinished) = &case.unfinished {
            find("warning", case.verdict, case, unfinished);
        }
    }
    for (case, row) in report.worst_first() {
        if is_finding(row) && !is_whole(case) {
            let level = match (row.weight, row.verdict) {
                (Weight::Blocks, Verdict::Regressed | Verdict::Invalid) => "error",
                _ => "warning",
            };
            find(level, row.verdict, case, &row_in_words(row));
        }
    }
    findings.sort_by_key(|(verdict, _)| *verdict);
    let mut text: String = findings.into_iter().map(|(_, line)| line).collect();
    // No finding is an error, yet the gate does not pass: nothing was compared, or an undecided
    // result blocks.
    if code_of(report) != exit::PASS && !text.contains("::error ") {
        let title = property(&format!("gate: {}", report.verdict));
        let _ = writeln!(text, "::error title={title}::{}", data(&verdict_in_words(report)));
    }
    text
}

/// Whether the case is broken or invalid as a whole, whatever its series say.
fn is_whole(case: &CaseReport) -> bool {
    matches!(case.verdict, Verdict::Broken | Verdict::Invalid) && !case.reasons.is_empty()
}

fn is_finding(row: &Row) -> bool {
    !matches!(row.verdict, Verdict::Pass | Verdict::Improved)
}

fn command(level: &str, verdict: Verdict, case: &CaseReport, message: &str) -> String {
    let title = property(&format!("{verdict}: {}", case.case));
    format!("::{level} title={title}::{}\n", data(message))
}

/// A message, with the characters that would end it or start something else percent-encoded.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::fixture;

    #[test]
    fn a_case_that_is_unfinished_keeps_its_series() {
        let mut report = fixture::report("a,b");
        let case = &mut report.cases[0];
        (case.verdict, case.rows[0].verdict) = (Verdict::Invalid, Verdict::Invalid);
        case.unfinished = Some("the budget ended".to_owned());
        let text = github(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0], "::warning title=invalid%3A a%2Cb::the budget ended");
        assert!(lines[1].starts_with("::error title=invalid%3A a%2Cb::decode: invalid"), "{text}");
    }

    #[test]
    fn the_worst_comes_first_of_all_cases() {
        let mut report = fixture::report("a");
        let mut worse = fixture::report("b").cases.remove(0);
        (worse.verdict, worse.rows[0].verdict) = (Verdict::Regressed, Verdict::Regressed);
        report.cases.push(worse);
        let text = github(&report);
        let titles: Vec<&str> = text.lines().filter_map(|line| line.split("::").nth(1)).collect();
        assert_eq!(titles, ["error title=regressed%3A b", "warning title=inconclusive%3A a"]);
    }

    #[test]
    fn what_stops_a_merge_has_an_error_even_where_nothing_was_compared() {
        let mut report = fixture::report("a");
        report.cases.clear();
        (report.verdict, report.weight) = (Verdict::Invalid, Weight::Blocks);
        assert!(github(&report).starts_with("::error title=gate%3A invalid::"), "{report:?}");
        (report.verdict, report.weight) = (Verdict::Inconclusive, Weight::Warns);
        assert_eq!(github(&report), "");
    }

    #[test]
    fn what_would_end_a_command_is_written_as_bytes() {
        assert_eq!(data("5% of\nall, so: far"), "5%25 of%0Aall, so: far");
        assert_eq!(property("a=1,b:2"), "a=1%2Cb%3A2");
    }
}
