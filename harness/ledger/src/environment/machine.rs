//! The machine: the facts that its results depend on, and the name of its kind.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::gpu::{self, Gpu};
use crate::switch::Switch;
use crate::unit::Bytes;

/// The machine that a round ran on. Facts that could not be read are an empty string or list, zero
/// or none, and never equal to anything.
///
/// The fields from `smt` on were added later: older records without them can be read, and look like
/// records of a machine that hides these facts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Model name of the processor.
    pub cpu: String,
    /// Physical cores that this process may use.
    pub cores: u32,
    /// Logical processors that this process may use.
    pub threads: u32,
    /// Main memory, or the control group's limit if that is lower.
    pub memory: Bytes,
    /// Instruction set extensions that kernels are selected by, sorted.
    pub features: Vec<String>,
    /// Operating system.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// Processor architecture.
    pub arch: String,
    /// Whether a core runs several hardware threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smt: Option<Switch>,
    /// The caches of the first processor, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<Cache>,
    /// NUMA nodes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub numa_nodes: u32,
    /// Processor time that the control group may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<CpuQuota>,
    /// The kernel's frequency governor; several if processors differ.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub governor: String,
    /// Whether clocks may exceed the nominal one while temperature allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turbo: Option<Switch>,
    /// The hypervisor that it runs under; `none` on bare metal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hypervisor: String,
    /// The kind of container this process runs in; `none` outside of any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// The kernel's id of the current boot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot: String,
    /// Its GPUs, as far as NVML reports them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Gpu>,
    /// Why its GPUs could not be queried although a driver for them is installed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gpus_hidden: String,
}

/// One cache of a processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// 1 is nearest to the core.
    pub level: u8,
    /// What it holds.
    pub kind: CacheKind,
    /// Its size.
    pub size: Bytes,
    /// Logical processors that share it.
    pub shared: u32,
}

/// What a cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheKind {
    /// Data.
    Data,
    /// Instructions.
    Instruction,
    /// Both.
    Unified,
}

/// Processor time that a control group may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuQuota {
    /// No limit.
    Unlimited,
    /// Thousandths of a processor.
    Millis(u32),
}

impl Machine {
    /// The name of the kind of machine: equal for machines that give the same results. Derived from
    /// the architecture, the processor with its extensions, caches, cores and threads, the memory
    /// in whole GiB, the NUMA nodes, the CPU quota, the hypervisor and the GPUs. Settings
    /// (governor, turbo, drivers) are not part of it: [`comparable`](super::comparable) reports
    /// them if they differ.
    ///
    /// A fact that was not recorded adds nothing, so an old record keeps the key that it had when
    /// it was written.
    #[must_use]
    pub fn key(&self) -> String {
        let gib = gib(self.memory);
        let mut facts = format!(
            "{}|{}|{}|{}|{gib}|{}",
            self.arch,
            self.cpu,
            self.cores,
            self.threads,
            self.features.join(" ")
        );
        let gpus: Vec<String> = self.gpus.iter().map(Gpu::kind).collect();
        for (name, fact) in [
            ("caches", list(&self.caches)),
            ("nodes", number(self.numa_nodes)),
            ("quota", text(self.cpu_quota)),
            ("hypervisor", self.hypervisor.clone()),
            ("gpus", gpus.join(", ")),
        ] {
            if !fact.is_empty() {
                facts.push_str(&format!("|{name} {fact}"));
            }
        }
        let hash = format!("{:032x}", xxh3_128(facts.as_bytes()));
        let gpus = match self.gpus.first() {
            Some(first) => format!("-{}x{}", self.gpus.len(), gpu::slug(&first.name)),
            None => String::new(),
        };
        format!("{}-{}c-{gib}g{gpus}-{}", slug(&self.cpu), self.threads, &hash[..6])
    }
}

/// Whole GiB, rounded: a kernel update changes memory by a few megabytes.
pub(super) fn gib(memory: Bytes) -> u64 {
    (memory.0 + (1 << 29)) >> 30
}

