use super::super::*;
use super::*;
use crate::config::{Choice, Dtype, ModelSource};
use crate::kv::{Table, Tables};
use crate::placement::{Placement, Topology};
use crate::quant::QuantPlan;
use crate::request::{Event, Request};

fn config(preset: &str, device: &str, cuda_graphs: CudaGraphs) -> EngineConfig {
    EngineConfig {
        model: ModelSource::Preset { name: preset.into(), seed: 1 },
        dtype: Dtype::Bf16,
        quant: QuantPlan::DENSE,
        devices: device.parse().unwrap(),
        topology: Topology::NONE,
        kv: "paged-32".parse().unwrap(),
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs,
        kv_tokens: 2048,
        max_step_tokens: 64,
        max_sequences: 4,
        max_sequence_length: Some(512),
    }
}

/// Answers four requests of different lengths, one of which takes several steps before it samples
/// its first token. Returns the tokens of each and what the engine counted.
fn answers(config: &EngineConfig) -> (Vec<Vec<u32>>, Stats) {
    let mut engine = Engine::load(config).unwrap();
    for (prompt, new) in [(3, 90), (40, 60), (33, 70), (200, 50)] {
        let prompt = (0..prompt).map(|at| at % 100).collect();
        engine.submit(Request::exactly(prompt, new)).unwrap();
    }
    let mut told = vec![Vec::new(); 4];
    while !engine.is_idle() {
        for event in engine.step().events {
            if let Event::Token { request, token, .. } = event {
                told[request.0 as usize].push(token);
            }
        }
    }
    (told, engine.stats())
}

#[test]
fn steps_on_a_cpu_are_never_replayed() {
    let (on, counted) = answers(&config("tiny-qwen3", "cpu:0", CudaGraphs::On));
    let (off, _) = answers(&config("tiny-qwen3", "cpu:0", CudaGraphs::Off));
    assert_eq!((on, counted.replayed), (off, 0));
}

#[test]
fn what_a_decode_asks_for_besides_attention_does_not_depend_on_how_long_sequences_are() {
    for preset in ["tiny-qwen3", "tiny-gemma2", "tiny-gemma3n"] {
        let mut engine = Engine::load(&config(preset, "cpu:0", CudaGraphs::On)).unwrap();
        engine.submit(Request::exactly((0..9).collect(), 40)).unwrap();
        engine.step();
        let rest = (10..40).map(|keys| {
            let table = Table { row: 0, queries: 1, keys, gone: 0, blocks: Vec::new() };
            let tables = vec![Tables { block: 32, sequences: vec![table], runs: Vec::new() }];
            let whole = Batch::whole(&[&[1]], &Placement::cpu()).unwrap();
            let batch = Batch { tables, ..whole };
            let attention = attention_of(&batch, &engine.heads, 2);
            engine.step().report.demand.less(attention)
        });
        let rest: Vec<Demand> = rest.collect();
        assert!(
            rest[0].bytes > 0 && rest.iter().all(|each| *each == rest[0]),
            "{preset}: {rest:?}"
        );
    }
}

/// With a GPU: `cargo test --workspace --features windtunnel-engine/flash-attn -- --ignored on_a_gpu`.
#[cfg(feature = "flash-attn")]
mod on_a_gpu {
    use super::*;

    #[test]
    #[ignore = "needs a GPU of compute capability 8.0 or later"]
    fn replayed_steps_give_the_tokens_of_launched_ones() {
        for preset in ["tiny-qwen3", "tiny-llama", "tiny-gemma2"] {
            let (off, launched) = answers(&config(preset, "cuda:0", CudaGraphs::Off));
            let (on, replayed) = answers(&config(preset, "cuda:0", CudaGraphs::On));
            assert_eq!(on, off, "{preset}");
            assert_eq!((launched.replayed, launched.decodes), (0, replayed.decodes), "{preset}");
            assert!(replayed.replayed > 60, "{preset}: {}", replayed.replayed);
        }
    }

    #[test]
    #[ignore = "needs a GPU of compute capability 8.0 or later"]
    fn a_model_whose_host_must_know_is_launched_kernel_by_kernel() {
        let (on, counted) = answers(&config("tiny-mixtral", "cuda:0", CudaGraphs::On));
        let (off, _) = answers(&config("tiny-mixtral", "cuda:0", CudaGraphs::Off));
        assert_eq!((on, counted.replayed), (off, 0));
    }
}
