//! A program that writes what `llama-bench -o json` does: one object for each test, with the time of
//! each repetition.
//!
//! It warms up by itself, and tells nothing of that: the warm-up iterations of a case are told
//! without values. It tells no output either, so that nothing can be said of whether it is right.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use windtunnel_ledger::Metric;
use windtunnel_ledger::case::{Case, Source, Workload};
use windtunnel_ledger::record::{Digest, Iteration, IterationKind};
use windtunnel_ledger::timeline::Values;
use windtunnel_ledger::wire::{Message, PROTOCOL};

use super::{build, filled, iterations, quoted, say, shell};
use crate::external::LlamaBench;

/// One test, as far as it matters here.
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

/// What a case asks for: tokens of the prompt, to generate, and in the cache before.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Asked {
    prompt: u64,
    output: u64,
    depth: u64,
}

/// Runs a case, and returns the last thing to say.
pub(super) fn case(bench: &LlamaBench, folder: &Path, case: &Case) -> Result<Message> {
    let asked = match asked(case) {
        Ok(asked) => asked,
        Err(reason) => {
            say(&Message::Hello { protocol: PROTOCOL, build: build("llama-bench", "") })?;
            return Ok(Message::Unsupported { reason });
        }
    };
    let found = run(bench, folder, case, asked).and_then(|text| test(&text, asked, case));
    let commit = found.as_ref().map_or("", |test| &test.build_commit);
    say(&Message::Hello { protocol: PROTOCOL, build: build("llama-bench", commit) })?;
    let test = found?;
    let weights = (test.model_size > 0).then_some((Metric::WeightBytes, test.model_size as f64));
    say(&Message::Loaded {
        declined: Default::default(),
        attention: "llama-bench".to_owned(),
        holdings: Vec::new(),
        dtype: None,
        formats: Vec::new(),
        prompts: None,
        values: weights.into_iter().collect(),
    })?;
    let mut samples = test.samples_ns.iter();
    for (_, kind) in iterations(case) {
        let values = match kind {
            IterationKind::WarmUp => Values::new(),
            IterationKind::Timed => {
                samples.next().map_or_else(Values::new, |ns| values(asked, *ns))
            }
        };
        let digest = Digest::of_outputs([]);
        say(&Message::Iteration(Iteration { kind, digest, values }))?;
    }
    Ok(Message::End { values: BTreeMap::new() })
}

/// What a case asks for; why that cannot be asked of this program.
fn asked(case: &Case) -> Result<Asked, String> {
    match case.workload {
        Workload::Prefill { prompt, batch: 1 } => {
            Ok(Asked { prompt: prompt.0, output: 0, depth: 0 })
        }
        Workload::Decode { depth, output, batch: 1 } => {
            Ok(Asked { prompt: 0, output: output.0, depth: depth.0 })
        }
        Workload::Prefill { .. } | Workload::Decode { .. } => {
            Err("llama-bench runs one sequence: choose batch = 1".to_owned())
        }
        _ => {
            Err(format!("llama-bench does no `{}`: choose prefill or decode", case.workload.name()))
        }
    }
}

/// What the program writes.
fn run(bench: &LlamaBench, folder: &Path, case: &Case, asked: Asked) -> Result<String> {
    let model = match &case.model.source {
        Source::Folder(path) | Source::Gguf(path) => path,
        Source::Preset(_) | Source::Hub(_) | Source::Bench(_) => &case.model.name,
    };
    let words = [
        ("prompt", asked.prompt.to_string()),
        ("output", asked.output.to_string()),
        ("depth", asked.depth.to_string()),
        ("iterations", case.iterations.to_string()),
        ("model", quoted(model)),
    ];
    let line = filled(&bench.command, &words);
    let output = shell(&line, folder)
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    ensure!(output.status.success(), "`{line}` failed ({})", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The test of this shape, with as many repetitions as the case asks for.
fn test(text: &str, asked: Asked, case: &Case) -> Result<Test> {
    let tests: Vec<Test> =
        serde_json::from_str(text).context("this is not what `llama-bench -o json` writes")?;
    let of = |test: &Test| Asked { prompt: test.n_prompt, output: test.n_gen, depth: test.n_depth };
    let shapes: Vec<String> = tests
        .iter()
        .map(|test| format!("-p {} -n {} -d {}", test.n_prompt, test.n_gen, test.n_depth))
        .collect();
    let Some(test) = tests.into_iter().find(|test| of(test) == asked) else {
        bail!(
            "llama-bench ran no test `-p {} -n {} -d {}`, but: {}; write `-p {{prompt}} -n {{output}} -d {{depth}}` in its command",
            asked.prompt,
            asked.output,
            asked.depth,
            shapes.join(", ")
        );
    };
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

/// What a repetition that took so many nanoseconds gives.
fn values(asked: Asked, ns: f64) -> Values {
    let per_second = |tokens: u64| tokens as f64 * 1e9 / ns;
    match asked.output {
        0 => [(Metric::PrefillRate, vec![per_second(asked.prompt)])].into_iter().collect(),
        output => [
            (Metric::DecodeRate, vec![per_second(output)]),
            (Metric::TimePerOutputToken, vec![ns / output as f64]),
        ]
        .into_iter()
        .collect(),
    }
}
