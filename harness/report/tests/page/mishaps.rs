//! Pages of runs in which something went wrong, or that have not come to an end.

use windtunnel_ledger::case::Workload;
use windtunnel_ledger::conditions::Breach;
use windtunnel_ledger::record::{Failure, Outcome, Skipped};
use windtunnel_ledger::unit::Tokens;

use crate::contents::{begun, case, gate, measured, record, spoil, subject};
use crate::{one, page, svgs, two};

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
