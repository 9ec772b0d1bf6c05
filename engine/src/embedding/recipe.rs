//! [`Recipe`]: the modules of a sentence-transformers folder.

use std::path::Path;

use serde::Deserialize;

use super::{DenseConfig, Pooling};
use crate::config::ModelSource;
use crate::error::{Error, Result};
use crate::models::config::ConfigFile;
use crate::weights::{self, Preset};

/// How hidden states become a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Folder of body and tokenizer, relative to the model's; usually the same.
    pub transformer: String,
    /// Most tokens read, if that is less than the body supports.
    pub longest: Option<usize>,
    /// How they are reduced to one vector.
    pub pooling: Pooling,
    /// The modules applied to that vector, in order.
    pub modules: Vec<ModuleConfig>,
}

/// A module after the pooling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleConfig {
    /// A dense layer.
    Dense {
        /// Folder of its weights, relative to the model's.
        path: String,
        /// Its description.
        config: DenseConfig,
    },
    /// Scaling to unit length.
    Normalize,
}

/// An entry of `modules.json`.
#[derive(Deserialize)]
struct Listed {
    path: String,
    r#type: String,
}

impl Listed {
    /// The class name, if it is a class of sentence-transformers.
    fn class(&self) -> Option<&str> {
        Some(self.r#type.strip_prefix("sentence_transformers.")?.rsplit_once('.')?.1)
    }
}

impl Recipe {
    /// The recipe of `model`.
    ///
    /// # Errors
    ///
    /// When a file in the folder is missing or damaged, or asks for something that is not
    /// implemented.
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
            "module `{}` is a `{}`; only Dense and Normalize of sentence-transformers are implemented after the pooling",
            module.path, module.r#type
        ))),
    }
}

/// The token limit in `folder`'s `sentence_bert_config.json`, if that file exists.
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
