//! The shape of a test that another engine's benchmark runs: one sequence, a prefill or a decode.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use windtunnel_ledger::Metric;
use windtunnel_ledger::case::{Case, Source, Workload};
use windtunnel_ledger::timeline::Values;

use super::{filled, quoted, shell};

/// Tokens of the prompt, tokens to generate, and tokens in the cache beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) prompt: u64,
    pub(super) output: u64,
    pub(super) depth: u64,
}

impl Shape {
    /// The shape of a case, or why `program` cannot run it.
    pub(super) fn of(case: &Case, program: &str) -> Result<Shape, String> {
        match case.workload {
            Workload::Prefill { prompt, batch: 1 } => {
                Ok(Shape { prompt: prompt.0, output: 0, depth: 0 })
            }
            Workload::Decode { depth, output, batch: 1 } => {
                Ok(Shape { prompt: 0, output: output.0, depth: depth.0 })
            }
            Workload::Prefill { .. } | Workload::Decode { .. } => {
                Err(format!("{program} runs one sequence: choose batch = 1"))
            }
            _ => Err(format!(
                "{program} cannot run `{}`: choose prefill or decode",
                case.workload.name()
            )),
        }
    }

    /// Runs the line `command` with this shape filled in, and returns what it writes to stdout.
    pub(super) fn run(self, command: &str, folder: &Path, case: &Case) -> Result<String> {
        let model = match &case.model.source {
            Source::Folder(path) | Source::Gguf(path) => path,
            Source::Preset(_) | Source::Hub(_) | Source::Bench(_) => &case.model.name,
        };
        let words = [
            ("prompt", self.prompt.to_string()),
            ("output", self.output.to_string()),
            ("depth", self.depth.to_string()),
            ("iterations", case.iterations.to_string()),
            ("model", quoted(model)),
        ];
        let line = filled(command, &words);
        let output = shell(&line, folder)
            .stderr(std::process::Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start `{line}`"))?;
        ensure!(output.status.success(), "`{line}` failed ({})", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The values of a test that took `ns` nanoseconds.
    pub(super) fn values(self, ns: f64) -> Values {
        let per_second = |tokens: u64| tokens as f64 * 1e9 / ns;
        match self.output {
            0 => [(Metric::PrefillRate, vec![per_second(self.prompt)])].into_iter().collect(),
            output => [
                (Metric::DecodeRate, vec![per_second(output)]),
                (Metric::TimePerOutputToken, vec![ns / output as f64]),
            ]
            .into_iter()
            .collect(),
        }
    }
}
