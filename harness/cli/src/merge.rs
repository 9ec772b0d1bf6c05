//! `windtunnel merge`: joins runs that shared the cases of one plan into one run.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use windtunnel_ledger::gate::Terms;
use windtunnel_ledger::record::{Planned, Record, Run, RunId};
use windtunnel_ledger::store::{self, Contents};

use crate::args::{Format, MergeArgs};
use crate::runs::{find_run, write_report};
use crate::session::Again;
use crate::workspace::Workspace;
use crate::{code_of, compare, exit, gate, run, session, show};

/// Joins runs into a new file. Runs of a gate are judged as the one family that they are.
pub(crate) fn merge(workspace: &Workspace, args: &MergeArgs) -> Result<u8> {
    session::check_out(Some(&args.out), Again::Anew)?;
    let read = |name: &String| -> Result<(String, Contents)> {
        Ok((name.clone(), store::read(&find_run(workspace, name)?)?))
    };
    let all = args.runs.iter().map(read).collect::<Result<Vec<_>>>()?;
    for (name, contents) in &all {
        let goes_on = if contents.run.gate.is_some() { "gate" } else { "run" };
        ensure!(
            run::is_finished(&contents.run, &contents.records),
            "`{name}` is not finished: continue with `windtunnel {goes_on} --resume {name}`, then merge"
        );
    }
    let run = joined(&all)?;
    let all = all.into_iter().flat_map(|(_, contents)| records_of(contents, &run.id));
    let records: Vec<Record> = all.collect();
    // All or nothing: half of it would look like an interrupted run.
    store::write(&args.out, &run, &records)?;
    if !run::is_finished(&run, &records) {
        show::note(&format!(
            "judged as one family, not every case is decided: `{}` measures what that takes",
            workspace.line(&["gate", "--resume", &show::path(&args.out)])
        ));
    }
    let contents = Contents { run, records, torn: false };
    judged(workspace, &args.out, &contents)
}

/// The records of a run, as records of the run `whole`. Those of a stored base keep their own runs,
/// each of which is a session.
fn records_of(contents: Contents, whole: &RunId) -> Vec<Record> {
    let Contents { run, mut records, .. } = contents;
    for record in records.iter_mut().filter(|record| record.run == run.id) {
        record.run = whole.clone();
    }
    records
}

fn judged(workspace: &Workspace, out: &Path, contents: &Contents) -> Result<u8> {
    if let Some(terms) = &contents.run.gate {
        return gate::publish(workspace, out, contents, terms);
    }
    let page = write_report(workspace, contents, out)?;
    show::result(&show::records(&contents.run, &contents.records, show::Room::of_stdout()))?;
    let broken = compare::subjects(contents, Format::Table)?;
    show::result(&format!("\nreport: {}\n", show::path(&page)))?;
    Ok(if broken { exit::BROKEN } else { code_of(contents) })
}

/// The joint plan of the runs.
fn joined(all: &[(String, Contents)]) -> Result<Run> {
    let [(first_name, first), rest @ ..] = all else {
        bail!("there is nothing to merge: name the runs");
    };
    let mut run = first.run.clone();
    run.id = RunId(format!("{}-merged", first.run.id.0));
    run.command = session::command_line();
    // Its void rounds have had their repeats, whatever the rules of each run were.
    run.rules = None;
    let mut seen: BTreeSet<_> = run.cases.iter().map(|planned| planned.case.id.clone()).collect();
    for (name, contents) in rest {
        let other = &contents.run;
        ensure!(
            other.subjects == run.subjects,
            "`{name}` and `{first_name}` measured different subjects: build once and give every shard the same probes"
        );
        if let Some(twice) = other.cases.iter().find(|p| !seen.insert(p.case.id.clone())) {
            bail!("`{}` is in `{name}` and in a run before it", twice.case.id);
        }
        match (&mut run.gate, &other.gate) {
            (None, None) => (),
            (Some(terms), Some(others)) => {
                let unseen = std::mem::take(&mut terms.unseen);
                let (unseen_here, shards) = (Vec::new(), terms.shards);
                let same = *terms == Terms { unseen: unseen_here, shards, ..others.clone() };
                terms.unseen = [unseen, others.unseen.clone()].concat();
                terms.unseen.sort();
                terms.unseen.dedup();
                ensure!(
                    same,
                    "`{name}` and `{first_name}` were judged by different policies, or by different calibrations of their machines"
                );
            }
            _ => bail!("one of `{name}` and `{first_name}` is a gate, the other is not"),
        }
        let shards =
            run.cases.iter().map(|planned| planned.shard.saturating_add(1)).max().unwrap_or(0);
        let of_shard = |planned: &Planned| Planned {
            shard: planned.shard.saturating_add(shards),
            ..planned.clone()
        };
        run.cases.extend(other.cases.iter().map(of_shard));
        run.skipped.extend(other.skipped.iter().cloned());
    }
    ensure!(!run.cases.is_empty(), "the runs have no case");
    let parts = run.cases.iter().map(|planned| planned.shard.saturating_add(1)).max().unwrap_or(0);
    let told = all.iter().filter_map(|(_, contents)| Some(contents.run.gate.as_ref()?.shards));
    // Parts smaller than the largest make more of the plan than there are.
    let of = told.filter(|shards| *shards > 0).min();
    ensure!(
        of.is_none_or(|of| parts >= of),
        "a part of the plan is missing: merge every run that `--shard` made of it, or its cases go unjudged"
    );
    if let Some(terms) = &mut run.gate {
        terms.shards = 0;
    }
    Ok(run)
}
