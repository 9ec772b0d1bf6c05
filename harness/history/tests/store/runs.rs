//! Small stores, written as the CLI writes them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;

use windtunnel_ledger::Switch;
use windtunnel_ledger::case::{
    Case, CaseId, Dtype, KvLayout, Model, Placement, Quant, Source, Workload,
};
use windtunnel_ledger::environment::{Environment, Machine};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::precision::Enough;
use windtunnel_ledger::record::{
    Conditions, Digest, Iteration, IterationKind, Outcome, Record, Run, RunId, Samples, Subject,
};
use windtunnel_ledger::store::Store;
use windtunnel_ledger::unit::{Bytes, Nanos, Tokens};

/// Writes the run of day `day` into `dir`: decode at these rates, one per round, and a load.
pub(crate) fn write(dir: &Path, day: u32, commit: char, rates: &[f64]) {
    write_of(dir, day, &subject(commit), rates);
}

/// The same for any subject.
pub(crate) fn write_of(dir: &Path, day: u32, subject: &Subject, rates: &[f64]) {
    let folder = dir.join(format!("2026-01-{day:02}"));
    std::fs::create_dir_all(&folder).expect("a writable directory");
    let run = Run {
        id: id(day),
        at: format!("2026-01-{day:02}T00:00:00Z"),
        command: "windtunnel run gate".into(),
        subjects: vec![subject.clone()],
        cases: Vec::new(),
        skipped: Vec::new(),
        gate: None,
        rules: None,
    };
    let mut store = Store::create(&folder.join("run.jsonl"), &run).expect("a new file");
    for mut record in records(day, 'a', rates) {
        record.subject = subject.clone();
        store.append(&record).expect("a writable file");
    }
}

/// The records of such a run.
pub(crate) fn records(day: u32, commit: char, rates: &[f64]) -> Vec<Record> {
    let decode = Workload::Decode { depth: Tokens(128), output: Tokens(32), batch: 1 };
    let rounds = (1u32..).zip(rates);
    let mut records: Vec<Record> = rounds
        .map(|(round, rate)| {
            // Three samples whose median is the rate.
            let samples = vec![rate * 0.5, *rate, rate * 3.0];
            let values = BTreeMap::from([(Metric::DecodeRate, samples)]);
            record(day, commit, "gate/decode", decode, round, values)
        })
        .collect();
    records.push(record(day, commit, "gate/load", Workload::Load, 1, BTreeMap::new()));
    records
}

/// A round with these samples.
pub(crate) fn record(
    day: u32,
    commit: char,
    scenario: &str,
    workload: Workload,
    round: u32,
    values: BTreeMap<Metric, Vec<f64>>,
) -> Record {
    Record {
        run: id(day),
        round,
        at: format!("2026-01-{day:02}T00:{round:02}:00Z"),
        subject: subject(commit),
        case: Case {
            id: CaseId::new(scenario, "tiny", &BTreeMap::new()),
            workload,
            model: Model { name: "tiny".into(), source: Source::Preset("tiny-qwen3".into()) },
            dtype: Dtype::F32,
            quant: Quant::None,
            kv: KvLayout::Contiguous,
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
            deadline: Nanos::from_seconds(60.0),
        },
        environment: Environment {
            machine: Machine {
                cpu: "AMD EPYC 7763 64-Core Processor".into(),
                cores: 2,
                threads: 2,
                memory: Bytes(25_000_000_000),
                arch: "x86_64".into(),
                ..Machine::default()
            },
            build: None,
        },
        conditions: Conditions::default(),
        command: "true".into(),
        outcome: Outcome::Measured(Samples {
            attention: "naive".into(),
            holdings: Vec::new(),
            dtype: None,
            declined: Vec::new(),
            formats: Vec::new(),
            prompts: None,
            once: BTreeMap::from([(Metric::LoadTime, 1.5e9)]),
            iterations: vec![Iteration {
                kind: IterationKind::Timed,
                digest: Digest::of_outputs([[1].as_slice()]),
                values,
            }],
            stopped: None,
        }),
        trace: None,
    }
}

fn id(day: u32) -> RunId {
    RunId(format!("2026-01-{day:02}-gate"))
}

fn subject(commit: char) -> Subject {
    Subject {
        name: ".".into(),
        commit: Some(commit.to_string().repeat(40)),
        dirty: commit == 'c',
        ..Subject::default()
    }
}
