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
    Against, Arrival, Benchmark, Case, CaseId, CudaGraphs, DeviceMap, Dtype, Files, KvLayout,
    Lengths, Model, Placement, PrefixCache, Quant, Slo, Snapshot, Source, Tolerance, Topology,
    Workload,
};
use windtunnel_ledger::counter::Counter;
use windtunnel_ledger::holding::Held;
use windtunnel_ledger::precision::{Cause, Enough, Precision, Stopped};
use windtunnel_ledger::record::{Iteration, IterationKind};
use windtunnel_ledger::roof::Roof;
use windtunnel_ledger::trace::Phase;
use windtunnel_ledger::wire::{Message, Order, PROTOCOL, Phases, Purpose};
use windtunnel_ledger::{Bytes, Metric, Nanos, Tokens};

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
        prefix_cache: PrefixCache::Off,
        cuda_graphs: CudaGraphs::On,
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

/// The iterations of `case` and what is known once a round.
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
    // On a CPU nothing is preferred that does not run.
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
    // Two that count are too few for an interval, and a nanosecond is soon over.
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
    // Three sequences read the matrices together, and each does two operations for each number.
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
    // Those of the kernel are known where it permits that.
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

/// A small service with this traffic.
fn serve(arrival: &str, prompt: &str, shared: u32) -> Workload {
    let arrival = arrival.parse().unwrap();
    let (prompt, output) = (prompt.parse().unwrap(), "uniform-2-6".parse().unwrap());
    let hour = Nanos::from_seconds(3600.0);
    let slo = Slo { time_to_first_token: hour, time_per_output_token: hour, end_to_end: hour };
    Workload::Serve { arrival, batch: 4, requests: 12, prompt, output, shared, slo }
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
    // A benchmark is nothing for a probe.
    let names = [&workloads.map(|workload| workload.name())[..], &["criterion"]].concat();
    assert_eq!(names, Workload::NAMES);
    for workload in workloads {
        let models = match workload {
            // Those that continue texts and those that embed them have numbers of their own.
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

const EMBED: Workload =
    Workload::Embed { batch: 4, requests: 6, prompt: Lengths::Mixed(Tokens(3), Tokens(20)) };

fn embedder() -> Model {
    let name = "tiny-embeddinggemma";
    Model { name: name.into(), source: Source::Preset(name.into()) }
}

#[test]
fn texts_have_the_same_vectors_whoever_is_beside_them_and_whatever_computes() {
    let digests = |case: &Case| -> Vec<String> {
        measured(case).0.iter().map(|iteration| iteration.digest.to_string()).collect()
    };
    let original = Case { model: embedder(), ..case(EMBED) };
    let alone = Workload::Embed { batch: 1, requests: 6, prompt: "mixed-3-20".parse().unwrap() };
    assert_eq!(digests(&original), digests(&Case { workload: alone, ..original.clone() }));
    assert_eq!(
        digests(&original),
        digests(&Case { attention: "naive".into(), ..original.clone() })
    );
    assert_ne!(digests(&original), digests(&Case { seed: 2, ..original.clone() }));
}

#[test]
fn models_are_asked_for_what_they_were_made_for() {
    let error = |case: &Case| match messages(case).pop() {
        Some(Message::Failed { error }) => error,
        other => panic!("{other:?}"),
    };
    insta::assert_snapshot!(error(&case(EMBED)), @"preset `tiny-qwen3` continues texts and does not embed them; load it as an engine, or choose a model whose folder holds a `modules.json`");
    insta::assert_snapshot!(error(&Case { model: embedder(), ..case(DECODE) }), @"preset `tiny-embeddinggemma` embeds texts and does not continue them; load it as an embedder, or choose a model whose folder holds no files of sentence-transformers");
}

fn parity(tolerance: f64) -> Workload {
    Workload::Parity { tolerance: Tolerance::new(tolerance).unwrap() }
}

/// A model with a reference, out of the engine's tests.
fn golden(name: &str) -> Model {
    let folder = format!("{}/../../engine/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    Model { name: name.into(), source: Source::Folder(folder) }
}

/// A model that embeds texts, with a reference, out of the engine's tests.
fn golden_embedder(name: &str) -> Model {
    let folder =
        format!("{}/../../engine/tests/golden_embeddings/{name}", env!("CARGO_MANIFEST_DIR"));
    Model { name: name.into(), source: Source::Folder(folder) }
}

const fn quality(against: Against) -> Workload {
    Workload::Quality { prompt: Tokens(24), requests: 3, against }
}

#[test]
fn an_embedder_that_computes_what_the_reference_did_passes_in_any_precision() {
    for name in ["embeddinggemma", "qwen3_embedding"] {
        for (dtype, tolerance) in [(Dtype::F32, 1e-4), (Dtype::F16, 0.02), (Dtype::Bf16, 0.2)] {
            for attention in ["naive", "cpu-flash"] {
                let case = Case {
                    model: golden_embedder(name),
                    dtype,
                    attention: attention.into(),
                    ..case(parity(tolerance))
                };
                let found = |metric| value(&case, metric);
                assert!(found(Metric::VectorError) <= tolerance, "{name} {dtype} {attention}");
                assert!(found(Metric::HiddenError) <= tolerance, "{name} {dtype} {attention}");
                assert!(found(Metric::CosineDistance) <= tolerance, "{name} {dtype} {attention}");
            }
        }
    }
}

#[test]
fn a_vector_beyond_the_tolerance_fails_the_round_and_names_its_tensor() {
    let strict =
        Case { model: golden_embedder("embeddinggemma"), dtype: Dtype::Bf16, ..case(parity(1e-6)) };
    let Some(Message::Failed { error }) = messages(&strict).pop() else { panic!() };
    assert!(error.starts_with("`last_hidden_state` of `"), "{error}");
    assert!(error.contains("; 1.0e-4 % is allowed"), "{error}");
}

#[test]
fn hidden_states_are_held_to_the_reference_where_it_has_them() {
    let hidden = |name: &str| {
        let (iterations, _) = measured(&Case { model: golden(name), ..case(parity(1e-4)) });
        iterations[0].values.get(&Metric::HiddenError).cloned()
    };
    // Several streams side by side, and one.
    for name in ["gemma3n_text", "qwen3_tied"] {
        let [error] = hidden(name).unwrap()[..] else { panic!("{name}") };
        assert!(error > 0.0 && error < 1e-4, "{name}: {error}");
    }
}

/// The perplexity of the definition, from logits that the engine shows for whole windows: each token
/// is predicted once, from at least half a window.
#[test]
fn perplexity_is_that_of_every_token_from_the_window_that_knows_most() {
    use windtunnel_engine::{
        Choice, CudaGraphs, Engine, EngineConfig, KvLayout as EngineKv, ModelSource,
        PrefixCache as Prefixes, score,
    };
    let mut engine = Engine::load(&EngineConfig {
        model: ModelSource::Preset { name: "tiny-qwen3".into(), seed: 1 },
        dtype: windtunnel_engine::Dtype::F32,
        quant: windtunnel_engine::QuantPlan::DENSE,
        devices: "cpu:0".parse().unwrap(),
        topology: windtunnel_engine::Topology::NONE,
        kv: EngineKv::Contiguous,
        attention: Choice::Named("naive".into()),
        prefix_cache: Prefixes::Off,
        cuda_graphs: CudaGraphs::On,
        kv_tokens: 64,
        max_step_tokens: 64,
        max_sequences: 1,
        max_sequence_length: Some(64),
    })
    .unwrap();
    let text = windtunnel_probe::traffic::words(1, 0, 0, 48, engine.vocabulary());
    let mut nats = Vec::new();
    for (window, counts) in [(0..24, 1..24), (12..36, 24..36), (24..48, 36..48)] {
        let start = window.start;
        score(&mut engine, text[window].to_vec(), 1, &mut |position, logits| {
            let next = start + position + 1;
            if counts.contains(&next) {
                let most = logits.iter().copied().fold(f32::MIN, f32::max);
                let sum: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
                nats.push(sum.ln() + f64::from(most) - f64::from(logits[text[next] as usize]));
            }
        })
        .unwrap();
    }
    assert_eq!(nats.len(), 47);
    let expected = (nats.iter().sum::<f64>() / 47.0).exp();
    let found = value(&case(quality(Against::Nothing)), Metric::Perplexity);
    assert!((found / expected - 1.0).abs() < 1e-4, "{found} instead of {expected}");
}

#[test]
fn less_precision_is_further_from_f32_and_f32_is_as_near_as_can_be() {
    let divergence =
        |dtype| value(&Case { dtype, ..case(quality(Against::F32)) }, Metric::Divergence);
    let [exact, f16, bf16] = [Dtype::F32, Dtype::F16, Dtype::Bf16].map(divergence);
    assert!(exact < 1e-9, "{exact}");
    assert!(exact < f16 && f16 < bf16, "{f16} {bf16}");
    let same = value(&case(quality(Against::F32)), Metric::TopAgreement);
    assert_eq!(same, 1.0);
}

#[test]
fn a_model_with_a_tokenizer_reads_words_and_is_told_when_they_run_out() {
    let folder = tempfile::tempdir().unwrap();
    let Source::Folder(from) = golden("llama_gqa").source else { unreachable!() };
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(Path::new(&from).join(file), folder.path().join(file)).unwrap();
    }
    let source = Source::Folder(folder.path().display().to_string());
    let model = Model { name: "mine".into(), source };
    let digest = |workload| {
        let (iterations, _) = measured(&Case { model: model.clone(), ..case(workload) });
        iterations[0].digest.clone()
    };
    let drawn = digest(quality(Against::Nothing));
    // Every word of the text is the same unknown one to this tokenizer.
    let Source::Folder(with) = golden_embedder("qwen3_embedding").source else { unreachable!() };
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(Path::new(&with).join(file), folder.path().join(file)).unwrap();
    }
    assert_ne!(digest(quality(Against::Nothing)), drawn);
    let endless =
        Workload::Quality { prompt: Tokens(100), requests: 90, against: Against::Nothing };
    let Some(Message::Failed { error }) = messages(&Case { model, ..case(endless) }).pop() else {
        panic!()
    };
    insta::assert_snapshot!(error, @"the text has 1292 tokens for this model, 90 windows of 100 need 4550: lower `requests` or `prompt`");
}

#[test]
fn an_engine_that_computes_what_the_reference_did_passes_in_any_precision() {
    for (dtype, tolerance) in [(Dtype::F32, 1e-4), (Dtype::F16, 0.02), (Dtype::Bf16, 0.1)] {
        let case = Case { model: golden("qwen3_tied"), dtype, ..case(parity(tolerance)) };
        let found = |metric| value(&case, metric);
        assert!(found(Metric::LogitError) <= tolerance);
        assert!(found(Metric::Divergence) < tolerance);
        assert!(found(Metric::TopAgreement) > 0.8);
        if dtype == Dtype::F32 {
            assert_eq!((found(Metric::TopAgreement), found(Metric::SameTokens)), (1.0, 16.0));
        }
    }
}

/// They are made by `tools/dump_reference.py`, which nothing else reads.
#[test]
fn the_families_without_golden_data_compute_what_their_references_did() {
    let folder = format!("{}/../../engine/tests/references", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let references: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    assert!(references.len() >= 7);
    for path in references {
        let name = path.file_name().unwrap().display().to_string();
        let source = Source::Folder(path.display().to_string());
        let case = Case { model: Model { name: name.clone(), source }, ..case(parity(1e-4)) };
        assert_eq!(value(&case, Metric::TopAgreement), 1.0, "{name}");
    }
}

#[test]
fn a_number_beyond_the_tolerance_fails_the_round_and_names_its_place() {
    let strict = Case { model: golden("qwen3_tied"), dtype: Dtype::Bf16, ..case(parity(1e-6)) };
    let Some(Message::Failed { error }) = messages(&strict).pop() else { panic!() };
    assert!(error.starts_with("`hidden_embed` of `"), "{error}");
    assert!(error.ends_with("; 1.0e-4 % is allowed"), "{error}");
}

#[test]
fn a_model_without_a_reference_is_told_how_to_make_one() {
    let said = |case: &Case| {
        let Some(Message::Failed { error }) = messages(case).pop() else { panic!() };
        error.replace(env!("CARGO_MANIFEST_DIR"), "[probe]")
    };
    insta::assert_snapshot!(said(&case(parity(1e-4))), @"`tiny-qwen3` has random weights, which no other implementation has run: name a model with a folder");

    let folder = tempfile::tempdir().unwrap();
    let Source::Folder(from) = golden("llama_gqa").source else { unreachable!() };
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(Path::new(&from).join(file), folder.path().join(file)).unwrap();
    }
    let model =
        Model { name: "mine".into(), source: Source::Folder(folder.path().display().to_string()) };
    let mine = Case { model, ..case(parity(1e-4)) };
    let said = |case: &Case| said(case).replace(&folder.path().display().to_string(), "[folder]");
    insta::assert_snapshot!(said(&mine), @"cannot read the reference `[folder]/golden.safetensors`; `tools/dump_reference.py` makes one: No such file or directory (os error 2)");
    let reference = folder.path().join("golden.safetensors");
    std::fs::copy(folder.path().join("model.safetensors"), &reference).unwrap();
    insta::assert_snapshot!(said(&mine), @"`[folder]/golden.safetensors` is no reference: tensor `input_ids` not found");
    std::fs::write(&reference, "no tensors").unwrap();
    insta::assert_snapshot!(said(&mine), @"`[folder]/golden.safetensors` is no reference: header too large");
}

/// The only value of `metric` in the last iteration of `case`.
fn value(case: &Case, metric: Metric) -> f64 {
    let (iterations, _) = measured(case);
    let [value] = iterations.last().unwrap().values[&metric][..] else { panic!("{metric}") };
    value
}

#[test]
fn a_service_gives_the_same_answers_whenever_its_requests_come_and_however_many_run() {
    let digests = |workload| -> Vec<String> {
        let (iterations, _) = measured(&case(workload));
        iterations.iter().map(|iteration| iteration.digest.to_string()).collect()
    };
    let closed = serve("closed", "lognormal-12-40", 0);
    let Workload::Serve { arrival, requests, prompt, output, shared, slo, .. } = closed else {
        unreachable!()
    };
    let one = Workload::Serve { batch: 1, arrival, requests, prompt, output, shared, slo };
    assert_eq!(digests(closed), digests(one));
    assert_eq!(digests(closed), digests(serve("poisson-200", "lognormal-12-40", 0)));
    assert_eq!(digests(closed), digests(serve("fixed-200", "lognormal-12-40", 0)));
}

#[test]
fn an_open_loop_is_no_faster_than_its_requests_come() {
    let slow = case(Workload::Serve {
        arrival: Arrival::Fixed("20".parse().unwrap()),
        batch: 4,
        requests: 5,
        prompt: Lengths::Fixed(Tokens(4)),
        output: Lengths::Fixed(Tokens(1)),
        shared: 0,
        slo: Slo {
            time_to_first_token: Nanos(0),
            time_per_output_token: Nanos(0),
            end_to_end: Nanos(0),
        },
    });
    // The last request is due after a fifth of a second.
    let rate = value(&slow, Metric::RequestRate);
    assert!(rate <= 25.0, "{rate} requests a second");
    assert_eq!(value(&slow, Metric::Goodput), 0.0, "nothing takes no time");
}

#[test]
fn the_prefix_cache_finds_what_prompts_share_and_nothing_of_other_iterations() {
    let hits = |shared, prefix_cache| {
        let case = Case { prefix_cache, ..case(serve("closed", "64", shared)) };
        value(&case, Metric::PrefixHitRate)
    };
    assert_eq!(hits(100, PrefixCache::Off), 0.0);
    assert_eq!(hits(0, PrefixCache::On), 0.0);
    // Blocks have 16 tokens; of a whole prompt one token is computed all the same.
    assert_eq!(hits(50, PrefixCache::On), 11.0 * 32.0 / (12.0 * 64.0));
    assert_eq!(hits(100, PrefixCache::On), 11.0 * 48.0 / (12.0 * 64.0));
}

#[test]
fn what_a_preempted_request_finds_again_is_no_hit() {
    let tight = Case {
        prefix_cache: PrefixCache::On,
        kv_share: NonZeroU32::new(30).unwrap(),
        ..case(serve("closed", "uniform-30-60", 0))
    };
    assert_eq!(value(&tight, Metric::PrefixHitRate), 0.0, "its prompts share nothing");
}

#[test]
fn a_prefix_cache_that_cannot_be_is_no_silence() {
    let case = Case {
        prefix_cache: PrefixCache::On,
        kv: KvLayout::Contiguous,
        ..case(serve("closed", "8", 0))
    };
    let Some(Message::Unsupported { reason }) = messages(&case).pop() else { panic!() };
    insta::assert_snapshot!(reason, @r#"this model or its cache can share no beginnings; choose prefix-cache = "off""#);
}

#[test]
fn a_case_that_the_probe_does_not_know_is_told_and_no_crash() {
    let order = order(PROTOCOL, &case(DECODE)).replace("decode", "dance");
    let output = probe(&order);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let Message::Failed { error } = serde_json::from_str(text.lines().last().unwrap()).unwrap()
    else {
        panic!("{text}")
    };
    assert!(error.starts_with("this probe does not know such a case: unknown variant"), "{error}");
}

#[test]
fn a_small_pool_preempts_and_changes_no_token() {
    let ample = case(serve("closed", "uniform-30-60", 0));
    let tight = Case { kv_share: NonZeroU32::new(30).unwrap(), ..ample.clone() };
    assert_eq!(value(&ample, Metric::PrefillAmplification), 1.0);
    assert_eq!(value(&ample, Metric::Preemptions), 0.0);
    assert!(value(&tight, Metric::PeakBlocks) < value(&ample, Metric::PeakBlocks));
    let digests = |case: &Case| -> Vec<String> {
        measured(case).0.iter().map(|iteration| iteration.digest.to_string()).collect()
    };
    assert_eq!(digests(&ample), digests(&tight));
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
        // The stream there and back, cosines and sines.
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
fn a_soak_leaves_nothing_behind() {
    let soak = case(Workload::Soak {
        duration: Nanos::from_seconds(1.0),
        batch: 4,
        prompt: "uniform-1-40".parse().unwrap(),
        output: "uniform-2-12".parse().unwrap(),
        shared: 50,
    });
    for prefix_cache in [PrefixCache::Off, PrefixCache::On] {
        let soak = Case { prefix_cache, ..soak.clone() };
        assert_eq!(value(&soak, Metric::LeakedBlocks), 0.0);
        assert_eq!(value(&soak, Metric::ThreadGrowth), 0.0);
        assert_eq!(value(&soak, Metric::FileGrowth), 0.0);
    }
    // However short, and however slow the machine: what makes the digest is asked.
    let digest = |duration| {
        let Workload::Soak { batch, prompt, output, shared, .. } = soak.workload else { panic!() };
        let workload = Workload::Soak { duration, batch, prompt, output, shared };
        measured(&Case { workload, ..soak.clone() }).0[0].digest.clone()
    };
    assert_eq!(digest(Nanos(1)), digest(Nanos::from_seconds(0.5)));
}

#[test]
fn what_the_engine_cannot_do_is_told_and_no_crash() {
    let last = |case: &Case| messages(case).pop().unwrap();
    let unknown = Case { attention: "magic".into(), ..case(DECODE) };
    let Message::Failed { error } = last(&unknown) else { panic!("{:?}", last(&unknown)) };
    insta::assert_snapshot!(error, @"no attention backend `magic`; known are cuda-flash, cpu-flash, naive");

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
    insta::assert_snapshot!(error, @"q4.gguf of someone/tiny at main lies on a hub, and a probe reads files alone: start it with `windtunnel run`, which downloads them and hands over their folder");

    let mut bench = case(Workload::Criterion);
    bench.model.source = Source::Bench(Benchmark {
        package: "engine".into(),
        bench: "sampler".into(),
        name: "greedy".into(),
    });
    let Message::Unsupported { reason } = last(&bench) else { panic!("{:?}", last(&bench)) };
    insta::assert_snapshot!(reason, @"`engine/sampler` is a bench, which runs without a probe: name the working tree, a revision or an external subject with `[criterion]`");

    let endless = case(Workload::Prefill { prompt: Tokens(1_000_000), batch: 1 });
    let Message::Failed { error } = last(&endless) else { panic!("{:?}", last(&endless)) };
    insta::assert_snapshot!(error, @"the prompt has 1000000 tokens, but at most 4095 fit beside one new token; shorten it or ask for truncation");
}

#[test]
fn another_protocol_is_answered_with_our_number_alone() {
    let output = probe(&order(PROTOCOL + 1, &case(DECODE)));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(&format!("\"protocol\":{PROTOCOL}")), "{text}");
}

#[test]
fn somebody_who_starts_the_probe_by_hand_is_told_what_it_wants() {
    let output = probe("hello\n");
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @"error: stdin does not hold the order of a case: `windtunnel run` starts this program, and its log shows how: expected value at line 1 column 1");
}

fn scenarios() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

fn toml(path: &str) -> toml::Table {
    toml::from_str(&std::fs::read_to_string(scenarios().join(path)).unwrap()).unwrap()
}

#[test]
fn every_regression_that_can_be_planted_is_shown_to_a_guard_of_its_commit() {
    let museum = toml("museum.toml");
    let exhibits = museum["exhibit"].as_array().unwrap();
    let text = |table: &toml::Value, key: &str| table[key].as_str().unwrap().to_owned();
    let shown: Vec<String> = exhibits.iter().map(|exhibit| text(exhibit, "fault")).collect();
    // What has a measure, and the wrong token, are what `ci/faults.sh` plants.
    let regressions = Fault::ALL
        .iter()
        .filter(|fault| fault.measure() == Measure::Whole && **fault != Fault::WrongToken);
    assert_eq!(shown, regressions.map(|fault| fault.name()).collect::<Vec<_>>());

    let log = toml("../engine/upstream.toml");
    let commits = log["commit"].as_array().unwrap();
    for exhibit in exhibits {
        let (hash, guard) = (text(exhibit, "upstream"), text(exhibit, "guard"));
        let commit = commits.iter().find(|commit| text(commit, "hash").starts_with(&hash));
        let commit = commit.unwrap_or_else(|| panic!("{hash} is not in the integration log"));
        let guard = toml::Value::String(format!("scenarios/{guard}.toml"));
        let guards = commit.get("guards").and_then(toml::Value::as_array);
        assert!(guards.is_some_and(|guards| guards.contains(&guard)), "{hash}: {guard}");
    }
}

#[test]
#[cfg(not(feature = "faults"))]
fn nothing_can_be_planted_in_a_probe_as_it_is_shipped() {
    for argument in ["--faults", "--fault=lost-mmap"] {
        let output = Command::new(env!("CARGO_BIN_EXE_windtunnel-probe"))
            .arg(argument)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{argument}");
        let told = String::from_utf8(output.stderr).unwrap();
        let expected =
            "error: nothing can be planted in this probe: build it with the feature `faults`\n";
        assert_eq!(told, expected, "{argument}");
    }
}

/// The CLI estimates from these numbers and links no engine that could correct it.
#[test]
fn the_models_of_the_scenarios_have_the_numbers_of_the_presets() {
    let models = toml("models.toml");
    let number = |model: &toml::Value, key: &str| model.get(key).and_then(toml::Value::as_integer);
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for (name, model) in &models {
        let Some(preset) = model.get("preset").and_then(toml::Value::as_str) else { continue };
        // Of one that embeds texts, the engine does not tell before it is loaded.
        let Ok(sketch) = Preset::named(preset).unwrap().sketch() else { continue };
        let heads = &sketch.heads;
        // Layers that share keys keep none of their own.
        let kv_width = 2 * heads.cached * heads.kv_heads * heads.dim;
        found.push((name, number(model, "parameters"), number(model, "kv-width")));
        expected.push((name, Some(sketch.parameters as i64), Some(kv_width as i64)));
    }
    assert_eq!(found, expected);
    for preset in presets() {
        assert!(models.contains_key(preset.name), "no `{}` in models.toml", preset.name);
    }
}

#[test]
fn every_family_is_measured_at_night_in_public_shapes() {
    let models = toml("models.toml");
    let families = |scenario: &str| -> BTreeSet<&'static str> {
        let named = toml(scenario)["models"].as_array().unwrap().clone();
        let architecture = |name: &toml::Value| {
            let preset = models[name.as_str().unwrap()]["preset"].as_str().unwrap();
            assert!(!preset.starts_with("tiny"), "{preset} is nobody's shape");
            Preset::named(preset).unwrap().architecture().unwrap()
        };
        named.iter().map(architecture).collect()
    };
    let registered: BTreeSet<_> = MODELS.iter().map(|entry| entry.architecture).collect();
    assert_eq!(families("nightly/families.toml"), registered);
    let registered: BTreeSet<_> = EMBEDDERS.iter().map(|entry| entry.architecture).collect();
    assert_eq!(families("nightly/families/embedders.toml"), registered);
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
    insta::assert_snapshot!(error, @"a step of the engine failed: cannot use `cuda:3`: another process has it for itself; end that one, or share it with `nvidia-smi --compute-mode=DEFAULT`");

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
