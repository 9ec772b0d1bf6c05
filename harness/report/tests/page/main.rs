//! Whole pages. Each is also written to `tmp/` in the target directory, for inspection.

mod browser;
mod contents;
mod contrast;
mod example;
mod history;
mod index;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use contents::{begun, case, gate, measured, record, services, spoil, subject, watched};
use windtunnel_ledger::attribution::{Attribution, Work};
use windtunnel_ledger::case::{Case, CaseId, Placement, Quant, Workload};
use windtunnel_ledger::conditions::Breach;
use windtunnel_ledger::counter::{Count, Counter, Counts};
use windtunnel_ledger::gate::{Setting, Terms};
use windtunnel_ledger::holding::{Held, Holding};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Failure, Outcome, RunId, Samples, Skipped, Stored, Subject};
use windtunnel_ledger::roof::Roof;
use windtunnel_ledger::store::Contents;
use windtunnel_ledger::unit::{Bytes, Nanos, Tokens};
use windtunnel_report::index::Card;

/// The page of a run.
#[track_caller]
fn page(name: &str, contents: &Contents) -> String {
    made(name, || windtunnel_report::render(contents).expect("every page can be made"))
}

/// A page, checked for what must hold whatever is on it.
#[track_caller]
fn made(name: &str, make: impl Fn() -> String) -> String {
    let page = make();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.html"));
    std::fs::write(file, &page).expect("the target directory is writable");

    assert_eq!(page, make(), "equal contents, equal bytes");
    for svg in svgs(&page) {
        roxmltree::Document::parse(svg).unwrap_or_else(|error| panic!("{error} in {svg}"));
    }
    // A link is not fetched.
    let foreign =
        page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "").replace("<a href=\"https:", "");
    for reference in ["http:", "https:", "<link", "src=", "url(", "@import"] {
        assert!(!foreign.contains(reference), "the page refers to something: {reference}");
    }
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    for link in between(&page, "href=\"#") {
        assert!(page.contains(&format!("id=\"{link}\"")), "there is no `{link}` on the page");
    }
    let ids = between(&page, " id=\"");
    assert_eq!(ids.len(), BTreeSet::from_iter(&ids).len(), "an anchor is there twice");
    page
}

/// The values of an attribute.
fn between<'a>(page: &'a str, opening: &str) -> Vec<&'a str> {
    page.split(opening).skip(1).filter_map(|piece| piece.split('"').next()).collect()
}

fn svgs(page: &str) -> Vec<&str> {
    let pieces =
        page.split_inclusive("</svg>").filter_map(|piece| Some(&piece[piece.find("<svg")?..]));
    pieces.collect()
}

fn one() -> Vec<Subject> {
    vec![subject(".", 'a')]
}

fn two() -> Vec<Subject> {
    vec![subject("rev:HEAD~1", 'b'), subject(".", 'a')]
}

#[test]
fn a_small_page() {
    let decode = Workload::Decode { depth: Tokens(128), output: Tokens(32), batch: 1 };
    let cases = [case("smoke/decode", decode, "paged-16", &[("kv", "paged-16")])];
    let page = page("small", &measured(&two(), &cases, 3, 0.05));
    // One element per line, and without the style, so that a diff of the page is readable.
    let (before, style) = page.split_once("<style>").unwrap();
    let (_, after) = style.split_once("</style>").unwrap();
    insta::assert_snapshot!(format!("{before}{after}").replace("><", ">\n<"));
}

#[test]
fn one_round_of_one_subject() {
    let page = page("one-round", &measured(&one(), &gate(&[1, 8], &[128, 2048]), 1, 0.0));
    assert!(page.contains("17 cases measured, none failed."));
    assert!(page.contains("One round only: its noise is unknown"));
    assert!(!page.contains("Comparison"));
}

