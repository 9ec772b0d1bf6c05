//! Invented runs, in the form in which the CLI leaves them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use windtunnel_ledger::Switch;
use windtunnel_ledger::case::{
    Arrival, Case, CaseId, Dtype, KvLayout, Lengths, Model, Placement, Quant, Slo, Source, Workload,
};
use windtunnel_ledger::environment::{Build, Environment, Machine};
use windtunnel_ledger::metric::{Better, Metric, Unit};
use windtunnel_ledger::precision::Enough;
use windtunnel_ledger::record::{
    Conditions, Digest, Failure, Iteration, IterationKind, Outcome, Planned, Record, Run, RunId,
    Samples, Skipped, Subject,
};
use windtunnel_ledger::store::Contents;
use windtunnel_ledger::trace::{Gauge, Mark, Phase, Recorder, Trace, Watched};
use windtunnel_ledger::unit::{Bytes, Nanos, Tokens};

/// The engine with this name at an invented commit.
pub(crate) fn subject(name: &str, digit: char) -> Subject {
    Subject {
        name: name.into(),
        commit: Some(digit.to_string().repeat(40)),
        binary: digit.to_string().repeat(16),
        ..Subject::default()
    }
}

/// A run of these cases that has no records yet.
pub(crate) fn begun(subjects: &[Subject], cases: &[Case], rounds: u32) -> Contents {
    let planned = |case: &Case| Planned { case: case.clone(), rounds, attributions: 0, shard: 0 };
    Contents {
        run: Run {
            id: RunId("2026-01-01T00-00-00-smoke".into()),
            at: "2026-01-01T00:00:00Z".into(),
            command: "windtunnel run smoke".into(),
            subjects: subjects.to_vec(),
            cases: cases.iter().map(planned).collect(),
            skipped: Vec::new(),
            gate: None,
            rules: None,
        },
        records: Vec::new(),
        torn: false,
    }
}

/// The run with every round of every case measured; the subject at index `j` is slower than the
/// first by `j * slowdown`.
pub(crate) fn measured(
    subjects: &[Subject],
    cases: &[Case],
    rounds: u32,
    slowdown: f64,
) -> Contents {
    let mut contents = begun(subjects, cases, rounds);
    for (i, case) in cases.iter().enumerate() {
        for round in 1..=rounds {
            for (j, subject) in subjects.iter().enumerate() {
                let noise =
                    1.0 + 0.004 * (((i * 7 + j * 3 + round as usize * 5) % 11) as f64 - 5.0);
                let cost = noise * (1.0 + slowdown * j as f64);
                contents.records.push(record(subject, case, round, cost));
            }
        }
    }
    contents
}

/// A round that took `cost` times as long as it should.
pub(crate) fn record(subject: &Subject, case: &Case, round: u32, cost: f64) -> Record {
    let shape = case.shape();
    let batch = f64::from(shape.batch);
    let scaled = |metric: Metric, value: f64| match metric.spec().better {
        Better::Lower if metric.spec().unit == Unit::Share => value * cost,
        Better::Lower => (value * cost).round(),
        Better::Higher => value / cost,
    };
    let values = case.workload.metrics().iter().map(|&metric| {
        let value = match metric {
            Metric::DecodeRate => 41.0 * batch.powf(0.7),
            Metric::PrefillRate => 820.0 * batch.powf(0.1),
            Metric::TimeToFirstToken => 1.2e6 * shape.prompt.0 as f64 * batch,
            Metric::EndToEnd => 1.2e6 * shape.prompt.0 as f64 + 24e6 * shape.output.0 as f64,
            Metric::SystemRate => 38.0 * load(case).powf(0.6),
            Metric::RequestRate => 1.2 * load(case).powf(0.6),
            Metric::Goodput => 1.1 * load(case).powf(0.4),
            Metric::QueueTime => 3e6 * load(case),
            Metric::PrefixHitRate => 0.42,
            Metric::PrefillAmplification => 1.0,
            Metric::PeakBlocks => (shape.length().0 * u64::from(shape.batch)).div_ceil(16) as f64,
            Metric::Preemptions | Metric::LeakedBlocks => 0.0,
            Metric::ThreadGrowth | Metric::FileGrowth => 0.0,
            Metric::ContextSlope => 0.9e6,
            Metric::CpuShare => 0.003,
            Metric::WakeUp => 2.1e6,
            Metric::RssGrowth => 1.5e6,
            _ => 24.4e6 * batch.powf(0.3),
        };
        (metric, samples(case, scaled(metric, value), metric))
    });
    let iteration = Iteration {
        kind: IterationKind::Timed,
        digest: Digest::of_outputs([[1, 2, 3].as_slice()]),
        values: values.collect(),
    };
    let kv = (shape.length().0 * u64::from(shape.batch) * 24_576) as f64;
    let once = BTreeMap::from([
        (Metric::LoadTime, scaled(Metric::LoadTime, 1.9e9)),
        (Metric::PeakRss, scaled(Metric::PeakRss, 1.62e9)),
        (Metric::WeightBytes, 988_097_536.0),
        (Metric::KvBytes, kv),
    ]);
    Record {
        run: RunId("2026-01-01T00-00-00-smoke".into()),
        round,
        at: "2026-01-01T00:01:00Z".into(),
        subject: subject.clone(),
        case: case.clone(),
        environment: environment(),
        conditions: Conditions {
            load_before: Some(0.4),
            wall: Nanos(3_000_000_000),
            ..Conditions::default()
        },
        command: format!("echo '{{\"case\":\"{}\"}}' | target/release/windtunnel-probe", case.id),
        outcome: Outcome::Measured(Samples {
            attention: "cpu-flash".into(),
            holdings: Vec::new(),
            dtype: None,
            declined: Vec::new(),
            formats: Vec::new(),
            prompts: None,
            once,
            iterations: vec![iteration],
            stopped: None,
        }),
        trace: None,
    }
}

