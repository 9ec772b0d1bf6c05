//! Turns a case into the engine's configuration, and its iterations into messages.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use windtunnel_engine::models::Purpose;
use windtunnel_engine::placement::Occupied;
use windtunnel_engine::{
    Choice, DeviceName, Dtype, Effort, Embedder, EmbedderConfig, Engine, EngineConfig, Error,
    Exhausted, Footprint, Holding, KvLayout, LoadStages, Loaded, ModelSource, PlacementError,
    QuantPlan, Stats, Stored, Topology,
};
use windtunnel_ledger::case::{self, Arrival, Benchmark, Case, Shape, Snapshot, Source, Workload};
use windtunnel_ledger::holding::{self, Held};
use windtunnel_ledger::record::{self, Digest, Iteration, IterationKind};
use windtunnel_ledger::timeline::Values;
use windtunnel_ledger::trace::{Mark, Phase};
use windtunnel_ledger::traffic::Traffic;
use windtunnel_ledger::wire::Message;
use windtunnel_ledger::{Bytes, Metric, Nanos, Switch};

use crate::clock::{self, Clock};
use crate::drive::{Answer, outputs};
use crate::process;
use crate::repeat::Repeat;
use crate::traffic;
use crate::workload::parity::{self, Reference, vectors};
use crate::workload::quality::{self, Reading};
use crate::workload::{context, embed, idle, serve, soak, together};

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

/// The last message of a case that ran to its end, with `values` known only at the end.
fn end(mut values: BTreeMap<Metric, f64>) -> Message {
    values.extend(process::peak_rss().map(|bytes| (Metric::PeakRss, bytes.0 as f64)));
    let on_gpus = windtunnel_engine::cuda::most_allocated();
    values.extend(on_gpus.map(|bytes| (Metric::DeviceBytes, bytes as f64)));
    Message::End { values }
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
    let clock = Clock::start();
    let embedder = Embedder::load(&EmbedderConfig {
        model: model(case)?,
        dtype: dtype(case),
        attention: attention(case),
        max_pass_tokens: usize::try_from(case.step_tokens.0).context("steps are too long")?,
        max_sequence_length: None,
    })?;
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

/// What `case` asks for that no embedder supports, and what to choose instead. The case is
/// destructured exhaustively: a new knob does not compile until it is decided here.
fn beyond_embedders(case: &Case) -> Option<&'static str> {
    let Case {
        id: _,
        workload: _,
        model: _,
        dtype: _,
        quant,
        // Embedders have no KV cache and record no CUDA graphs.
        kv: _,
        placement: case::Placement { devices, topology },
        attention: _,
        step_tokens: _,
        prefix_cache: _,
        cuda_graphs: _,
        kv_share: _,
        warmup: _,
        iterations: _,
        enough: _,
        seed: _,
        deadline: _,
    } = case;
    match () {
        () if *devices != case::DeviceMap::default() => {
            Some("an embedding model runs on the first CPU only; choose device-map = \"cpu:0\"")
        }
        () if !topology.is_none() => {
            Some("an embedding model cannot be split; choose topology = \"none\"")
        }
        () if *quant != case::Quant::None => {
            Some("the weights of an embedding model cannot be quantised; choose quant = \"none\"")
        }
        () => None,
    }
}

