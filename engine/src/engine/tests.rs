//! The engine with a model that fails on demand and computes real tensors until then.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{Result as TensorResult, Tensor, bail};

use super::*;
use crate::config::{Choice, Dtype, ModelSource};
use crate::placement::{Topology, Widths};
use crate::quant::QuantPlan;
use crate::request::{Eos, Finish, Truncation, Usage};
use crate::sampler::Sampling;

pub(crate) const BLOCK: usize = 4;
pub(crate) const BLOCKS: usize = 16;

/// What goes wrong; passes are counted from 0.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The pass fails as a whole.
    Error { pass: usize },
    /// A device runs out of memory, and its driver says so.
    OutOfMemory { pass: usize },
    /// These rows of logits are NaN.
    Nan { pass: usize, rows: Range<usize> },
    /// Every pass waits for a message, and continues without one once all senders are gone.
    Gate(std::sync::mpsc::Receiver<()>),
    /// The first pass panics.
    Panic,
}

/// A model that delegates to another one until its fault occurs.
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

    fn widths(&self) -> Widths {
        self.inner.widths()
    }

    fn forward(&self, pass: &mut Pass<'_>) -> TensorResult<Tensor> {
        let now = self.passes.replace(self.passes.get() + 1);
        match &self.fault {
            Fault::Error { pass } if *pass == now => bail!("pass {now} was meant to fail"),
            Fault::OutOfMemory { pass } if *pass == now => {
                let complaint = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
                return Err(candle_core::Error::Cuda(complaint.into()));
            }
            Fault::Gate(gate) => drop(gate.recv()),
            Fault::Panic => panic!("this pass was meant to panic"),
            _ => {}
        }
        let logits = self.inner.forward(pass)?;
        match &self.fault {
            Fault::Nan { pass, rows } if *pass == now => {
                let factor = |at| if rows.contains(&at) { f32::NAN } else { 1.0 };
                let factors: Vec<f32> = (0..logits.dim(0)?).map(factor).collect();
                logits.broadcast_mul(&Tensor::new(factors, logits.device())?.unsqueeze(1)?)
            }
            _ => Ok(logits),
        }
    }
}

/// A small engine with the prefix cache on, and perhaps a fault.
pub(crate) fn engine(fault: Option<Fault>) -> Engine {
    engine_of(64, fault)
}

/// As [`engine`], with at most `step_tokens` tokens per step.
fn engine_of(step_tokens: usize, fault: Option<Fault>) -> Engine {
    let mut engine = Engine::load(&EngineConfig {
        model: ModelSource::Preset { name: "tiny-qwen3".into(), seed: 1 },
        dtype: Dtype::F32,
        quant: QuantPlan::DENSE,
        devices: "cpu:0".parse().unwrap(),
        topology: Topology::NONE,
        kv: "paged-4".parse().unwrap(),
        attention: Choice::Auto,
        prefix_cache: PrefixCache::On,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: BLOCKS * BLOCK,
        max_step_tokens: step_tokens,
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

/// A request with `prompt` tokens that all differ from those of other values of `text`.
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

/// What was reported for each choice of each request: its tokens, and why it ended.
#[derive(Debug, Default)]
struct Told(BTreeMap<(RequestId, usize), (Vec<u32>, Option<Finish>)>);

impl Told {
    fn add(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            match event {
                Event::Token { request, choice, token, .. } => {
                    self.0.entry((request, choice)).or_default().0.push(token);
                }
                Event::Finished { request, choice, finish, .. } => {
                    let end = &mut self.0.entry((request, choice)).or_default().1;
                    assert_eq!(*end, None, "{request} ended twice");
                    *end = Some(finish);
                }
                Event::Queued { .. } | Event::PromptDone { .. } => {}
            }
        }
    }

    fn step(&mut self, engine: &mut Engine) {
        self.add(engine.step().events);
        engine.check_integrity().unwrap();
    }

    fn run(&mut self, engine: &mut Engine) {
        while !engine.is_idle() {
            self.step(engine);
        }
        assert_eq!(engine.stats().blocks_used, 0);
    }
}

#[test]
fn a_whole_block_is_shared_and_what_follows_it_is_not_written_by_two() {
    let mut engine = engine(None);
    for new in [3, 5] {
        engine.submit(request(0, 9, new)).unwrap();
    }
    engine.step();
    let [a, b] = engine.scheduler.running() else { panic!("both run") };
    let [a, b] = [a, b].map(|sequence| &sequence.held[0].blocks);
    assert_eq!(a[..2], b[..2]);
    assert_ne!(a[2], b[2]);
    assert_eq!((engine.stats().blocks_used, engine.stats().prefix.hits), (4, 1));
    engine.check_integrity().unwrap();
}

#[test]
fn a_cancelled_choice_gives_its_blocks_back_and_the_others_go_on() {
    let sampling = Sampling { temperature: 1.0, seed: 9, ..Sampling::GREEDY };
    let asked = Request { choices: 3, sampling, ..request(0, 9, 12) };
    let [mut undisturbed, mut engine] = [engine(None), engine(None)];
    let [mut expected, mut told] = [Told::default(), Told::default()];
    undisturbed.submit(asked.clone()).unwrap();
    expected.run(&mut undisturbed);
    let id = engine.submit(asked).unwrap();
    told.step(&mut engine);
    let used = engine.stats().blocks_used;
    told.add(engine.cancel_choice(id, 1));
    // Only its last block: those of the prompt are shared with the others.
    assert_eq!(engine.stats().blocks_used, used - 1);
    assert_eq!((engine.cancel_choice(id, 1), engine.cancel_choice(id, 3)), (None, None));
    told.run(&mut engine);
    let cancelled = expected.0.get_mut(&(id, 1)).unwrap();
    *cancelled = (cancelled.0[..1].into(), Some(Finish::Cancelled));
    assert_eq!(told.0, expected.0);
    assert_eq!(engine.stats().finished, 3);
}

mod faults;
mod property;
