//! [`Embedder`]: turns texts into vectors, alongside the [`Engine`](crate::Engine).
//!
//! A [`Body`] computes the hidden states of whole sequences, packed side by side without padding. A
//! [`Pooling`] reduces each sequence to one vector, and the modules of a [`Recipe`] finish it.
//! Every sequence is computed in one pass, so nothing is cached: attention reads the keys and
//! values of the pass itself.
//!
//! The input is token ids. A [`Reader`] makes them from texts, with the prompts that the model was
//! trained on.
//!
//! ```no_run
//! use windtunnel_engine::embedding::Prompt;
//! use windtunnel_engine::{Choice, Dtype, Embedder, EmbedderConfig, ModelSource, Overlong};
//!
//! # fn main() -> windtunnel_engine::Result<()> {
//! let embedder = Embedder::load(&EmbedderConfig {
//!     model: ModelSource::Folder { path: "models/embeddinggemma".into() },
//!     dtype: Dtype::F32,
//!     attention: Choice::Auto,
//!     max_pass_tokens: 8192,
//!     max_sequence_length: None,
//! })?;
//! let reader = embedder.reader()?;
//! let query = reader.read("a warm coat", Prompt::Named("query"), Overlong::Refuse)?;
//! let vectors = embedder.embed(&[query])?.vectors;
//! # Ok(()) }
//! ```

use std::cell::Cell;

use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};
use tracing::debug_span;

use crate::attention::{Chosen, choose};
use crate::batch::Batch;
use crate::config::{Choice, Dtype, KvLayout, ModelSource};
use crate::error::{Error, Result};
use crate::models::{self, Body, Purpose};
use crate::pass::{Kv, Observer, Pass};
use crate::placement::{DeviceName, Placement};
use crate::telemetry::{EmbedReport, Footprint, LoadStages, Loaded, Stage, Stopwatch};
use crate::weights::{self, Checkpoint, Formats, Outline, Tally, Weights};

mod dense;
mod modules;
mod pooling;
mod reader;
mod recipe;
mod request;

pub use dense::{DenseActivation, DenseConfig};
pub use pooling::Pooling;
pub use reader::{Prompt, Reader};
pub use recipe::{ModuleConfig, Recipe};
pub use request::{EmbedRequest, InputError, Overlong};

use modules::Modules;
use request::Limits;

/// What to load, and how to run it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedderConfig {
    /// Where configuration and weights come from.
    pub model: ModelSource,
    /// Element type of weights and activations up to the pooling; from there on everything is f32.
    pub dtype: Dtype,
    /// Which attention backend to use.
    pub attention: Choice,
    /// Most tokens computed per pass, which bounds the memory of activations. Sequences are never
    /// split: one that is longer gets a pass to itself.
    pub max_pass_tokens: usize,
    /// Cap on the tokens of one sequence, below the model's own limit.
    pub max_sequence_length: Option<usize>,
}

impl EmbedderConfig {
    fn refuse_zeros(&self) -> Result<()> {
        let settings = [
            ("max_pass_tokens", Some(self.max_pass_tokens)),
            ("max_sequence_length", self.max_sequence_length),
        ];
        match settings.into_iter().find(|(_, value)| *value == Some(0)) {
            None => Ok(()),
            Some((setting, _)) => Err(Error::Setting {
                setting,
                value: "0".into(),
                problem: "but nothing is computed without at least 1".into(),
            }),
        }
    }
}

/// A loaded embedding model. It is immutable, so several threads may share it.
pub struct Embedder {
    body: Box<dyn Body>,
    modules: Modules,
    attention: Chosen,
    placement: Placement,
    limits: Limits,
    max_pass_tokens: usize,
    footprint: Footprint,
    loaded: Loaded,
    /// The whole model, and the part with body and tokenizer.
    sources: [ModelSource; 2],
}

/// The result for a batch of requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embeddings {
    /// One vector per request, in request order.
    pub vectors: Vec<Vec<f32>>,
    /// What it cost.
    pub report: EmbedReport,
}