#[test]
fn five_rounds_of_two_subjects_with_all_that_can_go_wrong() {
    let mut contents = measured(&two(), &gate(&[1, 8], &[128, 2048]), 5, 0.06);
    spoil(&mut contents);
    let page = page("two-subjects", &contents);
    assert!(page.contains("signal 11 (SIGSEGV)"));
    assert!(page.contains("has overflowed its stack"));
    assert!(page.contains("choose dtype = &quot;f16&quot;"));
    assert!(page.contains("needs 30 GiB"));
    assert!(page.contains("broken:"));
}

#[test]
fn sixty_cases_and_four_subjects() {
    let subjects = [('b', "rev:v0.1"), ('c', "rev:v0.2"), ('d', "rev:v0.3"), ('a', ".")];
    let subjects = subjects.map(|(digit, name)| subject(name, digit));
    let cases = gate(&[1, 2, 4, 8, 16], &[128, 512, 2048]);
    assert!(cases.len() > 60);
    let page = page("sixty", &measured(&subjects, &cases, 3, 0.02));
    let (_, body) = page.split_once("<body>").unwrap();
    assert_eq!(body.matches(" against ").count(), 3);
}

#[test]
fn a_service_shows_how_latency_grows_with_throughput_and_where_its_tails_are() {
    let page = page("service", &measured(&one(), &services(), 3, 0.0));
    let section = page.split("<section id=\"service\">").nth(1).unwrap();
    let section = section.split("</section>").next().unwrap();
    assert_eq!(
        svgs(section).len(),
        2,
        "first token and gaps; the scenarios without a service have none"
    );
    let section = page.split("<section id=\"percentiles\">").nth(1).unwrap();
    let table = section.split("<table>").nth(1).unwrap();
    let (first, _) = table.split_once("</table>").unwrap();
    insta::assert_snapshot!(first.replace("><", ">\n<"));
}

#[test]
fn a_model_on_several_devices_shows_what_each_of_them_holds() {
    let generate = Workload::Generate { prompt: Tokens(128), output: Tokens(16), batch: 1 };
    let case = |map: &str| {
        let case = case("gate/device-map", generate, "paged-16", &[("device-map", map)]);
        let placement = Placement { devices: map.parse().unwrap(), ..Placement::default() };
        Case { placement, ..case }
    };
    let mut contents = measured(&one(), &[case("cpu:0"), case("cpu:0=12+cpu:1")], 2, 0.0);
    let held = |weights: u64, kv: u64| Held { weights: Bytes(weights << 20), kv: Bytes(kv << 20) };
    let holding = |device: &str, estimated, held| Holding {
        device: device.into(),
        layers: 12,
        estimated,
        held,
    };
    for record in &mut contents.records {
        let split = record.case.placement.devices.as_str().contains('+');
        let Outcome::Measured(samples) = &mut record.outcome else { continue };
        samples.holdings = vec![holding("cpu:0", held(600, 2), held(600, 2))];
        if split {
            samples.holdings.push(holding("cpu:1", held(342, 2), held(350, 2)));
            samples.once.extend([(Metric::Transfers, 4.0), (Metric::TransferBytes, 20_480.0)]);
        }
    }
    let page = page("devices", &contents);
    let section = page.split("<section id=\"devices\">").nth(1).unwrap();
    let section = section.split("</section>").next().unwrap();
    let (_, table) = section.split_once("<table>").unwrap();
    insta::assert_snapshot!(table.replace("><", ">\n<"));
}

#[test]
fn two_services_side_by_side() {
    let page = page("services", &measured(&two(), &services(), 2, 0.08));
    assert!(page.contains("closed · prompt mixed-16-64 tok · rev:HEAD~1"), "{page}");
}

