//! Whole gate runs, with a function in place of the machine.

use super::schedule::{Due, given_up, next};
use super::*;
use crate::case::tests::case;
use crate::case::{Tolerance, Workload};
use crate::compare::Comparison;
use crate::conditions::Breach;
use crate::judge::Lack;
use crate::metric::Metric;
use crate::policy::PolicyHash;
use crate::record::tests::record;
use crate::record::{Digest, Failure, Outcome, Planned, RunId, Samples, Skipped, Subject};
use crate::unit::Nanos;

mod stored;

const SECOND: u64 = 1_000_000_000;

fn terms() -> Terms {
    let policy = toml::from_str(include_str!("../../../../ci/gate.toml")).unwrap();
    Terms::of(policy)
}

fn run(cases: &[&str]) -> Run {
    let subject = |name: &str| record(name, "any", 1, &[]).subject;
    Run {
        id: RunId("run".into()),
        at: "2026-01-01T00:00:00Z".into(),
        command: "windtunnel gate".into(),
        subjects: ["base", "head", "control"].map(subject).to_vec(),
        cases: cases
            .iter()
            .map(|id| Planned { case: case(id), rounds: 30, attributions: 0, shard: 0 })
            .collect(),
        skipped: Vec::new(),
        gate: Some(terms()),
        rules: None,
    }
}

/// Noise of half a per cent either way, a function of the round, the arm and the case.
fn noise(due: Due) -> f64 {
    let which = [u64::from(due.round), due.arm as u64, due.case as u64];
    let hash = xxhash_rust::xxh3::xxh3_64(&which.map(u64::to_le_bytes).concat());
    1.0 + 0.01 * (hash as f64 / u64::MAX as f64 - 0.5)
}

/// The record of a round at this decode rate.
fn at_rate(run: &Run, due: Due, rate: f64) -> Record {
    let subject: &Subject = &run.subjects[due.arm as usize];
    let id = run.cases[due.case].case.id.as_str();
    let mut record = record(&subject.name, id, due.round, &[rate]);
    record.case = run.cases[due.case].case.clone();
    record.conditions.wall = Nanos(SECOND);
    record
}

fn samples(record: &mut Record) -> &mut Samples {
    let Outcome::Measured(samples) = &mut record.outcome else { panic!("not measured") };
    samples
}

/// Measures until nothing is due any more, as the command does.
fn measure(run: &Run, terms: &Terms, mut machine: impl FnMut(Due) -> Record) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let due = next(run, terms, &records);
        if due.is_empty() {
            return records;
        }
        records.extend(due.into_iter().map(&mut machine));
    }
}

/// The report of a complete run whose head is slower by `by`.
fn slower(run: &Run, by: f64) -> (Report, Vec<Record>) {
    let terms = terms();
    let factor = |due: Due| if due.arm == Arm::Head { 1.0 / (1.0 + by) } else { 1.0 };
    let records = measure(run, &terms, |due| at_rate(run, due, 100.0 * noise(due) * factor(due)));
    (report(run, &terms, &records), records)
}

fn pairs(records: &[Record], case: &str) -> usize {
    let mine = |r: &&Record| r.case.id.as_str() == case && r.subject.name == "head";
    records.iter().filter(mine).count()
}

#[test]
fn unchanged_code_passes_after_the_first_look() {
    let (report, records) = slower(&run(&["a", "b"]), 0.0);
    assert_eq!((report.verdict, report.weight, report.family), (Verdict::Pass, Weight::Warns, 2));
    assert_eq!((pairs(&records, "a"), pairs(&records, "b")), (6, 6));
    assert_eq!(report.unjudged, []);
}

#[test]
fn a_slow_down_is_regressed_and_a_speed_up_improved() {
    for (by, verdict) in [(0.06, Verdict::Regressed), (-0.06, Verdict::Improved)] {
        let (report, _) = slower(&run(&["a"]), by);
        assert_eq!(report.verdict, verdict);
        let row = &report.cases[0].rows[0];
        assert!((row.finding.unwrap().effect - by).abs() < 0.01, "{row:?}");
        assert!((row.base.unwrap() - 100.0).abs() < 1.0);
    }
}

