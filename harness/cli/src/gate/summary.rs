//! The report of a gate as Markdown, for a comment on a change.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use windtunnel_ledger::gate::{Arm, CaseReport, Report, Row};
use windtunnel_ledger::integration::effect_in_words;
use windtunnel_ledger::record::Subject;
use windtunnel_ledger::store::Contents;
use windtunnel_ledger::verdict::Verdict;

use crate::show::{census, counts, numbers, origin, row_verdict, verdict_in_words};

/// The line by which a comment is found again, so that it is rewritten instead of adding another.
const MARKER: &str = "<!-- windtunnel gate -->";

/// The longest comment in bytes, roughly: GitHub rejects more than 65,536 characters.
const LONGEST: usize = 60_000;

/// The most undecided series that are not folded: they are no finding, and there can be hundreds.
const UNDECIDED: usize = 10;

/// The summary: findings on top, everything that passed folded below.
pub(super) fn markdown(contents: &Contents, report: &Report) -> String {
    let name = |arm: Arm| {
        let subject = contents.run.subjects.get(arm as usize);
        subject.map_or_else(String::new, Subject::origin)
    };
    let (head, base) = (name(Arm::Head), name(Arm::Base));
    let text = of_two(&head, &base, origin(&contents.run), report, LONGEST);
    format!("{MARKER}\n{text}, run {}.\n", code(&contents.run.id.0))
}

/// The report on `head` against `base`, which was stored if it has an origin, in not much more than
/// `most` bytes.
pub(crate) fn of_two(
    head: &str,
    base: &str,
    origin: Option<String>,
    report: &Report,
    most: usize,
) -> String {
    let mut text = format!("### Windtunnel: {}\n\n", verdict_in_words(report));
    if let Some(line) = worst_in_words(report) {
        let _ = writeln!(text, "{line}\n");
    }
    let _ = writeln!(text, "{} against {}.\n", code(head), code(base));
    if let Some(line) = origin {
        let _ = writeln!(text, "Base: {}.\n", words(&line));
    }
    let (company, counts) = (report.company(), counts(report));
    let _ = writeln!(text, "{} series judged {company}{counts}.\n", report.judged);

    let found = |case: &&CaseReport, row: &&Row| {
        let judged = row.finding.is_some() && row.verdict != Verdict::Pass;
        judged || row.reason.is_some() || case.verdict == Verdict::Broken
    };
    let mut worst = report.worst_first();
    worst.retain(|(case, row)| found(case, row));
    let surplus = surplus(&mut worst);
    let all = report.cases.iter().flat_map(|case| case.rows.iter().map(move |row| (case, row)));
    let quiet = all.filter(|(case, row)| !found(case, row));
    let rest: Vec<(&CaseReport, &Row)> = surplus.iter().copied().chain(quiet).collect();
    let mut lines = Vec::new();
    for case in &report.cases {
        let remarks: Vec<String> = case.remarks().map(words).collect();
        if !remarks.is_empty() {
            let (id, verdict) = (code(case.case.as_str()), case.verdict);
            lines.push(format!("- {id}: **{verdict}**, {}\n", remarks.join("; ")));
        }
        for row in &case.rows {
            if let Some(reason) = &row.reason {
                let (id, label) = (code(case.case.as_str()), plain(&row.series.label()));
                let verdict = row_verdict(row);
                lines.push(format!("- {id}, {label}: **{verdict}**, {}\n", words(reason)));
            }
        }
    }
    push(&mut text, &lines, most / 4);
    // A failed build fails for all cases alike.
    let mut tails: BTreeMap<&str, Vec<&CaseReport>> = BTreeMap::new();
    for case in &report.cases {
        if let Some(tail) = &case.tail {
            tails.entry(tail).or_default().push(case);
        }
    }
    let folded = |(tail, cases): (&str, Vec<&CaseReport>)| {
        let more = match cases.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        let (first, fence) = (html(cases[0].case.as_str()), fence(tail));
        format!(
            "\n<details><summary>The end of the output of <code>{first}</code>{more}</summary>\n\n\
             {fence}text\n{tail}\n{fence}\n\n</details>\n"
        )
    };
    push(&mut text, &tails.into_iter().map(folded).collect::<Vec<_>>(), most / 2);
    if !worst.is_empty() {
        text.push('\n');
        table(&mut text, &worst, most / 4 * 3);
    }
    if !surplus.is_empty() {
        let more = surplus.len();
        let _ =
            writeln!(text, "\n{more} more could not be decided: the first of those folded below.");
    }
    if !rest.is_empty() {
        let _ = writeln!(text, "\n<details><summary>{} more</summary>\n", rest.len());
        table(&mut text, &rest, most / 16 * 15);
        text.push_str("\n</details>\n");
    }
    for control in &report.control {
        let _ = writeln!(text, "\n{}", crate::show::control(control));
    }
    for line in census(report) {
        let _ = writeln!(text, "\n{}", words(&line));
    }
    let _ = write!(text, "\nPolicy `{}`", report.policy);
    text
}

