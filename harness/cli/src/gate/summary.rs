//! The report of a gate as Markdown, for a comment on a change.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use windtunnel_ledger::gate::{Arm, CaseReport, Report, Row};
use windtunnel_ledger::record::Subject;
use windtunnel_ledger::store::Contents;
use windtunnel_ledger::verdict::Verdict;

use crate::show::{census, numbers, origin, verdict_in_words};

/// By this line a comment is found again, to be written anew instead of added to.
const MARKER: &str = "<!-- windtunnel gate -->";

/// The summary: what was found on top, what passed folded below.
pub(super) fn markdown(contents: &Contents, report: &Report) -> String {
    let name = |arm: Arm| {
        let subject = contents.run.subjects.get(arm as usize);
        subject.map_or_else(String::new, Subject::origin)
    };
    let text = of_two(&name(Arm::Head), &name(Arm::Base), origin(&contents.run), report);
    format!("{MARKER}\n{text}, run `{}`.\n", contents.run.id.0)
}

/// What was found of `head` against `base`, which was stored if it has an origin.
pub(crate) fn of_two(head: &str, base: &str, origin: Option<String>, report: &Report) -> String {
    let mut text = format!("### Windtunnel: {}\n\n", verdict_in_words(report));
    let _ = writeln!(text, "`{head}` against `{base}`.\n");
    if let Some(line) = origin {
        let _ = writeln!(text, "Base: {line}.\n");
    }

    let found = |case: &&CaseReport, row: &&Row| {
        let judged = row.finding.is_some() && row.verdict != Verdict::Pass;
        judged || case.verdict == Verdict::Broken
    };
    let rows = |wanted: bool| -> Vec<(&CaseReport, &Row)> {
        let all = report.cases.iter().flat_map(|case| case.rows.iter().map(move |row| (case, row)));
        all.filter(|(case, row)| found(case, row) == wanted).collect()
    };
    for case in report.cases.iter().filter(|case| !case.reasons.is_empty()) {
        let reasons = case.reasons.join("; ");
        let _ = writeln!(text, "- `{}`: **{}**, {reasons}", case.case, case.verdict);
    }
    // A build that fails, fails for all cases alike.
    let mut tails: BTreeMap<&str, Vec<&CaseReport>> = BTreeMap::new();
    for case in &report.cases {
        if let Some(tail) = &case.tail {
            tails.entry(tail).or_default().push(case);
        }
    }
    for (tail, cases) in tails {
        let more = match cases.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        let first = &cases[0].case;
        let _ = writeln!(
            text,
            "\n<details><summary>The end of the output of <code>{first}</code>{more}</summary>\n"
        );
        let fence = fence(tail);
        let _ = writeln!(text, "{fence}text\n{tail}\n{fence}\n\n</details>");
    }
    let (mut worst, rest) = (rows(true), rows(false));
    worst.sort_by_key(|(_, row)| row.verdict);
    if !worst.is_empty() {
        text.push('\n');
        table(&mut text, &worst);
    }
    if !rest.is_empty() {
        let _ = writeln!(text, "\n<details><summary>{} more</summary>\n", rest.len());
        table(&mut text, &rest);
        text.push_str("\n</details>\n");
    }
    let _ = writeln!(text, "\n{} series judged as one family.", report.family);
    for control in &report.control {
        let _ = writeln!(text, "\n{}", crate::show::control(control));
    }
    for line in census(report) {
        let _ = writeln!(text, "\n{line}");
    }
    let _ = write!(text, "\nPolicy `{}`", report.policy);
    text
}

/// A fence of code that is longer than any within `text`.
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

fn table(text: &mut String, rows: &[(&CaseReport, &Row)]) {
    text.push_str(
        "| case | series | verdict | base | head | worse by | interval | margin | MDE | rounds |\n\
         |---|---|---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for (case, row) in rows {
        let cells = numbers(row).join(" | ");
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {cells} |",
            case.case,
            row.series.label(),
            crate::show::row_verdict(row)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_longer_than_any_within_it() {
        assert_eq!([fence("a"), fence("a ``` b"), fence("````")].map(|f| f.len()), [3, 4, 5]);
    }
}
