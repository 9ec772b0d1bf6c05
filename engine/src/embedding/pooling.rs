//! [`Pooling`]: reduces the hidden states of a sequence to one vector.

use candle_core::{DType, Result as TensorResult, Tensor};
use serde::Deserialize;

use crate::error::Result;
use crate::kv::Tables;
use crate::models::config::ConfigFile;

/// How the hidden states of a sequence become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The hidden state of the last token.
    LastToken,
    /// The hidden state of the first token, which some tokenizers call `cls`.
    FirstToken,
    /// The maximum of each column.
    Max,
}

/// The modes of sentence-transformers: short names, keys in older files, and what implements them.
const MODES: [(&str, &str, Option<Pooling>); 6] = [
    ("cls", "pooling_mode_cls_token", Some(Pooling::FirstToken)),
    ("max", "pooling_mode_max_tokens", Some(Pooling::Max)),
    ("mean", "pooling_mode_mean_tokens", Some(Pooling::Mean)),
    ("mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", None),
    ("weightedmean", "pooling_mode_weightedmean_tokens", None),
    ("lasttoken", "pooling_mode_lasttoken", Some(Pooling::LastToken)),
];

#[derive(Deserialize)]
struct Keys {
    pooling_mode: Option<String>,
    #[serde(default = "included")]
    include_prompt: bool,
}

const fn included() -> bool {
    true
}

impl Pooling {
    /// Reads the `config.json` of a pooling module.
    ///
    /// # Errors
    ///
    /// When it names no mode, several, or one that is not implemented.
    pub(super) fn read(file: &ConfigFile) -> Result<Self> {
        let Keys { pooling_mode, include_prompt } = file.keys()?;
        if !include_prompt {
            return Err(file
                .error("`include_prompt` is false; only pooling over all tokens is implemented"));
        }
        let mut modes = Vec::new();
        for mode @ (name, key, _) in MODES {
            let wanted = match &pooling_mode {
                Some(wanted) => wanted == name,
                None => file.flag(key)?,
            };
            modes.extend(wanted.then_some(mode));
        }
        if let [(.., Some(pooling))] = modes[..] {
            return Ok(pooling);
        }
        let found = match (pooling_mode, &modes[..]) {
            (Some(mode), _) => format!("the pooling mode is `{mode}`"),
            (None, []) => "no pooling mode is on".into(),
            (None, on) => {
                let names: Vec<_> = on.iter().map(|(name, ..)| *name).collect();
                format!("the pooling mode is `{}`", names.join("` and `"))
            }
        };
        let known = MODES.iter().filter(|(.., pooling)| pooling.is_some());
        let known: Vec<_> = known.map(|(name, ..)| *name).collect();
        Err(file.error(format!("{found}; expected one of {}", known.join(", "))))
    }

    /// `hidden`: `[tokens, width]` of the sequences of `tables`. Returns `[sequences, width]` in
    /// f32.
    ///
    /// # Errors
    ///
    /// When the device does not have enough memory.
    pub(super) fn forward(self, hidden: &Tensor, tables: &Tables) -> TensorResult<Tensor> {
        let pool = |row, tokens| {
            let states = |first, count| hidden.narrow(0, first, count)?.to_dtype(DType::F32);
            match self {
                Self::Mean => states(row, tokens)?.mean_keepdim(0),
                Self::LastToken => states(row + tokens - 1, 1),
                Self::FirstToken => states(row, 1),
                Self::Max => states(row, tokens)?.max_keepdim(0),
            }
        };
        let pooled = tables.sequences.iter().map(|table| pool(table.row, table.queries));
        Tensor::cat(&pooled.collect::<TensorResult<Vec<_>>>()?, 0)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::batch::Batch;
    use crate::placement::Placement;

    fn read(json: &str) -> Result<Pooling, String> {
        let file = ConfigFile::parse("1_Pooling/config.json", json).unwrap();
        Pooling::read(&file).map_err(|e| e.to_string())
    }

    #[test]
    fn every_pooling_keeps_to_its_own_sequence() {
        let batch = Batch::whole(&[&[7], &[7, 7, 7]], &Placement::cpu()).unwrap();
        let hidden = [[1.0f32, -2.0], [3.0, 0.0], [-6.0, 5.0], [0.0, 1.0]];
        let hidden = Tensor::new(&hidden, &Device::Cpu).unwrap();
        for (pooling, second) in [
            (Pooling::Mean, [-1.0, 2.0]),
            (Pooling::LastToken, [0.0, 1.0]),
            (Pooling::FirstToken, [3.0, 0.0]),
            (Pooling::Max, [3.0, 5.0]),
        ] {
            let pooled = pooling.forward(&hidden, &batch.tables[0]).unwrap();
            let pooled: Vec<Vec<f32>> = pooled.to_vec2().unwrap();
            assert_eq!(pooled, [[1.0, -2.0], second], "{pooling:?}");
        }
    }

    #[test]
    fn modes_are_read_from_old_and_new_files() {
        for (name, key, pooling) in MODES {
            let old = read(&format!(r#"{{"pooling_mode_extra": 1, "{key}": true}}"#));
            let new = read(&format!(r#"{{"pooling_mode": "{name}"}}"#));
            assert_eq!(old, new);
            assert_eq!(old.ok(), pooling, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_pooled_is_named() {
        let problem = |json| read(json).unwrap_err();
        insta::assert_snapshot!(problem("{}"), @"`1_Pooling/config.json`: no pooling mode is on; expected one of cls, max, mean, lasttoken");
        insta::assert_snapshot!(problem(r#"{"pooling_mode": "median"}"#), @"`1_Pooling/config.json`: the pooling mode is `median`; expected one of cls, max, mean, lasttoken");
        insta::assert_snapshot!(problem(r#"{"pooling_mode_cls_token": true, "pooling_mode_max_tokens": true}"#), @"`1_Pooling/config.json`: the pooling mode is `cls` and `max`; expected one of cls, max, mean, lasttoken");
        insta::assert_snapshot!(problem(r#"{"pooling_mode_cls_token": "yes"}"#), @r#"`1_Pooling/config.json`: `pooling_mode_cls_token` is "yes"; expected `true` or `false`"#);
        insta::assert_snapshot!(problem(r#"{"pooling_mode": "mean", "include_prompt": false}"#), @"`1_Pooling/config.json`: `include_prompt` is false; only pooling over all tokens is implemented");
    }
}
