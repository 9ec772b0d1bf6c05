//! `windtunnel-history`: what is in the store, and how it developed.

mod table;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use windtunnel_history::frame::{self, Loaded};
use windtunnel_history::series::{self, Known};
use windtunnel_ledger::metric::Metric;

/// Shows how a metric of a case developed over all kept runs.
#[derive(Debug, Parser)]
#[command(name = "windtunnel-history", version)]
struct Args {
    /// Directory with the records of runs, `*.jsonl`, at any depth; several are taken together
    #[arg(long = "store", value_name = "DIR", default_value = "reports")]
    stores: Vec<PathBuf>,

    /// Only cases whose id contains this; `*` stands for anything
    #[arg(long, value_name = "PATTERN")]
    case: Option<String>,

    /// Only this metric
    #[arg(long, value_name = "NAME", value_parser = metric())]
    metric: Option<Metric>,
}

/// All went well.
const DONE: u8 = 0;
/// A usage error, or input that cannot be read.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    let (text, notes, code) = match run(&args) {
        Ok((text, notes)) if notes.is_empty() => (text, notes, DONE),
        Ok((text, notes)) => (text, notes, USAGE),
        Err(error) => (String::new(), vec![format!("error: {error:#}")], USAGE),
    };
    // A reader that has seen enough closes the pipe: that is no failure.
    let _ = std::io::stdout().write_all(shown(&text).as_bytes());
    for note in notes {
        let _ = writeln!(std::io::stderr(), "{}", shown(&note));
    }
    ExitCode::from(code)
}

/// A name from a file must not steer the terminal.
fn shown(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

/// What to show, and what could not be read.
fn run(args: &Args) -> Result<(String, Vec<String>)> {
    let Loaded { frame, files, unread } = frame::load(&args.stores)?;
    let notes: Vec<String> = unread
        .iter()
        .map(|error| format!("error: {error}; its records are not in this table"))
        .collect();
    if files == 0 {
        match notes.is_empty() {
            true => bail!(
                "there is no run in {}\nhint: measure one with `windtunnel run smoke`",
                stores(args)
            ),
            false => return Ok((String::new(), notes)),
        }
    }

    let pattern = args.case.as_deref().unwrap_or_default();
    let known = series::known(&frame, pattern).context("cannot list the cases")?;
    if known.is_empty() {
        bail!("{}", nothing(args, &series::known(&frame, "")?));
    }
    let metrics = match (args.metric, &args.case) {
        (None, None) => return Ok((table::known(&known, files), notes)),
        (Some(metric), _) => vec![metric],
        (None, Some(_)) => Metric::ALL.to_vec(),
    };
    let mut text = String::new();
    for metric in metrics {
        for series in series::series(&frame, pattern, metric)? {
            text += &table::series(&series);
        }
    }
    if let (true, Some(metric)) = (text.is_empty(), args.metric) {
        bail!(
            "no such case has `{metric}`\nhint: {} has {}",
            known[0].case,
            table::names(&known[0])
        );
    }
    Ok((text, notes))
}

/// Why there is no case to show, and what there would be.
fn nothing(args: &Args, all: &[Known]) -> String {
    match (&args.case, all) {
        (Some(pattern), [_, ..]) => {
            let some: Vec<&str> = all.iter().take(10).map(|known| known.case.as_str()).collect();
            let more = if all.len() > some.len() { "\n  …" } else { "" };
            format!("no case contains `{pattern}`\nhint: there are\n  {}{more}", some.join("\n  "))
        }
        _ => format!(
            "no round in {} was measured\nhint: look at the failures with `windtunnel report`",
            stores(args)
        ),
    }
}

fn stores(args: &Args) -> String {
    let names = args.stores.iter().map(|store| format!("`{}`", store.display()));
    names.collect::<Vec<_>>().join(", ")
}

/// Metrics by their names; a wrong one is answered with the nearest and all.
fn metric() -> impl TypedValueParser<Value = Metric> {
    let names = Metric::ALL.map(|metric| metric.spec().name);
    PossibleValuesParser::new(names)
        .try_map(|name| Metric::from_name(&name).ok_or("this metric has no name of its own"))
}
