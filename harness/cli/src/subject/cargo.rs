//! Builds parts of a workspace with cargo: follows the progress, and collects the errors of a
//! failed build.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;
use windtunnel_ledger::integration::short;
use windtunnel_ledger::record::Failure;
use xxhash_rust::xxh3::xxh3_64;

use super::Commit;
use crate::candle;
use crate::git::find_anew;
use crate::progress::Progress;
use crate::workspace::cargo;

/// One line of `cargo build --message-format=json`.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum CargoMessage {
    CompilerArtifact {
        package_id: String,
        manifest_path: PathBuf,
        target: CargoTarget,
        executable: Option<PathBuf>,
    },
    CompilerMessage {
        message: CargoDiagnostic,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct CargoTarget {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct CargoDiagnostic {
    rendered: Option<String>,
    level: String,
}

/// A part of a workspace that cargo builds.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// The probe.
    Probe,
    /// A bench.
    Bench {
        /// Its package.
        package: &'a str,
        /// Its name.
        bench: &'a str,
    },
}

impl<'a> Part<'a> {
    const PROBE: &'static str = "windtunnel-probe";

    /// Its package.
    const fn package(self) -> &'a str {
        match self {
            Part::Probe => Self::PROBE,
            Part::Bench { package, .. } => package,
        }
    }

    /// The cargo arguments that build it.
    fn words(self) -> Vec<&'a str> {
        match self {
            Part::Probe => vec!["build", "--release"],
            Part::Bench { bench, .. } => vec!["bench", "--no-run", "--bench", bench],
        }
    }

    /// Whether it is the target that cargo reports as built.
    fn is(self, target: &CargoTarget) -> bool {
        match self {
            Part::Probe => target.name == Self::PROBE,
            // A library or an executable may have the same name.
            Part::Bench { bench, .. } => {
                target.name == bench && target.kind.iter().any(|kind| kind == "bench")
            }
        }
    }
}

/// A built part.
pub(super) struct Artifact {
    /// The executable.
    pub(super) executable: PathBuf,
    /// The folder of its package.
    pub(super) folder: PathBuf,
}

/// The variable that passes the commit of its candle to the build of a probe.
const CANDLE: &str = "WINDTUNNEL_CANDLE";

/// Where a revision is built.
pub(super) struct Revision<'a> {
    pub(super) commit: Commit<'a>,
    /// The target directory.
    pub(super) target: &'a Path,
}

/// Builds a part of the workspace in `dir`, which is the working tree or that of a revision.
#[expect(clippy::disallowed_methods, reason = "building subjects is what this file is for")]
pub(super) fn cargo_build(
    part: Part<'_>,
    dir: &Path,
    revision: Option<Revision<'_>>,
    features: &[String],
    progress: Progress,
) -> Result<Result<Artifact, Failure>> {
    let mut command = Command::new(cargo());
    // Build scripts may call git.
    find_anew(&mut command).current_dir(dir).args(part.words());
    command.env_remove(CANDLE).args([
        "--locked",
        "--package",
        part.package(),
        "--message-format=json",
    ]);
    if !features.is_empty() {
        command.args(["--features", &features.join(",")]);
    }
    let mut what = "working tree".to_owned();
    if let Some(Revision { commit, target }) = revision {
        command.arg("--target-dir").arg(target);
        what = short(commit.hash).to_owned();
        if let Some(candle) = commit.candle.and_then(candle::Exact::commit) {
            // A checkout has a version in its manifests, but no commit.
            command.env(CANDLE, short(candle));
        }
    }
    if let Part::Bench { bench, .. } = part {
        what = format!("bench {bench} of {what}");
    }
    let crates = crates_of(part.package(), dir);
    let bar = progress.build(&what, crates);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo: install Rust, or name a ready probe with `--probe PATH`")?;
    let stderr = child.stderr.take();
    let stderr = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    });

    let mut done = BTreeSet::new();
    let mut errors = String::new();
    let mut executable = None;
    for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        match serde_json::from_str(&line.context("cannot read what cargo says")?) {
            Ok(CargoMessage::CompilerArtifact {
                package_id,
                manifest_path,
                target,
                executable: path,
            }) => {
                if let Some(path) = path.filter(|_| part.is(&target)) {
                    let folder = manifest_path.parent().unwrap_or(dir).to_owned();
                    executable = Some(Artifact { executable: path, folder });
                }
                done.insert(package_id);
                bar.crates_done(done.len(), &target.name);
            }
            Ok(CargoMessage::CompilerMessage { message }) if message.level == "error" => {
                errors.push_str(&message.rendered.unwrap_or_default());
            }
            Ok(_) | Err(_) => (),
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    let stderr = stderr.join().unwrap_or_default();
    match executable {
        Some(artifact) if status.success() => Ok(Ok(artifact)),
        _ => Ok(Err(Failure::Build { tail: last_lines(&(errors + &complaints(&stderr))) })),
    }
}

