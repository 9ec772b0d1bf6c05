//! The `git` program: runs it in a folder and returns its output as text.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The output of git.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its stdout, without trailing white space.
    pub(crate) out: String,
    /// Its stderr.
    pub(crate) err: String,
}

/// The variables by which git tells hooks, aliases and `rebase --exec` about their repository. They
/// must not be passed on to a git in another folder: a checkout there would write this one's index.
///
/// `GIT_CONFIG_COUNT` is not among them: git itself passes `-c` on in `GIT_CONFIG_PARAMETERS`.
/// People set `GIT_CONFIG_COUNT` for folders of another owner and for tokens in CI, and it applies
/// in every folder.
const OF_ONE_REPOSITORY: [&str; 8] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
];

/// Settings that the user's configuration must not change, because the output is parsed: quoting of
/// names, colours, signatures, new files left out of a status, and the reuse of recorded conflict
/// resolutions.
const READABLE: [&str; 14] = [
    "-c",
    "core.quotePath=false",
    "-c",
    "i18n.logOutputEncoding=UTF-8",
    "-c",
    "color.ui=false",
    "-c",
    "color.diff=false",
    "-c",
    "log.showSignature=false",
    "-c",
    "status.showUntrackedFiles=normal",
    "-c",
    "rerere.enabled=false",
];

/// Makes `command`, which may run git, find the repository of the folder that it runs in.
pub(crate) fn find_anew(command: &mut Command) -> &mut Command {
    for name in OF_ONE_REPOSITORY {
        command.env_remove(name);
    }
    command
}

/// How to run git: in which folder, and with which variables.
#[derive(Clone, Debug)]
pub(crate) struct Git<'a> {
    dir: &'a Path,
    variables: Vec<(&'static str, OsString)>,
}

/// The output of git in `dir`; an error if it fails.
pub(crate) fn git(dir: &Path, args: &[&str]) -> Result<String> {
    Git::at(dir).say(args)
}

impl<'a> Git<'a> {
    /// Git in the folder `dir`.
    pub(crate) fn at(dir: &'a Path) -> Git<'a> {
        Git { dir, variables: Vec::new() }
    }

    /// The same with another variable.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Git<'a> {
        self.variables.push((name, value.into()));
        self
    }

    /// The output of git; an error if it fails.
    pub(crate) fn say(&self, args: &[&str]) -> Result<String> {
        let answer = self.ask(args)?;
        if answer.code != Some(0) {
            bail!("git {}: {}", args[0], answer.err.trim());
        }
        Ok(answer.out)
    }

    /// The output of git, whether it fails or not.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<Answer> {
        let output =
            self.command(args).stdin(Stdio::null()).output().context("cannot start git")?;
        Ok(answer(&output))
    }

    /// The output of `second` when the output of `first` is piped into it.
    pub(crate) fn piped(&self, first: &[&str], second: &[&str]) -> Result<String> {
        let mut writer = self.command(first);
        writer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut writer = writer.spawn().context("cannot start git")?;
        let pipe = writer.stdout.take().context("git has no stdout")?;
        let output = self.command(second).stdin(Stdio::from(pipe)).output();
        let written = writer.wait().context("cannot wait for git")?;
        let answer = answer(&output.context("cannot start git")?);
        if !written.success() || answer.code != Some(0) {
            bail!("git {} | git {}: {}", first[0], second[0], answer.err.trim());
        }
        Ok(answer.out)
    }

    #[expect(clippy::disallowed_methods, reason = "asking git is what this file is for")]
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.current_dir(self.dir).args(READABLE).args(args);
        find_anew(&mut command).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

fn answer(output: &std::process::Output) -> Answer {
    Answer {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
