//! What must not change a vector: the rest of the batch and how the batch is split. Also what lies
//! between a text and its ids.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::json;
use windtunnel_engine::attention::backends_for;
use windtunnel_engine::embedding::Prompt;
use windtunnel_engine::models::EMBEDDERS;
use windtunnel_engine::weights::embedder_presets;
use windtunnel_engine::{
    Choice, Dtype, EmbedRequest, Embedder, EmbedderConfig, ModelSource, Overlong,
};

fn config(preset: &str, backend: &str, dtype: Dtype, max_pass_tokens: usize) -> EmbedderConfig {
    EmbedderConfig {
        model: ModelSource::Preset { name: preset.into(), seed: 3 },
        dtype,
        attention: Choice::Named(backend.into()),
        max_pass_tokens,
        max_sequence_length: Some(64),
    }
}

/// 33 sequences: one of a single token, some shorter and some longer than the windows, and two of
/// equal length.
fn requests() -> Vec<EmbedRequest> {
    let tokens = |row: usize| {
        let length = if row == 32 { 1 } else { 1 + (row * 7) % 61 };
        (0..length).map(|at| ((at * 37 + row * 11) % 1000) as u32).collect()
    };
    (0..33).map(|row| EmbedRequest { tokens: tokens(row), overlong: Overlong::Refuse }).collect()
}

#[test]
fn a_batch_gives_what_each_of_its_sequences_gives_alone() {
    let requests = requests();
    let tiny = embedder_presets().iter().filter(|preset| preset.name.starts_with("tiny"));
    let mut families = 0;
    for preset in tiny {
        families += 1;
        for backend in backends_for(&Device::Cpu).map(|backend| backend.name()) {
            for dtype in Dtype::ALL {
                let name = format!("{} {backend} {dtype}", preset.name);
                let embedder = Embedder::load(&config(preset.name, backend, dtype, 4096)).unwrap();
                let alone = |request: &EmbedRequest| {
                    embedder.embed(std::slice::from_ref(request)).unwrap().vectors.remove(0)
                };
                let truth: Vec<_> = requests.iter().map(alone).collect();
                for batch in [1, 2, 33] {
                    let found = embedder.embed(&requests[..batch]).unwrap();
                    assert_eq!(found.report.passes, 1);
                    same(&found.vectors, &truth[..batch], dtype, &format!("{name}, batch {batch}"));
                }
                let cut = Embedder::load(&config(preset.name, backend, dtype, 100)).unwrap();
                let cut = cut.embed(&requests).unwrap();
                assert!(cut.report.passes > 5, "{name}: {:?}", cut.report);
                same(&cut.vectors, &truth, dtype, &format!("{name}, cut"));
                for vector in &truth {
                    assert_eq!(vector.len(), embedder.width(), "{name}");
                    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
                    assert!((length - 1.0).abs() <= 1e-5, "{name}: length {length}");
                }
            }
        }
    }
    assert_eq!(families, EMBEDDERS.len());
}

/// Many rows are multiplied in another order than a few, so the last digits may differ.
fn same(found: &[Vec<f32>], truth: &[Vec<f32>], dtype: Dtype, name: &str) {
    let allowed = match dtype {
        Dtype::F32 => 2e-6,
        Dtype::F16 => 2e-3,
        Dtype::Auto | Dtype::Bf16 => 2e-2,
    };
    assert_eq!(found.len(), truth.len(), "{name}");
    for (row, (found, truth)) in found.iter().zip(truth).enumerate() {
        for (found, truth) in found.iter().zip(truth) {
            assert!((found - truth).abs() <= allowed, "{name}: {found}, not {truth}, in row {row}");
        }
    }
}

#[test]
fn a_few_tokens_give_the_very_same_numbers_in_any_company() {
    let requests: Vec<_> = requests().into_iter().filter(|r| r.tokens.len() <= 5).collect();
    let tokens: usize = requests.iter().map(|request| request.tokens.len()).sum();
    assert!(requests.len() > 2 && tokens <= 16, "{requests:?}");
    for preset in embedder_presets().iter().filter(|preset| preset.name.starts_with("tiny")) {
        for backend in backends_for(&Device::Cpu).map(|backend| backend.name()) {
            let embed = |budget| {
                let embedder = Embedder::load(&config(preset.name, backend, Dtype::F32, budget));
                embedder.unwrap().embed(&requests).unwrap().vectors
            };
            assert!(embed(100) == embed(1), "{} {backend}", preset.name);
        }
    }
}

#[test]
fn no_request_gives_no_vector() {
    let embedder =
        Embedder::load(&config("tiny-qwen3-embedding", "cpu-flash", Dtype::F32, 9)).unwrap();
    let embeddings = embedder.embed(&[]).unwrap();
    assert_eq!((embeddings.vectors.len(), embeddings.report.passes), (0, 0));
}

#[test]
fn truncation_keeps_the_head() {
    let embedder =
        Embedder::load(&config("tiny-qwen3-embedding", "cpu-flash", Dtype::F32, 99)).unwrap();
    let request = |length, overlong| EmbedRequest { tokens: (0..length).collect(), overlong };
    let embed = |request| embedder.embed(&[request]).unwrap().vectors;
    let longest = embed(request(64, Overlong::Refuse));
    assert_eq!(embed(request(64, Overlong::KeepHead)), longest);
    assert_eq!(embed(request(500, Overlong::KeepHead)), longest);
    assert_ne!(embed(request(63, Overlong::KeepHead)), longest);
}