#[test]
fn only_what_is_undecided_is_measured_further() {
    let (run, terms) = (run(&["still", "noisy"]), terms());
    let records = measure(&run, &terms, |due| {
        let noise = if due.case == 1 { noise(due).powi(8) } else { noise(due) };
        at_rate(&run, due, 100.0 * noise)
    });
    assert_eq!(pairs(&records, "still"), 6);
    assert!(pairs(&records, "noisy") > 6);
}

#[test]
fn rounds_alternate_with_a_control_round_in_every_block() {
    let (run, terms) = (run(&["a"]), terms());
    let mut order = String::new();
    measure(&run, &terms, |due| {
        let letter = match due.arm {
            Arm::Base => 'b',
            Arm::Head => 'h',
            Arm::Control => 'c',
        };
        order.push(letter);
        at_rate(&run, due, 100.0 * noise(due))
    });
    assert_eq!(order, "cbhhbbhhbccbhhb");
}

#[test]
fn a_run_that_was_killed_goes_on_as_if_it_had_not_been() {
    let run = run(&["a", "b"]);
    let (whole, records) = slower(&run, 0.045);
    for killed_after in 0..records.len() {
        let mut kept = records[..killed_after].to_vec();
        loop {
            let due = next(&run, &terms(), &kept);
            if due.is_empty() {
                break;
            }
            let again = |due: Due| {
                let subject = &run.subjects[due.arm as usize];
                let id = &run.cases[due.case].case.id;
                let same =
                    |r: &&Record| r.subject == *subject && r.case.id == *id && r.round == due.round;
                records.iter().find(same).unwrap().clone()
            };
            kept.extend(due.into_iter().map(again));
        }
        assert_eq!(kept.len(), records.len(), "killed after {killed_after}");
        assert_eq!(report(&run, &terms(), &kept), whole);
    }
}

#[test]
fn a_fast_wrong_answer_is_broken_after_one_pair_and_the_base_is_shown() {
    let (run, terms) = (run(&["a"]), terms());
    let records = measure(&run, &terms, |due| {
        let mut record = at_rate(&run, due, if due.arm == Arm::Head { 110.0 } else { 100.0 });
        if due.arm == Arm::Head {
            samples(&mut record).iterations[0].digest = Digest::of_outputs([[9].as_slice()]);
        }
        record
    });
    assert_eq!(records.len(), 3, "a control round, one of the base, one of the head");
    let report = report(&run, &terms, &records);
    assert_eq!((report.verdict, report.family), (Verdict::Broken, 0));
    let case = &report.cases[0];
    assert_eq!(case.reasons, ["the output tokens differ between base and head"]);
    assert_eq!((case.rows[0].base, case.rows[0].finding), (Some(100.0), None));
}

#[test]
fn a_comparison_and_a_gate_say_the_same_of_outputs() {
    let rounds = |name: &str, tokens: [u32; 2]| -> Vec<Record> {
        let round = |(round, token): (u32, u32)| {
            let mut record = record(name, "a", round, &[100.0]);
            samples(&mut record).iterations[0].digest = Digest::of_outputs([[token].as_slice()]);
            record
        };
        (1..).zip(tokens).map(round).collect()
    };
    for (base, head, verdict) in [
        ([1, 1], [2, 2], Verdict::Broken),
        ([1, 2], [1, 1], Verdict::Invalid),
        ([1, 1], [1, 2], Verdict::Broken),
        ([1, 2], [1, 2], Verdict::Broken),
    ] {
        let (base, head) = (rounds("base", base), rounds("head", head));
        let judged = compare(&base, &head, &terms()).cases.remove(0);
        let compared = match crate::compare::compare(&base, &head).remove(0).comparison {
            Comparison::Broken(reason) => (Verdict::Broken, vec![reason]),
            Comparison::Invalid(reasons) => (Verdict::Invalid, reasons),
            other => panic!("{other:?}"),
        };
        assert_eq!(judged.verdict, verdict, "{:?}", judged.reasons);
        assert_eq!(compared, (judged.verdict, judged.reasons));
    }
}

