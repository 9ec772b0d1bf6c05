//! The `windtunnel` command.
//!
//! It reads scenarios, plans, builds subjects, starts a probe for every round, keeps the records
//! and shows them. It links neither the engine nor candle: the measured process contains nothing
//! but the engine, and a machine without a GPU can read what one with a GPU recorded.

mod adapter;
mod args;
mod baseline;
mod benchmarks;
mod bisect;
mod calibrate;
mod candle;
mod clocks;
mod compare;
mod conditions;
mod doctor;
mod estimate;
mod exit;
mod explain;
mod explain_verdict;
mod external;
mod fetch;
mod gate;
mod gguf;
mod git;
mod history;
mod hub;
mod index;
mod judge;
mod lock;
mod machine;
mod merge;
mod museum;
mod plan;
mod progress;
mod roof;
mod run;
mod runs;
mod scenario;
mod session;
mod shard;
mod show;
mod spawn;
mod starved;
mod subject;
mod upstream;
mod watch;
mod workspace;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use windtunnel_ledger::record::Outcome;
use windtunnel_ledger::store::{self, Contents, StoreError};
use windtunnel_ledger::summary::{Caveat, Summary, summarise};

use args::{Cli, Command, Format, ListArgs, Past, ReportArgs, RunArgs, Selection, ShowArgs};
use lock::Queue;
use plan::Plan;
use progress::{Progress, Voice};
use runs::{find_run, newest_runs, page_of, write_page, write_report};
use session::{Resumable, RunSession};
use show::Unable;
use starved::{Memory, Starved};
use workspace::Workspace;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The panic has already been reported on stderr; the exit code tells it from user errors.
    match std::panic::catch_unwind(|| dispatch(cli)) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(error)) => {
            show::error(&error);
            let busy = matches!(error.downcast_ref(), Some(StoreError::Busy { .. }))
                || error.is::<lock::Busy>();
            ExitCode::from(if busy { exit::BUSY } else { exit::USAGE })
        }
        Err(_) => ExitCode::from(exit::BUG),
    }
}

fn dispatch(cli: Cli) -> Result<u8> {
    clocks::end_with_holder()?;
    if let Some(directory) = &cli.directory {
        std::env::set_current_dir(directory)
            .with_context(|| format!("cannot enter directory `{}`", directory.display()))?;
    }
    let workspace = Workspace::around(Path::new("."))?.entered(cli.directory);
    let voice = if cli.quiet { Voice::Quiet } else { Voice::Normal };
    match cli.command {
        Command::List(args) => list(&workspace, &args),
        Command::Fetch(args) => fetch::fetch(&workspace, &args, Progress::choose(voice)),
        Command::Run(args) => measure(&workspace, &args, Progress::choose(voice)),
        Command::Gate(args) => gate::gate(&workspace, &args, Progress::choose(voice)),
        Command::Calibrate(args) => {
            calibrate::calibrate(&workspace, &args, Progress::choose(voice))
        }
        Command::Doctor(args) => doctor::doctor(&workspace, &args, Progress::choose(voice)),
        Command::Baseline(args) => baseline::baseline(&workspace, &args, Progress::choose(voice)),
        Command::Show(args) => numbers(&workspace, &args),
        Command::Compare(args) => compare::side_by_side(&workspace, &args),
        Command::Explain(args) => explain::explain(&workspace, &args),
        Command::ExplainVerdict(args) => explain_verdict::verdict(&workspace, &args),
        Command::Judge(args) => judge::samples_of(&args),
        Command::Merge(args) => merge::merge(&workspace, &args),
        Command::Report(args) => report(&workspace, &args, voice),
        Command::Index(args) => index::index(&workspace, &args),
        Command::History(args) => history::history(&workspace, &args, voice),
        Command::Museum(args) => museum::museum(&workspace, &args, Progress::choose(voice)),
        Command::Bisect(args) => bisect::bisect(&workspace, &args, Progress::choose(voice)),
        Command::HoldClocks(args) => {
            let (patience, progress) = (args.waiting.patience(), Progress::choose(voice));
            clocks::hold(&args, Queue { patience, progress })
        }
        Command::KeepClocks(args) => clocks::keep(&args),
        Command::Adapt(args) => adapter::adapt(&args),
        Command::Upstream(args) => upstream::upstream(&workspace, &args, Progress::choose(voice)),
    }
}

fn list(workspace: &Workspace, args: &ListArgs) -> Result<u8> {
    let mut plan = expand(workspace, &args.selection)?;
    if let Some(shard) = args.shard {
        shard.cut(&mut plan);
    }
    let outlooks = hub::look(&mut plan)?;
    let (machine, _) = watch::machine(machine::read());
    let starved = Starved::known(&workspace.reports(), &machine.key(), &[], Memory::Kept);
    let estimates = estimate::of_plan(workspace, &plan);
    let unable = match args.all {
        true => Unable::Named,
        false => Unable::Counted { named_by: format!("{} --all", session::command_line()) },
    };
    show::result(&show::plan(&plan, &estimates, &unable, &starved, &outlooks))?;
    Ok(if plan.cases.is_empty() { exit::INVALID } else { exit::PASS })
}

fn expand(workspace: &Workspace, selection: &Selection) -> Result<Plan> {
    let scenarios = scenario::load(workspace, &selection.scenarios, &selection.models)?;
    Ok(plan::expand(&scenarios, &selection.filters, selection.rounds.map(Into::into)))
}

