//! Runs one child process: starts it, feeds it its case, listens to it, and never leaves it behind.
//!
//! Whatever the child does (answer, crash, hang, write garbage) becomes an [`Outcome`].

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use windtunnel_ledger::attribution::{Attribution, Work};
use windtunnel_ledger::case::Case;
use windtunnel_ledger::counter::Counts;
use windtunnel_ledger::environment::Build;
use windtunnel_ledger::precision::Enough;
use windtunnel_ledger::record::{Failure, IterationKind, Outcome, Samples};
use windtunnel_ledger::trace::{Mark, Trace, Watched};
use windtunnel_ledger::unit::Nanos;
use windtunnel_ledger::wire::{Message, Order, PROTOCOL, Phases, Purpose};

use crate::machine::{self, Root};
use crate::watch::{self, Gpus};

/// The result of a child.
pub(crate) struct Left {
    /// How it was built; none if it never said.
    pub(crate) build: Option<Build>,
    /// Its outcome.
    pub(crate) outcome: Outcome,
    /// From its start to its end.
    pub(crate) wall: Nanos,
    /// What was observed of it from outside while it ran.
    pub(crate) trace: Option<Trace>,
}

/// The argument that makes a probe exit when its stdin ends, so that it does not outlive us.
const UNTIL_EOF: &str = "--until-eof";
/// The feature of a probe that can use GPUs. The trace of a probe without it has no GPU tracks:
/// they would only show what others do.
const GPU_FEATURE: &str = "cuda";
/// A longer line is not a message.
const LONGEST_LINE: u64 = 64 << 20;
/// Lines buffered until they are read. A child that writes more in the meantime has to wait.
const WAITING_LINES: usize = 1024;
/// How long a child may take to exit after its last message.
const GRACE: Duration = Duration::from_secs(10);
/// How long after the deadline a backlog of lines is still read.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The pause between two polls of a child.
const PAUSE: Duration = Duration::from_millis(2);
/// How long to wait for the end of stderr once the child is gone.
const TAIL_GRACE: Duration = Duration::from_secs(1);

/// What a child is started for, and which GPUs to watch.
pub(crate) struct Errand<'a> {
    /// The case to run.
    pub(crate) case: &'a Case,
    /// What to run it for.
    pub(crate) purpose: Purpose,
    /// The GPUs to watch, if the probe was built for them.
    pub(crate) gpus: Option<Arc<dyn Gpus>>,
}

/// Runs an errand on `probe` to its end or its deadline and watches it. It runs in the folder
/// `root`, to which the paths in cases are relative.
pub(crate) fn run(probe: &Path, root: &Path, errand: Errand<'_>) -> Left {
    let Errand { case, purpose, gpus } = errand;
    let start = Instant::now();
    let since_start = || Nanos(start.elapsed().as_nanos() as u64);
    let kills = machine::out_of_memory_kills();
    let mut child = match command(probe, root).spawn() {
        Ok(child) => child,
        Err(error) => {
            let error = format!("`{}`: {error}", probe.display());
            let outcome = Outcome::Failed(Failure::Start { error });
            return Left { build: None, outcome, wall: since_start(), trace: None };
        }
    };
    let watcher = watch::start(Root::here(), child.id(), gpus);
    let tail = Tail::keep(child.stderr.take());
    let lines = read_lines(child.stdout.take());
    let stdin = feed(child.stdin.take(), order(case, purpose, Phases::Told));

    let deadline = start + Duration::from_nanos(case.deadline.0);
    let mut said = Said::default();
    let heard = said.listen(&lines, deadline);
    // Further output is drained and discarded.
    drop(lines);
    let grace = deadline.saturating_duration_since(Instant::now()).min(GRACE);
    let status = match heard {
        Heard::Garbage(_) | Heard::Protocol(_) | Heard::Deadline => None,
        _ => wait(&mut child, Instant::now() + grace),
    };
    kill_group(&child);
    // Reaped above if it exited by itself, and here if it was killed.
    let _ = child.wait();
    drop(stdin);
    let wall = since_start();

    let Said { build, marks, attributed, .. } = said;
    let trace = watcher.stop(marks).map(|trace| of_probe(trace, build.as_ref()));
    let kernel_killed = machine::out_of_memory_kills() > kills;
    let is_adapter = build.as_ref().is_some_and(Build::is_external);
    let end = End { heard, status, grace, kernel_killed, is_adapter, tail: tail.text() };
    let outcome = match purpose {
        Purpose::Measure => end.outcome(case.deadline, |samples| complete(samples, case)),
        Purpose::Attribute => {
            end.outcome(case.deadline, |samples| self::attributed(samples, attributed))
        }
    };
    Left { build, outcome, wall, trace }
}