#[test]
fn other_prompts_are_seen_where_the_first_round_of_the_base_does_not_tell_them() {
    let round = |name: &str, round: u32, words: u32| {
        let mut record = record(name, "a", round, &[100.0]);
        samples(&mut record).prompts = Some(Digest::of_prompts([[words].as_slice()]));
        samples(&mut record).iterations[0].digest = Digest::of_outputs([[words].as_slice()]);
        record
    };
    let rounds = |name: &str, words: u32| [1, 2].map(|number| round(name, number, words));
    let (base, head) = (rounds("base", 1), rounds("head", 2));

    let (mut void, mut older) = (base.clone(), base);
    let breaches = vec![Breach::Swapped { pages: 3 }];
    void[0].outcome = Outcome::Void { breaches, samples: samples(&mut void[0]).clone() };
    samples(&mut older[0]).prompts = None;
    for base in [void, older] {
        let case = compare(&base, &head, &terms()).cases.remove(0);
        assert_eq!(case.reasons, ["the prompts differ: this probe draws them differently"]);
        assert_eq!(case.verdict, Verdict::Invalid, "different prompts may have different answers");
    }
}

#[test]
fn what_takes_no_time_on_either_side_is_not_judged_and_what_begins_to_is_told() {
    let (run, terms) = (run(&["a"]), terms());
    let convert = |head: f64| {
        let records = measure(&run, &terms, |due| {
            let mut record = at_rate(&run, due, 100.0 * noise(due));
            let time = if due.arm == Arm::Head { head } else { 0.0 };
            samples(&mut record).once.insert(Metric::LoadConvert, time);
            record
        });
        report(&run, &terms, &records)
    };
    let series = Series::median(Metric::LoadConvert);
    let neither = convert(0.0);
    let unjudged = neither.unjudged.iter().find(|unjudged| unjudged.series == Some(series));
    assert_eq!(unjudged.unwrap().reason, "it is 0 in every round of both sides");
    let verdict = |head: f64| {
        let report = convert(head);
        report.cases[0].rows.iter().find(|row| row.series == series).map(|row| row.verdict)
    };
    assert_eq!(verdict(5.0), Some(Verdict::Pass), "5 ns are within the margin of a load");
    assert_eq!(verdict(5e9), Some(Verdict::Regressed), "from nothing");
}

/// The report of a case whose first round fails on these arms.
fn failing(arms: &[Arm]) -> CaseReport {
    let (run, terms) = (run(&["a"]), terms());
    let records = measure(&run, &terms, |due| {
        let mut record = at_rate(&run, due, 100.0 * noise(due));
        if arms.contains(&due.arm) && due.round == 1 {
            record.outcome = Outcome::Failed(Failure::Start { error: "gone".into() });
        }
        record
    });
    report(&run, &terms, &records).cases.remove(0)
}

#[test]
fn what_fails_in_the_head_is_broken_and_in_the_base_invalid() {
    let head = failing(&[Arm::Head]);
    assert_eq!(head.verdict, Verdict::Broken);
    assert_eq!(head.reasons, ["head: round 1 failed: the probe could not be started: gone"]);
    assert!(head.rows[0].base.is_some() && head.rows[0].head.is_none());
    let base = failing(&[Arm::Base]);
    assert_eq!(base.verdict, Verdict::Invalid);
    assert_eq!(base.reasons, ["base: round 1 failed: the probe could not be started: gone"]);
    assert_eq!(failing(&[Arm::Control]).verdict, Verdict::Invalid);
    assert_eq!((head.tail, base.tail), (None, None), "what never started has printed nothing");
    let both = failing(&[Arm::Base, Arm::Head]);
    assert_eq!((both.verdict, both.reasons.len()), (Verdict::Broken, 2));
}

