//! The dependencies of the command and the ledger: a newcomer's first build stays short, and the
//! process that judges contains no engine.

#![expect(clippy::disallowed_methods, reason = "cargo knows what depends on what")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::process::Command;

/// The crates that `package` links.
fn crates(package: &str) -> BTreeSet<String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--locked", "--package", package, "--edges", "normal"]);
    command.args(["--prefix", "none", "--format", "{p}"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

#[test]
fn the_command_links_neither_the_engine_nor_polars() {
    let crates = crates("windtunnel");
    assert!(crates.contains("windtunnel-ledger"), "{crates:?}");
    for heavy in ["windtunnel-engine", "candle-core", "polars"] {
        assert!(!crates.contains(heavy), "windtunnel links {heavy}");
    }
}

#[test]
fn what_downloads_models_needs_a_c_compiler_and_no_more() {
    let crates = crates("windtunnel");
    for heavy in ["tokio", "reqwest", "aws-lc-sys", "openssl-sys", "cmake"] {
        assert!(!crates.contains(heavy), "windtunnel links {heavy}");
    }
    assert!(crates.len() < 140, "{} crates: {crates:?}", crates.len());
}

#[test]
fn the_ledger_stays_small() {
    let crates = crates("windtunnel-ledger");
    assert!(crates.len() < 20, "{} crates: {crates:?}", crates.len());
}
