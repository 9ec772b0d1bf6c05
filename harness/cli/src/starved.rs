//! Cases that ran out of memory before, and the cases that are skipped because of them.
//!
//! A case that is at least as large in every size would run out of memory too, and take the machine
//! down for minutes. The knowledge comes from kept records of this kind of machine, for subjects
//! with the same name and features; a later success at such a size overrides it. Gates do not
//! consult it: they are meant to find out what runs out of memory.

use std::path::Path;

use windtunnel_ledger::case::Case;
use windtunnel_ledger::record::{Outcome, Record, RunId, Subject};
use windtunnel_ledger::store;

use crate::runs::newest_runs;

/// Whether knowledge from earlier runs applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// It applies.
    Kept,
    /// It does not: everything is tried again.
    Forgotten,
}

/// What has run out of memory so far.
#[derive(Default)]
pub(crate) struct Starved {
    found: Vec<Tried>,
    /// What the run read last has measured.
    measured: Vec<Tried>,
}

/// A case that was tried on a subject.
struct Tried {
    subject: Subject,
    case: Case,
    run: RunId,
}

/// How many of the newest runs are read: older ones are forgotten, so that nobody waits for a store
/// of years to be read.
const RUNS: usize = 100;

/// One of these occurs in every line that reports a lack of memory.
const WORDS: [&str; 2] = ["emory", "MEMORY"];

impl Starved {
    /// Learns from the runs below `reports` and then from `records`, for a machine with this key.
    pub(crate) fn known(
        reports: &Path,
        machine: &str,
        records: &[Record],
        memory: Memory,
    ) -> Starved {
        let mut starved = Starved::default();
        let mut add = |records: &[Record]| {
            let alike = records.iter().filter(|r| r.environment.machine.key() == machine);
            alike.for_each(|record| starved.add(record));
        };
        if memory == Memory::Kept {
            let mut runs = newest_runs(reports);
            runs.truncate(RUNS);
            // Runs before the first lack of memory teach nothing.
            let first = runs.iter().rposition(|run| tells_of_memory(run));
            runs.truncate(first.map_or(0, |first| first + 1));
            for run in runs.iter().rev() {
                // An unreadable run is passed over: this is not the place to complain about it.
                add(&store::read(run).map(|contents| contents.records).unwrap_or_default());
            }
        }
        add(records);
        starved
    }

    /// Learns from a record.
    pub(crate) fn add(&mut self, record: &Record) {
        let tried = || Tried {
            subject: record.subject.clone(),
            case: record.case.clone(),
            run: record.run.clone(),
        };
        match &record.outcome {
            Outcome::Failed(failure) if failure.is_out_of_memory() => {
                let tried = tried();
                // If something larger fitted just before in the same run, other processes took the
                // memory.
                if !self.measured.iter().any(|m| m.run == tried.run && m.tells_of(&tried)) {
                    self.found.push(tried);
                }
            }
            Outcome::Measured(_) | Outcome::Void { .. } => {
                let tried = tried();
                self.found.retain(|found| !tried.tells_of(found));
                self.measured.retain(|m| m.run == tried.run && !m.is_same(&tried));
                self.measured.push(tried);
            }
            Outcome::Attributed(_) | Outcome::Failed(_) | Outcome::Skipped(_) => (),
        }
    }

    /// Why `case` is not tried on `subject`; none if nothing speaks against it.
    pub(crate) fn reason(&self, subject: &Subject, case: &Case, run: &RunId) -> Option<String> {
        let wanted = Tried { subject: subject.clone(), case: case.clone(), run: run.clone() };
        let found = self.found.iter().rev().find(|found| wanted.tells_of(found))?;
        Some(match found.run == *run {
            true => format!("{} ran out of memory", found.beside(case)),
            false => format!("{}; `--forget-oom` tries it again", found.in_its_run(case)),
        })
    }

    /// The subjects on which `case` is not tried, and why.
    pub(crate) fn reasons(&self, case: &Case) -> Vec<(&Subject, String)> {
        let mut reasons: Vec<(&Subject, String)> = Vec::new();
        for found in self.found.iter().rev().filter(|found| case.outgrows(&found.case)) {
            if !reasons.iter().any(|(known, _)| kind(known) == kind(&found.subject)) {
                reasons.push((&found.subject, found.in_its_run(case)));
            }
        }
        reasons
    }
}

/// What subjects that need the same memory have in common: name and features, whatever the build.
fn kind(subject: &Subject) -> (&str, &[String]) {
    (&subject.name, &subject.features)
}

impl Tried {
    /// Whether it is the same case on the same kind of subject.
    fn is_same(&self, other: &Tried) -> bool {
        self.case.id == other.case.id && kind(&self.subject) == kind(&other.subject)
    }

    /// Whether it needs at least as much memory as `other`, on the same kind of subject.
    fn tells_of(&self, other: &Tried) -> bool {
        kind(&self.subject) == kind(&other.subject) && self.case.outgrows(&other.case)
    }

    /// How it is referred to in a message about `case`, which is at least as large.
    fn beside(&self, case: &Case) -> String {
        match self.case.id == case.id {
            true => "it".to_owned(),
            false => format!("`{}`, which is no larger,", self.case.id),
        }
    }

    fn in_its_run(&self, case: &Case) -> String {
        format!("{} ran out of memory in run `{}`", self.beside(case), self.run.0)
    }
}