#[test]
fn an_empty_comparison_is_never_green() {
    let (mut run, terms) = (run(&["a"]), terms());
    let records = measure(&run, &terms, |due| {
        let mut record = at_rate(&run, due, 1.0);
        record.outcome = Outcome::Skipped("naive runs f32 only".into());
        record
    });
    let judged = report(&run, &terms, &records);
    assert_eq!((judged.verdict, judged.weight), (Verdict::Invalid, Weight::Blocks));
    assert_eq!(judged.unjudged[0].reason, "neither side can run it: naive runs f32 only");

    run.cases.clear();
    assert_eq!(report(&run, &terms, &[]).verdict, Verdict::Invalid);
}

#[test]
fn a_side_whose_rounds_are_all_void_is_invalid_and_not_broken() {
    for (side, arms) in [("head", &["head"][..]), ("base", &["base", "control"])] {
        let run = run(&["a"]);
        let (_, mut records) = slower(&run, 0.0);
        for record in records.iter_mut().filter(|r| arms.contains(&r.subject.name.as_str())) {
            let samples = samples(record).clone();
            record.outcome =
                Outcome::Void { breaches: vec![Breach::Swapped { pages: 3 }], samples };
        }
        let report = report(&run, &terms(), &records);
        assert_eq!(report.verdict, Verdict::Invalid);
        let reason = format!("no round of the {side} counts: all of them are void");
        assert_eq!(report.cases[0].reasons, [reason]);
    }
}

#[test]
fn what_was_not_seen_is_told_case_by_case() {
    let (mut run, mut terms) = (run(&["a", "b"]), terms());
    run.skipped.push(Skipped { id: case("c").id, reason: "as an example".into() });
    terms.unseen = vec![case("d").id];
    let records = measure(&run, &terms, |due| {
        let mut record = at_rate(&run, due, 100.0 * noise(due));
        if due.case == 1 && due.arm != Arm::Head {
            record.outcome = Outcome::Skipped("it knows no `b`".into());
        }
        record
    });
    let report = report(&run, &terms, &records);
    let told: Vec<String> =
        report.unjudged.iter().map(|u| format!("{}: {}", u.case, u.reason)).collect();
    let expected = [
        "b: the base cannot run it: it knows no `b`",
        "c: as an example",
        "d: not seen: left out to keep the run quick",
    ];
    assert_eq!((told, report.verdict), (expected.map(String::from).to_vec(), Verdict::Pass));
}

#[test]
fn what_the_head_no_longer_runs_or_measures_is_invalid() {
    let (run, terms) = (run(&["a"]), terms());
    let judged = |change: &dyn Fn(&mut Record)| {
        let records = measure(&run, &terms, |due| {
            let mut record = at_rate(&run, due, 100.0 * noise(due));
            samples(&mut record).once.insert(Metric::KvBytes, 1e9);
            if due.arm == Arm::Head {
                change(&mut record);
            }
            record
        });
        report(&run, &terms, &records).cases.remove(0)
    };
    let declined = judged(&|record| record.outcome = Outcome::Skipped("no paged KV".into()));
    assert_eq!(declined.verdict, Verdict::Invalid);
    assert_eq!(declined.reasons, ["the base runs it, and the head cannot: no paged KV"]);

    let silent = judged(&|record| {
        samples(record).once.remove(&Metric::KvBytes);
    });
    assert_eq!(silent.verdict, Verdict::Invalid);
    assert_eq!(silent.rows[1].reason.as_deref(), Some("the base has it, but the head does not"));
    assert_eq!(silent.rows[0].verdict, Verdict::Pass, "the rest is judged");

    let elsewhere = judged(&|record| {
        record.environment.machine.cores = 64;
        record.environment.build.as_mut().unwrap().features = vec!["cuda".into()];
        record.case.seed = 7;
    });
    assert_eq!((elsewhere.verdict, elsewhere.reasons.len()), (Verdict::Invalid, 3));
}

