//! One measuring run per machine, and one per GPU: two at once would measure each other, and so
//! would a build beside a run. A command takes its turn before its first build and holds it until
//! it ends, also between several runs, so that the next in line gets a machine that is really free.
//!
//! The locks are the kernel's, on files with the same names for all users: a holder loses its lock
//! when its process ends, however it ends. The contents of a file are only for people. The files
//! are in `/tmp`, where every user can create them and which is the same for everyone; for
//! containers, which have their own, `WINDTUNNEL_LOCKS` names a folder that they share.
//!
//! What a command runs and waits for, as a check or while it holds clocks, may measure: it does so
//! within the command's turn, and a further lock keeps two of them from measuring at once.
//!
//! Anybody may put anything under these names in such a folder. So links are never followed, and
//! nothing is written to a file that is not a plain file or has a second name. What remains is that
//! another user may hold a lock without measuring: that costs a wait, and the message says who.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use windtunnel_ledger::environment::{Gpu, Machine};

use crate::machine::Root;
use crate::progress::Progress;
use crate::{session, show, watch};

/// How long a run waits for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all.
    Refuse,
    /// This long.
    Wait(Duration),
    /// As long as it takes.
    Forever,
}

impl Patience {
    /// The patience that `--wait` asks for.
    pub(crate) fn of(wait: Option<Option<Patience>>) -> Patience {
        wait.map_or(Patience::Refuse, |wait| wait.unwrap_or(Patience::Forever))
    }
}

impl FromStr for Patience {
    type Err = String;

    fn from_str(text: &str) -> Result<Patience, String> {
        let long = text.parse::<SignedDuration>().ok().and_then(|long| long.try_into().ok());
        long.map(Patience::Wait).ok_or_else(|| "a time is written `30s`, `10m` or `2h`".to_owned())
    }
}

/// How a run waits for its turn on this machine.
#[derive(Clone, Copy)]
pub(crate) struct Queue {
    /// How long it waits.
    pub(crate) patience: Patience,
    /// How it reports that it is waiting.
    pub(crate) progress: Progress,
}

impl Queue {
    /// Waits for the turn and takes it. If this process already has it, it is shared; it ends when
    /// the last holder drops it.
    pub(crate) fn take(self) -> Result<Arc<Locks>, Busy> {
        shared(&TURN, || {
            let (machine, _) = watch::machine(Machine::default());
            take(&machine.gpus, self)
        })
    }
}

/// The turn of this process, while it has one: locking the same file twice would wait for itself.
static TURN: Mutex<Weak<Locks>> = Mutex::new(Weak::new());

/// The locks already held, or else those that `take` takes.
fn shared<E>(
    held: &Mutex<Weak<Locks>>,
    take: impl FnOnce() -> Result<Locks, E>,
) -> Result<Arc<Locks>, E> {
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(locks) = held.upgrade() {
        return Ok(locks);
    }
    let locks = Arc::new(take()?);
    *held = Arc::downgrade(&locks);
    Ok(locks)
}

/// The variable that tells a process which processes wait for it to end, outermost first. It
/// measures within their turn.
const LENDERS: &str = "WINDTUNNEL_TURN_OF";

/// The processes that wait for this one to end.
fn lenders() -> Vec<u32> {
    let told = std::env::var_os(LENDERS).unwrap_or_default();
    told.to_string_lossy().split(',').filter_map(|process| process.parse().ok()).collect()
}

/// Lets `command` measure within the turn of this process, which waits for its end.
pub(crate) fn lend(command: &mut Command) -> &mut Command {
    let lenders = lenders().into_iter().chain([std::process::id()]);
    let lenders: Vec<String> = lenders.map(|process| process.to_string()).collect();
    command.env(LENDERS, lenders.join(","))
}

/// Makes `command` take a turn of its own, which it cannot get while this process has one.
pub(crate) fn keep(command: &mut Command) -> &mut Command {
    command.env_remove(LENDERS)
}

/// The right to measure on this machine, until it is dropped.
#[derive(Debug)]
pub(crate) struct Locks {
    held: Vec<File>,
    /// The paths of locks that only exist within another process's turn, deleted at the end.
    parts: Vec<PathBuf>,
    /// The processes within whose turn these locks are held.
    lenders: Vec<u32>,
}

impl Locks {
    /// Fails if a process that lent its turn is gone and its lock with it: others may be measuring.
    pub(crate) fn stand(&self) -> Result<(), Gone> {
        let is_there = |process: &u32| Root::here().has(&format!("proc/{process}"));
        if self.lenders.iter().all(is_there) { Ok(()) } else { Err(Gone) }
    }
}

/// A turn ended before everything that belonged to it was measured.
#[derive(Debug, thiserror::Error)]
#[error(
    "the process that held this turn has exited, and others may measure now: continue with `--resume`"
)]
pub(crate) struct Gone;

