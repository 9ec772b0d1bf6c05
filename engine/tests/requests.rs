//! What a caller sees of a request: ends, truncation, cancellation, and the engine's statistics.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::Path;

use windtunnel_engine::{
    Choice, CudaGraphs, DeviceName, Dtype, Engine, EngineConfig, Eos, Event, Finish, Footprint,
    KvLayout, ModelSource, PrefixCache, QuantPlan, Request, RequestId, Sampling, Topology,
    Truncation, Usage,
};

const CONTEXT: usize = 24;

fn config() -> EngineConfig {
    EngineConfig {
        model: ModelSource::Preset { name: "tiny-qwen3".into(), seed: 1 },
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: "cpu:0".parse().unwrap(),
        topology: Topology::NONE,
        kv: KvLayout::Contiguous,
        attention: Choice::Auto,
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 2 * CONTEXT,
        max_step_tokens: 64,
        max_sequences: 2,
        max_sequence_length: Some(CONTEXT),
    }
}

fn engine() -> Engine {
    Engine::load(&config()).unwrap()
}

fn request(prompt: usize, max_tokens: Option<usize>) -> Request {
    Request {
        prompt: (0..prompt as u32).map(|i| 10 + i % 900).collect(),
        max_tokens,
        sampling: Sampling::GREEDY,
        stop: Vec::new(),
        eos: Eos::Ignore,
        truncation: Truncation::Refuse,
        choices: 1,
        prefix_cache: PrefixCache::Off,
    }
}

/// The tokens of the request, and its last event.
fn run(engine: &mut Engine, id: RequestId) -> (Vec<u32>, Event) {
    let mut tokens = Vec::new();
    loop {
        for event in engine.step().events {
            match event {
                Event::Token { request, token, .. } if request == id => tokens.push(token),
                Event::Finished { request, .. } if request == id => return (tokens, event),
                _ => {}
            }
        }
        assert!(!engine.is_idle(), "{id} never ended");
    }
}

fn ended(request: RequestId, finish: Finish, prompt: usize, generated: usize) -> Event {
    Event::Finished { request, choice: 0, finish, usage: Usage { prompt, cached: 0, generated } }
}

#[test]
fn a_stop_token_ends_the_request_and_is_not_shown() {
    let mut engine = engine();
    let id = engine.submit(request(3, Some(8))).unwrap();
    let (all, _) = run(&mut engine, id);
    let stop = all[3];
    let first = all.iter().position(|token| *token == stop).unwrap();
    let id = engine.submit(Request { stop: vec![stop], ..request(3, Some(8)) }).unwrap();
    let (tokens, end) = run(&mut engine, id);
    assert_eq!(tokens, all[..first]);
    assert_eq!(end, ended(id, Finish::Stop, 3, first + 1));
}

#[test]
fn log_probabilities_come_with_each_token_if_they_are_asked_for() {
    let logprobs = |asked, sampling: Sampling| {
        let mut engine = engine();
        let sampling = Sampling { logprobs: asked, ..sampling };
        engine.submit(Request { sampling, ..request(3, Some(6)) }).unwrap();
        let mut all = Vec::new();
        while !engine.is_idle() {
            for event in engine.step().events {
                if let Event::Token { token, logprobs, .. } = event {
                    all.push((token, logprobs));
                }
            }
        }
        assert_eq!(all.len(), 6);
        all
    };
    assert!(logprobs(None, Sampling::GREEDY).iter().all(|(_, logprobs)| logprobs.is_none()));
    for (token, told) in logprobs(Some(3), Sampling::GREEDY) {
        let told = told.unwrap();
        assert_eq!((told.top[0], told.top.len()), ((token, told.chosen), 3));
        assert!(told.top.is_sorted_by(|a, b| a.1 >= b.1) && told.chosen < 0.0, "{told:?}");
    }
    let hot = Sampling { temperature: 50.0, seed: 3, ..Sampling::GREEDY };
    for (_, told) in logprobs(Some(0), hot) {
        let told = told.unwrap();
        assert!(told.top.is_empty() && told.chosen.is_finite() && told.chosen < 0.0);
    }
}

#[test]
fn penalties_count_the_prompt_and_what_follows() {
    let mut engine = engine();
    let sampling = Sampling { presence_penalty: 1e6, ..Sampling::GREEDY };
    // Raised by the bias, a token of the prompt would come first, again and again.
    let logit_bias = vec![(10, 1e5)];
    let biased = Sampling { logit_bias: logit_bias.clone(), ..Sampling::GREEDY };
    let id = engine.submit(Request { sampling: biased, ..request(8, Some(8)) }).unwrap();
    assert_eq!(run(&mut engine, id).0, [10; 8]);
    let penalised = Sampling { logit_bias, ..sampling };
    let id = engine.submit(Request { sampling: penalised, ..request(8, Some(8)) }).unwrap();
    let (tokens, _) = run(&mut engine, id);
    let mut all = [request(8, None).prompt, tokens].concat();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "a token came twice");
}

#[test]
fn ends_of_sequences_come_from_the_generation_config_too() {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama_gqa");
    for file in ["config.json", "model.safetensors"] {
        fs::copy(golden.join(file), folder.path().join(file)).unwrap();
    }
    let ids = r#"{"eos_token_id": [9, 2]}"#;
    fs::write(folder.path().join("generation_config.json"), ids).unwrap();
    let model = ModelSource::Folder { path: folder.path().into() };
    let engine = Engine::load(&EngineConfig { model, ..config() }).unwrap();
    assert_eq!(engine.eos(), [9, 2]);
}