#[test]
fn what_only_warns_stops_nothing_and_asks_for_no_rounds() {
    let (run, terms) = (run(&["a"]), terms());
    let judged = |slower: f64, noise_of_load: i32| {
        let records = measure(&run, &terms, |due| {
            let mut record = at_rate(&run, due, 100.0 * noise(due));
            let factor = if due.arm == Arm::Head { slower } else { 1.0 };
            let load = 1e9 * factor * noise(due).powi(noise_of_load);
            samples(&mut record).once.insert(Metric::LoadTime, load);
            record
        });
        (report(&run, &terms, &records), pairs(&records, "a"))
    };
    let (report, rounds) = judged(1.5, 1);
    assert_eq!((report.verdict, rounds), (Verdict::Pass, 6));
    assert_eq!(report.cases[0].rows[1].verdict, Verdict::Regressed);
    let (report, rounds) = judged(1.0, 60);
    assert_eq!((report.verdict, rounds), (Verdict::Pass, 6));
    assert_eq!(report.cases[0].rows[1].verdict, Verdict::Inconclusive);
}

#[test]
fn what_only_warns_and_is_undecided_is_no_pass() {
    let (run, mut terms) = (run(&["a"]), terms());
    let judged = |terms: &Terms, slower: f64, noise_of_load: i32| {
        let records = measure(&run, terms, |due| {
            let mut record = at_rate(&run, due, 100.0 * noise(due));
            let factor = if due.arm == Arm::Head { slower } else { 1.0 };
            let load = 1e9 * factor * noise(due).powi(noise_of_load);
            samples(&mut record).once.insert(Metric::LoadTime, load);
            record
        });
        report(&run, terms, &records)
    };
    let warned = |report: &Report| -> Vec<String> {
        report.warned().into_iter().map(|(_, words)| words).collect()
    };
    // Beside a series that blocks and passes.
    assert_eq!(warned(&judged(&terms, 1.0, 1)), [""; 0]);
    assert_eq!(warned(&judged(&terms, 1.5, 1)), ["1 series that only warns regressed"]);
    let undecided = judged(&terms, 1.0, 60);
    assert_eq!(warned(&undecided), ["1 series that only warns could not be decided"]);
    assert_eq!(
        warned(&undecided),
        undecided.cases[0].warned().into_iter().map(|(_, w)| w).collect::<Vec<_>>()
    );
    // Alone.
    terms.policy.inconclusive = Weight::Blocks;
    terms.policy.margins.decode.weight = Weight::Warns;
    terms.policy.margins.decode.margin = crate::margin::Margin::new(1e-4, 0.0).unwrap();
    let alone = judged(&terms, 1.0, 60);
    assert_eq!((alone.verdict, alone.weight), (Verdict::Inconclusive, Weight::Warns));
    assert_eq!(warned(&alone), ["2 series that only warn could not be decided"]);
    assert_eq!(judged(&terms, 1.0, 1).verdict, Verdict::Pass, "the load passed");
}

#[test]
fn a_tail_of_too_few_samples_in_the_head_lacks_them_and_is_not_gone() {
    let (run, terms) = (run(&["a"]), terms());
    let records = measure(&run, &terms, |due| {
        let mut record = at_rate(&run, due, 100.0 * noise(due));
        let count = if due.arm == Arm::Head { 99 } else { 100 };
        let values = &mut samples(&mut record).iterations[0].values;
        values.insert(Metric::InterToken, vec![1e7 * noise(due); count]);
        record
    });
    let report = report(&run, &terms, &records);
    let p95 = Series { metric: Metric::InterToken, quantile: crate::series::Quantile::P95 };
    let row = report.cases[0].rows.iter().find(|row| row.series == p95).unwrap();
    assert_eq!(
        (row.verdict, row.lacks),
        (Verdict::Inconclusive, Some(Lack::Samples { needs: 100 }))
    );
    assert_eq!((row.reason.as_ref(), row.finding), (None, None));

    let session = crate::calibration::session(&run, &terms, &records, &run.subjects[0]);
    assert_eq!(report.judged, 3);
    assert_eq!(session.judged, 2, "what was never looked at is no trial");
}

