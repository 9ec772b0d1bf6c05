//! Where the time of each case went, and what was counted along the way.

use std::collections::BTreeMap;

use maud::{Markup, html};
use windtunnel_ledger::attribution::{Attribution, OTHER, Work};
use windtunnel_ledger::counter::{Count, Counter};
use windtunnel_ledger::unit::Nanos;

use super::{Section, address, mark, percent};
use crate::view::{CaseView, Scenario, View};

/// Stages with a column of their own; the rest share one.
const STAGES: usize = 6;

/// A case of one subject with an attribution.
type Asked<'v> = (&'v CaseView<'v>, usize, &'v Attribution);

/// Every scenario with an attribution.
pub(super) fn section(view: &View<'_>) -> Option<Section> {
    let asked: Vec<(&Scenario<'_>, Vec<Asked<'_>>)> = view
        .scenarios
        .iter()
        .map(|scenario| (scenario, asked(scenario)))
        .filter(|(_, asked)| !asked.is_empty())
        .collect();
    let body = html! {
        p.note {
            "From separate rounds, which measure nothing else. Stages are disjoint and add up to a step; what has no column of its own is in the last one."
        }
        @for (scenario, asked) in &asked {
            h3 { (scenario.name) }
            @for kind in kinds(asked) { (times(view, scenario, kind, asked)) }
            (counts(view, scenario, asked))
        }
    };
    let any = !asked.is_empty();
    any.then_some(Section { anchor: "stages", heading: "Where the time went", body })
}

fn asked<'v>(scenario: &'v Scenario<'v>) -> Vec<Asked<'v>> {
    let results = |case: &'v CaseView<'v>| case.results.iter().map(move |result| (case, result));
    let results = scenario.cases.iter().flat_map(results);
    results.filter_map(|(case, result)| Some((case, result.subject, result.attribution?))).collect()
}

/// The kinds of work that occur.
fn kinds<'v>(asked: &[Asked<'v>]) -> Vec<&'v str> {
    let mut kinds: Vec<&str> =
        asked.iter().flat_map(|(.., a)| a.work.keys()).map(String::as_str).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// The stages of one kind of work, the most expensive first.
fn stages<'v>(asked: &[Asked<'v>], kind: &str) -> Vec<&'v str> {
    let mut taken: BTreeMap<&str, u64> = BTreeMap::new();
    for work in asked.iter().filter_map(|(.., attribution)| attribution.work.get(kind)) {
        for (stage, time) in work.stages.iter().filter(|(stage, _)| *stage != OTHER) {
            *taken.entry(stage).or_default() += time.0;
        }
    }
    let mut stages: Vec<(&str, u64)> = taken.into_iter().collect();
    stages.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    stages.into_iter().take(STAGES).map(|(stage, _)| stage).collect()
}

fn times(view: &View<'_>, scenario: &Scenario<'_>, kind: &str, asked: &[Asked<'_>]) -> Markup {
    let stages = stages(asked, kind);
    let rows = asked.iter().filter_map(|(case, subject, attribution)| {
        Some((*case, *subject, attribution.work.get(kind).filter(|work| work.total().0 > 0)?))
    });
    html! {
        div.wide tabindex="0" role="region" aria-label={ "Stages of " (kind) " of " (scenario.name) } {
            table.results {
                thead {
                    tr {
                        th scope="col" { (kind) }
                        th.number scope="col" { "each step" }
                        @for stage in &stages { th.number scope="col" { (stage) } }
                        th.number scope="col" { "the others" }
                    }
                }
                tbody {
                    @for (case, subject, work) in rows {
                        tr {
                            (name(view, scenario, case, subject))
                            td.number data-label="each step" { (Nanos((work.total().0 as f64 / work.count.max(1) as f64) as u64)) }
                            @for stage in &stages { (share(stage, work, work.stages.get(*stage).map_or(0, |time| time.0))) }
                            (share("the others", work, others(work, &stages)))
                        }
                    }
                }
            }
        }
    }
}

/// The time of the stages without a column.
fn others(work: &Work, stages: &[&str]) -> u64 {
    let others = work.stages.iter().filter(|(stage, _)| !stages.contains(&stage.as_str()));
    others.map(|(_, time)| time.0).fold(0, u64::saturating_add)
}

/// A share of the time of `work`.
fn share(stage: &str, work: &Work, time: u64) -> Markup {
    let share = time as f64 / work.total().0.max(1) as f64;
    html! { td.number data-label=(stage) { (percent(share)) } }
}

fn name(view: &View<'_>, scenario: &Scenario<'_>, case: &CaseView<'_>, subject: usize) -> Markup {
    html! {
        th scope="row" data-label="case" {
            a href=(address(&case.case.id)) { (scenario.label(case)) }
            @if view.subjects.len() > 1 { " " (mark(subject)) }
        }
    }
}

fn counts(view: &View<'_>, scenario: &Scenario<'_>, asked: &[Asked<'_>]) -> Markup {
    let mut counters: Vec<Counter> =
        asked.iter().flat_map(|(.., attribution)| attribution.counts.keys().copied()).collect();
    counters.sort_unstable();
    counters.dedup();
    if counters.is_empty() {
        return html! {};
    }
    html! {
        div.wide tabindex="0" role="region" aria-label={ "Counted in " (scenario.name) } {
            table.results {
                thead {
                    tr {
                        th scope="col" { "counted in an iteration" }
                        @for counter in &counters { th.number scope="col" { (counter.label()) } }
                    }
                }
                tbody {
                    @for (case, subject, attribution) in asked {
                        tr {
                            (name(view, scenario, case, *subject))
                            @for counter in &counters { (count(attribution, *counter)) }
                        }
                    }
                }
            }
        }
    }
}

fn count(attribution: &Attribution, counter: Counter) -> Markup {
    html! {
        @match attribution.counts.get(&counter) {
            Some(Count::Known(count)) => td.number data-label=(counter.label()) { (counter.show(*count)) },
            Some(Count::Absent(reason)) => td.number.muted data-label=(counter.label()) title=(reason) { "not available" },
            None => td.number.muted data-label=(counter.label()) { "–" },
        }
    }
}
