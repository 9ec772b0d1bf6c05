//! A git repository of an upstream or of a fork: only read, never written to.
//!
//! What git has to write along the way (trees of trial merges) goes to a temporary folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::git::{Git, git};
use crate::workspace::Workspace;

/// A repository, and the folder for what git writes along the way.
pub(crate) struct Repository {
    /// The path by which it was named.
    named: PathBuf,
    /// The top of its worktree, to which the paths in commits are relative; `named` if it is bare.
    dir: PathBuf,
    objects: PathBuf,
    scratch: TempDir,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its full hash.
    pub(crate) hash: String,
    /// The date of the commit, `2025-10-19`.
    pub(crate) date: String,
    /// Its parent; none for a root commit, of which merging in another project may add one.
    pub(crate) parent: Option<String>,
    /// The first line of its message.
    pub(crate) subject: String,
    /// The rest of its message.
    pub(crate) body: String,
    /// The files that it touches; a rename counts with both names.
    pub(crate) files: Vec<String>,
}

/// What picking a commit would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Forecast {
    /// It applies; the commit that this would make.
    Clean(String),
    /// It adds nothing: its changes are all there.
    Empty,
    /// It conflicts in these files.
    Conflict(Vec<String>),
}

/// Separate the records and fields of git's output.
const RECORD: char = '\u{1e}';
const FIELD: char = '\u{1f}';
/// Generated files: that two commits touch the same lines of one says nothing about the commits.
const GENERATED: &[&str] = &["Cargo.lock", "package-lock.json", "poetry.lock", "uv.lock"];

impl Repository {
    /// The repository at a path, or a local copy of the one at an address.
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

    /// The full hash of a revision.
    pub(crate) fn resolve(&self, revision: &str) -> Result<String> {
        let commit = format!("{revision}^{{commit}}");
        self.git().say(&["rev-parse", "--verify", "--end-of-options", &commit]).with_context(|| {
            // A CI checkout has no local branches.
            let theirs = format!("refs/remotes/origin/{revision}");
            let hint = match self.git().say(&["rev-parse", "--verify", "--quiet", &theirs]) {
                Ok(_) => format!("name `origin/{revision}`, which is one"),
                Err(_) => "fetch it there, or name another one".to_owned(),
            };
            format!("`{revision}` is not a commit of `{}`: {hint}", self.named.display())
        })
    }

    /// The merge base of two commits; an error if their histories are unrelated.
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

    /// The merge base of two commits; none if their histories are unrelated.
    pub(crate) fn common(&self, one: &str, other: &str) -> Result<Option<String>> {
        let answer = self.git().ask(&["merge-base", one, other])?;
        let common = answer.out.lines().next().filter(|_| answer.code == Some(0));
        Ok(common.map(str::to_owned))
    }

    /// The commits that `to` has and `from` lacks, oldest first. Merges are left out: the commits
    /// that they bring in are listed themselves.
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

    /// One commit, which must be neither a merge nor a root commit.
    pub(crate) fn change(&self, revision: &str) -> Result<Change> {
        let commit = self.resolve(revision)?;
        ensure!(
            self.parents(&commit)?.len() == 1,
            "`{revision}` is a merge, or the first commit of all: name the commits that it brings"
        );
        let mut one = self.changes(&format!("{commit}^"), &commit)?;
        one.pop().with_context(|| format!("git does not describe `{revision}`"))
    }