#[test]
fn without_a_maximum_a_request_fills_the_longest_sequence() {
    let mut engine = engine();
    let id = engine.submit(request(3, None)).unwrap();
    let (tokens, end) = run(&mut engine, id);
    assert_eq!(tokens.len(), CONTEXT - 3);
    assert!(matches!(end, Event::Finished { finish: Finish::Length, .. }));
}

#[test]
fn truncation_keeps_the_tail_and_leaves_room_for_what_was_asked() {
    // Prompt, `max_tokens`, then the lengths of the kept prompt and of the output.
    let table = [
        (CONTEXT - 1, None, CONTEXT - 1, 1),
        (CONTEXT - 1, Some(1), CONTEXT - 1, 1),
        (CONTEXT - 1, Some(CONTEXT - 1), 1, CONTEXT - 1),
        (CONTEXT - 1, Some(CONTEXT), 1, CONTEXT - 1),
        (CONTEXT - 1, Some(10 * CONTEXT), 1, CONTEXT - 1),
        (CONTEXT, None, CONTEXT - 1, 1),
        (CONTEXT, Some(1), CONTEXT - 1, 1),
        (CONTEXT, Some(CONTEXT - 1), 1, CONTEXT - 1),
        (CONTEXT, Some(CONTEXT), 1, CONTEXT - 1),
        (CONTEXT, Some(10 * CONTEXT), 1, CONTEXT - 1),
        (CONTEXT + 1, None, CONTEXT - 1, 1),
        (CONTEXT + 1, Some(1), CONTEXT - 1, 1),
        (CONTEXT + 1, Some(CONTEXT - 1), 1, CONTEXT - 1),
        (CONTEXT + 1, Some(CONTEXT), 1, CONTEXT - 1),
        (CONTEXT + 1, Some(10 * CONTEXT), 1, CONTEXT - 1),
        (10 * CONTEXT, None, CONTEXT - 1, 1),
        (10 * CONTEXT, Some(1), CONTEXT - 1, 1),
        (10 * CONTEXT, Some(CONTEXT - 1), 1, CONTEXT - 1),
        (10 * CONTEXT, Some(CONTEXT), 1, CONTEXT - 1),
        (10 * CONTEXT, Some(10 * CONTEXT), 1, CONTEXT - 1),
        (CONTEXT - 1, Some(5), CONTEXT - 5, 5),
        (10 * CONTEXT, Some(5), CONTEXT - 5, 5),
        (4, Some(5), 4, 5),
    ];
    for (prompt, max_tokens, kept, new) in table {
        let mut engine = engine();
        let whole = request(prompt, max_tokens);
        let tail = Request { prompt: whole.prompt[prompt - kept..].to_vec(), ..whole.clone() };
        let truncated = Request { truncation: Truncation::KeepTail, ..whole };
        let id = engine.submit(truncated).unwrap();
        let (tokens, end) = run(&mut engine, id);
        let expected = ended(id, Finish::Length, kept, new);
        assert_eq!(end, expected, "prompt {prompt}, max_tokens {max_tokens:?}");
        let id = engine.submit(tail).unwrap();
        assert_eq!(run(&mut engine, id).0, tokens, "prompt {prompt}, max_tokens {max_tokens:?}");
    }
}

#[test]
fn a_cancelled_request_gives_its_blocks_back_at_once() {
    let mut engine = engine();
    let ids = [0, 1, 2].map(|_| engine.submit(request(3, Some(8))).unwrap());
    engine.step();
    assert_eq!((engine.stats().running, engine.stats().waiting), (2, 1));
    for id in ids {
        let events = engine.cancel(id);
        assert!(matches!(events[..], [Event::Finished { finish: Finish::Cancelled, .. }]));
        assert_eq!(engine.cancel(id), []);
        engine.check_integrity().unwrap();
    }
    assert!(engine.is_idle());
    assert_eq!(engine.stats().blocks_used, 0);
    assert_eq!(engine.step().events, []);
}

#[test]
fn a_step_reports_what_it_did() {
    let mut engine = engine();
    engine.submit(request(5, Some(3))).unwrap();
    let first = engine.step().report;
    assert_eq!((first.prefilled, first.decoded, first.running), (5, 0, 1));
    assert_eq!((first.blocks_used, first.blocks_cached, first.blocks_free), (1, 0, 1));
    assert_eq!(first.attention, "cpu-flash");
    assert!(!first.stages.forward.is_zero());
    engine.submit(request(4, Some(1))).unwrap();
    let second = engine.step().report;
    assert_eq!((second.prefilled, second.decoded, second.running), (4, 1, 1));
    assert_eq!(engine.stats().steps, 2);
}

#[test]
fn the_footprint_is_exact() {
    let engine = engine();
    let sketch = windtunnel_engine::weights::Preset::named("tiny-qwen3").unwrap().sketch().unwrap();
    // Keys and values of 4 layers with 4 heads of 48.
    let kv = 2 * 4 * 4 * 48 * 4 * (2 * CONTEXT as u64);
    assert_eq!(engine.footprint(), Footprint { weights: sketch.parameters * 4, kv });
    assert_eq!((engine.attention(), engine.vocabulary()), ("cpu-flash", 1000));
    assert_eq!(engine.holdings()[0].device, DeviceName::Cpu(0));
}
