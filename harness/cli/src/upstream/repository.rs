//! A git repository of an upstream or of a fork: read, and never written to.
//!
//! What git has to write down on the way (trees that a merge would give) lies in a folder of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::git::{Git, git};
use crate::workspace::Workspace;

/// A repository, and the folder for what git writes on the way.
pub(crate) struct Repository {
    /// Where it was said to be.
    named: PathBuf,
    /// The top of its work tree, where files are called as in its commits; a bare one has none.
    dir: PathBuf,
    objects: PathBuf,
    scratch: TempDir,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its whole hash.
    pub(crate) hash: String,
    /// The day of its commit, `2025-10-19`.
    pub(crate) date: String,
    /// The commit before it; none of the first one of all, of which another project may bring one more.
    pub(crate) parent: Option<String>,
    /// The first line of its message.
    pub(crate) subject: String,
    /// The rest of it.
    pub(crate) body: String,
    /// The files that it touches, under both names where it renames.
    pub(crate) files: Vec<String>,
}

/// What picking a commit would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Forecast {
    /// It applies; the commit that it would make.
    Clean(String),
    /// It adds nothing: all of it is there.
    Empty,
    /// It does not apply in these files.
    Conflict(Vec<String>),
}

/// Begins a record and parts its fields in what git is asked for.
const RECORD: char = '\u{1e}';
const FIELD: char = '\u{1f}';
/// Files that a program writes: that two commits touch their lines says nothing of the commits.
const GENERATED: &[&str] = &["Cargo.lock", "package-lock.json", "poetry.lock", "uv.lock"];

impl Repository {
    /// The repository at a path, or a copy of that at an address.
    pub(crate) fn open(workspace: &Workspace, place: &str) -> Result<Repository> {
        match is_address(place) {
            true => Repository::at(&copied(workspace, place)?),
            false => Repository::at(Path::new(place)),
        }
    }

    /// The repository at `dir`.
    pub(crate) fn at(dir: &Path) -> Result<Repository> {
        ensure!(
            dir.is_dir(),
            "there is no folder `{}`: name a clone, or the address of a repository",
            dir.display()
        );
        let objects = git(dir, &["rev-parse", "--path-format=absolute", "--git-path", "objects"])
            .with_context(|| format!("`{}` is not a git repository", dir.display()))?;
        let top = git(dir, &["rev-parse", "--show-toplevel"]);
        let top = top.map_or_else(|_| dir.to_owned(), PathBuf::from);
        let scratch = tempfile::tempdir().context("cannot make a folder for git to write to")?;
        Ok(Repository { named: dir.to_owned(), dir: top, objects: objects.into(), scratch })
    }

    /// The whole hash of a revision.
    pub(crate) fn resolve(&self, revision: &str) -> Result<String> {
        let commit = format!("{revision}^{{commit}}");
        self.git().say(&["rev-parse", "--verify", "--end-of-options", &commit]).with_context(|| {
            // A checkout for CI has no branch of its own.
            let theirs = format!("refs/remotes/origin/{revision}");
            let hint = match self.git().say(&["rev-parse", "--verify", "--quiet", &theirs]) {
                Ok(_) => format!("name `origin/{revision}`, which is one"),
                Err(_) => "fetch it there, or name another one".to_owned(),
            };
            format!("`{revision}` is not a commit of `{}`: {hint}", self.named.display())
        })
    }

    /// The newest commit that two have in common.
    pub(crate) fn parting(&self, one: &str, other: &str) -> Result<String> {
        let common = self.common(one, other)?;
        common.with_context(|| {
            let shallow = self.git().say(&["rev-parse", "--is-shallow-repository"]);
            let hint = match shallow.as_deref() {
                Ok("true") => "; this clone is shallow: `git fetch --unshallow`",
                _ => "",
            };
            format!("`{one}` and `{other}` have no commit in common{hint}")
        })
    }

    /// The same; none where they have none.
    pub(crate) fn common(&self, one: &str, other: &str) -> Result<Option<String>> {
        let answer = self.git().ask(&["merge-base", one, other])?;
        let common = answer.out.lines().next().filter(|_| answer.code == Some(0));
        Ok(common.map(str::to_owned))
    }

