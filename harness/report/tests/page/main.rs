//! Whole pages. Each is also written to `tmp/` in the target directory, for inspection.

mod browser;
mod contents;
mod contrast;
mod example;
mod gates;
mod history;
mod index;
mod mishaps;
mod sections;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use contents::{case, gate, measured, services, subject};
use windtunnel_ledger::case::{Case, CaseId, Placement, Workload};
use windtunnel_ledger::holding::{Held, Holding};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Outcome, Subject};
use windtunnel_ledger::store::Contents;
use windtunnel_ledger::unit::{Bytes, Tokens};

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