/// How a child ended.
struct End {
    /// How it stopped talking.
    heard: Heard,
    /// Its exit status; none if it had to be killed.
    status: Option<ExitStatus>,
    /// How long it had to exit after its last message.
    grace: Duration,
    /// Whether the kernel's OOM killer killed something meanwhile.
    kernel_killed: bool,
    /// Whether it is an adapter, which lives on when the subject behind it is killed.
    is_adapter: bool,
    /// The end of its stderr.
    tail: String,
}

impl End {
    /// The outcome of a child that had until `deadline`: what `done` makes of its samples, if it
    /// sent them and exited with success.
    fn outcome(self, deadline: Nanos, done: impl FnOnce(Samples) -> Outcome) -> Outcome {
        let End { heard, status, grace, kernel_killed, is_adapter, tail } = self;
        let failure = match (heard, status) {
            (Heard::End(samples), Some(status)) if status.success() => return done(samples),
            (Heard::Unsupported(reason), _) => return Outcome::Skipped(reason),
            // All that an adapter notices of such a kill is that the subject is gone.
            (Heard::Failed(failure), _) if kernel_killed && is_adapter => {
                Failure::OutOfMemory { tail: format!("{tail}\n{failure}").trim().to_owned() }
            }
            (Heard::Failed(failure), _) => failure,
            (Heard::Garbage(line), _) => Failure::Garbage { line, tail },
            (Heard::Protocol(found), _) => Failure::Protocol { found, expected: PROTOCOL },
            (Heard::Deadline, _) => Failure::TimedOut { deadline, tail },
            (Heard::End(_) | Heard::Silence, None) => {
                Failure::Lingered { grace: Nanos(grace.as_nanos() as u64), tail }
            }
            (Heard::End(_) | Heard::Silence, Some(status)) => crashed(status, kernel_killed, tail),
        };
        Outcome::Failed(failure)
    }
}

/// The part of a trace that applies to a probe with this build: not the GPUs that it cannot use,
/// and not the process of an adapter, which stands in for another.
fn of_probe(mut trace: Trace, build: Option<&Build>) -> Trace {
    let has_gpus = build.is_some_and(|build| build.features.iter().any(|it| it == GPU_FEATURE));
    if build.is_some_and(Build::is_external) {
        // The subject behind the adapter may use any GPU.
        let reason = "the adapter was watched, not the subject behind it";
        trace.tracks.iter_mut().for_each(|track| track.forget_process(reason));
    } else if !has_gpus {
        trace.tracks.retain(|track| track.of == Watched::Process);
    }
    trace
}

