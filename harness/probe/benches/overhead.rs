//! The overhead of measuring: the decode rate of the probe's loop divided by that of a bare loop
//! over `Engine::step`, as in `engine/benches/decode.rs`.
//!
//! `cargo bench -p windtunnel-probe --bench overhead -- [PAIRS]`. Both loops run in one process on
//! one engine, alternating within a second, because processes differ from one another by more than
//! the loops do. The result is the median of the ratios of the pairs. `ci/overhead.sh` adds the
//! overhead of the CLI around the probe.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use windtunnel_engine::{Engine, PrefixCache};
use windtunnel_ledger::case::{self, Case, CaseId, KvLayout, Model, Placement, Source, Workload};
use windtunnel_ledger::precision::Enough;
use windtunnel_ledger::{Metric, Nanos, Switch, Tokens, stats};
use windtunnel_probe::clock::Clock;
use windtunnel_probe::drive::request;
use windtunnel_probe::measure;
use windtunnel_probe::traffic::words;
use windtunnel_probe::workload::together;

const PAIRS: u32 = 60;
const DEPTH: usize = 16;
const OUTPUT: usize = 17;

/// The smallest model of the gate, which has the shortest steps.
fn decode() -> Case {
    Case {
        id: CaseId::new("overhead", "qwen2.5-0.5b", &Default::default()),
        workload: Workload::Generate {
            prompt: Tokens(DEPTH as u64),
            output: Tokens(OUTPUT as u64),
            batch: 1,
        },
        model: Model { name: "qwen2.5-0.5b".into(), source: Source::Preset("qwen2.5-0.5b".into()) },
        dtype: case::Dtype::F32,
        quant: case::Quant::None,
        kv: KvLayout::Contiguous,
        placement: Placement::default(),
        attention: "auto".into(),
        step_tokens: Tokens(512),
        prefix_cache: Switch::Off,
        cuda_graphs: Switch::On,
        kv_share: NonZeroU32::new(100).expect("100 is not 0"),
        warmup: 0,
        iterations: NonZeroU32::MIN,
        enough: Enough::Counted,
        seed: 1,
        deadline: Nanos(0),
    }
}

/// Nanoseconds per token, with only two clock reads around each step.
fn bare(engine: &mut Engine, case: &Case, index: u32) -> Result<f64> {
    let prompt = words(case.seed, index, 0, DEPTH, engine.vocabulary());
    engine.submit(request(prompt, OUTPUT, PrefixCache::Off))?;
    engine.step();
    let (mut time, mut steps) = (Duration::ZERO, 0);
    while !engine.is_idle() {
        let start = Instant::now();
        std::hint::black_box(engine.step());
        time += start.elapsed();
        steps += 1;
    }
    Ok(time.as_nanos() as f64 / f64::from(steps))
}

/// Nanoseconds per token, as the probe measures it.
fn probed(engine: &mut Engine, case: &Case, index: u32, clock: &Clock) -> Result<f64> {
    let (_, values) = together::iteration(engine, case, index, clock)?;
    values[&Metric::TimePerOutputToken].first().copied().context("no time per output token")
}

#[expect(clippy::print_stdout, reason = "a bench prints its result")]
fn main() -> Result<()> {
    let pairs = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(PAIRS);
    let case = decode();
    let mut engine = Engine::load(&measure::config(&case, None)?)?;
    let clock = Clock::start();
    bare(&mut engine, &case, 0)?;
    let (mut bares, mut ratios) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        // The order alternates.
        let (bare, probed) = if pair % 2 == 0 {
            let bare = bare(&mut engine, &case, 2 * pair + 1)?;
            (bare, probed(&mut engine, &case, 2 * pair + 2, &clock)?)
        } else {
            let probed = probed(&mut engine, &case, 2 * pair + 1, &clock)?;
            (bare(&mut engine, &case, 2 * pair + 2)?, probed)
        };
        bares.push(bare);
        ratios.push(bare / probed);
    }
    let place = |level| stats::percentile(&ratios, level).unwrap_or(f64::NAN);
    let median = stats::median(&ratios).unwrap_or(f64::NAN);
    println!(
        "{pairs} pairs, a bare step {:.2} ms: rate of the probe's loop over the bare one {median:.4} \
         (half of the pairs from {:.4} to {:.4})",
        stats::median(&bares).unwrap_or(f64::NAN) / 1e6,
        place(0.25),
        place(0.75),
    );
    Ok(())
}