    /// The commits that `to` has and `from` has not, the oldest first. Merges are none of them: what
    /// they bring are commits of their own.
    pub(crate) fn changes(&self, from: &str, to: &str) -> Result<Vec<Change>> {
        let format = format!("--format={RECORD}%H{FIELD}%cs{FIELD}%P{FIELD}%s{FIELD}%b{FIELD}");
        let text = self.git().say(&[
            "log",
            "--reverse",
            "--topo-order",
            "--no-merges",
            "--no-renames",
            "--name-only",
            &format,
            &format!("{from}..{to}"),
        ])?;
        text.split(RECORD).skip(1).map(change).collect()
    }

    /// One commit, which must be no merge.
    pub(crate) fn change(&self, revision: &str) -> Result<Change> {
        let commit = self.resolve(revision)?;
        ensure!(
            self.parents(&commit)?.len() == 1,
            "`{revision}` is a merge, or the first commit of all: name the commits that it brings"
        );
        let mut one = self.changes(&format!("{commit}^"), &commit)?;
        one.pop().with_context(|| format!("git does not describe `{revision}`"))
    }

    /// The commits that `bad` has and none of `good` has, those that part them best first; `bad` is
    /// one of them.
    pub(crate) fn halves(&self, good: &[String], bad: &str) -> Result<Vec<String>> {
        let mut args = vec!["rev-list", "--bisect-all", bad, "--not"];
        args.extend(good.iter().map(String::as_str));
        let text = self.git().say(&args)?;
        // After each hash stands `(dist=3)`.
        let hashes = text.lines().filter_map(|line| line.split(' ').next());
        Ok(hashes.filter(|hash| !hash.is_empty()).map(str::to_owned).collect())
    }

    /// The parents of a commit.
    pub(crate) fn parents(&self, commit: &str) -> Result<Vec<String>> {
        let text = self.git().say(&["rev-list", "--parents", "--max-count=1", commit])?;
        Ok(text.split(' ').skip(1).map(str::to_owned).collect())
    }

    /// The first line of a commit's message.
    pub(crate) fn subject(&self, commit: &str) -> Result<String> {
        self.git().say(&["log", "-1", "--format=%s", commit])
    }

    /// The commits among `known` that added a line which `change` removes or stands beside.
    ///
    /// Only files that one of `known` touches are looked at, and none that a program writes.
    pub(crate) fn needs(
        &self,
        from: &str,
        change: &Change,
        known: &[Change],
    ) -> Result<BTreeSet<String>> {
        let touched: BTreeSet<&str> =
            known.iter().flat_map(|known| &known.files).map(String::as_str).collect();
        let mine = |file: &&String| touched.contains(file.as_str()) && !is_generated(file);
        let files: Vec<&str> = change.files.iter().filter(mine).map(String::as_str).collect();
        if files.is_empty() {
            return Ok(BTreeSet::new());
        }
        let show = ["diff-tree", "-p", "--unified=0", "--no-renames", "--no-ext-diff", "-r"];
        let rest = ["--no-commit-id", "--root", &change.hash, "--"];
        let patch = self.git().say(&[&show, &rest[..], &files].concat())?;
        let among: BTreeSet<&str> = known.iter().map(|known| known.hash.as_str()).collect();
        let mut needs = BTreeSet::new();
        for (file, lines) in touched_lines(&patch) {
            let range = format!("{from}..{}^", change.hash);
            let lines = lines
                .iter()
                .flat_map(|(first, last)| ["-L".to_owned(), format!("{first},{last}")].into_iter());
            let blame = ["-c", "safe.directory=*", "blame", "--porcelain"];
            let mut args: Vec<String> = blame.map(str::to_owned).into();
            args.extend(lines);
            args.extend([range, "--".to_owned(), file]);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let answer = self.impersonal().ask(&args)?;
            // A file that is none of lines, as the commit of a submodule, has no lines of others.
            let is_without = ["no such path", "has only"].iter().any(|no| answer.err.contains(no));
            ensure!(answer.code == Some(0) || is_without, "git blame: {}", answer.err.trim());
            let authors = answer.out.lines().filter_map(|line| line.split(' ').next());
            needs.extend(authors.filter(|word| among.contains(word)).map(str::to_owned));
        }
        Ok(needs)
    }