/// A copy of the golden case of Qwen 3 Embedding, changed by `change`.
fn folder(change: impl FnOnce(&Path)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let golden =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_embeddings/qwen3_embedding");
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    let files = [
        "config.json",
        "model.safetensors",
        "modules.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    for file in files.into_iter().chain(["sentence_bert_config.json", "1_Pooling/config.json"]) {
        fs::copy(golden.join(file), folder.path().join(file)).unwrap();
    }
    change(folder.path());
    let path = folder.path().into();
    (folder, path)
}

fn load(path: PathBuf, max_sequence_length: Option<usize>) -> Embedder {
    let model = ModelSource::Folder { path };
    let config = config("", "cpu-flash", Dtype::F32, 99);
    Embedder::load(&EmbedderConfig { model, max_sequence_length, ..config }).unwrap()
}

#[test]
fn a_model_that_was_saved_without_its_head_embeds_as_with_it() {
    let embed = |change: fn(&Path)| {
        let (_guard, path) = folder(change);
        let request = EmbedRequest { tokens: (3..40).collect(), overlong: Overlong::Refuse };
        load(path, None).embed(&[request]).unwrap().vectors
    };
    let headless = embed(|folder| {
        let path = folder.join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"Qwen3ForCausalLM\""), "{text}");
        fs::write(path, text.replace("\"Qwen3ForCausalLM\"", "\"Qwen3Model\"")).unwrap();
    });
    assert_eq!(headless, embed(|_| {}));
}

/// Makes the tokenizer put `<bos>` before a text and `<eos>` after it.
fn with_special_tokens(folder: &Path) {
    let path = folder.join("tokenizer.json");
    let mut tokenizer: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let special = |name| json!({"SpecialToken": {"id": name, "type_id": 0}});
    tokenizer["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [special("<bos>"), {"Sequence": {"id": "A", "type_id": 0}}, special("<eos>")],
        "pair": [],
        "special_tokens": {
            "<bos>": {"id": "<bos>", "ids": [1], "tokens": ["<bos>"]},
            "<eos>": {"id": "<eos>", "ids": [2], "tokens": ["<eos>"]},
        },
    });
    fs::write(path, tokenizer.to_string()).unwrap();
}

fn with_prompts(folder: &Path) {
    let prompts = json!({
        "prompts": {"query": "t10 t11 ", "document": ""},
        "default_prompt_name": "query",
    });
    fs::write(folder.join("config_sentence_transformers.json"), prompts.to_string()).unwrap();
}

#[test]
fn a_text_gets_its_prompt_and_the_special_tokens_of_the_model() {
    let (_guard, path) = folder(|folder| {
        with_special_tokens(folder);
        with_prompts(folder);
    });
    let reader = load(path, None).reader().unwrap();
    let read = |prompt| reader.read("t20 t21", prompt, Overlong::Refuse).unwrap().tokens;
    assert_eq!(read(Prompt::Named("query")), [1, 10, 11, 20, 21, 2]);
    assert_eq!(read(Prompt::Default), [1, 10, 11, 20, 21, 2]);
    assert_eq!(read(Prompt::Named("document")), [1, 20, 21, 2]);
    assert_eq!(read(Prompt::Written("t30 ")), [1, 30, 20, 21, 2]);
    assert_eq!(read(Prompt::Written("")), [1, 20, 21, 2]);
    assert_eq!(reader.prompts().collect::<Vec<_>>(), [("document", ""), ("query", "t10 t11 ")]);
    let twice = reader.read("<bos> t20", Prompt::Written(""), Overlong::Refuse).unwrap();
    assert_eq!(twice.tokens, [1, 20, 2], "a `<bos>` of the text's own is not doubled");
}

#[test]
fn a_text_that_is_cut_keeps_its_special_tokens_as_long_as_they_fit() {
    for (longest, expected) in [
        (1, &[1][..]),
        (2, &[1, 2]),
        (3, &[1, 20, 2]),
        (4, &[1, 20, 21, 2]),
        (5, &[1, 20, 21, 22, 2]),
        (9, &[1, 20, 21, 22, 2]),
    ] {
        let (_guard, path) = folder(with_special_tokens);
        let embedder = load(path, Some(longest));
        let reader = embedder.reader().unwrap();
        let request = reader.read("t20 t21 t22", Prompt::Default, Overlong::KeepHead).unwrap();
        assert_eq!(request.tokens, expected, "longest {longest}");
        embedder.embed(&[request]).unwrap();
    }
}

#[test]
fn a_folder_reads_no_more_tokens_than_it_says() {
    let limit = |text: &'static str| {
        let (_guard, path) = folder(|folder| {
            fs::write(folder.join("sentence_bert_config.json"), text).unwrap();
        });
        load(path, None).max_sequence_length()
    };
    assert_eq!(limit(r#"{"max_seq_length": 100}"#), 100);
    assert_eq!(limit(r#"{"max_seq_length": null}"#), 512);
    assert_eq!(limit(r#"{"max_seq_length": 9999}"#), 512);
}
