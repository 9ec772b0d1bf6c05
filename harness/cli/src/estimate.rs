//! How long a case will take and how much memory it will need, before it runs.
//!
//! The best guess is what was measured before on this machine; without that, a rough model of an
//! ordinary machine. Estimates tell people how long they will wait, choose the case of each
//! scenario that `--quick` measures, decide how shards are cut, and set how soon a case with a
//! history here is considered hung. They never affect a number or a verdict.

use std::collections::BTreeMap;
use std::path::Path;

use windtunnel_ledger::case::{Against, Arrival, Case, CaseHash, Source, Workload};
use windtunnel_ledger::precision::Enough;
use windtunnel_ledger::record::Outcome;
use windtunnel_ledger::stats;
use windtunnel_ledger::store;
use windtunnel_ledger::unit::{Bytes, Nanos};

use crate::plan::Plan;
use crate::runs::newest_runs;
use crate::scenario::KnownModel;
use crate::workspace::Workspace;
use crate::{machine, watch};

/// What one round of a case is expected to need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// How long it takes; none if the model is unknown.
    pub(crate) time: Option<Nanos>,
    /// Weights and KV pool; none if the model is unknown.
    pub(crate) memory: Option<Bytes>,
    /// What this machine is known to lack for it, such as `a GPU`: then it will be skipped and
    /// needs nothing.
    pub(crate) lacks: Option<&'static str>,
}

/// How long the rounds of each case took before on this machine, newest run first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past(BTreeMap<CaseHash, Vec<Nanos>>);

/// How many of the newest runs are read.
const RUNS: usize = 20;

/// A child's deadline, as a multiple of the 99th percentile of its case's past rounds.
const PATIENCE: u64 = 3;
/// A history sets no shorter deadline: waiting this long costs nobody time, and a busy machine must
/// not kill a case that takes a second.
const LEAST_DEADLINE: Nanos = Nanos(30_000_000_000);

/// What one round of each case of a plan is expected to need on this machine.
pub(crate) fn of_plan(workspace: &Workspace, plan: &Plan) -> Vec<Estimate> {
    let (machine, _) = watch::machine(machine::read());
    let past = Past::read(&workspace.reports(), &machine.key());
    let has_none = machine.gpus.is_empty() && machine.gpus_hidden.is_empty();
    let of = |case: &Case, model| match case.placement.names_gpu() {
        true if has_none => {
            Estimate { time: Some(Nanos(0)), memory: Some(Bytes(0)), lacks: Some("a GPU") }
        }
        _ => past.estimate(case, model),
    };
    plan.cases.iter().zip(&plan.models).map(|(p, model)| of(&p.case, model)).collect()
}

/// How long it takes to measure this many pairs of each case of a plan, with their control rounds;
/// none if the time of any case is unknown.
pub(crate) fn of_pairs(workspace: &Workspace, plan: &Plan, pairs: u64) -> Option<Nanos> {
    let rounds = 2 * pairs + pairs.div_ceil(2);
    let times = of_plan(workspace, plan).into_iter().map(|estimate| estimate.time);
    let mut times = times.map(|time| time.map(|time| time.0));
    let all = times.try_fold(0u64, |sum, time| Some(sum.saturating_add(time?)))?;
    Some(Nanos(all.saturating_mul(rounds)))
}

/// Shortens the deadlines of cases that have a history here, so that a hang is noticed within
/// minutes. No deadline becomes later than its scenario says.
pub(crate) fn tighten_deadlines(workspace: &Workspace, plan: &mut Plan) {
    let past = Past::of(workspace);
    for planned in &mut plan.cases {
        planned.case.deadline = past.deadline(&planned.case);
    }
}

/// The time of one round of each case of a plan, from the model alone and so the same on any
/// machine.
pub(crate) fn by_model(plan: &Plan) -> Vec<Option<Nanos>> {
    let cases = plan.cases.iter().zip(&plan.models);
    cases.map(|(p, model)| Past::default().estimate(&p.case, model).time).collect()
}

impl Past {
    /// Reads the past of a workspace on this machine.
    fn of(workspace: &Workspace) -> Past {
        let (machine, _) = watch::machine(machine::read());
        Past::read(&workspace.reports(), &machine.key())
    }

    /// Reads the newest runs below `reports`. Unreadable runs are skipped: this is not the place to
    /// report them.
    pub(crate) fn read(reports: &Path, machine: &str) -> Past {
        let mut past: BTreeMap<CaseHash, Vec<Nanos>> = BTreeMap::new();
        for path in newest_runs(reports).into_iter().take(RUNS) {
            let records = store::read(&path).map(|contents| contents.records).unwrap_or_default();
            for record in records.iter().filter(|r| r.environment.machine.key() == machine) {
                if matches!(record.outcome, Outcome::Measured(_)) {
                    past.entry(record.case.hash()).or_default().push(record.conditions.wall);
                }
            }
        }
        Past(past)
    }

