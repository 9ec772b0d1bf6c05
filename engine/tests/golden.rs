//! The engine against reference outputs of Hugging Face transformers on tiny random models.
//!
//! `tests/golden/<case>` is a model folder with two more files: `golden.safetensors` has inputs and
//! expected outputs, `golden.json` the tolerance of each. Logits are compared at every position,
//! hidden states at four places, and greedy continuations token for token.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;
use windtunnel_engine::attention::backends_for;
use windtunnel_engine::engine::StepObserver;
use windtunnel_engine::pass::{Observer, Place};
use windtunnel_engine::scheduler::Grant;
use windtunnel_engine::{
    Choice, CudaGraphs, Dtype, Engine, EngineConfig, Event, KvLayout, ModelSource, PrefixCache,
    QuantPlan, Request, RequestId, Topology,
};

const LAYOUTS: &[&str] = &["contiguous", "paged-1", "paged-16", "paged-32"];

/// How a case is run.
struct Setup {
    backend: &'static str,
    kv: &'static str,
    dtype: Dtype,
    /// Tokens per step: prompts of 40 are whole or chunked.
    step_tokens: usize,
    company: Company,
}

#[derive(Clone, Copy)]
enum Company {
    /// The prompt has the engine to itself.
    Alone,
    /// Two prompts of other lengths run beside it.
    Mixed,
}

#[test]
fn every_backend_and_layout_gives_the_reference_logits_in_f32() {
    for setup in setups(Dtype::F32) {
        for case in &cases() {
            check(case, &setup, Tolerance::Stated);
        }
    }
}

#[test]
fn half_precision_stays_within_the_reference_error_of_bf16() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        for setup in setups(dtype).filter(|setup| setup.kv == "paged-16") {
            for case in &cases() {
                check(case, &setup, Tolerance::OfBf16);
            }
        }
    }
}

/// Every folder with a model and its expected outputs.
fn cases() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let cases = entries.filter(|entry| entry.path().join("golden.json").exists());
    let mut cases: Vec<_> = cases.map(|case| case.file_name().into_string().unwrap()).collect();
    assert!(!cases.is_empty());
    cases.sort();
    cases
}

fn setups(dtype: Dtype) -> impl Iterator<Item = Setup> {
    let backends = backends_for(&Device::Cpu).map(|backend| backend.name());
    backends.flat_map(move |backend| {
        LAYOUTS.iter().flat_map(move |kv| {
            [(7, Company::Alone), (512, Company::Alone), (7, Company::Mixed), (512, Company::Mixed)]
                .map(|(step_tokens, company)| Setup { backend, kv, dtype, step_tokens, company })
        })
    })
}

#[derive(Clone, Copy)]
enum Tolerance {
    /// `atol` of each tensor; tokens must be equal.
    Stated,
    /// Three times the reference's own error in bf16; logits only.
    OfBf16,
}

fn engine(golden: &Golden, setup: &Setup) -> Engine {
    Engine::load(&EngineConfig {
        model: ModelSource::Folder { path: golden.folder.clone() },
        dtype: setup.dtype,
        quant: QuantPlan::DENSE,
        devices: "cpu:0".parse().unwrap(),
        topology: Topology::NONE,
        kv: setup.kv.parse().unwrap(),
        attention: Choice::Named(setup.backend.into()),
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 3 * 64,
        max_step_tokens: setup.step_tokens,
        max_sequences: 3,
        max_sequence_length: Some(64),
    })
    .unwrap()
}

fn request(prompt: &[u32], max_tokens: usize) -> Request {
    Request::exactly(prompt.to_vec(), max_tokens)
}

