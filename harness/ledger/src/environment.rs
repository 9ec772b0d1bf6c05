//! The machine and the build, as far as they can change a result, and whether two environments are
//! comparable.
//!
//! The CLI reads the facts of the machine; the probe reports those of its build.

mod gpu;
mod machine;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use gpu::{ClockLimits, Gpu};
pub use machine::{Cache, CacheKind, CpuQuota, Machine};

/// Where a round ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The machine.
    pub machine: Machine,
    /// The build of the probe; none if the probe never reported it.
    pub build: Option<Build>,
}

/// How a probe was built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Version of the engine.
    pub engine: String,
    /// Version of candle.
    pub candle: String,
    /// Version of the compiler.
    pub rustc: String,
    /// Cargo profile.
    pub profile: String,
    /// Target triple.
    pub target: String,
    /// Instruction set extensions enabled in the compiler, sorted.
    pub target_features: Vec<String>,
    /// Cargo features of the engine, sorted.
    pub features: Vec<String>,
    /// The processor that the compiler was told to optimise for; empty if it was told none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target_cpu: String,
    /// Versions of the crates whose kernels do the work.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kernels: BTreeMap<String, String>,
}

impl Build {
    /// The profile reported for an external engine, measured through an adapter that stands in for
    /// a probe.
    pub const EXTERNAL: &str = "external";

    /// Whether this is an adapter, and the process being measured is another one.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.profile == Build::EXTERNAL
    }
}

/// One difference between two environments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub what: String,
    /// Its value in the base.
    pub base: String,
    /// Its value in the head, or in another round of the base.
    pub head: String,
    /// What it is between.
    pub between: Between,
}

/// What a difference is between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// Base and head.
    Sides,
    /// Two rounds of the base.
    Bases,
}

impl Difference {
    /// A difference between base and head.
    pub(crate) fn of_sides(what: &str, base: String, head: String) -> Difference {
        Difference { what: what.to_owned(), base, head, between: Between::Sides }
    }

    /// Whether the value is unknown on both sides.
    pub(crate) fn is_untold(&self) -> bool {
        self.base.is_empty() && self.head.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { what, base, head, between } = self;
        let shown =
            |value: &str| if value.is_empty() { "unknown".into() } else { format!("`{value}`") };
        match between {
            Between::Sides if self.is_untold() => write!(f, "{what}: unknown on both sides"),
            Between::Sides => {
                write!(f, "{what}: {} in the base, {} in the head", shown(base), shown(head))
            }
            Between::Bases if self.is_untold() => write!(f, "{what}: unknown in the base"),
            Between::Bases => {
                write!(f, "{what}: {} and {} within the base", shown(base), shown(head))
            }
        }
    }
}

/// All differences between two environments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Differences that forbid a comparison.
    pub hard: Vec<Difference>,
    /// Differences that a reader should see beside the result.
    pub soft: Vec<Difference>,
}

/// Compares two environments. Results may be compared if there is no hard difference. Where a known
/// difference would be hard, a fact that is known on one side only is hard too.
///
/// Unknown on both sides does not mean equal. If the processor, its cores or the memory are
/// unknown, nothing can be compared. Of the rest a virtual machine hides much permanently: within
/// one boot of one machine such facts are taken as equal, otherwise they are reported as a soft
/// difference.
#[must_use]
pub fn comparable(base: &Environment, head: &Environment) -> Differences {
    let mut differences = Differences::default();
    let (m, n) = (&base.machine, &head.machine);
    for (what, base, head) in pairs(identity(m), identity(n)) {
        if base.is_empty() || base != head {
            differences.hard.push(Difference::of_sides(what, base, head));
        }
    }
    let same_boot = !m.boot.is_empty() && m.boot == n.boot;
    let mut untold = Vec::new();
    for (what, base, head) in pairs(state(m), state(n)) {
        if base != head {
            differences.hard.push(Difference::of_sides(what, base, head));
        } else if base.is_empty() && !same_boot {
            untold.push(what);
        }
    }
    if !untold.is_empty() {
        let (base, head) = (String::new(), String::new());
        differences.soft.push(Difference::of_sides(&untold.join(", "), base, head));
    }
    // For this list, empty does not mean unknown.
    if m.features != n.features {
        let (base, head) = (m.features.join(" "), n.features.join(" "));
        differences.hard.push(Difference::of_sides("processor features", base, head));
    }
    builds(base.build.as_ref(), head.build.as_ref(), &mut differences);
    for (what, base, head) in pairs(circumstances(m), circumstances(n)) {
        if base != head {
            differences.soft.push(Difference::of_sides(what, base, head));
        }
    }
    differences
}

