//! The LLM inference engine that Windtunnel measures, built on candle.
//!
//! This tour follows a token. A caller hands a [`Request`] to an [`Engine`] loaded from an
//! [`EngineConfig`]: [`weights`] read the checkpoint, [`models`] assembled it into layers.
//!
//! 1. The request becomes a [`sequence`]: its tokens, and how many of them are computed.
//! 2. The [`scheduler`] decides which sequences run in the next step and takes cache [`blocks`] for
//!    them: continuous batching, chunked prefill, preemption by recomputation, shared prefixes.
//! 3. The [`batch`] packs the granted tokens side by side, without padding: prompt chunks and
//!    decodes are treated alike.
//! 4. The model runs a [`pass`] over them: its [`layers`] write keys and values to the [`kv`] store
//!    and attend through an [`attention`] backend.
//! 5. The [`sampler`] draws the next token of each sequence from its logits.
//! 6. The scheduler appends it to the sequence, and the caller receives it as an [`Event`], with a
//!    [`telemetry`] report of what the step cost.
//!
//! To compare models, [`score`] runs a request the same way and shows the logits of every position;
//! [`score_at`] also shows the hidden states.
//!
//! [`placement`] decides which device each layer lives on; [`cuda`] holds what is specific to
//! NVIDIA GPUs, support for which is optional.
//!
//! Embedding models run in an [`Embedder`]: the same packed batches and layers, without a cache,
//! and with [`embedding`] in place of the sampler.
//!
//! The engine is a plain value with a synchronous [`step`](Engine::step). Applications that embed
//! it can use two optional layers around it:
//!
//! - a [`Runtime`] is a thread that owns the engine; a [`Client`] sends it requests from any other
//!   thread, and a [`Response`] yields their events as they happen;
//! - a [`TextClient`] adds [`text`]: prompts or chats in, text out, with stop strings.
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
