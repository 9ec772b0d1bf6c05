//! Sections that only some runs have something to show in.

use windtunnel_ledger::case::{Case, Placement, Quant, Workload};
use windtunnel_ledger::conditions::Breach;
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Outcome, Stored};
use windtunnel_ledger::roof::Roof;
use windtunnel_ledger::store::Contents;
use windtunnel_ledger::unit::Tokens;

use crate::contents::{case, gate, measured, watched};
use crate::{between, one, page, svgs};

#[test]
fn a_round_that_was_watched_is_shown_with_its_phases_memory_and_conditions() {
    let mut contents = seen_from_outside();
    let Outcome::Measured(samples) = contents.records[0].outcome.clone() else { unreachable!() };
    let breaches = vec![Breach::Foreign { processes: 2 }];
    contents.records[0].outcome = Outcome::Void { breaches, samples };
    let page = page("watched", &contents);
    let section = page.split("<section id=\"rounds\">").nth(1).unwrap();
    let section = section.split("</section>").next().unwrap();
    assert_eq!(svgs(section).len(), contents.run.cases.len());
    for words in [
        "RSS up to 900 MiB",
        "CPU up to 2.0 cores",
        "SM clock up to 1980 MHz",
        "iteration 1",
        "≥ 900 MiB (sampled every 20.0 ms)",
        "not available: `--attribute` counts it",
        "1215 to 1980 MHz, median 1980",
        "thermal slowdown",
        "5.00 % of a core",
    ] {
        assert!(section.contains(words), "{words}");
    }
    let voids = page.split("<section id=\"voids\">").nth(1).unwrap();
    assert!(voids.contains("2 other processes computed on the GPU."), "{voids}");
}

/// A run whose rounds were watched.
pub(crate) fn seen_from_outside() -> Contents {
    let mut contents = measured(&one(), &gate(&[1], &[128]), 2, 0.0);
    let trace = watched();
    for record in &mut contents.records {
        record.conditions = record.conditions.clone().with(&trace);
        record.trace = Some(trace.clone());
    }
    contents
}

#[test]
fn formats_of_weights_stand_side_by_side() {
    let decode = Workload::Decode { depth: Tokens(128), output: Tokens(32), batch: 1 };
    let cases: Vec<Case> = [Quant::Q4K, Quant::None, Quant::Q8_0]
        .map(|quant| Case {
            quant,
            ..case("gate/quant", decode, "paged-16", &[("quant", quant.name())])
        })
        .to_vec();
    let mut contents = measured(&one(), &cases, 3, 0.0);
    for record in &mut contents.records {
        let factor = record.case.quant.bits().unwrap_or(32.0) / 32.0;
        if let Outcome::Measured(samples) = &mut record.outcome {
            *samples.once.get_mut(&Metric::WeightBytes).unwrap() *= factor;
            if record.case.quant == Quant::Q4K {
                let part = |format: &str, instead_of: Option<&str>, bytes| Stored {
                    format: format.into(),
                    instead_of: instead_of.map(Into::into),
                    tensors: 1,
                    bytes,
                };
                samples.formats = vec![
                    part("q4_1", Some("q4k"), 60),
                    part("q4k", None, 39),
                    part("f32", None, 1),
                ];
            }
        }
    }
    let page = page("formats", &contents);
    let (_, section) = page.split_once("id=\"formats\"").unwrap();
    let (section, _) = section.split_once("</section>").unwrap();
    let rows: Vec<&str> = between(section, "data-label=\"quant\"");
    assert_eq!(rows.len(), 3);
    let place = |text: &str| section.find(text).unwrap_or_else(|| panic!("no {text} in {section}"));
    assert!(place(">none<") < place(">q8_0<") && place(">q8_0<") < place(">q4k<"));
    assert!(section.contains("(0.27×)") && section.contains("(0.14×)"), "{section}");
    assert!(section.contains(">decode<"), "{section}");
    assert!(page.contains("q4k → q4_1 60 %, q4k 39 %, f32 1 %"));
}

#[test]
fn formats_are_drawn_over_their_weights_or_not_at_all() {
    let decode = Workload::Decode { depth: Tokens(128), output: Tokens(32), batch: 1 };
    let prefill = Workload::Prefill { prompt: Tokens(128), batch: 1 };
    let of = |scenario: &str, workload| {
        [Quant::Q4K, Quant::None].map(|quant| Case {
            quant,
            ..case(scenario, workload, "paged-16", &[("quant", quant.name())])
        })
    };
    let cases = [of("gate/decode", decode), of("gate/prefill", prefill)].concat();
    let section = |without: &str| {
        let mut contents = measured(&one(), &cases, 3, 0.0);
        for record in &mut contents.records {
            if let (Outcome::Measured(samples), true) =
                (&mut record.outcome, record.case.id.as_str().starts_with(without))
            {
                samples.once.remove(&Metric::WeightBytes);
            }
        }
        let page = page("formats-without-weights", &contents);
        let (_, section) = page.split_once("id=\"formats\"").unwrap();
        section.split_once("</section>").unwrap().0.to_owned()
    };
    // The first scenario does not have them.
    let some = section("gate/decode");
    let labels = between(&some, "data-label=\"");
    assert_eq!(labels[..4], ["quant", "weights", "decode", "prefill"], "{some}");
    assert_eq!(svgs(&some).len(), 2);
    let none = section("gate/");
    let labels = between(&none, "data-label=\"");
    assert_eq!(labels[..4], ["quant", "decode", "prefill", "quant"], "{none}");
    assert_eq!(svgs(&none).len(), 0, "{none}");
}

#[test]
fn each_device_has_a_roof_of_its_own() {
    let decode = Workload::Decode { depth: Tokens(128), output: Tokens(32), batch: 1 };
    let on = |map: &str| {
        let case = case("gate/decode", decode, "paged-16", &[("device-map", map)]);
        let placement = Placement { devices: map.parse().unwrap(), ..Placement::default() };
        Case { placement, ..case }
    };
    let processor = Roof {
        threads: 2,
        read: 20_000_000_000,
        copy: 20_000_000_000,
        f32: 100_000_000_000,
        bf16: 60_000_000_000,
        multiprocessors: None,
    };
    let gpu = Roof {
        read: 3_000_000_000_000,
        f32: 60_000_000_000_000,
        multiprocessors: Some(132),
        ..processor
    };
    let roofs = |maps: &[&str]| {
        let cases: Vec<Case> = maps.iter().map(|map| on(map)).collect();
        let mut contents = measured(&one(), &cases, 2, 0.0);
        for record in &mut contents.records {
            let is_gpu = record.case.placement.devices.as_str() == "cuda:0";
            record.conditions.roof = Some(if is_gpu { gpu } else { processor });
            if let Outcome::Measured(samples) = &mut record.outcome {
                samples.once.extend([(Metric::TokenBytes, 1e9), (Metric::TokenFlops, 1e9)]);
            }
        }
        let page = page("roofs", &contents);
        let section = page.split("<section id=\"roof\">").nth(1).unwrap();
        section.split("</section>").next().unwrap().to_owned()
    };
    let one = roofs(&["cpu:0"]);
    assert_eq!(svgs(&one).len(), 1);
    assert!(one.contains(" The machine: "), "{one}");
    let two = roofs(&["cpu:0", "cuda:0"]);
    assert_eq!(svgs(&two).len(), 2);
    for words in ["the processor: ", " by 2 threads. cuda:0: ", " by a GPU of 132 multiprocessors."]
    {
        assert!(two.contains(words), "{words} in {two}");
    }
}
