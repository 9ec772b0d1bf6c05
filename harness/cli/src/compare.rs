//! `windtunnel compare`: two subjects, of one run or of two.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use windtunnel_ledger::calibration::Floors;
use windtunnel_ledger::compare::{Comparison, Pair, compare};
use windtunnel_ledger::gate::{Policies, Setting, Terms};
use windtunnel_ledger::policy::PolicyHash;
use windtunnel_ledger::record::{Record, Subject};
use windtunnel_ledger::store::{self, Contents};
use windtunnel_ledger::verdict::Verdict;

use crate::args::{CompareArgs, Format};
use crate::runs::{Named, find_run, named};
use crate::show::Data;
use crate::workspace::Workspace;
use crate::{baseline, calibrate, exit, gate, show, upstream};

/// Shows the two sides that the arguments name.
pub(crate) fn side_by_side(workspace: &Workspace, args: &CompareArgs) -> Result<u8> {
    let (base, head) = match &args.head {
        Some(head) if args.base == "baseline" => {
            let head = Side::read(workspace, head)?;
            match Side::of_baseline(workspace, &head)? {
                Ok(base) => (base, head),
                Err(none) => return Ok(baseline::nothing(&none)),
            }
        }
        Some(head) => (Side::read(workspace, &args.base)?, Side::read(workspace, head)?),
        None => {
            ensure!(
                args.base != "baseline" || find_run(workspace, &args.base).is_ok(),
                "a baseline is compared with a run: name it, `windtunnel compare baseline RUN`"
            );
            let contents = store::read(&find_run(workspace, &args.base)?)?;
            // The third arm of a gate is its base again.
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
    let policy = gate::read_policy(workspace, args.policy.as_deref())?;
    let known = head.records.last().map(|record| record.environment.machine.key());
    let floors =
        known.map_or_else(|| Ok(Floors::default()), |key| calibrate::floors(workspace, &key))?;
    let terms = Terms {
        floors,
        setting: setting(&base, &head),
        policies: policies(&base, &head),
        ..Terms::of(policy)
    };
    let report = windtunnel_ledger::gate::compare(&base.records, &head.records, &terms);
    show::result(&match args.format {
        Format::Table => {
            let comparison = show::comparison(&base.name, &head.name, &pairs);
            let verdicts = show::verdicts_of(&report, show::Ink::of_stdout());
            format!(
                "{comparison}\nAbove are medians and the scaled median deviation of rounds, below the verdicts.\n{verdicts}"
            )
        }
        Format::Markdown => {
            gate::summary::of_two(&head.name, &base.name, None, &report, usize::MAX) + ".\n"
        }
        Format::Csv => show::judged(&report, Data::Csv)?,
        Format::Json => show::judged(&report, Data::Json)?,
    })?;
    let has_rows =
        |pair: &Pair| matches!(&pair.comparison, Comparison::Rows(rows) if !rows.is_empty());
    // Anything that one side lacks counts here: both were named in order to be compared.
    let lacks = report.verdict > Verdict::Invalid && !pairs.iter().all(has_rows);
    Ok(if lacks { exit::INVALID } else { gate::code_of(&report) })
}

/// Subjects of one run alternated; those of two runs were measured at other times.
fn setting(base: &Side, head: &Side) -> Setting {
    let first = base.records.first().map(|record| &record.run);
    let all = base.records.iter().chain(&head.records);
    match all.into_iter().all(|record| Some(&record.run) == first) {
        true => Setting::Alternating,
        false => Setting::Stored,
    }
}

/// The policies by which both sides were judged, if both were.
fn policies(base: &Side, head: &Side) -> Option<Policies> {
    let (base, head) = (base.policy.clone()?, head.policy.clone()?);
    Some(Policies { base, head })
}

/// Shows the subjects of a run beside its first one, and returns whether any of them is broken.
pub(crate) fn subjects(contents: &Contents, format: Format) -> Result<bool> {
    let [base, heads @ ..] = contents.run.subjects.as_slice() else { return Ok(false) };
    let base = Side::of(contents, &base.name)?;
    let mut broken = false;
    for head in heads {
        let head = Side::of(contents, &head.name)?;
        let pairs = compare(&base.records, &head.records);
        if format == Format::Table {
            show::result(&format!(
                "\n{}\nThis shows medians and the scaled median deviation of rounds. It is not a verdict.\n",
                show::comparison(&base.name, &head.name, &pairs)
            ))?;
        }
        broken |= pairs.iter().any(Pair::is_broken);
    }
    Ok(broken)
}

/// One side of a comparison.
pub(crate) struct Side {
    /// The subject and its run.
    pub(crate) name: String,
    /// Its records.
    pub(crate) records: Vec<Record>,
    /// The policy by which it was judged, if it was.
    policy: Option<PolicyHash>,
}

impl Side {
    /// Reads `RUN` or `RUN@SUBJECT`.
    pub(crate) fn read(workspace: &Workspace, text: &str) -> Result<Side> {
        let Named { path, run, subject } = named(workspace, text)?;
        let contents = store::read(&path)?;
        let subject = subject_of(&contents, run, subject)?.name.clone();
        Side::of(&contents, &subject)
    }

    /// The baseline that `head` is compared with, or why there is none.
    fn of_baseline(workspace: &Workspace, head: &Side) -> Result<Result<Side, String>> {
        let log = upstream::read(workspace, Path::new(upstream::LOG))?;
        let last = head.records.last().context("the head has no record to compare")?;
        let at = baseline::upstream_of(workspace, Path::new(upstream::LOG), &last.subject);
        // If the head's upstream commit is unknown, it is assumed to be the working tree's.
        let at = at.unwrap_or_else(|_| log.considered.clone());
        let machine = last.environment.machine.key();
        Ok(match baseline::held(workspace, &log, &at, &machine)? {
            Ok(held) => Ok(Side {
                name: format!("baseline {}", held.origin),
                records: baseline::records_of(&held.sessions)?,
                policy: Some(held.policy),
            }),
            Err(none) => Err(none),
        })
    }

    /// The subject `name` of a run.
    pub(crate) fn of(contents: &Contents, name: &str) -> Result<Side> {
        let subject = subject_of(contents, &contents.run.id.0, Some(name))?;
        let records = contents.records.iter().filter(|record| record.subject == *subject);
        let name = format!("{subject} of {}", contents.run.id.0);
        let policy = contents.run.gate.as_ref().map(|terms| terms.policy.hash());
        Ok(Side { name, records: records.cloned().collect(), policy })
    }
}

/// The subject of a run that is named, or its only one. `run` is how the user named the run.
pub(crate) fn subject_of<'a>(
    contents: &'a Contents,
    run: &str,
    named: Option<&str>,
) -> Result<&'a Subject> {
    let subjects = &contents.run.subjects;
    match (named, subjects.as_slice()) {
        (Some(name), _) => {
            subjects.iter().find(|subject| subject.name == name).with_context(|| {
                let names: Vec<String> = subjects.iter().map(|s| format!("`{}`", s.name)).collect();
                format!(
                    "run `{}` has no subject `{name}`; it has {}",
                    contents.run.id.0,
                    names.join(", ")
                )
            })
        }
        (None, [only]) => Ok(only),
        (None, several) => {
            let names: Vec<String> =
                several.iter().map(|s| format!("`{run}@{}`", s.name)).collect();
            bail!("run `{run}` has several subjects: name one of {}", names.join(", "));
        }
    }
}
