//! `windtunnel compare`: two subjects, of one run or of two.

use anyhow::{Context, Result, bail};
use windtunnel_ledger::calibration::Floors;
use windtunnel_ledger::compare::{Comparison, Pair, compare};
use windtunnel_ledger::gate::{Setting, Terms};
use windtunnel_ledger::record::Record;
use windtunnel_ledger::store::{self, Contents};
use windtunnel_ledger::verdict::Verdict;

use crate::args::CompareArgs;
use crate::runs::find_run;
use crate::workspace::Workspace;
use crate::{calibrate, exit, gate, show};

/// Shows what the arguments name side by side.
pub(crate) fn side_by_side(workspace: &Workspace, args: &CompareArgs) -> Result<u8> {
    let (base, head) = match &args.head {
        Some(head) => (Side::read(workspace, &args.base)?, Side::read(workspace, head)?),
        None => {
            let contents = store::read(&find_run(workspace, &args.base)?)?;
            // A gate's third arm is its base once more.
            let arms = contents.run.gate.as_ref().map_or(usize::MAX, |_| 2);
            let subjects = &contents.run.subjects[..contents.run.subjects.len().min(arms)];
            let [first, .., last] = subjects else {
                bail!(
                    "run `{}` has one subject only: name a second run to compare it with",
                    args.base
                );
            };
            (Side::of(&contents, &first.name)?, Side::of(&contents, &last.name)?)
        }
    };
    let pairs = compare(&base.records, &head.records);
    show::result(&show::comparison(&base.name, &head.name, &pairs))?;

    let policy = gate::read_policy(workspace, args.policy.as_deref())?;
    let known = head.records.last().map(|record| record.environment.machine.key());
    let floors =
        known.map_or_else(|| Ok(Floors::default()), |key| calibrate::floors(workspace, &key))?;
    let terms = Terms { floors, setting: setting(&base, &head), ..Terms::of(policy) };
    let report = windtunnel_ledger::gate::compare(&base.records, &head.records, &terms);
    show::result(&format!("\n{}", show::verdicts_of(&report)))?;
    let has_rows =
        |pair: &Pair| matches!(&pair.comparison, Comparison::Rows(rows) if !rows.is_empty());
    Ok(match () {
        () if pairs.iter().any(Pair::is_broken) => exit::BROKEN,
        // What one side lacks is a finding here: both were named to be compared.
        () if report.verdict > Verdict::Invalid && !pairs.iter().all(has_rows) => exit::INVALID,
        () => gate::code_of(&report),
    })
}

/// Subjects of one run alternated; those of two runs were measured on other days.
fn setting(base: &Side, head: &Side) -> Setting {
    let first = base.records.first().map(|record| &record.run);
    let all = base.records.iter().chain(&head.records);
    match all.into_iter().all(|record| Some(&record.run) == first) {
        true => Setting::Alternating,
        false => Setting::Stored,
    }
}

/// Shows the subjects of a run beside its first one, and tells whether one of them is broken.
pub(crate) fn subjects(contents: &Contents) -> Result<bool> {
    let [base, heads @ ..] = contents.run.subjects.as_slice() else { return Ok(false) };
    let base = Side::of(contents, &base.name)?;
    let mut broken = false;
    for head in heads {
        let head = Side::of(contents, &head.name)?;
        let pairs = compare(&base.records, &head.records);
        show::result(&format!("\n{}", show::comparison(&base.name, &head.name, &pairs)))?;
        broken |= pairs.iter().any(Pair::is_broken);
    }
    Ok(broken)
}

/// One side of a comparison.
pub(crate) struct Side {
    /// The subject and its run.
    pub(crate) name: String,
    /// What it left.
    pub(crate) records: Vec<Record>,
}

impl Side {
    /// Reads `RUN` or `RUN@SUBJECT`.
    pub(crate) fn read(workspace: &Workspace, text: &str) -> Result<Side> {
        let (run, subject) = match text.split_once('@') {
            Some((run, subject)) if find_run(workspace, text).is_err() => (run, Some(subject)),
            _ => (text, None),
        };
        let contents = store::read(&find_run(workspace, run)?)?;
        let subject = match (subject, contents.run.subjects.as_slice()) {
            (Some(subject), _) => subject.to_owned(),
            (None, [only]) => only.name.clone(),
            (None, several) => {
                let names: Vec<String> =
                    several.iter().map(|s| format!("`{run}@{}`", s.name)).collect();
                bail!("run `{run}` has several subjects: name one of {}", names.join(", "));
            }
        };
        Side::of(&contents, &subject)
    }

    /// The subject `name` of a run.
    pub(crate) fn of(contents: &Contents, name: &str) -> Result<Side> {
        let subjects = &contents.run.subjects;
        let subject = subjects.iter().find(|subject| subject.name == name).with_context(|| {
            let names: Vec<String> = subjects.iter().map(|s| format!("`{}`", s.name)).collect();
            format!(
                "run `{}` has no subject `{name}`; it has {}",
                contents.run.id.0,
                names.join(", ")
            )
        })?;
        let records = contents.records.iter().filter(|record| record.subject == *subject);
        let name = format!("{subject} of {}", contents.run.id.0);
        Ok(Side { name, records: records.cloned().collect() })
    }
}
