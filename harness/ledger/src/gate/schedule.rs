//! Which rounds of a gate run are due: as many as the next planned look needs, for the cases that
//! are still undecided, as far as the budget goes.
//!
//! It is asked again whenever its rounds have been measured, and when an interrupted run is
//! resumed: the answer follows from the records alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::case::CaseId;
use crate::gate::control::partner;
use crate::gate::sides::is_measured;
use crate::gate::{Arm, CaseReport, Row, Setting, Sides, Terms, judge, sides};
use crate::judge::interleaved::planned_looks;
use crate::record::{Record, Run};

/// Pairs of a case whose results are the same every time.
const EXACT: usize = 3;
/// Rounds of the head against a stored base: there is only one look, and more rounds of one day say
/// little about other days.
pub const STORED: usize = 10;

/// In nanoseconds.
const MINUTE: u64 = 60_000_000_000;

/// One round that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The index of its case in [`Run::cases`].
    pub case: usize,
    /// The round of its case and arm, from 1.
    pub round: u32,
    /// What is measured.
    pub arm: Arm,
}

/// The rounds that are due next, in the order in which they are to be measured. None when the run
/// is finished.
///
/// Pairs are the outermost loop, so that a slow drift of the machine affects all cases alike.
#[must_use]
pub fn next(run: &Run, terms: &Terms, records: &[Record]) -> Vec<Due> {
    let targets = Plan::of(run, terms, records).targets;
    let done: BTreeSet<(usize, Arm, u32)> = records
        .iter()
        .filter_map(|record| {
            let case = run.cases.iter().position(|planned| planned.case.id == record.case.id)?;
            Some((case, arm(run, record)?, record.round))
        })
        .collect();
    let most = targets.values().copied().max().unwrap_or(0);
    let mut due = Vec::new();
    for pair in 1..=most as u32 {
        for (case, _) in targets.iter().filter(|(_, target)| pair as usize <= **target) {
            let rounds = rounds_of(pair, terms.setting).into_iter();
            due.extend(rounds.map(|(arm, round)| Due { case: *case, round, arm }));
        }
    }
    let can_run = |due: &Due| (due.arm as usize) < run.subjects.len();
    due.retain(|due| can_run(due) && !done.contains(&(due.case, due.arm, due.round)));
    due
}

/// The cases that are undecided and not measured further because the time budget is spent.
#[must_use]
pub fn given_up(run: &Run, terms: &Terms, records: &[Record]) -> Vec<CaseId> {
    let given_up = Plan::of(run, terms, records).given_up;
    given_up.into_iter().map(|case| run.cases[case].case.id.clone()).collect()
}

/// The rounds of one pair, in order: base and head swap from pair to pair.
fn rounds_of(pair: u32, setting: Setting) -> Vec<(Arm, u32)> {
    if setting == Setting::Stored {
        return vec![(Arm::Head, pair)];
    }
    let block = pair.div_ceil(2);
    let control = (partner(block) == pair).then_some((Arm::Control, block));
    match pair % 2 {
        1 => control.into_iter().chain([(Arm::Base, pair), (Arm::Head, pair)]).collect(),
        _ => [(Arm::Head, pair), (Arm::Base, pair)].into_iter().chain(control).collect(),
    }
}

fn arm(run: &Run, record: &Record) -> Option<Arm> {
    let arms = [Arm::Base, Arm::Head, Arm::Control];
    arms.into_iter().find(|arm| run.subjects.get(*arm as usize) == Some(&record.subject))
}

/// How far each case is to be measured.
struct Plan {
    /// By index of the case: the number of pairs, or of rounds of the head against a stored base.
    targets: BTreeMap<usize, usize>,
    /// Cases that would be measured further if there were time.
    given_up: Vec<usize>,
}

impl Plan {
    fn of(run: &Run, terms: &Terms, records: &[Record]) -> Plan {
        let sides = sides(run, records);
        let report = judge(&sides, terms);
        let wall_of = |sides: &Sides<'_>| {
            let arms = [&sides.base, &sides.head, &sides.control];
            wall(arms.into_iter().flatten().copied().filter(|record| record.run == run.id))
        };
        // Each of the merged runs had the full time budget.
        let mut left: BTreeMap<u32, u64> = BTreeMap::new();
        for (planned, sides) in run.cases.iter().zip(&sides) {
            let budget = u64::from(terms.policy.budget.minutes) * MINUTE;
            let left = left.entry(planned.shard).or_insert(budget);
            *left = left.saturating_sub(wall_of(sides));
        }

        let mut plan = Plan { targets: BTreeMap::new(), given_up: Vec::new() };
        for (case, sides) in sides.iter().enumerate() {
            let of_case = report.cases.iter().find(|report| report.case == sides.case.id);
            let done = done(sides, terms.setting);
            let Some(target) = target(sides, of_case, done, terms) else { continue };
            // The cost of a case that was never measured is unknown: one pair will tell.
            let a_pair = wall_of(sides).checked_div(done as u64).unwrap_or(0);
            let cost = a_pair.saturating_mul((target - done) as u64);
            let left = left.entry(run.cases[case].shard).or_default();
            match cost <= *left && *left > 0 {
                true => {
                    *left -= cost;
                    plan.targets.insert(case, target);
                }
                false => plan.given_up.push(case),
            }
        }
        // The cases furthest behind go first, because all are decided together.
        let next = plan.targets.values().copied().min();
        plan.targets.retain(|_, target| Some(*target) == next);
        plan
    }
}

/// How many pairs, or rounds of the head, the case is to have next; none if it needs no more.
fn target(
    sides: &Sides<'_>,
    report: Option<&CaseReport>,
    done: usize,
    terms: &Terms,
) -> Option<usize> {
    let base = sides.base.iter().filter(|record| !sides.passes_over(record, terms));
    let ended = base.chain(&sides.head).chain(&sides.control).any(|record| !is_measured(record));
    let stopped = report.is_some_and(|report| !report.reasons.is_empty());
    let open = report.is_some_and(|report| report.rows.iter().any(Row::asks_for_rounds));
    let is_exact = sides.case.workload.is_exact();
    let looks = match terms.setting {
        // Exact results need no more; if they do not repeat, they are looked at like any others.
        _ if is_exact && done < EXACT => &[EXACT],
        Setting::Alternating => planned_looks(terms.policy.budget.pairs as usize),
        Setting::Stored => &[STORED],
    };
    let look = looks.iter().copied().find(|look| *look > done)?;
    let first = looks.first() == Some(&look) && !(is_exact && done >= EXACT);
    match () {
        () if ended => None,
        // A broken case shows at once, and the cost of a round is known after one.
        () if done == 0 => Some(1),
        () if stopped => None,
        () if first || open => Some(look),
        // More pairs of exact results tell nothing about noise.
        () if !is_exact && done < terms.least_pairs as usize => Some(look),
        () => None,
    }
}

/// How many pairs there are, or rounds of the head against a stored base.
fn done(sides: &Sides<'_>, setting: Setting) -> usize {
    let measured = |arm: &[&Record]| arm.iter().filter(|record| is_measured(record)).count();
    match setting {
        Setting::Alternating => measured(&sides.base).min(measured(&sides.head)),
        Setting::Stored => measured(&sides.head),
    }
}

/// How long these rounds took, in nanoseconds.
fn wall<'a>(records: impl Iterator<Item = &'a Record>) -> u64 {
    records.fold(0, |sum, record| sum.saturating_add(record.conditions.wall.0))
}
