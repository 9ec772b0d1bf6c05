//! The LLM inference engine that Windtunnel measures, on candle.
//!
//! The tour follows a token. A caller hands a [`Request`] to an [`Engine`], which was loaded
//! from an [`EngineConfig`]: [`weights`] found the numbers, [`models`] gave them a shape.
//!
//! 1. The request becomes a [`sequence`]: its tokens, and how many of them are computed.
//! 2. The [`scheduler`] decides who runs in the next step and takes [`blocks`] of the cache for
//!    them: continuous batching, chunked prefill, preemption by recomputation, shared prefixes.
//! 3. The [`batch`] packs the granted tokens side by side, without padding: prompt chunks and
//!    decodes are the same thing.
//! 4. The model runs a [`pass`] over them: [`layers`] that write keys and values to the [`kv`]
//!    store and attend through a backend of [`attention`].
//! 5. The [`sampler`] draws the next token of each sequence from its logits.
//! 6. The scheduler books it, and the caller reads it as an [`Event`], with a [`telemetry`]
//!    report of what the step cost.
//!
//! [`score`] runs a request the same way and shows the logits of every position, and [`score_at`]
//! what led to them, for whoever compares models.
//!
//! Where a layer lives is a matter of [`placement`], and what is particular to GPUs of NVIDIA of
//! [`cuda`], which a build may lack.
//!
//! A model that makes vectors of texts instead runs in an [`Embedder`]: the same packed batches and
//! layers, without a cache, and [`embedding`] where the sampler was.
//!
//! The engine is a plain value with a synchronous [`step`](Engine::step). Two layers around it
//! make it what an application embeds, and each can be left out:
//!
//! - a [`Runtime`] is a thread that owns the engine; a [`Client`] hands it requests from any other
//!   thread, and a [`Response`] gives their events as they happen;
//! - a [`TextClient`] speaks [`text`] to it: words or chats in, words out, stop strings watched.
//!
//! Nothing here reads an environment variable, prints, installs a logger, or panics on input. What
//! breaks such rules on purpose, in builds that show that guards notice it, is in [`faults`].

pub mod attention;
pub mod batch;
pub mod blocks;
pub mod config;
mod cpu;
pub mod cuda;
pub mod embedding;
pub mod engine;
pub mod error;
pub mod faults;
pub mod kv;
pub mod layers;
pub mod models;
pub mod pass;
pub mod placement;
pub mod quant;
pub mod request;
pub mod roof;
pub mod runtime;
pub mod sampler;
pub mod scheduler;
pub mod score;
pub mod sequence;
pub mod telemetry;
mod terms;
pub mod text;
pub mod text_client;
pub mod weights;

pub use config::{Choice, CudaGraphs, Dtype, EngineConfig, KvLayout, ModelSource, PrefixCache};
pub use embedding::{EmbedRequest, Embedder, EmbedderConfig, Embeddings, InputError, Overlong};
pub use engine::{Engine, Step};
pub use error::{Error, Result, Unsupported};
pub use placement::{DeviceMap, DeviceName, Exhausted, PlacementError, Topology};
pub use quant::{Format, LayerQuant, Quant, QuantPlan, QuantType};
pub use request::{Eos, Event, Finish, Request, RequestId, Truncation, Usage};
pub use roof::Roof;
pub use runtime::{Canceller, Client, Pending, Response, Runtime, Stamped};
pub use sampler::{Dry, Logprobs, Sampling};
pub use score::{score, score_at};
pub use telemetry::{
    Account, Attribution, Demand, Effort, EmbedReport, Footprint, Holding, LoadStages, Loaded,
    PoolStats, PrefixStats, Stage, StageTimes, Stages, Stats, StepReport, Stored, Transfers, Work,
};
pub use text_client::{Answer, Completion, TextClient, TextEvent, TextRequest};