fn measure(workspace: &Workspace, args: &RunArgs, progress: Progress) -> Result<u8> {
    let rules = || {
        let of = |path| anyhow::Ok(gate::read_policy(workspace, Some(path))?.conditions);
        args.policy.as_deref().map(of).transpose()
    };
    let queue = Queue { patience: args.waiting.patience(), progress };
    let mut session = match &args.resume {
        Some(run) => {
            // Taken first: otherwise a run that is being measured could be mistaken for an
            // interrupted one.
            let _turn = queue.take()?;
            let path = resumed(workspace, args, run.as_deref())?;
            let rules = rules()?;
            let mut session = session::resume(workspace, &path, queue)?;
            session.run.rules = rules.or(session.run.rules);
            session
        }
        None => {
            let rules = rules()?;
            let mut plan = expand(workspace, &args.selection)?;
            if let Some(shard) = args.shard {
                shard.cut(&mut plan);
            }
            if plan.cases.is_empty() {
                show::note(&format!("nothing to measure: {}", plan.left_out()));
                return Ok(exit::INVALID);
            }
            session::begin(workspace, args, plan, rules, queue)?
        }
    };
    if session.run.gate.is_some() {
        return gate::conclude(workspace, session, progress);
    }
    session.announce(&again(workspace, args, &session.path), progress);
    let memory = if args.forget_oom { Memory::Forgotten } else { Memory::Kept };
    run::measure(&mut session, workspace, memory, progress)?;

    let RunSession { run, records, path, .. } = session;
    let contents = Contents { run, records, torn: false };
    // The page first: it must not be lost if showing the table fails.
    let page = write_report(workspace, &contents, &path)?;
    show::result(&show::run(&contents, args.format)?)?;
    let broken = compare::subjects(&contents, args.format)?;
    let page = format!("\nreport: {}", show::path(&page));
    match args.format {
        Format::Table => show::result(&(page + "\n"))?,
        // Output for files and programs contains only numbers.
        Format::Markdown | Format::Csv | Format::Json => progress.note(page.trim_start()),
    }
    Ok(if broken { exit::BROKEN } else { code_of(&contents) })
}

/// The command line that continues an interrupted run in the same way.
fn again(workspace: &Workspace, args: &RunArgs, run: &Path) -> String {
    let run = show::path(run);
    let mut words = vec!["run", "--resume", &run];
    words.extend(args.forget_oom.then_some("--forget-oom"));
    workspace.line(&words)
}

/// The file of the run to continue. Rejects options that do not apply to a gate: it continues with
/// its own policy and prints what gates print.
fn resumed(workspace: &Workspace, args: &RunArgs, run: Option<&Path>) -> Result<PathBuf> {
    let path = session::interrupted(workspace, run, Resumable::Any)?;
    let given = [
        ("--format", args.format != Format::Table),
        ("--policy", args.policy.is_some()),
        ("--forget-oom", args.forget_oom),
    ];
    if let Some((option, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
        ensure!(
            store::read(&path)?.run.gate.is_none(),
            "`{0}` holds a gate, to which `{option}` does not apply: continue with `windtunnel gate --resume {0}`",
            show::path(&path)
        );
    }
    Ok(path)
}

/// The exit code of a run.
fn code_of(contents: &Contents) -> u8 {
    let records = &contents.records;
    let any = |wanted: fn(&Outcome) -> bool| records.iter().any(|record| wanted(&record.outcome));
    let wrong =
        |caveat: &Caveat| matches!(caveat, Caveat::OutputVaries | Caveat::OutputMoves { .. });
    let varies = |summary: &Summary| summary.caveats.iter().any(wrong);
    match () {
        () if any(|outcome| matches!(outcome, Outcome::Failed(_))) => exit::BROKEN,
        () if summarise(records).iter().any(varies) => exit::BROKEN,
        () if !any(|outcome| matches!(outcome, Outcome::Measured(_))) => exit::INVALID,
        () => exit::PASS,
    }
}

fn numbers(workspace: &Workspace, args: &ShowArgs) -> Result<u8> {
    let path = run_or_newest(workspace, args.run.as_deref())?;
    let contents = store::read(&path)?;
    show::result(&show::run(&contents, args.format)?)?;
    if contents.records.is_empty() {
        let goes_on = if contents.run.gate.is_some() { "gate" } else { "run" };
        let line = workspace.line(&[goes_on, "--resume", &show::path(&path)]);
        show::note(&match session::is_calibration(&contents.run) {
            true => {
                "error: no round was measured yet: if it was interrupted, start it anew".to_owned()
            }
            false => format!(
                "error: no round was measured yet: if it was interrupted, continue with `{line}` and the options that it had"
            ),
        });
        return Ok(exit::INVALID);
    }
    Ok(exit::PASS)
}

fn run_or_newest(workspace: &Workspace, run: Option<&str>) -> Result<PathBuf> {
    match run {
        Some(run) => find_run(workspace, run),
        None => newest_runs(&workspace.reports()).into_iter().next().with_context(|| {
            format!(
                "there is no run below `{}`: measure one with `windtunnel run`",
                workspace.reports().display()
            )
        }),
    }
}

fn report(workspace: &Workspace, args: &ReportArgs, voice: Voice) -> Result<u8> {
    let path = run_or_newest(workspace, args.run.as_deref())?;
    let page = args.out.clone().unwrap_or_else(|| page_of(&path));
    let contents = store::read(&path)?;
    let past = match args.history {
        Past::Auto => history::where_known(workspace, &path),
        past => history::of_run(workspace, &path, past, voice)?,
    };
    write_page(workspace, &contents, past.as_ref(), &page)?;
    if voice == Voice::Normal {
        history::advise(workspace, &path, args.history);
    }
    show::result(&format!("report: {}\n", show::path(&page)))?;
    Ok(exit::PASS)
}