#[test]
fn a_tail_of_too_few_samples_in_the_base_is_told_as_that_and_not_as_new() {
    let (run, terms) = (run(&["a"]), terms());
    let records = measure(&run, &terms, |due| {
        let mut record = at_rate(&run, due, 100.0 * noise(due));
        let count = if due.arm == Arm::Head { 100 } else { 99 };
        let values = &mut samples(&mut record).iterations[0].values;
        values.insert(Metric::InterToken, vec![1e7 * noise(due); count]);
        record
    });
    let report = report(&run, &terms, &records);
    let reasons: Vec<&str> =
        report.unjudged.iter().map(|unjudged| unjudged.reason.as_str()).collect();
    let expected = [
        "fewer than 100 samples in each round of the base",
        "fewer than 1000 samples in each round",
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn base_and_head_are_those_of_the_rounds_that_decided() {
    let (run, terms) = (run(&["a"]), terms());
    let records = measure(&run, &terms, |due| {
        // The rate is decided at the first look and jumps after it; the gaps keep the case going.
        let leap = if due.round > 6 { 2.0 } else { 1.0 };
        let mut record = at_rate(&run, due, 100.0 * noise(due) * leap);
        let values = &mut samples(&mut record).iterations[0].values;
        values.insert(Metric::InterToken, vec![1e7 * noise(due).powi(20)]);
        record
    });
    assert!(pairs(&records, "a") >= 15, "{}", pairs(&records, "a"));
    let report = report(&run, &terms, &records);
    let rate = Series::median(Metric::DecodeRate);
    let row = report.cases[0].rows.iter().find(|row| row.series == rate).unwrap();
    assert_eq!((row.verdict, row.finding.unwrap().rounds), (Verdict::Pass, 6));
    for side in [row.base, row.head] {
        assert!((side.unwrap() - 100.0).abs() < 1.0, "{row:?}");
    }
}

#[test]
fn where_equal_code_differs_no_regression_of_times_stands() {
    let (run, terms) = (run(&["a", "b"]), terms());
    let records = measure(&run, &terms, |due| {
        let factor = match due.arm {
            Arm::Base => 1.0,
            Arm::Head | Arm::Control => 1.06,
        };
        let mut record = at_rate(&run, due, 100.0 * noise(due) / factor);
        let bytes = if due.arm == Arm::Head { 2e9 } else { 1e9 };
        samples(&mut record).once.insert(Metric::KvBytes, bytes);
        record
    });
    let report = report(&run, &terms, &records);
    let [rate, bytes] = &report.cases[0].rows[..] else { panic!() };
    assert_eq!(rate.verdict, Verdict::Invalid);
    let reason = rate.reason.clone().unwrap();
    assert!(reason.contains("margins in 6 pairs of rounds (decode)"), "{reason}");
    assert_eq!(bytes.verdict, Verdict::Regressed, "bytes are no question of luck");
    let (quiet, _) = slower(&run, 0.0);
    assert!(quiet.control.iter().all(|control| !control.is_astray()), "{:?}", quiet.control);
}

#[test]
fn numbers_that_repeat_need_three_pairs_and_no_clock() {
    let (mut run, terms) = (run(&["a"]), terms());
    run.cases[0].case.workload = Workload::Parity { tolerance: Tolerance::new(0.1).unwrap() };
    let records = measure(&run, &terms, |due| {
        let mut record = at_rate(&run, due, 100.0 * noise(due));
        samples(&mut record).once.insert(Metric::LogitError, 1e-6);
        record
    });
    let report = report(&run, &terms, &records);
    assert_eq!((report.verdict, pairs(&records, "a")), (Verdict::Pass, 3));
    assert_eq!(report.unjudged[0].reason, "this case is about numbers, not about time");
}

#[test]
fn the_minutes_end_a_run_and_what_is_left_is_inconclusive() {
    let (run, mut terms) = (run(&["a", "b", "c"]), terms());
    // A round takes two seconds: a case needs fifteen of them until the first look.
    terms.policy.budget.minutes = 1;
    let records = measure(&run, &terms, |due| {
        let mut record = at_rate(&run, due, 100.0 * noise(due));
        record.conditions.wall = Nanos(2 * SECOND);
        record
    });
    assert!(records.len() <= 30, "{} rounds of two seconds", records.len());
    assert_eq!(given_up(&run, &terms, &records), [case("b").id, case("c").id]);
    let report = report(&run, &terms, &records);
    let verdicts: Vec<Verdict> = report.cases.iter().map(|case| case.verdict).collect();
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Inconclusive, Verdict::Inconclusive]);
    let case = &report.cases[1];
    let unfinished = "the budget of 1 min ended before it was decided";
    assert_eq!((case.unfinished.as_deref(), case.remarks().count()), (Some(unfinished), 1));
    assert_eq!(case.reasons, [""; 0], "it is no obstacle");
    assert_eq!(report.cases[0].unfinished, None);

    // An interrupted gate may be resumed when its time budget is spent.
    let reached = |record: &&Record| record.case.id.as_str() != "c";
    let records: Vec<Record> = records.iter().filter(reached).cloned().collect();
    terms.policy.budget.minutes = 0;
    let report = super::report(&run, &terms, &records);
    assert_eq!(
        (report.cases[2].verdict, report.cases[2].reasons.len()),
        (Verdict::Inconclusive, 0)
    );
    assert_eq!(report.cases[2].remarks().count(), 1);
}

