//! Reads the machine: its fixed properties, and how busy it is.
//!
//! Linux reports everything in files; each reader takes their root folder, so that tests can pass
//! other machines. What a system does not report stays empty, and is never taken for equal when
//! environments are compared.

mod cgroup;
mod cpu;
mod host;
mod root;

use windtunnel_ledger::environment::Machine;
use windtunnel_ledger::{Bytes, Nanos};

pub(crate) use root::{Root, field};

/// The machine that this process runs on, without its GPUs.
pub(crate) fn read() -> Machine {
    let threads = std::thread::available_parallelism().map_or(0, |n| n.get() as u32);
    of(&Root::here(), threads)
}

/// The machine below `root`, of which this process may use `threads` threads.
pub(crate) fn of(root: &Root, threads: u32) -> Machine {
    let cpuinfo = root.text("proc/cpuinfo").unwrap_or_default();
    Machine {
        cpu: cpu::name(&cpuinfo).unwrap_or_default(),
        cores: cpu::cores(root, &cpuinfo).map_or(threads, |cores| cores.min(threads)),
        threads,
        memory: memory(root),
        features: cpu::features(&cpuinfo),
        os: std::env::consts::OS.to_owned(),
        kernel: root.text("proc/sys/kernel/osrelease").unwrap_or_default(),
        arch: std::env::consts::ARCH.to_owned(),
        smt: cpu::smt(root, &cpuinfo),
        caches: cpu::caches(root),
        numa_nodes: cpu::numa_nodes(root),
        cpu_quota: cgroup::cpu_quota(root),
        governor: cpu::governor(root),
        turbo: cpu::turbo(root),
        hypervisor: host::hypervisor(root, &cpuinfo),
        container: host::container(root),
        boot: root.text("proc/sys/kernel/random/boot_id").unwrap_or_default(),
        gpus: Vec::new(),
        gpus_hidden: String::new(),
    }
}

/// Load average over one minute; none if it cannot be read.
pub(crate) fn load_average(root: &Root) -> Option<f64> {
    root.text("proc/loadavg")?.split(' ').next()?.parse().ok()
}

/// OOM kills counted so far, by the kernel as a whole and by the control group.
pub(crate) fn out_of_memory_kills() -> u64 {
    let root = Root::here();
    let count = |path: &str| {
        let text = root.text(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    count("proc/vmstat") + count("sys/fs/cgroup/memory.events")
}

/// The memory limit of this process's control group; none if there is no limit.
pub(crate) fn memory_limit(root: &Root) -> Option<Bytes> {
    cgroup::memory(root)
}

/// The time so far for which the processor limits of this process's control group and of its
/// ancestors kept threads waiting, summed over processors; none if this cannot be read.
pub(crate) fn held_back(root: &Root) -> Option<Nanos> {
    cgroup::held_back(root)
}

/// Main memory, or the limit of the control group if that is lower.
fn memory(root: &Root) -> Bytes {
    let meminfo = root.text("proc/meminfo").unwrap_or_default();
    let total = field(&meminfo, "MemTotal").and_then(|value| value.strip_suffix(" kB"));
    let total = total.and_then(|kib| kib.trim().parse::<u64>().ok()).map_or(0, |kib| kib * 1024);
    Bytes(cgroup::memory(root).map_or(total, |limit| limit.0.min(total)))
}

#[cfg(test)]
pub(crate) mod tests {
    use windtunnel_ledger::Switch;
    use windtunnel_ledger::environment::CpuQuota;

    use super::*;

    /// Lays out a machine from `text`, where each file's contents follow its path.
    pub(crate) fn lay_out(text: &str) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for file in text.split("==> ").skip(1) {
            let (path, content) = file.split_once('\n').unwrap();
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let root = Root::at(dir.path());
        (dir, root)
    }

    fn machine(text: &str, threads: u32) -> Machine {
        let (_dir, root) = lay_out(text);
        of(&root, threads)
    }

    #[test]
    fn a_container_tells_its_limits_and_what_it_is() {
        let machine = machine(include_str!("machine/fixtures/container.txt"), 1);
        assert_eq!(machine.cpu, "Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz");
        assert_eq!((machine.cores, machine.threads), (1, 1), "no more than may be used");
        assert_eq!(machine.memory, Bytes(4 << 30));
        assert_eq!(machine.cpu_quota, Some(CpuQuota::Millis(1500)));
        assert_eq!(machine.features, ["avx", "avx2", "f16c", "fma"]);
        assert_eq!((machine.smt, machine.turbo), (Some(Switch::On), Some(Switch::Off)));
        assert_eq!(machine.governor, "performance powersave");
        let caches: Vec<String> = machine.caches.iter().map(ToString::to_string).collect();
        assert_eq!(caches, ["L1d 32.0 KiB for 2", "L3 12.0 MiB for 4"]);
        assert_eq!((machine.hypervisor.as_str(), machine.container.as_str()), ("none", "docker"));
        assert_eq!(machine.kernel, "6.8.0-45-generic");
        assert_eq!(machine.boot, "0b9c4a52-0000-4000-8000-000000000001");
    }

    #[test]
    fn a_guest_tells_its_host_and_hides_its_clocks() {
        let machine = machine(include_str!("machine/fixtures/guest.txt"), 2);
        assert_eq!((machine.cores, machine.numa_nodes), (2, 2));
        assert_eq!(machine.memory, Bytes(24_653_408 * 1024));
        assert_eq!(machine.cpu_quota, Some(CpuQuota::Unlimited));
        assert_eq!((machine.smt, machine.turbo), (Some(Switch::Off), None));
        assert_eq!((machine.governor.as_str(), machine.hypervisor.as_str()), ("", "kvm"));
        assert_eq!(machine.container, "none");
    }

    #[test]
    fn an_arm_processor_is_named_by_its_part_and_counted_by_its_topology() {
        let machine = machine(include_str!("machine/fixtures/arm.txt"), 2);
        assert_eq!(machine.cpu, "ARM implementer 0x41 part 0xd0c");
        assert_eq!(machine.cores, 2);
        assert_eq!(machine.features, ["asimd", "asimddp", "bf16", "i8mm"]);
        assert_eq!((machine.smt, machine.turbo), (None, Some(Switch::On)));
        assert_eq!(machine.governor, "ondemand");
        assert_eq!((machine.cpu_quota, machine.hypervisor.as_str()), (None, ""));
        assert_eq!(machine.container, "", "nothing tells");
    }

    #[test]
    fn a_system_without_these_files_leaves_everything_empty() {
        let nothing = Machine {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            ..Machine::default()
        };
        assert_eq!(machine("", 0), nothing);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_can_be_told() {
        let machine = read();
        assert!(machine.threads > 0 && machine.memory.0 > 0 && !machine.kernel.is_empty());
        assert!(!machine.boot.is_empty() && !machine.container.is_empty());
        assert!(load_average(&Root::here()).is_some());
    }
}
