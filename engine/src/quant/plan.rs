//! [`QuantPlan`]: which matrices are quantised, and how.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Quant;
use crate::error::{Error, Result};

/// Which matrices are quantised, and how. Norms, biases, the routers of experts and other weights
/// that only make decisions stay dense, whatever the plan says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuantPlan {
    /// Every matrix of a layer, and the default for the others.
    pub weights: Quant,
    /// The table of token embeddings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Quant>,
    /// The output matrix. If tied to the embedding, both are a single matrix and follow this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Quant>,
    /// Layers with a quantisation of their own; if several entries name a layer, the last one
    /// counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerQuant>,
}

/// Layers with a quantisation of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerQuant {
    /// From the first of them to just after the last.
    pub layers: Range<usize>,
    /// How their matrices are quantised.
    pub quant: Quant,
}

/// What a matrix is used for, as far as its quantisation depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Only looked up by token.
    Embedding,
    /// Turns hidden states into logits; if tied, it is also looked up.
    Head,
    /// Everything else.
    Projection,
}

impl QuantPlan {
    /// Nothing is quantised.
    pub const DENSE: Self =
        Self { weights: Quant::Dense, embedding: None, head: None, layers: Vec::new() };

    /// A reference to [`DENSE`](Self::DENSE).
    pub(crate) const DENSE_REF: &'static Self = &Self::DENSE;

    /// The same for every matrix.
    pub const fn uniform(quant: Quant) -> Self {
        Self { weights: quant, embedding: None, head: None, layers: Vec::new() }
    }

    /// How a matrix with this `role` is quantised, in `layer` if it belongs to one.
    pub fn of(&self, role: Role, layer: Option<usize>) -> Quant {
        let own = layer.and_then(|layer| {
            self.layers.iter().rev().find(|own| own.layers.contains(&layer)).map(|own| own.quant)
        });
        let apart = match role {
            Role::Embedding => self.embedding,
            Role::Head => self.head,
            Role::Projection => own,
        };
        apart.unwrap_or(self.weights)
    }

    /// Refuses rules for layers that a model of `layers` layers does not have: they would have no
    /// effect.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] with the first rule for layers beyond the last one, or for none at all.
    pub(crate) fn check(&self, layers: usize) -> Result<()> {
        let is_idle = |named: &&Range<usize>| named.is_empty() || named.end > layers;
        let Some(named) = self.layers.iter().map(|own| &own.layers).find(is_idle) else {
            return Ok(());
        };
        let problem = match named.is_empty() {
            true => "which names no layer; its end is the layer after the last one".into(),
            false => {
                format!("but the model has {layers} layers, counted from 0; end it at {layers}")
            }
        };
        Err(Error::Setting { setting: "quant.layers", value: format!("{named:?}"), problem })
    }
}
