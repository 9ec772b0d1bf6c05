//! What is found in the prefix cache must equal what would have been computed: token for token in
//! f32, for every family (one of them with a sliding window that the prompts exceed) and every
//! backend.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use candle_core::Device;
use windtunnel_engine::attention::backends_for;
use windtunnel_engine::models::MODELS;
use windtunnel_engine::weights::presets;
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, Eos, Event, Finish, ModelSource, PrefixCache,
    QuantPlan, Request, RequestId, Sampling, Stats, Topology, Truncation,
};

const BLOCK: usize = 16;
const NEW: usize = 20;
/// Prompt lengths around block boundaries.
const LENGTHS: [usize; 6] = [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 5];

/// Token ids, a list for each request.
type Texts = Vec<Vec<u32>>;

/// An engine and the pressure it is under.
#[derive(Clone, Copy)]
struct Way {
    backend: &'static str,
    blocks: usize,
    step_tokens: usize,
    sequences: usize,
}

const AMPLE: Way = Way { backend: "cpu-flash", blocks: 256, step_tokens: 1024, sequences: 8 };

fn engine(preset: &str, way: Way, kv: &str, prefix_cache: PrefixCache) -> Engine {
    Engine::load(&config(preset, way, kv, prefix_cache)).unwrap()
}

fn config(preset: &str, way: Way, kv: &str, prefix_cache: PrefixCache) -> EngineConfig {
    EngineConfig {
        model: ModelSource::Preset { name: preset.into(), seed: 11 },
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: "cpu:0".parse().unwrap(),
        topology: Topology::NONE,
        kv: kv.parse().unwrap(),
        attention: Choice::Named(way.backend.into()),
        prefix_cache,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: way.blocks * BLOCK,
        max_step_tokens: way.step_tokens,
        max_sequences: way.sequences,
        max_sequence_length: Some(128),
    }
}

fn request(prompt: &[u32]) -> Request {
    Request {
        prompt: prompt.into(),
        max_tokens: Some(NEW),
        sampling: Sampling { temperature: 1.0, seed: prompt.len() as u64, ..Sampling::GREEDY },
        stop: Vec::new(),
        eos: Eos::Ignore,
        truncation: Truncation::Refuse,
        choices: 1,
        prefix_cache: PrefixCache::On,
    }
}

/// The first `length` tokens of text number `text`.
fn prompt(text: usize, length: usize) -> Vec<u32> {
    (0..length).map(|at| ((at * 37 + text * 411) % 1000) as u32).collect()
}

/// The output of `requests`, run together: the tokens of each choice, in order, and how many tokens
/// of its prompt were found.
fn run(engine: &mut Engine, requests: Vec<Request>) -> Vec<(Vec<u32>, usize)> {
    for request in requests {
        engine.submit(request).unwrap();
    }
    let mut outputs: BTreeMap<(RequestId, usize), (Vec<u32>, usize)> = BTreeMap::new();
    while !engine.is_idle() {
        let step = engine.step();
        for event in step.events {
            match event {
                Event::PromptDone { request, choice, cached } => {
                    outputs.insert((request, choice), (Vec::new(), cached));
                }
                Event::Token { request, choice, token, .. } => {
                    outputs.get_mut(&(request, choice)).unwrap().0.push(token);
                }
                Event::Finished { request, choice, finish, usage } => {
                    assert_eq!(finish, Finish::Length);
                    assert_eq!(usage.cached, outputs[&(request, choice)].1);
                }
                Event::Queued { .. } => panic!("an engine does not tell what its caller knows"),
            }
        }
        engine.check_integrity().unwrap();
        let report = step.report;
        let blocks = report.blocks_used + report.blocks_cached + report.blocks_free;
        let stats = engine.stats();
        assert_eq!(blocks, stats.blocks_used + stats.blocks_cached + stats.blocks_free);
    }
    assert_eq!(engine.stats().blocks_used, 0);
    outputs.into_values().collect()
}

