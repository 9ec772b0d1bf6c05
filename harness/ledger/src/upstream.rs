//! The integration log: the state of every upstream commit that was considered.
//!
//! It has the structure of `engine/upstream.toml`; the caller reads the file, and says which guards
//! exist.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Every upstream commit that was considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Log {
    /// The URL or path of the upstream repository.
    pub repository: String,
    /// The newest commit up to which all commits were considered.
    pub considered: Hash,
    /// The commits: those of the range up to `considered` in their order, then individual later
    /// ones.
    #[serde(rename = "commit")]
    pub commits: Vec<Commit>,
}

/// One upstream commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// Its hash, complete or abbreviated.
    pub hash: Hash,
    /// The number of its pull request, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pr: Option<u32>,
    /// The day of the commit, such as `2025-10-19`.
    pub date: String,
    /// The first line of its message, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The part of an engine that it touches.
    pub area: String,
    /// How much it matters.
    pub priority: Priority,
    /// Its state here.
    pub state: State,
    /// What it changed upstream.
    pub change: String,
    /// Why it has this state: what is here instead, or what is missing.
    pub reason: String,
    /// Commits without which this one is wrong or incomplete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Hash>,
    /// What would catch its loss.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<Guard>,
    /// The files that it touches upstream, until somebody has read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// The hash of a commit, complete or abbreviated: at least nine hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(String);

/// Text that is not a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a commit hash: write 9 to 40 digits of 0-9 and a-f")]
pub struct NoHash(String);

impl TryFrom<String> for Hash {
    type Error = NoHash;

    fn try_from(text: String) -> Result<Hash, NoHash> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits && (9..=40).contains(&text.len()) { Ok(Hash(text)) } else { Err(NoHash(text)) }
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> String {
        hash.0
    }
}

impl Hash {
    /// The hash as text, as far as it is known.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first nine digits.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..9]
    }

    /// Whether both can be hashes of the same commit: one is a prefix of the other.
    #[must_use]
    pub fn same(&self, other: &Hash) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.short())
    }
}

/// What would catch the loss of a commit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Guard {
    /// A scenario, by its path from the root of the workspace.
    Scenario(String),
    /// A test, by the path of its file from the root of the workspace and its name.
    Test {
        /// The file.
        file: String,
        /// The name of the function.
        name: String,
    },
}

/// Text that names neither a scenario nor a test.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a guard: write the file of a scenario, `scenarios/….toml`, or a test, `FILE.rs::NAME`"
)]
pub struct NoGuard(String);

impl TryFrom<String> for Guard {
    type Error = NoGuard;

    fn try_from(text: String) -> Result<Guard, NoGuard> {
        match text.split_once("::") {
            Some((file, name)) if file.ends_with(".rs") && !name.is_empty() => {
                Ok(Guard::Test { file: file.to_owned(), name: name.to_owned() })
            }
            None if text.starts_with("scenarios/") && text.ends_with(".toml") => {
                Ok(Guard::Scenario(text))
            }
            _ => Err(NoGuard(text)),
        }
    }
}

impl From<Guard> for String {
    fn from(guard: Guard) -> String {
        guard.to_string()
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::Scenario(file) => f.write_str(file),
            Guard::Test { file, name } => write!(f, "{file}::{name}"),
        }
    }
}

/// How much a commit matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Priority {
    /// Something is wrong without it.
    P1,
    /// Something is missing without it.
    P2,
    /// It would be better with it.
    P3,
    /// It hardly matters.
    P4,
}

impl Priority {
    /// Every priority, the most important first.
    pub const ALL: [Priority; 4] = [Priority::P1, Priority::P2, Priority::P3, Priority::P4];
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Priority::P1 => "P1",
            Priority::P2 => "P2",
            Priority::P3 => "P3",
            Priority::P4 => "P4",
        })
    }
}

/// The state of an upstream commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its behaviour is here, and a guard would fail without it.
    Integrated,
    /// It is wanted, but not here yet.
    Deferred,
    /// It is not wanted.
    Skipped,
    /// There is nothing here that it could change.
    NotApplicable,
    /// Nobody has looked at it yet.
    New,
}

impl State {
    /// Every state.
    pub const ALL: [State; 5] =
        [State::Integrated, State::Deferred, State::Skipped, State::NotApplicable, State::New];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Integrated => "integrated",
            State::Deferred => "deferred",
            State::Skipped => "skipped",
            State::NotApplicable => "not-applicable",
            State::New => "new",
        })
    }
}

/// The parts of an engine that a commit may touch.
pub const AREAS: [&str; 14] = [
    "python",
    "docs",
    "build",
    "embedding",
    "audio",
    "vision",
    "sampling",
    "scheduling",
    "cuda",
    "attention",
    "placement",
    "loading",
    "text",
    "engine",
];

