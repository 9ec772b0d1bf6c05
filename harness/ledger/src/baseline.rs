//! Baselines: measurements of an upstream commit on a kind of machine, kept to compare later
//! changes with.
//!
//! 1. A [`Session`] is what one run recorded of one scenario on one subject. It is sealed text
//!    under a content-addressed [`Key`], and never changes;
//! 2. sessions of the same [`Code`] on the same kind of machine form one baseline: the more days
//!    they cover, the better the noise between days is known;
//! 3. [`Decisions`] say which code counts: what was promoted, and which changes were accepted with
//!    it;
//! 4. a change is compared with the nearest promoted [ancestor](mod@choice) of its upstream commit;
//! 5. [`superfluous`] sessions are those that no decision needs.
//!
//! This module does not know where sessions are stored or who decides.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::Subject;
use crate::upstream::Hash;

pub mod choice;
mod decisions;
mod retention;
mod session;

pub use choice::{Choice, NoChoice, choose};
pub use decisions::{Acceptance, Decisions, Finding, Promotion, findings};
pub use retention::superfluous;
pub use session::{Session, open, sessions_of};

/// The name of a stored session: `UPSTREAM/MACHINE/SCENARIO/SESSION.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The upstream commit up to which the engine had considered every commit.
    pub upstream: Hash,
    /// The [kind of machine](crate::environment::Machine::key).
    pub machine: String,
    /// The scenario, possibly nested: `gate/decode`.
    pub scenario: String,
    /// Start time of the run and a fingerprint of the text: `20260101T000000000Z-…`. Sorting by
    /// name sorts by time.
    pub session: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { upstream, machine, scenario, session } = self;
        write!(f, "{}/{machine}/{scenario}/{session}.jsonl", upstream.as_str())
    }
}

impl Key {
    /// Parses a name; none if it is not the name of a session.
    #[must_use]
    pub fn parse(name: &str) -> Option<Key> {
        let parts: Vec<&str> = name.strip_suffix(".jsonl")?.split('/').collect();
        let [upstream, machine, scenario @ .., session] = parts.as_slice() else { return None };
        let is_plain = |part: &&str| !part.is_empty() && !part.starts_with('.');
        if scenario.is_empty() || !parts.iter().all(is_plain) {
            return None;
        }
        Some(Key {
            upstream: Hash::try_from((*upstream).to_owned()).ok()?,
            machine: (*machine).to_owned(),
            scenario: scenario.join("/"),
            session: (*session).to_owned(),
        })
    }

    /// The day of the run, `20260101`.
    #[must_use]
    pub fn day(&self) -> &str {
        self.session.split('T').next().unwrap_or_default()
    }
}

/// Which code was measured. Sessions of the same code measure the same thing on different days.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// The engine's commit; for a probe of unknown origin, `probe-` and the hash of its file.
    pub engine: String,
    /// The Cargo features it was built with, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

impl Code {
    /// The code of a subject.
    #[must_use]
    pub fn of(subject: &Subject) -> Code {
        let engine = match (&subject.commit, subject.dirty || subject.candle.is_some()) {
            (Some(commit), false) => commit.clone(),
            (Some(_), true) | (None, _) => format!("probe-{}", subject.binary),
        };
        Code { engine, features: subject.features.clone() }
    }

    /// The commit it can be rebuilt from; none if unknown.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        (!self.engine.starts_with("probe-")).then_some(self.engine.as_str())
    }
}

/// Short, for tables: `3c16e51aa [cuda]`.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = if self.commit().is_some() { 9 } else { "probe-".len() + 9 };
        f.write_str(self.engine.get(..length).unwrap_or(&self.engine))?;
        match self.features.is_empty() {
            true => Ok(()),
            false => write!(f, " [{}]", self.features.join(",")),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn hash(digit: char) -> Hash {
        Hash::try_from(digit.to_string().repeat(40)).unwrap()
    }

    pub(crate) fn code(engine: &str) -> Code {
        Code { engine: engine.into(), features: Vec::new() }
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let name =
            format!("{}/epyc-4c/gate/decode/20260101T000000000Z-0f.jsonl", hash('a').as_str());
        let key = Key::parse(&name).unwrap();
        assert_eq!((key.scenario.as_str(), key.day()), ("gate/decode", "20260101"));
        assert_eq!(key.to_string(), name);
    }

    #[test]
    fn what_is_no_session_has_no_key() {
        let upstream = hash('a').as_str().to_owned();
        for name in [
            "machines/epyc.json".to_owned(),
            "README.md".to_owned(),
            format!("{upstream}/epyc/x.jsonl"),
            format!("{upstream}/epyc/../x/y.jsonl"),
            format!("{upstream}/epyc/smoke/.x.partial"),
            "machines/epyc/smoke/x.jsonl".to_owned(),
        ] {
            assert_eq!(Key::parse(&name), None, "{name}");
        }
    }

    #[test]
    fn what_was_built_from_a_clean_commit_is_that_commit() {
        let mut subject = crate::record::tests::record(".", "a", 1, &[]).subject;
        subject.binary = "0123456789abcdef".into();
        assert_eq!(Code::of(&subject).to_string(), "probe-012345678");
        subject.commit = Some("c".repeat(40));
        subject.features = vec!["cuda".into()];
        assert_eq!(Code::of(&subject).to_string(), "ccccccccc [cuda]");
        assert_eq!(Code::of(&subject).commit(), Some("c".repeat(40).as_str()));
        subject.dirty = true;
        assert_eq!(Code::of(&subject).commit(), None);
    }
}