/// A named fact; the text is empty if it is unknown.
type Fact = (&'static str, String);

fn pairs<const N: usize>(
    base: [Fact; N],
    head: [Fact; N],
) -> impl Iterator<Item = (&'static str, String, String)> {
    base.into_iter().zip(head).map(|((what, base), (_, head))| (what, base, head))
}

/// Facts that must be known.
fn identity(machine: &Machine) -> [Fact; 6] {
    let memory = match machine::gib(machine.memory) {
        _ if machine.memory.0 == 0 => String::new(),
        gib => format!("{gib} GiB"),
    };
    [
        ("processor", machine.cpu.clone()),
        ("cores", machine::number(machine.cores)),
        ("threads", machine::number(machine.threads)),
        ("memory", memory),
        ("architecture", machine.arch.clone()),
        ("operating system", machine.os.clone()),
    ]
}

/// Facts that change results, but are not available on every machine.
fn state(machine: &Machine) -> [Fact; 11] {
    // Without GPUs, their clocks are not unknown.
    let each = |fact: fn(&Gpu) -> String| match machine.gpus.is_empty() {
        true => "no GPU".to_owned(),
        false => machine.gpus.iter().map(fact).collect::<Vec<_>>().join(", "),
    };
    let gpus = match machine.gpus_hidden.is_empty() {
        true => each(Gpu::kind),
        false => String::new(),
    };
    [
        ("SMT", machine::text(machine.smt)),
        ("caches", machine::list(&machine.caches)),
        ("memory nodes", machine::number(machine.numa_nodes)),
        ("CPU quota", machine::text(machine.cpu_quota)),
        ("governor", machine.governor.clone()),
        ("turbo", machine::text(machine.turbo)),
        ("hypervisor", machine.hypervisor.clone()),
        ("GPUs", gpus),
        ("GPU clocks", each(|gpu| gpu.sm_clock.to_string())),
        ("GPU power limit", each(|gpu| machine::text(gpu.power_limit.map(|mw| mw / 1000)))),
        ("GPU ECC", each(|gpu| machine::text(gpu.ecc))),
    ]
}

/// Facts that hardly change results.
fn circumstances(machine: &Machine) -> [Fact; 6] {
    let each = |fact: fn(&Gpu) -> &str| -> String {
        machine.gpus.iter().map(fact).collect::<Vec<_>>().join(", ")
    };
    let links = machine.gpus.iter().map(|gpu| machine::text(gpu.pcie_width));
    [
        ("kernel", machine.kernel.clone()),
        ("container", machine.container.clone()),
        ("GPU driver", each(|gpu| &gpu.driver)),
        ("GPU firmware", each(|gpu| &gpu.vbios)),
        ("GPU", each(|gpu| &gpu.uuid)),
        ("PCIe lanes", links.collect::<Vec<_>>().join(", ")),
    ]
}

fn builds(base: Option<&Build>, head: Option<&Build>, differences: &mut Differences) {
    let none = Build::default();
    let (b, c) = (base.unwrap_or(&none), head.unwrap_or(&none));
    for (what, base, head) in
        [("build profile", &b.profile, &c.profile), ("build target", &b.target, &c.target)]
    {
        if base.is_empty() || base != head {
            let (base, head) = (base.clone(), head.clone());
            differences.hard.push(Difference::of_sides(what, base, head));
        }
    }
    if b.target_features != c.target_features {
        let (base, head) = (b.target_features.join(" "), c.target_features.join(" "));
        differences.hard.push(Difference::of_sides("compiler target features", base, head));
    }
    let kernels = |build: &Build| {
        let kernels = build.kernels.iter().map(|(name, version)| format!("{name} {version}"));
        kernels.collect::<Vec<_>>().join(", ")
    };
    for (what, base, head) in [
        ("compiler", b.rustc.clone(), c.rustc.clone()),
        ("compiler target processor", b.target_cpu.clone(), c.target_cpu.clone()),
        ("candle", b.candle.clone(), c.candle.clone()),
        ("kernel crates", kernels(b), kernels(c)),
        ("engine version", b.engine.clone(), c.engine.clone()),
        ("engine features", b.features.join(" "), c.features.join(" ")),
    ] {
        if base != head {
            differences.soft.push(Difference::of_sides(what, base, head));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::switch::Switch;
    use crate::unit::Bytes;

    pub(crate) fn environment() -> Environment {
        Environment {
            machine: Machine {
                cpu: "AMD EPYC 7763 64-Core Processor".into(),
                cores: 2,
                threads: 4,
                memory: Bytes(25_000_000_000),
                features: vec!["avx2".into(), "fma".into()],
                os: "linux".into(),
                kernel: "6.1.0".into(),
                arch: "x86_64".into(),
                smt: Some(Switch::On),
                caches: [(1, CacheKind::Data, 32 << 10, 2), (3, CacheKind::Unified, 32 << 20, 16)]
                    .map(|(level, kind, size, shared)| Cache {
                        level,
                        kind,
                        size: Bytes(size),
                        shared,
                    })
                    .into(),
                numa_nodes: 1,
                cpu_quota: Some(CpuQuota::Unlimited),
                governor: "performance".into(),
                turbo: Some(Switch::On),
                hypervisor: "kvm".into(),
                container: "none".into(),
                boot: "7c07c8a9".into(),
                gpus: Vec::new(),
                gpus_hidden: String::new(),
            },
            build: Some(Build {
                engine: "0.1.0".into(),
                candle: "0.11.1".into(),
                rustc: "1.95.0".into(),
                profile: "release".into(),
                target: "x86_64-unknown-linux-gnu".into(),
                target_features: vec!["avx2".into()],
                features: vec![],
                target_cpu: "native".into(),
                kernels: [("gemm".into(), "0.19.0".into())].into(),
            }),
        }
    }

    fn names(list: &[Difference]) -> String {
        list.iter().map(|difference| difference.what.as_str()).collect::<Vec<_>>().join("; ")
    }

    fn check(change: fn(&mut Environment), hard: &[&str], soft: &[&str]) {
        let (base, mut head) = (environment(), environment());
        change(&mut head);
        let found = comparable(&base, &head);
        assert_eq!((names(&found.hard), names(&found.soft)), (hard.join("; "), soft.join("; ")));
    }

    #[test]
    fn equal_environments_are_comparable() {
        check(|_| (), &[], &[]);
    }

    #[test]
    fn every_reason_is_listed() {
        check(
            |e| {
                e.machine.cpu = "other".into();
                e.machine.cores = 8;
                e.machine.kernel = "6.2".into();
            },
            &["processor", "cores"],
            &["kernel"],
        );
    }

    #[test]
    fn a_few_megabytes_of_memory_are_no_difference() {
        check(|e| e.machine.memory.0 += 50_000_000, &[], &[]);
    }

    #[test]
    fn the_commit_under_test_may_bring_another_candle() {
        check(|e| e.build.as_mut().unwrap().candle = "0.12.0".into(), &[], &["candle"]);
    }

    #[test]
    fn unknown_is_not_equal() {
        let mut unknown = environment();
        unknown.machine.cpu = String::new();
        let found = comparable(&unknown, &unknown);
        assert_eq!(found.hard.len(), 1);
        assert_eq!(found.hard[0].to_string(), "processor: unknown on both sides");

        unknown = environment();
        unknown.build = None;
        assert_eq!(comparable(&unknown, &unknown).hard.len(), 2, "profile and target");
    }

    #[test]
    fn what_can_be_set_forbids_a_comparison_where_it_differs_or_one_side_hides_it() {
        check(|e| e.machine.governor = "powersave".into(), &["governor"], &[]);
        check(|e| e.machine.turbo = None, &["turbo"], &[]);
        check(|e| e.machine.cpu_quota = Some(CpuQuota::Millis(500)), &["CPU quota"], &[]);
        check(|e| e.machine.container = "docker".into(), &[], &["container"]);
    }

    #[test]
    fn what_neither_side_tells_is_equal_within_one_boot_only() {
        let mut base = environment();
        base.machine.governor = String::new();
        let mut head = base.clone();
        assert_eq!(comparable(&base, &head), Differences::default());
        head.machine.boot = "another".into();
        let found = comparable(&base, &head);
        assert_eq!(found.hard, []);
        assert_eq!(found.soft[0].to_string(), "governor: unknown on both sides");
    }

    #[test]
    fn a_gpu_is_compared_by_what_changes_results_and_shown_by_what_hardly_does() {
        let with = |change: fn(&mut Gpu)| {
            let (mut base, mut head) = (environment(), environment());
            base.machine.gpus = vec![gpu::tests::gpu()];
            head.machine.gpus = base.machine.gpus.clone();
            change(&mut head.machine.gpus[0]);
            let Differences { hard, soft } = comparable(&base, &head);
            (names(&hard), names(&soft))
        };
        let hard = |what: &str| (what.to_owned(), String::new());
        assert_eq!(with(|_| ()), hard(""));
        assert_eq!(with(|gpu| gpu.name = "NVIDIA H200".into()), hard("GPUs"));
        assert_eq!(with(|gpu| gpu.mig = Some(Switch::On)), hard("GPUs"));
        assert_eq!(with(|gpu| gpu.sm_clock.application = Some(1200)), hard("GPU clocks"));
        assert_eq!(with(|gpu| gpu.power_limit = None), hard("GPU power limit"));
        let driver = with(|gpu| gpu.driver = "590.1".into());
        assert_eq!(driver, (String::new(), "GPU driver".to_owned()));
        check(
            |e| e.machine.gpus = vec![gpu::tests::gpu()],
            &["GPUs", "GPU clocks", "GPU power limit", "GPU ECC"],
            &["GPU driver", "GPU firmware", "GPU", "PCIe lanes"],
        );
    }

    #[test]
    fn a_record_from_before_is_not_comparable_with_one_that_tells_more() {
        let (base, head) = (environment(), environment());
        let mut old = serde_json::to_value(&base.machine).unwrap();
        for younger in ["smt", "caches", "numa_nodes", "cpu_quota", "hypervisor", "boot"] {
            old.as_object_mut().unwrap().remove(younger);
        }
        let base = Environment { machine: serde_json::from_value(old).unwrap(), ..base };
        let hard = names(&comparable(&base, &head).hard);
        assert_eq!(hard, "SMT; caches; memory nodes; CPU quota; hypervisor");
        assert_eq!(comparable(&base, &base).hard, [], "among themselves they are");
    }
}