    /// How long a round of `case` may take.
    fn deadline(&self, case: &Case) -> Nanos {
        let walls = self.0.get(&case.hash()).map(Vec::as_slice).unwrap_or_default();
        let walls: Vec<f64> = walls.iter().map(|wall| wall.0 as f64).collect();
        match stats::percentile(&walls, 0.99) {
            None => case.deadline,
            Some(usual) => {
                let patient = Nanos((usual as u64).saturating_mul(PATIENCE));
                // A case that was soon precise enough on a quiet day may need its whole budget
                // today.
                let least = match case.enough {
                    Enough::Counted => LEAST_DEADLINE,
                    Enough::Precise(precision) => {
                        Nanos(LEAST_DEADLINE.0.saturating_add(precision.budget.0))
                    }
                };
                patient.max(least).min(case.deadline)
            }
        }
    }

    /// What a round of `case` is expected to need.
    pub(crate) fn estimate(&self, case: &Case, model: &KnownModel) -> Estimate {
        let size = size(case, model);
        let before = self.0.get(&case.hash()).and_then(|walls| walls.first().copied());
        Estimate {
            time: before.or_else(|| guess(case, model, size?)),
            memory: size.map(|(weights, kv)| Bytes(weights.0.saturating_add(kv.0))),
            lacks: None,
        }
    }
}

/// Bytes of the weights and of the KV pool.
fn size(case: &Case, model: &KnownModel) -> Option<(Bytes, Bytes)> {
    let weights = match &case.model.source {
        Source::Preset(_) => match case.quant.bits() {
            Some(bits) => (model.parameters as f64 * bits / 8.0) as u64,
            None => model.parameters.saturating_mul(case.dtype.bytes()),
        },
        Source::Folder(_) | Source::Gguf(_) | Source::Hub(_) | Source::Bench(_) => model.stored,
    };
    // The case's weights are freed before the same weights are loaded in f32.
    let weights = match case.workload {
        Workload::Quality { against: Against::F32, .. } => {
            weights.max(model.parameters.saturating_mul(4))
        }
        _ => weights,
    };
    let shape = case.shape();
    let one = [model.kv_width, case.dtype.bytes()]
        .into_iter()
        .fold(shape.length().0, u64::saturating_mul);
    let all = one.saturating_mul(shape.batch.into());
    let pool = u128::from(all) * u128::from(case.kv_share.get()) / 100;
    let pool = u64::try_from(pool).unwrap_or(u64::MAX).max(one);
    (weights > 0).then_some((Bytes(weights), Bytes(pool)))
}

