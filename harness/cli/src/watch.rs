//! Watches a round from outside the measured process: the probe through `/proc`, GPUs through NVML.
//!
//! A thread wakes every [`INTERVAL`], looks, and sleeps again; no error ends it. A value that
//! cannot be read is absent with the reason, and one that can no longer be read ends there with the
//! reason. The cost of watching is part of the trace.

mod gpus;
mod nvml;
mod process;
#[cfg(test)]
pub(crate) mod replay;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use windtunnel_ledger::Nanos;
use windtunnel_ledger::environment::Machine;
use windtunnel_ledger::trace::{Mark, Recorder, SELDOM, Trace, Watched};

use crate::clocks::{self, Clocks};
use crate::machine::Root;
pub(crate) use gpus::Gpus;
use gpus::Users;
use process::{Glance, Process};

/// Time from one look to the next.
const INTERVAL: Duration = Duration::from_millis(40);

/// A thread that watches a round.
pub(crate) struct Watcher {
    stop: Sender<()>,
    thread: JoinHandle<Trace>,
}

/// The machine with its GPUs, and the interface to ask them.
pub(crate) fn machine(machine: Machine) -> (Machine, Option<Arc<dyn Gpus>>) {
    match nvml::open(&Root::here()) {
        Ok(Some(nvml)) => {
            let held = clocks::held_now();
            let mut gpus = nvml.devices();
            gpus.iter_mut().for_each(|gpu| gpu.sm_clock.held = held);
            (Machine { gpus, ..machine }, Some(Arc::new(nvml)))
        }
        Ok(None) => (machine, None),
        Err(gpus_hidden) => (Machine { gpus_hidden, ..machine }, None),
    }
}

/// The clocks of this machine's GPUs, or why they cannot be changed.
pub(crate) fn clocks(root: &Root) -> Result<Box<dyn Clocks>, String> {
    match nvml::open(root)? {
        Some(nvml) => Ok(Box::new(nvml)),
        None => Err("this machine has no NVIDIA driver, and so no GPU clocks".to_owned()),
    }
}

/// Begins to watch the process with this number, and the GPUs, if any.
pub(crate) fn start(root: Root, process: u32, gpus: Option<Arc<dyn Gpus>>) -> Watcher {
    let (stop, stopped) = channel();
    let thread = std::thread::spawn(move || {
        let mut watch = Watch::new(root, process, gpus);
        run(&mut watch, &stopped);
        watch.finish(thread_time())
    });
    Watcher { stop, thread }
}

impl Watcher {
    /// Stops watching. The times of `marks` are on the system's clock, as the probe reported them.
    pub(crate) fn stop(self, marks: Vec<Mark>) -> Option<Trace> {
        let _ = self.stop.send(());
        let mut trace = self.thread.join().ok()?;
        let moved = |mark: Mark| Mark { at: mark.at.since(trace.origin), ..mark };
        trace.marks = marks.into_iter().map(moved).collect();
        // Phases within an iteration are reported after it.
        trace.marks.sort_by_key(|mark| mark.at);
        Some(trace)
    }
}

