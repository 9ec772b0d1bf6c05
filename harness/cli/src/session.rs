//! A run that is about to be measured: a new one, or one resumed after an interruption.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use windtunnel_ledger::case::{Case, Workload};
use windtunnel_ledger::conditions::Rules;
use windtunnel_ledger::gate::{Arm, Setting, Terms};
use windtunnel_ledger::record::{Record, Run, RunId, Subject};
use windtunnel_ledger::store::{self, Contents, Store, StoreError};
use windtunnel_ledger::unit::Nanos;

use crate::args::RunArgs;
use crate::benchmarks::Aim;
use crate::lock::{Locks, Queue};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::runs::{find_run, newest_runs};
use crate::subject::{self, Built, Wanted};
use crate::workspace::Workspace;
use crate::{benchmarks, estimate, gate, hub, run, show};

/// A run that is being measured.
pub(crate) struct RunSession {
    /// The run as it was planned.
    pub(crate) run: Run,
    /// Its subjects, in the order of the run.
    pub(crate) built: Vec<Built>,
    /// The expected time of one round of each case, where it can be estimated.
    pub(crate) times: Vec<Option<Nanos>>,
    /// The file of its records.
    pub(crate) path: PathBuf,
    /// That file, open.
    pub(crate) store: Store,
    /// Its records so far.
    pub(crate) records: Vec<Record>,
    /// The right to measure on this machine.
    pub(crate) locks: Arc<Locks>,
}

impl RunSession {
    /// Says where the records are kept, and how to resume after an interruption.
    pub(crate) fn announce(&self, again: &str, progress: Progress) {
        let path = show::path(&self.path);
        progress.note(&format!("records: {path} (if interrupted: {again})"));
    }
}

/// Builds the subjects of a plan and begins the file of its run, whose rounds count under `rules`.
pub(crate) fn begin(
    workspace: &Workspace,
    args: &RunArgs,
    mut plan: Plan,
    rules: Option<Rules>,
    queue: Queue,
) -> Result<RunSession> {
    check_out(args.out.as_deref(), Again::Resume)?;
    let wanted = wanted(workspace, args)?;
    let _turn = queue.take()?;
    hub::fetch(&mut plan, queue.progress)?;
    estimate::tighten_deadlines(workspace, &mut plan);
    // A bench has nothing to attribute: it already measures one part alone.
    let attributed = plan.cases.iter_mut().filter(|p| p.case.workload != Workload::Criterion);
    for planned in attributed {
        planned.attributions = u32::from(args.attribute);
    }
    let build = |subject| subject::build(workspace, subject, &args.features, queue.progress);
    let built = wanted.iter().map(build).collect::<Result<Vec<_>>>()?;
    let setup = Setup {
        plan,
        built,
        scenarios: &args.selection.scenarios,
        out: args.out.as_deref(),
        gate: None,
        rules,
        queue,
    };
    open(workspace, setup)
}

/// The subjects that the user named, or else the working tree.
fn wanted(workspace: &Workspace, args: &RunArgs) -> Result<Vec<Wanted>> {
    let wanted: Vec<Wanted> = match &args.probe {
        Some(path) => vec![Wanted::Probe(path.clone())],
        None if args.subjects.is_empty() => vec![Wanted::Tree],
        None => args.subjects.clone(),
    };
    if let Some(twice) =
        wanted.iter().enumerate().find(|(i, subject)| wanted[..*i].contains(subject))
    {
        bail!("subject `{}` is named twice", twice.1);
    }
    subject::check(workspace, &args.features, &wanted)?;
    Ok(wanted)
}

/// Rejects a file for records that exists already, or that the log and the report could not lie
/// beside: before the builds rather than after them. `again` says how the command continues after
/// an interruption.
pub(crate) fn check_out(out: Option<&Path>, again: Again) -> Result<()> {
    let Some(out) = out else { return Ok(()) };
    ensure!(
        out.extension().is_some_and(|extension| extension == "jsonl"),
        "`--out {}` does not end in `.jsonl`: log and report take the same name with endings of their own",
        out.display()
    );
    match again {
        Again::Resume if out.exists() => Err(StoreError::Exists { path: out.to_owned() }.into()),
        Again::Anew if out.exists() => {
            bail!("`{}` exists already: choose another `--out`", out.display())
        }
        Again::Resume | Again::Anew => Ok(()),
    }
}

/// How an interrupted command continues.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Again {
    /// With `--resume`.
    Resume,
    /// By running it again from scratch.
    Anew,
}

/// Rejects a folder for several runs that exists already.
pub(crate) fn check_folder(folder: &Path) -> Result<()> {
    ensure!(
        !folder.exists(),
        "`{}` exists already: name a new folder, so that nothing measured is lost",
        folder.display()
    );
    Ok(())
}

