//! Baselines: a line for each recorded version of the code, and one baseline case by case.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::Cell;
use windtunnel_ledger::Metric;
use windtunnel_ledger::baseline::{Decisions, Promotion, Session};
use windtunnel_ledger::case::{Case, CaseId};
use windtunnel_ledger::policy::PolicyHash;
use windtunnel_ledger::record::Outcome;
use windtunnel_ledger::series::Series;
use windtunnel_ledger::stats;
use windtunnel_ledger::upstream::Log;

use crate::baseline::{Group, Held};

use super::{count, per_cent, push, right, table};

/// A line for each recorded version of the code.
pub(crate) fn baselines(
    groups: &[Group],
    decisions: &Decisions,
    log: &Log,
    policy: Option<&PolicyHash>,
) -> String {
    if groups.is_empty() {
        return "nothing is recorded yet: `windtunnel baseline record` does it\n".to_owned();
    }
    let mut table = table(vec![
        Cell::new("upstream"),
        right("behind"),
        Cell::new("machine"),
        Cell::new("engine"),
        right("scenarios"),
        right("sessions"),
        right("days"),
        Cell::new("counts since"),
    ]);
    let here = log.position(&log.considered);
    let is_other = |promotion: &Promotion| policy.is_some_and(|it| promotion.policy != *it);
    let mut any_other = false;
    for group in groups {
        let there = log.position(&group.key.upstream);
        let behind = here.zip(there).and_then(|(here, there)| here.checked_sub(there));
        let mut scenarios: Vec<&str> =
            group.sessions.iter().map(|session| session.key.scenario.as_str()).collect();
        scenarios.sort_unstable();
        scenarios.dedup();
        let counts = decisions.promoted.iter().rev().find(|promotion| {
            promotion.machine == group.key.machine
                && promotion.upstream.same(&group.key.upstream)
                && promotion.code == group.code
        });
        let (runs, days) = group.runs_and_days();
        table.add_row([
            Cell::new(&group.key.upstream),
            right(behind.map_or_else(|| "–".to_owned(), |behind| behind.to_string())),
            Cell::new(&group.key.machine),
            Cell::new(&group.code),
            right(scenarios.len()),
            right(runs),
            right(days),
            Cell::new(match counts {
                None => "–".to_owned(),
                Some(promotion) if is_other(promotion) => {
                    any_other = true;
                    format!("{}, not by `ci/gate.toml`", promotion.at)
                }
                Some(promotion) => promotion.at.clone(),
            }),
        ]);
    }
    let mut text = String::new();
    push(&mut text, &table);
    text.push_str("\nbehind: how many upstream commits lie between it and the working tree\n");
    if any_other {
        text.push_str(
            "not by `ci/gate.toml`: comparisons with it under that policy are invalid until it is promoted again\n",
        );
    }
    text
}

/// One baseline: who promoted it, and what its sessions measured for each case.
pub(crate) fn baseline(held: &Held, machine: &str, decisions: &Decisions) -> String {
    let origin = &held.origin;
    let mut text = format!("{} at {origin}\non {machine}\n", origin.code);
    let same = |other_machine: &str, code: &_| other_machine == machine && *code == origin.code;
    for promotion in decisions.promoted.iter().filter(|p| same(&p.machine, &p.code)) {
        let _ = writeln!(
            text,
            "promoted {} by {}, policy {}",
            promotion.at, promotion.by, promotion.policy
        );
    }
    for accepted in decisions.accepted.iter().filter(|a| same(&a.machine, &a.code)) {
        let _ = writeln!(
            text,
            "accepted {} by {}: {}: {}",
            accepted.at, accepted.by, accepted.finding, accepted.reason
        );
    }
    let mut table = table(vec![
        Cell::new("case"),
        Cell::new("series"),
        right("sessions"),
        right("rounds"),
        right("median"),
        right("between sessions"),
    ]);
    for (id, case) in cases(&held.sessions) {
        let metric = case.workload.metrics().first().copied().unwrap_or(Metric::LoadTime);
        let series = Series::median(metric);
        let sessions = values(&held.sessions, id, series);
        let rounds: Vec<f64> = sessions.iter().flatten().copied().collect();
        let medians: Vec<f64> = sessions.iter().filter_map(|one| stats::median(one)).collect();
        let shown = stats::median(&rounds).map(|median| series.metric.show(median));
        table.add_row([
            Cell::new(id),
            Cell::new(series.label()),
            right(sessions.len()),
            right(rounds.len()),
            right(shown.unwrap_or_else(|| "–".to_owned())),
            right(apart(&medians).map_or_else(|| "–".to_owned(), per_cent)),
        ]);
    }
    text.push('\n');
    push(&mut text, &table);
    let upstream = origin.upstream.as_str();
    let files = count(held.sessions.len(), "file");
    let _ = writeln!(text, "\n{files} in baselines/{upstream}/{machine}");
    text
}

fn cases(sessions: &[Session]) -> BTreeMap<&CaseId, &Case> {
    let records = sessions.iter().flat_map(|session| &session.records);
    records.map(|record| (&record.case.id, &record.case)).collect()
}

/// The values of a series in each session, round by round.
fn values(sessions: &[Session], case: &CaseId, series: Series) -> Vec<Vec<f64>> {
    let of = |session: &Session| -> Vec<f64> {
        let mine = session.records.iter().filter(|record| record.case.id == *case);
        mine.filter_map(|record| match &record.outcome {
            Outcome::Measured(samples) => series.of_round(samples),
            _ => None,
        })
        .collect()
    };
    sessions.iter().map(of).filter(|values| !values.is_empty()).collect()
}

/// How far the highest of `values` is above the lowest, as a share of it; none for fewer than two.
fn apart(values: &[f64]) -> Option<f64> {
    let (low, high) =
        (values.iter().copied().reduce(f64::min)?, values.iter().copied().reduce(f64::max)?);
    (values.len() > 1 && low > 0.0).then(|| high / low - 1.0)
}
