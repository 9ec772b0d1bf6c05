//! The `windtunnel` command.
//!
//! It reads scenarios, plans, builds subjects, starts a probe for every round, keeps what they
//! leave, and shows it. It links neither the engine nor candle: the process that measures holds
//! nothing but the engine, and a machine without a GPU can read what one with a GPU recorded.

mod args;
mod estimate;
mod exit;
mod machine;
mod plan;
mod progress;
mod run;
mod scenario;
mod show;
mod spawn;
mod subject;
mod workspace;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use jiff::Timestamp;
use windtunnel_ledger::case::Case;
use windtunnel_ledger::compare::{Comparison, Pair, compare};
use windtunnel_ledger::record::{Outcome, Record, Run, RunId};
use windtunnel_ledger::store::{self, Contents, Store, StoreError};
use windtunnel_ledger::summary::{Caveat, Summary, summarise};

use args::{Cli, Command, CompareArgs, HistoryArgs, ReportArgs, RunArgs, Selection};
use estimate::{Estimate, Past, newest_runs};
use plan::Plan;
use progress::{Progress, Voice};
use run::Session;
use subject::Wanted;
use workspace::{Workspace, cargo};

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A panic has said on stderr what and where; the code tells it apart from what users cause.
    match std::panic::catch_unwind(|| dispatch(cli)) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(error)) => {
            show::error(&error);
            let busy = matches!(error.downcast_ref(), Some(StoreError::Busy { .. }));
            ExitCode::from(if busy { exit::BUSY } else { exit::USAGE })
        }
        Err(_) => ExitCode::from(exit::BUG),
    }
}

fn dispatch(cli: Cli) -> Result<u8> {
    if let Some(directory) = &cli.directory {
        std::env::set_current_dir(directory)
            .with_context(|| format!("cannot enter directory `{}`", directory.display()))?;
    }
    let workspace = Workspace::around(Path::new("."))?;
    let voice = if cli.quiet { Voice::Quiet } else { Voice::Normal };
    match cli.command {
        Command::List(selection) => list(&workspace, &selection),
        Command::Run(args) => measure(&workspace, &args, Progress::choose(voice)),
        Command::Compare(args) => side_by_side(&workspace, &args),
        Command::Report(args) => report(&workspace, &args),
        Command::History(args) => history(&workspace, &args, voice),
    }
}

fn list(workspace: &Workspace, selection: &Selection) -> Result<u8> {
    let plan = expand(workspace, selection)?;
    show::result(&show::plan(&plan, &estimates(workspace, &plan)))?;
    Ok(if plan.cases.is_empty() { exit::INVALID } else { exit::PASS })
}

fn expand(workspace: &Workspace, selection: &Selection) -> Result<Plan> {
    let scenarios = scenario::load(workspace, &selection.scenarios)?;
    Ok(plan::expand(&scenarios, &selection.filters, selection.rounds.map(Into::into)))
}

fn estimates(workspace: &Workspace, plan: &Plan) -> Vec<Estimate> {
    let past = Past::read(&workspace.reports(), &machine::read().key());
    plan.cases.iter().zip(&plan.models).map(|(p, model)| past.estimate(&p.case, model)).collect()
}

fn measure(workspace: &Workspace, args: &RunArgs, progress: Progress) -> Result<u8> {
    let mut session = match &args.resume {
        Some(run) => resume(workspace, run.as_deref())?,
        None => {
            let plan = expand(workspace, &args.selection)?;
            if plan.cases.is_empty() {
                show::note(&format!(
                    "nothing to measure: {} skipped, {} left out by the filter; `windtunnel list` shows the cases",
                    plan.skipped.len(),
                    plan.filtered
                ));
                return Ok(exit::INVALID);
            }
            begin(workspace, args, plan, progress)?
        }
    };
    if progress != Progress::Quiet {
        let path = show::path(&session.path);
        show::note(&format!("records: {path} (if interrupted: windtunnel run --resume {path})"));
    }
    run::measure(&mut session, workspace, progress)?;

    let Session { run, records, path, .. } = session;
    let contents = Contents { run, records, torn: false };
    // The page first: nothing that happens to the reader of the table can cost it.
    let page = write_report(&contents, &page_of(&path))?;
    show::result(&show::records(&contents.run, &contents.records))?;
    let mut broken = false;
    if let [base, heads @ ..] = contents.run.subjects.as_slice() {
        let base = Side::of(&contents, &base.name)?;
        for head in heads {
            let head = Side::of(&contents, &head.name)?;
            let pairs = compare(&base.records, &head.records);
            show::result(&format!("\n{}", show::comparison(&base.name, &head.name, &pairs)))?;
            broken |= pairs.iter().any(Pair::is_broken);
        }
    }
    show::result(&format!("\nreport: {}\n", show::path(&page)))?;
    Ok(if broken { exit::BROKEN } else { code_of(&contents) })
}

