//! Where the time of a case went: a table for each kind of work.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use comfy_table::Cell;
use windtunnel_ledger::attribution::{Attribution, Work, carrier, side_by_side};
use windtunnel_ledger::case::CaseId;
use windtunnel_ledger::counter::{Count, Counter, Counts};
use windtunnel_ledger::unit::Nanos;

use super::{count, per_cent, push, right, table};

/// The stages of one subject.
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
    push_counts(&mut text, [attribution], |_| None);
    text + "\n"
}

/// The stages of two subjects, and the stage that carries the difference.
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
    let change = |counter: Counter| match known(&attributions.map(|a| &a.counts), counter) {
        [Some(base), Some(head)] => Some(more(counter, base, head)),
        _ => Some(String::new()),
    };
    push_counts(&mut text, attributions, change);
    text + "\n"
}

/// The counts per iteration: a column for each of `attributions`, and one more if `change` gives
/// any.
fn push_counts<const N: usize>(
    text: &mut String,
    attributions: [&Attribution; N],
    change: impl Fn(Counter) -> Option<String>,
) {
    let counters: BTreeSet<Counter> =
        attributions.iter().flat_map(|a| a.counts.keys().copied()).collect();
    let Some(first) = counters.first() else { return };
    let mut header = vec![Cell::new("counted in an iteration")];
    match N {
        1 => header.push(right("number")),
        _ => header.extend(["base", "head"].map(right)),
    }
    header.extend(change(*first).map(|_| right("head − base")));
    let mut table = table(header);
    for counter in counters {
        let mut row = vec![Cell::new(counter.label())];
        row.extend(attributions.iter().map(|attribution| {
            right(match attribution.counts.get(&counter) {
                Some(Count::Known(count)) => counter.show(*count),
                Some(Count::Absent(reason)) => reason.clone(),
                None => "not told".to_owned(),
            })
        }));
        row.extend(change(counter).map(right));
        table.add_row(row);
    }
    text.push('\n');
    push(text, &table);
}

fn known(counts: &[&Counts; 2], counter: Counter) -> [Option<u64>; 2] {
    counts.map(|counts| counts.get(&counter).and_then(Count::known))
}

fn more(counter: Counter, base: u64, head: u64) -> String {
    let sign = if head < base { '−' } else { '+' };
    format!("{sign}{}", counter.show(head.abs_diff(base)))
}

/// The total time of the measured iterations, and how much of it was spent in the engine.
fn whole(attribution: &Attribution) -> String {
    let kinds = attribution.work.iter().map(|(name, work)| format!("{name} {}", work.total()));
    let totals = attribution.work.values().map(|work| work.total().0);
    let inside = totals.fold(0, u64::saturating_add);
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
