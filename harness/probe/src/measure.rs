//! Drives the engine through a case and reads the clock.
//!
//! The clock is read before a request is submitted and after each step that gave tokens; nothing is
//! written while an iteration runs. Every workload is requests of one shape
//! ([`Case::shape`](windtunnel_ledger::Case::shape)) and the metrics that it is run for: there is
//! one loop for all.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use windtunnel_engine::{
    Choice, Dtype, Engine, EngineConfig, Eos, Error, Event, Finish, KvLayout, ModelSource,
    PrefixCache, Request, RequestId, Sampling, Truncation,
};
use windtunnel_ledger::case::{self, Case, Shape, Source, Workload};
use windtunnel_ledger::record::{Digest, Iteration, IterationKind};
use windtunnel_ledger::timeline::{self, Timeline};
use windtunnel_ledger::wire::Message;
use windtunnel_ledger::{Metric, Nanos, Tokens};

use crate::{machine, prompt};

/// Runs `case`, says what it measured as soon as it has it, and returns the last thing to say.
pub(crate) fn case(case: &Case, say: &mut dyn FnMut(&Message) -> Result<()>) -> Result<Message> {
    let config = config(case)?;
    let clock = Clock::start();
    let mut engine = Engine::load(&config)?;
    let load_time = clock.now();

    let footprint = engine.footprint();
    let values = [
        (Metric::LoadTime, load_time.0 as f64),
        (Metric::WeightBytes, footprint.weights as f64),
        (Metric::KvBytes, footprint.kv as f64),
    ];
    let attention = engine.attention().to_owned();
    say(&Message::Loaded { attention, values: values.into_iter().collect() })?;

    for index in 0..case.warmup.saturating_add(case.iterations.get()) {
        let kind = if index < case.warmup { IterationKind::WarmUp } else { IterationKind::Timed };
        let (timelines, outputs) = iteration(&mut engine, case, index, &clock)?;
        let timelines = match case.workload {
            Workload::Decode { .. } => timeline::together(&timelines),
            Workload::Load | Workload::Prefill { .. } | Workload::Generate { .. } => timelines,
        };
        let mut values = timeline::metrics(&timelines);
        values.retain(|metric, _| case.workload.metrics().contains(metric));
        let digest = Digest::of_outputs(outputs.iter().map(Vec::as_slice));
        say(&Message::Iteration(Iteration { kind, digest, values }))?;
    }
    let peak = machine::peak_rss().map(|bytes| (Metric::PeakRss, bytes.0 as f64));
    Ok(Message::End { values: peak.into_iter().collect() })
}

/// What to say of an error: that the engine cannot do this by design, or that it failed.
pub(crate) fn verdict_on(error: &anyhow::Error) -> Message {
    match error.downcast_ref::<Error>() {
        Some(Error::Unsupported(reason)) => Message::Unsupported { reason: reason.to_string() },
        _ => Message::Failed { error: format!("{error:#}") },
    }
}

/// Translates a case into the engine's configuration. Both sides are taken apart whole: a new knob
/// on either side does not compile until it is carried over here.
fn config(case: &Case) -> Result<EngineConfig> {
    let Case {
        id: _,
        workload: _,
        model: case::Model { name: _, source },
        dtype,
        kv,
        attention,
        step_tokens,
        warmup: _,
        iterations: _,
        seed,
        deadline: _,
    } = case;
    let shape = case.shape();
    let Shape { prompt: _, output: _, batch } = shape;
    let length = usize::try_from(shape.length().0).context("requests are too long")?;
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
    let (kv, whole_blocks) = match kv {
        case::KvLayout::Contiguous => (KvLayout::Contiguous, length),
        case::KvLayout::Paged(block) => {
            let block = std::num::NonZeroUsize::try_from(*block).context("blocks are too large")?;
            (KvLayout::Paged { block }, length.next_multiple_of(block.get()))
        }
    };
    Ok(EngineConfig {
        model,
        dtype,
        kv,
        attention: match attention.as_str() {
            "auto" => Choice::Auto,
            name => Choice::Named(name.to_owned()),
        },
        // Prompts share nothing, so that there is nothing to find.
        prefix_cache: PrefixCache::Off,
        kv_tokens: sequences.saturating_mul(whole_blocks),
        max_step_tokens: usize::try_from(step_tokens.0)
            .context("steps are too long")?
            .max(sequences),
        max_sequences: sequences,
        max_sequence_length: Some(length),
    })
}

/// Runs the requests of one iteration to their end: when their tokens came, and which they were.
fn iteration(
    engine: &mut Engine,
    case: &Case,
    index: u32,
    clock: &Clock,
) -> Result<(Vec<Timeline>, Vec<Vec<u32>>)> {
    let Shape { prompt: length, output, batch } = case.shape();
    let (length, output) = (length.0 as usize, output.0 as usize);
    let vocabulary = engine.vocabulary();
    let prompts: Vec<Vec<u32>> = (0..batch)
        .map(|request| prompt::tokens(case.seed, index, request, length, vocabulary))
        .collect();

    let mut timelines: Vec<Timeline> = Vec::with_capacity(prompts.len());
    let mut outputs: Vec<Vec<u32>> = vec![Vec::with_capacity(output); prompts.len()];
    let mut places: BTreeMap<RequestId, usize> = BTreeMap::new();
    for (place, prompt) in prompts.into_iter().enumerate() {
        let tokens = Vec::with_capacity(output);
        timelines.push(Timeline { prompt: Tokens(length as u64), submitted: clock.now(), tokens });
        let request = Request {
            prompt,
            max_tokens: Some(output),
            sampling: Sampling::GREEDY,
            stop: Vec::new(),
            eos: Eos::Ignore,
            truncation: Truncation::Refuse,
            choices: 1,
            prefix_cache: PrefixCache::Off,
        };
        places.insert(engine.submit(request)?, place);
    }

    while !engine.is_idle() {
        let step = engine.step();
        let now = clock.now();
        for event in step.events {
            match event {
                Event::Token { request, token, .. } => {
                    let place = places[&request];
                    timelines[place].tokens.push(now);
                    outputs[place].push(token);
                }
                Event::Finished { finish: Finish::Error(error), .. } => {
                    return Err(anyhow::Error::msg(error).context("a step of the engine failed"));
                }
                Event::Queued { .. } | Event::PromptDone { .. } | Event::Finished { .. } => (),
            }
        }
    }
    for tokens in &outputs {
        ensure!(
            tokens.len() == output,
            "the engine gave {} of {output} tokens and called that finished",
            tokens.len()
        );
    }
    Ok((timelines, outputs))
}

/// A monotonic clock that starts at zero.
struct Clock(Instant);

impl Clock {
    fn start() -> Clock {
        Clock(Instant::now())
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
