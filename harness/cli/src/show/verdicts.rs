//! Verdicts on series: a table for each run, then notes on the rounds and on what is missing.

use std::fmt::Write as _;

use comfy_table::Cell;
use windtunnel_ledger::compare::Side;
use windtunnel_ledger::judge::interleaved::LAST;
use windtunnel_ledger::judge::{Finding, Mode, Modes};
use windtunnel_ledger::unit::{share, signed};
use windtunnel_ledger::verdict::Verdict;

use crate::judge::{Family, Judged, side_name};

use super::{digits, push, right, table};

/// The verdicts of each run.
pub(crate) fn verdicts(families: &[Family]) -> String {
    let mut text = String::new();
    for (place, family) in families.iter().enumerate() {
        if place > 0 {
            text.push('\n');
        }
        if !family.run.is_empty() {
            let _ = writeln!(text, "{}", family.run);
        }
        text.push_str(&of_family(family));
    }
    text
}

fn of_family(family: &Family) -> String {
    let mut table = table(vec![
        Cell::new("series"),
        Cell::new("verdict"),
        right("worse by"),
        right("interval"),
        right("margin"),
        right("MDE"),
        right("rounds"),
        Cell::new("rule"),
    ]);
    for judged in &family.series {
        table.add_row(row(judged));
    }
    let mut text = String::new();
    push(&mut text, &table);
    for judged in &family.series {
        text.push_str(&notes(judged));
    }
    let counts = Verdict::ALL.into_iter().filter_map(|verdict| {
        let of = |judged: &&Judged| judged.judgement.verdict == verdict;
        let count = family.series.iter().filter(of).count();
        (count > 0).then(|| format!("{count} {verdict}"))
    });
    let counts: Vec<String> = counts.collect();
    let (judged, size) = (family.series.len(), family.size);
    let _ = writeln!(text, "{judged} judged in a family of {size}: {}", counts.join(", "));
    text
}

/// What a decision still lacks, and what a reader should know about the rounds.
fn notes(judged: &Judged) -> String {
    let Judged { id, unit, pairs, judgement } = judged;
    let mut text = String::new();
    // If it was decided at an earlier look, further pairs were not needed.
    if *pairs > LAST && judgement.finding.is_some_and(|finding| finding.rounds == LAST) {
        let _ = writeln!(
            text,
            "{id}: judged by the first {LAST} of {pairs} pairs: there is no look beyond them"
        );
    }
    if let Some(lack) = judgement.lack {
        let _ = writeln!(text, "{id} lacks {lack}");
    }
    let show = |value| format!("{} {unit}", digits(value, 4)).trim_end().to_owned();
    for (side, modes) in &judgement.modes {
        let _ = writeln!(text, "{id}: {}", two_modes(*side, modes, show));
    }
    text
}

/// Says that a side has two modes, and which.
pub(super) fn two_modes(side: Side, modes: &Modes, show: impl Fn(f64) -> String) -> String {
    let mode = |mode: &Mode| format!("{} in {:.0}%", show(mode.value), mode.share * 100.0);
    let (low, high) = (mode(&modes.low), mode(&modes.high));
    format!("the {} has two modes, {low} and {high} of its rounds", side_name(side))
}

fn row(judged: &Judged) -> Vec<Cell> {
    let judgement = &judged.judgement;
    let finding = |show: fn(&Finding) -> String| {
        right(judgement.finding.as_ref().map_or_else(|| "–".to_owned(), show))
    };
    vec![
        Cell::new(&judged.id),
        Cell::new(judgement.verdict),
        finding(|finding| signed(finding.effect)),
        finding(|finding| format!("{} to {}", signed(finding.low), signed(finding.high))),
        finding(|finding| share(finding.margin)),
        finding(|finding| share(finding.mde)),
        finding(|finding| finding.rounds.to_string()),
        Cell::new(judgement.rule),
    ]
}
