//! Scripted repositories. Names and times are fixed, so that hashes are the same everywhere.

use std::fs;
use std::path::{Path, PathBuf};

use crate::sandbox::git_in;

/// A repository written commit by commit.
pub(crate) struct Script {
    pub(crate) dir: PathBuf,
    /// Days since the first commit.
    day: std::cell::Cell<u32>,
}

impl Script {
    /// An empty repository in a new folder.
    pub(crate) fn new(dir: &Path) -> Script {
        fs::create_dir_all(dir).unwrap();
        let script = Script { dir: dir.to_owned(), day: 0.into() };
        script.git(&["init", "--quiet", "--object-format=sha1", "--initial-branch=upstream"]);
        script.git(&["config", "user.name", "test"]);
        script.git(&["config", "user.email", "test@localhost"]);
        script
    }

    /// The output of git, run at the time of the script's current day.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        let (code, out) = self.try_git(args);
        assert_eq!(code, 0, "git {args:?}: {out}");
        out
    }

    pub(crate) fn try_git(&self, args: &[&str]) -> (i32, String) {
        let time = format!("2026-01-{:02}T12:00:00Z", 1 + self.day.get());
        let mut command = git_in(&self.dir);
        command.args(args);
        for (name, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_AUTHOR_NAME", "test"),
            ("GIT_AUTHOR_EMAIL", "test@localhost"),
            ("GIT_COMMITTER_NAME", "test"),
            ("GIT_COMMITTER_EMAIL", "test@localhost"),
            ("GIT_AUTHOR_DATE", &time),
            ("GIT_COMMITTER_DATE", &time),
        ] {
            command.env(name, value);
        }
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap().trim_end().to_owned())
    }

    /// Commits files with these contents, and returns the hash.
    pub(crate) fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        self.day.set(self.day.get() + 1);
        for (name, text) in files {
            let path = self.dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    pub(crate) fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }
}

/// Builds a toy engine: its probe is the fake one, with everything in the folder `plants` planted
/// in it.
pub(crate) const BUILD: &str = "cat \"$1\" > probe\n\
                                printf '\\n#plant %s' \"$(cat plants/* | tr '\\n' ' ')\" >> probe\n\
                                chmod +x probe\n";

/// The commits of an upstream, oldest first, and a fork of it.
pub(crate) struct Fork {
    pub(crate) script: Script,
    /// Adds a file of its own: applies cleanly.
    pub(crate) docs: String,
    /// Changes a line that the fork has changed: conflicts.
    pub(crate) conflict: String,
    /// Adds a file.
    pub(crate) context: String,
    /// Changes lines of that file, and so needs that commit.
    pub(crate) dependent: String,
    /// Makes the engine slower.
    pub(crate) slow: String,
    /// Makes its output wrong.
    pub(crate) wrong: String,
    /// Does not build.
    pub(crate) unbuildable: String,
    /// Comes after all of these, and applies.
    pub(crate) last: String,
}

impl Fork {
    pub(crate) fn new(dir: &Path) -> Fork {
        let script = Script::new(dir);
        let sampler = "first\ntop-k\ntop-p\nlast\n";
        script.commit(
            "Toy engine",
            &[
                ("build.sh", BUILD),
                (".gitignore", "/probe\n"),
                ("plants/a", "noise=0.5\nseed=1\n"),
                ("src/sampler.rs", sampler),
            ],
        );
        let start = script.head();
        let docs = script.commit("Describe the engine (#1)", &[("docs/guide.md", "A guide.\n")]);
        let conflict = script.commit(
            "Fix wrong sampler order (#2)",
            &[("src/sampler.rs", &sampler.replace("top-k\n", "top-k and min-p\n"))],
        );
        let context =
            script.commit("Support long contexts", &[("src/context.rs", "one\ntwo\nthree\n")]);
        let dependent = script
            .commit("Tune long contexts", &[("src/context.rs", "one\ntwo, but longer\nthree\n")]);
        let slow = script.commit("Refactor decode", &[("plants/slow", "decode=9\n")]);
        let wrong = script.commit("Faster sampling", &[("plants/wrong", "wrong\n")]);
        let unbuildable =
            script.commit("Bump the compiler", &[("build.sh", "no-such-compiler \"$1\"\n")]);
        script.git(&["rm", "--quiet", "plants/slow", "plants/wrong"]);
        script.commit("Calm down (#8)", &[("build.sh", BUILD), ("src/idle.rs", "sleep\n")]);
        let named = script.commit("Count blocks (#9)", &[("src/blocks.rs", "count\n")]);
        let copied = script.commit("Trim lines (#10)", &[("src/lines.rs", "trim\n")]);
        script.commit("Rename words", &[("src/words.rs", "word\n")]);
        let last = script.commit("Add a tokenizer", &[("src/tokenizer.rs", "split\n")]);

        script.git(&["checkout", "--quiet", "-b", "fork", &start]);
        script.commit(
            "Our own order",
            &[("src/sampler.rs", &sampler.replace("top-k\n", "top-k, ours\n"))],
        );
        script.git(&["cherry-pick", "-x", &named]);
        script.git(&["cherry-pick", &copied]);
        script.commit("Rename words (#11)", &[("src/words.rs", "another word\n")]);
        Fork { script, docs, conflict, context, dependent, slow, wrong, unbuildable, last }
    }
}