/// Everything that a run starts from.
pub(crate) struct Setup<'a> {
    /// The cases to measure.
    pub(crate) plan: Plan,
    /// The subjects to measure them on.
    pub(crate) built: Vec<Built>,
    /// The scenarios, as the user named them.
    pub(crate) scenarios: &'a [String],
    /// The file for the records, if the user named one.
    pub(crate) out: Option<&'a Path>,
    /// The terms of the gate, if it is one.
    pub(crate) gate: Option<Terms>,
    /// The conditions under which its rounds count; none if they count under any.
    pub(crate) rules: Option<Rules>,
    /// How to wait for the machine.
    pub(crate) queue: Queue,
}

/// Waits for the machine, unless this command has it already, and begins the file of a run.
pub(crate) fn open(workspace: &Workspace, setup: Setup<'_>) -> Result<RunSession> {
    let Setup { mut plan, mut built, scenarios, out, gate, rules, queue } = setup;
    let locks = queue.take()?;
    let aim = if gate.is_some() { Aim::Compare } else { Aim::Measure };
    benchmarks::find(workspace, &mut plan, &mut built, aim, queue.progress)?;
    let times =
        estimate::of_plan(workspace, &plan).into_iter().map(|estimate| estimate.time).collect();
    let now = Timestamp::now();
    let words: Vec<String> = scenarios.iter().map(|name| file_word(name)).collect();
    let id = RunId(format!("{}-{}", now.strftime("%Y%m%dT%H%M%S%3fZ"), words.join("+")));
    let path =
        out.map_or_else(|| workspace.reports().join(&id.0).join("run.jsonl"), Path::to_owned);
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot create `{}`", parent.display()))?;
    }
    let run = Run {
        id,
        at: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        command: command_line(),
        subjects: built.iter().map(|built| built.subject.clone()).collect(),
        cases: plan.cases,
        skipped: plan.skipped,
        gate,
        rules,
    };
    let store = Store::create(&path, &run)?;
    Ok(RunSession { run, built, times, path, store, records: Vec::new(), locks })
}

/// The command line of this process, quoted for a shell.
pub(crate) fn command_line() -> String {
    let words = std::env::args_os().skip(1);
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let words =
        shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "));
    format!("windtunnel {words}")
}

/// The name of a scenario as part of a file name.
fn file_word(name: &str) -> String {
    let name = name.trim_end_matches(".toml");
    let word: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    word.trim_matches(['-', '.']).to_owned()
}

/// Which runs a command can resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resumable {
    /// All unfinished runs but calibrations.
    Any,
    /// Unfinished gates, but not calibrations.
    Gate,
}

/// The file of the run to resume: the one that is named, or else the newest unfinished one.
pub(crate) fn interrupted(
    workspace: &Workspace,
    run: Option<&Path>,
    kind: Resumable,
) -> Result<PathBuf> {
    if let Some(path) = run {
        let path = find_run(workspace, &path.display().to_string())?;
        ensure!(
            !is_calibration(&store::read(&path)?.run),
            "`{}` holds a calibration, which is measured in one go: start it anew",
            show::path(&path)
        );
        return Ok(path);
    }
    let goes_on = |contents: &Contents| {
        (kind == Resumable::Any || contents.run.gate.is_some())
            && !is_calibration(&contents.run)
            && !run::is_finished(&contents.run, &contents.records)
    };
    newest_runs(&workspace.reports())
        .into_iter()
        .find(|path| store::read(path).is_ok_and(|contents| goes_on(&contents)))
        .with_context(|| {
            let runs = if kind == Resumable::Gate { "gate" } else { "run" };
            format!(
                "every {runs} below `{}` is finished: there is nothing to resume",
                workspace.reports().display()
            )
        })
}

/// Whether a run is a calibration: only a calibration asks for more pairs than a decision takes.
pub(crate) fn is_calibration(run: &Run) -> bool {
    run.gate.as_ref().is_some_and(|terms| terms.least_pairs > 0)
}

/// Opens an interrupted run, with exactly the probes that it began with.
pub(crate) fn resume(workspace: &Workspace, path: &Path, queue: Queue) -> Result<RunSession> {
    let path = path.to_owned();
    let (store, Contents { run, records, torn }) = Store::resume(&path)?;
    if torn {
        show::note("the last line was cut short by the interruption; its round is measured again");
    }
    let locks = queue.take()?;
    let is_stored = run.gate.as_ref().is_some_and(|terms| terms.setting == Setting::Stored);
    let again = |(place, subject)| match (is_stored, place == Arm::Base as usize) {
        (true, true) => Ok(gate::stored::recorded(Subject::clone(subject))),
        _ => {
            let built = subject::again(workspace, subject, &records)?;
            Ok(subject::benches_again(workspace, built, &records))
        }
    };
    let built = run.subjects.iter().enumerate().map(again).collect::<Result<_>>()?;
    if !run::is_finished(&run, &records) {
        hub::fetch_again(run.cases.iter().map(|planned| &planned.case), queue.progress)?;
    }
    let before = |case: &Case| {
        records.iter().find(|record| record.case.id == case.id).map(|record| record.conditions.wall)
    };
    let times = run.cases.iter().map(|planned| before(&planned.case)).collect();
    Ok(RunSession { run, built, times, path, store, records, locks })
}