/// A probe in its own process group, so that whatever it starts can be killed with it, and without
/// environment variables that would change what it does: what changes a result belongs in the case.
#[expect(clippy::disallowed_methods, reason = "starting probes is what this file is for")]
pub(crate) fn command(probe: &Path, root: &Path) -> Command {
    // A relative path would be resolved from `root`.
    let mut command = Command::new(std::path::absolute(probe).unwrap_or_else(|_| probe.to_owned()));
    command.current_dir(root);
    command.arg(UNTIL_EOF).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("RAYON_NUM_THREADS").env_remove("RUST_BACKTRACE");
    // A probe does not use the network, so it needs no secrets.
    command.env_remove("HF_TOKEN").env_remove("HF_TOKEN_PATH");
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// What the child that `command` starts prints to stdout; none unless it exits with success within
/// `patience`. It gets an empty line in place of an order, and does not outlive us either.
pub(crate) fn answer(mut command: Command, patience: Duration) -> Option<String> {
    let mut child = command.stderr(Stdio::null()).spawn().ok()?;
    let deadline = Instant::now() + patience;
    let lines = read_lines(child.stdout.take());
    let stdin = feed(child.stdin.take(), "\n".to_owned());
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut said = Vec::new();
    // A child that never falls silent is not heard for ever.
    while !left().is_zero()
        && let Ok(line) = lines.recv_timeout(left())
    {
        said.extend(line);
    }
    // Further output is drained and discarded.
    drop(lines);
    let status = wait(&mut child, deadline);
    kill_group(&child);
    let _ = child.wait();
    drop(stdin);
    String::from_utf8(said).ok().filter(|_| status.is_some_and(|status| status.success()))
}

/// Kills a child and everything that it has started. A group that is already gone is not an error.
pub(crate) fn kill_group(child: &Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// The outcome of a probe that sent its last message: measured if its samples are complete.
fn complete(samples: Samples, case: &Case) -> Outcome {
    let (warmup, timed) = (case.warmup as usize, case.iterations.get() as usize);
    let found = samples.iterations.len();
    let kind = |i: usize| if i < warmup { IterationKind::WarmUp } else { IterationKind::Timed };
    let in_order = samples.iterations.iter().enumerate().all(|(i, it)| it.kind == kind(i));
    let all = match (case.enough, samples.stopped) {
        (Enough::Counted, _) => found == warmup + timed,
        (Enough::Precise(_), Some(_)) => found >= warmup + timed,
        (Enough::Precise(_), None) => {
            let error = "the probe did not say why it stopped iterating: build it from a revision that does, or leave out `[precision]`";
            return Outcome::Failed(Failure::Engine { error: error.to_owned() });
        }
    };
    match all && in_order {
        true => Outcome::Measured(samples),
        false => Outcome::Failed(Failure::Incomplete { found, expected: warmup + timed }),
    }
}

/// The outcome of an attribution round: where the time went, if the probe said so.
fn attributed(samples: Samples, said: Option<Whereabouts>) -> Outcome {
    match said {
        Some((wall, work, counts)) => {
            Outcome::Attributed(Attribution { attention: samples.attention, wall, work, counts })
        }
        None => {
            let error = "this probe cannot say where the time goes: build it from a revision that can, or leave out `--attribute`";
            Outcome::Failed(Failure::Engine { error: error.to_owned() })
        }
    }
}

/// Waits until `child` has exited or `deadline` has passed.
fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// The failure of a child that exited by itself before its last message, or without success.
fn crashed(status: ExitStatus, kernel_killed: bool, tail: String) -> Failure {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    const SIGKILL: i32 = 9;
    /// The exit code of a program for which the loader does not find a library.
    const NOT_LOADED: i32 = 127;
    match (signal, status.code()) {
        (Some(SIGKILL), _) if kernel_killed => Failure::OutOfMemory { tail },
        (None, Some(NOT_LOADED)) if missing_library(&tail).is_some() => {
            let library = missing_library(&tail).unwrap_or_default();
            Failure::Start { error: without(library) }
        }
        (Some(signal), _) => Failure::Crashed { status: format!("signal {signal}"), tail },
        (None, Some(0)) => {
            Failure::Crashed { status: "it ended in the middle of its answer".into(), tail }
        }
        (None, code) => {
            let code = code.map_or_else(|| "unknown".to_owned(), |code| code.to_string());
            Failure::Crashed { status: format!("exit code {code}"), tail }
        }
    }
}

/// The library that the loader did not find, according to its message.
fn missing_library(tail: &str) -> Option<&str> {
    let (_, rest) = tail.split_once("error while loading shared libraries: ")?;
    rest.split_once(':').map(|(library, _)| library)
}

/// The error for a missing `library`, with what to do about it.
fn without(library: &str) -> String {
    let remedy = match library {
        driver if driver.starts_with("libcuda.") => {
            "install the driver of the GPU (in a container: --gpus all), or build without `--features cuda`"
        }
        cuda if ["libcu", "libnv"].iter().any(|name| cuda.starts_with(name)) => {
            "install CUDA in the version that it was built with, or point to it: export LD_LIBRARY_PATH=/usr/local/cuda/lib64"
        }
        _ => "install it, or build the probe on this machine",
    };
    format!("it needs `{library}`, which is not here; {remedy}")
}

/// The last lines of what a child writes to stderr.
struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: JoinHandle<()>,
}

impl Tail {
    fn keep(stderr: Option<impl Read + Send + 'static>) -> Tail {
        const LINES: usize = 20;
        let lines = Arc::new(Mutex::new(VecDeque::with_capacity(LINES)));
        let kept = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            let mut reader = stderr.map(BufReader::new);
            while let Some(line) = reader.as_mut().and_then(next_line) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == LINES {
                    kept.pop_front();
                }
                kept.push_back(cut(&line));
            }
        });
        Tail { lines, reader }
    }

    /// The kept lines. Waits a limited time only: a process that outlived the child may hold stderr
    /// open for as long as it likes.
    fn text(self) -> String {
        let patience = Instant::now() + TAIL_GRACE;
        while !self.reader.is_finished() && Instant::now() < patience {
            std::thread::sleep(PAUSE);
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        Vec::from(lines.clone()).join("\n")
    }
}

