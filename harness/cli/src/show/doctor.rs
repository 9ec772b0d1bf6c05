//! A diagnosis that can be read in ten seconds: first what to fix, by group, the worst first; then
//! what is unknown and what is fine, one line per group; last, a one-line conclusion.

use std::fmt::Write as _;

use super::Ink;
use crate::doctor::{Diagnosis, Finding, Group, Patient, Severity};

/// Lines are no longer than this, except for commands, which must be copied whole.
const WIDTH: usize = 100;
/// The column at which the text of a finding begins.
const INDENT: usize = 14;

/// The whole diagnosis.
pub(crate) fn diagnosis(patient: &Patient, diagnosis: &Diagnosis, ink: Ink) -> String {
    let machine = &patient.machine;
    let cpu = if machine.cpu.is_empty() { "processor not known" } else { &machine.cpu };
    let memory = match machine.memory.0 {
        0 => "memory not known".to_owned(),
        _ => machine.memory.to_string(),
    };
    let mut text = format!(
        "{cpu}: {}, {}, {memory}\n",
        super::count(machine.cores as usize, "core"),
        super::count(machine.threads as usize, "thread"),
    );
    let of = |group: Group| {
        let own = diagnosis.0.iter().filter(move |(check, _)| check.group == group);
        own.map(|(_, finding)| finding)
    };
    let at_length = |group| of(group).filter(|finding| !is_brief(finding));
    let mut groups: Vec<Group> = Group::ALL.into();
    groups.sort_by_key(|group| of(*group).map(|finding| finding.severity).min());
    for group in groups.iter().filter(|group| at_length(**group).count() > 0) {
        let _ = writeln!(text, "\n{}", group.name());
        at_length(*group).for_each(|finding| text.push_str(&explained(finding, ink)));
    }
    text.push('\n');
    for severity in [Severity::Unknown, Severity::Fine] {
        for group in &groups {
            let brief = of(*group).filter(|f| f.severity == severity && is_brief(f));
            let words = together(&brief.collect::<Vec<&Finding>>());
            if !words.is_empty() {
                let words = format!("{}: {words}", group.name());
                let _ = writeln!(text, "{}", labelled(severity, &words, ink));
            }
        }
    }
    let _ = writeln!(text, "\n{}", conclusion(diagnosis));
    text
}

/// Findings without a cost share one line.
fn is_brief(finding: &Finding) -> bool {
    finding.costs.is_empty() && finding.mend.is_empty()
}

/// Several findings in one line, each reason given once.
fn together(findings: &[&Finding]) -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for finding in findings {
        let reason = finding.reason.as_str();
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, what)) => what.push(&finding.found),
            None => reasons.push((reason, vec![&finding.found])),
        }
    }
    let shown = reasons.into_iter().map(|(reason, what)| {
        because(&what.join(if reason.is_empty() { "; " } else { ", " }), reason)
    });
    shown.collect::<Vec<_>>().join("; ")
}

fn because(what: &str, reason: &str) -> String {
    if reason.is_empty() { what.to_owned() } else { format!("{what} ({reason})") }
}

/// A finding, what it costs, and how to fix it.
fn explained(finding: &Finding, ink: Ink) -> String {
    let found = because(&finding.found, &finding.reason);
    let found = format!("{found}: {}", finding.costs);
    let mut text = labelled(finding.severity, &found, ink) + "\n";
    let _ = writeln!(text, "{:INDENT$}mend: {}", "", finding.mend);
    text
}

fn labelled(severity: Severity, found: &str, ink: Ink) -> String {
    let label = format!("{} {}", severity.sign(), severity.word());
    let space = " ".repeat((INDENT - 2).saturating_sub(label.chars().count()));
    format!("  {}{space}{}", ink.severity(severity, &label), wrapped(found, INDENT))
}

/// Breaks lines between words, but not between a number and its per cent sign; all lines but the
/// first are indented by `indent` spaces.
fn wrapped(text: &str, indent: usize) -> String {
    const TIED: &str = "\u{a0}%";
    let mut lines = vec![String::new()];
    for word in text.replace(" %", TIED).split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && indent + line + 1 + word.chars().count() > WIDTH {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            let space = if line.is_empty() { "" } else { " " };
            let _ = write!(line, "{space}{word}");
        }
    }
    lines.join(&format!("\n{:indent$}", "")).replace(TIED, " %")
}

/// The number of findings of each kind, and the conclusion.
fn conclusion(diagnosis: &Diagnosis) -> String {
    let counts = Severity::ALL.into_iter().filter_map(|severity| {
        let count = diagnosis.count(severity);
        (count > 0).then(|| format!("{count} {}", severity.word()))
    });
    let counts: Vec<String> = counts.collect();
    let meaning = match () {
        () if !diagnosis.can_measure() => "nothing can be measured until what stops it is mended",
        () if diagnosis.count(Severity::Bad) > 0 => "measuring works, but mend what is bad first",
        () if diagnosis.count(Severity::Minor) > 0 => {
            "fit for measuring; what is minor could be better"
        }
        () if diagnosis.count(Severity::Unknown) > 0 => {
            "nothing bad was seen; what is not known may be"
        }
        () => "fit for measuring",
    };
    format!("{}: {meaning}", counts.join(", "))
}