#[test]
fn every_metric_of_several_models() {
    let workload = Workload::Generate { prompt: Tokens(512), output: Tokens(128), batch: 4 };
    let axes = [("attention", "cpu-flash"), ("kv", "paged-32")];
    let cases = ["qwen2.5-0.5b", "llama-3.2-1b", "mistral-7b-instruct-v0.3"].map(|model| {
        let mut case = case("nightly/generate", workload, "paged-32", &axes);
        case.id = CaseId::new("nightly/generate", model, &BTreeMap::new());
        case.model.name = model.into();
        case
    });
    let page = page("models", &measured(&two(), &cases, 2, -0.03));
    let memory = [Metric::LoadTime, Metric::PeakRss, Metric::WeightBytes, Metric::KvBytes];
    assert_eq!(svgs(&page).len(), workload.metrics().len() + memory.len());
    assert!(page.contains("Only 2 rounds"));
}

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
fn seen_from_outside() -> Contents {
    let mut contents = measured(&one(), &gate(&[1], &[128]), 2, 0.0);
    let trace = watched();
    for record in &mut contents.records {
        record.conditions = record.conditions.clone().with(&trace);
        record.trace = Some(trace.clone());
    }
    contents
}

#[test]
fn nothing_was_measured() {
    let page = page("nothing", &begun(&one(), &gate(&[1], &[128]), 5));
    assert!(page.contains("0 cases measured, none failed, "));
    assert!(page.contains("5 not run yet"));
    assert_eq!(svgs(&page).len(), 0);
}

#[test]
fn an_interrupted_run_says_how_far_it_came() {
    let mut contents = measured(&one(), &gate(&[1], &[128]), 5, 0.0);
    contents.records.truncate(13);
    contents.torn = true;
    contents.records[0].environment.build = None;
    let page = page("interrupted", &contents);
    assert!(page.contains("3 cases measured, none failed, "));
    assert!(page.contains("2 not run yet"));
    assert!(page.contains("of 5"));
    assert!(page.contains("cut short"));
    assert_eq!(page.matches("amd-epyc-7763").count(), 1, "an unknown build is no second machine");
}

#[test]
fn a_build_that_failed_is_told_once() {
    let mut contents = measured(&one(), &gate(&[1, 2], &[128]), 2, 0.0);
    for record in &mut contents.records {
        let tail = "error[E0308]: mismatched types".into();
        record.outcome = Outcome::Failed(Failure::Build { tail });
    }
    let page = page("build", &contents);
    assert_eq!(page.matches("E0308").count(), 1);
    assert!(page.contains("0 cases measured, "));
}

