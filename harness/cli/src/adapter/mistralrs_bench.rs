//! A program that writes the table of `mistralrs-bench`, or of its successor `mistralrs bench`: one
//! row per test, with the mean of its repetitions.
//!
//! A round has nothing but that mean: it becomes the value of the first timed iteration, and the
//! others are sent without values. The program warms up by itself and reports no output, so
//! correctness cannot be checked.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use windtunnel_ledger::case::Case;
use windtunnel_ledger::record::{Digest, Iteration, IterationKind};
use windtunnel_ledger::timeline::Values;
use windtunnel_ledger::wire::{Message, PROTOCOL};

use super::shape::Shape;
use super::{build, iterations, loaded, say};
use crate::external::MistralRsBench;

/// The name of the protocol.
pub(super) const NAME: &str = "mistralrs-bench";

/// Runs a case and returns the last message to send.
pub(super) fn case(bench: &MistralRsBench, folder: &Path, case: &Case) -> Result<Message> {
    say(&Message::Hello { protocol: PROTOCOL, build: build(NAME, "") })?;
    let shape = match Shape::of(case, NAME) {
        Ok(shape) => shape,
        Err(reason) => return Ok(Message::Unsupported { reason }),
    };
    let text = shape.run(&bench.command, folder, case)?;
    let mut mean = Some(test(&text, shape)?);
    say(&loaded(NAME, BTreeMap::new()))?;
    for (_, kind) in iterations(case) {
        let mean = if kind == IterationKind::WarmUp { None } else { mean.take() };
        let values = mean.map_or_else(Values::new, |ns| shape.values(ns));
        say(&Message::Iteration(Iteration { kind, digest: Digest::of_outputs([]), values }))?;
    }
    Ok(Message::End { values: BTreeMap::new() })
}

/// How many nanoseconds the test of this shape took, from its mean rate.
fn test(text: &str, shape: Shape) -> Result<f64> {
    let text = console::strip_ansi_codes(text);
    let mut rows = text.lines().filter_map(cells);
    let column = |header: &[&str], name: &str| {
        header.iter().position(|cell| cell.eq_ignore_ascii_case(name))
    };
    let columns = rows.by_ref().find_map(|header| {
        let concurrency = column(&header, "concurrency");
        Some((column(&header, "test")?, column(&header, "t/s")?, concurrency))
    });
    let Some((name, rate, concurrency)) = columns else {
        bail!("this is not a table of `{NAME}`: it has no columns `test` and `t/s`");
    };
    let mut others = Vec::new();
    for row in rows {
        let (Some(name), Some(rate)) = (row.get(name), row.get(rate)) else { continue };
        let at_once = concurrency.and_then(|column| row.get(column)).copied().unwrap_or("1");
        if shape_of(name) != Some(shape) || at_once != "1" {
            let of = if at_once == "1" { String::new() } else { format!(" of {at_once} at once") };
            others.push(format!("{name}{of}"));
            continue;
        }
        // `43.617±0.012`: the mean, and how much single requests deviate from it.
        let mean = rate.split('±').next().unwrap_or_default().trim();
        let mean: f64 = mean.parse().with_context(|| format!("`{rate}` is not a rate"))?;
        ensure!(mean.is_finite() && mean > 0.0, "`{name}` has the rate `{rate}`");
        let tokens = shape.prompt.max(shape.output) as f64;
        return Ok(tokens * 1e9 / mean);
    }
    let Shape { prompt, output, depth } = shape;
    let wanted = match output {
        0 => format!("a prompt of {prompt} tokens"),
        _ => format!("{output} tokens behind {depth} others"),
    };
    bail!(
        "{NAME} ran no test of {wanted}, but {}; it takes `{{prompt}}`, `{{output}}` and, since it is `mistralrs bench`, `{{depth}}`; before, it decoded behind one token",
        if others.is_empty() { "none at all".to_owned() } else { others.join(", ") }
    )
}

