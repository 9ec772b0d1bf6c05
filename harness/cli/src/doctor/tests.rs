//! The whole output for made-up machines.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use windtunnel_ledger::calibration::{Calibration, CalibrationSession};
use windtunnel_ledger::record::{RunId, Subject};
use windtunnel_ledger::{Bytes, Nanos};

use super::activity::{Activity, Glance};
use super::noise::{Noise, Spread};
use super::patient::Storage;
use super::tools::Tools;
use super::*;
use crate::machine::{self, tests::lay_out};
use crate::show::Ink;
use crate::watch::Gpus;
use crate::watch::replay::Replay;

const CLEAN: &str = include_str!("fixtures/clean.txt");
const LAPTOP: &str = include_str!("fixtures/laptop.txt");
const GUEST: &str = include_str!("fixtures/guest.txt");
const GPUS: &str = include_str!("fixtures/gpus.jsonl");

fn storage(path: &str, free: u64) -> Storage {
    Storage { path: path.into(), exists: true, writable: Ok(()), free: Ok(Bytes(free << 20)) }
}

fn spread(variation: f64) -> Spread {
    Spread {
        repeats: 250,
        median: Nanos(20_000_000),
        variation,
        worst: 4.0 * variation,
        detectable: 1.2 * variation,
    }
}

fn calibrated(at: &str, alarms: u64) -> Result<Option<Calibration>, String> {
    let session = CalibrationSession {
        run: RunId("run".into()),
        at: at.into(),
        subject: Subject { name: ".".into(), ..Subject::default() },
        judged: 120,
        alarms,
        noise: Vec::new(),
    };
    Ok(Some(Calibration { machine: "m".into(), sessions: vec![session] }))
}

/// A machine that has everything a measurement needs, with the kernel's files from `text`, before
/// and after half a second.
fn patient(text: &str) -> (tempfile::TempDir, Patient) {
    let (before, later) = text.split_once("--- half a second later\n").unwrap_or((text, ""));
    let (dir, root) = lay_out(before);
    let first = Glance::at(&root);
    for file in later.split("==> ").skip(1) {
        let (path, content) = file.split_once('\n').unwrap();
        std::fs::write(dir.path().join(path), content).unwrap();
    }
    let tool = || Some(PathBuf::from("/usr/bin/tool"));
    let patient = Patient {
        machine: machine::of(&root, 2),
        gpus: None,
        activity: Activity::between(first, Glance::at(&root)),
        other_run: Ok(None),
        reports: storage("/w/reports", 100 << 10),
        builds: storage("/w/target/windtunnel", 100 << 10),
        hub: Storage { exists: false, ..storage("/home/a/.cache/huggingface/hub", 0) },
        tools: Tools { cargo: tool(), cc: tool(), git: tool(), sources: true, probes: Vec::new() },
        library_path: Vec::new(),
        calibration: calibrated("2026-03-01T12:00:00Z", 0),
        noise: Some(Noise { compute: spread(0.004), memory: spread(0.011) }),
        roof: Ok(Roof {
            threads: 16,
            read: 40 << 30,
            copy: 48 << 30,
            f32: 1_600_000_000_000,
            bf16: 900_000_000_000,
            multiprocessors: None,
        }),
        now: "2026-03-04T13:00:00Z".parse().unwrap(),
        root,
    };
    (dir, patient)
}

fn laptop() -> (tempfile::TempDir, Patient) {
    let (dir, mut patient) = patient(LAPTOP);
    let run = "`windtunnel run` (process 901 of `anna`, since 2026-03-04T12:59:00Z)";
    patient.other_run = Ok(Some(run.into()));
    patient.noise = Some(Noise { compute: spread(0.061), memory: spread(0.214) });
    patient.calibration = Ok(None);
    patient.roof = Err("the newest probe does not say");
    patient.builds = storage("/w/target/windtunnel", 900);
    patient.tools.git = None;
    (dir, patient)
}

