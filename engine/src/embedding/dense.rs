//! [`Dense`]: a dense layer after the pooling.

use candle_core::{Result as TensorResult, Tensor};
use serde::Deserialize;

use crate::error::Result;
use crate::layers::linear::Linear;
use crate::models::config::ConfigFile;
use crate::weights::{Bias, Weights};

/// The full description of a dense layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenseConfig {
    /// Input width.
    pub inputs: usize,
    /// Output width.
    pub outputs: usize,
    /// Whether it has a bias.
    pub bias: Bias,
    /// Applied to each output.
    pub activation: DenseActivation,
}

/// The activation function of a dense layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenseActivation {
    /// Nothing.
    Identity,
    /// `tanh(x)`.
    Tanh,
    /// `max(x, 0)`.
    Relu,
    /// `x · Φ(x)` with the exact normal CDF.
    Gelu,
    /// `x · sigmoid(x)`.
    Silu,
    /// `1 / (1 + exp(−x))`.
    Sigmoid,
}

#[derive(Deserialize)]
struct Keys {
    in_features: usize,
    out_features: usize,
    #[serde(default = "present")]
    bias: bool,
    activation_function: String,
}

const fn present() -> bool {
    true
}

impl DenseConfig {
    /// Reads the `config.json` of a dense module.
    ///
    /// # Errors
    ///
    /// When a key is missing or makes no sense, or the activation is not implemented.
    pub(super) fn read(file: &ConfigFile) -> Result<Self> {
        let Keys { in_features, out_features, bias, activation_function: name } = file.keys()?;
        for (key, size) in [("in_features", in_features), ("out_features", out_features)] {
            if size == 0 {
                return Err(file.error(format!("`{key}` is 0")));
            }
        }
        let activation = DenseActivation::named(&name).ok_or_else(|| {
            let known: Vec<_> = DenseActivation::TORCH.iter().map(|(name, _)| *name).collect();
            file.error(format!(
                "`activation_function` is `{name}`; the implemented torch activations are {}",
                known.join(", ")
            ))
        })?;
        let bias = Bias::from_key(bias);
        Ok(Self { inputs: in_features, outputs: out_features, bias, activation })
    }
}

impl DenseActivation {
    /// All of them, with the names of their torch classes.
    const TORCH: [(&'static str, Self); 6] = [
        ("Identity", Self::Identity),
        ("Tanh", Self::Tanh),
        ("ReLU", Self::Relu),
        ("GELU", Self::Gelu),
        ("SiLU", Self::Silu),
        ("Sigmoid", Self::Sigmoid),
    ];

    /// The activation whose class `path` names, such as `torch.nn.modules.activation.Tanh`.
    fn named(path: &str) -> Option<Self> {
        let (module, class) = path.rsplit_once('.')?;
        let known = Self::TORCH.iter().find(|(name, _)| *name == class)?;
        module.starts_with("torch.nn").then_some(known.1)
    }

    /// `f(x)`, in the shape of `x`.
    fn of(self, x: &Tensor) -> TensorResult<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Tanh => x.tanh(),
            Self::Relu => x.relu(),
            Self::Gelu => x.gelu_erf(),
            Self::Silu => x.silu(),
            Self::Sigmoid => candle_nn::ops::sigmoid(x),
        }
    }
}

/// A dense layer with its weights.
#[derive(Debug)]
pub(super) struct Dense {
    linear: Linear,
    activation: DenseActivation,
}

impl Dense {
    /// Reads the weights that `config` implies.
    ///
    /// # Errors
    ///
    /// When a tensor is missing or has the wrong shape.
    pub(super) fn load(config: DenseConfig, weights: &Weights<'_>) -> Result<Self> {
        let DenseConfig { inputs, outputs, bias, activation } = config;
        Ok(Self { linear: weights.linear("linear", inputs, outputs, bias)?, activation })
    }

    /// `x`: `[rows, inputs]`. Returns `[rows, outputs]`.
    ///
    /// # Errors
    ///
    /// When rows have the wrong length.
    pub(super) fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        self.activation.of(&self.linear.forward(x)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::layers::linear::Matrix;

    #[test]
    fn activations_are_what_torch_calls_by_that_name() {
        let x = Tensor::new(&[-1.5f32, 0.0, 0.5], &Device::Cpu).unwrap();
        for (name, truth) in [
            ("Identity", [-1.5, 0.0, 0.5]),
            ("Tanh", [-0.905_148, 0.0, 0.462_117]),
            ("ReLU", [0.0, 0.0, 0.5]),
            ("GELU", [-0.100_211, 0.0, 0.345_731]),
            ("SiLU", [-0.273_638, 0.0, 0.311_230]),
            ("Sigmoid", [0.182_426, 0.5, 0.622_459]),
        ] {
            let f = DenseActivation::named(&format!("torch.nn.modules.activation.{name}")).unwrap();
            let found: Vec<f32> = f.of(&x).unwrap().to_vec1().unwrap();
            let near = |(found, truth): (&f32, &f32)| (found - truth).abs() < 2e-6;
            assert!(found.iter().zip(&truth).all(near), "{name}: {found:?} instead of {truth:?}");
        }
    }

    #[test]
    fn a_matrix_adds_its_bias_before_its_activation() {
        let tensor = |numbers: &[f32], shape: &[usize]| {
            Tensor::from_slice(numbers, shape, &Device::Cpu).unwrap()
        };
        let weight = Matrix::Dense(tensor(&[1.0, 2.0, -3.0, 4.0], &[2, 2]));
        let linear = Linear::new(weight, Some(tensor(&[-4.0, 1.0], &[2])));
        let dense = Dense { linear, activation: DenseActivation::Relu };
        let out = dense.forward(&tensor(&[1.0, 1.0], &[1, 2])).unwrap();
        assert_eq!(out.to_vec2::<f32>().unwrap(), [[0.0, 2.0]]);
    }

    #[test]
    fn what_makes_no_matrix_is_named() {
        let problem = |json: &str| {
            let file = ConfigFile::parse("2_Dense/config.json", json).unwrap();
            DenseConfig::read(&file).unwrap_err().to_string()
        };
        let with = |activation| {
            problem(&format!(
                r#"{{"in_features": 2, "out_features": 2, "activation_function": "{activation}"}}"#
            ))
        };
        insta::assert_snapshot!(problem(r#"{"in_features": 2}"#), @"`2_Dense/config.json`: missing field `out_features`");
        insta::assert_snapshot!(problem(r#"{"in_features": 2, "out_features": 0, "activation_function": "torch.nn.Tanh"}"#), @"`2_Dense/config.json`: `out_features` is 0");
        insta::assert_snapshot!(with("torch.nn.modules.activation.Softmax"), @"`2_Dense/config.json`: `activation_function` is `torch.nn.modules.activation.Softmax`; the implemented torch activations are Identity, Tanh, ReLU, GELU, SiLU, Sigmoid");
        insta::assert_snapshot!(with("mine.Tanh"), @"`2_Dense/config.json`: `activation_function` is `mine.Tanh`; the implemented torch activations are Identity, Tanh, ReLU, GELU, SiLU, Sigmoid");
    }
}