    /// The commits by the patches that they make, of those that `to` has and `from` has not.
    pub(crate) fn patches(&self, from: &str, to: &str) -> Result<BTreeMap<String, String>> {
        let range = format!("{from}..{to}");
        let log = ["log", "--no-merges", "--format=medium", "--patch", "--no-ext-diff", &range];
        let text = self.git().piped(&log, &["patch-id", "--stable"])?;
        let both = text.lines().filter_map(|line| line.split_once(' '));
        Ok(both.map(|(patch, commit)| (commit.to_owned(), patch.to_owned())).collect())
    }

    /// What picking `change` on top of `onto` would do. No work tree is touched.
    pub(crate) fn forecast(&self, onto: &str, change: &Change) -> Result<Forecast> {
        let base = match &change.parent {
            Some(parent) => parent.clone(),
            // Before the first commit there was nothing: that is the tree of what git reads from nowhere.
            None => self.commit(&self.writing().say(&["mktree"])?, None)?,
        };
        let base = format!("--merge-base={base}");
        let answer = self.writing().ask(&[
            "merge-tree",
            "--write-tree",
            "--name-only",
            "--no-messages",
            &base,
            onto,
            &change.hash,
        ])?;
        let mut lines = answer.out.lines();
        match (answer.code, lines.next()) {
            (Some(0), Some(tree)) => {
                if *tree == self.writing().say(&["rev-parse", &format!("{onto}^{{tree}}")])? {
                    return Ok(Forecast::Empty);
                }
                let made = self.commit(tree, Some(onto))?;
                Ok(Forecast::Clean(made))
            }
            (Some(1), Some(_)) => {
                let mut files: Vec<String> =
                    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect();
                files.sort();
                files.dedup();
                Ok(Forecast::Conflict(files))
            }
            // It does not know an option.
            (Some(129), _) => bail!(
                "git merge-tree: {}; predicting conflicts takes git 2.40 or newer",
                answer.err.lines().next().unwrap_or_default()
            ),
            _ => bail!("git merge-tree: {}", answer.err.trim()),
        }
    }

    /// A commit of `tree` on top of `parent`, in the folder of ours.
    fn commit(&self, tree: &str, parent: Option<&str>) -> Result<String> {
        let who = [
            ("GIT_AUTHOR_NAME", "windtunnel"),
            ("GIT_AUTHOR_EMAIL", "windtunnel@localhost"),
            ("GIT_COMMITTER_NAME", "windtunnel"),
            ("GIT_COMMITTER_EMAIL", "windtunnel@localhost"),
        ];
        let git = who.into_iter().fold(self.writing(), |git, (name, value)| git.with(name, value));
        let mut args = vec!["commit-tree", tree, "-m", "forecast"];
        args.extend(parent.into_iter().flat_map(|parent| ["-p", parent]));
        git.say(&args)
    }

    fn git(&self) -> Git<'_> {
        Git::at(&self.dir)
    }

    /// Git without the configuration of the user, which may have blame pass over commits that a file
    /// names, and refuse where there is none; its words are in English. Whoever calls it says that the
    /// folder is safe, as that configuration may have done.
    fn impersonal(&self) -> Git<'_> {
        self.git()
            .with("GIT_CONFIG_GLOBAL", "/dev/null")
            .with("GIT_CONFIG_NOSYSTEM", "1")
            .with("LC_ALL", "C")
    }

    /// Git that finds all objects of the repository, and writes new ones beside it.
    fn writing(&self) -> Git<'_> {
        self.git()
            .with("GIT_OBJECT_DIRECTORY", self.scratch.path())
            .with("GIT_ALTERNATE_OBJECT_DIRECTORIES", &self.objects)
    }
}

/// Whether this names a repository elsewhere.
fn is_address(place: &str) -> bool {
    place.contains("://")
        || (place.contains('@') && place.contains(':') && !Path::new(place).exists())
}

/// A copy of the repository at an address, brought up to date.
fn copied(workspace: &Workspace, address: &str) -> Result<PathBuf> {
    let name = format!("{:016x}.git", xxhash_rust::xxh3::xxh3_64(address.as_bytes()));
    let folder = workspace.builds().join("upstreams");
    let dir = folder.join(name);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create `{}`", folder.display()))?;
    match dir.is_dir() {
        true => bring_up_to_date(&dir),
        false => copy(address, &folder, &dir),
    }
    .with_context(|| format!("cannot copy `{address}`"))?;
    Ok(dir)
}

