//! Where the time goes, for every family: each stage that a model has takes some, no other stage
//! does, and all time is accounted for.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use windtunnel_engine::models::MODELS;
use windtunnel_engine::weights::presets;
use windtunnel_engine::{
    Account, Attribution, Choice, CudaGraphs, Dtype, EmbedRequest, Embedder, EmbedderConfig,
    Engine, EngineConfig, ModelSource, Overlong, PrefixCache, QuantPlan, Request, Stage, Topology,
    Work,
};

/// Stages of every model.
const ALWAYS: [Stage; 11] = [
    Stage::Schedule,
    Stage::Batch,
    Stage::Embedding,
    Stage::Norm,
    Stage::Linear,
    Stage::Rope,
    Stage::Store,
    Stage::Attention,
    Stage::Elementwise,
    Stage::Head,
    Stage::Sample,
];

fn config(preset: &str) -> EngineConfig {
    EngineConfig {
        model: ModelSource::Preset { name: preset.into(), seed: 11 },
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: "cpu:0".parse().unwrap(),
        topology: Topology::NONE,
        kv: "paged-16".parse().unwrap(),
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 256,
        max_step_tokens: 64,
        max_sequences: 4,
        max_sequence_length: Some(64),
    }
}

/// The time of `work`, and how its steps spent it.
fn attributed(
    attribution: &Attribution,
    work: impl FnOnce(),
) -> (Duration, BTreeMap<Work, Account>) {
    attribution.take();
    let begun = Instant::now();
    work();
    (begun.elapsed(), attribution.take())
}

#[test]
fn all_the_time_of_steps_is_in_stages() {
    let attribution = Attribution::default();
    tracing::subscriber::set_global_default(attribution.clone()).unwrap();
    let tiny = presets().iter().filter(|preset| preset.name.starts_with("tiny"));
    let mut families = 0;
    for preset in tiny {
        let mut engine = Engine::load(&config(preset.name)).unwrap();
        let prompt = |text: u32| (0..40).map(|at| (at * 7 + text * 31) % 900).collect();
        for text in 0..3 {
            engine.submit(Request::exactly(prompt(text), 8)).unwrap();
        }
        let (wall, accounts) = attributed(&attribution, || {
            while !engine.is_idle() {
                engine.step();
            }
            engine.step();
        });
        let stats = engine.stats();
        let [prefill, decode, nothing] =
            [Work::Prefill, Work::Decode, Work::Nothing].map(|work| accounts[&work]);
        assert_eq!(accounts.len(), 3, "{}", preset.name);
        assert_eq!((prefill.count + decode.count, nothing.count), (stats.steps, 1));
        assert_eq!(prefill.tokens + decode.tokens, stats.prefilled + stats.decoded);
        let experts = preset.name.contains("moe") || preset.name.contains("mixtral");
        for (stage, time) in prefill.stages.iter().chain(decode.stages.iter()) {
            let expected = match stage {
                Stage::Experts => experts,
                // May be too short for the clock.
                Stage::Transfer | Stage::Commit | Stage::Other => continue,
                _ => ALWAYS.contains(&stage),
            };
            assert_eq!(!time.is_zero(), expected, "{} in {}", stage, preset.name);
        }
        let sum: Duration = accounts.values().map(|account| account.stages.total()).sum();
        assert!(sum <= wall && !sum.is_zero(), "{sum:?} of {wall:?}");
        families += 1;
    }
    assert_eq!(families, MODELS.len());

    let embedder = Embedder::load(&EmbedderConfig {
        model: ModelSource::Preset { name: "tiny-embeddinggemma".into(), seed: 1 },
        dtype: Dtype::F32,
        attention: Choice::Auto,
        max_pass_tokens: 64,
        max_sequence_length: None,
    })
    .unwrap();
    let requests = [5, 9]
        .map(|length| EmbedRequest { tokens: (0..length).collect(), overlong: Overlong::Refuse });
    let (_, accounts) = attributed(&attribution, || drop(embedder.embed(&requests).unwrap()));
    assert_eq!(accounts.keys().collect::<Vec<_>>(), [&Work::Embed]);
    let Account { count, tokens, stages } = accounts[&Work::Embed];
    assert_eq!((count, tokens), (1, 14));
    for stage in [Stage::Batch, Stage::Linear, Stage::Attention, Stage::Pool, Stage::Other] {
        assert!(!stages.of(stage).is_zero(), "{stage}");
    }
    for stage in [Stage::Schedule, Stage::Store, Stage::Head, Stage::Sample] {
        assert!(stages.of(stage).is_zero(), "{stage}");
    }
}