impl Embedder {
    /// Loads what `config` asks for. Everything that can be refused is refused before the weights
    /// of the body are read.
    ///
    /// # Errors
    ///
    /// When the model cannot be found, read or run with these settings, is not an embedding model,
    /// or a setting makes no sense.
    pub fn load(config: &EmbedderConfig) -> Result<Self> {
        let EmbedderConfig { model, dtype, attention, max_pass_tokens, max_sequence_length } =
            config;
        let mut watch = Stopwatch::start();
        config.refuse_zeros()?;
        Purpose::Embedding.require(model)?;
        let recipe = Recipe::of(model)?;
        let transformer = model.within(&recipe.transformer);
        let Checkpoint { config: file, source, .. } = weights::open(&transformer)?;
        let open = watch.lap();
        let entry = models::find_embedder(&file)?;
        let placement = Placement::cpu();
        let devices = placement.devices();
        let dtype = dtype.on(devices.clone());
        let (outline, _) =
            models::outline(entry, &file, Outline::default(), Formats::plain(dtype))?;
        // A pass without a cache is read like one with contiguous sequences.
        let attention = choose(attention, outline.heads(), KvLayout::Contiguous, devices, dtype)?;
        let declined = attention.declined.clone();
        let caps = [recipe.longest, *max_sequence_length].into_iter().flatten();
        let limits = Limits {
            vocabulary: outline.vocabulary(),
            longest: caps.fold(outline.positions(), usize::min),
        };

        let tally = Tally::default();
        let modules = Modules::load(&recipe, outline.hidden(), model, &placement, &tally)?;
        let body = (entry.load)(&file, &Weights::new(&*source, &placement, dtype, &tally))?;
        Ok(Self {
            body,
            modules,
            attention,
            placement,
            limits,
            max_pass_tokens: *max_pass_tokens,
            footprint: Footprint { weights: tally.bytes(), kv: 0 },
            loaded: Loaded {
                dtype,
                formats: tally.formats(),
                declined,
                stages: LoadStages { open, ..source.stages() },
            },
            sources: [model.clone(), transformer],
        })
    }

    /// Returns one vector per request. The result does not depend on the other requests in the
    /// batch, except in the last digits: a product of many rows sums in another order than one of
    /// few.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] when a request cannot be embedded, which is checked before anything is
    /// computed, or when values exceed the range of the dtype; otherwise when a tensor operation
    /// fails.
    pub fn embed(&self, requests: &[EmbedRequest]) -> Result<Embeddings> {
        self.run(requests, None)
    }

    /// As [`embed`](Self::embed), but shows everything to `observer`, pass by pass: the rows of all
    /// passes in sequence are those of the requests in order.
    ///
    /// # Errors
    ///
    /// As [`embed`](Self::embed).
    pub fn embed_observed(
        &self,
        requests: &[EmbedRequest],
        observer: &mut dyn Observer,
    ) -> Result<Embeddings> {
        self.run(requests, Some(observer))
    }

    fn run(
        &self,
        requests: &[EmbedRequest],
        mut observer: Option<&mut dyn Observer>,
    ) -> Result<Embeddings> {
        let span = debug_span!("embed", sequences = requests.len());
        let _entered = span.enter();
        let accepted = requests.iter().enumerate().map(|(index, request)| {
            request.accepted(self.limits).map_err(|problem| Error::Input { index, problem })
        });
        let sequences = accepted.collect::<Result<Vec<_>>>()?;
        let attention = self.attention();
        let report = EmbedReport { attention, ..EmbedReport::default() };
        let mut embeddings = Embeddings { vectors: Vec::with_capacity(requests.len()), report };
        for sequences in passes(&sequences, self.max_pass_tokens) {
            let observer = observer.as_mut().map(|observer| &mut **observer as &mut dyn Observer);
            // On a pool thread, like a step of the engine.
            rayon::scope(|_| span.in_scope(|| self.pass(sequences, observer, &mut embeddings)))?;
        }
        Ok(embeddings)
    }

