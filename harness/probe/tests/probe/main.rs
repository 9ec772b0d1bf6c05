//! The probe as the CLI uses it: an order on stdin, messages on stdout.

#![expect(clippy::disallowed_methods, reason = "these tests start the program that they test")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use windtunnel_engine::faults::{Fault, Measure};
use windtunnel_engine::models::{EMBEDDERS, MODELS};
use windtunnel_engine::weights::{Preset, presets};
use windtunnel_ledger::case::{
    Against, Arrival, Benchmark, Case, CaseId, DeviceMap, Dtype, Files, KvLayout, Lengths, Model,
    Placement, Quant, Slo, Snapshot, Source, Tolerance, Topology, Workload,
};
use windtunnel_ledger::counter::Counter;
use windtunnel_ledger::holding::Held;
use windtunnel_ledger::precision::{Cause, Enough, Precision, Stopped};
use windtunnel_ledger::record::{Iteration, IterationKind};
use windtunnel_ledger::roof::Roof;
use windtunnel_ledger::trace::Phase;
use windtunnel_ledger::wire::{Message, Order, PROTOCOL, Phases, Purpose};
use windtunnel_ledger::{Bytes, Metric, Nanos, Switch, Tokens};

mod collection;
mod embedding;
mod fidelity;
mod service;

use embedding::{EMBED, embedder};
use fidelity::{golden, golden_embedder, parity, quality};
use service::serve;

fn case(workload: Workload) -> Case {
    Case {
        id: CaseId::new("test", "tiny-qwen3", &BTreeMap::new()),
        workload,
        model: Model { name: "tiny-qwen3".into(), source: Source::Preset("tiny-qwen3".into()) },
        dtype: Dtype::F32,
        quant: Quant::None,
        kv: KvLayout::Paged(NonZeroU32::new(16).unwrap()),
        placement: Placement::default(),
        attention: "auto".into(),
        step_tokens: Tokens(32),
        prefix_cache: Switch::Off,
        cuda_graphs: Switch::On,
        kv_share: NonZeroU32::new(100).unwrap(),
        warmup: 1,
        iterations: NonZeroU32::new(2).unwrap(),
        enough: Enough::Counted,
        seed: 1,
        deadline: Nanos::from_seconds(60.0),
    }
}

const DECODE: Workload = Workload::Decode { depth: Tokens(40), output: Tokens(8), batch: 3 };

/// Starts the probe, writes `input` to its stdin and closes it.
fn probe(input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel-probe"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn order(protocol: u32, case: &Case) -> String {
    let (purpose, phases) = (Purpose::Measure, Phases::Silent);
    let order = Order { protocol, case: case.clone(), purpose, phases };
    serde_json::to_string(&order).unwrap() + "\n"
}

