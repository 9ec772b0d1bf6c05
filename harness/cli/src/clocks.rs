//! `windtunnel hold-clocks`: runs another command of this program while the clocks of all GPUs are
//! locked, and resets them however it ends.
//!
//! A keeper, a separate process, locks the clocks and verifies that they are what was asked for. It
//! holds them until the pipe from the command's parent closes, however that parent ends, and then
//! resets them. It is in its own process group and ignores terminating signals, so that stopping
//! the run does not stop the keeper. The command is killed with that parent too: anything it
//! measured afterwards would be at other clocks than its records say.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::args::{HoldClocksArgs, KeepClocksArgs};
use crate::exit;
use crate::lock::{Queue, lend};
use crate::machine::Root;
use crate::progress::Progress;
use crate::watch;

/// The environment variable that tells a command how the clocks of all GPUs are held.
const HELD: &str = "WINDTUNNEL_HELD_CLOCKS";

/// What a keeper prints once the clocks are locked.
const READY: &str = "ready";
/// How long clocks may take to reach what was asked for.
const SETTLE: Duration = Duration::from_secs(5);
/// How far a clock may be from what was asked for, in MHz: GPUs step by 15.
const NEAR: u32 = 15;

/// The clocks of a machine's GPUs, for changing them.
pub(crate) trait Clocks {
    /// How many GPUs there are.
    fn count(&self) -> u32;

    /// Locks the multiprocessor clock of one GPU at `mhz`, busy or not.
    fn lock(&self, device: u32, mhz: u32) -> Result<(), String>;

    /// Its multiprocessor clock now, in MHz.
    fn now(&self, device: u32) -> Result<u32, String>;

    /// Returns its clocks to the driver.
    fn reset(&self, device: u32) -> Result<(), String>;
}

/// Runs a command of this program while the clocks are held, and returns its exit code.
pub(crate) fn hold(args: &HoldClocksArgs, queue: Queue) -> Result<u8> {
    // Another run would be measured at clocks it did not ask for. The command runs in this turn.
    let _turn = queue.take()?;
    let exe = std::env::current_exe().context("cannot find the path of this program")?;
    run(&exe, args, queue.progress)
}

/// Runs the command with `exe` while another process of `exe` holds the clocks.
fn run(exe: &Path, args: &HoldClocksArgs, progress: Progress) -> Result<u8> {
    let keeper = Keeper::start(exe, args.mhz)?;
    #[expect(clippy::disallowed_methods, reason = "it runs itself")]
    let mut command = Command::new(exe);
    if progress == Progress::Quiet {
        command.arg("--quiet");
    }
    let status = lend(&mut command)
        .args(&args.command)
        .env(HELD, Claim::of_this_process(args.mhz).to_string())
        .status()
        .context("cannot start the command that is to run");
    keeper.end()?;
    Ok(code_of(status?))
}

/// The exit code of a command, or 128 plus the signal that ended it, as shells report it.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::BUG)
}

/// What a command is told about the clocks: at how many MHz they are held and by which process. It
/// is void once that process has ended, because then they are reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    /// The clock at which they are held, in MHz.
    mhz: u32,
    /// The process that has them held.
    holder: u32,
}

impl Claim {
    fn of_this_process(mhz: u32) -> Claim {
        Claim { mhz, holder: std::process::id() }
    }

    /// The claim that this process was given.
    fn here() -> Option<Claim> {
        Claim::parse(std::env::var_os(HELD)?.to_str()?)
    }

    fn parse(text: &str) -> Option<Claim> {
        let (mhz, holder) = text.split_once('@')?;
        Some(Claim { mhz: mhz.parse().ok()?, holder: holder.parse().ok()? })
    }

    /// The clock in MHz, if the holder is still running.
    fn holds(self, root: &Root) -> Option<u32> {
        root.has(&format!("proc/{}", self.holder)).then_some(self.mhz)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.mhz, self.holder)
    }
}

/// The clock at which all GPUs are held for this process, in MHz.
pub(crate) fn held_now() -> Option<u32> {
    Claim::here()?.holds(&Root::here())
}

