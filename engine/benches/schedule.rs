//! The cost of a step before and after the model: blocks of the cache, and scheduling.
//!
//! `cargo bench -p windtunnel-engine --bench schedule`. No tensor is touched. `blocks` takes and
//! releases the blocks of a prompt, or finds those that others left; `scheduler/decode` is a step
//! in which every sequence decodes, and `admit` one that admits as many, with or without a known
//! prompt.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use windtunnel_engine::blocks::{BlockPool, Capacity, PoolSize, Pools, Reach, Stride};
use windtunnel_engine::sampler::{Drawn, Sampler};
use windtunnel_engine::scheduler::{Limits, Schedule, Scheduler};
use windtunnel_engine::sequence::Sequence;
use windtunnel_engine::{PrefixCache, RequestId, Sampling};

/// Tokens per block.
const BLOCK: usize = 16;
/// Tokens per prompt.
const PROMPT: usize = 512;
/// Tokens of the longest sequence.
const LENGTH: usize = 4096;
/// Prompts whose blocks are still in the cache.
const KNOWN: u32 = 64;

fn capacity(sequences: usize, step_tokens: usize) -> Capacity {
    let blocks = sequences * LENGTH.div_ceil(BLOCK);
    Capacity {
        block: BLOCK,
        step_tokens,
        pools: vec![PoolSize { reach: Reach::Everything, blocks }],
    }
}

/// A prompt that shares nothing with those of other salts.
fn prompt(salt: u32) -> Vec<u32> {
    (0..PROMPT as u32).map(|at| (at * 13 + salt * 7919) % 151_936).collect()
}

fn short(group: &mut BenchmarkGroup<'_, WallTime>) {
    group.sample_size(20).warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_millis(600));
}

fn blocks(c: &mut Criterion) {
    let mut group = c.benchmark_group("blocks");
    short(&mut group);
    let count = PROMPT / BLOCK;
    group.throughput(Throughput::Elements(count as u64));
    let size = PoolSize { reach: Reach::Everything, blocks: 16 * count };
    let mut pool = BlockPool::new(size, BLOCK);
    group.bench_function("take and release", |b| {
        let mut held = Vec::with_capacity(count);
        b.iter(|| {
            black_box(pool.take(count, &mut held));
            pool.release(held.drain(..));
        });
    });

    // Full of known blocks, so that each one taken must be evicted first.
    let mut pools = Pools::new(capacity(2, PROMPT));
    let total = pools.total() / count;
    let mut salts = 0..;
    let mut fill = |pools: &mut Pools| {
        let tokens = prompt(salts.next().unwrap_or_default());
        let (mut names, mut held) = (Vec::new(), pools.nothing());
        pools.name(&tokens, count, &mut names);
        pools.take(&mut held, Stride { known: PROMPT, computed: PROMPT });
        (0..count).for_each(|at| pools.publish(&held, at, &tokens, &names));
        pools.release(&mut held);
    };
    (0..total).for_each(|_| fill(&mut pools));
    group.bench_function("evict and publish", |b| b.iter(|| fill(&mut pools)));

    let mut pools = Pools::new(capacity(KNOWN as usize, PROMPT));
    let known: Vec<Vec<u32>> = (0..KNOWN).map(prompt).collect();
    for tokens in &known {
        let (mut names, mut held) = (Vec::new(), pools.nothing());
        pools.name(tokens, count, &mut names);
        pools.take(&mut held, Stride { known: PROMPT, computed: PROMPT });
        (0..count).for_each(|at| pools.publish(&held, at, tokens, &names));
        pools.release(&mut held);
    }
    let unknown = prompt(KNOWN);
    for (name, tokens) in [("find known", &known[KNOWN as usize / 2]), ("find unknown", &unknown)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut names = Vec::with_capacity(count);
                pools.name(tokens, count, &mut names);
                black_box(pools.find(tokens, &names))
            });
        });
    }
    group.finish();
}

fn sequence(id: u64, tokens: Vec<u32>, prefix_cache: PrefixCache) -> Sequence {
    Sequence {
        id: RequestId(id),
        choice: 0,
        prompt: tokens.len(),
        tokens,
        computed: 0,
        held: Vec::new(),
        names: Vec::new(),
        prefix_cache,
        cached: None,
        limit: LENGTH,
        border: None,
        stop: Vec::new(),
        sampler: Sampler::new(Sampling::GREEDY),
    }
}

/// A scheduler with room for all prompts in one step.
fn scheduler(sequences: usize) -> Scheduler {
    let step_tokens = sequences * PROMPT;
    Scheduler::new(Limits { step_tokens, sequences }, capacity(sequences, step_tokens))
}

/// Commits a step in which every sequence that draws gets a token.
fn commit(scheduler: &mut Scheduler, schedule: &Schedule) {
    let draws = schedule.grants.iter().filter(|grant| grant.draws);
    let drawn = draws.map(|_| Ok(Drawn { token: 1, logprobs: None }));
    black_box(scheduler.commit(schedule, drawn));
}

/// A scheduler in which `sequences` sequences decode.
fn decoding(sequences: usize) -> Scheduler {
    let mut scheduler = scheduler(sequences);
    for id in 0..sequences as u64 {
        scheduler.submit(sequence(id, prompt(id as u32), PrefixCache::Off));
    }
    let schedule = scheduler.schedule();
    commit(&mut scheduler, &schedule);
    scheduler
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("scheduler/decode");
    short(&mut group);
    for sequences in [1, 8, 64, 256] {
        group.throughput(Throughput::Elements(sequences as u64));
        let mut scheduler = decoding(sequences);
        group.bench_function(BenchmarkId::from_parameter(sequences), |b| {
            b.iter_custom(|steps| {
                let mut time = Duration::ZERO;
                for _ in 0..steps {
                    // When the sequences have ended, replace them.
                    if scheduler.running().len() < sequences {
                        scheduler = decoding(sequences);
                    }
                    let start = Instant::now();
                    let schedule = black_box(scheduler.schedule());
                    commit(&mut scheduler, &schedule);
                    time += start.elapsed();
                }
                time
            });
        });
    }
    group.finish();
}

fn admit(c: &mut Criterion) {
    let mut group = c.benchmark_group("scheduler/admit");
    short(&mut group);
    const SEQUENCES: usize = 32;
    group.throughput(Throughput::Elements(SEQUENCES as u64));
    for (name, cache) in [("prefix-cache off", PrefixCache::Off), ("same prompt", PrefixCache::On)]
    {
        group.bench_function(name, |b| {
            let waiting = || {
                let mut scheduler = scheduler(SEQUENCES);
                for id in 0..SEQUENCES as u64 {
                    scheduler.submit(sequence(id, prompt(0), cache));
                }
                scheduler
            };
            let step = |mut scheduler: Scheduler| {
                let schedule = scheduler.schedule();
                commit(&mut scheduler, &schedule);
                scheduler
            };
            b.iter_batched(waiting, step, BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, blocks, decode, admit);
criterion_main!(benches);
