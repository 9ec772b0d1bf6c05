//! [`QuantPlan`]: which matrix is quantised how.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Quant;
use crate::error::{Error, Result};

/// Which matrix is quantised how. Norms, biases, the routers of experts and whatever else only
/// decides stay dense whatever the plan says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuantPlan {
    /// Every matrix of a layer, and what the others have where they say nothing.
    pub weights: Quant,
    /// The table that tokens are looked up in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Quant>,
    /// The output matrix. One that is tied to the embedding is a single matrix and follows this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Quant>,
    /// Layers with a quantisation of their own; of several that name a layer the last one counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerQuant>,
}

/// Layers with a quantisation of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerQuant {
    /// From the first of them to the one after the last.
    pub layers: Range<usize>,
    /// What their matrices become.
    pub quant: Quant,
}

/// What a matrix is for, as far as its quantisation depends on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Looked up by token and nothing else.
    Embedding,
    /// Turns hidden states into logits; where it is tied, it is looked up too.
    Head,
    /// Everything else.
    Projection,
}

impl QuantPlan {
    /// Nothing is quantised.
    pub const DENSE: Self =
        Self { weights: Quant::Dense, embedding: None, head: None, layers: Vec::new() };

    /// A reference to [`DENSE`](Self::DENSE) for whoever quantises nothing.
    pub(crate) const DENSE_REF: &'static Self = &Self::DENSE;

    /// The same for every matrix.
    pub const fn uniform(quant: Quant) -> Self {
        Self { weights: quant, embedding: None, head: None, layers: Vec::new() }
    }

    /// What becomes of a matrix that is used like this, in `layer` if it belongs to one.
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

    /// Refuses rules for layers that a model of `layers` layers does not have: they would be followed
    /// nowhere.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] with the first rule for others, or for none.
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
