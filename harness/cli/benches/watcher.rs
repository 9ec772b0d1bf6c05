//! What watching costs: the watcher's own time on processors, as a share of one core, beside a real
//! child with as many threads as an engine has.
//!
//! `cargo bench -p windtunnel --bench watcher -- [ROUNDS]`. Each round is one of the command's own, from
//! its start to its record, where the cost stands that the watching thread read off its own clock. The
//! child works for ten seconds; the watcher looks at it every 40 ms, at its threads and the machine at
//! every eighth look. The most that it may cost is half a per cent: above that this ends with an error.
//! On two cores of a virtual machine (AMD EPYC) it took 0.35 to 0.37 %, of which most is waking up.
//! GPUs cost what their driver takes to answer, which this does not see on a machine without one.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use windtunnel_ledger::store;

const ROUNDS: u32 = 5;
/// Most that it may cost, as a share of one core.
const MOST: f64 = 0.005;

#[expect(clippy::print_stdout, reason = "a bench says what it found")]
#[expect(clippy::disallowed_methods, reason = "it starts the program that it measures")]
fn main() -> Result<()> {
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
    let dir = tempfile::tempdir()?;
    let scenario = format!(
        "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = {rounds}\ndeadline = 60\n\
         matrix = {{ attention = [\"long\"], output = [4] }}\n"
    );
    std::fs::create_dir_all(dir.path().join("scenarios/bench"))?;
    std::fs::write(dir.path().join("scenarios/bench/watcher.toml"), scenario)?;
    let status = Command::new(env!("CARGO_BIN_EXE_windtunnel"))
        .arg("-C")
        .arg(dir.path())
        .args(["--quiet", "run", "bench/watcher", "--wait", "--out", "run.jsonl", "--probe"])
        .arg(env!("CARGO_BIN_EXE_fake-probe"))
        .output()?
        .status;
    ensure!(status.success(), "the run ended with {status}");

    let records = store::read(&dir.path().join("run.jsonl"))?.records;
    let mut shares = Vec::new();
    for record in &records {
        let trace = record.trace.as_ref().context("nobody watched")?;
        let track = trace.process().context("the probe was not watched")?;
        let share = trace.cost_share(record.conditions.wall).context("the round took no time")?;
        println!(
            "round {}: {:.2} ms of {:.1} s, {:.3} % of one core, with a look every {} ms",
            record.round,
            trace.cost.0 as f64 / 1e6,
            record.conditions.wall.seconds(),
            share * 100.0,
            track.interval.0 / 1_000_000
        );
        shares.push(share);
    }
    let worst = shares.iter().copied().fold(0.0, f64::max);
    println!("watching costs at most {:.3} % of one core", worst * 100.0);
    ensure!(worst < MOST, "watching costs more than {} % of one core", MOST * 100.0);
    Ok(())
}