/// Another run is measuring.
#[derive(Debug, thiserror::Error)]
#[error(
    "another run is measuring on {what}, {}: concurrent runs would disturb each other; {advice}",
    self.run()
)]
pub(crate) struct Busy {
    /// What is locked: `this machine`, or a GPU.
    what: String,
    /// Who holds it, if known.
    holder: Option<Holder>,
    /// What to do about it.
    advice: &'static str,
}

impl Busy {
    fn of(what: String, holder: Option<Holder>) -> Busy {
        Busy { what, holder, advice: "wait for its end with `--wait`" }
    }

    /// The same for a command that has no `--wait`.
    pub(crate) fn ask_again(self) -> Busy {
        Busy { advice: "try again after it ends", ..self }
    }

    /// The other run in a few words.
    pub(crate) fn run(&self) -> String {
        self.holder
            .as_ref()
            .map_or_else(|| "and does not say who it is".to_owned(), Holder::to_string)
    }
}

/// Who holds a lock, as written by the holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    process: u32,
    user: String,
    since: String,
    command: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Holder { process, user, since, command } = self;
        write!(f, "`{command}` (process {process} of `{user}`, since {since})")
    }
}

/// Between two attempts to lock.
const PAUSE: Duration = Duration::from_millis(50);
/// Attempts without `--wait`: `windtunnel doctor` holds a lock for an instant to look at it.
const TRIES: u32 = 3;
/// More than a holder ever writes.
const LONGEST: u64 = 4096;
/// The most characters of a command that a holder writes; each may take six bytes. A longer text
/// would be cut by the reader, who could then not parse it.
const COMMAND: usize = 500;

/// Takes the locks of this machine and its GPUs.
///
/// If the system cannot lock, a note says so and nothing is locked: a measurement that may be
/// disturbed is better than none.
fn take(gpus: &[Gpu], queue: Queue) -> Result<Locks, Busy> {
    let Queue { patience, progress } = queue;
    let deadline = match patience {
        Patience::Refuse => Some(Instant::now() + PAUSE * TRIES),
        Patience::Wait(long) => Instant::now().checked_add(long),
        Patience::Forever => None,
    };
    let (mut held, mut parts) = (Vec::new(), Vec::new());
    // Always in the same order, to prevent a deadlock.
    for (name, what) in wanted(gpus) {
        let (mut path, mut is_part) = (folder().join(name), false);
        let mut is_told = patience == Patience::Refuse || progress == Progress::Quiet;
        loop {
            match attempt(&path) {
                Ok(Attempt::Held(file)) => {
                    held.push(file);
                    parts.extend(is_part.then_some(path));
                    break;
                }
                // The holder started this process and waits for it, holding the turn meanwhile.
                Ok(Attempt::Taken(Some(lender))) if lenders().contains(&lender.process) => {
                    path = part(&path, &lender);
                    is_part = true;
                }
                Ok(Attempt::Taken(holder)) => {
                    let busy = Busy::of(what.clone(), holder);
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Err(busy);
                    }
                    if !std::mem::replace(&mut is_told, true) {
                        show::note(&format!("waiting for another run on {what}, {}", busy.run()));
                    }
                    std::thread::sleep(PAUSE);
                }
                Err(reason) => {
                    show::note(&format!(
                        "measuring without a lock, others may disturb it: {reason}"
                    ));
                    break;
                }
            }
        }
    }
    let lenders = if parts.is_empty() { Vec::new() } else { lenders() };
    Ok(Locks { held, parts, lenders })
}

/// The run that is measuring on this machine now, not counting processes that wait for this one;
/// none if there is none, or why this cannot be determined.
pub(crate) fn holder(gpus: &[Gpu]) -> Result<Option<Busy>, String> {
    for (name, what) in wanted(gpus) {
        let mut path = folder().join(name);
        while let Attempt::Taken(holder) = attempt(&path)? {
            match holder {
                Some(lender) if lenders().contains(&lender.process) => path = part(&path, &lender),
                holder => return Ok(Some(Busy::of(what, holder))),
            }
            if !path.exists() {
                break;
            }
        }
    }
    Ok(None)
}

/// The lock for a part of the turn that `lender` holds by the lock `path`.
fn part(path: &Path, lender: &Holder) -> PathBuf {
    let mut part = path.to_owned();
    part.as_mut_os_string().push(format!(".of-{}", lender.process));
    part
}

impl Drop for Locks {
    /// Clears what was written about this run, and deletes files that nobody will ask for.
    fn drop(&mut self) {
        for path in &self.parts {
            let _ = std::fs::remove_file(path);
        }
        for file in &self.held {
            let _ = file.set_len(0);
        }
    }
}

