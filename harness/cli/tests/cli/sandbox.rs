//! A separate directory for each test, and the output of the command in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use windtunnel_ledger::store::{self, Contents};

pub(crate) const FAKE_PROBE: &str = env!("CARGO_BIN_EXE_fake-probe");

/// Git in a folder. If a hook or `git rebase --exec` runs the tests, they must not change its
/// repository.
pub(crate) fn git_in(dir: &Path) -> Command {
    let mut git = Command::new("git");
    for name in ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"] {
        git.env_remove(name);
    }
    git.current_dir(dir);
    git
}

/// A directory with one scenario, `test/fake`.
pub(crate) struct Sandbox {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) cache: tempfile::TempDir,
}

impl Sandbox {
    /// A scenario whose cases tell the fake probe to behave like this.
    pub(crate) fn new(behaviours: &[&str]) -> Sandbox {
        let ends = |behaviour: &&str| !["hang", "lingering"].contains(behaviour);
        let deadline = if behaviours.iter().all(ends) { 60.0 } else { 5.0 };
        Sandbox::with(&format!(
            "workload = \"decode\"
models = [\"tiny-qwen3\"]
rounds = 2
deadline = {deadline:?}
\
             matrix = {{ attention = {behaviours:?}, output = [4] }}
"
        ))
    }

    pub(crate) fn with(scenario: &str) -> Sandbox {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("scenarios/test")).unwrap();
        fs::write(dir.path().join("scenarios/test/fake.toml"), scenario).unwrap();
        Sandbox { dir, cache: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
        command.arg("-C").arg(self.dir.path()).args(args);
        command.env("XDG_CACHE_HOME", self.cache.path());
        // Tests run in parallel and must not wait for each other's measurements.
        command.env("WINDTUNNEL_LOCKS", self.cache.path());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        Said::from(self.command(args).output().unwrap())
    }

    /// A fake probe in which these words are planted; see `fake-probe/plant.rs`.
    pub(crate) fn plant(&self, name: &str, words: &str) -> String {
        let mut bytes = fs::read(FAKE_PROBE).unwrap();
        bytes.extend(format!("\n#plant {words}").as_bytes());
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::metadata(FAKE_PROBE).unwrap().permissions()).unwrap();
        format!("probe:{name}")
    }

    /// Measures `test/fake` with the fake probe into `run.jsonl`.
    pub(crate) fn measure(&self) -> Said {
        self.run(&["--quiet", "run", "test/fake", "--probe", FAKE_PROBE, "--out", "run.jsonl"])
    }

    /// A script that measures `test/fake`, and appends its exit code to `codes`.
    pub(crate) fn guest(&self) -> String {
        self.script("guest.sh", "")
    }

    /// The same, but outside of the turn of the command that starts it.
    pub(crate) fn intruder(&self) -> String {
        self.script("intrude.sh", "unset WINDTUNNEL_TURN_OF")
    }

    fn script(&self, name: &str, first: &str) -> String {
        let (dir, windtunnel) = (self.dir.path().display(), env!("CARGO_BIN_EXE_windtunnel"));
        let run = format!("-q run test/fake --probe {FAKE_PROBE} --out inner-$$.jsonl");
        let script =
            format!("{first}\ncd {dir}\n{windtunnel} {run} > /dev/null 2>&1\necho $? >> codes\n");
        let path = self.path(name);
        fs::write(&path, script).unwrap();
        path.display().to_string()
    }

    /// The exit codes of all guests and intruders.
    pub(crate) fn codes(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("codes")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn contents(&self) -> Contents {
        store::read(&self.path("run.jsonl")).unwrap()
    }
}

/// The result of a command.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Replaces what differs from machine to machine and run to run.
pub(crate) fn redacted(sandbox: &Sandbox) -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    let dir = sandbox.dir.path().canonicalize().unwrap();
    settings.add_filter(&regex_escape(&dir.display().to_string()), "DIR");
    settings.add_filter(&regex_escape(FAKE_PROBE), "FAKE-PROBE");
    settings.add_filter(r"\d{8}T\d{9}Z", "TIME");
    settings.add_filter(r"(\n\n[^\n]*: the machine was busy[^\n]*)+\n", "\n");
    settings.add_filter(r"(?m)^  (base|head): the machine was busy.*\n", "");
    settings.add_filter(r"\(\d[\d.]* (ns|µs|ms|s)\)", "(WALL)");
    settings.bind_to_scope()
}

fn regex_escape(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_alphanumeric() { c.to_string() } else { format!("\\{c}") })
        .collect()
}