/// Prompts that repeat, extend, and diverge from `LENGTHS` of the same text.
fn turns() -> Vec<Texts> {
    let first: Vec<_> = LENGTHS.iter().map(|&length| prompt(1, length)).collect();
    let extended = first.iter().map(|prompt| [&prompt[..], &[7, 8, 9]].concat()).collect();
    let diverging = first
        .iter()
        .map(|prompt| {
            let mut prompt = prompt.clone();
            let middle = prompt.len() / 2;
            prompt[middle] = 999;
            prompt
        })
        .collect();
    vec![first.clone(), first, extended, diverging]
}

/// The output of [`turns`] without a cache, by preset. Memory pressure and the backend make no
/// difference to a plain engine, as `tests/equalities.rs` shows: once is enough.
static EXPECTED: LazyLock<BTreeMap<&str, Vec<Texts>>> = LazyLock::new(|| {
    let outputs = |name| {
        let mut plain = engine(name, AMPLE, "paged-16", PrefixCache::Off);
        let outputs = turns().iter().map(|turn| tokens(&run(&mut plain, requests(turn)))).collect();
        assert_eq!(plain.stats().prefix.lookups, 0);
        outputs
    };
    tiny().map(|name| (name, outputs(name))).collect()
});

/// The presets small enough to be computed here: one per family.
fn tiny() -> impl Iterator<Item = &'static str> {
    presets().iter().map(|preset| preset.name).filter(|name| name.starts_with("tiny"))
}

fn requests(prompts: &[Vec<u32>]) -> Vec<Request> {
    prompts.iter().map(|prompt| request(prompt)).collect()
}

fn tokens(outputs: &[(Vec<u32>, usize)]) -> Texts {
    outputs.iter().map(|(tokens, _)| tokens.clone()).collect()
}

/// Runs [`turns`] one after the other with the cache on, for every family and backend. Returns the
/// statistics of each.
fn check(way: Way) -> Vec<Stats> {
    let mut all = Vec::new();
    for name in tiny() {
        for backend in backends_for(&Device::Cpu).map(|backend| backend.name()) {
            let mut cached = engine(name, Way { backend, ..way }, "paged-16", PrefixCache::On);
            for (turn, (prompts, expected)) in turns().iter().zip(&EXPECTED[name]).enumerate() {
                let found = tokens(&run(&mut cached, requests(prompts)));
                for ((prompt, found), expected) in prompts.iter().zip(&found).zip(expected) {
                    let length = prompt.len();
                    assert_eq!(
                        found, expected,
                        "{name} {backend}, turn {turn}, prompt of {length}"
                    );
                    assert_eq!(found.len(), NEW);
                }
            }
            all.push(cached.stats());
        }
    }
    assert_eq!(all.len(), MODELS.len() * backends_for(&Device::Cpu).count());
    all
}

#[test]
fn cached_prompts_give_what_computed_ones_give() {
    for stats in check(AMPLE) {
        assert!(stats.prefix.hits > 12 && stats.prefix.evictions == 0, "{stats:?}");
        assert_eq!(stats.prefilled + stats.prefix.tokens, stats.prompt_tokens);
    }
}

#[test]
fn cached_prompts_in_chunks_one_by_one_and_under_pressure_give_the_same() {
    check(Way { step_tokens: 11, sequences: 1, ..AMPLE });
    for stats in check(Way { blocks: 9, step_tokens: 40, ..AMPLE }) {
        assert!(stats.prefix.evictions > 0 && stats.preemptions > 0, "{stats:?}");
    }
}

