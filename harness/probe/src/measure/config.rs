//! Turns a case into the engine's configuration, and says what of a case the engine cannot do.

use anyhow::{Context, Result, bail};
use windtunnel_engine::{
    Choice, Dtype, EmbedderConfig, Engine, EngineConfig, KvLayout, ModelSource, QuantPlan, Topology,
};
use windtunnel_ledger::Switch;
use windtunnel_ledger::case::{self, Benchmark, Case, Shape, Snapshot, Source};

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

/// The configuration of an embedder for `case`.
pub(super) fn embedder_config(case: &Case) -> Result<EmbedderConfig> {
    Ok(EmbedderConfig {
        model: model(case)?,
        dtype: dtype(case),
        attention: attention(case),
        max_pass_tokens: usize::try_from(case.step_tokens.0).context("steps are too long")?,
        max_sequence_length: None,
    })
}

pub(super) fn model(case: &Case) -> Result<ModelSource> {
    Ok(match &case.model.source {
        Source::Preset(name) => ModelSource::Preset { name: name.clone(), seed: case.seed },
        Source::Folder(path) => ModelSource::Folder { path: path.into() },
        Source::Gguf(path) => ModelSource::Gguf { path: path.into() },
        Source::Hub(snapshot) => bail!("{}", not_here(snapshot)),
        Source::Bench(benchmark) => bail!("{}", no_model(benchmark)),
    })
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

/// What `case` asks for that no embedder supports, and what to choose instead. The case is
/// destructured exhaustively: a new knob does not compile until it is decided here.
pub(super) fn beyond_embedders(case: &Case) -> Option<&'static str> {
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

/// What `case` asks for that `engine`, loaded from `config`, cannot do, and what to choose instead.
/// Sequences have `longest` tokens if given, else the length that the case says.
pub(super) fn beyond_engine(
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

/// Why sequences of `asked` tokens are too long for a model that takes `takes`; none if they fit.
pub(super) fn too_long(asked: u64, takes: usize, remedy: &str) -> Option<String> {
    (asked > takes as u64).then(|| {
        format!(
            "sequences of this case have up to {asked} tokens, but this model takes {takes}; {remedy}"
        )
    })
}
