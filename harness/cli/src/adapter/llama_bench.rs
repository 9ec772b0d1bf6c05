//! A program that writes what `llama-bench -o json` does: one object per test, with the time of
//! each repetition.
//!
//! It warms up by itself and does not report it: the warm-up iterations of a case are sent without
//! values. It reports no output either, so correctness cannot be checked.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use windtunnel_ledger::Metric;
use windtunnel_ledger::case::Case;
use windtunnel_ledger::record::{Digest, Iteration, IterationKind};
use windtunnel_ledger::timeline::Values;
use windtunnel_ledger::wire::{Message, PROTOCOL};

use super::shape::Shape;
use super::{build, iterations, loaded, say};
use crate::external::LlamaBench;

/// One test: the fields that are used here.
#[derive(Debug, Deserialize)]
struct Test {
    #[serde(default)]
    build_commit: String,
    #[serde(default)]
    model_size: u64,
    n_prompt: u64,
    n_gen: u64,
    #[serde(default)]
    n_depth: u64,
    /// The time of each repetition, in nanoseconds.
    samples_ns: Vec<f64>,
}

/// Runs a case and returns the last message to send.
pub(super) fn case(bench: &LlamaBench, folder: &Path, case: &Case) -> Result<Message> {
    let shape = match Shape::of(case, "llama-bench") {
        Ok(shape) => shape,
        Err(reason) => {
            say(&Message::Hello { protocol: PROTOCOL, build: build("llama-bench", "") })?;
            return Ok(Message::Unsupported { reason });
        }
    };
    let found = shape.run(&bench.command, folder, case).and_then(|text| test(&text, shape, case));
    let commit = found.as_ref().map_or("", |test| &test.build_commit);
    say(&Message::Hello { protocol: PROTOCOL, build: build("llama-bench", commit) })?;
    let test = found?;
    let weights = (test.model_size > 0).then_some((Metric::WeightBytes, test.model_size as f64));
    say(&loaded("llama-bench", weights.into_iter().collect()))?;
    let mut samples = test.samples_ns.iter();
    for (_, kind) in iterations(case) {
        let values = match kind {
            IterationKind::WarmUp => Values::new(),
            IterationKind::Timed => samples.next().map_or_else(Values::new, |ns| shape.values(*ns)),
        };
        let digest = Digest::of_outputs([]);
        say(&Message::Iteration(Iteration { kind, digest, values }))?;
    }
    Ok(Message::End { values: BTreeMap::new() })
}

/// The one test of this shape, with as many repetitions as the case asks for.
fn test(text: &str, shape: Shape, case: &Case) -> Result<Test> {
    let tests: Vec<Test> =
        serde_json::from_str(text).context("this is not what `llama-bench -o json` writes")?;
    let of = |test: &Test| Shape { prompt: test.n_prompt, output: test.n_gen, depth: test.n_depth };
    let shapes: Vec<String> = tests
        .iter()
        .map(|test| format!("-p {} -n {} -d {}", test.n_prompt, test.n_gen, test.n_depth))
        .collect();
    let mut fitting = tests.into_iter().filter(|test| of(test) == shape);
    let Some(test) = fitting.next() else {
        bail!(
            "llama-bench ran no test `-p {} -n {} -d {}`, but: {}; write `-p {{prompt}} -n {{output}} -d {{depth}}` in its command",
            shape.prompt,
            shape.output,
            shape.depth,
            shapes.join(", ")
        );
    };
    let tests = 1 + fitting.count();
    ensure!(
        tests == 1,
        "llama-bench ran {tests} tests of this shape, for instance with several values of `-t`: have its command run one"
    );
    let (found, wanted) = (test.samples_ns.len(), case.iterations.get() as usize);
    ensure!(
        found == wanted,
        "llama-bench measured {found} repetitions instead of {wanted}: write `-r {{iterations}}` in its command"
    );
    ensure!(
        test.samples_ns.iter().all(|ns| ns.is_finite() && *ns > 0.0),
        "llama-bench measured a repetition without time"
    );
    Ok(test)
}
