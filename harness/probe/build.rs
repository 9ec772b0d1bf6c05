//! Hands the facts of the build to the probe, which tells them in its `hello`.

#![expect(clippy::disallowed_methods, reason = "build scripts talk to cargo")]

use std::env::var;
use std::path::Path;
use std::process::Command;

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

    // The lock file says which candle was linked.
    let lock = Path::new(&cargo("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    println!("cargo::rerun-if-changed=build.rs");
    let lock = std::fs::read_to_string(lock).unwrap_or_default();
    let candle = lock.split("[[package]]").find(|entry| entry.contains("name = \"candle-core\""));
    let version = candle.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
    set("CANDLE", version.unwrap_or_default());
}
