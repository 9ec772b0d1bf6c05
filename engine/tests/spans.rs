//! A step can be followed through a `tracing` subscriber, and in no other way.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, Eos, ModelSource, PrefixCache, QuantPlan,
    Request, Sampling, Stage, Topology, Truncation,
};

static SPANS: Mutex<Vec<(Level, &'static str)>> = Mutex::new(Vec::new());

/// Records every span that is entered for the first time.
#[derive(Default)]
struct Listener {
    ids: AtomicU64,
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("windtunnel")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let metadata = span.metadata();
        SPANS.lock().unwrap().push((*metadata.level(), metadata.name()));
        Id::from_u64(1 + self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        panic!("the engine tells spans and nothing else, but here is {event:?}");
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_step_is_a_span_with_its_verbs_at_debug_level_and_what_layers_do_at_trace_level() {
    let mut engine = Engine::load(&EngineConfig {
        model: ModelSource::Preset { name: "tiny-llama".into(), seed: 1 },
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: "cpu:0".parse().unwrap(),
        topology: Topology::NONE,
        kv: "paged-16".parse().unwrap(),
        attention: Choice::Auto,
        prefix_cache: PrefixCache::On,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 64,
        max_step_tokens: 64,
        max_sequences: 1,
        max_sequence_length: Some(64),
    })
    .unwrap();
    // No subscriber has been installed: the engine does not.
    tracing::subscriber::set_global_default(Listener::default()).unwrap();
    engine
        .submit(Request {
            prompt: vec![1, 2, 3],
            max_tokens: Some(1),
            sampling: Sampling::GREEDY,
            stop: Vec::new(),
            eos: Eos::Ignore,
            truncation: Truncation::Refuse,
            choices: 1,
            prefix_cache: PrefixCache::On,
        })
        .unwrap();
    engine.step();
    let spans = SPANS.lock().unwrap();
    let names = |level| spans.iter().filter(move |span| span.0 == level).map(|span| span.1);
    let verbs = ["step", "schedule", "batch", "forward", "sample", "commit"];
    assert_eq!(names(Level::DEBUG).collect::<Vec<_>>(), verbs);
    // Each layer has seven matrices; one more is for the logits.
    let count = |name| names(Level::TRACE).filter(|other| *other == name).count();
    assert_eq!((count("attention"), count("linear"), count("norm")), (4, 4 * 7 + 1, 4 * 2 + 1));
    let stages: Vec<_> = Stage::ALL.iter().map(|stage| stage.name()).collect();
    assert!(names(Level::TRACE).all(|name| stages.contains(&name)));
}
