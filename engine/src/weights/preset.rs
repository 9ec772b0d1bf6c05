//! [`Preset`]: public architectures by name, and tiny ones for tests.
//!
//! Each is a `config.json` in `presets/` with exactly the published shapes, so that a measurement
//! on random weights costs what the real model costs. Two kinds are not published models: tiny
//! ones, one per family, and a small one with a long context, where the cost of the context shows.
//!
//! `NAME:N` is the preset `NAME` with only its first `N` layers: layers of a large model in their
//! real shapes, on a machine that cannot hold all of them.

use crate::embedding::{DenseActivation, DenseConfig, ModuleConfig, Pooling, Recipe};
use crate::error::{Error, Result};
use crate::models::config::ConfigFile;
use crate::models::{EMBEDDERS, MODELS, Sketch, find, sketch};
use crate::weights::Bias;

/// A named configuration.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// The name that configurations use.
    pub name: &'static str,
    json: &'static str,
    /// What turns an embedding model's hidden states into vectors.
    recipe: Option<fn() -> Recipe>,
    /// Number of layers that are kept; all if `None`.
    layers: Option<usize>,
}

macro_rules! presets {
    ($($name:literal),+ $(,)?) => { presets![$($name => None),+] };
    ($($name:literal => $recipe:expr),+ $(,)?) => { &[$(Preset {
        name: $name,
        json: include_str!(concat!("presets/", $name, ".json")),
        recipe: $recipe,
        layers: None,
    }),+] };
}

const PRESETS: &[Preset] = presets![
    "gemma-2-2b",
    "gemma-3-1b",
    "gemma-3n-e2b",
    "glm-4-9b-0414",
    "granite-3.3-2b",
    "llama-3.2-1b",
    "mistral-7b",
    "mixtral-8x7b",
    "olmo-2-7b",
    "phi-3-mini-4k",
    "qwen1.5-moe-a2.7b",
    "qwen2.5-0.5b",
    "qwen2.5-1.5b",
    "qwen3-0.6b",
    "qwen3-30b-a3b",
    "small-llama",
    "smollm3-3b",
    "starcoder2-3b",
    "tiny-gemma2",
    "tiny-gemma3",
    "tiny-gemma3n",
    "tiny-glm4",
    "tiny-granite",
    "tiny-llama",
    "tiny-mistral",
    "tiny-mixtral",
    "tiny-olmo2",
    "tiny-phi3",
    "tiny-qwen2",
    "tiny-qwen2-moe",
    "tiny-qwen3",
    "tiny-qwen3-moe",
    "tiny-smollm3",
    "tiny-starcoder2",
];

const EMBEDDER_PRESETS: &[Preset] = presets![
    "embeddinggemma-300m" => Some(|| embedding_gemma(768, 3072)),
    "qwen3-embedding-0.6b" => Some(qwen3_embedding),
    "tiny-embeddinggemma" => Some(|| embedding_gemma(64, 128)),
    "tiny-qwen3-embedding" => Some(qwen3_embedding),
];

/// Every preset that generates text, by name.
pub const fn presets() -> &'static [Preset] {
    PRESETS
}

/// Every preset that embeds text, by name.
pub const fn embedder_presets() -> &'static [Preset] {
    EMBEDDER_PRESETS
}

fn embedding_gemma(hidden: usize, wide: usize) -> Recipe {
    let dense = |path: &str, inputs, outputs| ModuleConfig::Dense {
        path: path.into(),
        config: DenseConfig {
            inputs,
            outputs,
            bias: Bias::Absent,
            activation: DenseActivation::Identity,
        },
    };
    Recipe {
        transformer: String::new(),
        longest: None,
        pooling: Pooling::Mean,
        modules: vec![
            dense("2_Dense", hidden, wide),
            dense("3_Dense", wide, hidden),
            ModuleConfig::Normalize,
        ],
    }
}

fn qwen3_embedding() -> Recipe {
    Recipe {
        transformer: String::new(),
        longest: None,
        pooling: Pooling::LastToken,
        modules: vec![ModuleConfig::Normalize],
    }
}

impl Preset {
    /// The preset `name`, or `NAME:N` for its first `N` layers.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownPreset`] with the names that exist.
    pub fn named(name: &str) -> Result<Self> {
        let (whole, layers) = match name.rsplit_once(':') {
            Some((whole, layers)) => (whole, layers.parse().ok()),
            None => (name, None),
        };
        let all = PRESETS.iter().chain(EMBEDDER_PRESETS);
        let known = all.clone().find(|preset| preset.name == whole);
        let known = known.filter(|_| layers.is_some() || whole == name);
        known.map(|preset| Self { layers, ..*preset }).ok_or_else(|| Error::UnknownPreset {
            name: name.into(),
            known: all.map(|preset| preset.name).collect(),
        })
    }

    /// Its `config.json`.
    ///
    /// # Errors
    ///
    /// When it has fewer layers than were asked for, or none were.
    pub fn config(&self) -> Result<ConfigFile> {
        let whole = ConfigFile::parse(format!("preset {}", self.name), self.json)?;
        match self.layers {
            Some(layers) => whole.cut(layers),
            None => Ok(whole),
        }
    }