/// Copies what is at an address to `dir`, by way of a folder beside it: what a kill leaves is no copy.
fn copy(address: &str, folder: &Path, dir: &Path) -> Result<()> {
    let beside = tempfile::tempdir_in(folder).context("cannot make a folder for it")?;
    let copy = beside.path().join("copy.git");
    let text = copy.display().to_string();
    git(folder, &["clone", "--quiet", "--mirror", "--", address, &text])?;
    std::fs::rename(&copy, dir).with_context(|| format!("cannot create `{}`", dir.display()))
}

/// Fetches what is new, and which branch is the default one now, of which a fetch says nothing.
fn bring_up_to_date(dir: &Path) -> Result<()> {
    git(dir, &["fetch", "--quiet", "--prune", "origin"])?;
    let heads = git(dir, &["ls-remote", "--symref", "origin", "HEAD"])?;
    let named = heads.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"));
    if let Some(branch) = named {
        git(dir, &["symbolic-ref", "HEAD", branch])?;
    }
    Ok(())
}

fn is_generated(file: &str) -> bool {
    GENERATED.iter().any(|name| file == *name || file.ends_with(&format!("/{name}")))
}

/// A commit from the fields that git was asked for, and the names of its files after them.
fn change(record: &str) -> Result<Change> {
    let fields: Vec<&str> = record.split(FIELD).collect();
    let [hash, date, parent, subject, body, files] = fields[..] else {
        bail!("git describes a commit in {} fields instead of 6", fields.len());
    };
    let files = files.lines().filter(|line| !line.is_empty());
    Ok(Change {
        hash: hash.to_owned(),
        date: date.to_owned(),
        parent: Some(parent.to_owned()).filter(|parent| !parent.is_empty()),
        subject: subject.to_owned(),
        body: body.trim().to_owned(),
        files: files.map(str::to_owned).collect(),
    })
}

/// The lines of each file before a patch without context that it removes or stands beside, as first
/// and last.
fn touched_lines(patch: &str) -> BTreeMap<String, Vec<(u64, u64)>> {
    let mut lines: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    let (mut file, mut in_head) = (None, false);
    for line in patch.lines() {
        if line.starts_with("diff --git ") {
            (file, in_head) = (None, true);
        } else if let (true, Some(name)) = (in_head, line.strip_prefix("--- ")) {
            // After a name with spaces git writes a tabulator.
            file = name.strip_prefix("a/").map(|name| name.trim_end_matches('\t').to_owned());
        } else if let Some(rest) = line.strip_prefix("@@ -") {
            in_head = false;
            let (Some(file), Some((first, count))) = (&file, hunk(rest)) else { continue };
            let range = match (first, count) {
                (0, _) => (1, 1),
                (first, 0) => (first, first + 1),
                (first, count) => (first, first + count - 1),
            };
            lines.entry(file.clone()).or_default().push(range);
        }
    }
    lines
}

/// The first line and the number of lines of the old side in the head of a hunk, `12,3 +12,4 @@`.
fn hunk(rest: &str) -> Option<(u64, u64)> {
    let old = rest.split(' ').next()?;
    match old.split_once(',') {
        Some((first, count)) => Some((first.parse().ok()?, count.parse().ok()?)),
        None => Some((old.parse().ok()?, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_touches_the_lines_that_it_removes_and_those_beside_what_it_adds() {
        let patch = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -3 +3 @@ fn\n--- a/no head\n+b\n\
                     @@ -7,2 +6,0 @@\n-c\n-d\n@@ -12,0 +10,3 @@\n+e\n\
                     diff --git a/with space b/with space\n--- a/with space\t\n+++ b/with space\t\n\
                     @@ -0,0 +1 @@\n+f\n\
                     diff --git a/new b/new\n--- /dev/null\n+++ b/new\n@@ -0,0 +1,9 @@\n+g\n";
        let lines = touched_lines(patch);
        assert_eq!(lines["x"], [(3, 3), (7, 8), (12, 13)]);
        assert_eq!(lines["with space"], [(1, 1)]);
        assert_eq!(lines.len(), 2, "what is new has no lines of others");
    }

    #[test]
    fn addresses_are_told_from_folders() {
        for address in ["https://example.org/a.git", "file:///srv/a", "git@example.org:a/b.git"] {
            assert!(is_address(address), "{address}");
        }
        for folder in [".", "../fork", "/srv/clone"] {
            assert!(!is_address(folder), "{folder}");
        }
    }
}