/// The cells of a line, if it is a table row.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix(['|', '│'])?.strip_suffix(['|', '│'])?;
    Some(inner.split(['|', '│', '┆']).map(str::trim).collect())
}

/// The shape of the test `pp 512`, `tg 128`, `Prefill (512 tokens)`, `TTFT (512 input tokens)`
/// (0.9.1 and later) or `Decode (128 tokens @ d4)`. A decode without a depth runs behind one token.
fn shape_of(test: &str) -> Option<Shape> {
    let words = test.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    match words[..] {
        ["pp", prompt] | ["Prefill", prompt, "tokens"] | ["TTFT", prompt, "input", "tokens"] => {
            Some(Shape { prompt: prompt.parse().ok()?, output: 0, depth: 0 })
        }
        ["tg", output] => Some(Shape { prompt: 0, output: output.parse().ok()?, depth: 1 }),
        ["Decode", output, "tokens", depth] => Some(Shape {
            prompt: 0,
            output: output.parse().ok()?,
            depth: depth.strip_prefix('d')?.parse().ok()?,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "\
        +-------+---------+--------+----------------+----------------+-------------+--------------+\n\
        \u{1b}[1m| model | backend | test   | t/s            | ms/t           | concurrency | throughput/s |\u{1b}[0m\n\
        +-------+---------+--------+----------------+----------------+-------------+--------------+\n\
        | m     | CPU     | tg 128 |   50.000±0.012 |   20.000±0.004 |           1 |           50 |\n\
        +-------+---------+--------+----------------+----------------+-------------+--------------+\n\
        | m     | CPU     | pp 512 | 2048.000±9.001 |    0.488±0.000 |           1 |         2048 |\n";
    const NEW: &str = "Benchmark Results\n=================\n\nModel: m\n\
        ┌──────────────────────────┬─────────────┬──────────────────────┐\n\
        │ Test                     ┆ T/s         ┆ Latency              │\n\
        ╞══════════════════════════╪═════════════╪══════════════════════╡\n\
        │ Prefill (512 tokens)     ┆ 1024.0 ± 3.1 ┆ 500.00 ms (prefill) │\n\
        ├╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┼╌╌╌╌╌╌╌╌╌╌╌╌╌┼╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┤\n\
        │ Decode (128 tokens @ d4) ┆ 64.0 ± 0.5  ┆ 15.63 ms/T           │\n";

    #[test]
    fn the_mean_of_the_test_that_was_asked_for_is_taken_from_the_old_table_and_the_new() {
        let prompt = Shape { prompt: 512, output: 0, depth: 0 };
        let behind = |depth| Shape { prompt: 0, output: 128, depth };
        assert_eq!(test(OLD, prompt).unwrap(), 0.25e9);
        assert_eq!(test(OLD, behind(1)).unwrap(), 2.56e9);
        assert_eq!(test(NEW, prompt).unwrap(), 0.5e9);
        assert_eq!(test(NEW, behind(4)).unwrap(), 2e9);
        let error = test(NEW, behind(128)).unwrap_err().to_string();
        let told = "ran no test of 128 tokens behind 128 others, but Prefill (512 tokens), Decode";
        assert!(error.contains(told), "{error}");
        let newest = NEW.replace("Prefill (512 tokens)    ", "TTFT (512 input tokens)");
        assert_eq!(test(&newest, prompt).unwrap(), 0.5e9);
        let several = OLD.replace("|           1 |", "|           4 |");
        let error = test(&several, prompt).unwrap_err().to_string();
        assert!(error.contains("but tg 128 of 4 at once, pp 512 of 4 at once;"), "{error}");
        let none = OLD.lines().take(3).collect::<Vec<_>>().join("\n");
        let error = test(&none, prompt).unwrap_err().to_string();
        assert!(error.contains("but none at all;"), "{error}");
        for broken in ["", "nothing", "| a | b |", "| test | t/s |\n| pp 512 | x |"] {
            assert!(test(broken, prompt).is_err(), "{broken}");
        }
    }
}