fn tells_of_memory(run: &Path) -> bool {
    let text = std::fs::read_to_string(run).unwrap_or_default();
    text.lines().any(|line| line.contains("\"failed\"") && WORDS.iter().any(|w| line.contains(w)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;

    use windtunnel_ledger::case::{
        CaseId, Dtype, KvLayout, Model, Placement, Quant, Source, Workload,
    };
    use windtunnel_ledger::environment::{Environment, Machine};
    use windtunnel_ledger::precision::Enough;
    use windtunnel_ledger::record::{Conditions, Failure, Samples};
    use windtunnel_ledger::{Nanos, Switch, Tokens};

    use super::*;

    fn case(batch: u32) -> Case {
        let axes = [("batch".to_owned(), batch.to_string())].into_iter().collect();
        Case {
            id: CaseId::new("gate/decode", "tiny", &axes),
            workload: Workload::Decode { depth: Tokens(8), output: Tokens(8), batch },
            model: Model { name: "tiny".into(), source: Source::Preset("tiny".into()) },
            dtype: Dtype::F32,
            quant: Quant::None,
            kv: KvLayout::Contiguous,
            placement: Placement::default(),
            attention: "auto".into(),
            step_tokens: Tokens(512),
            prefix_cache: Switch::Off,
            cuda_graphs: Switch::On,
            kv_share: NonZeroU32::MIN,
            warmup: 0,
            iterations: NonZeroU32::MIN,
            enough: Enough::Counted,
            seed: 1,
            deadline: Nanos(1),
        }
    }

    fn subject(name: &str) -> Subject {
        Subject { name: name.into(), ..Subject::default() }
    }

    /// A round of the case with this batch in `run`: measured, or out of memory.
    fn record(run: &str, batch: u32, has_room: bool) -> Record {
        let measured = Samples {
            attention: String::new(),
            dtype: None,
            declined: Vec::new(),
            formats: Vec::new(),
            holdings: Vec::new(),
            prompts: None,
            once: BTreeMap::new(),
            iterations: Vec::new(),
            stopped: None,
        };
        Record {
            run: RunId(run.into()),
            round: 1,
            at: String::new(),
            subject: subject("."),
            case: case(batch),
            environment: Environment { machine: Machine::default(), build: None },
            conditions: Conditions::default(),
            command: String::new(),
            outcome: match has_room {
                true => Outcome::Measured(measured),
                false => Outcome::Failed(Failure::OutOfMemory { tail: String::new() }),
            },
            trace: None,
        }
    }

    /// Which of these batches are skipped.
    fn skipped(records: &[Record], subject: &Subject) -> Vec<u32> {
        let key = Machine::default().key();
        let none = Path::new("there is no such folder");
        let starved = Starved::known(none, &key, records, Memory::Kept);
        let run = RunId("now".into());
        let is_skipped = |batch: &u32| starved.reason(subject, &case(*batch), &run).is_some();
        [1, 2, 4, 8].into_iter().filter(is_skipped).collect()
    }

    #[test]
    fn a_lack_of_memory_speaks_for_what_is_as_large_on_the_same_subject() {
        let records = [record("a", 4, false), record("a", 2, true)];
        assert_eq!(skipped(&records, &subject(".")), [4, 8]);
        assert_eq!(skipped(&records, &subject("rev:main")), [0; 0]);
        let other = Subject { features: vec!["cuda".into()], ..subject(".") };
        assert_eq!(skipped(&records, &other), [0; 0], "it has another memory");
    }

    #[test]
    fn a_success_speaks_for_what_is_as_small_and_only_until_the_next_lack() {
        let mut records = vec![record("a", 4, false), record("b", 8, true)];
        assert_eq!(skipped(&records, &subject(".")), [0; 0]);
        records.push(record("c", 8, false));
        assert_eq!(skipped(&records, &subject(".")), [8]);
    }

    #[test]
    fn where_something_larger_had_room_in_the_same_run_others_have_taken_it() {
        let records = [record("a", 8, true), record("a", 4, false)];
        assert_eq!(skipped(&records, &subject(".")), [0; 0]);
    }

    #[test]
    fn what_had_room_on_one_subject_is_not_forgotten_when_another_subject_has_its_turn() {
        let mut records = [record("a", 8, true), record("a", 8, true), record("a", 4, false)];
        records[1].subject = subject("rev:main");
        assert_eq!(skipped(&records, &subject(".")), [0; 0]);
    }

    #[test]
    fn each_subject_is_told_once_with_the_newest_reason() {
        let mut records = vec![record("a", 4, false), record("b", 2, false), record("c", 4, false)];
        records[2].subject = subject("rev:main");
        let key = Machine::default().key();
        let none = Path::new("there is no such folder");
        let starved = Starved::known(none, &key, &records, Memory::Kept);
        let told = |batch| -> Vec<String> {
            let reasons = starved.reasons(&case(batch)).into_iter();
            reasons.map(|(subject, reason)| format!("{}: {reason}", subject.name)).collect()
        };
        assert_eq!(told(1), [""; 0]);
        let no_larger =
            "`gate/decode/tiny/batch=2`, which is no larger, ran out of memory in run `b`";
        let main = "rev:main: it ran out of memory in run `c`".to_owned();
        assert_eq!(told(4), [main, format!(".: {no_larger}")]);
    }

    #[test]
    fn another_machine_says_nothing() {
        let mut records = [record("a", 4, false)];
        records[0].environment.machine.threads = 64;
        assert_eq!(skipped(&records, &subject(".")), [0; 0]);
    }
}