/// A rough model of an ordinary machine: weights are created or read at 0.5 GB/s, a step reads them
/// and the KV pool at 20 GB/s, and tokens are computed at 120 GFLOP/s. Each token attends to the
/// keys and values of those before it, which about four heads share.
fn guess(case: &Case, model: &KnownModel, (weights, kv): (Bytes, Bytes)) -> Option<Nanos> {
    const START: f64 = 0.1;
    // The time of a token depends on the number of parameters, which is unknown for a folder.
    if model.parameters == 0 {
        return None;
    }
    let shape = case.shape();
    let load = weights.0 as f64 / 0.5e9;
    let token = 2.0 * model.parameters as f64 / 120e9;
    let requests = shape.requests as f64;
    // The number of steps if the batch is always full.
    let steps = (shape.output.0 - 1) as f64 * (requests / f64::from(shape.batch)).ceil();
    let length = (shape.prompt.0 + shape.output.0 - 1) as f64;
    let before = 2.0 * 4.0 * model.kv_width as f64 * length / 2.0 / 120e9;
    let work =
        length * requests * (token + before) + steps * (weights.0 as f64 + kv.0 as f64) / 20e9;
    let once = match case.workload {
        Workload::Soak { duration, .. } => duration.seconds(),
        Workload::Idle { duration, .. } => duration.seconds() + work,
        Workload::Serve { arrival: Arrival::Poisson(rate) | Arrival::Fixed(rate), .. } => {
            work.max(rate.interval().seconds() * requests)
        }
        Workload::Quality { against: Against::F32, .. } => 2.0 * work + load,
        _ => work,
    };
    let counted = f64::from(case.iterations.get()) * once;
    // A case that must be precise may use its whole budget.
    let counted = match case.enough {
        Enough::Counted => counted,
        Enough::Precise(precision) => counted.max(precision.budget.seconds()),
    };
    Some(Nanos::from_seconds(START + load + f64::from(case.warmup) * once + counted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use windtunnel_ledger::Switch;
    use windtunnel_ledger::case::{CaseId, Dtype, KvLayout, Lengths, Model, Placement, Quant, Slo};
    use windtunnel_ledger::precision::Precision;
    use windtunnel_ledger::unit::Tokens;

    fn case(source: Source) -> Case {
        Case {
            id: CaseId::new("a", "b", &BTreeMap::new()),
            workload: Workload::Decode { depth: Tokens(99), output: Tokens(20), batch: 2 },
            model: Model { name: "b".into(), source },
            dtype: Dtype::Bf16,
            quant: Quant::None,
            kv: KvLayout::Contiguous,
            placement: Placement::default(),
            attention: "auto".into(),
            step_tokens: Tokens(512),
            prefix_cache: Switch::Off,
            cuda_graphs: Switch::On,
            kv_share: NonZeroU32::new(100).unwrap(),
            warmup: 1,
            iterations: NonZeroU32::MIN,
            enough: Enough::Counted,
            seed: 1,
            deadline: Nanos(1),
        }
    }

    #[test]
    fn memory_is_weights_and_the_tokens_of_all_sequences() {
        let case = case(Source::Preset("x".into()));
        let model =
            KnownModel { model: case.model.clone(), parameters: 1000, kv_width: 10, stored: 0 };
        let estimate = Past::default().estimate(&case, &model);
        assert_eq!(estimate.memory, Some(Bytes(2 * 1000 + 2 * 10 * 2 * (99 + 22))));
        assert!(estimate.time.is_some());
    }

    /// A service with eight requests, two at once, on a model that costs almost nothing to run.
    fn service(arrival: &str) -> (Case, KnownModel) {
        let second = Nanos::from_seconds(1.0);
        let slo =
            Slo { time_to_first_token: second, time_per_output_token: second, end_to_end: second };
        let workload = Workload::Serve {
            arrival: arrival.parse().unwrap(),
            batch: 2,
            requests: 8,
            prompt: Lengths::Uniform(Tokens(1), Tokens(60)),
            output: Lengths::Fixed(Tokens(40)),
            shared: 0,
            slo,
        };
        let case = Case { workload, ..case(Source::Preset("x".into())) };
        let model =
            KnownModel { model: case.model.clone(), parameters: 1000, kv_width: 10, stored: 0 };
        (case, model)
    }

    #[test]
    fn a_service_holds_what_runs_at_once_or_a_share_of_it_and_never_less_than_one() {
        let (mut case, model) = service("closed");
        let mut pool = |share| {
            case.kv_share = NonZeroU32::new(share).unwrap();
            size(&case, &model).unwrap().1.0
        };
        let one = 2 * 10 * (60 + 40);
        assert_eq!([100, 50, 75, 1].map(&mut pool), [2 * one, one, one + one / 2, one]);
    }

    #[test]
    fn what_has_its_own_time_takes_it() {
        let (mut open, model) = service("fixed-0.5");
        let seconds = |case: &Case| Past::default().estimate(case, &model).time.unwrap().seconds();
        assert_eq!(seconds(&open).round(), 32.0, "a warm-up and one iteration of 16 s each");
        let duration = Nanos::from_seconds(30.0);
        open.workload = Workload::Idle { duration, requests: 1 };
        open.warmup = 0;
        assert_eq!(seconds(&open).round(), 30.0);
        let (closed, _) = service("closed");
        assert!(seconds(&closed) < 1.0);
    }

    #[test]
    fn what_was_measured_before_is_the_better_guess() {
        let case = case(Source::Preset("x".into()));
        let model =
            KnownModel { model: case.model.clone(), parameters: 1000, kv_width: 10, stored: 0 };
        let past = Past([(case.hash(), vec![Nanos(42), Nanos(7)])].into_iter().collect());
        assert_eq!(past.estimate(&case, &model).time, Some(Nanos(42)));
    }

    #[test]
    fn what_was_quick_before_is_not_waited_for_until_the_deadline_of_its_scenario() {
        let second = 1_000_000_000;
        let deadline = |walls: &[u64]| {
            let case = Case { deadline: Nanos(600 * second), ..case(Source::Preset("x".into())) };
            let walls = walls.iter().map(|seconds| Nanos(seconds * second)).collect();
            Past([(case.hash(), walls)].into_iter().collect()).deadline(&case).0 / second
        };
        assert_eq!(deadline(&[]), 600, "nothing is known of it");
        assert_eq!(deadline(&[20, 25, 22]), 75);
        assert_eq!(deadline(&[1]), 30, "a busy machine takes longer for a while");
        assert_eq!(deadline(&[300]), 600, "never later than the scenario says");
    }

    #[test]
    fn what_may_take_its_time_to_be_precise_is_given_that_time() {
        let second = 1_000_000_000;
        let precision = Precision::new(0.01, Nanos(100 * second)).unwrap();
        let case = Case {
            deadline: Nanos(600 * second),
            enough: Enough::Precise(precision),
            ..case(Source::Preset("x".into()))
        };
        let past = Past([(case.hash(), vec![Nanos(second)])].into_iter().collect());
        assert_eq!(past.deadline(&case), Nanos(130 * second));
        let model =
            KnownModel { model: case.model.clone(), parameters: 1000, kv_width: 10, stored: 0 };
        let time = Past::default().estimate(&case, &model).time.unwrap();
        assert_eq!(time.seconds().round(), 100.0, "it may take all of it");
    }

    #[test]
    fn nothing_is_made_up_for_a_model_of_which_nothing_is_known() {
        let case = case(Source::Folder("no such folder".into()));
        let model = KnownModel { model: case.model.clone(), parameters: 0, kv_width: 0, stored: 0 };
        let estimate = Past::default().estimate(&case, &model);
        assert_eq!(estimate, Estimate { time: None, memory: None, lacks: None });
    }
}
