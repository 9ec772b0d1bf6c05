//! The description of a case: its settings, each by its name.
//!
//! A reader of sixty cases wants to see what distinguishes them and to read the rest once.

use std::fmt::Display;
use std::num::NonZeroU32;

use windtunnel_ledger::Metric;
use windtunnel_ledger::case::{Benchmark, Case, Quant, Slo, Source, Topology, Workload};
use windtunnel_ledger::precision::Enough;
use windtunnel_ledger::record::Stored;

use super::CaseView;

/// One setting of a case: its name and its value, formatted for people.
pub(crate) type Fact = (&'static str, String);

/// The facts that all `cases` share, the names of those that differ, and each case's values of the
/// latter. If nothing differs, the model's name stands for the case.
pub(super) fn split(cases: &[CaseView<'_>]) -> (Vec<Fact>, Vec<&'static str>, Vec<Vec<String>>) {
    let all: Vec<Vec<Fact>> = cases.iter().map(facts).collect();
    let mut names: Vec<&'static str> = Vec::new();
    for (name, _) in all.iter().flatten() {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let value = |facts: &[Fact], name: &str| {
        facts.iter().find(|(known, _)| *known == name).map_or("–".to_owned(), |(_, v)| v.clone())
    };
    let differs =
        |name: &&str| all.windows(2).any(|pair| value(&pair[0], name) != value(&pair[1], name));
    let (mut varying, mut same): (Vec<_>, Vec<_>) = names.into_iter().partition(differs);
    // If models differ, so do their weights, and the name of the model says which.
    if varying.contains(&"model") {
        varying.retain(|name| *name != "weights");
    }
    if varying.is_empty() {
        (varying, same) = same.into_iter().partition(|name| *name == "model");
    }
    let shared = all.first().map_or_else(Vec::new, |first| {
        same.into_iter().map(|name| (name, value(first, name))).collect()
    });
    let values = all.iter().map(|facts| varying.iter().map(|n| value(facts, n)).collect());
    let values = values.collect();
    (shared, varying, values)
}

/// Every setting of a case, in the order in which people look for them.
fn facts(view: &CaseView<'_>) -> Vec<Fact> {
    let Case {
        id: _,
        deadline: _,
        workload,
        model,
        dtype,
        quant,
        kv,
        placement,
        attention,
        step_tokens,
        prefix_cache,
        cuda_graphs,
        kv_share,
        warmup,
        iterations,
        enough,
        seed,
    } = view.case;

    if let Source::Bench(Benchmark { package, bench, name }) = &model.source {
        return vec![
            ("workload", workload.name().to_owned()),
            ("package", package.clone()),
            ("bench", bench.clone()),
            ("benchmark", name.clone()),
        ];
    }
    let mut facts = vec![("model", model.name.clone()), ("workload", workload.name().to_owned())];
    facts.extend(of_workload(workload));
    if let Workload::Serve { .. } | Workload::Soak { .. } = workload {
        facts.extend([
            ("prefix cache", prefix_cache.to_string()),
            ("KV share", format!("{kv_share} %")),
        ]);
    }
    if placement.names_gpu() {
        facts.push(("CUDA graphs", cuda_graphs.to_string()));
    }
    let results = || view.results.iter().map(|result| &result.summary);
    let held = results().map(|summary| &summary.formats[..]);
    let held = held.max_by_key(|held| held.len()).unwrap_or_default();
    if *quant != Quant::None {
        facts.push(("quant", quantised(*quant, held)));
    }
    facts.extend([
        ("dtype", became(dtype, results().find_map(|summary| summary.dtype))),
        ("kv", kv.to_string()),
        ("devices", placement.devices.to_string()),
        ("topology", topology(&placement.topology)),
        ("attention", became(attention, results().find_map(|s| s.attention.as_deref()))),
        ("step", step_tokens.to_string()),
        ("warm-up", warmup.to_string()),
        ("iterations", until(*iterations, *enough)),
        ("seed", seed.to_string()),
        ("weights", origin(&model.source)),
    ]);
    facts
}

/// The settings that only this workload has.
fn of_workload(workload: &Workload) -> Vec<Fact> {
    match workload {
        // A benchmark has its own settings.
        Workload::Load | Workload::Criterion => Vec::new(),
        Workload::Prefill { prompt, batch } => {
            vec![("batch", batch.to_string()), ("prompt", prompt.to_string())]
        }
        Workload::Decode { depth, output, batch } => vec![
            ("batch", batch.to_string()),
            ("depth", depth.to_string()),
            ("output", output.to_string()),
        ],
        Workload::Generate { prompt, output, batch } => vec![
            ("batch", batch.to_string()),
            ("prompt", prompt.to_string()),
            ("output", output.to_string()),
        ],
        Workload::Context { shallow, depth, output } => vec![
            ("shallow", shallow.to_string()),
            ("depth", depth.to_string()),
            ("output", output.to_string()),
        ],
        Workload::Serve { arrival, batch, requests, prompt, output, shared, slo } => vec![
            ("arrival", arrival.to_string()),
            ("batch", batch.to_string()),
            ("requests", requests.to_string()),
            ("prompt", format!("{prompt} tok")),
            ("output", format!("{output} tok")),
            ("shared", format!("{shared} %")),
            ("objectives", objectives(slo)),
        ],
        Workload::Idle { duration, requests } => {
            vec![("duration", duration.to_string()), ("requests", requests.to_string())]
        }
        Workload::Soak { duration, batch, prompt, output, shared } => vec![
            ("duration", duration.to_string()),
            ("batch", batch.to_string()),
            ("prompt", format!("{prompt} tok")),
            ("output", format!("{output} tok")),
            ("shared", format!("{shared} %")),
        ],
        Workload::Embed { batch, requests, prompt } => vec![
            ("batch", batch.to_string()),
            ("requests", requests.to_string()),
            ("prompt", format!("{prompt} tok")),
        ],
        Workload::Quality { prompt, requests, against } => vec![
            ("window", prompt.to_string()),
            ("windows", requests.to_string()),
            ("against", against.to_string()),
        ],
        Workload::Parity { tolerance } => {
            vec![("tolerance", Metric::LogitError.show(tolerance.share()))]
        }
    }
}

/// The requested value, and the actual one if it differs, because that is what was measured: `auto
/// → naive`.
fn became(asked: impl Display, ran: Option<impl Display>) -> String {
    let asked = asked.to_string();
    match ran.map(|ran| ran.to_string()) {
        Some(ran) if ran != asked => format!("{asked} → {ran}"),
        _ => asked,
    }
}

/// The number of iterations, or the condition that ends them.
fn until(iterations: NonZeroU32, enough: Enough) -> String {
    match enough {
        Enough::Counted => iterations.to_string(),
        Enough::Precise(precision) => format!("at least {iterations}, until {precision}"),
    }
}

/// Where the weights come from.
fn origin(source: &Source) -> String {
    match source {
        Source::Preset(name) => format!("random in the shapes of {name}"),
        Source::Folder(path) | Source::Gguf(path) => path.clone(),
        Source::Hub(snapshot) => snapshot.to_string(),
        Source::Bench(benchmark) => benchmark.to_string(),
    }
}

/// The settings of individual layers.
fn topology(topology: &Topology) -> String {
    if topology.is_none() { "none".into() } else { topology.name.clone() }
}

/// The requested format, and if it does not fit all weights, the share of the weights held in each
/// format.
fn quantised(asked: Quant, held: &[Stored]) -> String {
    if !held.iter().any(|held| held.instead_of.is_some()) {
        return asked.to_string();
    }
    let total: u64 = held.iter().map(|held| held.bytes).sum();
    let part = |held: &Stored| {
        let share = held.bytes as f64 / total.max(1) as f64 * 100.0;
        (share >= 0.5).then(|| format!("{} {share:.0} %", held.format))
    };
    let parts: Vec<_> = held.iter().filter_map(part).collect();
    format!("{asked} → {}", parts.join(", "))
}

/// The definition of a good answer.
fn objectives(slo: &Slo) -> String {
    let Slo { time_to_first_token, time_per_output_token, end_to_end } = slo;
    format!(
        "TTFT ≤ {time_to_first_token}, TPOT ≤ {time_per_output_token}, end to end ≤ {end_to_end}"
    )
}