/// Takes out of `worst` all undecided series but the first [`UNDECIDED`].
fn surplus<'r>(worst: &mut Vec<(&'r CaseReport, &'r Row)>) -> Vec<(&'r CaseReport, &'r Row)> {
    let mut undecided = 0;
    let (kept, surplus) = worst.drain(..).partition(|(_, row)| {
        undecided += usize::from(row.verdict == Verdict::Inconclusive);
        row.verdict != Verdict::Inconclusive || undecided <= UNDECIDED
    });
    *worst = kept;
    surplus
}

/// The worst regression that stops a merge, as a sentence: a phone shows little of a table.
fn worst_in_words(report: &Report) -> Option<String> {
    let mut regressed = report.worst_first();
    regressed.retain(|(_, row)| row.counted() == Verdict::Regressed);
    let (case, row) = regressed.first()?;
    let (label, effect) = (plain(&row.series.label()), effect_in_words(&row.finding?));
    let others = match regressed.len() - 1 {
        0 => String::new(),
        n => format!(", and {n} other series"),
    };
    Some(format!("**{label} is {effect}** in {}{others}.", code(case.case.as_str())))
}

/// A code fence longer than any within `text`.
fn fence(text: &str) -> String {
    "`".repeat(backticks(text).max(2) + 1)
}

/// The longest row of backticks in `text`.
fn backticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// Text as inline code, between more backticks than it contains in a row.
fn code(text: &str) -> String {
    let ticks = "`".repeat(backticks(text) + 1);
    // A space is needed next to a backtick; it is not rendered.
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    match text.is_empty() {
        true => "\\`\\`".to_owned(),
        false => format!("{ticks}{space}{}{space}{ticks}", in_a_line(text)),
    }
}

/// Text as code in a table cell, where even a bar within code would end the cell.
fn code_in_cell(text: &str) -> String {
    code(text).replace('|', "\\|")
}

/// A sentence with values in backticks: these become code, and nothing else is markup.
fn words(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    // With an odd number of backticks, none of them quotes anything.
    if parts.len().is_multiple_of(2) {
        return plain(text);
    }
    let part = |(place, part): (usize, &&str)| match place % 2 {
        0 => plain(part),
        _ => code(part),
    };
    parts.iter().enumerate().map(part).collect()
}

/// Text in which nothing is markup.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in in_a_line(text).chars() {
        if "\\`*_[]<>&|~".contains(c) {
            plain.push('\\');
        }
        plain.push(c);
    }
    plain
}

