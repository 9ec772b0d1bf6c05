//! One child process: started, fed with its case, listened to, and never left behind.
//!
//! Whatever the child does (answer, crash, hang, babble) becomes an [`Outcome`].

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
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

/// What a child left.
pub(crate) struct Left {
    /// How it was built; none if it never said.
    pub(crate) build: Option<Build>,
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// From its start to its end.
    pub(crate) wall: Nanos,
    /// What was seen of it meanwhile.
    pub(crate) trace: Option<Trace>,
}

/// The argument that makes a probe exit when its stdin ends, so that it does not outlive us.
const UNTIL_EOF: &str = "--until-eof";
/// The feature of a probe that can use GPUs. What others do on them is nothing to one that cannot.
const GPU_FEATURE: &str = "cuda";
/// A line longer than this is no message.
const LONGEST_LINE: u64 = 64 << 20;
/// How long a child that has said everything may take to exit.
const GRACE: Duration = Duration::from_secs(10);

/// How long nothing is done between two looks at a child.
const PAUSE: Duration = Duration::from_millis(2);
/// How long the end of a child's stderr is waited for once the child is gone.
const TAIL_GRACE: Duration = Duration::from_secs(1);

/// What a child is started for, and who looks on.
pub(crate) struct Errand<'a> {
    /// The case to run.
    pub(crate) case: &'a Case,
    /// What for.
    pub(crate) purpose: Purpose,
    /// The GPUs to watch with it, if it was built for them.
    pub(crate) gpus: Option<Arc<dyn Gpus>>,
}

/// Runs an errand on `probe` to its end or to its deadline, in the folder `root`: where the paths in
/// cases begin. It is watched.
pub(crate) fn run(probe: &Path, root: &Path, errand: Errand<'_>) -> Left {
    let Errand { case, purpose, gpus } = errand;
    let start = Instant::now();
    let kills = machine::out_of_memory_kills();
    let left = |build, outcome, trace| Left {
        build,
        outcome,
        wall: Nanos(start.elapsed().as_nanos() as u64),
        trace,
    };
    let mut child = match command(probe, root).spawn() {
        Ok(child) => child,
        Err(error) => {
            let error = format!("`{}`: {error}", probe.display());
            return left(None, Outcome::Failed(Failure::Start { error }), None);
        }
    };
    let watcher = watch::start(Root::here(), child.id(), gpus);

    let tail = Tail::keep(child.stderr.take());
    let lines = read_lines(child.stdout.take());
    // A child that does not read its case fails in ways that are seen below. Its stdin stays open.
    let mut stdin = child.stdin.take();
    if let Some(stdin) = &mut stdin {
        let _ = stdin.write_all(order(case, purpose, Phases::Told).as_bytes());
    }

    let deadline = start + Duration::from_nanos(case.deadline.0);
    let mut said = Said::default();
    let end = said.listen(&lines, deadline);
    let grace = deadline.saturating_duration_since(Instant::now()).min(GRACE);
    let status = match end {
        Heard::Garbage(_) | Heard::Protocol(_) | Heard::Deadline => None,
        _ => wait(&mut child, Instant::now() + grace),
    };
    kill_group(&child);
    // Reaped above if it ended by itself, and here if it was killed.
    let _ = child.wait();
    drop(stdin);
    let mut trace = watcher.stop(std::mem::take(&mut said.marks));
    let has_gpus = said.build.as_ref().is_some_and(|b| b.features.iter().any(|f| f == GPU_FEATURE));
    if said.build.as_ref().is_some_and(Build::is_external) {
        // What stands behind the adapter may use any GPU.
        let reason = "an adapter was watched, and not the subject behind it";
        let tracks = trace.iter_mut().flat_map(|trace| &mut trace.tracks);
        tracks.for_each(|track| track.forget_process(reason));
    } else if let Some(trace) = trace.as_mut().filter(|_| !has_gpus) {
        trace.tracks.retain(|track| track.of == Watched::Process);
    }
    let tail = tail.text();

    let outcome = match (end, status) {
        (Heard::Garbage(line), _) => Outcome::Failed(Failure::Garbage { line, tail }),
        (Heard::Protocol(found), _) => {
            Outcome::Failed(Failure::Protocol { found, expected: PROTOCOL })
        }
        (Heard::Failed(failure), _) => Outcome::Failed(failure),
        (Heard::Unsupported(reason), _) => Outcome::Skipped(reason),
        (Heard::Deadline, _) => {
            Outcome::Failed(Failure::TimedOut { deadline: case.deadline, tail })
        }
        (_, None) => {
            let grace = Nanos(grace.as_nanos() as u64);
            Outcome::Failed(Failure::Lingered { grace, tail })
        }
        (Heard::End(samples), Some(status)) if status.success() => match purpose {
            Purpose::Measure => complete(samples, case),
            Purpose::Attribute => attributed(samples, said.attributed),
        },
        (Heard::End(_) | Heard::Silence, Some(status)) => {
            let killed = machine::out_of_memory_kills() > kills;
            Outcome::Failed(crashed(status, killed, tail))
        }
    };
    left(said.build, outcome, trace)
}