/// A contradiction in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// A commit has an unknown area.
    #[error("{commit} has the unknown area `{area}`; known: {}", AREAS.join(", "))]
    UnknownArea {
        /// The commit.
        commit: Hash,
        /// Its area in the log.
        area: String,
    },
    /// A commit's date is not a day.
    #[error("{commit} has the date `{date}`, which is not a day: write it like 2025-10-19")]
    NoDay {
        /// The commit.
        commit: Hash,
        /// Its date in the log.
        date: String,
    },
    /// Two entries describe the same commit.
    #[error("{0} is entered twice")]
    Twice(Hash),
    /// The newest considered commit has no entry.
    #[error("`considered` is {0}, which has no entry")]
    ConsideredUnknown(Hash),
    /// A commit needs one that has no entry.
    #[error("{commit} needs {needs}, which has no entry")]
    NeedsUnknown {
        /// The commit.
        commit: Hash,
        /// The missing commit.
        needs: Hash,
    },
    /// A commit is integrated without another that it needs.
    #[error("{commit} is integrated, but {needs}, which it needs, is {state}")]
    NeedsMissing {
        /// The commit.
        commit: Hash,
        /// The other commit.
        needs: Hash,
        /// The state of the other commit.
        state: State,
    },
    /// A commit is integrated, but nothing would catch its loss.
    #[error(
        "{0} is integrated, but has no guard: name a test or a scenario that would fail without it"
    )]
    Unguarded(Hash),
    /// A guard does not exist.
    #[error("{commit} is guarded by `{guard}`: {problem}")]
    NoSuchGuard {
        /// The commit.
        commit: Hash,
        /// Its guard.
        guard: Guard,
        /// What is wrong with it.
        problem: String,
    },
}

impl Log {
    /// The commit whose hash begins with `digits`, if there is exactly one. If the log abbreviates
    /// the hash, `digits` may also be longer.
    #[must_use]
    pub fn find(&self, digits: &str) -> Option<&Commit> {
        let begins = |commit: &&Commit| {
            let known = commit.hash.as_str();
            known.starts_with(digits) || digits.starts_with(known)
        };
        let mut found = self.commits.iter().filter(begins);
        found.next().filter(|_| !digits.is_empty() && found.next().is_none())
    }

    /// The index of a commit in the log; none if it has no entry.
    #[must_use]
    pub fn position(&self, hash: &Hash) -> Option<usize> {
        self.commits.iter().position(|commit| commit.hash.same(hash))
    }

    fn entry(&self, hash: &Hash) -> Option<&Commit> {
        self.commits.iter().find(|commit| commit.hash.same(hash))
    }

    /// All contradictions in the log; `exists` says what is wrong with a guard.
    pub fn check(
        &self,
        mut exists: impl FnMut(&Guard) -> Result<(), String>,
    ) -> Vec<Contradiction> {
        let mut found = Vec::new();
        if self.entry(&self.considered).is_none() {
            found.push(Contradiction::ConsideredUnknown(self.considered.clone()));
        }
        let mut seen = BTreeSet::new();
        for commit in &self.commits {
            let hash = || commit.hash.clone();
            if !seen.insert(commit.hash.short()) {
                found.push(Contradiction::Twice(hash()));
            }
            if !AREAS.contains(&&*commit.area) {
                found
                    .push(Contradiction::UnknownArea { commit: hash(), area: commit.area.clone() });
            }
            if !is_day(&commit.date) {
                found.push(Contradiction::NoDay { commit: hash(), date: commit.date.clone() });
            }
            let integrated = commit.state == State::Integrated;
            for needs in &commit.needs {
                let (commit, needs) = (hash(), needs.clone());
                match self.entry(&needs).map(|entry| entry.state) {
                    None => found.push(Contradiction::NeedsUnknown { commit, needs }),
                    Some(State::Integrated | State::NotApplicable) => {}
                    Some(state) if integrated => {
                        found.push(Contradiction::NeedsMissing { commit, needs, state });
                    }
                    Some(_) => {}
                }
            }
            if integrated && commit.guards.is_empty() {
                found.push(Contradiction::Unguarded(hash()));
            }
            for guard in &commit.guards {
                if let Err(problem) = exists(guard) {
                    let (commit, guard) = (hash(), guard.clone());
                    found.push(Contradiction::NoSuchGuard { commit, guard, problem });
                }
            }
        }
        found
    }
}