/// Text within HTML, where Markdown code does not work.
fn html(text: &str) -> String {
    in_a_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text on one line.
fn in_a_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

fn table(text: &mut String, rows: &[(&CaseReport, &Row)], most: usize) {
    text.push_str(
        "| case | series | verdict | base | head | worse by | interval | margin | MDE | rounds |\n\
         |---|---|---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let line = |(case, row): &(&CaseReport, &Row)| {
        let (case, cells) = (code_in_cell(case.case.as_str()), numbers(row).join(" | "));
        let (label, verdict) = (row.series.label(), crate::show::row_verdict(row));
        format!("| {case} | {label} | {verdict} | {cells} |\n")
    };
    push(text, &rows.iter().map(line).collect::<Vec<_>>(), most);
}

/// Adds as many `parts` as fit while `text` stays within `most` bytes, and says how many are
/// missing.
fn push(text: &mut String, parts: &[String], most: usize) {
    for (place, part) in parts.iter().enumerate() {
        if text.len().saturating_add(part.len()) > most {
            let _ = writeln!(text, "\n{} more are only in the report.", parts.len() - place);
            return;
        }
        text.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use windtunnel_ledger::judge::Finding;
    use windtunnel_ledger::metric::Metric;
    use windtunnel_ledger::policy::Weight;
    use windtunnel_ledger::series::Series;

    use super::*;
    use crate::gate::fixture;

    #[test]
    fn what_got_worst_is_the_first_sentence_and_the_first_row() {
        let mut report = fixture::report("a");
        let row = report.cases[0].rows[0].clone();
        let regressed = |metric, effect: f64| Row {
            series: Series::median(metric),
            verdict: Verdict::Regressed,
            finding: Some(Finding {
                effect,
                low: effect - 0.01,
                high: effect + 0.01,
                margin: 0.03,
                mde: 0.02,
                rounds: 6,
            }),
            lacks: None,
            ..row.clone()
        };
        let less = regressed(Metric::DecodeRate, 0.05);
        report.cases[0].rows = vec![less, regressed(Metric::InterToken, 0.08)];
        (report.verdict, report.cases[0].verdict) = (Verdict::Regressed, Verdict::Regressed);
        (report.judged, report.family) = (2, 2);
        let text = of_two("head", "base", None, &report, LONGEST);
        let first = "### Windtunnel: regressed\n\n\
            **inter-token is 8.0% worse (7.0% to 9.0%)** in `a`, and 1 other series.\n\n\
            `head` against `base`.\n\n\
            2 series judged as one family: 2 regressed.\n";
        assert!(text.starts_with(first), "{text}");
        let place = |label: &str| text.find(&format!("| `a` | {label} | "));
        assert!(place("inter-token") < place("decode"), "{text}");
    }

    #[test]
    fn what_others_wrote_is_no_markup() {
        assert_eq!(code("a/b=1"), "`a/b=1`");
        assert_eq!(code("`a`` b\nc"), "``` `a`` b c ```");
        assert_eq!(code_in_cell("a|b"), "`a\\|b`");
        assert_eq!(words("cores: `2` in the base"), "cores: `2` in the base");
        assert_eq!(words("`a_b` | <img>\nx_y"), "`a_b` \\| \\<img\\> x\\_y");
        assert_eq!(words("one ` and [no](more)"), "one \\` and \\[no\\](more)");
        assert_eq!(html("<a>&b"), "&lt;a&gt;&amp;b");
    }

    #[test]
    fn a_case_with_an_odd_name_stays_in_its_cell_and_its_reason_in_its_line() {
        let mut report = fixture::report("a|b<c>");
        report.cases[0].reasons = vec!["it said `x|y`\n- **pass**".to_owned()];
        let text = of_two("head", "base", None, &report, LONGEST);
        assert!(text.contains("\n| `a\\|b<c>` | decode | "), "{text}");
        let line = "\n- `a|b<c>`: **inconclusive**, it said `x|y` - \\*\\*pass\\*\\*\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn what_was_not_measured_until_it_was_decided_is_told_above_its_rows() {
        let mut report = fixture::report("a");
        report.cases[0].unfinished = Some("the budget ended".to_owned());
        let text = of_two("head", "base", None, &report, LONGEST);
        assert!(text.contains("\n- `a`: **inconclusive**, the budget ended\n"), "{text}");
        assert!(text.contains("\n| `a` | decode | "), "{text}");
    }

    #[test]
    fn what_only_warns_and_is_undecided_stands_beside_the_verdict() {
        let mut report = fixture::report("a");
        (report.verdict, report.cases[0].verdict) = (Verdict::Pass, Verdict::Pass);
        report.cases[0].rows[0].weight = Weight::Warns;
        let heading = "### Windtunnel: pass; 1 series that only warns could not be decided\n";
        let text = of_two("head", "base", None, &report, LONGEST);
        assert!(text.starts_with(heading), "{text}");
        let table = crate::show::verdicts_of(&report, crate::show::Ink::Plain);
        let words = ": pass; 1 series that only warns could not be decided\n";
        assert_eq!(table.matches(words).count(), 2, "of the case and of all: {table}");
    }

    #[test]
    fn a_series_that_is_invalid_for_a_reason_is_shown_with_it() {
        let mut report = fixture::report("a");
        let row = &mut report.cases[0].rows[0];
        (row.verdict, row.finding, row.lacks) = (Verdict::Invalid, None, None);
        row.reason = Some("the base has it, but the head does not".to_owned());
        let text = of_two("head", "base", None, &report, LONGEST);
        let line = "\n- `a`, decode: **invalid**, the base has it, but the head does not\n";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("<details>"), "nothing of it is folded: {text}");
    }

    #[test]
    fn of_many_undecided_series_the_first_are_shown_and_the_others_folded() {
        let mut report = fixture::report("a");
        let row = report.cases[0].rows[0].clone();
        report.cases[0].rows = vec![row.clone(); 25];
        report.cases[0].rows.push(Row { verdict: Verdict::Pass, lacks: None, ..row });
        let text = of_two("head", "base", None, &report, LONGEST);
        let (shown, folded) = text.split_once("<details><summary>16 more</summary>").unwrap();
        let undecided = |text: &str| text.matches("| `a` | decode | inconclusive |").count();
        assert_eq!([undecided(shown), undecided(folded)], [10, 15], "{text}");
        let line = "\n15 more could not be decided: the first of those folded below.\n";
        assert!(shown.contains(line), "{text}");
    }

    #[test]
    fn a_comment_is_no_longer_than_it_may_be_and_what_stays_here_is_whole() {
        let mut report = fixture::report(&"a".repeat(120));
        let mut case = report.cases.remove(0);
        let row = Row { verdict: Verdict::Regressed, lacks: None, ..case.rows[0].clone() };
        case.rows = vec![row.clone(); 150];
        let passed = Row { verdict: Verdict::Pass, ..row };
        case.rows.extend(vec![passed; 1_000]);
        report.cases.push(case.clone());
        case.rows.clear();
        for number in 0..30 {
            let tail = Some(format!("{number}{}", "y".repeat(4_000)));
            let reasons = vec!["x".repeat(1_000)];
            report.cases.push(CaseReport { tail, reasons, ..case.clone() });
        }
        let text = of_two("head", "base", None, &report, LONGEST);
        assert!(text.len() < 65_536, "{}", text.len());
        assert_eq!(text.matches(" more are only in the report.\n").count(), 4, "{text}");
        let whole = of_two("head", "base", None, &report, usize::MAX);
        assert_eq!(whole.matches(" | decode | ").count(), 1_150);
        assert!(!whole.contains("only in the report"));
    }

    #[test]
    fn a_fence_is_longer_than_any_within_it() {
        assert_eq!([fence("a"), fence("a ``` b"), fence("````")].map(|f| f.len()), [3, 4, 5]);
    }
}
