//! The order of commits and their names: ours from git, the upstream's from the integration log.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use windtunnel_ledger::upstream::{Hash, Log};
use windtunnel_report::history::Commit;

use crate::Error;

/// Commits in order, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Commits {
    list: Vec<Commit>,
    places: HashMap<String, usize>,
}

/// Separates the parts of a commit, and ends it, with characters that no subject contains.
const FORMAT: &str = "--format=%H%x1f%cs%x1f%s%x1e";

impl Commits {
    /// The history of the head of the repository around `dir`; empty if git gives none.
    #[must_use]
    pub fn of_repository(dir: &Path) -> Commits {
        let text = git_log(dir).unwrap_or_default();
        let entries = text.split('\u{1e}').map(str::trim_start).filter(|entry| !entry.is_empty());
        Commits::of(entries.filter_map(entry).collect())
    }

    /// The commits of an integration log, with links to the upstream's web pages.
    #[must_use]
    pub fn of_log(log: &Log) -> Commits {
        // Only an address of a web page becomes a link.
        let web =
            Some(log.repository.trim_end_matches('/')).filter(|url| url.starts_with("https://"));
        let commits = log.commits.iter().map(|commit| Commit {
            hash: commit.hash.as_str().to_owned(),
            subject: commit.subject.clone().unwrap_or_else(|| commit.change.clone()),
            pr: commit.pr,
            date: commit.date.clone(),
            link: web.map(|web| format!("{web}/commit/{}", commit.hash.as_str())),
            pr_link: web.zip(commit.pr).map(|(web, pr)| format!("{web}/pull/{pr}")),
        });
        Commits::of(commits.collect())
    }

    fn of(list: Vec<Commit>) -> Commits {
        let places = list.iter().enumerate().map(|(place, commit)| (commit.hash.clone(), place));
        Commits { places: places.collect(), list }
    }

    /// The position of a commit in the order; none if it is unknown. A `+` for changed files does
    /// not count, and either hash may be a prefix of the other.
    #[must_use]
    pub fn place(&self, commit: &str) -> Option<usize> {
        let hash = commit.trim_end_matches('+');
        if let Some(place) = self.places.get(hash) {
            return Some(*place);
        }
        let hash = Hash::try_from(hash.to_owned()).ok()?;
        let same = |commit: &Commit| {
            Hash::try_from(commit.hash.clone()).is_ok_and(|known| known.same(&hash))
        };
        self.list.iter().position(same)
    }

    /// The commit at a position.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&Commit> {
        self.list.get(place)
    }

    /// The number of commits.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }
}

#[expect(clippy::disallowed_methods, reason = "the order of commits is git's")]
fn git_log(dir: &Path) -> Option<String> {
    let mut git = Command::new("git");
    // Inside a git hook, these would name the hook's repository.
    git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    // The user's configuration could put colours and signatures between the parts.
    git.args(["-c", "color.ui=false", "-c", "log.showSignature=false"]);
    git.arg("-C").arg(dir).args(["log", "--encoding=UTF-8", "--reverse", "--topo-order", FORMAT]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn entry(text: &str) -> Option<Commit> {
    let mut parts = text.splitn(3, '\u{1f}');
    let (hash, date, subject) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Commit {
        hash: hash.to_owned(),
        subject: subject.to_owned(),
        pr: pull_request(subject),
        date: date.to_owned(),
        link: None,
        pr_link: None,
    })
}

/// The pull request number that hosting services write into the subject of a merge: `… (#12)`, or
/// `Merge pull request #12 from …`.
fn pull_request(subject: &str) -> Option<u32> {
    let squashed = subject.strip_suffix(')').and_then(|rest| Some(rest.rsplit_once("(#")?.1));
    let merged =
        subject.strip_prefix("Merge pull request #").and_then(|rest| rest.split(' ').next());
    squashed.or(merged)?.parse().ok()
}

/// Reads an integration log; none if there is no such file.
///
/// # Errors
/// If the file is not an integration log.
pub fn read_log(path: &Path) -> Result<Option<Log>, Error> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(None) };
    let reason =
        |error: toml::de::Error| Error::Toml { path: path.to_owned(), reason: error.to_string() };
    toml::from_str(&text).map(Some).map_err(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_known_by_the_marks_of_services() {
        assert_eq!(pull_request("Read weights in parallel (#12)"), Some(12));
        assert_eq!(pull_request("Merge pull request #7 from a/b"), Some(7));
        assert_eq!(pull_request("Read weights (twice)"), None);
        assert_eq!(pull_request("#12"), None);
    }

    #[test]
    fn a_commit_is_found_by_the_beginning_of_its_hash_and_with_changed_files() {
        let whole = "0123456789abcdef0123456789abcdef01234567";
        let line = format!("{whole}\u{1f}2026-01-02\u{1f}Do this\u{1f}and that");
        let commit = entry(&line).unwrap();
        assert_eq!(commit.subject, "Do this\u{1f}and that");
        let commits = Commits::of(vec![commit]);
        assert_eq!(commits.place(&format!("{whole}+")), Some(0));
        assert_eq!(commits.place("0123456789"), Some(0));
        assert_eq!(commits.place("ffffffffff"), None);
        assert_eq!(commits.place(""), None);
    }
}
