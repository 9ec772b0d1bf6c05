//! The engine with a model that fails on command.

use std::cell::Cell;

use candle_core::{Result as TensorResult, Tensor, bail};

use super::*;
use crate::config::{Choice, Dtype, ModelSource};
use crate::request::{Eos, Finish, Truncation, Usage};
use crate::sampler::Sampling;

pub(crate) const BLOCK: usize = 4;
pub(crate) const BLOCKS: usize = 16;

/// What goes wrong, counting passes from 0.
pub(crate) enum Fault {
    /// The pass fails as a whole.
    Error { pass: usize },
    /// One row of logits has no numbers.
    Nan { pass: usize, row: usize },
    /// Every pass waits for a word, and goes on without one when nobody can give it any more.
    Gate(std::sync::mpsc::Receiver<()>),
    /// The first pass brings its thread down.
    Panic,
}

/// A model that does what another one does, up to its fault.
struct Faulty {
    inner: Box<dyn Model>,
    fault: Fault,
    passes: Cell<usize>,
}

impl Model for Faulty {
    fn heads(&self) -> &Heads {
        self.inner.heads()
    }

    fn vocabulary(&self) -> usize {
        self.inner.vocabulary()
    }

    fn positions(&self) -> usize {
        self.inner.positions()
    }

    fn forward(&self, pass: &mut Pass<'_>) -> TensorResult<Tensor> {
        let now = self.passes.replace(self.passes.get() + 1);
        match &self.fault {
            Fault::Error { pass } if *pass == now => bail!("pass {now} was meant to fail"),
            Fault::Gate(gate) => drop(gate.recv()),
            Fault::Panic => panic!("this pass was meant to panic"),
            _ => {}
        }
        let logits = self.inner.forward(pass)?;
        match self.fault {
            Fault::Nan { pass, row } if pass == now => {
                let factors: Vec<f32> =
                    (0..logits.dim(0)?).map(|at| if at == row { f32::NAN } else { 1.0 }).collect();
                logits.broadcast_mul(&Tensor::new(factors, logits.device())?.unsqueeze(1)?)
            }
            _ => Ok(logits),
        }
    }
}

/// A small engine with the prefix cache on, and perhaps a fault.
pub(crate) fn engine(fault: Option<Fault>) -> Engine {
    let mut engine = Engine::load(&EngineConfig {
        model: ModelSource::Preset { name: "tiny-qwen3".into(), seed: 1 },
        dtype: Dtype::F32,
        kv: "paged-4".parse().unwrap(),
        attention: Choice::Auto,
        prefix_cache: PrefixCache::On,
        kv_tokens: BLOCKS * BLOCK,
        max_step_tokens: 64,
        max_sequences: 4,
        max_sequence_length: Some(BLOCKS * BLOCK),
    })
    .unwrap();
    if let Some(fault) = fault {
        let inner = engine.model;
        engine.model = Box::new(Faulty { inner, fault, passes: Cell::new(0) });
    }
    engine
}

/// `prompt` tokens, all different from those of other values of `text`.
pub(crate) fn request(text: u32, prompt: u32, new: usize) -> Request {
    Request {
        prompt: (0..prompt).map(|at| text * 50 + at).collect(),
        max_tokens: Some(new),
        sampling: Sampling::GREEDY,
        stop: Vec::new(),
        eos: Eos::Ignore,
        truncation: Truncation::Refuse,
        choices: 1,
        prefix_cache: PrefixCache::On,
    }
}

/// The tokens of a request, and why it ended.
fn run(engine: &mut Engine, id: RequestId) -> (Vec<u32>, Finish) {
    let mut tokens = Vec::new();
    loop {
        for event in engine.step().events {
            match event {
                Event::Token { request, token, .. } if request == id => tokens.push(token),
                Event::Finished { request, finish, .. } if request == id => {
                    return (tokens, finish);
                }
                _ => {}
            }
        }
        engine.check_integrity().unwrap();
        assert!(!engine.is_idle(), "{id} never ended");
    }
}

#[test]
fn a_failed_pass_answers_its_sequences_and_the_engine_goes_on() {
    let mut healthy = engine(None);
    let id = healthy.submit(request(1, 9, 4)).unwrap();
    let expected = run(&mut healthy, id);
    for pass in 0..3 {
        let mut engine = engine(Some(Fault::Error { pass }));
        let ids = [0, 1].map(|text| engine.submit(request(text, 9, 4)).unwrap());
        let mut ended = Vec::new();
        while !engine.is_idle() {
            for event in engine.step().events {
                let Event::Finished { request, finish, usage, .. } = event else { continue };
                // A backtrace may follow.
                let expected = format!("tensor operation failed: pass {pass} was meant to fail");
                let Finish::Error(why) = finish else { panic!("{finish:?}") };
                assert!(why.starts_with(&expected), "{why}");
                assert_eq!(usage, Usage { prompt: 9, cached: 0, generated: pass });
                ended.push(request);
            }
            engine.check_integrity().unwrap();
        }
        assert_eq!(ended, ids);
        assert_eq!(engine.stats().blocks_used, 0);
        // What the failed pass was to fill is not found, whatever it had filled before.
        let id = engine.submit(request(1, 9, 4)).unwrap();
        assert_eq!(run(&mut engine, id), expected);
        let found = if pass == 0 { 0 } else { 8 };
        assert_eq!(engine.stats().prefix.tokens, found);
    }
}

#[test]
fn logits_without_numbers_end_one_sequence_and_poison_no_other() {
    let mut healthy = engine(None);
    let id = healthy.submit(request(1, 9, 4)).unwrap();
    let expected = run(&mut healthy, id);
    let mut engine = engine(Some(Fault::Nan { pass: 1, row: 1 }));
    let ids = [0, 1, 2].map(|text| engine.submit(request(text, 9, 4)).unwrap());
    let mut finishes = Vec::new();
    while !engine.is_idle() {
        for event in engine.step().events {
            if let Event::Finished { request, finish, .. } = event {
                finishes.push((request, finish));
            }
        }
        engine.check_integrity().unwrap();
    }
    let failure = Finish::Error("the model produced logits that are not finite".into());
    let [a, b, c] = ids;
    assert_eq!(finishes, [(b, failure), (a, Finish::Length), (c, Finish::Length)]);
    let cached = engine.stats().blocks_cached;
    let id = engine.submit(request(1, 9, 4)).unwrap();
    assert_eq!(run(&mut engine, id), expected);
    assert_eq!(engine.stats().prefix.tokens, 0, "its blocks were found");
    assert!(engine.stats().blocks_cached > cached);
}

#[test]
fn a_whole_block_is_shared_and_what_follows_it_is_not_written_by_two() {
    let mut engine = engine(None);
    for new in [3, 5] {
        engine.submit(request(0, 9, new)).unwrap();
    }
    engine.step();
    let [a, b] = engine.scheduler.running() else { panic!("both run") };
    assert_eq!(a.blocks[..2], b.blocks[..2]);
    assert_ne!(a.blocks[2], b.blocks[2]);
    assert_eq!((engine.stats().blocks_used, engine.stats().prefix.hits), (4, 1));
    engine.check_integrity().unwrap();
}