/// Whether `text` is a valid date such as `2025-10-19`.
fn is_day(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let digits = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    let numbers = parts.iter().map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>();
    let Some([year, month, day]) = numbers.as_deref() else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    digits && parts.iter().map(|part| part.len()).eq([4, 2, 2]) && (1..=days).contains(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"
        repository = "https://example.org/upstream"
        considered = "bbbbbbbbb"

        [[commit]]
        hash = "aaaaaaaaa0"
        date = "2025-01-01"
        area = "engine"
        priority = "P1"
        state = "integrated"
        change = "a"
        reason = "b"
        needs = ["bbbbbbbbb"]
        guards = ["scenarios/guards/idle.toml", "engine/src/lib.rs::a_test"]

        [[commit]]
        hash = "bbbbbbbbb1"
        pr = 7
        date = "2025-01-02"
        subject = "Subject"
        area = "engine"
        priority = "P3"
        state = "not-applicable"
        change = "a"
        reason = "b"
    "#;

    fn log(from: &str, to: &str) -> Log {
        assert!(LOG.contains(from), "{from}");
        toml::from_str(&LOG.replacen(from, to, 1)).unwrap()
    }

    fn check(from: &str, to: &str, exists: Result<(), String>) -> Vec<String> {
        let found = log(from, to).check(|_| exists.clone());
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_log_that_holds_has_no_contradictions() {
        assert_eq!(check("aa", "aa", Ok(())), Vec::<String>::new());
    }

    #[test]
    fn every_contradiction_is_named() {
        let needs = "needs = [\"bbbbbbbbb\"]";
        assert_eq!(
            check("not-applicable", "deferred", Ok(())),
            ["aaaaaaaaa is integrated, but bbbbbbbbb, which it needs, is deferred"]
        );
        assert_eq!(
            check(needs, "needs = [\"ccccccccc\"]", Ok(())),
            ["aaaaaaaaa needs ccccccccc, which has no entry"]
        );
        assert_eq!(
            check("area = \"engine\"", "area = \"motor\"", Ok(())),
            [format!("aaaaaaaaa has the unknown area `motor`; known: {}", AREAS.join(", "))]
        );
        for date in ["2025-13-01", "2025-02-29", "2025-1-01", "2025-01-00", "+025-01-01", "today"] {
            assert_eq!(
                check("2025-01-01", date, Ok(())),
                [format!(
                    "aaaaaaaaa has the date `{date}`, which is not a day: write it like 2025-10-19"
                )]
            );
        }
        assert_eq!(check("2025-01-01", "2024-02-29", Ok(())), Vec::<String>::new());
        assert_eq!(
            check("considered = \"bbb", "considered = \"ddd", Ok(())),
            ["`considered` is dddbbbbbb, which has no entry"]
        );
        assert_eq!(
            check("hash = \"bbbbbbbbb1\"", "hash = \"aaaaaaaaa\"", Ok(())).first().unwrap(),
            "`considered` is bbbbbbbbb, which has no entry"
        );
        assert!(
            check("hash = \"bbbbbbbbb1\"", "hash = \"aaaaaaaaa\"", Ok(()))
                .contains(&"aaaaaaaaa is entered twice".to_owned())
        );
        let gone = check("aa", "aa", Err("there is no such file".into()));
        assert_eq!(
            gone,
            [
                "aaaaaaaaa is guarded by `scenarios/guards/idle.toml`: there is no such file",
                "aaaaaaaaa is guarded by `engine/src/lib.rs::a_test`: there is no such file",
            ]
        );
        let guards = "guards = [\"scenarios/guards/idle.toml\", \"engine/src/lib.rs::a_test\"]";
        assert_eq!(
            check(guards, "", Ok(())),
            [
                "aaaaaaaaa is integrated, but has no guard: name a test or a scenario that would fail without it"
            ]
        );
    }

    #[test]
    fn a_commit_is_found_by_digits_that_no_other_begins_with() {
        let log = log("aa", "aa");
        assert_eq!(log.find("b").unwrap().pr, Some(7));
        assert!(log.find("").is_none() && log.find("c").is_none());
        assert_eq!(log.find("bbbbbbbbb1234").unwrap().pr, Some(7), "the log has its first digits");
        assert!(log.find("bbbbbbbbb2").is_none());
    }

    #[test]
    fn what_is_no_hash_and_what_is_no_guard_is_refused() {
        let complaint = |from: &str, to: &str| {
            toml::from_str::<Log>(&LOG.replacen(from, to, 1)).unwrap_err().message().to_owned()
        };
        assert_eq!(
            complaint("aaaaaaaaa0", "HEAD"),
            "`HEAD` is not a commit hash: write 9 to 40 digits of 0-9 and a-f"
        );
        assert!(
            complaint("lib.rs::a_test", "lib.rs").starts_with("`engine/src/lib.rs` is not a guard")
        );
        assert!(complaint("\"P3\"", "\"P9\"").contains("unknown variant `P9`"));
    }
}
