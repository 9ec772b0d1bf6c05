//! Processors: what they are, and how they are configured.

use std::collections::BTreeSet;

use windtunnel_ledger::Bytes;
use windtunnel_ledger::Switch;
use windtunnel_ledger::environment::{Cache, CacheKind};

use super::root::{Root, field};

const CPUS: &str = "sys/devices/system/cpu";

/// Instruction set extensions by which numeric libraries choose their kernels.
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

/// The name of the processor; on ARM, which reports none, its implementer and part.
pub(super) fn name(cpuinfo: &str) -> Option<String> {
    let arm = || {
        let implementer = field(cpuinfo, "CPU implementer")?;
        Some(format!("ARM implementer {implementer} part {}", field(cpuinfo, "CPU part")?))
    };
    field(cpuinfo, "model name").map(str::to_owned).or_else(arm)
}

/// The number of distinct pairs of socket and core; none if the kernel does not report them.
pub(super) fn cores(root: &Root, cpuinfo: &str) -> Option<u32> {
    let told: BTreeSet<(String, String)> = cpuinfo
        .split("\n\n")
        .filter_map(|cpu| {
            Some((field(cpu, "physical id")?.to_owned(), field(cpu, "core id")?.to_owned()))
        })
        .collect();
    // On ARM they are elsewhere.
    let topology = || {
        let cpus = root.numbered(CPUS, "cpu");
        let place = |cpu: &String| {
            let id = |name: &str| root.text(&format!("{cpu}/topology/{name}"));
            Some((id("physical_package_id")?, id("core_id")?))
        };
        cpus.iter().filter_map(place).collect::<BTreeSet<_>>()
    };
    let cores = if told.is_empty() { topology() } else { told };
    (!cores.is_empty()).then_some(cores.len() as u32)
}

/// The extensions by which kernels are chosen, sorted.
pub(super) fn features(cpuinfo: &str) -> Vec<String> {
    let flags = flags(cpuinfo);
    FEATURES.into_iter().filter(|feature| flags.contains(feature)).map(str::to_owned).collect()
}

/// Every flag of the first processor.
pub(super) fn flags(cpuinfo: &str) -> BTreeSet<&str> {
    let flags = field(cpuinfo, "flags").or_else(|| field(cpuinfo, "Features")).unwrap_or_default();
    flags.split(' ').collect()
}

/// Whether cores run several threads.
pub(super) fn smt(root: &Root, cpuinfo: &str) -> Option<Switch> {
    let number = |name: &str| field(cpuinfo, name)?.parse::<u32>().ok();
    // A guest may see threads without having this control.
    let siblings =
        number("siblings").zip(number("cpu cores")).map(|(threads, cores)| threads > cores);
    match root.text(&format!("{CPUS}/smt/active")).as_deref() {
        Some("1") => Some(Switch::On),
        _ if siblings == Some(true) => Some(Switch::On),
        Some("0") => Some(Switch::Off),
        _ => siblings.map(|_| Switch::Off),
    }
}

/// The caches of the first processor.
pub(super) fn caches(root: &Root) -> Vec<Cache> {
    let cache = |index: &String| {
        let text = |name: &str| root.text(&format!("{index}/{name}"));
        Some(Cache {
            level: text("level")?.parse().ok()?,
            kind: match text("type")?.as_str() {
                "Data" => CacheKind::Data,
                "Instruction" => CacheKind::Instruction,
                _ => CacheKind::Unified,
            },
            size: size(&text("size")?)?,
            shared: count(&text("shared_cpu_list")?)?,
        })
    };
    let mut caches: Vec<Cache> =
        root.numbered(&format!("{CPUS}/cpu0/cache"), "index").iter().filter_map(cache).collect();
    caches.sort_by_key(|cache| cache.level);
    caches
}

/// The kernel's frequency governors: each one that is in use.
pub(super) fn governor(root: &Root) -> String {
    let cpus = root.numbered(CPUS, "cpu");
    let governors: BTreeSet<String> = cpus
        .iter()
        .filter_map(|cpu| root.text(&format!("{cpu}/cpufreq/scaling_governor")))
        .collect();
    governors.into_iter().collect::<Vec<_>>().join(" ")
}

/// Whether clocks may exceed the nominal one. Intel's driver reports the opposite.
pub(super) fn turbo(root: &Root) -> Option<Switch> {
    let intel = root.number(&format!("{CPUS}/intel_pstate/no_turbo")).map(|off| off == 0);
    let boost = || root.number(&format!("{CPUS}/cpufreq/boost")).map(|on| on == 1);
    intel.or_else(boost).map(|on| if on { Switch::On } else { Switch::Off })
}

/// The number of NUMA nodes; 0 if unknown.
pub(super) fn numa_nodes(root: &Root) -> u32 {
    root.numbered("sys/devices/system/node", "node").len() as u32
}

/// Parses a size like `32K`.
fn size(text: &str) -> Option<Bytes> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).map(Bytes)
}

/// The number of elements in a list like `0-3,8-11`.
fn count(list: &str) -> Option<u32> {
    let part = |part: &str| match part.split_once('-') {
        Some((first, last)) => {
            last.parse::<u32>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
        }
        None => part.parse::<u32>().ok().map(|_| 1),
    };
    list.split(',').map(part).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_processors_is_counted() {
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("0-3,8-11,40"), Some(9));
        assert_eq!(count("3-0"), None);
        assert_eq!(count("many"), None);
    }

    #[test]
    fn a_size_is_read_with_its_unit() {
        assert_eq!(size("32K"), Some(Bytes(32 << 10)));
        assert_eq!(size("12M"), Some(Bytes(12 << 20)));
        assert_eq!(size("64"), Some(Bytes(64)));
        assert_eq!(size("big"), None);
    }
}
