//! `windtunnel-history`: what is in the store, how it developed, and what changed.

mod table;

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use windtunnel_history::archive::{self, Moved};
use windtunnel_history::commits::{Commits, read_log};
use windtunnel_history::frame::{self, Loaded};
use windtunnel_history::judged::{self, Basis, judge};
use windtunnel_history::series::{self, history, known_cases};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::{store, whole};
use windtunnel_report::history::History;

/// Shows how every metric of every case developed over all kept runs, and what changed.
#[derive(Debug, Parser)]
#[command(name = "windtunnel-history", bin_name = "windtunnel history", version)]
struct Cli {
    #[command(flatten)]
    show: Show,

    #[command(flatten)]
    paths: Paths,

    #[command(subcommand)]
    command: Option<Move>,
}

#[derive(Debug, Args)]
struct Show {
    /// Only cases whose id contains this; `*` stands for anything
    #[arg(long, value_name = "PATTERN")]
    case: Option<String>,

    /// Only this metric
    #[arg(long, value_name = "NAME", value_parser = metric())]
    metric: Option<Metric>,

    /// Along which commits
    #[arg(long, value_enum, default_value_t = Along::Own)]
    along: Along,

    /// Only the series that this run is part of: its file, which is read too, wherever it is
    #[arg(long, value_name = "FILE")]
    run: Option<PathBuf>,

    /// Write a page with plots instead of printing a table
    #[arg(long, value_name = "FILE", conflicts_with = "format")]
    html: Option<PathBuf>,

    /// How to print what there is
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// The output format of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs: everything that a page shows, as one object
    Json,
}

#[derive(Debug, Args)]
struct Paths {
    /// Directory with the records of runs, `*.jsonl`, at any depth, one such file, or a file that
    /// `export` has written; several are taken together
    #[arg(long = "store", value_name = "DIR", default_value = "reports", global = true)]
    stores: Vec<PathBuf>,

    /// Where policy, calibrations, integration log and git repository are
    #[arg(long, value_name = "DIR", default_value = ".", global = true)]
    workspace: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Move {
    /// Write the whole store into one Parquet file, which any program for tables can read
    Export {
        /// The file
        file: PathBuf,
    },
    /// Write the runs of such a file into the store; nothing is ever overwritten
    Import {
        /// The file
        file: PathBuf,

        /// The folder for them, instead of the store
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
    },
}

/// The commits that a history follows.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Along {
    /// Our own, in the order of git
    Own,
    /// The upstream's, in the order of the integration log
    Upstream,
}

/// Success.
const DONE: u8 = 0;
/// A usage error, or input that cannot be read.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        None => show(&cli.show, &cli.paths),
        Some(command) => whole(&cli.show).and_then(|()| match command {
            Move::Export { file } => export(&cli.paths, file),
            Move::Import { file, into } => import(&cli.paths, file, into.as_deref()),
        }),
    };
    let (text, mut notes) =
        result.unwrap_or_else(|error| (String::new(), vec![format!("error: {error:#}")]));
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(shown(&text).as_bytes()).and_then(|()| stdout.flush()) {
        // A reader that has seen enough closes the pipe, which is not a failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            notes.push(format!("error: cannot write to stdout: {error}"));
        }
        _ => (),
    }
    for note in &notes {
        let _ = writeln!(std::io::stderr(), "{}", shown(note));
    }
    ExitCode::from(if notes.is_empty() { DONE } else { USAGE })
}

