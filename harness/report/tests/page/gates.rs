//! Pages of gates: the verdict in the heading, and the evidence for it.

use std::collections::BTreeMap;

use windtunnel_ledger::attribution::{Attribution, Work};
use windtunnel_ledger::case::Case;
use windtunnel_ledger::counter::{Count, Counter, Counts};
use windtunnel_ledger::gate::{Setting, Terms};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Outcome, RunId, Samples};
use windtunnel_ledger::store::Contents;
use windtunnel_ledger::unit::Nanos;
use windtunnel_report::index::Card;

use crate::contents::{gate, measured, record, watched};
use crate::{between, page, two};

/// A gate of two subjects, in `pairs` pairs, whose head is slower by `slowdown`.
pub(crate) fn gated(cases: &[Case], pairs: u32, slowdown: f64) -> Contents {
    let mut contents = measured(&two(), cases, pairs, slowdown);
    let policy = include_str!("../../../../ci/gate.toml");
    contents.run.gate =
        Some(Terms::of(toml::from_str(policy).expect("the policy of this project is whole")));
    contents
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

/// A gate whose head is slower, with everything that can explain why.
pub(crate) fn regressed() -> Contents {
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

/// The text of a page's heading, without its markup.
#[track_caller]
fn heading(page: &str) -> String {
    Card::of(page).expect("a page tells of itself").headline
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