#[test]
fn hostile_text_stays_text() {
    let attack = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'&\u{1}";
    let decode = Workload::Decode { depth: Tokens(8), output: Tokens(8), batch: 1 };
    let mut cases = [1, 2].map(|seed| {
        let mut case = case(attack, decode, "paged-16", &[(attack, &seed.to_string())]);
        case.model.name = format!("{attack}{seed}");
        case.attention = attack.into();
        case
    });
    cases[1].seed = 2;
    let mut contents = measured(&[subject(attack, 'a'), subject(".", 'b')], &cases, 2, 0.1);
    contents.run.command = attack.into();
    contents.run.id.0 = attack.into();
    contents.run.at = attack.into();
    contents.run.skipped.push(Skipped { id: cases[0].id.clone(), reason: attack.into() });
    contents.records[0].environment.machine.cpu = attack.into();
    contents.records[1].command = attack.into();
    let failure = Failure::Garbage { line: attack.into(), tail: attack.into() };
    contents.records.push(record(&contents.run.subjects[0], &cases[0], 3, 1.0));
    contents.records.last_mut().unwrap().outcome = Outcome::Failed(failure);

    let page = windtunnel_report::render(&contents).unwrap();
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    assert!(!page.contains("<img"), "{page}");
    assert!(!page.contains("=\"\">"), "an attribute was closed early");
    for svg in svgs(&page) {
        roxmltree::Document::parse(svg).unwrap();
    }
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

/// A gate of two subjects, in `pairs` pairs, whose head is slower by `slowdown`.
fn gated(cases: &[Case], pairs: u32, slowdown: f64) -> Contents {
    let mut contents = measured(&two(), cases, pairs, slowdown);
    let policy = include_str!("../../../../ci/gate.toml");
    contents.run.gate =
        Some(Terms::of(toml::from_str(policy).expect("the policy of this project is whole")));
    contents
}

#[test]
fn a_gate_shows_its_verdicts_worst_first_and_folds_what_passed() {
    let mut contents = gated(&gate(&[1, 8], &[128]), 6, 0.0);
    let unseen = vec![contents.run.cases.pop().unwrap().case.id];
    contents.run.gate.as_mut().unwrap().unseen = unseen;
    let page = page("gate", &contents);
    assert!(page.contains("Verdicts</h2>") && page.contains(" series passed</summary>"));
    assert!(page.contains("not seen: left out to keep the run quick"));
    assert!(page.contains("<svg class=\"interval\""));
    // To a listener, "from … to …" would say that the rounds went that way.
    assert!(page.contains(" rounds in the order of time, between "));
    assert!(!page.contains("it does not judge"));
}

#[test]
fn what_only_warns_is_named_in_the_heading_of_a_gate_that_passes() {
    let mut contents = gated(&gate(&[1], &[128]), 6, 0.0);
    for round in &mut contents.records {
        // The same numbers in every round, except for the load of the head.
        *round = record(&round.subject, &round.case, round.round, 1.0);
        if let Outcome::Measured(samples) = &mut round.outcome
            && round.subject == two()[1]
        {
            *samples.once.get_mut(&Metric::LoadTime).unwrap() *= 1.5;
        }
    }
    let page = page("warns", &contents);
    let (_, heading) = page.split_once("<h1>").unwrap();
    let (heading, _) = heading.split_once("</h1>").unwrap();
    for words in [
        "= Pass</span>: no series that blocks is worse by its margin",
        "; what only warns: load is 50.0\u{a0}% worse",
        " other series",
    ] {
        assert!(heading.contains(words), "{heading}");
    }
    assert!(Card::of(&page).is_some_and(|card| card.warned > 1), "{page}");
}

/// The text of a page's heading, without its markup.
#[track_caller]
fn heading(page: &str) -> String {
    Card::of(page).expect("a page tells of itself").headline
}

/// A gate whose rounds are all equal, except for what `change` does to those of the head.
fn changed(change: impl Fn(&Case, &mut Samples)) -> Contents {
    let mut contents = gated(&gate(&[1], &[128]), 6, 0.0);
    for round in &mut contents.records {
        *round = record(&round.subject, &round.case, round.round, 1.0);
        if let Outcome::Measured(samples) = &mut round.outcome
            && round.subject == two()[1]
        {
            change(&round.case, samples);
        }
    }
    contents
}

#[test]
fn the_heading_says_why_a_gate_is_invalid_by_a_series_alone() {
    let mut contents = changed(|_, samples| {
        samples.once.remove(&Metric::KvBytes);
    });
    let heading_of = |contents: &Contents| heading(&page("invalid-series", contents));
    let told = heading_of(&contents);
    assert!(told.starts_with("∅ Invalid: KV pool in gate/"), "{told}");
    assert!(
        told.ends_with(", the base has it, but the head does not, and 4 other series"),
        "{told}"
    );
    // What concerns the whole case comes first.
    contents.records.retain(|record| record.case.id != contents.run.cases[1].case.id);
    let told = heading_of(&contents);
    assert!(
        told.ends_with(", nothing was recorded for base and head, and 4 other cases"),
        "{told}"
    );
}

#[test]
fn the_heading_names_the_case_that_the_budget_never_reached() {
    let mut contents = changed(|_, _| ());
    contents.run.gate.as_mut().unwrap().policy.budget.minutes = 1;
    let last = contents.run.cases.last().unwrap().case.id.clone();
    contents.records.retain(|record| record.case.id != last);
    let told = heading(&page("never-reached", &contents));
    let expected = format!(
        "? Inconclusive: {last}, the budget of 1 min ended before it was decided, which the policy lets pass"
    );
    assert_eq!(told, expected);
}

#[test]
fn the_heading_of_what_improved_names_the_largest_improvement() {
    let contents = changed(|_, samples| {
        for (metric, value) in &mut samples.once {
            *value *= if *metric == Metric::LoadTime { 0.5 } else { 0.93 };
        }
    });
    let told = heading(&page("improved", &contents)).replace('\u{a0}', " ");
    // The interval has the direction of the word.
    assert!(told.starts_with("▽ Improved: load is 50.0 % better (+"), "{told}");
}

#[test]
fn what_is_huge_and_what_is_nothing_are_told_as_that() {
    let page = page("huge", &changed(|_, _| ()));
    // 64 MiB for a pool of 4 MiB.
    assert!(page.contains("<span>&gt;1000 %</span>"), "{page}");
    assert!(page.contains("<span>+0.0 %</span>") && !page.contains("-0.0 %"), "{page}");
}

#[test]
fn what_grew_from_nothing_is_worst_and_drawn_so() {
    let mut contents = changed(|case, samples| {
        if case.id.as_str().starts_with("gate/load") {
            samples.once.insert(Metric::KvBytes, 2_147_483_648.0);
        } else {
            samples.once.insert(Metric::WeightBytes, 1_100_000_000.0);
        }
    });
    for record in contents.records.iter_mut().filter(|record| record.subject == two()[0]) {
        if let (Outcome::Measured(samples), true) =
            (&mut record.outcome, record.case.id.as_str().starts_with("gate/load"))
        {
            samples.once.insert(Metric::KvBytes, 0.0);
        }
    }
    let page = page("from-nothing", &contents);
    let told = heading(&page);
    assert!(told.starts_with("▲ Regressed: KV pool is ∞ worse (+∞ to +∞) in gate/load"), "{told}");
    let (_, first) = page.split_once("<svg class=\"interval\"").unwrap();
    assert_eq!(between(first, "cx=\"")[0], "180.0");
    let (first, _) = first.split_once("</svg>").unwrap();
    assert_eq!(between(first, "<path class=\"reach\" d=\""), ["M183 4l4 4-4 4"], "it goes on");
}

#[test]
fn a_gate_whose_budget_ended_says_so_and_shows_its_series() {
    let mut contents = gated(&gate(&[1], &[128]), 6, 0.0);
    contents.run.gate.as_mut().unwrap().policy.budget.minutes = 1;
    for round in contents.records.iter_mut().filter(|round| round.subject == two()[1]) {
        let cost = if round.round % 2 == 0 { 0.8 } else { 1.25 };
        *round = record(&round.subject, &round.case, round.round, cost);
    }
    let page = page("unfinished", &contents);
    let (_, section) = page.split_once("<section id=\"verdicts\">").unwrap();
    let unfinished = "inconclusive</strong>, the budget of 1 min ended before it was decided</p>";
    assert!(section.contains(unfinished), "{section}");
}

#[test]
fn of_a_stored_base_its_sessions_are_told_and_no_command() {
    let mut contents = gated(&gate(&[1], &[128]), 10, 0.0);
    contents.run.gate.as_mut().unwrap().setting = Setting::Stored;
    for record in contents.records.iter_mut().filter(|record| record.subject == two()[0]) {
        record.run = RunId(format!("day {}", record.round % 5));
        record.command.clear();
    }
    let page = page("stored", &contents);
    let (_, rows) = page.split_once("<details class=\"ruled\"").unwrap();
    let (first, _) = rows.split_once("</details>").unwrap();
    assert!(first.contains(" is stored: 10 rounds of 5 sessions</p>"), "{first}");
    assert_eq!(first.matches("One round of ").count(), 1, "of the head");
    assert!(page.contains("as it was started here. The stored base was not.</p>"));
    let (_, section) = page.split_once("<section id=\"verdicts\">").unwrap();
    assert!(section.contains("The base is stored: 5 sessions. "), "{section}");
    assert!(section.contains("<span class=\"muted\"> (stored)</span>"), "{section}");
    assert!(!page.contains("<pre><code></code></pre>"));
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

#[test]
fn a_case_whose_rounds_are_all_void_is_void_and_not_skipped() {
    let mut contents = measured(&one(), &gate(&[1], &[128]), 2, 0.0);
    let case = contents.run.cases[0].case.id.clone();
    for record in contents.records.iter_mut().filter(|record| record.case.id == case) {
        if let Outcome::Measured(samples) = record.outcome.clone() {
            let breaches = vec![Breach::Swapped { pages: 3 }];
            record.outcome = Outcome::Void { breaches, samples };
        }
    }
    let page = page("void", &contents);
    let told = "4 cases measured, none failed, <a href=\"#voids\">1 void</a>.";
    assert!(page.contains(told), "{page}");
    assert!(page.contains("<section id=\"voids\">"));
}

#[test]
fn a_regression_is_the_first_sentence_and_opens_to_its_evidence() {
    let page = page("regressed", &regressed());
    assert!(page.contains("<title>▲ regressed · Windtunnel · 2026-"), "{page}");
    let (_, heading) = page.split_once("<h1>").unwrap();
    let (heading, _) = heading.split_once("</h1>").unwrap();
    for words in ["▲ Regressed", "% worse", " other series"] {
        assert!(heading.contains(words), "{heading}");
    }
    let (_, rows) = page.split_once("<details class=\"ruled\"").unwrap();
    let (first, _) = rows.split_once("</details>").unwrap();
    for words in [
        "▲ regressed",
        "in the order of time",
        "median conditions",
        "head − base",
        "attention</strong> carries it",
        "memory, processors and clocks of the head",
        "raw samples",
        "explain-verdict",
        "target/release/windtunnel-probe",
    ] {
        assert!(first.contains(words), "{words} in {first}");
    }
    let margins: Vec<f64> =
        between(&page, "data-worse=\"").iter().map(|text| text.parse().unwrap()).collect();
    let worst = margins.iter().copied().fold(f64::MIN, f64::max);
    assert_eq!(margins[0], worst);
}

/// A gate whose head is slower, with everything that can explain why.
fn regressed() -> Contents {
    let mut contents = gated(&gate(&[1, 8], &[128]), 10, 0.07);
    let trace = watched();
    for record in &mut contents.records {
        record.conditions = record.conditions.clone().with(&trace);
        record.trace = Some(trace.clone());
    }
    for (subject, attention) in two().iter().zip([40_000, 90_000]) {
        for planned in contents.run.cases.clone() {
            let mut round = record(subject, &planned.case, 1, 1.0);
            let stages = [("linear", 500_000), ("attention", attention)];
            let stages = stages.map(|(stage, nanos)| (stage.to_owned(), Nanos(nanos)));
            let work = Work { count: 10, tokens: 10, stages: BTreeMap::from(stages) };
            round.outcome = Outcome::Attributed(Attribution {
                attention: "cpu-flash".into(),
                wall: Nanos(1_000_000),
                work: BTreeMap::from([("decode".to_owned(), work)]),
                counts: Counts::from([
                    (Counter::Allocations, Count::Known(attention / 100)),
                    (Counter::Highest, Count::Known(attention << 8)),
                    (Counter::Instructions, Count::Absent("this processor does not tell".into())),
                ]),
            });
            contents.records.push(round);
        }
    }
    contents
}

#[test]
fn ten_thousand_rows_stay_below_fifteen_megabytes_and_say_what_is_left_out() {
    let batches: Vec<u32> = (1..=250).collect();
    let cases = gate(&batches, &[128, 2048]);
    let mut contents = gated(&cases, 6, 0.07);
    let first = contents.records.iter_mut().filter(|record| record.round == 1);
    first.for_each(|record| record.trace = Some(watched()));
    let page = windtunnel_report::render(&contents).unwrap();
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/many.html"), &page).unwrap();
    let rows = page.matches("class=\"ruled\"").count();
    assert!(rows >= 10_000, "{rows} rows");
    // With room for future content.
    assert!(page.len() < 12_000_000, "{:.1} MB", page.len() as f64 / 1e6);
    assert!(page.contains("is in the file of the run"));
    assert!(!page.contains("id=\"rounds\"") && !page.contains("#round-"), "rounds from outside");
}
