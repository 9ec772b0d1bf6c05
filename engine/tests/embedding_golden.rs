//! The embedder against reference outputs of Hugging Face transformers on tiny random models.
//!
//! `tests/golden_embeddings/<case>` is a sentence-transformers folder with two more files:
//! `golden.safetensors` has a right-padded batch and its output at every stage, and `golden.json`
//! the tolerance of each tensor. They are kept apart from `tests/golden`, whose cases generate
//! text.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;
use windtunnel_engine::attention::backends_for;
use windtunnel_engine::models::EMBEDDERS;
use windtunnel_engine::pass::{Place, Rows};
use windtunnel_engine::weights::embedder_presets;
use windtunnel_engine::{
    Choice, Dtype, EmbedRequest, Embedder, EmbedderConfig, ModelSource, Overlong,
};

/// Tokens per pass: the three sequences together, and each alone.
const BUDGETS: [usize; 2] = [1000, 1];

#[test]
fn every_backend_gives_the_reference_tensors_in_f32() {
    for case in &cases() {
        for backend in backends_for(&Device::Cpu) {
            for budget in BUDGETS {
                check(case, backend.name(), budget);
            }
        }
    }
}

#[test]
fn half_precision_points_where_the_reference_points() {
    for case in &cases() {
        let golden = Golden::read(case);
        for backend in backends_for(&Device::Cpu) {
            for dtype in [Dtype::F16, Dtype::Bf16] {
                let embedder = golden.embedder(dtype, backend.name(), 1000);
                let vectors = embedder.embed(&golden.requests()).unwrap().vectors;
                for (found, expected) in vectors.iter().zip(golden.rows("embedding")) {
                    let cosine: f32 = found.iter().zip(&expected).map(|(a, b)| a * b).sum();
                    assert!(cosine >= 0.99, "{case} {} {dtype}: {cosine}", backend.name());
                }
            }
        }
    }
}

#[test]
fn names_with_and_without_a_prefix_are_the_same_model() {
    for case in &cases() {
        let golden = Golden::read(case);
        let folder = tempfile::tempdir().unwrap();
        copy(&golden.folder, folder.path());
        let path = folder.path().join("model.safetensors");
        let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        let named = |(name, tensor)| (format!("model.{name}"), tensor);
        let tensors: HashMap<String, Tensor> = tensors.into_iter().map(named).collect();
        std::fs::remove_file(&path).unwrap();
        candle_core::safetensors::save(&tensors, path).unwrap();
        let prefixed = Golden { folder: folder.path().into(), ..Golden::read(case) };
        let embed = |golden: &Golden| {
            let embedder = golden.embedder(Dtype::F32, "cpu-flash", 1000);
            embedder.embed(&golden.requests()).unwrap().vectors
        };
        assert_eq!(embed(&prefixed), embed(&golden), "{case}");
    }
}

#[test]
fn every_embedder_is_held_to_a_reference() {
    let held: Vec<_> =
        cases().iter().map(|case| Golden::read(case).about["arch"].clone()).collect();
    for entry in EMBEDDERS {
        assert!(held.iter().any(|arch| arch == entry.architecture), "{}", entry.architecture);
    }
    assert!(embedder_presets().len() >= EMBEDDERS.len());
}

/// Every folder with an embedding model and its expected outputs.
fn cases() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_embeddings");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut cases: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    cases.sort();
    cases
}

fn check(case: &str, backend: &str, budget: usize) {
    let golden = Golden::read(case);
    let embedder = golden.embedder(Dtype::F32, backend, budget);
    assert_eq!((embedder.attention(), embedder.footprint().kv), (backend, 0));
    let modules = ["dense1", "dense2"];
    let places = [Place::Norm, Place::Pooled].into_iter();
    let mut seen = Rows::at(places.chain((0..modules.len()).map(Place::Module)));
    let embeddings = embedder.embed_observed(&golden.requests(), &mut seen).unwrap();
    let name = format!("{case} {backend} budget={budget}");
    assert_eq!(embeddings.report.passes, if budget == 1 { 3 } else { 1 }, "{name}");
    assert_eq!(embeddings.report.attention, backend);

    let compare = |tensor: &str, found: &[Vec<f32>]| {
        let (expected, atol) = (golden.rows(tensor), golden.tolerance(tensor));
        assert_eq!(found.len(), expected.len(), "{name}: rows of {tensor}");
        for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.len(), expected.len(), "{name}: width of {tensor}");
            for (column, (found, expected)) in found.iter().zip(expected).enumerate() {
                // Phrased so that a NaN fails.
                assert!(
                    (found - expected).abs() <= atol,
                    "{name}: {tensor} in row {row}, column {column}: {found} instead of {expected}, allowed {atol:e}"
                );
            }
        }
    };
    let seen = seen.finish().unwrap();
    compare("last_hidden_state", &seen[&Place::Norm]);
    compare("pooled", &seen[&Place::Pooled]);
    for (module, tensor) in modules.into_iter().enumerate() {
        if golden.tensors.contains_key(tensor) {
            compare(tensor, &seen[&Place::Module(module)]);
        }
    }
    compare("embedding", &embeddings.vectors);
}

/// The reference data of a case.
struct Golden {
    folder: PathBuf,
    tensors: HashMap<String, Tensor>,
    about: Value,
}

impl Golden {
    fn read(case: &str) -> Self {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_embeddings").join(case);
        let tensors =
            candle_core::safetensors::load(folder.join("golden.safetensors"), &Device::Cpu)
                .unwrap();
        let about = std::fs::read_to_string(folder.join("golden.json")).unwrap();
        Self { folder, tensors, about: serde_json::from_str(&about).unwrap() }
    }

    fn embedder(&self, dtype: Dtype, backend: &str, max_pass_tokens: usize) -> Embedder {
        Embedder::load(&EmbedderConfig {
            model: ModelSource::Folder { path: self.folder.clone() },
            dtype,
            attention: Choice::Named(backend.into()),
            max_pass_tokens,
            max_sequence_length: None,
        })
        .unwrap()
    }

    fn tolerance(&self, tensor: &str) -> f32 {
        self.about["tensors"][tensor]["atol"].as_f64().unwrap() as f32
    }

    /// Number of real tokens in each row of the batch; padding is on the right.
    fn lengths(&self) -> Vec<usize> {
        let mask: Vec<Vec<i64>> = self.tensors["attention_mask"].to_vec2().unwrap();
        mask.iter().map(|row| row.iter().sum::<i64>() as usize).collect()
    }

    /// The batch without its padding.
    fn requests(&self) -> Vec<EmbedRequest> {
        let ids: Vec<Vec<i64>> = self.tensors["input_ids"].to_vec2().unwrap();
        let request = |(ids, length): (&Vec<i64>, usize)| EmbedRequest {
            tokens: ids[..length].iter().map(|&id| id as u32).collect(),
            overlong: Overlong::Refuse,
        };
        ids.iter().zip(self.lengths()).map(request).collect()
    }

    /// The rows of a tensor `[batch, width]`, or those of real tokens in `[batch, tokens, width]`.
    fn rows(&self, tensor: &str) -> Vec<Vec<f32>> {
        let tensor = &self.tensors[tensor];
        match tensor.rank() {
            2 => tensor.to_vec2().unwrap(),
            _ => {
                let rows: Vec<Vec<Vec<f32>>> = tensor.to_vec3().unwrap();
                let real = |(rows, length): (&Vec<Vec<f32>>, usize)| rows[..length].to_vec();
                rows.iter().zip(self.lengths()).flat_map(real).collect()
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}