/// A name from a file must not control the terminal.
fn shown(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

/// What to print, and notes on what could not be read.
fn show(args: &Show, paths: &Paths) -> Result<(String, Vec<String>)> {
    let run = args.run.as_deref().map(run_of).transpose()?;
    let all: Vec<PathBuf> = paths.stores.iter().chain(&args.run).cloned().collect();
    let loaded = frame::load(&all)?;
    let notes: Vec<String> = loaded
        .unread
        .iter()
        .map(|error| format!("error: {error}; its records are not in this table"))
        .collect();
    if loaded.files == 0 {
        match notes.is_empty() {
            true => bail!(
                "there is no run in {}\nhint: measure one with `windtunnel run smoke`",
                stores(paths)
            ),
            false => return Ok((String::new(), notes)),
        }
    }
    let mut history = judged(args, paths, &loaded, run.as_deref())?;
    if let Some(run) = run {
        history = history.of_run(&run);
    }
    if args.format == Format::Json {
        let text = serde_json::to_string(&history).context("cannot write the history")?;
        return Ok((text + "\n", notes));
    }
    if history.tracks.is_empty() {
        bail!("{}", nothing(args, paths, &loaded)?);
    }
    if let Some(file) = &args.html {
        let page = windtunnel_report::render_history(&history).context("cannot draw the page")?;
        whole::replace(file, page.as_bytes())
            .with_context(|| format!("cannot write the page `{}`", file.display()))?;
        return Ok((format!("history: {}\n", file.display()), notes));
    }
    if args.metric.is_none() && args.case.is_none() {
        return Ok((table::overview(&history), notes));
    }
    let text = history.tracks.iter().map(|track| table::series(&history, track));
    Ok((text.collect(), notes))
}

/// The name of the run in a file.
fn run_of(file: &Path) -> Result<String> {
    Ok(store::read(file)?.run.id.0)
}

/// The requested history.
fn judged(args: &Show, paths: &Paths, loaded: &Loaded, run: Option<&str>) -> Result<History> {
    let root = &paths.workspace;
    let own = Commits::of_repository(root);
    let log = read_log(&root.join("engine/upstream.toml"))?;
    let upstream = log.as_ref().map(Commits::of_log).unwrap_or_default();
    let policy = judged::policy(&root.join("ci/gate.toml"))?;
    let floors = judged::floors(&root.join("baselines/machines"))?;
    let along = match args.along {
        Along::Own => series::Along::Own,
        Along::Upstream => series::Along::Upstream,
    };
    let basis = Basis { policy: &policy, floors: &floors, own: &own, upstream: &upstream, along };
    let pattern = args.case.as_deref().unwrap_or_default();
    let history = history(loaded, pattern, args.metric, run, along, &own, &upstream)?;
    Ok(judge(loaded, history, &basis))
}

/// Why there is no series to show, and what could be shown instead.
fn nothing(args: &Show, paths: &Paths, loaded: &Loaded) -> Result<String> {
    let all = known_cases(loaded)?;
    let pattern = args.case.as_deref().unwrap_or_default();
    let fitting: Vec<&str> = all
        .iter()
        .copied()
        .filter(|case| windtunnel_ledger::case::matches(case, pattern))
        .collect();
    let listed = |cases: &[&str]| {
        let more = if cases.len() > 10 { "\n  …" } else { "" };
        format!("{}{more}", cases[..cases.len().min(10)].join("\n  "))
    };
    Ok(match (&all[..], &fitting[..], args.metric) {
        ([], ..) => format!(
            "no round in {} was measured\nhint: look at the failures with `windtunnel report`",
            stores(paths)
        ),
        (all, [], _) => format!("no case contains `{pattern}`\nhint: there are\n  {}", listed(all)),
        (_, fitting, Some(metric)) => format!(
            "no such case has `{metric}`\nhint: without `--metric` all of these are shown\n  {}",
            listed(fitting)
        ),
        (_, _, None) => format!(
            "no build in {} tells its upstream commit\nhint: see them along our own with `--along own`",
            stores(paths)
        ),
    })
}

/// An archive holds everything: options that select what to show would be silently ignored.
fn whole(args: &Show) -> Result<()> {
    let chosen = args.case.is_some() || args.metric.is_some() || args.run.is_some();
    if chosen || args.html.is_some() || args.format != Format::Table {
        bail!(
            "`--case`, `--metric`, `--run`, `--html` and `--format` choose what is shown: an archive holds the whole store"
        );
    }
    Ok(())
}

fn export(paths: &Paths, file: &Path) -> Result<(String, Vec<String>)> {
    let [store] = &paths.stores[..] else {
        bail!("an archive holds one store: name one `--store`, there are {}", paths.stores.len());
    };
    let moved = archive::export(store, file)
        .with_context(|| format!("`{}` was not written", file.display()))?;
    if moved.files == 0 {
        bail!(
            "there is no run in {}\nhint: measure one with `windtunnel run smoke`",
            stores(paths)
        );
    }
    Ok((format!("{} in `{}`\n", told(moved), file.display()), Vec::new()))
}

fn import(paths: &Paths, file: &Path, into: Option<&Path>) -> Result<(String, Vec<String>)> {
    let into = into.or_else(|| paths.stores.first().map(PathBuf::as_path));
    let into = into.context("name a folder with `--into`")?;
    let moved = archive::import(file, into)?;
    let known = match moved.known {
        0 => String::new(),
        known => format!("; {known} of them were there already"),
    };
    Ok((format!("{} in `{}`{known}\n", told(moved), into.display()), Vec::new()))
}

fn told(moved: Moved) -> String {
    format!("{} with {}", table::counted(moved.files, "run"), table::counted(moved.lines, "line"))
}

fn stores(paths: &Paths) -> String {
    let names = paths.stores.iter().map(|store| format!("`{}`", store.display()));
    names.collect::<Vec<_>>().join(", ")
}

/// Parses metrics by name; a wrong name is answered with the nearest and the list of all.
fn metric() -> impl TypedValueParser<Value = Metric> {
    let names = Metric::ALL.map(|metric| metric.spec().name);
    PossibleValuesParser::new(names)
        .try_map(|name| Metric::from_name(&name).ok_or("this metric has no name of its own"))
}
