//! The report of a gate as JUnit XML: a suite for each case, a test for each of its series.

use maud::{Markup, PreEscaped, html};
use windtunnel_ledger::gate::{CaseReport, Report, Row, Unjudged};
use windtunnel_ledger::record::Run;
use windtunnel_ledger::verdict::Verdict;

use crate::show::row_in_words;

/// The document.
pub(super) fn xml(run: &Run, report: &Report) -> String {
    let markup = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        testsuites name=(run.id.0) {
            @for case in &report.cases { (suite(case)) }
            @if !report.unjudged.is_empty() { (not_judged(&report.unjudged)) }
        }
    };
    markup.into_string() + "\n"
}

fn suite(case: &CaseReport) -> Markup {
    // What is wrong with a case as a whole is a test of its own.
    let whole =
        matches!(case.verdict, Verdict::Broken | Verdict::Invalid) && !case.reasons.is_empty();
    let tests = if whole { 1 } else { case.rows.len() };
    let failed = |row: &&Row| matches!(row.counted(), Verdict::Regressed | Verdict::Invalid);
    let failures = if whole { 1 } else { case.rows.iter().filter(failed).count() };
    html! {
        testsuite name=(case.case) tests=(tests) failures=(failures) {
            @if whole {
                testcase classname=(case.case) name="comparison" {
                    failure type=(case.verdict) message=(printable(&case.reasons.join("; "))) {
                        @if let Some(tail) = &case.tail { (printable(tail)) }
                    }
                }
            } @else {
                @for row in &case.rows { (test(case, row)) }
            }
        }
    }
}

/// What a process printed, without the characters that XML knows no way to write.
fn printable(text: &str) -> String {
    let is_none = |c: char| matches!(c, '\u{fffe}' | '\u{ffff}');
    let written = |c: &char| matches!(c, '\n' | '\t') || !(c.is_control() || is_none(*c));
    text.chars().filter(written).collect()
}

fn test(case: &CaseReport, row: &Row) -> Markup {
    let words = printable(&row_in_words(row));
    html! {
        testcase classname=(case.case) name=(row.series) {
            @match (row.counted(), row.verdict) {
                (Verdict::Regressed | Verdict::Invalid | Verdict::Broken, verdict) => {
                    failure type=(verdict) message=(words) {}
                }
                (Verdict::Inconclusive, _) | (_, Verdict::Inconclusive) => {
                    skipped message=(words) {}
                }
                _ => { system-out { (words) } }
            }
        }
    }
}

fn not_judged(unjudged: &[Unjudged]) -> Markup {
    html! {
        testsuite name="not judged" tests=(unjudged.len()) skipped=(unjudged.len()) {
            @for Unjudged { case, series, reason } in unjudged {
                testcase classname=(case) name=(series.map_or_else(|| "all".to_owned(), |s| s.to_string())) {
                    skipped message=(printable(reason)) {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_write_is_left_out() {
        assert_eq!(printable("a\u{1b}[1mb\n\tc\u{0}\u{ffff}ü"), "a[1mb\n\tcü");
    }
}
