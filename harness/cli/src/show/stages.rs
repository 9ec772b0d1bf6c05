//! Where the time of a case went: a table for each kind of work.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use comfy_table::Cell;
use windtunnel_ledger::attribution::{Attribution, Work, carrier, side_by_side};
use windtunnel_ledger::case::CaseId;
use windtunnel_ledger::unit::Nanos;

use super::{count, per_cent, push, right, table};

/// Of one subject.
pub(crate) fn stages(case: &CaseId, subject: &str, attribution: &Attribution) -> String {
    let mut text = format!("{case}\n{subject}\n{}\n", whole(attribution));
    for (name, work) in &attribution.work {
        let _ = writeln!(text, "\n{name}: {}{}", steps(work), claimed(work));
        let mut table = table(vec![Cell::new("stage"), right("each"), right("share")]);
        for row in side_by_side(work, work) {
            let share = row.base / each(work).max(1.0);
            table.add_row([Cell::new(&row.stage), right(time(row.base)), right(per_cent(share))]);
        }
        push(&mut text, &table);
    }
    text + "\n"
}

/// Of two subjects, with the stage that carries the difference.
pub(crate) fn stages_of_two(
    case: &CaseId,
    [base, head]: [&str; 2],
    attributions: [&Attribution; 2],
) -> String {
    let mut text = format!("{case}\nbase {base}\nhead {head}\n");
    let names: BTreeSet<&String> = attributions.iter().flat_map(|a| a.work.keys()).collect();
    for name in names {
        let nothing = Work::default();
        let [base, head] = attributions.map(|a| a.work.get(name).unwrap_or(&nothing));
        let _ = writeln!(text, "\n{name}: base {}, head {}", steps(base), steps(head));
        let mut table =
            table(vec![Cell::new("stage"), right("base"), right("head"), right("head − base")]);
        let rows = side_by_side(base, head);
        for row in &rows {
            table.add_row([
                Cell::new(&row.stage),
                right(time(row.base)),
                right(time(row.head)),
                right(signed(row.change())),
            ]);
        }
        push(&mut text, &table);
        if let Some(carrier) = carrier(&rows) {
            let _ = writeln!(
                text,
                "{} carries the difference: {} of {} a step",
                carrier.stage,
                signed(carrier.change()),
                signed(each(head) - each(base))
            );
        }
    }
    text + "\n"
}

/// All the time of the iterations that count, and how much of it was in the engine.
fn whole(attribution: &Attribution) -> String {
    let kinds = attribution.work.iter().map(|(name, work)| format!("{name} {}", work.total()));
    let inside: u64 = attribution.work.values().map(|work| work.total().0).sum();
    let beside = attribution.wall.since(Nanos(inside));
    let kinds: Vec<String> = kinds.chain([format!("beside the engine {beside}")]).collect();
    format!("{} with {}: {}", attribution.wall, attribution.attention, kinds.join(", "))
}

fn steps(work: &Work) -> String {
    format!("{} of {}", count(work.count as usize, "step"), time(each(work)))
}

fn claimed(work: &Work) -> String {
    let claimed = work.claimed().map(|part| format!(", {} of it in named stages", per_cent(part)));
    claimed.unwrap_or_default()
}

/// The time of one step, in nanoseconds.
fn each(work: &Work) -> f64 {
    if work.count == 0 { 0.0 } else { work.total().0 as f64 / work.count as f64 }
}

fn time(nanos: f64) -> String {
    Nanos(nanos as u64).to_string()
}

fn signed(nanos: f64) -> String {
    let sign = if nanos < 0.0 { '−' } else { '+' };
    format!("{sign}{}", time(nanos.abs()))
}