/// Writes `order` to a child without waiting for it: a child that does not read it fails in ways
/// that are noticed elsewhere. Its stdin stays open for as long as the returned receiver is kept.
fn feed(stdin: Option<ChildStdin>, order: String) -> Receiver<ChildStdin> {
    let (keep, kept) = channel();
    std::thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(order.as_bytes());
            let _ = keep.send(stdin);
        }
    });
    kept
}

/// Passes on the lines of the child's stdout as they arrive, each with its line feed if it has one.
fn read_lines(stdout: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(WAITING_LINES);
    std::thread::spawn(move || {
        let mut reader = stdout.map(BufReader::new);
        while let Some(line) = reader.as_mut().and_then(next_line) {
            // A full pipe would keep the child from exiting, so it is drained even if nobody
            // listens.
            let _ = sender.send(line);
        }
    });
    receiver
}

/// The next line, with its line feed if it has one, cut at [`LONGEST_LINE`].
fn next_line(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let read = reader.take(LONGEST_LINE).read_until(b'\n', &mut line);
    (read.is_ok_and(|bytes| bytes > 0)).then_some(line)
}

/// A line shortened for people to read.
fn cut(line: &[u8]) -> String {
    const LENGTH: usize = 200;
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end();
    let mut short: String = line.chars().take(LENGTH).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

/// What a child says in an attribution round: the wall time, where it went, and the counts.
type Whereabouts = (Nanos, BTreeMap<String, Work>, Counts);

/// What a child has said so far.
#[derive(Default)]
struct Said {
    build: Option<Build>,
    samples: Option<Samples>,
    /// Where the time went, if it said so.
    attributed: Option<Whereabouts>,
    marks: Vec<Mark>,
}

/// How a child stopped talking.
enum Heard {
    /// It sent its last message.
    End(Samples),
    /// It closed its stdout, or broke off within a line, before that.
    Silence,
    /// It says that the engine does not support this.
    Unsupported(String),
    /// It says that the engine failed.
    Failed(Failure),
    /// It wrote something that is not a message, or a message out of turn.
    Garbage(String),
    /// It speaks another protocol.
    Protocol(u32),
    /// It had not sent its last message by the deadline.
    Deadline,
}

impl Said {
    /// Listens to a child until its last message, or until no more will come.
    fn listen(&mut self, lines: &Receiver<Vec<u8>>, deadline: Instant) -> Heard {
        let mut late: Option<Instant> = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Messages sent in time count even if they are read late, but not without limit, for a
            // child that never falls silent.
            if left.is_zero() && late.get_or_insert_with(Instant::now).elapsed() > CATCH_UP {
                return Heard::Deadline;
            }
            let line = match lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return Heard::Deadline,
                Err(RecvTimeoutError::Disconnected) => return Heard::Silence,
            };
            let message: Message = match serde_json::from_slice(&line) {
                Ok(message) => message,
                // A child that dies in the middle of a line has crashed, not written garbage.
                Err(_) if !line.ends_with(b"\n") && (line.len() as u64) < LONGEST_LINE => {
                    return Heard::Silence;
                }
                Err(_) => return Heard::Garbage(cut(&line)),
            };
            if let ControlFlow::Break(heard) = self.note(message, &line) {
                return heard;
            }
        }
    }

    /// Notes a message, which was read from `line`; breaks on the last one.
    fn note(&mut self, message: Message, line: &[u8]) -> ControlFlow<Heard> {
        match (message, &mut self.samples) {
            (Message::Hello { protocol: PROTOCOL, build }, None) => self.build = Some(build),
            (Message::Hello { protocol, .. }, None) => {
                return ControlFlow::Break(Heard::Protocol(protocol));
            }
            (
                Message::Loaded { attention, dtype, declined, formats, holdings, prompts, values },
                samples @ None,
            ) if self.build.is_some() => {
                *samples = Some(Samples {
                    attention,
                    dtype,
                    declined,
                    formats,
                    holdings,
                    prompts,
                    once: values,
                    iterations: Vec::new(),
                    stopped: None,
                });
            }
            (Message::Phase(mark), _) if self.build.is_some() => self.marks.push(mark),
            (Message::Iteration(iteration), Some(samples)) => samples.iterations.push(iteration),
            (Message::Stopped(stopped), Some(samples)) => samples.stopped = Some(stopped),
            (Message::Attributed { wall, work, counts }, Some(_)) => {
                self.attributed = Some((wall, work, counts));
            }
            (Message::End { values }, Some(_)) => {
                let mut samples = self.samples.take().expect("matched above");
                samples.once.extend(values);
                return ControlFlow::Break(Heard::End(samples));
            }
            (Message::Unsupported { reason }, _) => {
                return ControlFlow::Break(Heard::Unsupported(reason));
            }
            (Message::Failed { error }, _) => {
                return ControlFlow::Break(Heard::Failed(Failure::Engine { error }));
            }
            (Message::Exhausted { error, devices }, _) => {
                return ControlFlow::Break(Heard::Failed(Failure::Exhausted { error, devices }));
            }
            _ => return ControlFlow::Break(Heard::Garbage(cut(line))),
        }
        ControlFlow::Continue(())
    }
}