/// A number as text; empty if unknown.
pub(super) fn number(n: u32) -> String {
    if n == 0 { String::new() } else { n.to_string() }
}

/// A fact as text; empty if unknown.
pub(super) fn text(fact: Option<impl fmt::Display>) -> String {
    fact.map_or_else(String::new, |fact| fact.to_string())
}

/// Facts as text; empty if unknown.
pub(super) fn list<T: fmt::Display>(facts: &[T]) -> String {
    facts.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn slug(text: &str) -> String {
    let text = text.replace("(R)", "").replace("(TM)", "");
    let words: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(3)
        .map(str::to_ascii_lowercase)
        .collect();
    if words.is_empty() { "unknown".into() } else { words.join("-") }
}

/// As in `L1d 32.0 KiB`, or `L3 32.0 MiB for 16`.
impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            CacheKind::Data => "d",
            CacheKind::Instruction => "i",
            CacheKind::Unified => "",
        };
        write!(f, "L{}{kind} {}", self.level, self.size)?;
        if self.shared > 1 { write!(f, " for {}", self.shared) } else { Ok(()) }
    }
}

impl fmt::Display for CpuQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CpuQuota::Unlimited => f.pad("unlimited"),
            CpuQuota::Millis(n) => write!(f, "{} processors", f64::from(*n) / 1000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::environment;
    use super::*;

    #[test]
    fn the_key_is_readable_and_made_of_what_changes_results() {
        let machine = environment().machine;
        assert!(machine.key().starts_with("amd-epyc-7763-4c-23g-"), "{}", machine.key());
        let same: [fn(&mut Machine); 6] = [
            |m| m.kernel = "7".into(),
            |m| m.boot = "another".into(),
            |m| m.governor = "powersave".into(),
            |m| m.turbo = Some(Switch::Off),
            |m| m.container = "docker".into(),
            |m| m.memory.0 += 50_000_000,
        ];
        let other: [fn(&mut Machine); 6] = [
            |m| m.threads = 2,
            |m| m.caches[0].size.0 *= 2,
            |m| m.numa_nodes = 2,
            |m| m.cpu_quota = Some(CpuQuota::Millis(1500)),
            |m| m.hypervisor = "none".into(),
            |m| m.gpus = vec![gpu::tests::gpu()],
        ];
        let key_after = |change: fn(&mut Machine)| {
            let mut machine = machine.clone();
            change(&mut machine);
            machine.key()
        };
        assert!(same.into_iter().all(|change| key_after(change) == machine.key()));
        assert!(other.into_iter().all(|change| key_after(change) != machine.key()));
        let with_gpu = key_after(|m| m.gpus = vec![gpu::tests::gpu(), gpu::tests::gpu()]);
        assert!(with_gpu.starts_with("amd-epyc-7763-4c-23g-2xh100-80gb-hbm3-"), "{with_gpu}");
    }

    #[test]
    fn a_record_from_before_these_facts_is_read_and_keeps_its_key() {
        // As in the first report that was kept, which also showed the key.
        let json = r#"{"cpu": "Intel(R) Xeon(R) Processor", "cores": 2, "threads": 2,
            "memory": 25276510208, "features": ["avx", "avx2", "avx512_bf16", "avx512_fp16",
            "avx512_vnni", "avx512bw", "avx512f", "f16c", "fma"], "os": "linux",
            "kernel": "6.18.44-fc-v657", "arch": "x86_64"}"#;
        let machine: Machine = serde_json::from_str(json).unwrap();
        assert_eq!(machine.key(), "intel-xeon-processor-2c-24g-a8664d");
        let again = serde_json::to_value(&machine).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(json).unwrap());
    }

    #[test]
    fn facts_are_shown_in_a_few_words() {
        let machine = environment().machine;
        assert_eq!(list(&machine.caches), "L1d 32.0 KiB for 2, L3 32.0 MiB for 16");
        assert_eq!(CpuQuota::Millis(1500).to_string(), "1.5 processors");
        assert_eq!(CpuQuota::Unlimited.to_string(), "unlimited");
    }
}
