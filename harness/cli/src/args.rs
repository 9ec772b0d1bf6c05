//! What a person types.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::subject::Wanted;

/// Measures LLM inference engines and shows what changed.
#[derive(Debug, Parser)]
#[command(name = "windtunnel", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Act as if started in this directory
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,

    /// Say nothing but results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a run would do, how long it would take and how much memory it needs
    List(Selection),
    /// Measure, print a table, keep the records, write a report
    Run(RunArgs),
    /// Put two subjects side by side: medians, ratio, spread
    Compare(CompareArgs),
    /// Tell whether samples of any benchmark regressed, improved or did neither
    Judge(JudgeArgs),
    /// Write the HTML report of a run
    Report(ReportArgs),
    /// Show how a metric of a case developed over all kept runs
    #[command(disable_help_flag = true)]
    History(HistoryArgs),
}

/// Which cases.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Scenarios (`gate/decode`), folders of them (`smoke`), or paths to scenario files
    #[arg(default_value = "smoke")]
    pub(crate) scenarios: Vec<String>,

    /// Run on these models instead of the scenarios' own: names from `models.toml`, folders, or
    /// `FOLDER/*` for all models in one
    #[arg(short, long, value_name = "MODEL", num_args = 1..)]
    pub(crate) models: Vec<String>,

    /// Keep only cases whose id contains this; `*` stands for anything; several must all match
    #[arg(short, long = "filter", value_name = "PATTERN")]
    pub(crate) filters: Vec<String>,

    /// Rounds per case and subject, instead of what the scenarios say
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) rounds: Option<NonZeroU32>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,

    /// What to measure: `.` (the working tree), `rev:REVISION` or `probe:PATH`; several alternate
    #[arg(short, long = "subject", value_name = "SUBJECT", conflicts_with = "probe")]
    pub(crate) subjects: Vec<Wanted>,

    /// Measure this ready probe and build nothing
    #[arg(long, value_name = "PATH")]
    pub(crate) probe: Option<PathBuf>,

    /// Cargo features to build the subjects with
    #[arg(long, value_name = "FEATURES", value_delimiter = ',', conflicts_with = "probe")]
    pub(crate) features: Vec<String>,

    /// The file for the records; log and report are written beside it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Go on with an interrupted run: this one, or else the newest that is not finished
    #[arg(
        long,
        value_name = "RUN",
        num_args = 0..=1,
        conflicts_with_all = ["scenarios", "models", "filters", "rounds", "subjects", "probe", "features", "out"]
    )]
    pub(crate) resume: Option<Option<PathBuf>>,
    /// Repeat rounds that were measured under conditions that this policy forbids, as `ci/gate.toml`
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The base: a run, or `RUN@SUBJECT` where a run holds several
    pub(crate) base: String,

    /// The head; left out, the first and the last subject of the base's run are compared
    pub(crate) head: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Each file is one series: rounds of a baseline and of a candidate, each with its samples. Files with \
the same `run` are judged as one family.

  {
    \"run\": \"monday\",                       left out: one run with all others that leave it out
    \"kind\": \"time\",                        or throughput, bytes, count
    \"unit\": \"ms\",
    \"mode\": \"paired\",                      or stored: the baseline is of other days
    \"quantile\": 0.5,                       or 0.95, 0.99
    \"theta\": 0.03,                         the margin: 3 %
    \"baseline\":  { \"p00\": [9.8, 9.9], \"p01\": [9.7, 9.9], … },
    \"candidate\": { \"p00\": [9.9, 9.7], \"p01\": [9.8, 9.6], … }
  }

`ci/judge.md` explains every key and how the verdict comes about.

Exit codes: 0 pass or improved, 1 regressed, 2 a file that cannot be read, 3 inconclusive.")]
pub(crate) struct JudgeArgs {
    /// Files of samples, one series each; a folder stands for the files `case_*.json` in it
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// How to print the verdicts
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    /// What a series that could not be decided does to the exit code
    #[arg(long, value_name = "EFFECT", value_enum, default_value_t = Undecided::Blocks)]
    pub(crate) inconclusive: Undecided,
}

/// How to print verdicts.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs: an object with one entry for each series
    Json,
}

/// What a series that could not be decided does to the exit code.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Undecided {
    /// Exit code 3
    Blocks,
    /// None: exit code 0
    Warns,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The run: its folder, its file or its name below `reports`; left out, the newest
    pub(crate) run: Option<String>,

    /// Where to write the page, instead of beside the records
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Passed on to `windtunnel-history`; `--help` shows what it takes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) args: Vec<std::ffi::OsString>,
}