fn check(case: &str, setup: &Setup, tolerance: Tolerance) {
    let golden = Golden::read(case);
    let mut engine = engine(&golden, setup);
    let mut submit =
        |prompt: &[u32], max_tokens| engine.submit(request(prompt, max_tokens)).unwrap();
    let prompt = golden.prompt();
    let main = submit(&prompt, 16);
    let company: Vec<_> = match setup.company {
        Company::Alone => Vec::new(),
        Company::Mixed => {
            golden.padded().into_iter().map(|(row, p)| (row, submit(&p, 3))).collect()
        }
    };

    let mut seen = Seen::default();
    let mut tokens = Vec::new();
    while !engine.is_idle() {
        for event in engine.step_observed(&mut seen).events {
            match event {
                Event::Token { request, token, .. } if request == main => tokens.push(token),
                _ => {}
            }
        }
    }

    let name = format!(
        "{case} {} {} {} step={}{}",
        setup.backend,
        setup.kv,
        setup.dtype,
        setup.step_tokens,
        match setup.company {
            Company::Alone => "",
            Company::Mixed => " mixed",
        }
    );
    let compare = |tensor: &str, expected: Vec<Vec<f32>>, request, place, first| {
        let atol = golden.tolerance(tensor, tolerance);
        for (offset, expected) in expected.iter().enumerate() {
            let found = &seen.0[&(request, place)][&(first + offset)];
            assert_eq!(found.len(), expected.len(), "{name}: width of {tensor}");
            for (column, (found, expected)) in found.iter().zip(expected).enumerate() {
                // Phrased so that a NaN fails.
                assert!(
                    (found - expected).abs() <= atol,
                    "{name}: {tensor} at position {}, column {column}: {found} instead of {expected}, allowed {atol:e}",
                    first + offset
                );
            }
        }
    };
    compare("logits", golden.rows("logits", 0), main, Place::Logits, 0);
    for (row, request) in &company {
        let expected = golden.padded_logits(*row);
        compare("pad_right_logits", expected, *request, Place::Logits, 0);
    }
    if let Tolerance::OfBf16 = tolerance {
        return;
    }
    let expected: Vec<u32> = golden.ids("greedy_ids")[0].clone();
    assert_eq!(tokens, expected, "{name}: greedy continuation");
    compare(
        "greedy_logits",
        golden.rows("greedy_logits", 0),
        main,
        Place::Logits,
        prompt.len() - 1,
    );
    for (tensor, place) in [
        ("hidden_embed", Place::Embedding),
        ("hidden_layer0", Place::Layer(0)),
        ("hidden_last", Place::BeforeNorm),
        ("hidden_norm", Place::Norm),
    ] {
        compare(tensor, golden.rows(tensor, 0), main, place, 0);
    }
}

/// The reference data of a case.
struct Golden {
    folder: PathBuf,
    tensors: HashMap<String, Tensor>,
    about: Value,
}

