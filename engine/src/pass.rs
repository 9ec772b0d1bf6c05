//! [`Pass`]: all that a model may see in one forward pass.
//!
//! A model asks for tokens and positions, moves its activations to a layer's device, attends,
//! and keeps the rows that matter. How the cache is cut, who runs beside whom, and which kernel
//! attends stay hidden from it.

use candle_core::{Result, Tensor, bail};

use crate::attention::{Attention, Heads};
use crate::batch::Batch;
use crate::kv::{KvStore, KvView};
use crate::placement::Placement;

pub use crate::batch::Position;

/// One forward pass over a [`Batch`].
pub struct Pass<'a> {
    /// The packed tokens.
    pub batch: &'a Batch,
    /// Where keys and values are.
    pub kv: Kv<'a>,
    /// The kernel.
    pub attention: &'a dyn Attention,
    /// The model's head geometry.
    pub heads: &'a Heads,
    /// Which layer lives where.
    pub placement: &'a Placement,
    /// Who looks on, if anybody.
    pub observer: Option<&'a mut dyn Observer>,
}

/// Where a pass finds the keys and values that it attends to.
#[derive(Debug, Clone, Copy)]
pub enum Kv<'a> {
    /// In the cache, where it also puts its own.
    Cached(&'a KvStore),
    /// In itself: its sequences are whole, and nothing is kept.
    Passing,
}

/// Looks on while a pass runs: parity checks, perplexity.
pub trait Observer: Send {
    /// `x` is `[tokens, …]` at `place`, one row for each packed token of `pass`; after pooling, one
    /// for each sequence.
    fn observe(&mut self, place: Place, x: &Tensor);
}

/// A place in a forward pass. A model with several residual streams shows them side by side up to
/// its last layer: `hidden` is then that of all streams together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// What enters the first layer, `[tokens, hidden]`.
    Embedding,
    /// What leaves layer `n`, `[tokens, hidden]`.
    Layer(usize),
    /// What enters the final norm, `[tokens, hidden]`.
    BeforeNorm,
    /// What leaves the final norm, `[tokens, hidden]`.
    Norm,
    /// The logits, `[tokens, vocabulary]`.
    Logits,
    /// What pooling leaves of each sequence, `[sequences, hidden]`.
    Pooled,
    /// What leaves the module `n` that follows the pooling, from 0 on, `[sequences, width]`.
    Module(usize),
}

impl Pass<'_> {
    /// Ids of the packed tokens, `[tokens]`, u32.
    pub fn tokens(&self) -> &Tensor {
        &self.batch.tokens
    }

    /// Where each packed token stands in its sequence.
    pub fn positions(&self) -> &[Position] {
        &self.batch.positions
    }

    /// `x` on the device of layer `layer`; free when it is there already.
    ///
    /// # Errors
    ///
    /// When the transfer fails.
    pub fn at(&self, layer: usize, x: &Tensor) -> Result<Tensor> {
        x.to_device(self.placement.layer(layer))
    }

    /// Stores `k` and `v` (`[tokens, kv_heads, dim]`) of layer `layer` in the cache, if there is
    /// one, then lets `q` (`[tokens, heads, dim]`) attend to everything its sequence may see; same
    /// shape as `q`.
    ///
    /// # Errors
    ///
    /// When shapes or dtypes do not fit the cache, or the kernel fails.
    pub fn attend(&mut self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let Batch { tables, .. } = self.batch;
        let mask = self.heads.masks[layer];
        match self.kv {
            Kv::Cached(store) => {
                let tables = store.tables(layer, tables);
                store.write(layer, k, v, &tables.runs)?;
                self.attention.attend(q, &store.view(layer, self.heads, tables), mask)
            }
            Kv::Passing => {
                // A pool of blocks of one token, in the order of the packed tokens.
                let pool = |x: &Tensor| x.contiguous()?.unsqueeze(1);
                let (keys, values) = (&pool(k)?, &pool(v)?);
                let (heads, tables) = (self.heads, &tables[0]);
                self.attention.attend(q, &KvView { keys, values, heads, tables }, mask)
            }
        }
    }

    /// Lets `q` (`[tokens, heads, dim]`) of layer `layer` attend to what `source`, an earlier layer
    /// of this pass, has stored; same shape and device as `q`.
    ///
    /// # Errors
    ///
    /// When shapes or dtypes do not fit the cache, there is none, or the kernel fails.
    pub fn attend_to(&mut self, source: usize, layer: usize, q: &Tensor) -> Result<Tensor> {
        let Kv::Cached(store) = self.kv else {
            bail!("layer {layer} reads the keys of layer {source}, but this pass keeps none")
        };
        let tables = store.tables(source, &self.batch.tables);
        let view = store.view(source, self.heads, tables);
        let attended =
            self.attention.attend(&self.at(source, q)?, &view, self.heads.masks[layer])?;
        self.at(layer, &attended)
    }

    /// The rows of `x` whose logits are wanted: those that a token is drawn from, or all of them
    /// when somebody looks on. On the first device.
    ///
    /// # Errors
    ///
    /// When the selection fails.
    pub fn last(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.to_device(self.placement.first())?;
        if self.observer.is_some() || self.batch.drawn.len() == x.dim(0)? {
            return Ok(x);
        }
        x.index_select(&Tensor::new(&self.batch.drawn[..], x.device())?, 0)
    }

    /// Shows `x` to the onlooker; free when there is none.
    pub fn show(&mut self, place: Place, x: &Tensor) {
        if let Some(observer) = &mut self.observer {
            observer.observe(place, x);
        }
    }
}
