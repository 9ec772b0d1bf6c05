//! The machine and the build, as far as they can change a result.
//!
//! What is read off a machine is read by the CLI, what is known of a build is told by the probe;
//! here stands what they have to say, and whether two of them can be compared.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::unit::Bytes;

/// Where a round ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The machine.
    pub machine: Machine,
    /// The build of the probe; none if the probe never said.
    pub build: Option<Build>,
}

/// The machine that a round ran on. What could not be read is an empty string or zero, and is
/// never equal to anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Model name of the processor.
    pub cpu: String,
    /// Physical cores that this process may use.
    pub cores: u32,
    /// Logical processors that this process may use.
    pub threads: u32,
    /// Main memory, or the limit of the control group if that is lower.
    pub memory: Bytes,
    /// Instruction set extensions that kernels choose by, sorted.
    pub features: Vec<String>,
    /// Operating system.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// Processor architecture.
    pub arch: String,
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
    /// Instruction set extensions that the compiler was allowed to use, sorted.
    pub target_features: Vec<String>,
    /// Cargo features of the engine, sorted.
    pub features: Vec<String>,
}

impl Machine {
    /// The name of the kind of machine: equal for machines that give the same results. Made of the
    /// processor, its extensions, cores, threads, and memory in whole GiB.
    #[must_use]
    pub fn key(&self) -> String {
        let gib = (self.memory.0 + (1 << 29)) >> 30;
        let facts = format!(
            "{}|{}|{}|{}|{gib}|{}",
            self.arch,
            self.cpu,
            self.cores,
            self.threads,
            self.features.join(" ")
        );
        let hash = format!("{:032x}", xxh3_128(facts.as_bytes()));
        format!("{}-{}c-{gib}g-{}", slug(&self.cpu), self.threads, &hash[..6])
    }
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

/// One thing in which two environments differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub what: &'static str,
    /// It in the base.
    pub base: String,
    /// It in the head.
    pub head: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |value: &str| if value.is_empty() { "unknown".into() } else { format!("`{value}`") };
        write!(
            f,
            "{}: {} in the base, {} in the head",
            self.what,
            shown(&self.base),
            shown(&self.head)
        )
    }
}

/// In what two environments differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Differences that forbid a comparison.
    pub hard: Vec<Difference>,
    /// Differences that a reader should see beside the result.
    pub soft: Vec<Difference>,
}

/// What stands between two environments. Results may be compared if nothing hard does. What is
/// unknown on both sides is a hard difference too where a known difference would be one.
#[must_use]
pub fn comparable(base: &Environment, head: &Environment) -> Differences {
    let none = Build::default();
    let (m, n) = (&base.machine, &head.machine);
    let (b, c) = (base.build.as_ref().unwrap_or(&none), head.build.as_ref().unwrap_or(&none));
    let number = |n: u64| if n == 0 { String::new() } else { n.to_string() };
    let gib = |machine: &Machine| match machine.memory {
        Bytes(0) => String::new(),
        Bytes(bytes) => format!("{} GiB", (bytes + (1 << 29)) >> 30),
    };

    let mut differences = Differences::default();
    let mut hard = |what, base: String, head: String| {
        if base.is_empty() || base != head {
            differences.hard.push(Difference { what, base, head });
        }
    };
    hard("processor", m.cpu.clone(), n.cpu.clone());
    hard("cores", number(m.cores.into()), number(n.cores.into()));
    hard("threads", number(m.threads.into()), number(n.threads.into()));
    hard("memory", gib(m), gib(n));
    hard("architecture", m.arch.clone(), n.arch.clone());
    hard("operating system", m.os.clone(), n.os.clone());
    hard("build profile", b.profile.clone(), c.profile.clone());
    hard("build target", b.target.clone(), c.target.clone());
    // A list may be empty and known.
    if m.features != n.features {
        let (base, head) = (m.features.join(" "), n.features.join(" "));
        differences.hard.push(Difference { what: "processor features", base, head });
    }
    if b.target_features != c.target_features {
        let (base, head) = (b.target_features.join(" "), c.target_features.join(" "));
        differences.hard.push(Difference { what: "compiler target features", base, head });
    }

    let mut soft = |what, base: &str, head: &str| {
        if base != head {
            let (base, head) = (base.to_owned(), head.to_owned());
            differences.soft.push(Difference { what, base, head });
        }
    };
    soft("kernel", &m.kernel, &n.kernel);
    soft("compiler", &b.rustc, &c.rustc);
    soft("candle", &b.candle, &c.candle);
    soft("engine version", &b.engine, &c.engine);
    soft("engine features", &b.features.join(" "), &c.features.join(" "));
    differences
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

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
            },
            build: Some(Build {
                engine: "0.1.0".into(),
                candle: "0.11.1".into(),
                rustc: "1.95.0".into(),
                profile: "release".into(),
                target: "x86_64-unknown-linux-gnu".into(),
                target_features: vec!["avx2".into()],
                features: vec![],
            }),
        }
    }

    fn check(change: fn(&mut Environment), hard: &[&str], soft: &[&str]) {
        let (base, mut head) = (environment(), environment());
        change(&mut head);
        let found = comparable(&base, &head);
        let names = |list: &[Difference]| list.iter().map(|d| d.what).collect::<Vec<_>>();
        assert_eq!((names(&found.hard), names(&found.soft)), (hard.to_vec(), soft.to_vec()));
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
        assert_eq!(
            found.hard[0].to_string(),
            "processor: unknown in the base, unknown in the head"
        );

        unknown = environment();
        unknown.build = None;
        assert_eq!(comparable(&unknown, &unknown).hard.len(), 2, "profile and target");
    }

    #[test]
    fn the_machine_key_is_readable_and_stable() {
        let machine = environment().machine;
        assert!(machine.key().starts_with("amd-epyc-7763-4c-23g-"), "{}", machine.key());
        let newer_kernel = Machine { kernel: "7".into(), ..machine.clone() };
        assert_eq!(machine.key(), newer_kernel.key());
        let fewer_cores = Machine { threads: 2, ..machine.clone() };
        assert_ne!(machine.key(), fewer_cores.key());
    }
}