fn guest() -> (tempfile::TempDir, Patient) {
    let (dir, mut patient) = patient(GUEST);
    patient.noise = Some(Noise { compute: spread(0.012), memory: spread(0.052) });
    patient.calibration = calibrated("2026-01-01T12:00:00Z", 0);
    patient.tools = Tools { probes: vec!["/p/windtunnel-probe".into()], ..Tools::default() };
    patient.hub = storage("/home/a/.cache/huggingface/hub", 7 << 10);
    (dir, patient)
}

fn gpus() -> (tempfile::TempDir, Patient) {
    let (dir, mut patient) = patient(CLEAN);
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("proc/900/comm", "python3\n");
    write("etc/ld.so.cache", "\0libcuda.so.1\0/usr/lib/libcuda.so.1\0");
    write("opt/cuda/libcublas.so.13", "");
    patient.library_path = vec!["/opt/cuda".into()];
    patient.machine.numa_nodes = 2;
    let replay = Replay::of(GPUS);
    patient.machine.gpus = replay.devices();
    patient.gpus = Some(Arc::new(replay));
    (dir, patient)
}

/// A machine about which nothing is known.
fn nothing() -> (tempfile::TempDir, Patient) {
    let (dir, mut patient) = patient("");
    patient.calibration = Err("`baselines/machines/m.json` is not a calibration".into());
    patient.noise = None;
    patient.roof = Err(noise::QUICK);
    patient.other_run = Err("`/tmp`: read-only file system".into());
    let hidden = |path: &Path| Storage {
        path: path.to_owned(),
        exists: true,
        writable: Ok(()),
        free: Err("the system does not say".into()),
    };
    patient.reports = hidden(Path::new("/w/reports"));
    patient.builds = hidden(Path::new("/w/target/windtunnel"));
    (dir, patient)
}

fn told(patient: &Patient) -> String {
    show::diagnosis(patient, &examine(patient), Ink::Plain)
}

#[test]
fn a_clean_machine_is_told_in_a_few_lines() {
    insta::assert_snapshot!(told(&patient(CLEAN).1));
}

#[test]
fn a_bad_laptop_is_told_what_it_costs_and_how_to_mend_it() {
    insta::assert_snapshot!(told(&laptop().1));
}

#[test]
fn a_container_on_a_guest_is_told_its_limits_and_what_it_cannot_know() {
    insta::assert_snapshot!(told(&guest().1));
}

#[test]
fn a_gpu_with_another_user_and_too_much_heat_is_told() {
    insta::assert_snapshot!(told(&gpus().1));
}

#[test]
fn what_is_not_known_is_never_fine() {
    let (_dir, patient) = nothing();
    let diagnosis = examine(&patient);
    let fine: BTreeSet<&str> = diagnosis
        .0
        .iter()
        .filter(|(_, f)| f.severity == Severity::Fine)
        .map(|(check, _)| check.name)
        .collect();
    // Programs and folders were passed in; everything else comes from the kernel.
    assert_eq!(fine, ["git", "hub-cache", "probe"].into());
    insta::assert_snapshot!(told(&patient));
}

#[test]
fn checks_have_names_of_their_own_and_whatever_is_wrong_can_be_mended() {
    let names: BTreeSet<&str> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), CHECKS.len());
    let is_word = |c: char| c.is_ascii_lowercase() || c == '-';
    assert!(names.iter().all(|name| name.chars().all(is_word)), "{names:?}");
    for (_dir, patient) in [patient(CLEAN), laptop(), guest(), gpus(), nothing()] {
        for check in CHECKS {
            for finding in (check.examine)(&patient) {
                let Finding { severity, found, reason, costs, mend } = finding;
                assert!(!found.is_empty());
                assert_eq!(severity == Severity::Unknown, !reason.is_empty(), "{found}");
                if severity < Severity::Unknown {
                    assert!(!costs.is_empty() && !mend.is_empty(), "{}: {found}", check.name);
                }
            }
        }
    }
}

#[track_caller]
fn check(change: fn(&mut Patient), name: &str, severity: Severity, words: &str) {
    let (_dir, mut patient) = patient(CLEAN);
    change(&mut patient);
    let diagnosis = examine(&patient);
    let (_, finding) = diagnosis.0.iter().find(|(check, _)| check.name == name).unwrap();
    assert_eq!(finding.severity, severity, "{finding:?}");
    assert!(finding.found.contains(words) || finding.mend.contains(words), "{finding:?}");
    assert_eq!(diagnosis.can_measure(), severity != Severity::Stops);
}