/// Makes this process end with its parent, if that holds clocks for it, however the parent ends:
/// anything measured afterwards would be at other clocks.
pub(crate) fn end_with_holder() -> Result<()> {
    let Some(claim) = Claim::here() else { return Ok(()) };
    let is_child = || {
        let parent = rustix::process::getppid();
        parent.is_some_and(|it| it.as_raw_nonzero().get().cast_unsigned() == claim.holder)
    };
    let is_there = || claim.holds(&Root::here()).is_some();
    // A descendant inherits the variable too, and ends with this process.
    if !is_child() && is_there() {
        return Ok(());
    }
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot end with the process that holds the clocks")?;
    ensure!(is_child(), "the process that held the clocks is gone: start anew");
    Ok(())
}

/// The process that holds the clocks.
struct Keeper {
    process: Child,
    /// Its stdout.
    said: BufReader<ChildStdout>,
}

impl Keeper {
    fn start(exe: &Path, mhz: u32) -> Result<Keeper> {
        // Signals ignored by the shell stay ignored in the program it execs.
        #[expect(clippy::disallowed_methods, reason = "the keeper is this program")]
        let mut process = Command::new("sh")
            .args(["-c", "trap '' HUP INT TERM; exec \"$0\" keep-clocks \"$1\""])
            .arg(exe)
            .arg(mhz.to_string())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the process that holds the clocks")?;
        let stdout = process.stdout.take().context("the keeper has a stdout")?;
        let mut keeper = Keeper { process, said: BufReader::new(stdout) };
        let mut said = String::new();
        keeper.said.read_line(&mut said).context("cannot hear the keeper")?;
        match said.trim_end() {
            READY => Ok(keeper),
            "" => {
                let status = keeper.process.wait().context("cannot wait for the keeper")?;
                bail!("nothing was run: the process that holds the clocks ended at once, {status}")
            }
            reason => {
                let _ = keeper.process.wait();
                bail!("nothing was run: {reason}")
            }
        }
    }

    /// Has the clocks reset, and fails if that is not possible.
    fn end(mut self) -> Result<()> {
        drop(self.process.stdin.take());
        let mut said = String::new();
        // If its output cannot be read, its exit status tells.
        let _ = self.said.read_to_string(&mut said);
        let status =
            self.process.wait().context("cannot wait for the process that holds the clocks")?;
        ensure!(
            status.success(),
            "the clocks could not be given back ({}): `sudo nvidia-smi --reset-gpu-clocks` does it",
            if said.is_empty() { status.to_string() } else { said.trim_end().to_owned() }
        );
        Ok(())
    }
}

/// Runs the keeper itself: prints [`READY`], or why not.
pub(crate) fn keep(args: &KeepClocksArgs) -> Result<u8> {
    let mut out = std::io::stdout().lock();
    let kept = match watch::clocks(&Root::here()) {
        Err(reason) => Err(anyhow!(reason)),
        Ok(clocks) => held(clocks.as_ref(), args.mhz, &mut std::io::stdin().lock(), &mut out),
    };
    if let Err(error) = &kept {
        // Whoever waits for a line gets one; if nobody is left, the write fails harmlessly.
        let _ = writeln!(out, "{error:#}");
    }
    Ok(if kept.is_ok() { exit::PASS } else { exit::USAGE })
}

/// Holds the clocks of all GPUs until `until` ends, then resets every one that was locked.
fn held(
    clocks: &dyn Clocks,
    mhz: u32,
    until: &mut impl Read,
    ready: &mut impl Write,
) -> Result<()> {
    ensure!(clocks.count() > 0, "the driver of this machine shows no GPU");
    let mut locked = Vec::new();
    let set = (0..clocks.count()).try_for_each(|device| {
        clocks.lock(device, mhz).map_err(|reason| anyhow!("GPU {device}: {reason}"))?;
        locked.push(device);
        settled(clocks, device, mhz)
    });
    if set.is_ok() {
        let _ = writeln!(ready, "{READY}").and_then(|()| ready.flush());
        // Until the end, or until reading fails: either way nobody is waiting any more.
        let _ = std::io::copy(until, &mut std::io::sink());
    }
    // One that cannot be reset must not keep the others from being reset.
    let stuck: Vec<String> = locked
        .into_iter()
        .filter_map(|device| Some((device, clocks.reset(device).err()?)))
        .map(|(device, reason)| format!("GPU {device} is still held at {mhz} MHz: {reason}"))
        .collect();
    match (set, stuck.is_empty()) {
        (set, true) => set,
        (Ok(()), false) => bail!("{}", stuck.join("; ")),
        (Err(error), false) => Err(error.context(stuck.join("; "))),
    }
}

