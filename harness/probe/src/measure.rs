//! Runs the iterations of a case on the engine, and reports each measurement as soon as it is known.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use windtunnel_engine::models::Purpose;
use windtunnel_engine::{Embedder, Engine, EngineConfig, QuantPlan};
use windtunnel_ledger::case::{self, Arrival, Case, Source, Workload};
use windtunnel_ledger::record::{Digest, IterationKind};
use windtunnel_ledger::timeline::Values;
use windtunnel_ledger::trace::{Mark, Phase};
use windtunnel_ledger::traffic::Traffic;
use windtunnel_ledger::wire::Message;

use crate::clock::Clock;
use crate::drive::outputs;
use crate::repeat::Repeat;
use crate::workload::parity::{self, Reference, vectors};
use crate::workload::quality::{self, Reading};
use crate::workload::{context, embed, idle, serve, soak, together};

mod config;
mod messages;

pub use config::config;
use config::{beyond_embedders, beyond_engine, embedder_config, model, too_long};
pub(crate) use config::{no_model, not_here};
pub use messages::verdict_on;
use messages::{asked, begin, end, halves, loaded, moved, phase, tell};

/// Sends a message while a case runs.
pub type Say<'a> = dyn FnMut(&Message) -> Result<()> + 'a;

/// Runs `case`, reports each measurement as soon as it is known, and returns the last message.
///
/// # Errors
///
/// When the engine cannot run it, or `say` fails.
pub fn case(case: &Case, say: &mut Say<'_>) -> Result<Message> {
    if let Source::Bench(benchmark) = &case.model.source {
        return Ok(Message::Unsupported { reason: no_model(benchmark) });
    }
    begin(Phase::Load, say)?;
    let embeds = Purpose::of(&model(case)?)? == Purpose::Embedding;
    let last = match case.workload {
        Workload::Embed { .. } => embed(case, say),
        Workload::Parity { .. } if embeds => embed(case, say),
        _ => generate(case, say),
    }?;
    if let Message::End { .. } = last {
        begin(Phase::Done, say)?;
    }
    Ok(last)
}

/// Runs a case of an embedding model.
fn embed(case: &Case, say: &mut Say<'_>) -> Result<Message> {
    if let Some(reason) = beyond_embedders(case) {
        return Ok(Message::Unsupported { reason: reason.to_owned() });
    }
    let reference = match case.workload {
        Workload::Parity { .. } => Some(vectors::Reference::of(&case.model.source)?),
        _ => None,
    };
    let config = embedder_config(case)?;
    let clock = Clock::start();
    let embedder = Embedder::load(&config)?;
    if let Workload::Embed { prompt, .. } = case.workload {
        let takes = embedder.max_sequence_length();
        if let Some(reason) = too_long(prompt.most().0, takes, "lower `prompt`") {
            return Ok(Message::Unsupported { reason });
        }
    }
    let (time, attention) = (clock.now(), embedder.attention());
    let (holds, vocabulary) = ((embedder.footprint(), &[][..]), embedder.vocabulary());
    loaded(case, time, holds, embedder.loaded(), attention, vocabulary, say)?;
    match case.workload {
        Workload::Embed { batch, requests, prompt } => repeated(case, &clock, say, |index| {
            let counts = [requests, batch];
            let done = embed::iteration(&embedder, case, counts, prompt, index, &clock)?;
            Ok((done, Vec::new()))
        })?,
        Workload::Parity { tolerance } => {
            begin(Phase::Iteration(0), say)?;
            let reference = reference.context("no reference was read")?;
            let done = vectors::iteration(&embedder, &reference, tolerance)?;
            tell(case, IterationKind::Timed, done, say)?;
        }
        _ => bail!("an embedding model cannot run `{}`", case.workload.name()),
    }
    Ok(end(BTreeMap::new()))
}

/// Runs a case of a generating model.
fn generate(case: &Case, say: &mut Say<'_>) -> Result<Message> {
    let given = Given::of(case)?;
    let longest = given.longest();
    let config = config(case, longest)?;
    let clock = Clock::start();
    let mut engine = Engine::load(&config)?;
    let load_time = clock.now();
    if let Some(reason) = beyond_engine(case, &engine, &config, longest) {
        return Ok(Message::Unsupported { reason });
    }
    let (holds, vocabulary) = ((engine.footprint(), engine.holdings()), engine.vocabulary());
    loaded(case, load_time, holds, engine.loaded(), engine.attention(), vocabulary, say)?;
    match case.workload {
        Workload::Idle { .. }
        | Workload::Soak { .. }
        | Workload::Parity { .. }
        | Workload::Quality { .. } => {
            begin(Phase::Iteration(0), say)?;
            let done = once(case, engine, given)?;
            tell(case, IterationKind::Timed, done, say)?;
            Ok(end(BTreeMap::new()))
        }
        Workload::Load
        | Workload::Prefill { .. }
        | Workload::Decode { .. }
        | Workload::Generate { .. }
        | Workload::Context { .. }
        | Workload::Serve { .. }
        | Workload::Embed { .. }
        | Workload::Criterion => {
            repeated(case, &clock, say, |index| iteration(case, &mut engine, index, &clock))?;
            let mut values = moved(&engine);
            values.extend(asked(&engine, &case.workload));
            Ok(end(values))
        }
    }
}