fn begin(workspace: &Workspace, args: &RunArgs, plan: Plan, progress: Progress) -> Result<Session> {
    if let Some(out) = &args.out {
        ensure!(
            out.extension().is_some_and(|extension| extension == "jsonl"),
            "`--out {}` does not end in `.jsonl`: log and report take the same name with endings of their own",
            out.display()
        );
    }
    let times = estimates(workspace, &plan).into_iter().map(|estimate| estimate.time).collect();
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
    let build = |subject| subject::build(workspace, subject, &args.features, progress);
    let built = wanted.iter().map(build).collect::<Result<Vec<_>>>()?;

    let now = Timestamp::now();
    let words: Vec<String> = args.selection.scenarios.iter().map(|name| file_word(name)).collect();
    let id = RunId(format!("{}-{}", now.strftime("%Y%m%dT%H%M%S%3fZ"), words.join("+")));
    let path =
        args.out.clone().unwrap_or_else(|| workspace.reports().join(&id.0).join("run.jsonl"));
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
    };
    let store = Store::create(&path, &run)?;
    Ok(Session { run, built, times, path, store, records: Vec::new() })
}

/// The words of the command that is running, for a shell.
fn command_line() -> String {
    let words = std::env::args_os().skip(1);
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let words =
        shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "));
    format!("windtunnel {words}")
}

/// The name of a scenario as a part of a file name.
fn file_word(name: &str) -> String {
    let name = name.trim_end_matches(".toml");
    let word: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    word.trim_matches(['-', '.']).to_owned()
}

fn resume(workspace: &Workspace, run: Option<&Path>) -> Result<Session> {
    let path = match run {
        Some(path) => find_run(workspace, &path.display().to_string())?,
        None => newest_runs(&workspace.reports())
            .into_iter()
            .find(|path| store::read(path).is_ok_and(|c| !run::is_finished(&c.run, &c.records)))
            .with_context(|| {
                format!(
                    "every run below `{}` is finished: there is nothing to resume",
                    workspace.reports().display()
                )
            })?,
    };
    let (store, Contents { run, records, torn }) = Store::resume(&path)?;
    if torn {
        show::note("the last line was cut short by the interruption; its round is measured again");
    }
    let again = |subject| subject::again(workspace, subject, &records);
    let built = run.subjects.iter().map(again).collect::<Result<_>>()?;
    let before = |case: &Case| {
        records.iter().find(|record| record.case.id == case.id).map(|record| record.conditions.wall)
    };
    let times = run.cases.iter().map(|planned| before(&planned.case)).collect();
    Ok(Session { run, built, times, path, store, records })
}

/// What a run means for whoever asked for it.
fn code_of(contents: &Contents) -> u8 {
    let records = &contents.records;
    let any = |wanted: fn(&Outcome) -> bool| records.iter().any(|record| wanted(&record.outcome));
    let varies = |summary: &Summary| summary.caveats.contains(&Caveat::OutputVaries);
    match () {
        () if any(|outcome| matches!(outcome, Outcome::Failed(_))) => exit::BROKEN,
        () if summarise(records).iter().any(varies) => exit::BROKEN,
        () if !any(|outcome| matches!(outcome, Outcome::Measured(_))) => exit::INVALID,
        () => exit::PASS,
    }
}