fn run(watch: &mut Watch, stopped: &Receiver<()>) {
    let interval = INTERVAL.as_nanos() as u64;
    loop {
        watch.look(now());
        // On a grid, so that a late look does not delay the next.
        let since = now().since(watch.origin).0;
        let left = Duration::from_nanos(interval - since % interval);
        match stopped.recv_timeout(left) {
            Err(RecvTimeoutError::Timeout) => (),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What is watched, and what has been seen so far.
struct Watch {
    origin: Nanos,
    looks: u64,
    process: Process,
    track: Recorder,
    gpus: Option<Arc<dyn Gpus>>,
    gpu_tracks: Vec<(Recorder, Users)>,
}

impl Watch {
    fn new(root: Root, process: u32, gpus: Option<Arc<dyn Gpus>>) -> Watch {
        let interval = INTERVAL.as_nanos() as u64;
        let devices = gpus.as_ref().map_or_else(Vec::new, |gpus| gpus.devices());
        let track = |uuid| Recorder::new(Watched::Gpu(uuid), Nanos(interval));
        Watch {
            origin: now(),
            looks: 0,
            process: Process::new(root.clone(), process),
            track: Recorder::new(Watched::Process, Nanos(interval)),
            gpus,
            gpu_tracks: devices
                .into_iter()
                .map(|device| (track(device.uuid), Users::new(root.clone(), process)))
                .collect(),
        }
    }

    /// One look at everything that is due.
    fn look(&mut self, now: Nanos) {
        let at = now.since(self.origin);
        let is_slow = self.looks.is_multiple_of(SELDOM);
        if !self.track.has_ended() {
            if is_slow {
                self.process.look_closely();
            }
            match self.process.look() {
                Glance::Seen(look) => self.track.look(at, look),
                Glance::Ended => (),
                Glance::Hidden(reason) => self.track.end(at, reason),
            }
        }
        if let Some(gpus) = &self.gpus {
            for (device, (track, users)) in self.gpu_tracks.iter_mut().enumerate() {
                if track.has_ended() {
                    continue;
                }
                if is_slow {
                    users.are(gpus.users(device));
                }
                match gpus.look(device) {
                    Ok(mut look) => {
                        look.extend(users.gauges());
                        track.look(at, look);
                    }
                    Err(reason) => track.end(at, reason),
                }
            }
        }
        self.looks += 1;
    }

    fn finish(self, cost: Nanos) -> Trace {
        let gpus = self.gpu_tracks.into_iter().map(|(track, _)| track);
        let tracks = std::iter::once(self.track).chain(gpus).map(Recorder::finish).collect();
        Trace { origin: self.origin, cost, marks: Vec::new(), tracks }
    }
}

/// The system's monotonic clock, which is the same for every process.
fn now() -> Nanos {
    read(ClockId::Monotonic)
}

/// CPU time of this thread.
fn thread_time() -> Nanos {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> Nanos {
    let time = clock_gettime(clock);
    Nanos(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use windtunnel_ledger::trace::Gauge;

    use super::*;
    use crate::machine::tests::lay_out;

    const MS: u64 = 1_000_000;

    /// A machine that runs process 42, as `/proc` and `/sys` show it.
    const MACHINE: &str = "==> proc/loadavg
1.50 1.00 0.50 2/100 42
==> proc/42/stat
42 (a probe) R 1 42 42 0 -1 0 700 0 3 0 25 5 0 0 20 0 4 0 100 99999 512 0
==> proc/42/task/42/status
voluntary_ctxt_switches:\t7
nonvoluntary_ctxt_switches:\t2
==> proc/42/task/43/status
voluntary_ctxt_switches:\t1
nonvoluntary_ctxt_switches:\t0
";

    #[test]
    fn a_process_is_seen_with_all_its_gauges() {
        let (_dir, root) = lay_out(MACHINE);
        let mut watch = Watch::new(root, 42, None);
        let begun = watch.origin;
        for i in 0..3 {
            watch.look(Nanos(begun.0 + i * 20 * MS));
        }
        let trace = watch.finish(Nanos(5));
        let track = trace.process().unwrap();
        let page = rustix::param::page_size() as i64;
        assert_eq!(track.at.0, [0, 20, 40]);
        assert_eq!(track.highest(Gauge::Rss), Some(512 * page / 1024));
        let tick = 1000 / rustix::param::clock_ticks_per_second() as i64;
        assert_eq!(track.highest(Gauge::CpuTime), Some(30 * tick));
        let rest = [Gauge::Threads, Gauge::Switches, Gauge::MinorFaults, Gauge::MajorFaults];
        assert_eq!(rest.map(|gauge| track.highest(gauge)), [Some(4), Some(10), Some(700), Some(3)]);
        assert_eq!(track.highest(Gauge::Load), Some(150));
        assert!(track.why_absent(Gauge::CpuClock).unwrap().contains("cpufreq"));
        assert_eq!((track.ended.as_ref(), trace.cost), (None, Nanos(5)));
    }

    #[test]
    fn a_process_is_seen_though_its_name_was_cut_within_a_letter() {
        let (dir, root) = lay_out(MACHINE);
        let stat =
            b"42 (a mesur\xc3) R 1 42 42 0 -1 0 700 0 3 0 25 5 0 0 20 0 4 0 100 99999 512 0\n";
        std::fs::write(dir.path().join("proc/42/stat"), stat).unwrap();
        let mut watch = Watch::new(root, 42, None);
        let begun = watch.origin;
        watch.look(begun);
        let trace = watch.finish(Nanos(0));
        assert_eq!(trace.process().unwrap().highest(Gauge::Threads), Some(4));
    }

    #[test]
    fn a_process_that_ended_is_no_trouble_and_a_proc_that_is_gone_is_told() {
        let (dir, root) = lay_out(MACHINE);
        let mut watch = Watch::new(root.clone(), 42, None);
        let begun = watch.origin;
        watch.look(begun);
        std::fs::remove_dir_all(dir.path().join("proc/42")).unwrap();
        watch.look(Nanos(begun.0 + 20 * MS));
        std::fs::remove_dir_all(dir.path().join("proc")).unwrap();
        assert_eq!(watch.track.clone().finish().ended, None, "it has ended by itself");
        watch.look(Nanos(begun.0 + 40 * MS));
        watch.look(Nanos(begun.0 + 60 * MS));
        let ended = watch.finish(Nanos(0)).process().unwrap().ended.clone().unwrap();
        assert_eq!(ended.at, Nanos(40 * MS));
        assert_eq!(ended.reason, "`/proc` can no longer be read");
    }

    #[test]
    fn what_vanishes_in_the_middle_or_makes_no_sense_ends_nothing_else() {
        let (dir, root) = lay_out(MACHINE);
        let path = |path: &str| dir.path().join(path);
        let mut watch = Watch::new(root, 42, None);
        let begun = watch.origin;
        let look = |watch: &mut Watch, i: u64| watch.look(Nanos(begun.0 + i * 40 * MS));
        look(&mut watch, 0);
        // A thread ends, taking its count with it, and the load average disappears.
        std::fs::remove_dir_all(path("proc/42/task/42")).unwrap();
        std::fs::remove_file(path("proc/loadavg")).unwrap();
        (1..=SELDOM).for_each(|i| look(&mut watch, i));
        let track = watch.track.clone().finish();
        assert_eq!(track.ended, None);
        assert_eq!(track.points(Gauge::Rss).count() as u64, SELDOM + 1);
        assert_eq!(track.highest(Gauge::Switches), Some(10));
        assert_eq!(track.why_absent(Gauge::Load), Some("the load average cannot be read"));

        std::fs::write(path("proc/42/stat"), "42 (a probe) R 1 42 many\n").unwrap();
        look(&mut watch, 20);
        std::fs::write(path("proc/42/stat"), "").unwrap();
        look(&mut watch, 21);
        let ended = watch.finish(Nanos(0)).process().unwrap().ended.clone().unwrap();
        assert_eq!(ended.reason, "`/proc` says `42 (a probe) R 1 42 many` of the process");
    }

    #[test]
    fn a_thread_watches_until_it_is_stopped_and_puts_marks_on_its_own_clock() {
        use windtunnel_ledger::trace::Phase;
        let begun = now();
        let watcher = start(Root::here(), std::process::id(), None);
        std::thread::sleep(Duration::from_millis(5));
        let marks = [(2, Phase::Decode), (1, Phase::Iteration(0))];
        let mark =
            |(s, phase): (u64, Phase)| Mark { at: Nanos(begun.0 + s * 1_000_000_000), phase };
        let trace = watcher.stop(marks.map(mark).into()).unwrap();
        assert!(trace.origin >= begun && trace.cost > Nanos(0));
        assert!(trace.process().unwrap().highest(Gauge::Rss) > Some(0));
        assert!(trace.marks[0].at < trace.marks[1].at, "{:?}", trace.marks);
        assert_eq!(trace.marks[0].phase, Phase::Iteration(0));
    }
}
