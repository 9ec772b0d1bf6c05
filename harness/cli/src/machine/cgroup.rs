//! What the control group of this process, of version 1 or 2, leaves of the machine. The limits of
//! its ancestors apply too.

use windtunnel_ledger::environment::CpuQuota;
use windtunnel_ledger::{Bytes, Nanos};

use super::root::Root;

/// Where the processor controller of version 1 may be mounted.
const MOUNTS: [&str; 2] = ["sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"];

/// The memory limit of the control group; none if there is no limit.
pub(super) fn memory(root: &Root) -> Option<Bytes> {
    let second = folders(root, "", "sys/fs/cgroup").into_iter();
    let second = second.filter_map(|folder| root.number(&format!("{folder}/memory.max")));
    let first = folders(root, "memory", "sys/fs/cgroup/memory").into_iter();
    let first = first.filter_map(|folder| root.number(&format!("{folder}/memory.limit_in_bytes")));
    // Without a limit, version 1 reports nearly 2^63, which is more than any machine has.
    second.chain(first).min().map(Bytes)
}

/// The processor limit of the control group; none if it cannot be read.
pub(super) fn cpu_quota(root: &Root) -> Option<CpuQuota> {
    root.text("proc/self/cgroup")?;
    let second = folders(root, "", "sys/fs/cgroup").into_iter();
    let second = second.filter_map(|folder| {
        let text = root.text(&format!("{folder}/cpu.max"))?;
        let (quota, period) = text.split_once(' ')?;
        millis(quota.parse().ok()?, period.parse().ok()?)
    });
    let first = MOUNTS.into_iter().flat_map(|mount| folders(root, "cpu", mount));
    let first = first.filter_map(|folder| {
        // Without a limit the quota is -1.
        let quota = root.number(&format!("{folder}/cpu.cfs_quota_us"))?;
        millis(quota, root.number(&format!("{folder}/cpu.cfs_period_us"))?)
    });
    Some(second.chain(first).min().map_or(CpuQuota::Unlimited, CpuQuota::Millis))
}

/// The time since their creation for which the limits of the control group and of its ancestors kept
/// threads waiting, summed over processors; none if no group reports it.
pub(super) fn held_back(root: &Root) -> Option<Nanos> {
    let count = |folder: String, name: &str| {
        let stat = root.text(&format!("{folder}/cpu.stat"))?;
        let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name)?.1.parse::<u64>().ok()
    };
    let second = folders(root, "", "sys/fs/cgroup").into_iter();
    let second = second.filter_map(|folder| count(folder, "throttled_usec"));
    let second = second.map(|micros| micros.saturating_mul(1000));
    // Often one of the mounts is a link to the other, and a wait must not count twice.
    let mount = MOUNTS.into_iter().find(|mount| root.has(mount));
    let first = mount.into_iter().flat_map(|mount| folders(root, "cpu", mount));
    let first = first.filter_map(|folder| count(folder, "throttled_time"));
    second.chain(first).reduce(u64::saturating_add).map(Nanos)
}

fn millis(quota: u64, period: u64) -> Option<u32> {
    u32::try_from(quota.checked_mul(1000)?.checked_div(period)?).ok()
}

/// The folders of this process's group and its ancestors below `mount`: for a `controller` of
/// version 1, or for the unified hierarchy of version 2, whose controller name is empty.
fn folders(root: &Root, controller: &str, mount: &str) -> Vec<String> {
    let groups = root.text("proc/self/cgroup").unwrap_or_default();
    let path = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        controllers.split(',').any(|name| name == controller).then(|| parts.next())?
    });
    let Some(path) = path else { return Vec::new() };
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    // In a container the path may be relative to a root that is not visible here: then the mount is
    // the group itself, and folders that do not exist contribute nothing.
    (0..=parts.len()).rev().map(|n| [&[mount], &parts[..n]].concat().join("/")).collect()
}