fn side_by_side(workspace: &Workspace, args: &CompareArgs) -> Result<u8> {
    let (base, head) = match &args.head {
        Some(head) => (Side::read(workspace, &args.base)?, Side::read(workspace, head)?),
        None => {
            let contents = store::read(&find_run(workspace, &args.base)?)?;
            let [first, .., last] = contents.run.subjects.as_slice() else {
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
    let has_rows =
        |pair: &Pair| matches!(&pair.comparison, Comparison::Rows(rows) if !rows.is_empty());
    Ok(match () {
        () if pairs.iter().any(Pair::is_broken) => exit::BROKEN,
        () if pairs.is_empty() || !pairs.iter().all(has_rows) => exit::INVALID,
        () => exit::PASS,
    })
}

/// One side of a comparison.
struct Side {
    name: String,
    records: Vec<Record>,
}

impl Side {
    /// Reads `RUN` or `RUN@SUBJECT`.
    fn read(workspace: &Workspace, text: &str) -> Result<Side> {
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

    fn of(contents: &Contents, name: &str) -> Result<Side> {
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

fn report(workspace: &Workspace, args: &ReportArgs) -> Result<u8> {
    let path = match &args.run {
        Some(run) => find_run(workspace, run)?,
        None => newest_runs(&workspace.reports()).into_iter().next().with_context(|| {
            format!(
                "there is no run below `{}`: measure one with `windtunnel run`",
                workspace.reports().display()
            )
        })?,
    };
    let page = args.out.clone().unwrap_or_else(|| page_of(&path));
    let page = write_report(&store::read(&path)?, &page)?;
    show::result(&format!("report: {}\n", show::path(&page)))?;
    Ok(exit::PASS)
}

/// The page that belongs to a file of records: `report.html` beside a `run.jsonl`.
fn page_of(run: &Path) -> PathBuf {
    match run.file_name() {
        Some(name) if name == "run.jsonl" => run.with_file_name("report.html"),
        _ => run.with_extension("html"),
    }
}

fn write_report(contents: &Contents, page: &Path) -> Result<PathBuf> {
    let html = windtunnel_report::render(contents).context("cannot render the report")?;
    std::fs::write(page, html)
        .with_context(|| format!("cannot write report `{}`", page.display()))?;
    Ok(page.to_owned())
}

/// The file of a run that is named by its file, its folder, or its name below `reports`.
fn find_run(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let places = [
        PathBuf::from(name),
        Path::new(name).join("run.jsonl"),
        workspace.reports().join(name).join("run.jsonl"),
    ];
    places.into_iter().find(|path| path.is_file()).with_context(|| {
        let reports = workspace.reports();
        let newest = newest_runs(&reports).into_iter().next().and_then(|path| {
            path.parent()?.file_name().map(|name| format!("; the newest is `{}`", name.display()))
        });
        format!(
            "there is no run `{name}` here or below `{}`{}",
            reports.display(),
            newest.unwrap_or_default()
        )
    })
}

/// Hands over to `windtunnel-history`: the workspace's, built when it is first asked for, because
/// polars takes long to build and most users never need it; or else the one beside this program.
#[expect(clippy::disallowed_methods, reason = "another program does this command's work")]
fn history(workspace: &Workspace, args: &HistoryArgs, voice: Voice) -> Result<u8> {
    let mut command = if workspace.has_sources() {
        if voice == Voice::Normal {
            show::note("building windtunnel-history where needed; polars takes several minutes");
        }
        let mut command = std::process::Command::new(cargo());
        let manifest = workspace.root().join("Cargo.toml");
        command.args([
            "run",
            "--release",
            "--locked",
            "--quiet",
            "--package",
            "windtunnel-history",
        ]);
        command.arg("--manifest-path").arg(manifest).arg("--");
        command
    } else {
        let beside =
            std::env::current_exe().ok().map(|exe| exe.with_file_name("windtunnel-history"));
        let beside = beside.filter(|path| path.is_file()).with_context(|| {
            format!(
                "`windtunnel-history` is neither beside `windtunnel` nor can it be built in `{}`",
                workspace.root().display()
            )
        })?;
        std::process::Command::new(beside)
    };
    let chosen = args.args.iter().any(|arg| arg.as_encoded_bytes().starts_with(b"--store"));
    let store: [OsString; 2] = ["--store".into(), workspace.reports().into()];
    command.args(if chosen { &[][..] } else { &store }).args(&args.args);
    let status = command.status().context("cannot start `windtunnel-history`")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::BUG))
}
