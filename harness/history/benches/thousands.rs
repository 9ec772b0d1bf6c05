//! The time and memory that it takes to read 200,000 records of 2,000 commits, judge their series
//! and show them: `cargo bench --package windtunnel-history`.
//!
//! The store is generated once, in the target directory, by a separate process, so that its memory
//! is not counted. Each record resembles those of a real run: machine, build, conditions, samples.

#[expect(dead_code, reason = "the tests make small stores with the rest of it")]
#[path = "../tests/store/runs.rs"]
mod runs;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use windtunnel_history::commits::Commits;
use windtunnel_history::frame::load;
use windtunnel_history::judged::{Basis, judge, policy};
use windtunnel_history::series::{Along, history};
use windtunnel_ledger::case::Workload;
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Outcome, Run, RunId, Subject};
use windtunnel_ledger::unit::Tokens;

const COMMITS: usize = 2000;
const CASES: usize = 20;
const ROUNDS: u32 = 5;

fn main() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("thousands");
    if std::env::args().any(|arg| arg == "make") {
        return make(&dir);
    }
    if !dir.join("made").exists() {
        apart();
        std::fs::write(dir.join("made"), "").expect("a writable directory");
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    let mut lap = |what| times.push((what, start.elapsed()));
    let loaded = load(&[dir]).expect("a store");
    lap("read");
    let (own, upstream) = (Commits::default(), Commits::default());
    let (policy, floors) = (policy(Path::new("")).expect("a policy"), BTreeMap::new());
    let basis = Basis {
        policy: &policy,
        floors: &floors,
        own: &own,
        upstream: &upstream,
        along: Along::Own,
    };
    let history = history(&loaded, "", None, None, Along::Own, &own, &upstream).expect("a frame");
    lap("ordered");
    let judged = judge(&loaded, history, &basis);
    lap("judged");
    let page = windtunnel_report::render_history(&judged).expect("a page");
    lap("drawn");

    let mut out = std::io::stdout().lock();
    let mut say = |text: String| writeln!(out, "{text}").expect("stdout is open");
    say(format!("{} records of {COMMITS} commits, {} series", loaded.records, judged.tracks.len()));
    let events: usize = judged.tracks.iter().map(|track| track.course.events.len()).sum();
    say(format!("{events} events, a page of {:.1} MB", page.len() as f64 / 1e6));
    let mut before = std::time::Duration::ZERO;
    for (what, time) in times {
        say(format!("{what:8} {:6.3} s", (time - before).as_secs_f64()));
        before = time;
    }
    say(format!("in all   {:6.3} s", before.as_secs_f64()));
    if let Some(seconds) = processor_time() {
        say(format!("of processors {seconds:.2} s"));
    }
    match peak_memory() {
        Some(bytes) => say(format!("at most  {:6.0} MB of memory", bytes / 1e6)),
        None => say("at most  an unknown amount of memory".to_owned()),
    }
}

/// The peak memory of this process in bytes; none if the system does not say.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

/// CPU time of this process in seconds: on a busy machine, wall time would include other work.
fn processor_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: Vec<f64> =
        fields.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // The 11th and 12th numbers after the state, which is a letter; a tick is 10 ms.
    Some((ticks.get(10)? + ticks.get(11)?) / 100.0)
}

#[expect(clippy::disallowed_methods, reason = "what makes the store must not be measured")]
fn apart() {
    let this = std::env::current_exe().expect("this program has a file");
    let made = std::process::Command::new(this).arg("make").status().expect("this program starts");
    assert!(made.success(), "the store could not be made");
}

/// Makes the store: a run of every case for each commit. One commit in two hundred makes some case
/// slower or faster.
fn make(dir: &Path) {
    let decode = Workload::Decode { depth: Tokens(128), output: Tokens(32), batch: 1 };
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = |width: f64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        1.0 + width * ((random >> 11) as f64 / (1_u64 << 52) as f64 - 1.0)
    };
    let mut levels: Vec<f64> = (0..CASES).map(|case| 100.0 + case as f64).collect();
    for commit in 0..COMMITS {
        let moved = commit * 7 % CASES;
        if commit % 211 == 210 {
            levels[moved] *= if commit % 2 == 0 { 0.93 } else { 1.05 };
        }
        let (day, second) = (commit / 1440, commit % 1440);
        let at = format!("2026-01-{:02}T{:02}:{:02}", day + 1, second / 60, second % 60);
        let hash = format!("{commit:040x}");
        let subject = Subject {
            name: ".".into(),
            commit: Some(hash.clone()),
            binary: hash,
            ..Subject::default()
        };
        let run = Run {
            id: RunId(format!("{at}-gate")),
            at: format!("{at}:00Z"),
            command: "windtunnel run gate".into(),
            subjects: vec![subject.clone()],
            cases: Vec::new(),
            skipped: Vec::new(),
            gate: None,
            rules: None,
        };
        let mut records = Vec::new();
        for (case, level) in levels.iter().enumerate() {
            let day = noise(0.01);
            for round in 1..=ROUNDS {
                let rate = level * day * noise(0.004);
                let sample = |i: usize| rate * (1.0 + 0.002 * (i % 5) as f64);
                let gap = |i: usize| 1e9 / sample(i);
                let values = BTreeMap::from([
                    (Metric::DecodeRate, (0..3).map(sample).collect()),
                    (Metric::TimePerOutputToken, (0..3).map(gap).collect()),
                    (Metric::InterToken, (0..31).map(gap).collect()),
                ]);
                let mut record =
                    runs::record(1, 'a', &format!("gate/decode-{case}"), decode, round, values);
                record.run = run.id.clone();
                record.at = format!("{at}:{:02}Z", round + 5 * (case as u32 % 11));
                record.subject = subject.clone();
                record.conditions.load_before = Some(0.1);
                if let Outcome::Measured(samples) = &mut record.outcome {
                    samples.once.insert(Metric::PeakRss, 1.6e9);
                    samples.once.insert(Metric::WeightBytes, 9.8e8);
                    samples.once.insert(Metric::KvBytes, 2.5e7);
                }
                records.push(record);
            }
        }
        let folder = dir.join(format!("{commit:05}"));
        std::fs::create_dir_all(&folder).expect("a writable directory");
        let text = windtunnel_ledger::store::sealed(&run, &records);
        std::fs::write(folder.join("run.jsonl"), text).expect("a writable directory");
    }
}
