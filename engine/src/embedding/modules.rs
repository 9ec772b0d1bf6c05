//! [`Modules`]: what a [`Recipe`] does to hidden states, with its weights.
//!
//! From the pooling on everything is f32: it costs nothing beside the body, and a vector that is
//! to have unit length needs the digits.

use candle_core::{D, DType, Result as TensorResult, Tensor};

use super::dense::Dense;
use super::{DenseConfig, ModuleConfig, Pooling, Recipe};
use crate::config::ModelSource;
use crate::error::{Error, Result};
use crate::pass::{Pass, Place};
use crate::placement::Placement;
use crate::weights::{self, Tally, Weights};

/// What follows the body.
#[derive(Debug)]
pub(super) struct Modules {
    pooling: Pooling,
    modules: Vec<Module>,
    width: usize,
}

#[derive(Debug)]
enum Module {
    Dense(Dense),
    Normalize,
}

impl Modules {
    /// Reads the weights that `recipe` needs after a body of `hidden`.
    ///
    /// # Errors
    ///
    /// When a matrix does not fit what comes before it, or its weights are missing or others.
    pub(super) fn load(
        recipe: &Recipe,
        hidden: usize,
        model: &ModelSource,
        placement: &Placement,
        tally: &Tally,
    ) -> Result<Self> {
        let mut width = hidden;
        let mut load = |module: &ModuleConfig| {
            Ok(match module {
                ModuleConfig::Dense { path, config } => {
                    let part = model.within(path);
                    let DenseConfig { inputs, outputs, .. } = *config;
                    if inputs != width {
                        return Err(Error::ModelConfig {
                            file: part.file("config.json"),
                            problem: format!("`in_features` is {inputs}, but {width} come in"),
                        });
                    }
                    width = outputs;
                    let source = weights::source(&part)?;
                    let weights = Weights::new(&*source, placement, DType::F32, tally);
                    Module::Dense(Dense::load(*config, &weights)?)
                }
                ModuleConfig::Normalize => Module::Normalize,
            })
        };
        let modules = recipe.modules.iter().map(&mut load).collect::<Result<_>>()?;
        Ok(Self { pooling: recipe.pooling, modules, width })
    }

    /// Length of a vector.
    pub(super) const fn width(&self) -> usize {
        self.width
    }

    /// `hidden`: `[tokens, hidden]` of `pass`; `[sequences, width]` out, in f32.
    ///
    /// # Errors
    ///
    /// When a tensor operation fails.
    pub(super) fn forward(&self, hidden: &Tensor, pass: &mut Pass<'_>) -> TensorResult<Tensor> {
        let mut x = self.pooling.forward(hidden, &pass.batch.tables[0])?;
        pass.show(Place::Pooled, &x);
        for (index, module) in self.modules.iter().enumerate() {
            x = match module {
                Module::Dense(dense) => dense.forward(&x)?,
                Module::Normalize => normalized(&x)?,
            };
            pass.show(Place::Module(index), &x);
        }
        Ok(x)
    }
}

/// The rows of `x`, `[rows, width]`, divided by their length; a row of zeros stays one.
fn normalized(x: &Tensor) -> TensorResult<Tensor> {
    let lengths = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    x.broadcast_div(&lengths.maximum(1e-12)?)
}