fn messages(case: &Case) -> Vec<Message> {
    let output = probe(&order(PROTOCOL, case));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn iterations(messages: &[Message]) -> Vec<&Iteration> {
    let only_iterations = messages.iter().filter_map(|message| match message {
        Message::Iteration(iteration) => Some(iteration),
        _ => None,
    });
    only_iterations.collect()
}

/// The iterations of `case`, and the values that are known once per round.
fn measured(case: &Case) -> (Vec<Iteration>, BTreeMap<Metric, f64>) {
    let messages = messages(case);
    let [
        Message::Hello { protocol: PROTOCOL, build },
        Message::Loaded {
            attention,
            dtype: Some(_),
            declined,
            formats: _,
            values,
            holdings,
            prompts,
        },
        ..,
        Message::End { values: last },
    ] = messages.as_slice()
    else {
        panic!("{messages:?}")
    };
    assert!(!build.rustc.is_empty() && !attention.is_empty());
    // On a CPU no preferred backend is declined.
    assert!(declined.is_empty(), "{declined:?}");
    let reads = matches!(case.workload, Workload::Parity { .. } | Workload::Quality { .. });
    assert_eq!(prompts.is_none(), reads, "whatever reads no text draws its prompts");
    let sum = |part: fn(&Held) -> Bytes| {
        holdings.iter().map(|holding| part(&holding.held).0 as f64).sum::<f64>()
    };
    if !holdings.is_empty() {
        assert_eq!(sum(|held| held.weights), values[&Metric::WeightBytes]);
        assert_eq!(sum(|held| held.kv), values[&Metric::KvBytes]);
    }
    let mut once = values.clone();
    once.extend(last);
    (iterations(&messages).into_iter().cloned().collect(), once)
}

/// The only value of `metric` in the last iteration of `case`.
fn value(case: &Case, metric: Metric) -> f64 {
    let (iterations, _) = measured(case);
    let [value] = iterations.last().unwrap().values[&metric][..] else { panic!("{metric}") };
    value
}

#[test]
fn a_contiguous_cache_on_a_gpu_can_be_read_in_place() {
    let decode = Workload::Decode { depth: Tokens(100), output: Tokens(9), batch: 2 };
    let length = |devices: &str| {
        let placement = Placement { devices: devices.parse().unwrap(), ..Placement::default() };
        let case = Case { kv: KvLayout::Contiguous, placement, ..case(decode) };
        let config = windtunnel_probe::measure::config(&case, None).unwrap();
        let length = config.max_sequence_length.unwrap();
        assert_eq!(config.kv_tokens, 2 * length);
        length
    };
    let (here, there) = (length("cpu:0"), length("cuda:0"));
    assert_eq!(there, here.next_multiple_of(32));
    assert_ne!(there, here);
}

#[test]
fn phases_are_told_to_those_who_ask_in_the_order_in_which_they_begin() {
    let case = case(DECODE);
    let (purpose, phases) = (Purpose::Measure, Phases::Told);
    let order = Order { protocol: PROTOCOL, case, purpose, phases };
    let output = probe(&(serde_json::to_string(&order).unwrap() + "\n"));
    let text = String::from_utf8(output.stdout).unwrap();
    let messages = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let marks: Vec<_> = messages
        .filter_map(|message| match message {
            Message::Phase(mark) => Some(mark),
            _ => None,
        })
        .collect();
    let halves = [Phase::Prefill, Phase::Decode];
    let mut expected = vec![Phase::Load];
    for iteration in [Phase::WarmUp(0), Phase::Iteration(1), Phase::Iteration(2)] {
        expected.push(iteration);
        expected.extend(halves);
    }
    expected.push(Phase::Done);
    assert_eq!(marks.iter().map(|mark| mark.phase).collect::<Vec<_>>(), expected);
    assert!(marks.windows(2).all(|pair| pair[0].at <= pair[1].at), "{marks:?}");
}

#[test]
fn a_case_that_is_to_be_precise_says_how_it_ended() {
    let precision = Precision::new(1e-6, Nanos(1)).unwrap();
    let precise = Case { enough: Enough::Precise(precision), ..case(DECODE) };
    let messages = messages(&precise);
    assert_eq!(iterations(&messages).len(), 3);
    let stopped = messages.iter().find_map(|message| match message {
        Message::Stopped(stopped) => Some(*stopped),
        _ => None,
    });
    // Two timed iterations are too few for an interval, and the budget of a nanosecond is soon
    // spent.
    let expected = Stopped { by: Cause::Budget, half_width: None, certain: 3 };
    assert_eq!(stopped, Some(expected));
}

#[test]
fn a_decode_case_gives_its_metrics_for_every_sequence() {
    let (iterations, once) = measured(&case(DECODE));
    let kinds: Vec<IterationKind> = iterations.iter().map(|iteration| iteration.kind).collect();
    assert_eq!(kinds, [IterationKind::WarmUp, IterationKind::Timed, IterationKind::Timed]);
    for iteration in &iterations {
        let metrics: Vec<Metric> = iteration.values.keys().copied().collect();
        assert_eq!(metrics, [Metric::DecodeRate, Metric::TimePerOutputToken, Metric::InterToken]);
        let gaps = iteration.values[&Metric::InterToken].len();
        assert!(gaps >= 3 * 8 && gaps % 3 == 0, "{gaps} gaps of three sequences in step");
        assert_eq!(iteration.values[&Metric::TimePerOutputToken].len(), 3);
    }
    assert_ne!(
        iterations[1].digest, iterations[2].digest,
        "every iteration has prompts of its own"
    );

    let known: Vec<Metric> = once.keys().copied().collect();
    let asked = [Metric::TokenBytes, Metric::TokenFlops];
    let held = [Metric::LoadTime, Metric::PeakRss, Metric::WeightBytes, Metric::KvBytes];
    assert_eq!(known, [&asked[..], &held[..]].concat());
    let parameters =
        presets().iter().find(|p| p.name == "tiny-qwen3").unwrap().sketch().unwrap().parameters;
    assert_eq!(once[&Metric::WeightBytes], parameters as f64 * 4.0);
    assert!(once[&Metric::PeakRss] > once[&Metric::WeightBytes]);
    // A batch of three reads the matrices once, and each sequence does two FLOPs per weight.
    let read = once[&Metric::TokenBytes] * 3.0 - 3.0 * once[&Metric::KvBytes];
    assert!(read < once[&Metric::WeightBytes], "{once:?}");
    assert!(once[&Metric::TokenFlops] >= 2.0 * once[&Metric::TokenBytes] / 4.0, "{once:?}");
}

#[test]
fn a_probe_that_is_asked_for_the_roof_measures_it_and_runs_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_windtunnel-probe"))
        .args(["--until-eof", "--roof"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let roof: Roof = serde_json::from_slice(&output.stdout).unwrap();
    assert!(roof.threads > 0);
    for rate in [roof.read, roof.copy, roof.f32, roof.bf16] {
        assert!(rate > 0, "{roof:?}");
    }
}

#[test]
fn the_roof_of_a_gpu_that_a_build_cannot_use_is_refused_in_a_sentence() {
    let output = Command::new(env!("CARGO_BIN_EXE_windtunnel-probe"))
        .args(["--until-eof", "--roof=cuda:0"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    insta::assert_snapshot!(told, @"error: this build of the engine, which has no CUDA, cannot run anything on `cuda:0`; choose `cpu:0`, or build with `--features cuda`");
}

#[test]
fn an_attribution_tells_where_the_time_of_counted_iterations_went_and_no_sample() {
    let (purpose, phases) = (Purpose::Attribute, Phases::Silent);
    let order = Order { protocol: PROTOCOL, case: case(DECODE), purpose, phases };
    let output = probe(&(serde_json::to_string(&order).unwrap() + "\n"));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let messages: Vec<Message> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [
        Message::Hello { .. },
        Message::Loaded { .. },
        Message::Attributed { wall, work, counts },
        Message::End { .. },
    ] = messages.as_slice()
    else {
        panic!("{messages:?}")
    };
    // Two iterations of three prompts of 40 tokens and at least 8 new tokens each.
    let (prefill, decode) = (&work["prefill"], &work["decode"]);
    assert!(prefill.tokens >= 2 * 3 * 40 && decode.tokens >= 2 * 3 * 8, "{work:?}");
    for stage in ["attention", "linear", "norm", "rope", "head", "sample", "schedule", "other"] {
        assert!(decode.stages[stage] > Nanos(0) && prefill.stages[stage] > Nanos(0), "{stage}");
    }
    let steps: u64 = work.values().map(|work| work.total().0).sum();
    assert!(steps > 0 && steps <= wall.0, "{steps} ns of steps in {wall}");

    let known = |counter: Counter| counts[&counter].known();
    assert!(known(Counter::Allocations) > Some(1000), "{counts:?}");
    assert!(known(Counter::Highest) < known(Counter::Allocated), "{counts:?}");
    // The kernel's counters are known only where it permits them.
    assert_eq!(counts.len(), 5);
}

#[test]
fn the_same_case_gives_the_same_tokens_and_another_seed_others() {
    let digests = |case: &Case| -> Vec<String> {
        measured(case).0.iter().map(|iteration| iteration.digest.to_string()).collect()
    };
    let original = case(DECODE);
    assert_eq!(digests(&original), digests(&original));
    assert_ne!(digests(&original), digests(&Case { seed: 2, ..original.clone() }));
    let contiguous =
        Case { kv: KvLayout::Contiguous, attention: "naive".into(), ..original.clone() };
    assert_eq!(digests(&original), digests(&contiguous), "the layout changes no token");
}

#[test]
fn every_workload_gives_the_metrics_that_it_is_run_for() {
    let (length, second) = (Lengths::Fixed(Tokens(8)), Nanos::from_seconds(1.0));
    let workloads = [
        Workload::Load,
        Workload::Prefill { prompt: Tokens(40), batch: 2 },
        DECODE,
        Workload::Generate { prompt: Tokens(8), output: Tokens(4), batch: 1 },
        Workload::Context { shallow: Tokens(16), depth: Tokens(80), output: Tokens(4) },
        serve("closed", "mixed-5-40", 0),
        Workload::Idle { duration: second, requests: 3 },
        Workload::Soak { duration: second, batch: 4, prompt: length, output: length, shared: 50 },
        parity(1e-4),
        EMBED,
        quality(Against::F32),
    ];
    // A probe does not run benchmarks.
    let names = [&workloads.map(|workload| workload.name())[..], &["criterion"]].concat();
    assert_eq!(names, Workload::NAMES);
    for workload in workloads {
        let models = match workload {
            // Generating and embedding models have different metrics.
            Workload::Parity { .. } => vec![golden("llama_gqa"), golden_embedder("embeddinggemma")],
            Workload::Embed { .. } => vec![embedder()],
            _ => vec![case(workload).model],
        };
        let metrics = models.into_iter().flat_map(|model| {
            let (iterations, _) = measured(&Case { model, ..case(workload) });
            iterations[0].values.keys().copied().collect::<Vec<_>>()
        });
        let metrics: BTreeSet<Metric> = metrics.collect();
        let expected: BTreeSet<Metric> = workload.metrics().iter().copied().collect();
        assert_eq!(metrics, expected, "{workload:?}");
    }
}

#[test]
fn an_order_that_the_probe_does_not_know_is_told_and_no_crash() {
    let known = order(PROTOCOL, &case(DECODE));
    let strange =
        [known.replace("decode", "dance"), known.replacen('{', "{\"purpose\":\"guess\",", 1)];
    for order in strange {
        let output = probe(&order);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let Message::Failed { error } = serde_json::from_str(text.lines().last().unwrap()).unwrap()
        else {
            panic!("{text}")
        };
        let expected = "this probe does not know such an order: unknown variant";
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_model_on_several_devices_says_what_moves_and_gives_the_same_tokens() {
    let whole = case(DECODE);
    let devices = "cpu:0=1,cpu:1".parse().unwrap();
    let topology = Topology { name: "last".into(), text: "3: { device: \"cpu:2\" }".into() };
    let split =
        Case { placement: Placement { devices, topology: Topology::default() }, ..whole.clone() };
    let ruled =
        Case { placement: Placement { devices: DeviceMap::default(), topology }, ..whole.clone() };
    let (expected, once) = measured(&whole);
    assert_eq!(once.get(&Metric::Transfers), None);
    for case in [split, ruled] {
        let (iterations, once) = measured(&case);
        // The hidden states there and back, cosines and sines.
        assert_eq!(once[&Metric::Transfers], 4.0);
        assert!(once[&Metric::TransferBytes] > 0.0);
        let digests = |iterations: &[Iteration]| -> Vec<String> {
            iterations.iter().map(|iteration| iteration.digest.to_string()).collect()
        };
        assert_eq!(digests(&iterations), digests(&expected));
    }
    let devices = "cuda:0".parse().unwrap();
    let placement = Placement { devices, topology: Topology::default() };
    let answer = messages(&Case { placement, ..whole });
    let Some(Message::Unsupported { reason }) = answer.last() else { panic!("{answer:?}") };
    assert!(reason.contains("which has no CUDA, cannot run anything on `cuda:0`; choose `cpu:0`, or build with `--features cuda`"), "{reason}");
}

#[test]
fn what_the_engine_cannot_do_is_told_and_no_crash() {
    let last = |case: &Case| messages(case).pop().unwrap();
    let unknown = Case { attention: "magic".into(), ..case(DECODE) };
    let Message::Failed { error } = last(&unknown) else { panic!("{:?}", last(&unknown)) };
    insta::assert_snapshot!(error, @"no attention backend `magic`; choose one of cuda-flash, cpu-flash, naive");

    let mut nowhere = case(DECODE);
    nowhere.model.source = Source::Folder("no such folder".into());
    let Message::Failed { error } = last(&nowhere) else { panic!("{:?}", last(&nowhere)) };
    insta::assert_snapshot!(error, @"cannot load `no such folder/config.json`: No such file or directory (os error 2)");

    nowhere.model.source = Source::Hub(Snapshot {
        repository: "someone/tiny".into(),
        revision: "main".into(),
        files: Files::Gguf("q4.gguf".into()),
    });
    let Message::Failed { error } = last(&nowhere) else { panic!("{:?}", last(&nowhere)) };
    insta::assert_snapshot!(error, @"q4.gguf of someone/tiny at main is on a hub, and a probe reads only local files: start it with `windtunnel run`, which downloads them and hands over their folder");

    let mut bench = case(Workload::Criterion);
    bench.model.source = Source::Bench(Benchmark {
        package: "engine".into(),
        bench: "sampler".into(),
        name: "greedy".into(),
    });
    let Message::Unsupported { reason } = last(&bench) else { panic!("{:?}", last(&bench)) };
    insta::assert_snapshot!(reason, @"`engine/sampler` is a bench, which runs without a probe: name the working tree, a revision or an external subject with `[criterion]`");

    let endless = case(Workload::Prefill { prompt: Tokens(1_000_000), batch: 1 });
    let Message::Unsupported { reason } = last(&endless) else { panic!("{:?}", last(&endless)) };
    insta::assert_snapshot!(reason, @"sequences of this case have up to 1000001 tokens, but this model takes 4096; lower `prompt`, `depth`, `output` or `batch`");
}

#[test]
fn another_protocol_is_answered_with_our_number_alone() {
    let next = PROTOCOL + 1;
    let others = [order(next, &case(DECODE)), format!("{{\"protocol\":{next},\"errand\":[]}}\n")];
    for order in others {
        let output = probe(&order);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(&format!("\"protocol\":{PROTOCOL}")), "{text}");
    }
}

#[test]
fn somebody_who_starts_the_probe_by_hand_is_told_what_it_wants() {
    let output = probe("hello\n");
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @"error: stdin does not hold an order to run a case: `windtunnel run` starts this program, and its log shows how: expected value at line 1 column 1");

    let output = Command::new(env!("CARGO_BIN_EXE_windtunnel-probe"))
        .args(["--until-eof", "--help"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @"error: `--help` is not an argument of this program: `windtunnel run` starts it, and its log shows how; `--roof` or `--roof=cuda:0` tells what this machine can do at best");
}

#[test]
fn sequences_longer_than_the_model_takes_are_no_failure_of_the_engine() {
    let reason = |workload| match messages(&case(workload)).pop() {
        Some(Message::Unsupported { reason }) => reason,
        other => panic!("{other:?}"),
    };
    let prefill = reason(Workload::Prefill { prompt: Tokens(5000), batch: 1 });
    insta::assert_snapshot!(prefill, @"sequences of this case have up to 5001 tokens, but this model takes 4096; lower `prompt`, `depth`, `output` or `batch`");
    let decode = reason(Workload::Decode { depth: Tokens(4090), output: Tokens(32), batch: 1 });
    insta::assert_snapshot!(decode, @"sequences of this case have up to 4123 tokens, but this model takes 4096; lower `prompt`, `depth`, `output` or `batch`");
}

#[test]
fn what_the_machine_lacks_is_no_failure_and_a_full_device_is_told_with_its_memory() {
    use windtunnel_engine::cuda::{DeviceMemory, Fault};
    use windtunnel_engine::placement::{Occupied, Wanted};
    use windtunnel_engine::{DeviceName, Error, Exhausted, Footprint, PlacementError};
    use windtunnel_ledger::holding;

    let verdict = |error: Error| {
        let error = anyhow::Error::new(error).context("a step of the engine failed");
        windtunnel_probe::measure::verdict_on(&error)
    };
    let device = DeviceName::Cuda(3);
    let unusable = |fault| verdict(PlacementError::Unusable { device, fault }.into());
    let Message::Unsupported { reason } = unusable(Fault::NoSuchGpu) else { panic!() };
    insta::assert_snapshot!(reason, @"cannot use `cuda:3`: there are fewer GPUs here; `nvidia-smi --list-gpus` counts them from 0");
    let Message::Failed { error } = unusable(Fault::Taken) else { panic!() };
    insta::assert_snapshot!(error, @"a step of the engine failed: cannot use `cuda:3`: another process has exclusive use of it; end that process, or share the GPU with `nvidia-smi --compute-mode=DEFAULT`");

    let memory = Some(DeviceMemory { free: 7, total: 100 });
    let held = Footprint { weights: 60, kv: 30 };
    let devices = vec![Occupied { device, memory, held }];
    let exhausted = Exhausted { wanted: Wanted::Step, devices };
    let Message::Exhausted { error, devices } = verdict(exhausted.into()) else { panic!() };
    assert!(
        error.starts_with("a step of the engine failed: out of memory for a step; "),
        "{error}"
    );
    let expected = holding::Occupied {
        device: "cuda:3".into(),
        free: Some(Bytes(7)),
        total: Some(Bytes(100)),
        held: Held { weights: Bytes(60), kv: Bytes(30) },
    };
    assert_eq!(devices, [expected]);
}
