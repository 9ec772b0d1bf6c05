//! Stands in for a probe. Its behaviour is set by the case's attention backend, a word that the CLI
//! passes on unread, by words planted in its file, or by `--fault=WORD`. Its figures depend only on
//! the case and the planted words. With `--serve` it stands in for a server.

#![expect(clippy::print_stderr, reason = "real probes write there too")]

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};
use std::time::Duration;

use windtunnel_ledger::attribution::Work;
use windtunnel_ledger::case::Workload;
use windtunnel_ledger::counter::{Count, Counter, Counts};
use windtunnel_ledger::environment::Build;
use windtunnel_ledger::holding::{Held, Occupied};
use windtunnel_ledger::precision::{Cause, Enough, Stopped};
use windtunnel_ledger::record::{Digest, Iteration, IterationKind};
use windtunnel_ledger::timeline::{self, Timeline};
use windtunnel_ledger::trace::{Mark, Phase};
use windtunnel_ledger::wire::{Message, Order, PROTOCOL, Phases, Plantable, Purpose};
use windtunnel_ledger::{Bytes, Case, Metric, Nanos};

mod plant;
mod serve;

use plant::Plant;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, port, words @ ..] = args.as_slice()
        && flag == "--serve"
    {
        return serve::serve(port.parse().expect("a port"), words);
    }
    // It cannot measure the roof, like probes that are older than the roof.
    if std::env::args().any(|arg| arg.starts_with("--roof")) {
        std::process::exit(2);
    }
    if std::env::args().any(|arg| arg == "--faults") {
        return ["wrong", "crash", "garbage", "fine"].iter().for_each(|fault| {
            let about = format!("It is {fault} | not what it was.");
            write(&Plantable { fault: (*fault).to_owned(), about }.line());
        });
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).expect("the order is text");
    if std::env::args().any(|arg| arg == "--until-eof") {
        std::thread::spawn(|| {
            let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
    }
    let order: Order = serde_json::from_str(&line).expect("the order is JSON");
    let mut case = order.case;
    let plant = Plant::here();
    if let Some(behaviour) = &plant.behaviour {
        case.attention.clone_from(behaviour);
    }
    for argument in &args {
        if let Some(behaviour) = argument.strip_prefix("--fault=") {
            case.attention = behaviour.to_owned();
        }
    }
    eprintln!("fake-probe: {}", case.attention);

    match case.attention.as_str() {
        "other-protocol" => say(&Message::Hello { protocol: PROTOCOL + 1, build: build() }),
        "mute" => (),
        _ => say(&Message::Hello { protocol: PROTOCOL, build: build() }),
    }
    if order.phases == Phases::Told && case.attention == "phases" {
        say_phases();
    }
    match case.attention.as_str() {
        "unsupported" => {
            let reason = "the fake runs f32 only; choose dtype = \"f32\"".into();
            return say(&Message::Unsupported { reason });
        }
        "broken-engine" => {
            let error = "cannot load `config.json`: no such file".into();
            return say(&Message::Failed { error });
        }
        // Shows which files the probe is handed.
        "told-where" => {
            return say(&Message::Failed { error: format!("{:?}", case.model.source) });
        }
        // `small` has room for two sequences, `roomy` for eight.
        "small" | "roomy" => {
            let room = if case.attention == "small" { 2 } else { 8 };
            if case.shape().batch > room && case.attention == "small" {
                let held = Held { weights: Bytes(3000), kv: Bytes(1000) };
                let (free, total) = (Some(Bytes(96)), Some(Bytes(4096)));
                let devices = vec![Occupied { device: "cuda:0".into(), free, total, held }];
                let error = "out of memory for the cache; lower `kv_tokens`".into();
                return say(&Message::Exhausted { error, devices });
            }
            if case.shape().batch > room {
                let error = "cannot make the KV pool: out of memory".into();
                return say(&Message::Failed { error });
            }
        }
        "early" => return say_iteration(&case, IterationKind::Timed, &plant),
        _ => (),
    }
    let once = [(Metric::LoadTime, 2e6), (Metric::WeightBytes, 4096.0), (Metric::KvBytes, 1024.0)];
    say(&Message::Loaded {
        attention: "fake".into(),
        dtype: None,
        declined: Vec::new(),
        formats: Vec::new(),
        holdings: Vec::new(),
        prompts: match case.attention.as_str() {
            "other-prompts" => Some(Digest::of_prompts([vec![7]])),
            "mute" | "older" => None,
            _ => Some(Digest::of_prompts([vec![1, 2]])),
        },
        values: once.into_iter().collect(),
    });

    match case.attention.as_str() {
        "hang" => std::thread::sleep(Duration::from_secs(3600)),
        "crash" => {
            eprintln!("something is very wrong");
            std::process::exit(3);
        }
        "garbage" => return write("loading shard 1 of 2 ...\n"),
        "partial" => return write("{\"iteration\":{\"kind\":\"ti"),
        "slow" => std::thread::sleep(Duration::from_millis(150)),
        "long" => work_long(),
        "silent-end" => return,
        _ => (),
    }
    if order.purpose == Purpose::Attribute && case.attention != "older" {
        say(&attributed());
        return say(&Message::End { values: BTreeMap::new() });
    }
    let kinds = std::iter::repeat_n(IterationKind::WarmUp, case.warmup as usize)
        .chain(std::iter::repeat_n(IterationKind::Timed, case.iterations.get() as usize));
    for kind in kinds.skip(usize::from(case.attention == "too-few")) {
        say_iteration(&case, kind, &plant);
    }
    if let Enough::Precise(_) = case.enough {
        say_until_enough(&case, &plant);
    }
    let values: BTreeMap<Metric, f64> =
        [(Metric::PeakRss, 1e8 + plant.bytes)].into_iter().collect();
    say(&Message::End { values });
    if case.attention == "lingering" {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// The iterations after those that a case asks for: equal numbers need six in all. A `restless`
/// probe runs out of time, and an `endless` one does not say how it ended.
fn say_until_enough(case: &Case, plant: &Plant) {
    let more = if case.attention == "restless" { 2 } else { 6 - case.iterations.get().min(6) };
    (0..more).for_each(|_| say_iteration(case, IterationKind::Timed, plant));
    let (by, half_width) = match case.attention.as_str() {
        "endless" => return,
        "restless" => (Cause::Budget, Some(0.034)),
        _ => (Cause::Precise, Some(0.0)),
    };
    let certain = case.warmup + case.iterations.get();
    say(&Message::Stopped(Stopped { by, half_width, certain }));
}

/// Runs eight threads for ten seconds, each of which alternates between work and sleep.
fn work_long() {
    let end = std::time::Instant::now() + Duration::from_secs(10);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while std::time::Instant::now() < end {
                    (0..20_000_u32).for_each(|i| {
                        std::hint::black_box(i);
                    });
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
    });
}

fn say_iteration(case: &Case, kind: IterationKind, plant: &Plant) {
    let fast = if case.attention == "fast" { 0.8 } else { 1.0 };
    let factor = fast * (1.0 + plant.noise);
    let shape = case.shape();
    let ms = |ms: u64| Nanos((ms as f64 * 1e6 * factor) as u64);
    let after = |i: u64, token: u64| {
        let prefill = 20.0 * (1.0 + plant.prefill);
        let gaps = 10.0 * (1.0 + plant.decode) * token as f64;
        Nanos((((100 * i) as f64 + prefill + gaps) * 1e6 * factor) as u64)
    };
    let request = |i: u64| Timeline {
        prompt: shape.prompt,
        submitted: ms(100 * i),
        started: Some(ms(100 * i + 5)),
        tokens: (0..shape.output.0).map(|token| after(i, token)).collect(),
    };
    let requests: Vec<Timeline> = (0..shape.requests).map(request).collect();
    let output: Vec<u32> = match case.attention.as_str() {
        "liar" => vec![std::process::id()],
        "wrong" => vec![7],
        _ => vec![1, 2, 3],
    };
    let mut values = timeline::metrics(&requests);
    if let Workload::Serve { slo, .. } = case.workload {
        values.extend(timeline::service(&requests, &slo));
    }
    values.retain(|metric, _| case.workload.metrics().contains(metric));
    for metric in case.workload.metrics() {
        values.entry(*metric).or_insert_with(|| vec![1.0]);
    }
    let digest = Digest::of_outputs([output.as_slice()]);
    say(&Message::Iteration(Iteration { kind, digest, values }));
}

/// Ten steps.
fn attributed() -> Message {
    let stages = [("linear", 60_000_000), ("attention", 30_000_000), ("other", 1_000_000)];
    let stages = stages.map(|(stage, time)| (stage.to_owned(), Nanos(time)));
    let work = Work { count: 10, tokens: 10, stages: stages.into_iter().collect() };
    let wall = Nanos(work.total().0 + 5_000_000);
    let counts = Counts::from([
        (Counter::Allocations, Count::Known(1200)),
        (Counter::Highest, Count::Known(3 << 20)),
        (Counter::Instructions, Count::Absent("this processor does not tell".to_owned())),
    ]);
    Message::Attributed { wall, work: [("decode".to_owned(), work)].into(), counts }
}

/// Holds 64 MiB for a while, and says its phases.
fn say_phases() {
    let mark = |phase| {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let at = time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs();
        say(&Message::Phase(Mark { at: Nanos(at), phase }));
    };
    mark(Phase::Load);
    let ballast = vec![1u8; 64 << 20];
    mark(Phase::Iteration(0));
    std::thread::sleep(Duration::from_millis(150));
    std::hint::black_box(ballast);
    mark(Phase::Done);
}

fn build() -> Build {
    let text = |text: &str| text.to_owned();
    Build {
        engine: text("0.0.0"),
        candle: text("0.0.0"),
        rustc: text("1.0.0"),
        profile: text("release"),
        target: text("fake"),
        target_features: Vec::new(),
        features: Vec::new(),
        ..Build::default()
    }
}

fn say(message: &Message) {
    write(&message.line());
}

fn write(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // If the reader hung up, the answer is not needed.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