#[test]
fn runs_that_were_merged_had_the_minutes_each_for_itself() {
    let (mut run, mut terms) = (run(&["a", "b"]), terms());
    terms.policy.budget.minutes = 1;
    // Fifteen rounds of three seconds each: more than a minute together. Both stay undecided.
    let of_case = |case: usize| {
        let due = move |arm, round| Due { case, round, arm };
        let pairs = (1..=6).flat_map(move |n| [due(Arm::Base, n), due(Arm::Head, n)]);
        pairs.chain((1..=3).map(move |n| due(Arm::Control, n)))
    };
    let measured = |due: Due| {
        let mut record = at_rate(&run, due, 100.0 * noise(due).powi(40));
        record.conditions.wall = Nanos(3 * SECOND);
        record
    };
    let records: Vec<Record> = (0..2).flat_map(of_case).map(measured).collect();
    assert_eq!(given_up(&run, &terms, &records), ["a", "b"].map(|id| case(id).id));
    run.cases[1].shard = 1;
    assert_eq!(given_up(&run, &terms, &records).len(), 2, "15 s are too few for four more pairs");
    terms.policy.budget.minutes = 2;
    assert_eq!(given_up(&run, &terms, &records), [], "75 s are enough, for each");
    run.cases[1].shard = 0;
    assert_eq!(given_up(&run, &terms, &records), [case("b").id], "30 s are enough for one");
}

#[test]
fn a_shard_is_judged_as_a_part_of_all_that_share_its_plan() {
    let (run, mut terms) = (run(&["a", "b"]), terms());
    let records = measure(&run, &terms, |due| at_rate(&run, due, 100.0 * noise(due)));
    assert_eq!(report(&run, &terms, &records).family, 2);
    terms.shards = 3;
    assert_eq!(report(&run, &terms, &records).family, 6);
}

