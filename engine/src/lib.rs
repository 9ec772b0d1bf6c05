//! The LLM inference engine that Windtunnel measures, on candle.
//!
//! This tour follows a token. A caller hands a [`Request`] to an [`Engine`] that was loaded from an
//! [`EngineConfig`]: [`weights`] read the numbers, [`models`] assembled them into layers.
//!
//! 1. The request becomes a [`sequence`]: its tokens, and how many of them are computed.
//! 2. The [`scheduler`] decides who runs in the next step and takes [`blocks`] of the cache for
//!    them: continuous batching, chunked prefill, preemption by recomputation, shared prefixes.
//! 3. The [`batch`] packs the granted tokens side by side, without padding: prompt chunks and
//!    decodes are the same thing.
//! 4. The model runs a [`pass`] over them: [`layers`] that write keys and values to the [`kv`]
//!    store and attend through a backend of [`attention`].
//! 5. The [`sampler`] draws the next token of each sequence from its logits.
//! 6. The scheduler appends it to its sequence, and the caller reads it as an [`Event`], with a
//!    [`telemetry`] report of what the step cost.
//!
//! [`score`] runs a request the same way and shows the logits of every position, [`score_at`] also
//! the hidden states, for comparing models.
//!
//! [`placement`] decides on which device a layer is; [`cuda`] has what is specific to NVIDIA GPUs,
//! whose support is optional.
//!
//! Models that turn texts into vectors run in an [`Embedder`]: the same packed batches and layers,
//! without a cache, and with [`embedding`] in place of the sampler.
//!
//! The engine is a plain value with a synchronous [`step`](Engine::step). Two optional layers around
//! it are for applications that embed it:
//!
//! - a [`Runtime`] is a thread that owns the engine; a [`Client`] hands it requests from any other
//!   thread, and a [`Response`] gives their events as they happen;
//! - a [`TextClient`] speaks [`text`] to it: words or chats in, words out, stop strings watched.
//!
//! Nothing here reads an environment variable, prints, installs a logger, or panics on input. The
//! deliberate exceptions, in builds that test the guards, are in [`faults`].

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
