//! Starts a server for a case, waits for it, reads its memory, and ends it with the case.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process};
use ureq::Agent;

use super::shell;
use crate::machine::{self, Root};

/// Between two polls.
const PAUSE: Duration = Duration::from_millis(5);

/// A server that accepts the request but stays silent for this long still counts as present.
const SILENCE: Duration = Duration::from_secs(2);

/// How long to wait for the end of processes that were killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that this process started.
pub(super) struct Server(Child);

impl Server {
    /// Starts a shell command line. Its stdout and stderr go to this process's stderr, which is
    /// shown on failure.
    pub(super) fn start(line: &str, dir: &Path) -> Result<Server> {
        let stderr = || -> Result<Stdio> {
            let own = std::io::stderr().as_fd().try_clone_to_owned();
            Ok(Stdio::from(own.context("cannot pass stderr on")?))
        };
        let child = shell(line, dir).stdout(stderr()?).stderr(stderr()?).spawn();
        Ok(Server(child.with_context(|| format!("cannot start `{line}`"))?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        // In the group of somebody else there may be processes that the server did not start.
        if getpgrp() == getpid() {
            end(getpgrp().as_raw_nonzero().get());
        }
    }
}

/// Kills all processes in a group but this one, and waits until they have ended: until then they
/// hold memory, perhaps a GPU's, that the server of the next round needs.
fn end(group: i32) {
    let patience = Instant::now() + PATIENCE;
    loop {
        let others = others_in(group);
        if others.is_empty() || Instant::now() > patience {
            return;
        }
        for other in others.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(other, Signal::KILL);
        }
        std::thread::sleep(PAUSE);
    }
}

/// A port that is free at this moment.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("there is no free port")?;
    Ok(listener.local_addr().context("there is no free port")?.port())
}

/// Fails if a server answers at `address` before ours is started: the wrong one would be measured.
pub(super) fn nobody_answers(agent: &Agent, address: &str) -> Result<()> {
    let models = agent.get(format!("{address}/models"));
    match models.config().timeout_global(Some(SILENCE)).build().call() {
        Ok(_) | Err(ureq::Error::Timeout(_) | ureq::Error::Protocol(_)) => bail!(
            "there is a server at `{address}` already, perhaps that of the round before: end it, have `server` start one that ends with its process group, or write `{{port}}` for a port that is free"
        ),
        Err(_) => Ok(()),
    }
}

/// Waits until our server answers at `address`. Any other server must answer at once.
pub(super) fn wait(agent: &Agent, address: &str, server: Option<&mut Server>) -> Result<()> {
    let status = |url: &str| agent.get(url).call().ok().map(|answer| answer.status().as_u16());
    let models = format!("{address}/models");
    // Some servers list their models while still loading and say so only here; others lack this
    // URL.
    let root = address.trim_end_matches('/').trim_end_matches("/v1");
    let health = format!("{root}/health");
    // A server that is still loading says that it cannot answer yet.
    let answers = || status(&models).is_some_and(|code| code < 500) && status(&health) != Some(503);
    let Some(Server(child)) = server else {
        return match answers() {
            true => Ok(()),
            false => bail!(
                "no server answers at `{address}`: start it, or say with `server` how it is started"
            ),
        };
    };
    while !answers() {
        if let Some(status) = child.try_wait().context("cannot watch the server")? {
            bail!("the server ended before it answered at `{address}` ({status})");
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// The peak resident sets of all other processes in this process group together, in bytes, with
/// shared pages counted once; none if there are no others.
pub(super) fn peak_rss() -> Option<f64> {
    let started = others_in(getpgrp().as_raw_nonzero().get()).into_iter();
    let resident: Vec<Resident> = started.filter_map(Resident::of).collect();
    together(&resident).map(|kib| kib as f64 * 1024.0)
}

/// The numbers of all processes in a group but this one.
fn others_in(group: i32) -> Vec<i32> {
    let own = getpid().as_raw_nonzero().get();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|number| *number != own && group_of(*number) == Some(group)).collect()
}

/// The group of the process with this number; none if it has ended.
fn group_of(number: i32) -> Option<i32> {
    let stat = Root::here().text(&format!("proc/{number}/stat"))?;
    // The name is in brackets and may contain anything; state, parent and group follow it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (state, group, threads) = (*fields.first()?, *fields.get(2)?, *fields.get(17)?);
    // Nobody may ever reap a zombie. It holds nothing, unless some of its threads are left.
    let has_ended = state == "Z" && matches!(threads, "0" | "1");
    (!has_ended).then(|| group.parse().ok()).flatten()
}

/// The memory of a process, in KiB.
struct Resident {
    /// Its peak resident set so far.
    peak: u64,
    /// The part of its resident set that is charged to others: the kernel divides each shared page
    /// among the processes that map it.
    of_others: u64,
}

impl Resident {
    /// Reads that of the process with this number; none if it has ended.
    fn of(number: i32) -> Option<Resident> {
        let text = |file: &str| Root::here().text(&format!("proc/{number}/{file}"));
        let peak = kib(&text("status")?, "VmHWM")?;
        // If the kernel does not say, nothing is assumed to be shared.
        let now = text("smaps_rollup").unwrap_or_default();
        let of_others = kib(&now, "Rss").zip(kib(&now, "Pss"));
        Some(Resident {
            peak,
            of_others: of_others.map_or(0, |(all, own)| all.saturating_sub(own)),
        })
    }
}

/// Parses the line `name: number kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    machine::field(text, name)?.strip_suffix("kB")?.trim().parse().ok()
}

/// The sum of the peaks of several processes, in KiB, with shared pages counted once: weights that
/// several workers map, or pages inherited through a fork. Never less than the highest single peak.
fn together(processes: &[Resident]) -> Option<u64> {
    let highest = processes.iter().map(|process| process.peak).max()?;
    // A single process shares only with processes that are not ours.
    let of_others = |process: &Resident| if processes.len() > 1 { process.of_others } else { 0 };
    let own = processes.iter().map(|process| process.peak.saturating_sub(of_others(process)));
    Some(own.sum::<u64>().max(highest))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    fn what_several_processes_share_counts_once() {
        let check = |processes: &[(u64, u64)], expected: Option<u64>| {
            let resident = |&(peak, of_others): &(u64, u64)| Resident { peak, of_others };
            let resident: Vec<Resident> = processes.iter().map(resident).collect();
            assert_eq!(together(&resident), expected, "{processes:?}");
        };
        check(&[], None);
        check(&[(100, 40)], Some(100));
        // Two workers that map the same 80.
        check(&[(100, 40), (100, 40)], Some(120));
        check(&[(100, 90), (10, 10)], Some(100));
    }

    #[test]
    fn a_group_is_left_when_all_of_it_has_ended() {
        let mut command = shell("sleep 3600 & sleep 3600", &std::env::temp_dir());
        let mut child = command.process_group(0).spawn().unwrap();
        let group = i32::try_from(child.id()).unwrap();
        let patience = Instant::now() + PATIENCE;
        while others_in(group).len() < 2 {
            assert!(Instant::now() < patience, "the processes of the test never came up");
            std::thread::sleep(PAUSE);
        }
        end(group);
        assert!(others_in(group).is_empty());
        child.wait().unwrap();
    }

    #[test]
    fn the_kernel_tells_what_a_process_holds() {
        let own = Resident::of(getpid().as_raw_nonzero().get()).unwrap();
        assert!(own.peak > 0 && own.of_others < own.peak);
        assert!(Resident::of(-1).is_none());
    }
}
