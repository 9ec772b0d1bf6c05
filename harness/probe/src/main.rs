//! The process that is measured: runs one case on the engine and reports on stdout.
//!
//! It reads one [`Order`] from stdin and answers with [`Message`]s. What goes wrong in the engine is
//! a message too; only what a probe cannot say (a crash, a hang, a kill) is left for the parent to
//! see. With `--until-eof` it exits when its stdin ends, so that it never outlives its parent. With
//! `--roof` it runs no case, but reports the best that the machine can do; with `--roof=cuda:0`, the
//! best that this GPU can do. Built with the feature `faults` it also takes `--fault=WORDS`, and
//! `--faults` lists what can be planted.

use std::io::{BufRead, Read, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Deserialize;
use windtunnel_ledger::roof::PROCESSOR;
use windtunnel_ledger::wire::{Message, PROTOCOL, Phases, Purpose};
use windtunnel_probe::allocations::Counting;
#[cfg(feature = "faults")]
use windtunnel_probe::fault::plant;
use windtunnel_probe::{attribute, measure, process, roof};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<()> {
    for argument in std::env::args().skip(1) {
        match argument.strip_prefix("--roof") {
            Some("") => return tell_roof(PROCESSOR),
            Some(place) => return tell_roof(place.strip_prefix('=').unwrap_or(place)),
            None => (),
        }
        match argument.strip_prefix("--fault") {
            Some("s") => return tell_faults(),
            Some(words) => plant(words.trim_start_matches('='))?,
            None => (),
        }
    }
    let order = read_order()?;
    if std::env::args().skip(1).any(|argument| argument == "--until-eof") {
        exit_at_eof();
    }
    say(&Message::Hello { protocol: PROTOCOL, build: process::build() })?;
    // The asker reads the number above and ends this; what follows might be misunderstood.
    if order.protocol != PROTOCOL {
        return Ok(());
    }
    // Which cases there are may differ though the protocol is the same.
    let case = serde_json::from_value(order.case).context("this probe does not know such a case");
    let mut tell = |message: &Message| match message {
        Message::Phase(_) if order.phases == Phases::Silent => Ok(()),
        message => say(message),
    };
    let last = case.and_then(|case| match order.purpose {
        Purpose::Measure => measure::case(&case, &mut tell),
        Purpose::Attribute => attribute::case(&case, &mut tell),
    });
    say(&last.unwrap_or_else(|error| measure::verdict_on(&error)))
}

/// Measures what this process can get out of `place` at best, and says it in one line of JSON.
fn tell_roof(place: &str) -> Result<()> {
    let line = serde_json::to_string(&roof::measure(place)?).context("cannot write the roof")?;
    writeln!(std::io::stdout(), "{line}").context("cannot write to stdout")
}

/// Says what can be planted, a line of JSON for each fault.
#[cfg(feature = "faults")]
fn tell_faults() -> Result<()> {
    let lines = windtunnel_probe::fault::list();
    std::io::stdout().write_all(lines.as_bytes()).context("cannot write to stdout")
}

#[cfg(not(feature = "faults"))]
fn plant(_: &str) -> Result<()> {
    tell_faults()
}

#[cfg(not(feature = "faults"))]
fn tell_faults() -> Result<()> {
    anyhow::bail!("nothing can be planted in this probe: build it with the feature `faults`")
}

/// An order whose case was not looked at yet.
#[derive(Deserialize)]
struct Asked {
    protocol: u32,
    case: serde_json::Value,
    #[serde(default)]
    purpose: Purpose,
    #[serde(default)]
    phases: Phases,
}

/// Reads an [`Order`](windtunnel_ledger::wire::Order).
fn read_order() -> Result<Asked> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read stdin")?;
    serde_json::from_str(&line).context(
        "stdin does not hold the order of a case: `windtunnel run` starts this program, and its log shows how",
    )
}

/// Ends this process when nobody holds the other end of stdin any more.
fn exit_at_eof() {
    std::thread::spawn(|| {
        // Nothing more is expected; whatever comes is as good as nothing.
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

fn say(message: &Message) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let said = stdout.write_all(message.line().as_bytes()).and_then(|()| stdout.flush());
    said.context("cannot write to stdout")
}

#[expect(clippy::print_stderr, reason = "this is where a probe tells people what went wrong")]
fn complain(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