/// The line that a probe reads from its stdin.
fn order(case: &Case, purpose: Purpose, phases: Phases) -> String {
    let order = Order { protocol: PROTOCOL, case: case.clone(), purpose, phases };
    serde_json::to_string(&order).expect("a case is plain data") + "\n"
}

/// A shell command that runs `case` on `probe` for `purpose` once more.
pub(crate) fn shell_line(probe: &Path, case: &Case, purpose: Purpose) -> String {
    let order = order(case, purpose, Phases::Silent);
    let quoted = |text: &str| {
        shlex::try_quote(text).map_or_else(|_| format!("{text:?}"), std::borrow::Cow::into_owned)
    };
    let probe = quoted(&probe.display().to_string());
    format!("printf '%s\\n' {} | {probe}", quoted(order.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &Message) -> Vec<u8> {
        message.line().into_bytes()
    }

    fn hello() -> Message {
        Message::Hello { protocol: PROTOCOL, build: Build::default() }
    }

    #[test]
    fn what_was_said_in_time_counts_however_late_it_is_read() {
        let (child, lines) = sync_channel(WAITING_LINES);
        let loaded = Message::Loaded {
            attention: "naive".into(),
            holdings: Vec::new(),
            dtype: None,
            declined: Vec::new(),
            formats: Vec::new(),
            prompts: None,
            values: BTreeMap::new(),
        };
        let end = Message::End { values: BTreeMap::new() };
        for message in [hello(), loaded, end] {
            child.send(line(&message)).unwrap();
        }
        let heard = Said::default().listen(&lines, Instant::now());
        assert!(matches!(heard, Heard::End(_)));
    }

    #[test]
    fn who_never_falls_silent_is_not_heard_for_ever() {
        let (child, lines) = sync_channel(WAITING_LINES);
        let hello = line(&hello());
        let child = std::thread::spawn(move || while child.send(hello.clone()).is_ok() {});
        // By the deadline the queue is full, and it is filled faster than it is read.
        let deadline = Instant::now() + Duration::from_millis(50);
        assert!(matches!(Said::default().listen(&lines, deadline), Heard::Deadline));
        drop(lines);
        child.join().unwrap();
    }

    #[test]
    fn a_server_that_the_kernel_killed_behind_its_adapter_ran_out_of_memory() {
        let outcome = |kernel_killed: bool, is_adapter: bool| {
            let error = "the server broke off its answer".to_owned();
            let heard = Heard::Failed(Failure::Engine { error });
            let (grace, tail) = (GRACE, "loading".to_owned());
            let end = End { heard, status: None, grace, kernel_killed, is_adapter, tail };
            end.outcome(Nanos(1), Outcome::Measured)
        };
        let tail = "loading\nthe server broke off its answer".to_owned();
        assert_eq!(outcome(true, true), Outcome::Failed(Failure::OutOfMemory { tail }));
        for other in [outcome(false, true), outcome(true, false)] {
            assert!(matches!(other, Outcome::Failed(Failure::Engine { .. })), "{other:?}");
        }
    }

    #[test]
    fn a_probe_for_which_a_library_is_missing_says_which_and_what_to_do() {
        let failure = |library: &str, code: i32| {
            let tail = format!(
                "target/probe: error while loading shared libraries: {library}: cannot open shared object file: No such file or directory"
            );
            // The wait status of this exit code.
            let status = std::os::unix::process::ExitStatusExt::from_raw(code << 8);
            crashed(status, false, tail).to_string()
        };
        insta::assert_snapshot!(failure("libcuda.so.1", 127), @"the probe could not be started: it needs `libcuda.so.1`, which is not here; install the driver of the GPU (in a container: --gpus all), or build without `--features cuda`");
        insta::assert_snapshot!(failure("libcublasLt.so.13", 127), @"the probe could not be started: it needs `libcublasLt.so.13`, which is not here; install CUDA in the version that it was built with, or point to it: export LD_LIBRARY_PATH=/usr/local/cuda/lib64");
        insta::assert_snapshot!(failure("libnvrtc.so.13", 127), @"the probe could not be started: it needs `libnvrtc.so.13`, which is not here; install CUDA in the version that it was built with, or point to it: export LD_LIBRARY_PATH=/usr/local/cuda/lib64");
        insta::assert_snapshot!(failure("libstdc++.so.6", 127), @"the probe could not be started: it needs `libstdc++.so.6`, which is not here; install it, or build the probe on this machine");
        assert_eq!(failure("libcuda.so.1", 3), "the probe crashed (exit code 3)");
    }
}