/// Waits until a GPU runs at `mhz`.
fn settled(clocks: &dyn Clocks, device: u32, mhz: u32) -> Result<()> {
    let begin = Instant::now();
    loop {
        let now = clocks.now(device).map_err(|reason| anyhow!("GPU {device}: {reason}"))?;
        if now.abs_diff(mhz) <= NEAR {
            return Ok(());
        }
        if begin.elapsed() > SETTLE {
            bail!(
                "GPU {device} runs at {now} MHz instead of {mhz}: ask for a clock that it has (`nvidia-smi -q -d SUPPORTED_CLOCKS`) and can hold when it is warm"
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::args::Waiting;

    /// GPUs that record what is done to them.
    #[derive(Default)]
    struct Fake {
        done: RefCell<Vec<String>>,
        /// The GPU that refuses to be locked, and the one that refuses to be reset.
        refuses: Option<u32>,
        stuck: Option<u32>,
    }

    impl Clocks for Fake {
        fn count(&self) -> u32 {
            3
        }

        fn lock(&self, device: u32, mhz: u32) -> Result<(), String> {
            self.done.borrow_mut().push(format!("lock {device} {mhz}"));
            match self.refuses == Some(device) {
                true => Err("not permitted".into()),
                false => Ok(()),
            }
        }

        fn now(&self, _: u32) -> Result<u32, String> {
            Ok(1_510)
        }

        fn reset(&self, device: u32) -> Result<(), String> {
            self.done.borrow_mut().push(format!("reset {device}"));
            match self.stuck == Some(device) {
                true => Err("it is gone".to_owned()),
                false => Ok(()),
            }
        }
    }

    /// The result, and what was printed while the clocks were held.
    fn hold(fake: &Fake) -> (Result<()>, String) {
        let mut said = Vec::new();
        let held = held(fake, 1_500, &mut std::io::empty(), &mut said);
        (held, String::from_utf8(said).unwrap())
    }

    #[test]
    fn clocks_are_held_until_nobody_waits_and_then_given_back() {
        let fake = Fake::default();
        let (held, said) = hold(&fake);
        held.unwrap();
        assert_eq!(said, "ready\n");
        let expected =
            ["lock 0 1500", "lock 1 1500", "lock 2 1500", "reset 0", "reset 1", "reset 2"];
        assert_eq!(*fake.done.borrow(), expected);
    }

    #[test]
    fn what_was_changed_before_one_refuses_is_given_back_and_nothing_is_run() {
        let fake = Fake { refuses: Some(1), ..Fake::default() };
        let (held, said) = hold(&fake);
        assert_eq!(held.unwrap_err().to_string(), "GPU 1: not permitted");
        assert_eq!(said, "");
        assert_eq!(*fake.done.borrow(), ["lock 0 1500", "lock 1 1500", "reset 0"]);

        let fake = Fake { refuses: Some(1), stuck: Some(0), ..Fake::default() };
        let told = format!("{:#}", hold(&fake).0.unwrap_err());
        assert_eq!(told, "GPU 0 is still held at 1500 MHz: it is gone: GPU 1: not permitted");
    }

    #[test]
    fn a_command_is_told_to_be_quiet_and_its_signal_is_passed_on() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let exe = dir.path().join("both");
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = keep-clocks ]; then echo ready; cat > /dev/null; exit 0; fi\n\
             echo \"$@ ${HELD} $WINDTUNNEL_TURN_OF\" > \"$0.told\"\nkill -TERM $$\n"
        );
        std::fs::write(&exe, script).unwrap();
        std::fs::set_permissions(&exe, std::fs::Permissions::from_mode(0o755)).unwrap();
        let told = |progress: Progress| {
            let waiting = Waiting { wait: None };
            let args = HoldClocksArgs { mhz: 1_500, command: vec!["run".into()], waiting };
            assert_eq!(run(&exe, &args, progress).unwrap(), 128 + 15);
            std::fs::read_to_string(dir.path().join("both.told")).unwrap()
        };
        let (claim, lender) = (Claim::of_this_process(1_500), std::process::id().to_string());
        let told = |progress| {
            let told = told(progress);
            let (words, lenders) = told.trim_end().rsplit_once(' ').unwrap();
            (words.to_owned(), lenders.split(',').next_back() == Some(&lender))
        };
        assert_eq!(told(Progress::Quiet), (format!("--quiet run {claim}"), true));
        assert_eq!(told(Progress::Lines), (format!("run {claim}"), true));
    }

    #[test]
    fn clocks_are_held_as_long_as_whoever_holds_them_is_there() {
        let claim = Claim::of_this_process(1_500);
        assert_eq!(Claim::parse(&claim.to_string()), Some(claim));
        assert_eq!(Claim::parse("1500"), None);
        assert_eq!(claim.holds(&Root::here()), Some(1_500));
        assert_eq!(Claim { holder: u32::MAX, ..claim }.holds(&Root::here()), None);
    }

    /// A keeper without GPUs, which runs `line`, leaves a file when it gives the clocks back, and
    /// then runs `end`.
    fn keeper(line: &str, end: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let exe = dir.path().join("keeper");
        let script =
            format!("#!/bin/sh\n{line}\ncat > /dev/null\necho \"$@\" > \"$0.done\"\n{end}\n");
        std::fs::write(&exe, script).unwrap();
        std::fs::set_permissions(&exe, std::fs::Permissions::from_mode(0o755)).unwrap();
        (dir, exe)
    }

    #[test]
    fn a_keeper_outlives_signals_and_ends_with_the_pipe() {
        let (dir, exe) = keeper("echo ready", "");
        let keeper = Keeper::start(&exe, 1_500).unwrap();
        let process = rustix::process::Pid::from_child(&keeper.process);
        for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
            rustix::process::kill_process(process, signal).unwrap();
        }
        keeper.end().unwrap();
        let done = std::fs::read_to_string(dir.path().join("keeper.done")).unwrap();
        assert_eq!(done, "keep-clocks 1500\n");
    }

    #[test]
    fn a_keeper_that_is_not_ready_says_why() {
        let complaint = |line: &str| {
            let (_dir, exe) = keeper(line, "");
            Keeper::start(&exe, 1_500).err().unwrap().to_string()
        };
        let told = complaint("echo 'GPU 0: only root'");
        assert_eq!(told, "nothing was run: GPU 0: only root");
        let told = complaint("exit 9");
        assert_eq!(
            told,
            "nothing was run: the process that holds the clocks ended at once, exit status: 9"
        );
    }

    #[test]
    fn clocks_that_are_not_given_back_are_told_with_the_reason() {
        let complaint = |end: &str| {
            let (_dir, exe) = keeper("echo ready", end);
            Keeper::start(&exe, 1_500).unwrap().end().unwrap_err().to_string()
        };
        let told = complaint("echo 'GPU 3 is still held at 1500 MHz: it is gone'; exit 2");
        assert_eq!(
            told,
            "the clocks could not be given back (GPU 3 is still held at 1500 MHz: it is gone): `sudo nvidia-smi --reset-gpu-clocks` does it"
        );
        assert!(complaint("exit 2").contains("(exit status: 2)"), "a keeper that says nothing");
    }

    #[test]
    fn one_that_cannot_be_given_back_keeps_no_other_from_it_and_is_told() {
        let fake = Fake { stuck: Some(0), ..Fake::default() };
        let (held, _) = hold(&fake);
        let told = held.unwrap_err().to_string();
        assert_eq!(told, "GPU 0 is still held at 1500 MHz: it is gone");
        assert_eq!(fake.done.borrow()[3..], ["reset 0", "reset 1", "reset 2"]);
    }
}
