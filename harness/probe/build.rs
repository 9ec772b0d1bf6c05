//! Passes facts about the build to the probe, which reports them in its `hello`.

#![expect(clippy::disallowed_methods, reason = "build scripts talk to cargo")]

use std::env::var;
use std::path::Path;
use std::process::Command;

/// Crates whose kernels do the computing.
const KERNELS: [&str; 4] = ["candle-core", "candle-nn", "gemm", "rayon"];
/// The same, for crates that come with a feature.
const KERNELS_OF_FEATURES: [(&str, &str); 3] =
    [("flash-attn", "candle-flash-attn"), ("cuda", "candle-kernels"), ("cuda", "cudarc")];

fn main() {
    let cargo = |name: &str| var(name).unwrap_or_default();
    let rustc = Command::new(cargo("RUSTC")).arg("--version").output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let rustc = rustc.unwrap_or_default();
    let rustc = rustc.trim().strip_prefix("rustc ").unwrap_or_default();

    let mut features: Vec<String> = std::env::vars()
        .filter_map(|(name, _)| name.strip_prefix("CARGO_FEATURE_").map(str::to_lowercase))
        .filter(|name| name != "default")
        .map(|name| name.replace('_', "-"))
        .collect();
    features.sort();

    let set = |name: &str, value: &str| println!("cargo::rustc-env=PROBE_{name}={value}");
    set("RUSTC", rustc);
    set("PROFILE", &cargo("PROFILE"));
    set("TARGET", &cargo("TARGET"));
    set("TARGET_FEATURES", &cargo("CARGO_CFG_TARGET_FEATURE"));
    set("FEATURES", &features.join(","));

    // The lock file gives the versions. It also lists crates of features that are off.
    let root = Path::new(&cargo("CARGO_MANIFEST_DIR")).join("../..");
    let lock = root.join("Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    println!("cargo::rerun-if-changed=build.rs");
    let lock = std::fs::read_to_string(lock).unwrap_or_default();
    let has = |feature: &str| features.iter().any(|known| known == feature);
    let more = KERNELS_OF_FEATURES.into_iter().filter(|(feature, _)| has(feature));
    let kernels = KERNELS.into_iter().chain(more.map(|(_, name)| name));
    let kernels: Vec<(&str, &str)> =
        kernels.filter_map(|name| Some((name, version(&lock, name)?))).collect();
    let candle = kernels.iter().find(|(name, _)| *name == "candle-core");
    let candle = candle.map_or("", |(_, version)| version);
    // A build on a checkout of candle names the commit in this variable.
    println!("cargo::rerun-if-env-changed=WINDTUNNEL_CANDLE");
    let commit = var("WINDTUNNEL_CANDLE").map(|commit| format!(" ({commit})"));
    set("CANDLE", &format!("{candle}{}", commit.unwrap_or_default()));
    let kernels: Vec<String> = kernels.iter().map(|(name, v)| format!("{name} {v}")).collect();
    set("KERNELS", &kernels.join(","));

    // Cargo separates the flags with this character, which no flag contains.
    let flags = cargo("CARGO_ENCODED_RUSTFLAGS");
    let mut target_cpu = flags.split('\u{1f}').filter_map(|flag| flag.split_once("target-cpu="));
    set("TARGET_CPU", target_cpu.next_back().map_or("", |(_, cpu)| cpu));
}

/// The version of a package in a lock file.
fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let entry = lock.split("[[package]]").find(|entry| entry.lines().any(|line| line == name))?;
    entry.split("version = \"").nth(1)?.split('"').next()
}
