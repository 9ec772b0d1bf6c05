//! The report of a gate as JUnit XML: a suite per case, a test per series, and one test for the
//! whole, which fails if the command does.

use maud::{Markup, PreEscaped, html};
use windtunnel_ledger::gate::{CaseReport, Report, Row, Unjudged};
use windtunnel_ledger::record::Run;
use windtunnel_ledger::verdict::Verdict;

use super::code_of;
use crate::exit;
use crate::show::{row_in_words, verdict_in_words};

/// The document.
pub(super) fn xml(run: &Run, report: &Report) -> String {
    let markup = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        testsuites name=(printable(&run.id.0)) {
            @for case in &report.cases { (suite(case)) }
            @if !report.unjudged.is_empty() { (not_judged(&report.unjudged)) }
            (whole(report))
        }
    };
    markup.into_string() + "\n"
}

fn whole(report: &Report) -> Markup {
    let words = verdict_in_words(report);
    let fails = code_of(report) != exit::PASS;
    html! {
        testsuite name="gate" tests="1" failures=(u8::from(fails)) {
            testcase classname="gate" name="verdict" {
                @if fails {
                    failure type=(report.verdict) message=(words) {}
                } @else {
                    system-out { (words) }
                }
            }
        }
    }
}

fn suite(case: &CaseReport) -> Markup {
    // A failure of the case as a whole is a test of its own.
    let whole =
        matches!(case.verdict, Verdict::Broken | Verdict::Invalid) && !case.reasons.is_empty();
    let unfinished = case.unfinished.as_deref().filter(|_| !whole);
    let tests = if whole { 1 } else { case.rows.len() } + usize::from(unfinished.is_some());
    let failed = |row: &&Row| matches!(row.counted(), Verdict::Regressed | Verdict::Invalid);
    let failures = if whole { 1 } else { case.rows.iter().filter(failed).count() };
    let name = printable(case.case.as_str());
    html! {
        testsuite name=(name) tests=(tests) failures=(failures) {
            @if whole {
                testcase classname=(name) name="comparison" {
                    failure type=(case.verdict) message=(printable(&case.reasons.join("; "))) {
                        @if let Some(tail) = &case.tail { (printable(tail)) }
                    }
                }
            } @else {
                @if let Some(unfinished) = unfinished {
                    testcase classname=(name) name="budget" {
                        skipped message=(printable(unfinished)) {}
                    }
                }
                @for row in &case.rows { (test(case, row)) }
            }
        }
    }
}

/// What a process printed, without the characters that XML cannot represent.
fn printable(text: &str) -> String {
    let is_none = |c: char| matches!(c, '\u{fffe}' | '\u{ffff}');
    let written = |c: &char| matches!(c, '\n' | '\t') || !(c.is_control() || is_none(*c));
    text.chars().filter(written).collect()
}

fn test(case: &CaseReport, row: &Row) -> Markup {
    let words = printable(&row_in_words(row));
    html! {
        testcase classname=(printable(case.case.as_str())) name=(row.series) {
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
                testcase classname=(printable(case.as_str())) name=(series.map_or_else(|| "all".to_owned(), |s| s.to_string())) {
                    skipped message=(printable(reason)) {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use windtunnel_ledger::policy::Weight;

    use super::*;
    use crate::gate::fixture;

    #[test]
    fn a_case_that_is_unfinished_keeps_its_series() {
        let mut report = fixture::report("a");
        let case = &mut report.cases[0];
        (case.verdict, case.rows[0].verdict) = (Verdict::Invalid, Verdict::Invalid);
        case.unfinished = Some("the budget ended".to_owned());
        let text = suite(case).into_string();
        assert!(text.contains("name=\"decode-rate\""), "{text}");
        assert!(!text.contains("name=\"comparison\""), "{text}");
        let budget = "name=\"budget\"><skipped message=\"the budget ended\">";
        assert!(text.contains(budget), "{text}");
        assert!(text.contains("tests=\"2\""), "{text}");
    }

    #[test]
    fn the_whole_fails_where_the_command_does() {
        let mut report = fixture::report("a");
        let failures = |report: &Report| whole(report).into_string().contains("<failure ");
        for (verdict, weight, fails) in [
            (Verdict::Pass, Weight::Warns, false),
            (Verdict::Inconclusive, Weight::Warns, false),
            (Verdict::Inconclusive, Weight::Blocks, true),
            (Verdict::Invalid, Weight::Blocks, true),
        ] {
            (report.verdict, report.weight) = (verdict, weight);
            assert_eq!(failures(&report), fails, "{verdict}");
        }
    }

    #[test]
    fn a_case_with_an_odd_name_is_a_suite_all_the_same() {
        let report = fixture::report("a\u{1}\"<b>&");
        let text = suite(&report.cases[0]).into_string();
        assert!(text.contains("<testsuite name=\"a&quot;&lt;b&gt;&amp;\""), "{text}");
        assert!(text.contains("<testcase classname=\"a&quot;&lt;b&gt;&amp;\""), "{text}");
    }

    #[test]
    fn what_xml_cannot_write_is_left_out() {
        assert_eq!(printable("a\u{1b}[1mb\n\tc\u{0}\u{ffff}ü"), "a[1mb\n\tcü");
    }
}
