//! From a case to the engine's configuration, and from its iterations to messages.

use anyhow::{Context, Result};
use windtunnel_engine::{Choice, Dtype, Engine, EngineConfig, Error, KvLayout, ModelSource};
use windtunnel_ledger::Metric;
use windtunnel_ledger::case::{self, Arrival, Case, Shape, Source, Workload};
use windtunnel_ledger::record::{Digest, Iteration, IterationKind};
use windtunnel_ledger::timeline::Values;
use windtunnel_ledger::wire::Message;

use crate::clock::Clock;
use crate::drive::outputs;
use crate::process;
use crate::traffic::Traffic;
use crate::workload::parity::{self, Reference};
use crate::workload::{context, idle, serve, soak, together};

/// Runs `case`, says what it measured as soon as it has it, and returns the last thing to say.
///
/// # Errors
///
/// When the engine cannot do it, or `say` fails.
pub fn case(case: &Case, say: &mut dyn FnMut(&Message) -> Result<()>) -> Result<Message> {
    let reference = match case.workload {
        Workload::Parity { .. } => Some(Reference::of(&case.model.source)?),
        _ => None,
    };
    let config = config(case, reference.as_ref().map(Reference::length))?;
    let clock = Clock::start();
    let mut engine = Engine::load(&config)?;
    let load_time = clock.now();
    if config.prefix_cache != engine.prefix_cache() {
        let reason =
            "this model or its cache can share no beginnings; choose prefix-cache = \"off\"";
        return Ok(Message::Unsupported { reason: reason.to_owned() });
    }

    let footprint = engine.footprint();
    let values = [
        (Metric::LoadTime, load_time.0 as f64),
        (Metric::WeightBytes, footprint.weights as f64),
        (Metric::KvBytes, footprint.kv as f64),
    ];
    let attention = engine.attention().to_owned();
    say(&Message::Loaded { attention, values: values.into_iter().collect() })?;

    let mut tell = |kind, (outputs, mut values): (Vec<Vec<u32>>, Values)| {
        values.retain(|metric, _| case.workload.metrics().contains(metric));
        say(&Message::Iteration(Iteration { kind, digest: digest(case, &outputs), values }))
    };
    let prefix_cache = config.prefix_cache;
    match case.workload {
        Workload::Idle { duration, requests } => {
            tell(IterationKind::Timed, idle::iteration(engine, case, duration, requests)?)?;
        }
        Workload::Soak { duration, batch: _, prompt, output, shared } => {
            let traffic = Traffic { arrival: Arrival::Closed, prompt, output, shared };
            let done = soak::iteration(engine, case, traffic, duration, prefix_cache)?;
            tell(IterationKind::Timed, done)?;
        }
        Workload::Parity { tolerance } => {
            let reference = reference.context("no reference was read")?;
            let (tokens, values) = parity::iteration(&mut engine, &reference, tolerance)?;
            tell(IterationKind::Timed, (vec![tokens], values))?;
        }
        Workload::Load
        | Workload::Prefill { .. }
        | Workload::Decode { .. }
        | Workload::Generate { .. }
        | Workload::Context { .. }
        | Workload::Serve { .. } => {
            for index in 0..case.warmup.saturating_add(case.iterations.get()) {
                let warm = index < case.warmup;
                let kind = if warm { IterationKind::WarmUp } else { IterationKind::Timed };
                let engine = &mut engine;
                let (answers, values) = match case.workload {
                    Workload::Context { shallow, depth, output } => {
                        context::iteration(engine, case, [shallow, depth], output, index, &clock)?
                    }
                    Workload::Serve { arrival, batch, requests, prompt, output, shared, slo } => {
                        let traffic = Traffic { arrival, prompt, output, shared };
                        let usage = serve::Usage { traffic, requests, batch, prefix_cache, slo };
                        serve::iteration(engine, case, &usage, index, &clock)?
                    }
                    _ => together::iteration(engine, case, index, &clock)?,
                };
                tell(kind, (outputs(&answers), values))?;
            }
        }
    }
    let peak = process::peak_rss().map(|bytes| (Metric::PeakRss, bytes.0 as f64));
    Ok(Message::End { values: peak.into_iter().collect() })
}

