//! Reads the state of the machine before a round, and what it did during the round.

use std::time::Duration;

use windtunnel_ledger::Nanos;
use windtunnel_ledger::conditions::Conditions;

use crate::machine::{self, Root};

/// How long processor activity is sampled before a round: ten ticks of the kernel's clock.
const GLANCE: Duration = Duration::from_millis(100);

/// The machine just before a round.
pub(crate) struct Before {
    root: Root,
    load: Option<f64>,
    idle: Option<f64>,
    counts: Counts,
}

/// The kernel's counters since boot; none where it does not provide them.
#[derive(Clone, Copy)]
struct Counts {
    cpu: Option<Cpu>,
    held_back: Option<Nanos>,
    swapped: Option<u64>,
}

/// Time of all processors together, in ticks.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    all: u64,
    pub(crate) idle: u64,
    pub(crate) stolen: u64,
}

impl Before {
    /// Samples the machine for a moment.
    pub(crate) fn read(root: Root) -> Before {
        let first = Counts::read(&root);
        std::thread::sleep(GLANCE);
        let counts = Counts::read(&root);
        let idle = share(first.cpu, counts.cpu, |cpu| cpu.idle);
        Before { load: machine::load_average(&root), idle, counts, root }
    }

    /// The conditions of a round that took `wall` and ends now.
    pub(crate) fn until_now(self, wall: Nanos) -> Conditions {
        let now = Counts::read(&self.root);
        let held_back = self.counts.held_back.zip(now.held_back);
        let swapped = self.counts.swapped.zip(now.swapped);
        Conditions {
            load_before: self.load,
            wall,
            idle_before: self.idle,
            stolen: share(self.counts.cpu, now.cpu, |cpu| cpu.stolen),
            held_back: held_back.map(|(before, now)| now.since(before)),
            swapped: swapped.map(|(before, now)| now.saturating_sub(before)),
            ..Conditions::default()
        }
    }
}

/// The share of the time from `before` to `after` that was of one kind.
pub(crate) fn share(before: Option<Cpu>, after: Option<Cpu>, kind: fn(&Cpu) -> u64) -> Option<f64> {
    let (before, after) = (before?, after?);
    let all = after.ticks_since(before);
    (all > 0).then(|| kind(&after).saturating_sub(kind(&before)) as f64 / all as f64)
}

impl Counts {
    fn read(root: &Root) -> Counts {
        let cpu = root.text("proc/stat").as_deref().and_then(Cpu::of);
        let vmstat = root.text("proc/vmstat").unwrap_or_default();
        let count = |name: &str| {
            let mut lines = vmstat.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(key, _)| *key == name)?.1.parse::<u64>().ok()
        };
        let swapped = count("pswpin").zip(count("pswpout")).map(|(from, to)| from + to);
        Counts { cpu, held_back: machine::held_back(root), swapped }
    }
}

impl Cpu {
    /// Parses the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq,
    /// steal. The guest times after them are already part of user time.
    pub(crate) fn of(stat: &str) -> Option<Cpu> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|n| n.parse().ok()).collect();
        let [_, _, _, idle, waiting, _, _, stolen, ..] = ticks[..] else { return None };
        Some(Cpu { all: ticks.iter().take(8).sum(), idle: idle + waiting, stolen })
    }

    /// Ticks of all processors together since `earlier`.
    pub(crate) fn ticks_since(self, earlier: Cpu) -> u64 {
        self.all.saturating_sub(earlier.all)
    }

    /// The share of all time since boot that a hypervisor has given to others.
    pub(crate) fn stolen_share(self) -> Option<f64> {
        (self.all > 0).then(|| self.stolen as f64 / self.all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::lay_out;

    #[test]
    fn what_happened_during_a_round_is_counted() {
        let before = "==> proc/stat
cpu  100 0 50 800 50 0 0 0 0 0
==> proc/vmstat
pswpin 5
pswpout 7
==> proc/loadavg
0.25 0 0 1/1 1
";
        let (dir, root) = lay_out(before);
        let before = Before::read(root);
        let write = |path: &str, text: &str| std::fs::write(dir.path().join(path), text).unwrap();
        write("proc/stat", "cpu  180 0 50 800 50 0 0 20 0 0\n");
        write("proc/vmstat", "pswpin 6\npswpout 9\n");
        let conditions = before.until_now(Nanos(3));
        assert_eq!((conditions.load_before, conditions.wall), (Some(0.25), Nanos(3)));
        assert_eq!(conditions.stolen, Some(0.2));
        assert_eq!(conditions.swapped, Some(3));
        assert_eq!(conditions.idle_before, None, "no time has passed on that clock");
    }

    #[test]
    fn time_that_limits_took_away_is_summed_over_the_group_and_its_ancestors() {
        let held_back = |before: &str, after: &[(&str, &str)]| {
            let (dir, root) = lay_out(before);
            let before = Before::read(root);
            for (path, text) in after {
                std::fs::write(dir.path().join(path), text).unwrap();
            }
            before.until_now(Nanos(3)).held_back
        };
        let second = "==> proc/self/cgroup
0::/jobs
==> sys/fs/cgroup/cpu.stat
usage_usec 9
==> sys/fs/cgroup/jobs/cpu.stat
usage_usec 9
nr_throttled 1
throttled_usec 5
";
        let later = [("sys/fs/cgroup/jobs/cpu.stat", "nr_throttled 3\nthrottled_usec 7\n")];
        assert_eq!(held_back(second, &later), Some(Nanos(2_000)));
        let first = "==> proc/self/cgroup
2:cpu,cpuacct:/jobs
==> sys/fs/cgroup/cpu,cpuacct/cpu.stat
throttled_time 100
==> sys/fs/cgroup/cpu,cpuacct/jobs/cpu.stat
throttled_time 10
";
        let later = [
            ("sys/fs/cgroup/cpu,cpuacct/cpu.stat", "throttled_time 300\n"),
            ("sys/fs/cgroup/cpu,cpuacct/jobs/cpu.stat", "throttled_time 11\n"),
        ];
        assert_eq!(held_back(first, &later), Some(Nanos(201)));
        let unlimited = "==> proc/self/cgroup\n0::/\n==> sys/fs/cgroup/cpu.stat\nusage_usec 9\n";
        assert_eq!(held_back(unlimited, &[]), None);
    }

    #[test]
    fn idle_time_includes_waiting_for_disks() {
        let (first, second) = (Cpu::of("cpu  0 0 0 0 0 0 0 0"), Cpu::of("cpu  20 0 5 60 15 0 0 0"));
        assert_eq!(share(first, second, |cpu| cpu.idle), Some(0.75));
        assert!(Cpu::of("cpu0 1 2").is_none() && Cpu::of("").is_none());
    }

    #[test]
    fn a_machine_that_tells_nothing_has_no_conditions() {
        let (_dir, root) = lay_out("");
        let conditions = Before::read(root).until_now(Nanos(3));
        assert_eq!(conditions, Conditions { wall: Nanos(3), ..Conditions::default() });
    }
}