/// Why sequences of `asked` tokens are too long for a model that takes `takes`; none if they fit.
fn too_long(asked: u64, takes: usize, remedy: &str) -> Option<String> {
    (asked > takes as u64).then(|| {
        format!(
            "sequences of this case have up to {asked} tokens, but this model takes {takes}; {remedy}"
        )
    })
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

/// What `case` asks for that `engine`, loaded from `config`, cannot do, and what to choose instead.
/// Sequences have `longest` tokens if given, else the length that the case says.
fn beyond_engine(
    case: &Case,
    engine: &Engine,
    config: &EngineConfig,
    longest: Option<usize>,
) -> Option<String> {
    if config.prefix_cache != engine.prefix_cache() {
        let reason =
            "this model or its KV cache cannot share prefixes; choose prefix-cache = \"off\"";
        return Some(reason.to_owned());
    }
    // The engine takes no more tokens than the model has positions, and finishes sequences there.
    let tokens = longest.map_or(case.shape().length().0, |longest| longest as u64);
    let remedy = "lower `prompt`, `depth`, `output` or `batch`";
    too_long(tokens, engine.max_sequence_length(), remedy)
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

/// Reports that `phase` begins now.
fn begin(phase: Phase, say: &mut Say<'_>) -> Result<()> {
    say(&Message::Phase(Mark { at: clock::monotonic(), phase }))
}

/// The phase for an iteration.
fn phase(index: u32, kind: IterationKind) -> Phase {
    match kind {
        IterationKind::WarmUp => Phase::WarmUp(index),
        IterationKind::Timed => Phase::Iteration(index),
    }
}

/// When requests that were submitted together began to prefill, and when the last of them began to
/// decode, if any did.
fn halves(answers: &[Answer], clock: &Clock) -> Vec<Mark> {
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
fn loaded(
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
fn moved(engine: &Engine) -> BTreeMap<Metric, f64> {
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
fn asked(engine: &Engine, workload: &Workload) -> BTreeMap<Metric, f64> {
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
fn tell(
    case: &Case,
    kind: IterationKind,
    (digest, mut values): (Digest, Values),
    say: &mut Say<'_>,
) -> Result<()> {
    values.retain(|metric, _| case.workload.metrics().contains(metric));
    say(&Message::Iteration(Iteration { kind, digest, values }))
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

/// Translates a case into the engine's configuration, for sequences of `longest` tokens if given,
/// else of the length that the case says. Both sides are listed exhaustively: a new knob on either
/// side does not compile until it is carried over here.
///
/// # Errors
///
/// When a number of the case does not fit into a `usize`, or the engine cannot take its model or
/// one of its names.
pub fn config(case: &Case, longest: Option<usize>) -> Result<EngineConfig> {
    let Case {
        id: _,
        workload: _,
        model: _,
        dtype: _,
        quant,
        kv,
        placement: case::Placement { devices, topology },
        attention: _,
        step_tokens,
        prefix_cache,
        cuda_graphs,
        kv_share,
        warmup: _,
        iterations: _,
        enough: _,
        seed: _,
        deadline: _,
    } = case;
    let shape = case.shape();
    let Shape { prompt: _, output: _, batch, requests: _ } = shape;
    let length = match longest {
        Some(longest) => longest,
        None => usize::try_from(shape.length().0).context("requests are too long")?,
    };
    // GPU kernels read a cache in place only if its blocks are multiples of 32 tokens.
    let length = match (kv, devices.names_gpu()) {
        (case::KvLayout::Contiguous, true) => length.next_multiple_of(32),
        _ => length,
    };
    let sequences = batch as usize;

    // Tokens that one sequence needs, and the unit of allocation in the pool.
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
        model: model(case)?,
        dtype: dtype(case),
        quant: QuantPlan::uniform(quant.name().parse().context("the engine lacks a format")?),
        devices: devices.as_str().parse()?,
        topology: match topology.is_none() {
            true => Topology::NONE,
            false => Topology::parse(&topology.name, &topology.text)?,
        },
        kv,
        attention: attention(case),
        prefix_cache: match prefix_cache {
            Switch::Off => windtunnel_engine::PrefixCache::Off,
            Switch::On => windtunnel_engine::PrefixCache::On,
        },
        cuda_graphs: match cuda_graphs {
            Switch::On => windtunnel_engine::CudaGraphs::On,
            Switch::Off => windtunnel_engine::CudaGraphs::Off,
        },
        kv_tokens: (pool / unit * unit).max(one),
        max_step_tokens: usize::try_from(step_tokens.0)
            .context("steps are too long")?
            .max(sequences),
        max_sequences: sequences,
        max_sequence_length: Some(length),
    })
}

fn model(case: &Case) -> Result<ModelSource> {
    Ok(match &case.model.source {
        Source::Preset(name) => ModelSource::Preset { name: name.clone(), seed: case.seed },
        Source::Folder(path) => ModelSource::Folder { path: path.into() },
        Source::Gguf(path) => ModelSource::Gguf { path: path.into() },
        Source::Hub(snapshot) => bail!("{}", not_here(snapshot)),
        Source::Bench(benchmark) => bail!("{}", no_model(benchmark)),
    })
}

/// The error for a probe that is handed a hub repository.
pub(crate) fn not_here(snapshot: &Snapshot) -> String {
    format!(
        "{snapshot} is on a hub, and a probe reads only local files: start it with `windtunnel \
         run`, which downloads them and hands over their folder"
    )
}

/// The error for a probe that is handed a benchmark.
pub(crate) fn no_model(benchmark: &Benchmark) -> String {
    format!(
        "`{}` is a bench, which runs without a probe: name the working tree, a revision or an \
         external subject with `[criterion]`",
        benchmark.target()
    )
}

fn dtype(case: &Case) -> Dtype {
    match case.dtype {
        case::Dtype::Auto => Dtype::Auto,
        case::Dtype::F32 => Dtype::F32,
        case::Dtype::F16 => Dtype::F16,
        case::Dtype::Bf16 => Dtype::Bf16,
    }
}

fn attention(case: &Case) -> Choice {
    match case.attention.as_str() {
        "auto" => Choice::Auto,
        name => Choice::Named(name.to_owned()),
    }
}