    /// Appends the vectors of `sequences` to `embeddings`.
    fn pass(
        &self,
        sequences: &[&[u32]],
        observer: Option<&mut dyn Observer>,
        embeddings: &mut Embeddings,
    ) -> Result<()> {
        let mut watch = Stopwatch::start();
        let Embeddings { vectors, report } = embeddings;
        let batch = Stage::Batch.of(|| Batch::whole(sequences, &self.placement))?;
        report.batch += watch.lap();

        let mut pass = Pass {
            batch: &batch,
            kv: Kv::Passing,
            attention: &self.attention.backends,
            heads: self.body.heads(),
            placement: &self.placement,
            transfers: Cell::default(),
            observer: observer.map(|observer| observer as &mut dyn Observer),
        };
        let tokens = batch.positions.len();
        let hidden = debug_span!("forward", tokens, attention = report.attention)
            .in_scope(|| self.body.forward(&mut pass))?;
        report.forward += watch.lap();

        let pooled = Stage::Pool.of(|| self.modules.forward(&hidden, &mut pass))?;
        let rows: Vec<Vec<f32>> =
            pooled.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.to_vec2()?;
        for row in rows {
            if !row.iter().all(|number| number.is_finite()) {
                let (index, problem) = (vectors.len(), InputError::NotFinite);
                return Err(Error::Input { index, problem });
            }
            vectors.push(row);
        }
        report.pool += watch.lap();
        report.tokens += tokens;
        report.passes += 1;
        Ok(())
    }

    /// A reader that turns texts into requests for this model. Loads its tokenizer, which takes a
    /// moment.
    ///
    /// # Errors
    ///
    /// [`TextError::NoTokenizer`](crate::text::TextError::NoTokenizer) for presets and for folders
    /// without `tokenizer.json`, and when a file is damaged.
    pub fn reader(&self) -> Result<Reader> {
        let [model, body] = &self.sources;
        Reader::open(model, body, self.limits.longest)
    }

    /// Number of dimensions of a vector.
    pub const fn width(&self) -> usize {
        self.modules.width()
    }

    /// Most tokens in one sequence.
    pub const fn max_sequence_length(&self) -> usize {
        self.limits.longest
    }

    /// Number of token ids.
    pub const fn vocabulary(&self) -> usize {
        self.limits.vocabulary
    }

    /// Name of the chosen attention backend.
    pub fn attention(&self) -> &'static str {
        self.attention.backends.first().map_or("", |backend| backend.name())
    }

    /// Logical names of the devices in use.
    pub fn devices(&self) -> impl Iterator<Item = DeviceName> {
        self.placement.names()
    }

    /// Bytes of weights. There is no cache.
    pub const fn footprint(&self) -> Footprint {
        self.footprint
    }

    /// The resolved dtype and weight formats, and how long each stage of loading took.
    pub const fn loaded(&self) -> &Loaded {
        &self.loaded
    }
}

/// Divides `sequences` into passes of at most `budget` tokens; a longer one gets a pass to itself.
fn passes<'a, 's>(
    mut sequences: &'a [&'s [u32]],
    budget: usize,
) -> impl Iterator<Item = &'a [&'s [u32]]> {
    std::iter::from_fn(move || {
        let mut tokens = 0;
        let fitting = sequences.iter().take_while(|sequence| {
            tokens += sequence.len();
            tokens <= budget
        });
        let (pass, rest) = sequences.split_at(fitting.count().max(1).min(sequences.len()));
        sequences = rest;
        (!pass.is_empty()).then_some(pass)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_can_share_an_embedder() {
        const fn shared<T: Send + Sync>() {}
        shared::<Embedder>();
    }

    #[test]
    fn passes_keep_the_order_and_the_budget_and_a_longer_sequence_is_alone() {
        let cut = |lengths: &[usize], budget| -> Vec<Vec<usize>> {
            let sequences: Vec<&[u32]> = lengths.iter().map(|&length| &[0; 99][..length]).collect();
            let lengths = |pass: &[&[u32]]| pass.iter().map(|sequence| sequence.len()).collect();
            passes(&sequences, budget).map(lengths).collect()
        };
        assert_eq!(cut(&[], 10), Vec::<Vec<usize>>::new());
        assert_eq!(
            cut(&[4, 6, 1, 30, 9, 1, 1], 10),
            [vec![4, 6], vec![1], vec![30], vec![9, 1], vec![1]]
        );
        assert_eq!(cut(&[3, 2, 1], 1), [[3], [2], [1]]);
    }
}