/// Environment variables that change the result of a build, by name and by prefix.
const TELLING: [&str; 12] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CC",
    "CXX",
    "CFLAGS",
    "CXXFLAGS",
    "NVCC",
    "NVCC_CCBIN",
    "NVCC_PREPEND_FLAGS",
    "NVCC_APPEND_FLAGS",
    "CUDA_COMPUTE_CAP",
    "CUDARC_CUDA_VERSION",
];
const TELLING_BEGINNINGS: [&str; 3] = ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_"];
/// The exceptions: they change where and how fast something is built, but not the result.
const IDLE: [&str; 3] = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "CARGO_BUILD_JOBS"];

/// A number for the compiler that builds in `dir`, its settings in the environment, and the
/// processor that it builds for: if any of them differs, a build differs by more than its sources.
pub(super) fn compiler(dir: &Path) -> u64 {
    let mut told = told_by_compiler(dir, &["-vV"]);
    for (name, value) in telling(std::env::vars_os()) {
        told.push(0);
        told.extend(name.as_encoded_bytes());
        told.push(b'=');
        told.extend(value.as_encoded_bytes());
    }
    told.extend(processor(dir).to_le_bytes());
    xxh3_64(&told)
}

/// The variables that change the result of a build, sorted.
fn telling(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let is_telling = |name: &str| {
        let begins = || TELLING_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning));
        (TELLING.contains(&name) || begins()) && !IDLE.contains(&name)
    };
    let variables = variables.into_iter();
    variables.filter(|(name, _)| name.to_str().is_some_and(is_telling)).collect()
}

/// A number for the features of this processor, as the compiler of `dir` sees them.
/// `.cargo/config.toml` has it build for the native processor, and cargo would reuse what was built
/// on another one: in a folder shared by machines with different processors, that would end in an
/// illegal instruction.
pub(super) fn processor(dir: &Path) -> u64 {
    xxh3_64(&told_by_compiler(dir, &["--print", "cfg", "-C", "target-cpu=native"]))
}

/// The output of the compiler of `dir`; empty if there is none, in which case the build itself
/// fails and says so.
#[expect(clippy::disallowed_methods, reason = "building subjects is what this file is for")]
fn told_by_compiler(dir: &Path, args: &[&str]) -> Vec<u8> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = Command::new(rustc).current_dir(dir).args(args).stderr(Stdio::null()).output();
    told.map(|output| output.stdout).unwrap_or_default()
}

/// The number of crates that a package consists of; none if cargo cannot tell.
#[expect(clippy::disallowed_methods, reason = "building subjects is what this file is for")]
fn crates_of(package: &str, dir: &Path) -> Option<usize> {
    let mut command = Command::new(cargo());
    command.current_dir(dir).args([
        "tree",
        "--locked",
        "--package",
        package,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    let output =
        command.stdin(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let crates: BTreeSet<&str> = text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    Some(crates.len())
}

/// cargo's output without the progress lines, which would hide the error.
fn complaints(stderr: &str) -> String {
    const PROGRESS: [&str; 8] = [
        "Adding",
        "Blocking",
        "Compiling",
        "Downloaded",
        "Downloading",
        "Locking",
        "Updating",
        "Fresh",
    ];
    let is_progress = |line: &&str| {
        PROGRESS.iter().any(|word| line.trim_start().starts_with(&format!("{word} ")))
    };
    let lines = stderr.lines().filter(|line| !is_progress(line));
    lines.map(|line| format!("{line}\n")).collect()
}

fn last_lines(text: &str) -> String {
    const LINES: usize = 30;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_environment_tells_a_build_is_told_from_where_and_how_fast_it_is_made() {
        let told = |names: &[&str]| -> Vec<String> {
            let variables = names.iter().map(|name| (OsString::from(name), OsString::from("x")));
            telling(variables).into_keys().filter_map(|name| name.into_string().ok()).collect()
        };
        let changing = [
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER",
            "CC",
            "CFLAGS",
            "CUDARC_CUDA_VERSION",
            "CUDA_COMPUTE_CAP",
            "NVCC",
            "RUSTFLAGS",
        ];
        assert_eq!(told(&changing), changing);
        let none: [&str; 0] = [];
        assert_eq!(told(&IDLE), none);
        assert_eq!(told(&["PATH", "CARGO", "CCACHE_DIR", "CARGO_PKG_NAME"]), none);
    }

    #[test]
    fn of_a_build_that_failed_its_progress_is_left_out() {
        let said =
            "   Compiling a v0.1.0\n error: could not compile `a`\n  Downloading crates ...\n";
        assert_eq!(complaints(said), " error: could not compile `a`\n");
    }
}