    /// The commits in `bad` and in none of `good`, those that halve them best first; `bad` is one
    /// of them.
    pub(crate) fn halves(&self, good: &[String], bad: &str) -> Result<Vec<String>> {
        let mut args = vec!["rev-list", "--bisect-all", bad, "--not"];
        args.extend(good.iter().map(String::as_str));
        let text = self.git().say(&args)?;
        // Each hash is followed by `(dist=3)`.
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

    /// The commits among `known` that added a line which `change` removes or is adjacent to.
    ///
    /// Only files that one of `known` touches are examined, and no generated ones.
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
            // Something without lines, such as the commit of a submodule, has no lines by other
            // commits.
            let is_without = ["no such path", "has only"].iter().any(|no| answer.err.contains(no));
            ensure!(answer.code == Some(0) || is_without, "git blame: {}", answer.err.trim());
            let authors = answer.out.lines().filter_map(|line| line.split(' ').next());
            needs.extend(authors.filter(|word| among.contains(word)).map(str::to_owned));
        }
        Ok(needs)
    }

    /// The patch id of each commit that `to` has and `from` lacks, by commit.
    pub(crate) fn patches(&self, from: &str, to: &str) -> Result<BTreeMap<String, String>> {
        let range = format!("{from}..{to}");
        let log = ["log", "--no-merges", "--format=medium", "--patch", "--no-ext-diff", &range];
        let text = self.git().piped(&log, &["patch-id", "--stable"])?;
        let both = text.lines().filter_map(|line| line.split_once(' '));
        Ok(both.map(|(patch, commit)| (commit.to_owned(), patch.to_owned())).collect())
    }

    /// What picking `change` onto `onto` would do. No worktree is touched.
    pub(crate) fn forecast(&self, onto: &str, change: &Change) -> Result<Forecast> {
        let base = match &change.parent {
            Some(parent) => parent.clone(),
            // Before a root commit there was nothing: `mktree` without input makes the empty tree.
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
            // git does not know an option.
            (Some(129), _) => bail!(
                "git merge-tree: {}; predicting conflicts takes git 2.40 or newer",
                answer.err.lines().next().unwrap_or_default()
            ),
            _ => bail!("git merge-tree: {}", answer.err.trim()),
        }
    }

    /// Commits `tree` on top of `parent`, in the temporary folder.
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

    /// Git without the user's configuration, which may have blame ignore the commits listed in a
    /// file and fail if that file is missing; messages are in English. As the configuration may
    /// also have declared the folder safe, callers must do so themselves.
    fn impersonal(&self) -> Git<'_> {
        self.git()
            .with("GIT_CONFIG_GLOBAL", "/dev/null")
            .with("GIT_CONFIG_NOSYSTEM", "1")
            .with("LC_ALL", "C")
    }

    /// Git that finds all objects of the repository, but writes new ones to the temporary folder.
    fn writing(&self) -> Git<'_> {
        self.git()
            .with("GIT_OBJECT_DIRECTORY", self.scratch.path())
            .with("GIT_ALTERNATE_OBJECT_DIRECTORIES", &self.objects)
    }
}

/// Whether this is the address of a remote repository.
fn is_address(place: &str) -> bool {
    place.contains("://")
        || (place.contains('@') && place.contains(':') && !Path::new(place).exists())
}

/// An address as messages show it: whatever precedes the `@` in a URL may be a secret.
fn shown(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// The local copy of the repository at an address, brought up to date.
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
    .with_context(|| format!("cannot copy `{}`", shown(address)))?;
    Ok(dir)
}

/// Copies the repository at an address to `dir`, by way of a folder beside it, so that a kill
/// leaves no partial copy.
fn copy(address: &str, folder: &Path, dir: &Path) -> Result<()> {
    let beside = tempfile::tempdir_in(folder).context("cannot make a folder for it")?;
    let copy = beside.path().join("copy.git");
    let text = copy.display().to_string();
    git(folder, &["clone", "--quiet", "--mirror", "--", address, &text])?;
    std::fs::rename(&copy, dir).with_context(|| format!("cannot create `{}`", dir.display()))
}

/// Fetches what is new, and updates the default branch, which a fetch does not.
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

/// Parses a commit from the fields that git was asked for, followed by the names of its files.
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

/// The old lines of each file that a patch without context removes or is adjacent to, as first and
/// last.
fn touched_lines(patch: &str) -> BTreeMap<String, Vec<(u64, u64)>> {
    let mut lines: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    let (mut file, mut in_head) = (None, false);
    for line in patch.lines() {
        if line.starts_with("diff --git ") {
            (file, in_head) = (None, true);
        } else if let (true, Some(name)) = (in_head, line.strip_prefix("--- ")) {
            // git writes a tab after a name with spaces.
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

/// The first line and the line count of the old side in a hunk header, `12,3 +12,4 @@`.
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

    #[test]
    fn an_address_is_shown_without_tokens() {
        assert_eq!(shown("https://me:secret@example.org/a@b.git"), "https://example.org/a@b.git");
        assert_eq!(shown("https://secret@example.org"), "https://example.org");
        for address in ["file:///srv/a", "git@example.org:a/b.git"] {
            assert_eq!(shown(address), address);
        }
    }
}