impl Golden {
    fn read(case: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case);
        let tensors =
            candle_core::safetensors::load(folder.join("golden.safetensors"), &Device::Cpu)
                .unwrap();
        let about = std::fs::read_to_string(folder.join("golden.json")).unwrap();
        Self { folder, tensors, about: serde_json::from_str(&about).unwrap() }
    }

    fn tolerance(&self, tensor: &str, tolerance: Tolerance) -> f32 {
        let number =
            |tensor: &str, key| self.about["tensors"][tensor][key].as_f64().unwrap() as f32;
        match tolerance {
            Tolerance::Stated => number(tensor, "atol"),
            Tolerance::OfBf16 => 3.0 * number("logits", "err_bf16_vs_fp64"),
        }
    }

    /// Row `batch` of a tensor `[batch, positions, width]`, a tensor `[positions, width]`, or the
    /// streams of a tensor `[streams, 1, positions, width]` side by side.
    fn rows(&self, tensor: &str, batch: usize) -> Vec<Vec<f32>> {
        let tensor = &self.tensors[tensor];
        let tensor = match tensor.rank() {
            4 => tensor.squeeze(1).unwrap().transpose(0, 1).unwrap().flatten_from(1).unwrap(),
            3 => tensor.get(batch).unwrap(),
            _ => tensor.clone(),
        };
        tensor.to_vec2().unwrap()
    }

    fn ids(&self, tensor: &str) -> Vec<Vec<u32>> {
        let tensor = &self.tensors[tensor];
        let rows = tensor.reshape(((), tensor.dims()[tensor.rank() - 1])).unwrap();
        let rows: Vec<Vec<i64>> = rows.to_vec2().unwrap();
        rows.into_iter().map(|row| row.into_iter().map(|id| id as u32).collect()).collect()
    }

    fn prompt(&self) -> Vec<u32> {
        self.ids("input_ids")[0].clone()
    }

    /// The right-padded batch without its padding, with the row of each prompt.
    fn padded(&self) -> Vec<(usize, Vec<u32>)> {
        let (ids, mask) = (self.ids("pad_right_input_ids"), self.ids("pad_right_attention_mask"));
        let real = |(ids, mask): (Vec<u32>, Vec<u32>)| {
            ids.into_iter().zip(mask).filter(|(_, real)| *real == 1).map(|(id, _)| id).collect()
        };
        ids.into_iter().zip(mask).map(real).enumerate().collect()
    }

    fn padded_logits(&self, row: usize) -> Vec<Vec<f32>> {
        let len = self.padded()[row].1.len();
        self.rows("pad_right_logits", row)[..len].to_vec()
    }
}

/// Everything that was shown, by request, place and position.
#[derive(Default)]
struct Seen(HashMap<(RequestId, Place), BTreeMap<usize, Vec<f32>>>, Vec<(RequestId, usize)>);

impl Observer for Seen {
    fn observe(&mut self, place: Place, x: &Tensor) {
        let rows: Vec<Vec<f32>> = x.to_dtype(candle_core::DType::F32).unwrap().to_vec2().unwrap();
        assert_eq!(rows.len(), self.1.len(), "one row for each packed token");
        for (&(request, position), row) in self.1.iter().zip(rows) {
            self.0.entry((request, place)).or_default().insert(position, row);
        }
    }
}

impl StepObserver for Seen {
    fn rows(&mut self, grants: &[Grant]) {
        let row = |grant: &Grant| {
            grant.tokens.clone().map(|position| (grant.request, position)).collect::<Vec<_>>()
        };
        self.1 = grants.iter().flat_map(row).collect();
    }
}

/// LongRoPE rotates the whole sequence differently once it is longer than the original context.
#[test]
fn a_sequence_that_crosses_the_border_of_longrope_goes_on_like_a_prompt_of_its_length() {
    let golden = Golden::read("phi3_longrope");
    let run = |prompt: &[u32], max_tokens, step_tokens| -> Vec<u32> {
        let setup = Setup {
            backend: "cpu-flash",
            kv: "paged-16",
            dtype: Dtype::F32,
            step_tokens,
            company: Company::Alone,
        };
        let mut engine = engine(&golden, &setup);
        engine.submit(request(prompt, max_tokens)).unwrap();
        let mut tokens = Vec::new();
        while !engine.is_idle() {
            for event in engine.step().events {
                if let Event::Token { token, .. } = event {
                    tokens.push(token);
                }
            }
            engine.check_integrity().unwrap();
        }
        tokens
    };
    // The border is at 32.
    let prompt = &golden.prompt()[..27];
    for step_tokens in [7, 512] {
        let tokens = run(prompt, 12, step_tokens);
        for (new, token) in tokens.iter().enumerate() {
            let known = [prompt, &tokens[..new]].concat();
            assert_eq!(run(&known, 1, 512), [*token], "{} tokens", known.len());
        }
    }
}

#[test]
fn the_layouts_that_are_tested_are_layouts() {
    for layout in LAYOUTS {
        assert_eq!(layout.parse::<KvLayout>().unwrap().to_string(), *layout);
    }
}
