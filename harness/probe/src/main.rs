//! The process that is measured: runs one case on the engine and reports on stdout.
//!
//! It reads one [`Order`] from stdin and answers with [`Message`]s. Engine errors are messages too;
//! only what a probe cannot report (a crash, a hang, a kill) is left for the parent to detect. With
//! `--until-eof` it exits when its stdin ends, so that it never outlives its parent. With `--roof`
//! it runs no case but reports the best that the machine can do; with `--roof=cuda:0`, the best
//! that this GPU can do. Built with the feature `faults` it also takes `--fault=WORDS`, and
//! `--faults` lists the faults that can be planted. Any other argument is an error: a misspelt one
//! would measure something else than was meant.

use std::io::{BufRead, Read, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use windtunnel_ledger::roof::PROCESSOR;
use windtunnel_ledger::wire::{Message, Order, PROTOCOL, Phases, Purpose};
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
    let mut until_eof = false;
    for argument in std::env::args().skip(1) {
        let (name, value) = argument.split_once('=').unwrap_or((argument.as_str(), ""));
        match name {
            "--until-eof" => until_eof = true,
            "--roof" if value.is_empty() => return tell_roof(PROCESSOR),
            "--roof" => return tell_roof(value),
            "--fault" => plant(value)?,
            "--faults" => return tell_faults(),
            _ => bail!(
                "`{argument}` is not an argument of this program: `windtunnel run` starts it, and its log shows how; `--roof` or `--roof=cuda:0` tells what this machine can do at best"
            ),
        }
    }
    let (protocol, order) = read_order()?;
    if until_eof {
        exit_at_eof();
    }
    say(&Message::Hello { protocol: PROTOCOL, build: process::build() })?;
    // The parent reads the protocol number above and ends this process; it might misread the rest.
    if protocol != PROTOCOL {
        return Ok(());
    }
    // Parsed only now: the same protocol does not imply the same cases and purposes.
    let order = serde_json::from_value::<Order>(order);
    let last = order.context("this probe does not know such an order").and_then(answer);
    say(&last.unwrap_or_else(|error| measure::verdict_on(&error)))
}

/// Does what `order` asks for, and returns the last message.
fn answer(order: Order) -> Result<Message> {
    let Order { protocol: _, case, purpose, phases } = order;
    let mut tell = |message: &Message| match message {
        Message::Phase(_) if phases == Phases::Silent => Ok(()),
        message => say(message),
    };
    match purpose {
        Purpose::Measure => measure::case(&case, &mut tell),
        Purpose::Attribute => attribute::case(&case, &mut tell),
    }
}

/// Measures the best that this process can get out of the device `place`, and prints it as one line
/// of JSON.
fn tell_roof(place: &str) -> Result<()> {
    let line = serde_json::to_string(&roof::measure(place)?).context("cannot write the roof")?;
    writeln!(std::io::stdout(), "{line}").context("cannot write to stdout")
}

/// Prints the faults that can be planted, one line of JSON each.
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
    bail!("nothing can be planted in this probe: build it with the feature `faults`")
}

/// What an order has in every protocol.
#[derive(Deserialize)]
struct Asked {
    protocol: u32,
}

/// Reads an [`Order`]: the number of its protocol, and all of it, not parsed yet.
fn read_order() -> Result<(u32, Value)> {
    const NONE: &str = "stdin does not hold an order to run a case: `windtunnel run` starts this program, and its log shows how";
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read stdin")?;
    let order: Value = serde_json::from_str(&line).context(NONE)?;
    let Asked { protocol } = Asked::deserialize(&order).context(NONE)?;
    Ok((protocol, order))
}

/// Ends this process when the other end of stdin is closed.
fn exit_at_eof() {
    std::thread::spawn(|| {
        // Nothing more is expected; further input is ignored.
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