/// Input of a case other than randomly drawn prompts.
enum Given {
    /// The results of another implementation.
    Reference(Reference),
    /// A text.
    Reading(Reading),
    /// Nothing.
    Nothing,
}

impl Given {
    fn of(case: &Case) -> Result<Given> {
        Ok(match case.workload {
            Workload::Parity { .. } => Given::Reference(Reference::of(&case.model.source)?),
            Workload::Quality { prompt, requests, .. } => {
                Given::Reading(Reading::of(&model(case)?, prompt, requests)?)
            }
            _ => Given::Nothing,
        })
    }

    /// Tokens of its longest sequence; none where the case determines that.
    fn longest(&self) -> Option<usize> {
        match self {
            Given::Reference(reference) => Some(reference.length()),
            Given::Reading(reading) => Some(reading.longest()),
            Given::Nothing => None,
        }
    }
}

/// Runs the only iteration of a single-iteration case, consuming the engine.
fn once(case: &Case, mut engine: Engine, given: Given) -> Result<(Digest, Values)> {
    let (outputs, values) = match (case.workload, given) {
        (Workload::Idle { duration, requests: _ }, _) => idle::iteration(engine, case, duration)?,
        (Workload::Soak { duration, batch: _, prompt, output, shared }, _) => {
            let traffic = Traffic { arrival: Arrival::Closed, prompt, output, shared };
            let prefix_cache = engine.prefix_cache();
            soak::iteration(engine, case, traffic, duration, prefix_cache)?
        }
        (Workload::Parity { tolerance }, Given::Reference(reference)) => {
            let (tokens, values) = parity::iteration(&mut engine, &reference, tolerance)?;
            (vec![tokens], values)
        }
        (Workload::Quality { against, .. }, Given::Reading(reading)) => {
            let in_f32 = || {
                let dense = config(&quality::in_f32(case), Some(reading.longest()))?;
                Ok(Engine::load(&EngineConfig { quant: QuantPlan::DENSE, ..dense })?)
            };
            let what = (case.seed, against);
            let (tokens, values) = quality::iteration(engine, &reading, what, in_f32)?;
            (vec![tokens], values)
        }
        _ => bail!("`{}` has more than one iteration", case.workload.name()),
    };
    Ok((digest(case, &outputs), values))
}

/// The results of an iteration, and when its phases began.
type Done = ((Digest, Values), Vec<Mark>);

/// Runs as many iterations as `case` asks for, each with its index, and reports their results.
fn repeated(
    case: &Case,
    clock: &Clock,
    say: &mut Say<'_>,
    mut iteration: impl FnMut(u32) -> Result<Done>,
) -> Result<()> {
    let mut repeat = Repeat::of(case);
    while let Some((index, kind)) = repeat.next(clock.now()) {
        begin(phase(index, kind), say)?;
        let (done, marks) = iteration(index)?;
        for mark in marks {
            say(&Message::Phase(mark))?;
        }
        repeat.note(kind, &done.1);
        tell(case, kind, done, say)?;
    }
    match repeat.stopped() {
        Some(stopped) => say(&Message::Stopped(stopped)),
        None => Ok(()),
    }
}

/// Runs one iteration of a case with several.
fn iteration(case: &Case, engine: &mut Engine, index: u32, clock: &Clock) -> Result<Done> {
    let (answers, values) = match case.workload {
        Workload::Context { shallow: _, depth: _, output } => {
            context::iteration(engine, case, output, index, clock)?
        }
        Workload::Serve { arrival, batch, requests, prompt, output, shared, slo } => {
            let traffic = Traffic { arrival, prompt, output, shared };
            let prefix_cache = engine.prefix_cache();
            let usage = serve::Usage { traffic, requests, batch, prefix_cache, slo };
            serve::iteration(engine, case, &usage, index, clock)?
        }
        _ => together::iteration(engine, case, index, clock)?,
    };
    let marks = match case.workload {
        Workload::Context { .. } | Workload::Serve { .. } => Vec::new(),
        _ => halves(&answers, clock),
    };
    Ok(((digest(case, &outputs(&answers)), values), marks))
}

/// The digest of `outputs`.
///
/// Where timing decides which sequences share a batch, half precision can round to a different
/// token, because kernels sum in a different order for small and large batches. Then the digest
/// covers only the lengths.
fn digest(case: &Case, outputs: &[Vec<u32>]) -> Digest {
    let half = case.dtype != case::Dtype::F32;
    match case.workload.depends_on_time() && half {
        false => Digest::of_outputs(outputs.iter().map(Vec::as_slice)),
        true => {
            let lengths: Vec<u32> = outputs.iter().map(|output| output.len() as u32).collect();
            Digest::of_outputs([lengths.as_slice()])
        }
    }
}