/// The file names of all locks, each with what it locks.
fn wanted(gpus: &[Gpu]) -> Vec<(String, String)> {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    let mut names: Vec<(String, String)> = gpus
        .iter()
        .filter(|gpu| !gpu.uuid.is_empty())
        .map(|gpu| {
            let name: String = gpu.uuid.chars().filter(plain).collect();
            (format!("windtunnel-{name}.lock"), format!("GPU `{}`", gpu.uuid))
        })
        .collect();
    names.sort();
    names.insert(0, ("windtunnel-machine.lock".to_owned(), "this machine".to_owned()));
    names
}

fn folder() -> PathBuf {
    std::env::var_os("WINDTUNNEL_LOCKS").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

/// The result of one attempt to lock.
enum Attempt {
    Held(File),
    Taken(Option<Holder>),
}

fn attempt(path: &Path) -> Result<Attempt, String> {
    let complain = |error: std::io::Error| format!("`{}`: {error}", path.display());
    loop {
        let mut file = open(path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Taken(who(&mut file))),
            Err(TryLockError::Error(error)) => return Err(complain(error)),
            Ok(()) => (),
        }
        // The file may have been deleted in between: then the lock is void.
        let own = file.metadata().map_err(complain)?;
        match std::fs::symlink_metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => {
                // A file created by another user may be read-only: the lock holds all the same.
                let _ = introduce(&mut file, &session::command_line());
                return Ok(Attempt::Held(file));
            }
            Ok(_) => (),
            Err(error) if error.kind() == ErrorKind::NotFound => (),
            Err(error) => return Err(complain(error)),
        }
    }
}

/// Opens the file of a lock, creating it if necessary.
///
/// In a sticky folder like `/tmp`, kernels refuse an open with `O_CREAT` on another user's file,
/// even if everyone may write it: so it is opened without, and created only if it is missing.
fn open(path: &Path) -> Result<File, String> {
    // Non-blocking, because it may be somebody's pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let open = |options: &mut OpenOptions| options.custom_flags(flags).open(path);
    let complain = |error: std::io::Error| format!("`{}`: {error}", path.display());
    loop {
        let file = match open(OpenOptions::new().read(true).write(true)) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                open(OpenOptions::new().read(true)).map_err(complain)?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match open(OpenOptions::new().read(true).write(true).create_new(true)) {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                    created => {
                        let file = created.map_err(complain)?;
                        // For all users, whatever this user's umask.
                        file.set_permissions(Permissions::from_mode(0o666)).map_err(complain)?;
                        file
                    }
                }
            }
            opened => opened.map_err(complain)?,
        };
        let facts = file.metadata().map_err(complain)?;
        return match facts.is_file() && facts.nlink() <= 1 {
            true => Ok(file),
            false => Err(format!(
                "`{}` is not a plain file with a single name: remove it",
                path.display()
            )),
        };
    }
}

/// Writes who holds a lock and by which command, for whoever is refused.
fn introduce(file: &mut File, command: &str) -> std::io::Result<()> {
    let holder = Holder {
        process: std::process::id(),
        user: user(&Root::here()),
        since: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        command: match command.char_indices().nth(COMMAND) {
            Some((end, _)) => format!("{}…", &command[..end]),
            None => command.to_owned(),
        },
    };
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(&holder)?)
}

/// What the holder of a lock wrote; none if that process is gone.
fn who(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    let mut holder: Holder = serde_json::from_str(&text).ok()?;
    // Anybody can write there: strip everything that could control a terminal.
    for text in [&mut holder.user, &mut holder.since, &mut holder.command] {
        text.retain(|c| !c.is_control());
    }
    Root::here().has(&format!("proc/{}", holder.process)).then_some(holder)
}

