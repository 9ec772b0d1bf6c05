//! Heads judged against a base from other days.

use super::*;

#[test]
fn a_stored_session_that_had_no_room_for_a_case_leaves_the_others_to_judge_by() {
    let (mut run, mut terms) = (run(&["a"]), terms());
    run.subjects.truncate(2);
    terms.setting = Setting::Stored;
    let mut records: Vec<Record> = Vec::new();
    for session in 1..=6 {
        for round in 1..=10 {
            let due = Due { case: 0, round, arm: Arm::Base };
            let mut record = at_rate(&run, due, 100.0 * noise(due));
            record.run = RunId(format!("day {session}"));
            if session == 6 {
                record.outcome = Outcome::Skipped("it would run out of memory".into());
                // No probe was started, so none told its build.
                record.environment.build = None;
            }
            records.push(record);
        }
    }
    let due = next(&run, &terms, &records);
    assert_eq!(due.len(), 1, "the head is measured");
    let heads = (1..=10).map(|round| Due { case: 0, round, arm: Arm::Head });
    records.extend(heads.map(|due| at_rate(&run, due, 80.0 * noise(due))));
    let report = report(&run, &terms, &records);
    assert_eq!((report.unjudged.len(), report.cases.len()), (0, 1), "{report:?}");
    assert_eq!(report.cases[0].verdict, Verdict::Regressed);
}

#[test]
fn a_stored_base_is_sessions_and_the_head_is_measured_alone() {
    let (mut run, mut terms) = (run(&["a"]), terms());
    run.subjects.truncate(2);
    terms.setting = Setting::Stored;
    let mut records = Vec::new();
    for (session, rate) in [99.9, 100.1, 100.0, 100.05, 99.95].into_iter().enumerate() {
        records.extend((1..=10).map(|round| {
            let due = Due { case: 0, round, arm: Arm::Base };
            let mut record = at_rate(&run, due, rate * (noise(due) - 1.0).mul_add(0.1, 1.0));
            record.run = RunId(format!("day {session}"));
            record
        }));
    }
    loop {
        let due = next(&run, &terms, &records);
        if due.is_empty() {
            break;
        }
        records.extend(due.into_iter().map(|due| at_rate(&run, due, 90.0 * noise(due))));
    }
    assert_eq!(pairs(&records, "a"), 10);
    let report = report(&run, &terms, &records);
    let row = &report.cases[0].rows[0];
    assert_eq!((row.verdict, row.rule), (Verdict::Regressed, Some(crate::judge::Rule::Stored)));
}

#[test]
fn without_calibration_few_sessions_never_pass_and_never_alarm() {
    let (mut run, mut terms) = (run(&["a"]), terms());
    run.subjects.truncate(2);
    terms.setting = Setting::Stored;
    let verdict = |sessions: usize, head: f64| {
        let at = |session: usize, arm: Arm, rate: f64| {
            let run = &run;
            (1..=10).map(move |round| {
                let due = Due { case: 0, round, arm };
                let mut record = at_rate(run, due, rate * (noise(due) - 1.0).mul_add(0.1, 1.0));
                record.run = RunId(format!("day {session}"));
                record
            })
        };
        let level = |session: usize| 100.0 + 0.1 * (session % 3) as f64;
        let mut records: Vec<Record> =
            (0..sessions).flat_map(|session| at(session, Arm::Base, level(session))).collect();
        records.extend(at(99, Arm::Head, head));
        let report = report(&run, &terms, &records);
        report.cases[0].rows[0].verdict
    };
    for head in [60.0, 100.0, 140.0] {
        assert_eq!(verdict(4, head), Verdict::Inconclusive, "{head}");
    }
    let found = [60.0, 100.0, 140.0].map(|head| verdict(5, head));
    assert_eq!(found, [Verdict::Regressed, Verdict::Pass, Verdict::Improved]);
}