/// The load on a service: concurrent requests, or four times the arrivals per second.
fn load(case: &Case) -> f64 {
    match case.workload {
        Workload::Serve { arrival: Arrival::Closed, batch, .. } => f64::from(batch),
        Workload::Serve { arrival: Arrival::Poisson(rate) | Arrival::Fixed(rate), .. } => {
            4.0 / rate.interval().seconds()
        }
        _ => 1.0,
    }
}

/// One value, or, for the latencies of a service, one per request or gap: most near the middle, a
/// few far above.
fn samples(case: &Case, middle: f64, metric: Metric) -> Vec<f64> {
    let requests = match case.workload {
        Workload::Serve { requests, .. } => requests,
        _ => return vec![middle],
    };
    let count = match metric {
        Metric::InterToken => requests * 31,
        _ if metric.spec().unit == Unit::Nanoseconds => requests,
        _ => return vec![middle],
    };
    let sample = |i| 0.9 + 0.2 * f64::from(i % 10) / 9.0 + 2.0 * f64::from(u32::from(i % 25 == 24));
    (0..count).map(|i| (middle * sample(i)).round()).collect()
}

/// Each of the service workloads, as its scenario would define it.
pub(crate) fn services() -> Vec<Case> {
    let second = Nanos(1_000_000_000);
    let slo = Slo {
        time_to_first_token: Nanos(2 * second.0),
        time_per_output_token: Nanos(second.0 / 5),
        end_to_end: Nanos(60 * second.0),
    };
    let lengths = |text: &str| text.parse::<Lengths>().expect("lengths");
    let mut cases = Vec::new();
    let traffic = ["closed", "poisson-0.5", "poisson-1", "poisson-2"];
    for (prompt, arrival) in
        ["48", "mixed-16-64"].into_iter().flat_map(|p| traffic.map(|arrival| (p, arrival)))
    {
        let batches: &[u32] = if arrival == "closed" { &[1, 2, 8, 32] } else { &[8] };
        for &batch in batches {
            let serve = Workload::Serve {
                arrival: arrival.parse().expect("an arrival"),
                batch,
                requests: 32,
                prompt: lengths(prompt),
                output: lengths("16"),
                shared: 0,
                slo,
            };
            let batch = batch.to_string();
            let axes = [("arrival", arrival), ("batch", &batch), ("prompt", prompt)];
            cases.push(case("gate/serve", serve, "paged-16", &axes));
        }
    }
    for kv in ["contiguous", "paged-16"] {
        for depth in [2048, 8192] {
            let (shallow, output) = (Tokens(512), Tokens(32));
            let context = Workload::Context { shallow, depth: Tokens(depth), output };
            let axes = [("depth", &*depth.to_string()), ("kv", kv)];
            cases.push(case("gate/long-context", context, kv, &axes));
        }
    }
    let idle = Workload::Idle { duration: Nanos(10 * second.0), requests: 8 };
    cases.push(case("guards/idle", idle, "paged-16", &[]));
    let soak = Workload::Soak {
        duration: Nanos(300 * second.0),
        batch: 8,
        prompt: lengths("uniform-8-64"),
        output: lengths("uniform-4-32"),
        shared: 25,
    };
    cases.push(case("nightly/soak", soak, "paged-16", &[]));
    cases
}

/// A case of `scenario`, with these axes in its id.
pub(crate) fn case(scenario: &str, workload: Workload, kv: &str, axes: &[(&str, &str)]) -> Case {
    let axes = axes.iter().map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned()));
    Case {
        id: CaseId::new(scenario, "qwen2.5-0.5b", &axes.collect()),
        workload,
        model: Model { name: "qwen2.5-0.5b".into(), source: Source::Preset("qwen2.5-0.5b".into()) },
        dtype: Dtype::F32,
        quant: Quant::None,
        kv: kv.parse::<KvLayout>().expect("a layout"),
        placement: Placement::default(),
        attention: "auto".into(),
        step_tokens: Tokens(512),
        prefix_cache: Switch::Off,
        cuda_graphs: Switch::On,
        kv_share: NonZeroU32::new(100).expect("100 is not 0"),
        warmup: 1,
        iterations: NonZeroU32::MIN,
        enough: Enough::Counted,
        seed: 1,
        deadline: Nanos::from_seconds(120.0),
    }
}

