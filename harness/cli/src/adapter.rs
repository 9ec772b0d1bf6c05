//! Stands in for the probe of an external subject that speaks another protocol: reads an order, has
//! the subject run the case, and reports what a probe would report.
//!
//! It is a separate process, started like a probe, so that everything the subject does is watched,
//! timed and ended as a probe's work is.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::{Signal, kill_current_process_group};
use windtunnel_ledger::Metric;
use windtunnel_ledger::case::Case;
use windtunnel_ledger::environment::Build;
use windtunnel_ledger::precision::Enough;
use windtunnel_ledger::record::IterationKind;
use windtunnel_ledger::wire::{Message, Order, PROTOCOL, Purpose};

use crate::args::AdaptArgs;
use crate::external::Adapted;
use crate::{exit, show};

mod criterion;
mod llama_bench;
mod mistralrs_bench;
mod openai;
mod server;
mod shape;

/// Runs one case.
pub(crate) fn adapt(args: &AdaptArgs) -> Result<u8> {
    // Only probes measure what the machine can do at best.
    if args.roof {
        return Ok(exit::USAGE);
    }
    let adapted: Adapted =
        serde_json::from_str(&args.told).context("this is not an external subject")?;
    if let Some(target) = &args.benchmarks {
        let Adapted::Criterion(criterion) = &adapted else { return Ok(exit::USAGE) };
        if args.until_eof {
            end_at_eof();
        }
        let names = criterion::benchmarks(criterion, &args.folder, target)?;
        show::result(&names.iter().map(|name| format!("{name}\n")).collect::<String>())?;
        return Ok(exit::PASS);
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read stdin")?;
    let order: Order = serde_json::from_str(&line).context("stdin does not hold an order")?;
    if args.until_eof {
        end_at_eof();
    }
    let protocol = match &adapted {
        Adapted::Openai(_) => "openai",
        Adapted::LlamaBench(_) => "llama-bench",
        Adapted::MistralRsBench(_) => mistralrs_bench::NAME,
        Adapted::Criterion(_) => "criterion",
    };
    let Order { case, purpose, .. } = order;
    let last = match (purpose, &adapted) {
        _ if case.enough != Enough::Counted => {
            say(&Message::Hello { protocol: PROTOCOL, build: build(protocol, "") })?;
            let reason =
                "an external subject repeats as often as it is told: leave out `[precision]`";
            Ok(Message::Unsupported { reason: reason.to_owned() })
        }
        (Purpose::Attribute, _) => {
            say(&Message::Hello { protocol: PROTOCOL, build: build(protocol, "") })?;
            let reason =
                "an external subject does not report where its time goes: leave out `--attribute`";
            Ok(Message::Unsupported { reason: reason.to_owned() })
        }
        (Purpose::Measure, Adapted::Openai(openai)) => {
            say(&Message::Hello { protocol: PROTOCOL, build: build(protocol, "") })?;
            openai::case(openai, &args.folder, &case)
        }
        (Purpose::Measure, Adapted::LlamaBench(bench)) => {
            llama_bench::case(bench, &args.folder, &case)
        }
        (Purpose::Measure, Adapted::MistralRsBench(bench)) => {
            mistralrs_bench::case(bench, &args.folder, &case)
        }
        (Purpose::Measure, Adapted::Criterion(criterion)) => {
            say(&Message::Hello { protocol: PROTOCOL, build: build(protocol, "") })?;
            criterion::case(criterion, &args.folder, &case)
        }
    };
    say(&last.unwrap_or_else(|error| Message::Failed { error: format!("{error:#}") }))?;
    Ok(exit::PASS)
}

/// Build information about the subject, most of which is unknown.
fn build(protocol: &str, engine: &str) -> Build {
    Build {
        engine: engine.to_owned(),
        profile: Build::EXTERNAL.to_owned(),
        target: protocol.to_owned(),
        ..Build::default()
    }
}

/// The message that the subject is ready; most of its fields are unknown.
fn loaded(protocol: &str, values: BTreeMap<Metric, f64>) -> Message {
    Message::Loaded {
        declined: Default::default(),
        attention: protocol.to_owned(),
        holdings: Vec::new(),
        dtype: None,
        formats: Vec::new(),
        prompts: None,
        values,
    }
}

fn say(message: &Message) -> Result<()> {
    show::result(&message.line())
}

/// Kills this process and everything it started when stdin closes, because then nobody is waiting.
fn end_at_eof() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        let _ = kill_current_process_group(Signal::KILL);
    });
}

/// The iterations of a case, in order.
fn iterations(case: &Case) -> impl Iterator<Item = (u32, IterationKind)> {
    let warmup = case.warmup;
    let all = 0..warmup.saturating_add(case.iterations.get());
    all.map(move |i| (i, if i < warmup { IterationKind::WarmUp } else { IterationKind::Timed }))
}

/// A shell command line with its `{word}` placeholders replaced.
fn filled(line: &str, words: &[(&str, String)]) -> String {
    words
        .iter()
        .fold(line.to_owned(), |line, (name, value)| line.replace(&format!("{{{name}}}"), value))
}

/// A path, quoted as one shell word.
fn quoted(path: &str) -> String {
    shlex::try_quote(path).map_or_else(|_| path.to_owned(), std::borrow::Cow::into_owned)
}

/// A process that runs a shell command line in `dir`.
#[expect(clippy::disallowed_methods, reason = "external subjects are started by their adapters")]
fn shell(line: &str, dir: &Path) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(line).current_dir(dir).stdin(std::process::Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_between_braces_are_filled_in_wherever_they_stand() {
        let words = [("port", "80".to_owned()), ("model", quoted("a b"))];
        assert_eq!(filled("serve -p {port} {model} {port}{x}", &words), "serve -p 80 'a b' 80{x}");
    }
}
