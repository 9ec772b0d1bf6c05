//! [`Modules`]: what a [`Recipe`] does to hidden states, with its weights.
//!
//! From the pooling on everything is f32: next to the body it costs nothing, and a unit-length
//! vector needs the precision.

use candle_core::{D, DType, Result as TensorResult, Tensor};

use super::dense::Dense;
use super::{DenseConfig, ModuleConfig, Pooling, Recipe};
use crate::config::ModelSource;
use crate::error::{Error, Result};
use crate::pass::{Pass, Place};
use crate::placement::Placement;
use crate::weights::{self, Tally, Weights};

/// Everything after the body.
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
    /// Reads the weights that `recipe` needs after a body of width `hidden`.
    ///
    /// # Errors
    ///
    /// When a dense layer does not fit its input, or its weights are missing or have the wrong
    /// shape.
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
                            problem: format!(
                                "`in_features` is {inputs}, but the input width is {width}"
                            ),
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

    /// Number of dimensions of a vector.
    pub(super) const fn width(&self) -> usize {
        self.width
    }

    /// `hidden`: `[tokens, hidden]` of `pass`. Returns `[sequences, width]` in f32.
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

/// The rows of `x`, `[rows, width]`, scaled to unit length; a row of zeros stays zero.
fn normalized(x: &Tensor) -> TensorResult<Tensor> {
    let lengths = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    x.broadcast_div(&lengths.maximum(1e-12)?)
}