/// Decode, prefill and load, `batches` × `prompts` × two layouts.
pub(crate) fn gate(batches: &[u32], prompts: &[u64]) -> Vec<Case> {
    let mut cases = Vec::new();
    for name in ["decode", "prefill"] {
        for kv in ["contiguous", "paged-32"] {
            for (&batch, &prompt) in
                batches.iter().flat_map(|b| prompts.iter().map(move |p| (b, p)))
            {
                let tokens = Tokens(prompt);
                let workload = match name {
                    "decode" => Workload::Decode { depth: tokens, output: Tokens(32), batch },
                    _ => Workload::Prefill { prompt: tokens, batch },
                };
                let axes = [("batch", batch.to_string()), ("prompt", prompt.to_string())];
                let [batch, prompt] = axes.each_ref().map(|(axis, value)| (*axis, value.as_str()));
                cases.push(case(
                    &format!("gate/{name}"),
                    workload,
                    kv,
                    &[batch, ("kv", kv), prompt],
                ));
            }
        }
    }
    cases.push(case("gate/load", Workload::Load, "contiguous", &[]));
    cases
}

/// Adds everything that can go wrong, where it would occur.
pub(crate) fn spoil(contents: &mut Contents) {
    contents.run.skipped.push(Skipped {
        id: CaseId::new("gate/prefill", "mistral-7b", &BTreeMap::new()),
        reason: "needs 30 GiB".into(),
    });
    let last = contents.records.len() - 1;
    contents.records[last].outcome = Outcome::Skipped(
        "cpu-flash cannot run bf16 (accepts f32, f16); choose dtype = \"f16\"".into(),
    );
    contents.records[0].outcome = Outcome::Failed(Failure::Crashed {
        status: "signal 11 (SIGSEGV)".into(),
        tail: "loading qwen2.5-0.5b\nthread 'main' has overflowed its stack\n".into(),
    });
    let deadline = Nanos::from_seconds(120.0);
    contents.records[1].outcome =
        Outcome::Failed(Failure::TimedOut { deadline, tail: String::new() });
    contents.records[2].conditions.load_before = Some(9.5);
    if let Outcome::Measured(samples) = &mut contents.records[3].outcome {
        samples.iterations[0].digest = Digest::of_outputs([[9].as_slice()]);
    }
}

fn environment() -> Environment {
    Environment {
        machine: Machine {
            cpu: "AMD EPYC 7763 64-Core Processor".into(),
            cores: 2,
            threads: 2,
            memory: Bytes(25_000_000_000),
            features: ["avx", "avx2", "bmi2", "f16c", "fma", "sse4_2"].map(Into::into).into(),
            os: "linux".into(),
            kernel: "6.1.0".into(),
            arch: "x86_64".into(),
            boot: "7c07c8a9-a163".into(),
            ..Machine::default()
        },
        build: Some(Build {
            engine: "0.1.0".into(),
            candle: "0.11.1".into(),
            rustc: "1.95.0".into(),
            profile: "release".into(),
            target: "x86_64-unknown-linux-gnu".into(),
            target_features: vec!["avx2".into(), "fma".into()],
            features: Vec::new(),
            ..Build::default()
        }),
    }
}

/// The trace of a round of three seconds, on a GPU that became too hot for a while.
pub(crate) fn watched() -> Trace {
    const MS: u64 = 1_000_000;
    let mut process = Recorder::new(Watched::Process, Nanos(20 * MS));
    let mut gpu = Recorder::new(Watched::Gpu("GPU-0".into()), Nanos(40 * MS));
    for i in 0..150_i64 {
        let at = Nanos(i as u64 * 20 * MS);
        let rss = (i * 40).min(900) * 1024;
        process.look(at, vec![(Gauge::Rss, Ok(rss)), (Gauge::CpuTime, Ok(i * 40))]);
        let is_hot = (90..110).contains(&i);
        let look = vec![
            (Gauge::SmClock, Ok(if is_hot { 1215 } else { 1980 })),
            (Gauge::Throttle, Ok(if is_hot { 0x20 } else { 0 })),
            (Gauge::Power, Err("this operation is not supported".to_owned())),
        ];
        if i % 2 == 0 {
            gpu.look(at, look);
        }
    }
    let mark = |(ms, phase)| Mark { at: Nanos(ms * MS), phase };
    let marks = [
        (10, Phase::Load),
        (600, Phase::WarmUp(0)),
        (601, Phase::Prefill),
        (800, Phase::Decode),
        (1500, Phase::Iteration(1)),
        (1501, Phase::Prefill),
        (1700, Phase::Decode),
        (2900, Phase::Done),
    ];
    Trace {
        origin: Nanos(77),
        cost: Nanos(150 * MS),
        marks: marks.map(mark).into(),
        tracks: vec![process.finish(), gpu.finish()],
    }
}
