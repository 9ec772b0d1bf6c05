//! StarCoder 2: layer norms, feed-forward blocks without gates, biases everywhere.

use serde::Deserialize;

use super::Model;
use super::config::{ConfigFile, DecoderKeys};
use crate::error::Result;
use crate::layers::activation::Activation;
use crate::layers::decoder::{Decoder, DecoderConfig, Head};
use crate::layers::mlp::MlpForm;
use crate::layers::norm::NormKind;
use crate::layers::self_attention::Projections;
use crate::weights::{Bias, Weights};

#[derive(Deserialize)]
struct Keys {
    sliding_window: Option<usize>,
    use_bias: Option<bool>,
    mlp_type: Option<String>,
    norm_type: Option<String>,
}

pub(super) fn load(file: &ConfigFile, weights: &Weights<'_>) -> Result<Box<dyn Model>> {
    let (keys, own): (DecoderKeys, Keys) = (file.keys()?, file.keys()?);
    for (key, kind, known) in
        [("mlp_type", &own.mlp_type, "default"), ("norm_type", &own.norm_type, "layer_norm")]
    {
        if let Some(other) = kind.as_ref().filter(|kind| *kind != known) {
            return Err(file.error(format!("`{key}` is `{other}`; only `{known}` is implemented")));
        }
    }
    let masks = keys.masks(file, own.sliding_window, |_| true)?;
    let plain = keys.decoder(file, masks)?;
    let bias = Bias::from_key(own.use_bias.unwrap_or(true));
    let form = MlpForm::Plain { up: "c_fc", down: "c_proj" };
    let config = DecoderConfig {
        norm: NormKind::Layer(keys.eps()),
        projections: Projections { qkv_bias: bias, output_bias: bias, ..plain.projections },
        feed_forward: keys.dense(file, form, Activation::GeluTanh, bias)?,
        head: keys.head(Head::Tied),
        ..plain
    };
    Ok(Box::new(Decoder::load(config, weights)?))
}