#[test]
fn what_stops_every_measurement_is_told_as_that() {
    check(
        |patient| patient.reports.writable = Err("`/w`: read-only file system".into()),
        "reports",
        Severity::Stops,
        "no records can be written to `/w/reports` (`/w`: read-only file system)",
    );
    let found = "no cargo, and no ready probe";
    check(|patient| patient.tools.cargo = None, "probe", Severity::Stops, found);
    let found = "no sources of the probe, and no ready probe";
    check(|patient| patient.tools.sources = false, "probe", Severity::Stops, found);
}

#[test]
fn what_hinders_only_builds_leaves_ready_probes_to_measure() {
    let unwritable = |patient: &mut Patient| patient.builds.writable = Err("`/w`: no".into());
    check(unwritable, "builds", Severity::Bad, "no probe can be kept");
    check(|patient| patient.tools.git = None, "git", Severity::Minor, "install git");
    let few = |patient: &mut Patient| patient.reports.free = Ok(Bytes(1 << 20));
    check(few, "reports", Severity::Bad, "only 1.00 MiB for reports");
}

#[test]
fn a_load_that_is_over_is_minor() {
    let text = CLEAN.replace("0.02 0.05 0.01", "1.90 0.40 0.10");
    let (_dir, patient) = patient(&text);
    let diagnosis = examine(&patient);
    let (_, load) = diagnosis.0.iter().find(|(check, _)| check.name == "load").unwrap();
    assert_eq!(load.severity, Severity::Minor);
}

#[test]
fn a_calibration_is_judged_by_its_alarms_and_its_age() {
    let fine = "calibrated 3 days ago (0 false alarms in 120 series, a rate of at most 2.5 %)";
    check(|_| (), "calibration", Severity::Fine, fine);
    let at = |patient: &mut Patient| patient.calibration = calibrated("2026-03-04T01:00:00Z", 2);
    check(at, "calibration", Severity::Bad, "calibrated today (2 false alarms in 120 series");
    let old = |patient: &mut Patient| patient.calibration = calibrated("2025-03-04T01:00:00Z", 0);
    check(old, "calibration", Severity::Minor, "windtunnel calibrate");
    check(|p| p.calibration = Ok(None), "calibration", Severity::Minor, "never calibrated");
}

#[test]
fn a_driver_without_its_library_is_told() {
    let hide = |patient: &mut Patient| {
        patient.machine.gpus_hidden = "there is a driver, but no NVML: not found".into();
    };
    check(hide, "gpus", Severity::Bad, "GPUs cannot be queried (there is a driver, but no NVML");
    check(
        hide,
        "cuda-libraries",
        Severity::Bad,
        "libcuda.so, libcudart.so, libcublas.so, libcublasLt.so, libcurand.so, libnvrtc.so not found",
    );
}

#[test]
fn colours_say_nothing_that_words_do_not() {
    let (_dir, patient) = laptop();
    let diagnosis = examine(&patient);
    let coloured = show::diagnosis(&patient, &diagnosis, Ink::Colour);
    assert!(coloured.contains("\u{1b}["));
    let mut plain = String::new();
    for (i, part) in coloured.split('\u{1b}').enumerate() {
        plain.push_str(if i == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    assert_eq!(plain, show::diagnosis(&patient, &diagnosis, Ink::Plain));
}

#[test]
fn programs_read_what_the_published_schema_says() {
    let schema = include_str!("../../../../ci/doctor.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (_dir, patient) in [patient(CLEAN), laptop(), guest(), gpus(), nothing()] {
        let text = document::json(&patient, &examine(&patient)).unwrap();
        let value = serde_json::from_str(&text).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert_eq!(errors, [] as [String; 0]);
    }
    insta::assert_snapshot!(document::json(&guest().1, &examine(&guest().1)).unwrap());
}
