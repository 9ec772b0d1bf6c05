//! How long it takes, and how much memory, to read 200,000 records of 2,000 commits, to judge their
//! series, and to show them: `cargo bench --package windtunnel-history`.
//!
//! The store is made up once, in the target directory, by a process of its own, so that what it needs
//! is not counted. Each record is like those of a run: machine, build, conditions, samples.

#[path = "../tests/store/runs.rs"]
mod runs;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use windtunnel_history::commits::Commits;
use windtunnel_history::frame::load;
use windtunnel_history::judged::{Terms, judge, policy};
use windtunnel_history::series::{Along, history};

const COMMITS: usize = 2000;
const CASES: usize = 20;
const ROUNDS: u32 = 5;

fn main() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("thousands");
    if std::env::args().any(|arg| arg == "make") {
        return runs::many(&dir, COMMITS, CASES, ROUNDS);
    }
    if !dir.join("made").exists() {
        make();
        std::fs::write(dir.join("made"), "").expect("a writable directory");
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    let mut lap = |what| times.push((what, start.elapsed()));
    let loaded = load(&[dir]).expect("a store");
    lap("read");
    let (own, upstream) = (Commits::default(), Commits::default());
    let (policy, floors) = (policy(Path::new("")).expect("a policy"), BTreeMap::new());
    let terms = Terms {
        policy: &policy,
        floors: &floors,
        own: &own,
        upstream: &upstream,
        along: Along::Own,
    };
    let history = history(&loaded, "", None, Along::Own, &own, &upstream).expect("a frame");
    lap("ordered");
    let judged = judge(&loaded, history, &terms);
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
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown");
    say(peak.to_owned());
}

#[expect(clippy::disallowed_methods, reason = "what makes the store must not be measured")]
fn make() {
    let this = std::env::current_exe().expect("this program has a file");
    let made = std::process::Command::new(this).arg("make").status().expect("this program starts");
    assert!(made.success(), "the store could not be made");
}
