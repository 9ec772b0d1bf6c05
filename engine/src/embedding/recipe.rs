//! [`Recipe`]: the modules of a sentence-transformers folder.

use std::path::Path;

use serde::Deserialize;

use super::{DenseConfig, Pooling};
use crate::config::ModelSource;
use crate::error::{Error, Result};
use crate::models::config::ConfigFile;
use crate::weights::{self, Preset};

/// What becomes of the hidden states of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Folder of body and tokenizer, inside the model's; usually the same.
    pub transformer: String,
    /// Most tokens that are read, where that is less than the body was made for.
    pub longest: Option<usize>,
    /// How hidden states become one vector.
    pub pooling: Pooling,
    /// What is done to that vector, in order.
    pub modules: Vec<ModuleConfig>,
}

/// A module after the pooling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleConfig {
    /// A matrix.
    Dense {
        /// Folder of its weights, inside the model's.
        path: String,
        /// What it is.
        config: DenseConfig,
    },
    /// Division by the vector's length.
    Normalize,
}

/// An entry of `modules.json`.
#[derive(Deserialize)]
struct Listed {
    path: String,
    r#type: String,
}

impl Listed {
    /// The class, if it is one of sentence-transformers.
    fn class(&self) -> Option<&str> {
        Some(self.r#type.strip_prefix("sentence_transformers.")?.rsplit_once('.')?.1)
    }
}

impl Recipe {
    /// The recipe of `model`.
    ///
    /// # Errors
    ///
    /// When a file of the folder is missing or damaged, or asks for what is not implemented.
    pub fn of(model: &ModelSource) -> Result<Self> {
        match model {
            ModelSource::Folder { path } => read(path),
            ModelSource::Preset { name, .. } => Preset::named(name)?
                .recipe()
                .ok_or_else(|| Error::Continues { model: model.to_string() }),
            ModelSource::Gguf { .. } => Err(Error::Continues { model: model.to_string() }),
        }
    }
}

fn read(folder: &Path) -> Result<Recipe> {
    let file = weights::config(&folder.join("modules.json"))?;
    let listed: Vec<Listed> = file.keys()?;
    let (transformer, pooling, rest) = match &listed[..] {
        [first, second, rest @ ..]
            if first.class() == Some("Transformer") && second.class() == Some("Pooling") =>
        {
            (first, second, rest)
        }
        _ => {
            let found: Vec<_> = listed.iter().map(|module| &module.r#type[..]).collect();
            return Err(file.error(format!(
                "the modules are {found:?}; expected a Transformer and a Pooling of sentence-transformers first"
            )));
        }
    };
    Ok(Recipe {
        transformer: transformer.path.clone(),
        longest: longest(&folder.join(&transformer.path))?,
        pooling: Pooling::read(&config_of(folder, pooling)?)?,
        modules: rest
            .iter()
            .map(|module| after_pooling(folder, &file, module))
            .collect::<Result<_>>()?,
    })
}

fn config_of(folder: &Path, module: &Listed) -> Result<ConfigFile> {
    weights::config(&folder.join(&module.path).join("config.json"))
}

fn after_pooling(folder: &Path, file: &ConfigFile, module: &Listed) -> Result<ModuleConfig> {
    match module.class() {
        Some("Dense") => Ok(ModuleConfig::Dense {
            path: module.path.clone(),
            config: DenseConfig::read(&config_of(folder, module)?)?,
        }),
        Some("Normalize") => Ok(ModuleConfig::Normalize),
        _ => Err(file.error(format!(
            "module `{}` is a `{}`; implemented after the pooling are Dense and Normalize of sentence-transformers",
            module.path, module.r#type
        ))),
    }
}

/// What `sentence_bert_config.json` in `folder`, if it exists, says about texts.
fn longest(folder: &Path) -> Result<Option<usize>> {
    #[derive(Deserialize)]
    struct Keys {
        max_seq_length: Option<usize>,
        #[serde(default)]
        do_lower_case: bool,
    }
    let path = folder.join("sentence_bert_config.json");
    if !path.exists() {
        return Ok(None);
    }
    let file = weights::config(&path)?;
    let Keys { max_seq_length, do_lower_case } = file.keys()?;
    if do_lower_case {
        return Err(file.error("`do_lower_case` is true, which is not implemented"));
    }
    match max_seq_length {
        Some(0) => Err(file.error("`max_seq_length` is 0")),
        length => Ok(length),
    }
}
