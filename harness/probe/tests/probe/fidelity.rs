//! Numbers, compared with references and with the same model in f32.

use super::*;

pub(super) fn parity(tolerance: f64) -> Workload {
    Workload::Parity { tolerance: Tolerance::new(tolerance).unwrap() }
}

/// A model with a reference, from the engine's tests.
pub(super) fn golden(name: &str) -> Model {
    let folder = format!("{}/../../engine/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    Model { name: name.into(), source: Source::Folder(folder) }
}

/// An embedding model with a reference, from the engine's tests.
pub(super) fn golden_embedder(name: &str) -> Model {
    let folder =
        format!("{}/../../engine/tests/golden_embeddings/{name}", env!("CARGO_MANIFEST_DIR"));
    Model { name: name.into(), source: Source::Folder(folder) }
}

pub(super) const fn quality(against: Against) -> Workload {
    Workload::Quality { prompt: Tokens(24), requests: 3, against }
}

#[test]
fn an_embedder_that_computes_what_the_reference_did_passes_in_any_precision() {
    for name in ["embeddinggemma", "qwen3_embedding"] {
        for (dtype, tolerance) in [(Dtype::F32, 1e-4), (Dtype::F16, 0.02), (Dtype::Bf16, 0.2)] {
            for attention in ["naive", "cpu-flash"] {
                let case = Case {
                    model: golden_embedder(name),
                    dtype,
                    attention: attention.into(),
                    ..case(parity(tolerance))
                };
                let found = |metric| value(&case, metric);
                assert!(found(Metric::VectorError) <= tolerance, "{name} {dtype} {attention}");
                assert!(found(Metric::HiddenError) <= tolerance, "{name} {dtype} {attention}");
                assert!(found(Metric::CosineDistance) <= tolerance, "{name} {dtype} {attention}");
            }
        }
    }
}

#[test]
fn an_embedder_passes_for_nothing_that_it_does_not_do() {
    let plain = Case { model: golden_embedder("qwen3_embedding"), ..case(parity(1e-4)) };
    let reason = |change: &dyn Fn(&mut Case)| {
        let mut case = plain.clone();
        change(&mut case);
        match messages(&case).pop() {
            Some(Message::Unsupported { reason }) => reason,
            other => panic!("{other:?}"),
        }
    };
    let elsewhere = reason(&|case| case.placement.devices = "cuda:0".parse().unwrap());
    insta::assert_snapshot!(elsewhere, @r#"an embedding model runs on the first CPU only; choose device-map = "cpu:0""#);
    let topology = Topology { name: "two".into(), text: "0-1: {device: cpu}".into() };
    let parted = reason(&|case| case.placement.topology = topology.clone());
    insta::assert_snapshot!(parted, @r#"an embedding model cannot be split; choose topology = "none""#);
    let smaller = reason(&|case| case.quant = Quant::Q4_0);
    insta::assert_snapshot!(smaller, @r#"the weights of an embedding model cannot be quantised; choose quant = "none""#);
}

#[test]
fn a_vector_beyond_the_tolerance_fails_the_round_and_names_its_tensor() {
    let strict =
        Case { model: golden_embedder("embeddinggemma"), dtype: Dtype::Bf16, ..case(parity(1e-6)) };
    let Some(Message::Failed { error }) = messages(&strict).pop() else { panic!() };
    assert!(error.starts_with("`last_hidden_state` of `"), "{error}");
    assert!(error.contains("; 1.0e-4 % is allowed"), "{error}");
}

#[test]
fn hidden_states_are_held_to_the_reference_where_it_has_them() {
    let hidden = |name: &str| {
        let (iterations, _) = measured(&Case { model: golden(name), ..case(parity(1e-4)) });
        iterations[0].values.get(&Metric::HiddenError).cloned()
    };
    // One model with several streams, and one with a single stream.
    for name in ["gemma3n_text", "qwen3_tied"] {
        let [error] = hidden(name).unwrap()[..] else { panic!("{name}") };
        assert!(error > 0.0 && error < 1e-4, "{name}: {error}");
    }
}

/// Perplexity by its definition, from the logits that the engine shows for whole windows: each
/// token is predicted once, from at least half a window.
#[test]
fn perplexity_is_that_of_every_token_from_the_window_that_knows_most() {
    use windtunnel_engine::{
        Choice, CudaGraphs, Engine, EngineConfig, KvLayout as EngineKv, ModelSource,
        PrefixCache as Prefixes, score,
    };
    let mut engine = Engine::load(&EngineConfig {
        model: ModelSource::Preset { name: "tiny-qwen3".into(), seed: 1 },
        dtype: windtunnel_engine::Dtype::F32,
        quant: windtunnel_engine::QuantPlan::DENSE,
        devices: "cpu:0".parse().unwrap(),
        topology: windtunnel_engine::Topology::NONE,
        kv: EngineKv::Contiguous,
        attention: Choice::Named("naive".into()),
        prefix_cache: Prefixes::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 64,
        max_step_tokens: 64,
        max_sequences: 1,
        max_sequence_length: Some(64),
    })
    .unwrap();
    let text = windtunnel_probe::traffic::words(1, 0, 0, 48, engine.vocabulary());
    let mut nats = Vec::new();
    for (window, counts) in [(0..24, 1..24), (12..36, 24..36), (24..48, 36..48)] {
        let start = window.start;
        score(&mut engine, text[window].to_vec(), 1, &mut |position, logits| {
            let next = start + position + 1;
            if counts.contains(&next) {
                let most = logits.iter().copied().fold(f32::MIN, f32::max);
                let sum: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
                nats.push(sum.ln() + f64::from(most) - f64::from(logits[text[next] as usize]));
            }
        })
        .unwrap();
    }
    assert_eq!(nats.len(), 47);
    let expected = (nats.iter().sum::<f64>() / 47.0).exp();
    let found = value(&case(quality(Against::Nothing)), Metric::Perplexity);
    assert!((found / expected - 1.0).abs() < 1e-4, "{found} instead of {expected}");
}

#[test]
fn less_precision_is_further_from_f32_and_f32_is_as_near_as_can_be() {
    let divergence =
        |dtype| value(&Case { dtype, ..case(quality(Against::F32)) }, Metric::Divergence);
    let [exact, f16, bf16] = [Dtype::F32, Dtype::F16, Dtype::Bf16].map(divergence);
    assert!(exact < 1e-9, "{exact}");
    assert!(exact < f16 && f16 < bf16, "{f16} {bf16}");
    let same = value(&case(quality(Against::F32)), Metric::TopAgreement);
    assert_eq!(same, 1.0);
}

#[test]
fn a_model_with_a_tokenizer_reads_words_and_is_told_when_they_run_out() {
    let folder = tempfile::tempdir().unwrap();
    let Source::Folder(from) = golden("llama_gqa").source else { unreachable!() };
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(Path::new(&from).join(file), folder.path().join(file)).unwrap();
    }
    let source = Source::Folder(folder.path().display().to_string());
    let model = Model { name: "mine".into(), source };
    let digest = |workload| {
        let (iterations, _) = measured(&Case { model: model.clone(), ..case(workload) });
        iterations[0].digest.clone()
    };
    let drawn = digest(quality(Against::Nothing));
    // This tokenizer maps every word of the text to the same unknown token.
    let Source::Folder(with) = golden_embedder("qwen3_embedding").source else { unreachable!() };
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(Path::new(&with).join(file), folder.path().join(file)).unwrap();
    }
    assert_ne!(digest(quality(Against::Nothing)), drawn);
    let endless =
        Workload::Quality { prompt: Tokens(100), requests: 90, against: Against::Nothing };
    let Some(Message::Failed { error }) = messages(&Case { model, ..case(endless) }).pop() else {
        panic!()
    };
    insta::assert_snapshot!(error, @"the text has 1292 tokens for this model, 90 windows of 100 need 4550: lower `requests` or `prompt`");
}

#[test]
fn an_engine_that_computes_what_the_reference_did_passes_in_any_precision() {
    for (dtype, tolerance) in [(Dtype::F32, 1e-4), (Dtype::F16, 0.02), (Dtype::Bf16, 0.1)] {
        let case = Case { model: golden("qwen3_tied"), dtype, ..case(parity(tolerance)) };
        let found = |metric| value(&case, metric);
        assert!(found(Metric::LogitError) <= tolerance);
        assert!(found(Metric::Divergence) < tolerance);
        assert!(found(Metric::TopAgreement) > 0.8);
        if dtype == Dtype::F32 {
            assert_eq!((found(Metric::TopAgreement), found(Metric::SameTokens)), (1.0, 16.0));
        }
    }
}

/// Nothing else reads these outputs of `tools/dump_reference.py`.
#[test]
fn the_families_without_golden_data_compute_what_their_references_did() {
    let folder = format!("{}/../../engine/tests/references", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let references: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    assert!(references.len() >= 7);
    for path in references {
        let name = path.file_name().unwrap().display().to_string();
        let source = Source::Folder(path.display().to_string());
        let case = Case { model: Model { name: name.clone(), source }, ..case(parity(1e-4)) };
        assert_eq!(value(&case, Metric::TopAgreement), 1.0, "{name}");
    }
}

#[test]
fn a_number_beyond_the_tolerance_fails_the_round_and_names_its_place() {
    let strict = Case { model: golden("qwen3_tied"), dtype: Dtype::Bf16, ..case(parity(1e-6)) };
    let Some(Message::Failed { error }) = messages(&strict).pop() else { panic!() };
    assert!(error.starts_with("`hidden_embed` of `"), "{error}");
    assert!(error.ends_with("; 1.0e-4 % is allowed"), "{error}");
}

#[test]
fn a_model_without_a_reference_is_told_how_to_make_one() {
    let said = |case: &Case| {
        let Some(Message::Failed { error }) = messages(case).pop() else { panic!() };
        error.replace(env!("CARGO_MANIFEST_DIR"), "[probe]")
    };
    insta::assert_snapshot!(said(&case(parity(1e-4))), @"`tiny-qwen3` has random weights, which no other implementation has run: name a model with a folder");

    let folder = tempfile::tempdir().unwrap();
    let Source::Folder(from) = golden("llama_gqa").source else { unreachable!() };
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(Path::new(&from).join(file), folder.path().join(file)).unwrap();
    }
    let model =
        Model { name: "mine".into(), source: Source::Folder(folder.path().display().to_string()) };
    let mine = Case { model, ..case(parity(1e-4)) };
    let said = |case: &Case| said(case).replace(&folder.path().display().to_string(), "[folder]");
    insta::assert_snapshot!(said(&mine), @"cannot read the reference `[folder]/golden.safetensors`; `tools/dump_reference.py` makes one: No such file or directory (os error 2)");
    let reference = folder.path().join("golden.safetensors");
    std::fs::copy(folder.path().join("model.safetensors"), &reference).unwrap();
    insta::assert_snapshot!(said(&mine), @"`[folder]/golden.safetensors` is not a reference: tensor `input_ids` not found");
    std::fs::write(&reference, "no tensors").unwrap();
    insta::assert_snapshot!(said(&mine), @"`[folder]/golden.safetensors` is not a reference: header too large");
}
