//! Puts what the engine did and what it says of itself into messages.

use std::collections::BTreeMap;

use anyhow::Result;
use windtunnel_engine::placement::Occupied;
use windtunnel_engine::{
    DeviceName, Effort, Engine, Error, Exhausted, Footprint, Holding, LoadStages, Loaded,
    PlacementError, Stats, Stored,
};
use windtunnel_ledger::case::{Case, Workload};
use windtunnel_ledger::holding::{self, Held};
use windtunnel_ledger::record::{self, Digest, Iteration, IterationKind};
use windtunnel_ledger::timeline::Values;
use windtunnel_ledger::trace::{Mark, Phase};
use windtunnel_ledger::wire::Message;
use windtunnel_ledger::{Bytes, Metric, Nanos};

use super::Say;
use crate::clock::{self, Clock};
use crate::drive::Answer;
use crate::process;
use crate::traffic;

/// Reports that `phase` begins now.
pub(super) fn begin(phase: Phase, say: &mut Say<'_>) -> Result<()> {
    say(&Message::Phase(Mark { at: clock::monotonic(), phase }))
}

/// The phase for an iteration.
pub(super) fn phase(index: u32, kind: IterationKind) -> Phase {
    match kind {
        IterationKind::WarmUp => Phase::WarmUp(index),
        IterationKind::Timed => Phase::Iteration(index),
    }
}

/// When requests that were submitted together began to prefill, and when the last of them began to
/// decode, if any did.
pub(super) fn halves(answers: &[Answer], clock: &Clock) -> Vec<Mark> {
    let timelines = || answers.iter().map(|answer| &answer.timeline);
    let submitted = timelines().map(|timeline| timeline.submitted).min();
    let first = timelines().filter_map(|timeline| timeline.tokens.first()).max().copied();
    let decodes = timelines().any(|timeline| timeline.tokens.len() > 1);
    let mark = |phase| move |moment| Mark { at: clock.on_system(moment), phase };
    let prefill = submitted.map(mark(Phase::Prefill));
    let decode = first.filter(|_| decodes).map(mark(Phase::Decode));
    prefill.into_iter().chain(decode).collect()
}

/// Reports that the model is loaded and, if `case` measures loading, how long each stage took.
pub(super) fn loaded(
    case: &Case,
    time: Nanos,
    (footprint, holdings): (Footprint, &[Holding]),
    loaded: &Loaded,
    attention: &str,
    vocabulary: usize,
    say: &mut Say<'_>,
) -> Result<()> {
    let Loaded { dtype, formats, declined, stages } = loaded;
    let mut values = BTreeMap::from([
        (Metric::LoadTime, time.0 as f64),
        (Metric::WeightBytes, footprint.weights as f64),
        (Metric::KvBytes, footprint.kv as f64),
    ]);
    if case.workload == Workload::Load {
        let LoadStages { open, read, convert, quantise } = stages;
        values.extend([
            (Metric::LoadOpen, open.as_nanos() as f64),
            (Metric::LoadRead, read.as_nanos() as f64),
            (Metric::LoadConvert, convert.as_nanos() as f64),
            (Metric::LoadQuantise, quantise.as_nanos() as f64),
        ]);
    }
    let stored = |stored: &Stored| record::Stored {
        format: stored.format.to_string(),
        instead_of: stored.instead_of.map(|asked| asked.to_string()),
        tensors: stored.tensors as u64,
        bytes: stored.bytes,
    };
    let held =
        |footprint: Footprint| Held { weights: Bytes(footprint.weights), kv: Bytes(footprint.kv) };
    let holding = |holding: &Holding| holding::Holding {
        device: holding.device.to_string(),
        layers: holding.layers as u32,
        estimated: held(holding.estimated),
        held: held(holding.held),
    };
    say(&Message::Loaded {
        attention: attention.to_owned(),
        dtype: dtype.as_str().parse().ok(),
        declined: declined.iter().map(ToString::to_string).collect(),
        formats: formats.iter().map(stored).collect(),
        holdings: holdings.iter().map(holding).collect(),
        prompts: prompts(case, vocabulary),
        values,
    })
}