/// The name of the user running this process, or the user id.
fn user(root: &Root) -> String {
    let number = rustix::process::getuid().as_raw().to_string();
    let users = root.text("etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    name.unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(path: &Path) -> File {
        match attempt(path).unwrap() {
            Attempt::Held(file) => file,
            Attempt::Taken(holder) => panic!("taken by {holder:?}"),
        }
    }

    fn taken(path: &Path) -> Option<Holder> {
        match attempt(path).unwrap() {
            Attempt::Taken(holder) => holder,
            Attempt::Held(_) => panic!("nobody holds it"),
        }
    }

    #[test]
    fn a_lock_tells_who_holds_it_and_ends_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("windtunnel-machine.lock");
        let file = held(&path);
        let holder = taken(&path).unwrap();
        assert_eq!(holder.process, std::process::id());
        assert_eq!(holder.user, user(&Root::here()));
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o666, "for every user");
        drop(file);
        drop(Locks { held: vec![held(&path)], parts: Vec::new(), lenders: Vec::new() });
        assert_eq!(std::fs::read(&path).unwrap(), b"", "an end leaves no words");
    }

    #[test]
    fn a_holder_is_known_however_long_its_command_is() {
        let told = |command: &str| {
            let mut file = tempfile::tempfile().unwrap();
            introduce(&mut file, command).unwrap();
            file.rewind().unwrap();
            who(&mut file).map(|holder| (holder.process, holder.command))
        };
        let own = std::process::id();
        assert_eq!(told("windtunnel run"), Some((own, "windtunnel run".to_owned())));
        let pick =
            format!("windtunnel upstream pick{}", format!(" {}", "a".repeat(40)).repeat(100));
        let beginning = pick[..COMMAND].to_owned() + "…";
        assert_eq!(told(&pick), Some((own, beginning)));
        // The characters that take most bytes in the file are not shown.
        assert_eq!(told(&"\u{1b}".repeat(5_000)), Some((own, "…".to_owned())));
    }

    #[test]
    fn a_turn_is_shared_within_a_process_and_ends_with_the_last_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let turn = Mutex::new(Weak::new());
        let take = || shared(&turn, || attempt_once(&path)).unwrap();
        let (first, second) = (take(), take());
        assert!(Arc::ptr_eq(&first, &second));
        drop(first);
        assert!(taken(&path).is_some(), "the second holds it still");
        drop(second);
        drop(held(&path));
        drop(take());
    }

    fn attempt_once(path: &Path) -> Result<Locks, String> {
        match attempt(path)? {
            Attempt::Held(file) => {
                Ok(Locks { held: vec![file], parts: Vec::new(), lenders: Vec::new() })
            }
            Attempt::Taken(holder) => Err(format!("taken by {holder:?}")),
        }
    }

    #[test]
    fn a_lent_turn_stands_as_long_as_whoever_lent_it_is_there() {
        let lent = |lender| Locks { held: Vec::new(), parts: Vec::new(), lenders: vec![lender] };
        assert!(lent(std::process::id()).stand().is_ok());
        let gone = lent(u32::MAX).stand().unwrap_err().to_string();
        assert!(
            gone.ends_with("has exited, and others may measure now: continue with `--resume`"),
            "{gone}"
        );
    }

    #[test]
    fn words_of_somebody_who_is_gone_are_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = held(&path);
        for words in ["", "{", r#"{"process":4294967295,"user":"a","since":"b","command":"c"}"#] {
            std::fs::write(&path, words).unwrap();
            assert_eq!(taken(&path), None, "{words}");
        }
        let own = std::process::id();
        let words = format!(r#"{{"process":{own},"user":"\u001b[2Ja","since":"b","command":"c"}}"#);
        std::fs::write(&path, words).unwrap();
        assert_eq!(taken(&path).unwrap().user, "[2Ja", "it cannot steer a terminal");
        let told = Busy::of("this machine".into(), taken(&path)).to_string();
        let expected = format!(
            "another run is measuring on this machine, `c` (process {own} of `[2Ja`, since b): concurrent runs would disturb each other; wait for its end with `--wait`"
        );
        assert_eq!(told, expected);
        drop(file);
        held(&path);
    }

    #[test]
    fn what_somebody_put_in_the_place_of_a_lock_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("precious"), "kept").unwrap();
        std::os::unix::fs::symlink(path("precious"), path("link")).unwrap();
        std::fs::hard_link(path("precious"), path("second")).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        for name in ["link", "second", "folder"] {
            assert!(attempt(&path(name)).is_err(), "{name}");
        }
        assert_eq!(std::fs::read_to_string(path("precious")).unwrap(), "kept");
    }

    #[test]
    fn a_lock_that_was_tidied_away_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let old = held(&path);
        std::fs::remove_file(&path).unwrap();
        let new = held(&path);
        assert_ne!(old.metadata().unwrap().ino(), new.metadata().unwrap().ino());
    }

    #[test]
    fn every_gpu_has_a_lock_of_its_own_after_that_of_the_machine() {
        let gpu = |uuid: &str| Gpu { uuid: uuid.into(), ..Gpu::default() };
        let names = wanted(&[gpu("GPU-2/../b"), gpu("GPU-1"), gpu("")]);
        let files: Vec<&str> = names.iter().map(|(file, _)| file.as_str()).collect();
        let expected =
            ["windtunnel-machine.lock", "windtunnel-GPU-1.lock", "windtunnel-GPU-2b.lock"];
        assert_eq!(files, expected);
    }

    #[test]
    fn patience_is_a_time_or_without_end() {
        assert_eq!("90s".parse(), Ok(Patience::Wait(Duration::from_secs(90))));
        assert_eq!("2h".parse(), Ok(Patience::Wait(Duration::from_secs(7200))));
        assert!("soon".parse::<Patience>().unwrap_err().contains("`10m`"));
        assert!("-5s".parse::<Patience>().is_err());
        assert_eq!(Patience::of(None), Patience::Refuse);
        assert_eq!(Patience::of(Some(None)), Patience::Forever);
    }
}
