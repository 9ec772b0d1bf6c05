//! [`Mlp`]: a dense feed-forward block, gated or plain.

use candle_core::{Result as TensorResult, Tensor};

use crate::error::Result;
use crate::layers::activation::Activation;
use crate::layers::linear::Linear;
use crate::weights::{Bias, Weights};

/// The full description of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MlpConfig {
    /// Its matrices.
    pub form: MlpForm,
    /// Inner width.
    pub intermediate: usize,
    /// Its activation function.
    pub activation: Activation,
    /// Bias of every projection.
    pub bias: Bias,
}

/// Which matrices a block has, and their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MlpForm {
    /// `down(f(gate(x)) · up(x))`.
    Gated {
        /// `[hidden]` to `[intermediate]`, through the activation.
        gate: &'static str,
        /// `[hidden]` to `[intermediate]`.
        up: &'static str,
        /// `[intermediate]` to `[hidden]`.
        down: &'static str,
    },
    /// As `Gated`, with `gate` and `up` stacked in one matrix, in this order.
    Fused {
        /// `[hidden]` to `[2 · intermediate]`.
        gate_up: &'static str,
        /// `[intermediate]` to `[hidden]`.
        down: &'static str,
    },
    /// `down(f(up(x)))`.
    Plain {
        /// `[hidden]` to `[intermediate]`, through the activation.
        up: &'static str,
        /// `[intermediate]` to `[hidden]`.
        down: &'static str,
    },
}

impl MlpForm {
    /// As in most families.
    pub const GATED: Self = Self::Gated { gate: "gate_proj", up: "up_proj", down: "down_proj" };
    /// The same with a fused matrix.
    pub const FUSED: Self = Self::Fused { gate_up: "gate_up_proj", down: "down_proj" };
}

/// A feed-forward block with its weights.
#[derive(Debug, Clone)]
pub struct Mlp {
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl Mlp {
    /// Reads the weights that `config` implies, for rows of width `hidden`.
    ///
    /// # Errors
    ///
    /// When a tensor is missing or has the wrong shape.
    pub fn load(config: &MlpConfig, hidden: usize, weights: &Weights<'_>) -> Result<Self> {
        let MlpConfig { form, intermediate, activation, bias } = *config;
        let wider = |name| weights.linear(name, hidden, intermediate, bias);
        let narrower = |name| weights.linear(name, intermediate, hidden, bias);
        let (gate, up, down) = match form {
            MlpForm::Gated { gate, up, down } => (Some(wider(gate)?), wider(up)?, narrower(down)?),
            MlpForm::Fused { gate_up, down } => {
                let [gate, up] = weights.fused(gate_up, hidden, [intermediate; 2], bias)?;
                (Some(gate), up, narrower(down)?)
            }
            MlpForm::Plain { up, down } => (None, wider(up)?, narrower(down)?),
        };
        Ok(Self { gate, up, down, activation })
    }

    /// `x`: `[tokens, hidden]`, same shape out.
    ///
    /// # Errors
    ///
    /// When shapes or dtypes do not match the weights.
    pub fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        let up = self.up.forward(x)?;
        let inside = match &self.gate {
            Some(gate) => self.activation.times(&gate.forward(x)?, &up)?,
            None => self.activation.of(&up)?,
        };
        self.down.forward(&inside)
    }
}