/// The digest of the prompts of the iterations that every round of `case` has; none where it draws
/// no prompts.
fn prompts(case: &Case, vocabulary: usize) -> Option<Digest> {
    if let Workload::Parity { .. } | Workload::Quality { .. } = case.workload {
        return None;
    }
    let certain = 0..case.warmup.saturating_add(case.iterations.get());
    // Streamed: the prompts of many iterations held at once would raise the peak RSS.
    Some(Digest::of_prompts(certain.flat_map(|index| traffic::prompts(case, index, vocabulary))))
}

/// Traffic between devices, averaged per step: transfers if the model is on several devices, and
/// the host's waits and replayed steps if any is a GPU.
pub(super) fn moved(engine: &Engine) -> BTreeMap<Metric, f64> {
    let Stats { steps, transfers, waits, replayed, .. } = engine.stats();
    let holdings = engine.holdings();
    let between = [(Metric::Transfers, transfers.count), (Metric::TransferBytes, transfers.bytes)];
    let on_gpus = [(Metric::DeviceWaits, waits), (Metric::ReplayedSteps, replayed)];
    let between = between.into_iter().filter(|_| holdings.len() > 1);
    let has_gpus = holdings.iter().any(|holding| matches!(holding.device, DeviceName::Cuda(_)));
    let on_gpus = on_gpus.into_iter().filter(|_| has_gpus);
    let a_step = |total: u64| total as f64 / steps.max(1) as f64;
    between.chain(on_gpus).map(|(metric, total)| (metric, a_step(total))).collect()
}

/// The bytes and FLOPs that one token demands, for the kind of token that `workload` measures.
pub(super) fn asked(engine: &Engine, workload: &Workload) -> BTreeMap<Metric, f64> {
    let Stats { prefills, decodes, .. } = engine.stats();
    let Effort { tokens, demand } = match workload {
        Workload::Prefill { .. } => prefills,
        Workload::Decode { .. } | Workload::Generate { .. } => decodes,
        _ => return BTreeMap::new(),
    };
    let a_token = |total: u64| total as f64 / tokens as f64;
    let values = [(Metric::TokenBytes, demand.bytes), (Metric::TokenFlops, demand.flops)];
    match tokens {
        0 => BTreeMap::new(),
        _ => values.map(|(metric, total)| (metric, a_token(total))).into_iter().collect(),
    }
}

/// Reports the result of one iteration, with only the metrics of the workload.
pub(super) fn tell(
    case: &Case,
    kind: IterationKind,
    (digest, mut values): (Digest, Values),
    say: &mut Say<'_>,
) -> Result<()> {
    values.retain(|metric, _| case.workload.metrics().contains(metric));
    say(&Message::Iteration(Iteration { kind, digest, values }))
}

/// The last message of a case that ran to its end, with `values` known only at the end.
pub(super) fn end(mut values: BTreeMap<Metric, f64>) -> Message {
    values.extend(process::peak_rss().map(|bytes| (Metric::PeakRss, bytes.0 as f64)));
    let on_gpus = windtunnel_engine::cuda::most_allocated();
    values.extend(on_gpus.map(|bytes| (Metric::DeviceBytes, bytes as f64)));
    Message::End { values }
}

/// The message for an error: unsupported by design or by this machine, out of memory, or failed.
#[must_use]
pub fn verdict_on(error: &anyhow::Error) -> Message {
    match error.downcast_ref::<Error>() {
        Some(Error::Unsupported(reason)) => Message::Unsupported { reason: reason.to_string() },
        // Something that the machine lacks is not a failure of the engine.
        Some(Error::Placement(lacking @ PlacementError::Unusable { fault, .. }))
            if fault.is_absence() =>
        {
            Message::Unsupported { reason: lacking.to_string() }
        }
        Some(Error::Exhausted(Exhausted { devices, .. })) => Message::Exhausted {
            error: format!("{error:#}"),
            devices: devices.iter().map(occupied).collect(),
        },
        _ => Message::Failed { error: format!("{error:#}") },
    }
}

/// How the memory of a device stood, in the ledger's types.
fn occupied(occupied: &Occupied) -> holding::Occupied {
    let Occupied { device, memory, held } = occupied;
    holding::Occupied {
        device: device.to_string(),
        free: memory.map(|memory| Bytes(memory.free)),
        total: memory.map(|memory| Bytes(memory.total)),
        held: Held { weights: Bytes(held.weights), kv: Bytes(held.kv) },
    }
}