/// The digest of `outputs`.
///
/// Where time decides what is computed together, half precision can round a token into another one:
/// kernels sum small and large batches in another order. Then only the lengths are compared.
fn digest(case: &Case, outputs: &[Vec<u32>]) -> Digest {
    let half = matches!(case.dtype, case::Dtype::F16 | case::Dtype::Bf16);
    match case.workload.depends_on_time() && half {
        false => Digest::of_outputs(outputs.iter().map(Vec::as_slice)),
        true => {
            let lengths: Vec<u32> = outputs.iter().map(|output| output.len() as u32).collect();
            Digest::of_outputs([lengths.as_slice()])
        }
    }
}

/// What to say of an error: that the engine cannot do this by design, or that it failed.
#[must_use]
pub fn verdict_on(error: &anyhow::Error) -> Message {
    match error.downcast_ref::<Error>() {
        Some(Error::Unsupported(reason)) => Message::Unsupported { reason: reason.to_string() },
        _ => Message::Failed { error: format!("{error:#}") },
    }
}

/// Translates a case into the engine's configuration, for sequences of `longest` tokens, or of as
/// many as the case says itself. Both sides are taken apart whole: a new knob on either side does not
/// compile until it is carried over here.
///
/// # Errors
///
/// When a number of the case does not fit into this machine's.
pub fn config(case: &Case, longest: Option<usize>) -> Result<EngineConfig> {
    let Case {
        id: _,
        workload: _,
        model: case::Model { name: _, source },
        dtype,
        kv,
        attention,
        step_tokens,
        prefix_cache,
        kv_share,
        warmup: _,
        iterations: _,
        seed,
        deadline: _,
    } = case;
    let shape = case.shape();
    let Shape { prompt: _, output: _, batch, requests: _ } = shape;
    let length = match longest {
        Some(longest) => longest,
        None => usize::try_from(shape.length().0).context("requests are too long")?,
    };
    let sequences = batch as usize;

    let model = match source {
        Source::Preset(name) => ModelSource::Preset { name: name.clone(), seed: *seed },
        Source::Folder(path) => ModelSource::Folder { path: path.into() },
    };
    let dtype = match dtype {
        case::Dtype::F32 => Dtype::F32,
        case::Dtype::F16 => Dtype::F16,
        case::Dtype::Bf16 => Dtype::Bf16,
    };
    // What one sequence needs, and the unit in which the pool is divided.
    let (kv, one, unit) = match kv {
        case::KvLayout::Contiguous => (KvLayout::Contiguous, length, length),
        case::KvLayout::Paged(block) => {
            let block = std::num::NonZeroUsize::try_from(*block).context("blocks are too large")?;
            let whole = length.next_multiple_of(block.get());
            (KvLayout::Paged { block }, whole, block.get())
        }
    };
    let all = sequences.saturating_mul(one);
    let pool = (all / 100).saturating_mul(kv_share.get() as usize)
        + (all % 100).saturating_mul(kv_share.get() as usize) / 100;
    Ok(EngineConfig {
        model,
        dtype,
        kv,
        attention: match attention.as_str() {
            "auto" => Choice::Auto,
            name => Choice::Named(name.to_owned()),
        },
        prefix_cache: match prefix_cache {
            case::PrefixCache::Off => windtunnel_engine::PrefixCache::Off,
            case::PrefixCache::On => windtunnel_engine::PrefixCache::On,
        },
        kv_tokens: (pool / unit * unit).max(one),
        max_step_tokens: usize::try_from(step_tokens.0)
            .context("steps are too long")?
            .max(sequences),
        max_sequences: sequences,
        max_sequence_length: Some(length),
    })
}