    /// The family that it belongs to, as named by `architectures`.
    ///
    /// # Errors
    ///
    /// As [`config`](Self::config).
    pub fn architecture(&self) -> Result<&'static str> {
        let config = self.config()?;
        Ok(match self.recipe {
            None => find(MODELS, &config)?.architecture,
            Some(_) => find(EMBEDDERS, &config)?.architecture,
        })
    }

    /// How its hidden states become vectors, if it embeds text.
    pub fn recipe(&self) -> Option<Recipe> {
        self.recipe.map(|recipe| recipe())
    }

    /// Geometry and number of parameters of a preset that generates text.
    ///
    /// # Errors
    ///
    /// As [`config`](Self::config), and for presets that embed text.
    pub fn sketch(&self) -> Result<Sketch> {
        match self.recipe {
            None => sketch(&self.config()?),
            Some(_) => Err(Error::Embeds { model: format!("preset `{}`", self.name) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::outline;
    use crate::weights::{Formats, Outline};

    #[test]
    fn presets_have_the_published_number_of_parameters() {
        let counts: Vec<_> = presets()
            .iter()
            .map(|preset| (preset.name, preset.sketch().unwrap().parameters))
            .filter(|(name, _)| !name.starts_with("tiny") && !name.starts_with("small"))
            .collect();
        assert_eq!(
            counts,
            [
                ("gemma-2-2b", 2_614_341_888),
                ("gemma-3-1b", 999_885_952),
                ("gemma-3n-e2b", 4_435_182_688),
                ("glm-4-9b-0414", 9_400_279_040),
                ("granite-3.3-2b", 2_533_539_840),
                ("llama-3.2-1b", 1_235_814_400),
                ("mistral-7b", 7_241_732_096),
                ("mixtral-8x7b", 46_702_792_704),
                ("olmo-2-7b", 7_298_617_344),
                ("phi-3-mini-4k", 3_821_079_552),
                ("qwen1.5-moe-a2.7b", 14_315_784_192),
                ("qwen2.5-0.5b", 494_032_768),
                ("qwen2.5-1.5b", 1_543_714_304),
                ("qwen3-0.6b", 596_049_920),
                ("qwen3-30b-a3b", 30_532_122_624),
                ("smollm3-3b", 3_075_098_624),
                ("starcoder2-3b", 3_030_371_328),
            ]
        );
    }

    #[test]
    fn embedders_have_the_published_number_of_parameters_before_pooling() {
        let counts: Vec<_> = embedder_presets()
            .iter()
            .filter(|preset| !preset.name.starts_with("tiny"))
            .map(|preset| {
                let config = preset.config().unwrap();
                let entry = find(EMBEDDERS, &config).unwrap();
                let formats = Formats::plain(candle_core::DType::F32);
                let (_, tally) = outline(entry, &config, Outline::default(), formats).unwrap();
                (preset.name, tally.parameters())
            })
            .collect();
        assert_eq!(
            counts,
            [("embeddinggemma-300m", 302_863_104), ("qwen3-embedding-0.6b", 595_776_512)]
        );
    }

    #[test]
    fn a_preset_can_be_cut_to_its_first_layers() {
        let masks = |name: &str| Preset::named(name).unwrap().sketch().unwrap().heads.masks;
        for preset in presets() {
            let (whole, cut) = (masks(preset.name), format!("{}:1", preset.name));
            // Layers that read the keys of others need one of their kind below them.
            assert_eq!(masks(&cut), whole[..1], "{cut}");
        }
        assert_eq!(masks("gemma-3-1b:7"), masks("gemma-3-1b")[..7]);
        let parameters = |name| Preset::named(name).unwrap().sketch().unwrap().parameters;
        let layer = parameters("mixtral-8x7b:2") - parameters("mixtral-8x7b:1");
        assert_eq!(parameters("mixtral-8x7b:1") + 31 * layer, parameters("mixtral-8x7b"));
        let shared = |name| {
            let heads = Preset::named(name).unwrap().sketch().unwrap().heads;
            (heads.cached, heads.masks.len())
        };
        assert_eq!(shared("gemma-3n-e2b"), (20, 30));
        assert_eq!(shared("gemma-3n-e2b:7"), (5, 7));
    }

    #[test]
    fn a_preset_is_cut_to_layers_that_it_has() {
        let complaint = |name: &str| match Preset::named(name).and_then(|p| p.config()) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{name}"),
        };
        assert_eq!(
            complaint("qwen2.5-0.5b:25"),
            "`preset qwen2.5-0.5b`: it has 24 layers and cannot be cut to 25"
        );
        assert_eq!(
            complaint("qwen2.5-0.5b:0"),
            "`preset qwen2.5-0.5b`: it has 24 layers and cannot be cut to 0"
        );
        for nameless in ["qwen2.5-0.5b:", "qwen2.5-0.5b:two", "qwen9:2"] {
            assert!(complaint(nameless).contains(nameless), "{nameless}");
        }
    }

    #[test]
    fn every_embedder_has_a_tiny_preset() {
        for entry in EMBEDDERS {
            let is_tiny = |preset: &&Preset| {
                preset.name.starts_with("tiny")
                    && preset.architecture().unwrap() == entry.architecture
            };
            assert!(embedder_presets().iter().any(|p| is_tiny(&p)), "{}", entry.architecture);
        }
    }

    #[test]
    fn every_family_has_a_tiny_preset() {
        for entry in crate::models::MODELS {
            let tiny = presets().iter().find(|preset| {
                preset.name.starts_with("tiny")
                    && preset.architecture().unwrap() == entry.architecture
            });
            let parameters = tiny.map(|preset| preset.sketch().unwrap().parameters);
            assert!(
                parameters.is_some_and(|count| (100_000..3_000_000).contains(&count)),
                "{} has {parameters:?}",
                entry.architecture
            );
        }
    }
}
