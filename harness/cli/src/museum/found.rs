//! What a guard found in an engine beside the clean one, by the rule of a gate.

use serde::Serialize;
use windtunnel_ledger::gate::{self, Terms};
use windtunnel_ledger::judge::{self, Evidence, Nature, Question};
use windtunnel_ledger::metric::Better;
use windtunnel_ledger::record::{Outcome, Record};
use windtunnel_ledger::stats;
use windtunnel_ledger::verdict::Verdict;

use super::collection::Watch;

/// A verdict and its reasons.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Found {
    /// The verdict on everything that the guard watches.
    pub(crate) verdict: Verdict,
    /// What was seen, in words.
    pub(crate) seen: Vec<String>,
}

impl Found {
    /// Whether the fault was caught.
    pub(crate) fn is_caught(&self) -> bool {
        matches!(self.verdict, Verdict::Broken | Verdict::Regressed)
    }

    /// Whether the comparison was valid and found nothing wrong.
    pub(crate) fn is_clean(&self) -> bool {
        !self.is_caught() && self.verdict != Verdict::Invalid
    }
}

/// One of the things that a guard watches.
struct Part {
    verdict: Verdict,
    seen: String,
}

/// Compares the records of an engine with those of the clean one, for what a guard `watches`.
pub(super) fn found(clean: &[Record], head: &[Record], watches: &[Watch], terms: &Terms) -> Found {
    let report = gate::compare(clean, head, terms);
    let mut parts: Vec<Part> = Vec::new();
    for unjudged in report.unjudged.iter().filter(|unjudged| unjudged.series.is_none()) {
        parts.push(Part { verdict: Verdict::Invalid, seen: unjudged.reason.clone() });
    }
    for case in &report.cases {
        let obstacle = matches!(case.verdict, Verdict::Broken | Verdict::Invalid);
        if obstacle && !case.reasons.is_empty() {
            let reason = |seen: &String| Part { verdict: case.verdict, seen: bare(seen) };
            parts.extend(case.reasons.iter().map(reason));
            continue;
        }
        // Outputs and failures are always watched.
        parts.push(Part { verdict: Verdict::Pass, seen: String::new() });
        let watched = |row: &&gate::Row| watches.contains(&Watch::Metric(row.series.metric));
        parts.extend(case.rows.iter().filter(watched).map(|row| {
            let show = |value: Option<f64>| {
                value.map_or_else(|| "–".to_owned(), |value| row.series.metric.show(value))
            };
            let seen = format!("{} {} → {}", row.series.label(), show(row.base), show(row.head));
            Part { verdict: row.verdict, seen }
        }));
    }
    parts.extend(watches.iter().filter_map(|watch| exact(clean, head, *watch, terms)));
    let verdict = Verdict::on_all(parts.iter().map(|part| part.verdict));
    let mut seen: Vec<String> = Vec::new();
    for Part { verdict: of_part, seen: text } in parts {
        if of_part == verdict && !text.is_empty() && !seen.contains(&text) {
            seen.push(text);
        }
    }
    if verdict == Verdict::Inconclusive {
        seen.push("undecided".to_owned());
    }
    Found { verdict, seen }
}

/// A reason without side and round, which are obvious here.
fn bare(reason: &str) -> String {
    let failed = reason.strip_prefix("head: round ").and_then(|rest| rest.split_once(" failed: "));
    failed.map_or(reason, |(_, why)| why).to_owned()
}

/// The judgement of a counter or gauge, which repeat exactly; none for a metric, or if an engine
/// did not get that far.
fn exact(clean: &[Record], head: &[Record], watch: Watch, terms: &Terms) -> Option<Part> {
    let (base, head) = (values(clean, watch), values(head, watch));
    let (from, to) = (stats::median(&base)?, stats::median(&head)?);
    let show = |value: f64| match watch {
        Watch::Counter(counter) => counter.show(value as u64),
        Watch::Gauge(gauge) => gauge.show(value as i64),
        Watch::Metric(metric) => metric.show(value),
    };
    let seen = format!("{} {} → {}", watch.label(), show(from), show(to));
    let question = Question {
        better: Better::Lower,
        nature: Nature::Counted,
        margin: terms.policy.margins.account.margin,
        bias: 0.0,
        evidence: Evidence::Interleaved { base, head, budget: terms.policy.budget.pairs as usize },
    };
    let judgement = judge::judge(&[question], 1).pop()?;
    Some(Part { verdict: judgement.verdict, seen })
}

