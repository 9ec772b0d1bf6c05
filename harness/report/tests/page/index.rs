//! The list of all pages.

use std::path::Path;

use windtunnel_ledger::verdict::Verdict;
use windtunnel_report::index::{Card, Entry, Kind};

use crate::between;
use crate::contents::{gate, measured};

/// Entries of a workspace after some days of use.
pub(crate) fn entries() -> Vec<Entry> {
    let entry = |path: &str, at: &str, kind, verdict, headline: &str, subject: &str, cases| Entry {
        path: path.into(),
        card: Some(Card {
            kind,
            headline: headline.into(),
            verdict,
            warned: 0,
            at: at.into(),
            subject: subject.into(),
            machine:
                "AMD EPYC 7763 64-Core Processor, 2 threads of 2 cores, 23.5 GiB, linux, x86_64"
                    .into(),
            cases,
        }),
    };
    let gate = "rev:main (29eeed646), . (4c9d68531+)";
    vec![
        entry(
            "2026-01-01T08-00-00-smoke/report.html",
            "2026-01-01T08:00:00Z",
            Kind::Run,
            None,
            "6 cases measured, none failed.",
            ". (29eeed646)",
            6,
        ),
        entry(
            "2026-01-02T09-30-00-gate/report.html",
            "2026-01-02T09:30:00Z",
            Kind::Gate,
            Some(Verdict::Pass),
            "= Pass: none of 60 series is worse by its margin",
            gate,
            17,
        ),
        entry(
            "2026-01-04T10-00-00-gate/report.html",
            "2026-01-04T10:00:00Z",
            Kind::Gate,
            Some(Verdict::Regressed),
            "▲ Regressed: decode is 8.3 % worse (+7.1 % to +9.4 %) in gate/decode/qwen2.5-0.5b/batch=1,depth=1024,dtype=bf16, and 3 other series",
            gate,
            17,
        ),
        entry(
            "2026-01-03T10-00-00-gate/report.html",
            "2026-01-03T10:00:00Z",
            Kind::Gate,
            Some(Verdict::Inconclusive),
            "? Inconclusive: 4 of 60 series could not be decided",
            gate,
            17,
        ),
        entry(
            "2026-01-05T10-00-00-gate/report.html",
            "2026-01-05T10:00:00Z",
            Kind::Gate,
            Some(Verdict::Improved),
            "▽ Improved: prefill is 12.0 % better (+10.9 % to +13.1 %) in gate/prefill/qwen2.5-0.5b/prompt=2048",
            gate,
            17,
        ),
        entry(
            "history.html",
            "2026-01-05T11:00:00Z",
            Kind::History,
            Some(Verdict::Improved),
            "= None of 60 series is worse than before, ▽ 4 better.",
            "90 builds",
            17,
        ),
        Entry { path: "old/report.html".into(), card: None },
    ]
}

fn page(name: &str, entries: &[Entry]) -> String {
    let page = windtunnel_report::render_index(entries);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.html"));
    std::fs::write(file, &page).expect("the target directory is writable");
    page
}

#[test]
fn the_newest_page_is_first_and_what_got_worse_stands_above_all() {
    let page = page("index", &entries());
    let (worse, all) = page.split_once("id=\"reports\"").unwrap();
    let of = |part: &str| -> Vec<String> {
        let links = between(part, "<a href=\"./").into_iter();
        links.map(|link| link.split('/').next().unwrap().to_owned()).collect()
    };
    assert_eq!(of(worse), ["2026-01-04T10-00-00-gate"]);
    let days: Vec<String> = of(all).iter().map(|name| name.chars().take(10).collect()).collect();
    assert_eq!(
        days,
        ["history.ht", "2026-01-05", "2026-01-04", "2026-01-03", "2026-01-02", "2026-01-01", "old"]
    );
    assert!(page.contains("▲ 1 of 7 reports</span> found something worse, <span class=\"better\">▽\u{a0}2 something better"), "{page}");
}

#[test]
fn what_only_warns_is_worse_in_the_list_too() {
    let mut entries = entries();
    let passed = entries.iter_mut().filter_map(|entry| entry.card.as_mut());
    for card in passed.filter(|card| card.verdict == Some(Verdict::Pass)) {
        card.warned = 2;
    }
    let page = page("index-warned", &entries);
    let (worse, _) = page.split_once("id=\"reports\"").unwrap();
    assert!(worse.contains("2026-01-02T09-30-00-gate"), "{worse}");
    assert!(worse.contains("= pass</span>, <span class=\"worse\">▲\u{a0}2 warn</span>"), "{worse}");
    assert!(page.contains("▲ 2 of 7 reports</span> found something worse"), "{page}");
}

#[test]
fn no_report_says_what_to_do() {
    let page = page("index-empty", &[]);
    assert!(page.contains("There is no report yet.") && page.contains("windtunnel run smoke"));
}

#[test]
fn hostile_names_lead_nowhere_and_stay_text() {
    let attack = "\"><script>alert(1)</script>";
    let mut entries = entries();
    entries[0].path = format!("javascript:alert(1)//{attack}/report.html");
    for entry in &mut entries {
        if let Some(card) = &mut entry.card {
            (card.headline, card.subject, card.machine, card.at) =
                (attack.into(), attack.into(), attack.into(), attack.into());
        }
    }
    let page = page("index-hostile", &entries);
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    assert!(page.contains("href=\"./javascript%3Aalert%281%29//"), "{page}");
}

#[test]
fn the_page_of_a_run_tells_of_itself() {
    let contents = measured(&crate::two(), &gate(&[1], &[128]), 2, 0.05);
    let card = Card::of(&windtunnel_report::render(&contents).unwrap()).unwrap();
    assert_eq!((card.kind, card.verdict, card.cases), (Kind::Run, None, 5));
    assert_eq!(card.at, contents.run.at);
    assert!(
        card.headline.starts_with("◇ . (aaaaaaaaa) against ○ rev:HEAD~1 (bbbbbbbbb): "),
        "{}",
        card.headline
    );
    assert!(card.machine.starts_with("AMD EPYC 7763"), "{}", card.machine);
    let card = Card::of(&windtunnel_report::render(&crate::gates::regressed()).unwrap()).unwrap();
    assert_eq!((card.kind, card.verdict), (Kind::Gate, Some(Verdict::Regressed)));
    assert!(card.headline.starts_with("▲ Regressed: "), "{}", card.headline);
}
