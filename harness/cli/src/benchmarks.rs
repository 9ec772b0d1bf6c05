//! The benchmarks in the benches of a plan: each becomes a case.
//!
//! A scenario names benches, and only the benches know what is in them. So they are built first and
//! asked; benchmarks that only some of the subjects have are skipped, because there is nothing to
//! compare them with.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use windtunnel_ledger::case::{Benchmark, Case, CaseId, Source, matches};
use windtunnel_ledger::record::{Planned, Skipped};

use crate::plan::Plan;
use crate::progress::Progress;
use crate::scenario::KnownModel;
use crate::spawn;
use crate::subject::{self, Built};
use crate::workspace::Workspace;

/// The axis in the ids of such cases.
const AXIS: &str = "benchmark";

/// What the subjects are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Each is measured, whatever happens to the others.
    Measure,
    /// The others are compared with the first.
    Compare,
}

/// Builds the benches of a plan for every subject, and replaces each bench by a case for each of
/// its benchmarks. A bench that no subject can build or query stays: its rounds say why. A bench
/// that the base of a comparison lacks is skipped, because there is nothing to compare it with.
pub(crate) fn find(
    workspace: &Workspace,
    plan: &mut Plan,
    built: &mut [Built],
    aim: Aim,
    progress: Progress,
) -> Result<()> {
    let (cases, models) = (std::mem::take(&mut plan.cases), std::mem::take(&mut plan.models));
    for (planned, model) in cases.into_iter().zip(models) {
        let open = match &planned.case.model.source {
            Source::Bench(benchmark) if is_open(&planned) => benchmark.clone(),
            _ => {
                plan.cases.push(planned);
                plan.models.push(model);
                continue;
            }
        };
        for built in built.iter_mut() {
            subject::build_benches(workspace, built, &open, progress)?;
        }
        if let (Aim::Compare, [base, _, ..]) = (aim, &*built)
            && base.probe.is_ok()
            && base.runner(&planned.case).is_err()
        {
            let reason = format!("`{}` does not build this bench", base.subject.name);
            plan.skipped.push(Skipped { id: planned.case.id, reason });
            continue;
        }
        let lists = built.iter().filter_map(|built| {
            let runner = built.runner(&planned.case).ok()?;
            let names = names(runner, workspace.root(), &planned.case, &open)?;
            Some((built.subject.name.as_str(), names))
        });
        let lists: Vec<(&str, Vec<String>)> = lists.collect();
        if lists.is_empty() {
            plan.cases.push(planned);
            plan.models.push(model);
        } else {
            split(plan, &planned, &model, &open, &lists)?;
        }
    }
    Ok(())
}

/// Whether a case stands for all benchmarks of its bench, as a case expanded from a scenario does.
pub(crate) fn is_open(planned: &Planned) -> bool {
    matches!(planned.case.model.source, Source::Bench(_)) && planned.case.axes().is_empty()
}

/// Adds a case for each benchmark to a plan, depending on which subjects have it.
fn split(
    plan: &mut Plan,
    planned: &Planned,
    model: &KnownModel,
    open: &Benchmark,
    lists: &[(&str, Vec<String>)],
) -> Result<()> {
    let mut all: Vec<&String> = Vec::new();
    for name in lists.iter().flat_map(|(_, names)| names) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    if !all.iter().any(|name| matches(name, &open.name)) {
        let known: Vec<&str> = all.iter().map(|name| name.as_str()).collect();
        match known.is_empty() {
            true => bail!(
                "the bench `{}` lists no benchmarks: is it written with criterion, and does it have `harness = false`?",
                open.target()
            ),
            false => bail!(
                "no benchmark of `{}` contains `{}`; there are: {}",
                open.target(),
                open.name,
                known.join(", ")
            ),
        }
    }
    for name in all.into_iter().filter(|name| matches(name, &open.name)) {
        // A comma separates axes.
        let axes = BTreeMap::from([(AXIS.to_owned(), name.replace(',', "+"))]);
        let id = CaseId::new(planned.case.scenario(), &model.model.name, &axes);
        if !plan.filters.iter().all(|filter| matches(id.as_str(), filter)) {
            plan.filtered += 1;
            continue;
        }
        let without = lists.iter().find(|(_, names)| !names.contains(name));
        if let Some((subject, _)) = without {
            let reason = format!("`{subject}` has no such benchmark");
            plan.skipped.push(Skipped { id, reason });
            continue;
        }
        let mut planned = planned.clone();
        planned.case.id = id;
        let benchmark = Benchmark { name: name.clone(), ..open.clone() };
        planned.case.model.source = Source::Bench(benchmark);
        plan.cases.push(planned);
        plan.models.push(model.clone());
    }
    Ok(())
}

/// The names of the benchmarks in the bench of `case`, as its runner lists them; none if the runner
/// fails, or takes longer than a round may.
fn names(runner: &Path, root: &Path, case: &Case, open: &Benchmark) -> Option<Vec<String>> {
    let mut command = spawn::command(runner, root);
    command.args(["--benchmarks", &open.target()]);
    let text = spawn::answer(command, Duration::from_nanos(case.deadline.0))?;
    Some(text.lines().map(str::to_owned).collect())
}