/// The values of a counter or gauge in each round; empty for a metric, which the gate judges
/// itself.
fn values(records: &[Record], watch: Watch) -> Vec<f64> {
    let value = |record: &Record| match (watch, &record.outcome) {
        (Watch::Counter(counter), Outcome::Attributed(attribution)) => {
            attribution.counts.get(&counter)?.known().map(|count| count as f64)
        }
        (Watch::Gauge(gauge), Outcome::Measured(_)) => {
            let process = record.trace.as_ref()?.process()?;
            process.highest(gauge).map(|highest| highest as f64)
        }
        (Watch::Counter(_) | Watch::Gauge(_) | Watch::Metric(_), _) => None,
    };
    records.iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use windtunnel_ledger::store;

    use super::*;

    /// What a guard finds in recorded rounds of the real engine: a line per engine.
    fn check(guard: &str, watches: &[&str]) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/museum/recorded");
        let contents = store::read(&folder.join(format!("{guard}.jsonl"))).unwrap();
        let policy: windtunnel_ledger::policy::Policy =
            toml::from_str(include_str!("../../../../ci/gate.toml")).unwrap();
        let watches: Vec<Watch> =
            watches.iter().map(|name| Watch::try_from((*name).to_owned()).unwrap()).collect();
        let of = |name: &str| -> Vec<Record> {
            let mine = contents.records.iter().filter(|record| record.subject.name == name);
            mine.cloned().collect()
        };
        let subjects = contents.run.subjects.iter().skip(1);
        let line = |name: &str| {
            let found = found(&of("clean"), &of(name), &watches, &Terms::of(policy.clone()));
            assert_eq!(found.is_clean(), name == "clean, again", "{found:?}");
            format!("{name}: {} [{}]\n", found.verdict, found.seen.join("; "))
        };
        subjects.map(|subject| line(&subject.name)).collect()
    }

    #[test]
    fn what_guards_recorded_of_planted_faults_is_caught_and_of_clean_engines_is_not() {
        let preempted = check("unequal-lengths", &["preemptions", "prefill-amplification"]);
        insta::assert_snapshot!(preempted, @"
        clean, again: pass [prefill × 1.00 → 1.00; preemptions 0 → 0]
        recompute-thrash: regressed [prefill × 1.00 → 18.4; preemptions 0 → 210]
        ");
        insta::assert_snapshot!(check("batch", &[]), @"
        clean, again: pass []
        last-row: broken [the output tokens differ between base and head]
        printed-tokens: broken [the probe wrote a line that is not a message: `596`]
        ");
        insta::assert_snapshot!(check("work", &["allocations", "allocated"]), @"
        clean, again: pass [allocations 7765 → 7765; bytes allocated 84.0 MiB → 84.0 MiB]
        sorted-vocabulary: regressed [bytes allocated 84.0 MiB → 123 MiB]
        slow-norm: regressed [allocations 7765 → 12.3 k; bytes allocated 84.0 MiB → 86.7 MiB]
        ");
        insta::assert_snapshot!(check("small-steps", &["threads"]), @"
        clean, again: pass [threads 4 → 4]
        wrong-pool: regressed [threads 4 → 6]
        ");
    }

    #[test]
    fn a_reason_is_told_without_what_goes_without_saying() {
        assert_eq!(bare("head: round 1 failed: it hangs"), "it hangs");
        assert_eq!(bare("the outputs differ"), "the outputs differ");
    }
}
