//! Sessions: cut from a run, sealed and read back.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::{Code, Key};
use crate::record::{Outcome, Record, Run, Subject};
use crate::store::{Contents, StoreError, read_sealed, sealed};
use crate::upstream::Hash;

/// What one run recorded of one scenario on one subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// The name it is stored under.
    pub key: Key,
    /// The run's plan, restricted to this scenario and subject.
    pub run: Run,
    /// The records.
    pub records: Vec<Record>,
}

impl Session {
    /// The code it measured.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.run.subjects.first().map(Code::of)
    }

    /// The text to store: identical for equal sessions.
    #[must_use]
    pub fn text(&self) -> String {
        sealed(&self.run, &self.records)
    }
}

/// The sessions of a run: one for each machine and scenario of which `subject` left records that
/// count.
///
/// They hold the rounds that were measured, failed or were declined. The rest stays in the run
/// file: void rounds, attributions, the watcher's traces, and the command line that repeats a round
/// with a probe that will be gone.
#[must_use]
pub fn sessions_of(contents: &Contents, subject: &Subject, upstream: &Hash) -> Vec<Session> {
    let mine =
        contents.records.iter().filter(|record| record.subject == *subject && counts(record));
    let mine: Vec<Record> = mine.map(bare).collect();
    let mut places: Vec<(String, &str)> = mine.iter().map(place).collect();
    places.sort();
    places.dedup();
    let session = |(machine, scenario): (String, &str)| {
        let run = &contents.run;
        let planned = run.cases.iter().filter(|planned| planned.case.scenario() == scenario);
        let run = Run {
            subjects: vec![subject.clone()],
            cases: planned.cloned().collect(),
            skipped: Vec::new(),
            gate: None,
            rules: None,
            ..run.clone()
        };
        let here = |record: &&Record| place(record) == (machine.clone(), scenario);
        let records: Vec<Record> = mine.iter().filter(here).cloned().collect();
        let name = name_of(&run, &sealed(&run, &records));
        let key = Key {
            upstream: upstream.clone(),
            machine,
            scenario: scenario.to_owned(),
            session: name,
        };
        Session { key, run, records }
    };
    places.into_iter().map(session).collect()
}

/// Reads the text of a session stored as `key` in the file `path`.
///
/// # Errors
/// If the file is damaged, of a newer version, or does not hold what its name says.
pub fn open(path: &Path, key: &Key, bytes: &[u8]) -> Result<Session, StoreError> {
    let Contents { run, records, .. } = read_sealed(path, bytes)?;
    let corrupt =
        |line: usize, reason: String| StoreError::Corrupt { path: path.to_owned(), line, reason };
    if name_of(&run, &String::from_utf8_lossy(bytes)) != key.session {
        return Err(corrupt(
            1,
            "the file name does not match the contents: it was renamed or changed".into(),
        ));
    }
    for (number, record) in records.iter().enumerate() {
        let (machine, scenario) = place(record);
        if (machine.as_str(), scenario) != (&key.machine, &key.scenario) {
            let reason = format!("it is about `{scenario}` on `{machine}`, but its folder is not");
            return Err(corrupt(number + 2, reason));
        }
    }
    Ok(Session { key: key.clone(), run, records })
}

/// Machine and scenario.
fn place(record: &Record) -> (String, &str) {
    (record.environment.machine.key(), record.case.scenario())
}

fn counts(record: &Record) -> bool {
    match record.outcome {
        Outcome::Measured(_) | Outcome::Failed(_) | Outcome::Skipped(_) => true,
        Outcome::Attributed(_) | Outcome::Void { .. } => false,
    }
}

fn bare(record: &Record) -> Record {
    Record { command: String::new(), trace: None, ..record.clone() }
}

/// The start time of the run and a fingerprint of the text.
fn name_of(run: &Run, text: &str) -> String {
    let time: String =
        run.id.0.chars().take_while(|letter| letter.is_ascii_alphanumeric()).collect();
    format!("{time}-{:016x}", xxh3_64(text.as_bytes()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::baseline::tests::hash;
    use crate::record::tests::record;
    use crate::record::{Planned, RunId};

    /// A run with one round of each case, at these rates.
    pub(crate) fn contents(run: &str, cases: &[(&str, f64)]) -> Contents {
        let of = |(id, rate): &(&str, f64)| Record {
            run: RunId(run.into()),
            trace: None,
            ..record(".", id, 1, &[*rate])
        };
        let records: Vec<Record> = cases.iter().map(of).collect();
        let planned = |record: &Record| Planned {
            case: record.case.clone(),
            rounds: 1,
            attributions: 0,
            shard: 0,
        };
        let run = Run {
            id: RunId(run.into()),
            at: "2026-01-01T00:00:00Z".into(),
            command: "windtunnel run".into(),
            subjects: vec![records[0].subject.clone()],
            cases: records.iter().map(planned).collect(),
            skipped: Vec::new(),
            gate: None,
            rules: None,
        };
        Contents { run, records, torn: false }
    }

    fn cut(contents: &Contents) -> Vec<Session> {
        sessions_of(contents, &contents.run.subjects[0], &hash('a'))
    }

    #[test]
    fn a_run_is_cut_by_scenario_and_each_session_is_read_as_it_was() {
        let contents = contents(
            "20260101T000000000Z-smoke",
            &[("smoke/a/tiny", 1.0), ("smoke/b/tiny", 2.0), ("smoke/a/tiny/batch=2", 3.0)],
        );
        let sessions = cut(&contents);
        let scenarios: Vec<&str> = sessions.iter().map(|s| s.key.scenario.as_str()).collect();
        assert_eq!(scenarios, ["smoke/a", "smoke/b"]);
        assert_eq!((sessions[0].records.len(), sessions[0].run.cases.len()), (2, 2));
        for session in &sessions {
            assert!(session.key.session.starts_with("20260101T000000000Z-"));
            let read = open(Path::new("x"), &session.key, session.text().as_bytes()).unwrap();
            assert_eq!(read, *session);
        }
        assert_eq!(cut(&contents), sessions, "the same run gives the same sessions");
    }

    #[test]
    fn what_does_not_count_is_left_out() {
        let mut contents =
            contents("20260101T0Z", &[("smoke/a/tiny", 1.0), ("smoke/a/tiny/batch=2", 2.0)]);
        let Outcome::Measured(samples) = contents.records[1].outcome.clone() else { panic!() };
        contents.records[1].outcome = Outcome::Void { breaches: Vec::new(), samples };
        let sessions = cut(&contents);
        assert_eq!(sessions[0].records.len(), 1);
        assert_eq!(sessions[0].records[0].command, "");
    }

    #[test]
    fn a_session_in_the_wrong_place_or_under_another_name_is_told() {
        let session = cut(&contents("20260101T0Z", &[("smoke/a/tiny", 1.0)])).remove(0);
        let complaint = |key: Key| {
            open(Path::new("f.jsonl"), &key, session.text().as_bytes()).unwrap_err().to_string()
        };
        let renamed = complaint(Key { session: "20260102T0Z-0".into(), ..session.key.clone() });
        assert_eq!(
            renamed,
            "`f.jsonl`, line 1: the file name does not match the contents: it was renamed or changed"
        );
        let moved = complaint(Key { machine: "other".into(), ..session.key.clone() });
        assert!(moved.starts_with("`f.jsonl`, line 2: it is about `smoke/a` on `"), "{moved}");
    }
}