/// A probe in a process group of its own, so that whatever it starts can be ended with it, and
/// without variables that would change what it does: what changes a result belongs in the case.
#[expect(clippy::disallowed_methods, reason = "starting probes is what this file is for")]
pub(crate) fn command(probe: &Path, root: &Path) -> Command {
    // Begun elsewhere, a relative path would lead elsewhere.
    let mut command = Command::new(std::path::absolute(probe).unwrap_or_else(|_| probe.to_owned()));
    command.current_dir(root);
    command.arg(UNTIL_EOF).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("RAYON_NUM_THREADS").env_remove("RUST_BACKTRACE");
    // A secret is nothing to a process that asks nobody.
    command.env_remove("HF_TOKEN").env_remove("HF_TOKEN_PATH");
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// Kills a child and everything that it has started. A group that is gone already is no error.
pub(crate) fn kill_group(child: &Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// The samples of a probe that called them all, if they are.
fn complete(samples: Samples, case: &Case) -> Outcome {
    let (warmup, timed) = (case.warmup as usize, case.iterations.get() as usize);
    let found = samples.iterations.len();
    let kind = |i: usize| if i < warmup { IterationKind::WarmUp } else { IterationKind::Timed };
    let in_order = samples.iterations.iter().enumerate().all(|(i, it)| it.kind == kind(i));
    let all = match (case.enough, samples.stopped) {
        (Enough::Counted, _) => found == warmup + timed,
        (Enough::Precise(_), Some(_)) => found >= warmup + timed,
        (Enough::Precise(_), None) => {
            let error = "the probe did not say why its iterations are enough: build it from a revision that does, or leave out `[precision]`";
            return Outcome::Failed(Failure::Engine { error: error.to_owned() });
        }
    };
    match all && in_order {
        true => Outcome::Measured(samples),
        false => Outcome::Failed(Failure::Incomplete { found, expected: warmup + timed }),
    }
}

/// Where the time went by what a probe said, if it did.
fn attributed(samples: Samples, said: Option<Whereabouts>) -> Outcome {
    match said {
        Some((wall, work, counts)) => {
            Outcome::Attributed(Attribution { attention: samples.attention, wall, work, counts })
        }
        None => {
            let error = "this probe cannot say where the time goes: build it from a revision that does, or leave out `--attribute`";
            Outcome::Failed(Failure::Engine { error: error.to_owned() })
        }
    }
}

/// Waits until `child` has ended or `deadline` has passed.
fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// The failure of a child that ended by itself before it had said all.
fn crashed(status: ExitStatus, kernel_killed: bool, tail: String) -> Failure {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    const SIGKILL: i32 = 9;
    /// How a program ends for which the loader does not find a library.
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

/// The library for want of which the loader did not start a program, by what it wrote.
fn missing_library(tail: &str) -> Option<&str> {
    let (_, rest) = tail.split_once("error while loading shared libraries: ")?;
    rest.split_once(':').map(|(library, _)| library)
}

/// What there is to do without `library`.
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

    /// What was kept. A process that outlived the child may hold stderr open for as long as it
    /// likes: it is not waited for.
    fn text(self) -> String {
        let patience = Instant::now() + TAIL_GRACE;
        while !self.reader.is_finished() && Instant::now() < patience {
            std::thread::sleep(PAUSE);
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        Vec::from(lines.clone()).join("\n")
    }
}

/// Passes on the lines of the child's stdout as they come, each with its line feed if it has one.
fn read_lines(stdout: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut reader = stdout.map(BufReader::new);
        while let Some(line) = reader.as_mut().and_then(next_line) {
            // Nobody listens to a child that is about to be killed.
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The next line, with its line feed if it has one, and cut where it is endless.
fn next_line(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let read = reader.take(LONGEST_LINE).read_until(b'\n', &mut line);
    (read.is_ok_and(|bytes| bytes > 0)).then_some(line)
}

/// A line as a person can read it.
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

/// Where the time went, and what was counted meanwhile, as a child says it.
type Whereabouts = (Nanos, BTreeMap<String, Work>, Counts);

/// What a child has said so far.
#[derive(Default)]
struct Said {
    build: Option<Build>,
    samples: Option<Samples>,
    /// Where the time went, if it was asked.
    attributed: Option<Whereabouts>,
    marks: Vec<Mark>,
}

/// How a child stopped talking.
enum Heard {
    /// It said all.
    End(Samples),
    /// It closed its stdout before that.
    Silence,
    /// It says that the engine cannot do this.
    Unsupported(String),
    /// It says that the engine failed.
    Failed(Failure),
    /// It said something that is no message, or not its turn.
    Garbage(String),
    /// It speaks another protocol.
    Protocol(u32),
    /// It had not said all at the deadline.
    Deadline,
}

impl Said {
    fn listen(&mut self, lines: &Receiver<Vec<u8>>, deadline: Instant) -> Heard {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = match lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return Heard::Deadline,
                Err(RecvTimeoutError::Disconnected) => return Heard::Silence,
            };
            let message = match serde_json::from_slice(&line) {
                Ok(message) => message,
                // A child that dies in the middle of a line is a crash and no babbler.
                Err(_) if !line.ends_with(b"\n") && (line.len() as u64) < LONGEST_LINE => {
                    return Heard::Silence;
                }
                Err(_) => return Heard::Garbage(cut(&line)),
            };
            match (message, &mut self.samples) {
                (Message::Hello { protocol: PROTOCOL, build }, None) => self.build = Some(build),
                (Message::Hello { protocol, .. }, None) => return Heard::Protocol(protocol),
                (
                    Message::Loaded {
                        attention,
                        dtype,
                        declined,
                        formats,
                        holdings,
                        prompts,
                        values,
                    },
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
                (Message::Iteration(iteration), Some(samples)) => {
                    samples.iterations.push(iteration)
                }
                (Message::Stopped(stopped), Some(samples)) => samples.stopped = Some(stopped),
                (Message::Attributed { wall, work, counts }, Some(_)) => {
                    self.attributed = Some((wall, work, counts));
                }
                (Message::End { values }, Some(_)) => {
                    let mut samples = self.samples.take().expect("matched above");
                    samples.once.extend(values);
                    return Heard::End(samples);
                }
                (Message::Unsupported { reason }, _) => return Heard::Unsupported(reason),
                (Message::Failed { error }, _) => {
                    return Heard::Failed(Failure::Engine { error });
                }
                (Message::Exhausted { error, devices }, _) => {
                    return Heard::Failed(Failure::Exhausted { error, devices });
                }
                _ => return Heard::Garbage(cut(&line)),
            }
        }
    }
}

/// The line that a probe reads from its stdin.
fn order(case: &Case, purpose: Purpose, phases: Phases) -> String {
    let order = Order { protocol: PROTOCOL, case: case.clone(), purpose, phases };
    serde_json::to_string(&order).expect("a case is plain data") + "\n"
}

/// A line for a shell that runs `case` on `probe` for `purpose` once more.
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

    #[test]
    fn a_probe_for_which_a_library_is_missing_says_which_and_what_to_do() {
        let failure = |library: &str, code: i32| {
            let tail = format!(
                "target/probe: error while loading shared libraries: {library}: cannot open shared object file: No such file or directory"
            );
            // As `wait` tells of an exit code.
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