#[test]
fn exact_numbers_that_vary_are_measured_until_they_are_decided() {
    let (mut run, terms) = (run(&["a"]), terms());
    run.cases[0].case.workload = Workload::Parity { tolerance: Tolerance::new(0.1).unwrap() };
    let records = measure(&run, &terms, |due| {
        let mut record = at_rate(&run, due, 100.0 * noise(due));
        let error = if due.arm == Arm::Head { 1e-5 } else { 1e-6 };
        samples(&mut record).once.insert(Metric::LogitError, error * noise(due).powi(4));
        record
    });
    let report = report(&run, &terms, &records);
    assert_eq!((report.verdict, pairs(&records, "a")), (Verdict::Regressed, 6));
}

#[test]
fn a_planned_case_that_left_no_record_is_invalid() {
    let run = run(&["a", "b"]);
    let (_, mut records) = slower(&run, 0.0);
    records.retain(|record| record.case.id.as_str() == "a");
    let report = report(&run, &terms(), &records);
    assert_eq!((report.verdict, report.weight), (Verdict::Invalid, Weight::Blocks));
    let verdicts: Vec<Verdict> = report.cases.iter().map(|case| case.verdict).collect();
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Invalid]);
    assert_eq!(report.cases[1].reasons, ["nothing was recorded for base and head"]);
}

#[test]
fn sides_of_other_policies_are_invalid_beside_all_other_reasons() {
    let (run, mut terms) = (run(&["a"]), terms());
    let hash = |name: &str| serde_json::from_value::<PolicyHash>(name.into()).unwrap();
    let judged = |terms: &Terms| {
        let records = measure(&run, terms, |due| {
            let mut record = at_rate(&run, due, 100.0 * noise(due));
            if due.arm == Arm::Head {
                record.environment.machine.cores = 64;
            }
            record
        });
        report(&run, terms, &records).cases.remove(0)
    };
    terms.policies = Some(Policies { base: hash("old"), head: hash("new") });
    let report = judged(&terms);
    assert_eq!(report.verdict, Verdict::Invalid);
    assert_eq!(
        report.reasons,
        [
            "cores: `2` in the base, `64` in the head",
            "policy: `old` in the base, `new` in the head"
        ]
    );
    terms.policies = Some(Policies { base: hash("new"), head: hash("new") });
    assert_eq!(judged(&terms).reasons.len(), 1);
}

#[test]
fn a_build_is_known_again_under_the_mark_of_its_arm() {
    for arm in [Arm::Base, Arm::Head, Arm::Control] {
        assert_eq!(Arm::unmarked(&format!("rev:v1{}", arm.mark())), "rev:v1");
    }
    assert_eq!(Arm::unmarked("probe:a (copy)"), "probe:a (copy)");
}

#[test]
fn a_calibration_measures_on_and_its_floor_keeps_what_is_bias_from_alarming() {
    let (run, mut terms) = (run(&["a"]), terms());
    terms.least_pairs = 20;
    let still = |due: Due| at_rate(&run, due, 100.0 * noise(due));
    let records = measure(&run, &terms, still);
    assert_eq!(pairs(&records, "a"), 22);
    let session = crate::calibration::session(&run, &terms, &records, &run.subjects[0]);
    assert_eq!((session.judged, session.alarms, session.noise.len()), (1, 0, 1));
    assert!(session.noise[0].effect.abs() < 0.002, "{session:?}");

    let slow = |due: Due| {
        let factor = if due.arm == Arm::Head { 0.95 } else { 1.0 };
        at_rate(&run, due, 100.0 * noise(due) * factor)
    };
    let verdict = |bias: f64| {
        let mut terms = self::terms();
        terms.floors.bias.insert(crate::metric::Class::Decode, bias);
        report(&run, &terms, &measure(&run, &terms, slow)).verdict
    };
    assert_eq!((verdict(0.002), verdict(0.06)), (Verdict::Regressed, Verdict::Inconclusive));
}
