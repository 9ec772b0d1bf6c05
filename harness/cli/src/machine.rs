//! Reads the machine: what does not change while it runs, and how busy it is.
//!
//! Linux tells everything in files. What another system does not tell stays empty, which is never
//! taken for equal when environments are compared.

use std::collections::BTreeSet;
use std::fs::read_to_string;

use windtunnel_ledger::environment::Machine;
use windtunnel_ledger::unit::Bytes;

/// Instruction set extensions by which numeric kernels choose.
const FEATURES: [&str; 14] = [
    "asimd",
    "asimddp",
    "avx",
    "avx2",
    "avx512_bf16",
    "avx512_fp16",
    "avx512_vnni",
    "avx512bw",
    "avx512f",
    "bf16",
    "f16c",
    "fma",
    "i8mm",
    "sve",
];

/// The machine that this process runs on.
pub(crate) fn read() -> Machine {
    let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(0, |n| n.get() as u32);
    Machine {
        cpu: cpu(&cpuinfo).unwrap_or_default(),
        cores: cores(&cpuinfo).map_or(threads, |cores| cores.min(threads)),
        threads,
        memory: memory(),
        features: features(&cpuinfo),
        os: std::env::consts::OS.to_owned(),
        kernel: read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
    }
}

/// Load average over one minute; none where it cannot be read.
pub(crate) fn load_average() -> Option<f64> {
    read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// How often the kernel killed a process for want of memory since it was started.
pub(crate) fn out_of_memory_kills() -> u64 {
    let count = |path: &str| {
        let text = read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    count("/proc/vmstat") + count("/sys/fs/cgroup/memory.events")
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// The name of the processor; on ARM, which has none, its implementer and part.
fn cpu(cpuinfo: &str) -> Option<String> {
    let arm = || {
        let implementer = field(cpuinfo, "CPU implementer")?;
        Some(format!("ARM implementer {implementer} part {}", field(cpuinfo, "CPU part")?))
    };
    field(cpuinfo, "model name").map(str::to_owned).or_else(arm)
}

/// Distinct pairs of socket and core; none where the kernel does not tell them.
fn cores(cpuinfo: &str) -> Option<u32> {
    let cores: BTreeSet<_> = cpuinfo
        .split("\n\n")
        .filter_map(|cpu| Some((field(cpu, "physical id")?, field(cpu, "core id")?)))
        .collect();
    (!cores.is_empty()).then_some(cores.len() as u32)
}

fn features(cpuinfo: &str) -> Vec<String> {
    let flags = field(cpuinfo, "flags").or_else(|| field(cpuinfo, "Features")).unwrap_or_default();
    let flags: BTreeSet<&str> = flags.split(' ').collect();
    FEATURES.into_iter().filter(|feature| flags.contains(feature)).map(str::to_owned).collect()
}

/// Main memory, or the limit of the control group if that is lower.
fn memory() -> Bytes {
    let meminfo = read_to_string("/proc/meminfo").unwrap_or_default();
    let total = field(&meminfo, "MemTotal").and_then(|value| value.strip_suffix(" kB"));
    let total = total.and_then(|kib| kib.trim().parse::<u64>().ok()).map_or(0, |kib| kib * 1024);
    let limit = read_to_string("/sys/fs/cgroup/memory.max").unwrap_or_default();
    Bytes(limit.trim().parse().map_or(total, |limit: u64| limit.min(total)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str = "processor\t: 0\nmodel name\t: Some CPU @ 3GHz\nphysical id\t: 0\ncore id\t\t: 0\nflags\t\t: fpu avx2 fma avx\n\n\
        processor\t: 1\nmodel name\t: Some CPU @ 3GHz\nphysical id\t: 0\ncore id\t\t: 0\nflags\t\t: fpu avx2 fma avx\n\n\
        processor\t: 2\nmodel name\t: Some CPU @ 3GHz\nphysical id\t: 0\ncore id\t\t: 1\nflags\t\t: fpu avx2 fma avx\n";

    #[test]
    fn siblings_of_a_core_are_one_core() {
        assert_eq!(cores(CPUINFO), Some(2));
        assert_eq!(cores("processor: 0\n"), None);
    }

    #[test]
    fn a_processor_has_a_name_on_x86_and_on_arm() {
        assert_eq!(cpu(CPUINFO).unwrap(), "Some CPU @ 3GHz");
        let arm = "processor: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(cpu(arm).unwrap(), "ARM implementer 0x41 part 0xd0c");
        assert_eq!(cpu(""), None);
    }

    #[test]
    fn only_features_that_kernels_choose_by_are_kept_in_order() {
        assert_eq!(features(CPUINFO), ["avx", "avx2", "fma"]);
        assert_eq!(features(""), Vec::<String>::new());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_can_be_told() {
        let machine = read();
        assert!(machine.threads > 0 && machine.memory.0 > 0 && !machine.kernel.is_empty());
        assert!(load_average().is_some());
    }
}