#[test]
fn hits_are_as_long_as_they_can_be() {
    let mut engine = engine("tiny-qwen3", AMPLE, "paged-16", PrefixCache::On);
    let long = prompt(2, 3 * BLOCK + 5);
    let (output, found) = run(&mut engine, vec![request(&long)]).remove(0);
    assert_eq!(found, 0);
    let mut found = |prompt: &[u32]| run(&mut engine, vec![request(prompt)])[0].1;
    assert_eq!(found(&long), 3 * BLOCK, "exact repeat");
    assert_eq!(found(&long[..2 * BLOCK]), BLOCK, "a token is left to compute");
    assert_eq!(found(&long[..2 * BLOCK + 1]), 2 * BLOCK);
    assert_eq!(found(&[&long[..], &output, &[1]].concat()), 4 * BLOCK, "the next turn");
    let mut other = long.clone();
    other[BLOCK + 3] = 999;
    assert_eq!(found(&other), BLOCK, "another middle");
    other[0] = 999;
    assert_eq!(found(&other), 0, "another beginning");
    let stats = engine.stats();
    assert_eq!((stats.prefix.lookups, stats.prefix.hits), (7, 5));
    assert_eq!(stats.prefix.tokens, 11 * BLOCK as u64);
    assert!(stats.blocks_cached > 0);
}

#[test]
fn engine_layout_and_request_can_decline() {
    let off = Request { prefix_cache: PrefixCache::Off, ..request(&prompt(1, 40)) };
    for (kv, cache, request) in [
        ("paged-16", PrefixCache::Off, request(&prompt(1, 40))),
        ("contiguous", PrefixCache::On, request(&prompt(1, 40))),
        ("paged-16", PrefixCache::On, off),
    ] {
        let mut engine = engine("tiny-llama", AMPLE, kv, cache);
        for _ in 0..2 {
            assert_eq!(run(&mut engine, vec![request.clone()])[0].1, 0);
        }
        assert_eq!((engine.stats().prefix.lookups, engine.stats().blocks_cached), (0, 0));
    }
}

#[test]
fn choices_share_the_prompt_and_draw_on_their_own() {
    for name in tiny() {
        let asked = Request { choices: 3, ..request(&prompt(1, 3 * BLOCK + 5)) };
        let mut cached = engine(name, AMPLE, "paged-16", PrefixCache::On);
        let mut plain = engine(name, AMPLE, "paged-16", PrefixCache::Off);
        let (found, expected) =
            (run(&mut cached, vec![asked.clone()]), run(&mut plain, vec![asked.clone()]));
        assert_eq!(tokens(&found), tokens(&expected), "{name}");
        assert!(found[0].0 != found[1].0 && found[1].0 != found[2].0);
        assert_eq!(found.iter().map(|(_, hit)| *hit).collect::<Vec<_>>(), [0, 48, 48]);
        // One prompt, and for each other choice what follows its last full block.
        assert_eq!(cached.stats().prefilled, (3 * BLOCK + 5 + 2 * 5) as u64);
        assert_eq!(cached.stats().submitted, 3);
        // The first choice draws what a request for one draws.
        let alone = run(&mut plain, vec![Request { choices: 1, ..asked }]);
        assert_eq!(alone[0].0, found[0].0);
    }
}

#[test]
fn equal_prompts_that_arrive_together_are_computed_once() {
    let mut engine = engine("tiny-llama", AMPLE, "paged-16", PrefixCache::On);
    let same = || request(&prompt(3, 2 * BLOCK + 1));
    let outputs = run(&mut engine, vec![same(), same(), same(), same()]);
    assert!(outputs.iter().all(|(tokens, _)| *tokens == outputs[0].0));
    assert_eq!(engine.stats().prefilled, (2 * BLOCK + 1 + 3) as u64);
}

#[test]
fn keys_that_depend_on_the_length_of_a_sequence_are_not_shared() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/phi3_longrope");
    let found = |max_sequence_length| {
        let engine = Engine::load(&EngineConfig {
            model: ModelSource::Folder { path: folder.into() },
            max_sequence_length: Some(max_sequence_length),
            ..config("tiny-phi3", AMPLE, "paged-16", PrefixCache::On)
        });
        engine.unwrap().prefix_cache()
    };
    assert_eq!(found(33), PrefixCache::Off);
    // No sequence can get past the border.
    assert_eq!(found(32), PrefixCache::On);
}
