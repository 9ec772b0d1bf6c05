//! What `/proc` tells about a process, and about the machine.

use windtunnel_ledger::trace::{Gauge, Look};

use crate::machine::{self, Root};

/// A process that is watched.
pub(super) struct Process {
    root: Root,
    number: u32,
    /// The values of the last close look.
    slow: Look,
    /// The number of close looks so far.
    close_looks: u64,
    /// Threads that end take their count with them; keeping the maximum makes the sum never fall.
    switches: i64,
    /// Files with the clocks of processors and with temperatures, listed once: none will appear
    /// later.
    clocks: Vec<String>,
    zones: Vec<String>,
}

/// Close looks for each look at every thread: each thread is a file, and an engine has many.
const THREADS_EVERY: u64 = 3;

/// The result of one look at a process.
pub(super) enum Glance {
    /// Everything that could be read.
    Seen(Look),
    /// The process has ended.
    Ended,
    /// The process can no longer be seen, for this reason.
    Hidden(String),
}

impl Process {
    pub(super) fn new(root: Root, number: u32) -> Process {
        let files = |folder: &str, prefix: &str, file: &str| -> Vec<String> {
            let all = root.numbered(folder, prefix).into_iter();
            all.map(|one| format!("{one}/{file}")).filter(|file| root.has(file)).collect()
        };
        let mut clocks = files("sys/devices/system/cpu", "cpu", "cpufreq/scaling_cur_freq");
        clocks.truncate(CLOCKS);
        let zones = files("sys/class/thermal", "thermal_zone", "temp");
        Process { root, number, slow: Vec::new(), close_looks: 0, switches: 0, clocks, zones }
    }

    /// Reads what is expensive to read, and what describes the machine.
    pub(super) fn look_closely(&mut self) {
        let root = &self.root;
        if self.close_looks.is_multiple_of(THREADS_EVERY) {
            self.switches = self.switches.max(switches(root, self.number));
        }
        self.close_looks += 1;
        let load = machine::load_average(root).map(|load| (load * 100.0) as i64);
        self.slow = vec![
            (Gauge::Switches, Ok(self.switches)),
            (Gauge::Load, load.ok_or_else(|| "the load average cannot be read".to_owned())),
            (Gauge::CpuClock, clock(root, &self.clocks)),
            (Gauge::Temperature, temperature(root, &self.zones)),
        ];
    }

    /// Reads what is cheap to read, and adds the values of the last close look.
    pub(super) fn look(&mut self) -> Glance {
        let text = self.root.text(&format!("proc/{}/stat", self.number));
        let seen = text.as_deref().and_then(gauges);
        match (seen, text) {
            (Some(mut look), _) => {
                look.extend(self.slow.iter().cloned());
                // A reason needs to be reported only once.
                self.slow.retain(|(_, value)| value.is_ok());
                Glance::Seen(look)
            }
            // A zombie holds nothing any more.
            (None, Some(stat)) if has_ended(&stat) => Glance::Ended,
            (None, Some(stat)) => Glance::Hidden(format!("`/proc` says `{stat}` of the process")),
            (None, None) if self.root.has("proc/loadavg") => Glance::Ended,
            (None, None) => Glance::Hidden("`/proc` can no longer be read".to_owned()),
        }
    }
}

/// The process group of a process; none if no process here has this number.
pub(super) fn group(root: &Root, number: u32) -> Option<u32> {
    let stat = root.text(&format!("proc/{number}/stat"))?;
    // The kernel counts fields from 1, and this is the fifth.
    fields(&stat)?.get(2)?.parse().ok()
}

/// The fields of a `stat` from the state on: the name before it may contain anything.
fn fields(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(") ")?.1.split(' ').collect())
}

fn has_ended(stat: &str) -> bool {
    fields(stat).is_some_and(|fields| matches!(fields.first(), Some(&("Z" | "X"))))
}

fn gauges(stat: &str) -> Option<Look> {
    let fields = fields(stat)?;
    // The kernel counts fields from 1, and the state is the third.
    let field = |n: usize| fields.get(n - 3)?.parse::<i64>().ok();
    let ticks = i64::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    let page = i64::try_from(rustix::param::page_size()).ok()?;
    (!has_ended(stat)).then_some(())?;
    Some(vec![
        (Gauge::Rss, Ok(field(24)? * page / 1024)),
        (Gauge::CpuTime, Ok((field(14)? + field(15)?) * 1000 / ticks)),
        (Gauge::Threads, Ok(field(20)?)),
        (Gauge::MinorFaults, Ok(field(10)?)),
        (Gauge::MajorFaults, Ok(field(12)?)),
    ])
}

/// How often all threads together were switched out.
fn switches(root: &Root, process: u32) -> i64 {
    let threads = root.numbered(&format!("proc/{process}/task"), "");
    let counts = threads.iter().filter_map(|thread| {
        let status = root.text(&format!("{thread}/status"))?;
        let count = |name| machine::field(&status, name)?.parse::<i64>().ok();
        Some(count("voluntary_ctxt_switches")? + count("nonvoluntary_ctxt_switches")?)
    });
    counts.sum()
}

/// The most processors whose clocks are read: each may have to be woken for it.
const CLOCKS: usize = 8;

/// The mean of the clocks in these files, in MHz.
fn clock(root: &Root, files: &[String]) -> Result<i64, String> {
    let clocks: Vec<u64> = files.iter().filter_map(|file| root.number(file)).collect();
    let sum: u64 = clocks.iter().sum();
    let mean = sum.checked_div(clocks.len() as u64).map(|khz| (khz / 1000) as i64);
    mean.ok_or_else(|| {
        "this machine has no cpufreq: clocks are hidden from virtual machines".to_owned()
    })
}

/// The highest of the temperatures in these files, in degrees Celsius.
fn temperature(root: &Root, files: &[String]) -> Result<i64, String> {
    let hottest = files.iter().filter_map(|file| root.number(file)).max();
    let celsius = hottest.map(|thousandths| (thousandths / 1000) as i64);
    celsius.ok_or_else(|| "this machine has no thermal zone".to_owned())
}
