//! The command line.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::candle::Candle;
use crate::lock::Patience;
use crate::scenario::{MOST_ROUNDS, Rounds, reworded};
use crate::shard::Shard;
use crate::subject::Wanted;

mod baseline;
mod bisect;
mod museum;
mod upstream;

pub(crate) use baseline::{
    AboutArgs, AcceptArgs, BaselineArgs, BaselineCommand, DecideArgs, PruneArgs, RecordArgs,
    ShareArgs,
};
pub(crate) use bisect::BisectArgs;
pub(crate) use museum::{MuseumArgs, MuseumFormat};
pub(crate) use upstream::{PickArgs, PlanArgs, SyncArgs, UpstreamArgs, UpstreamCommand};

/// Parses the rounds of a case.
fn rounds(text: &str) -> Result<NonZeroU32, String> {
    let rounds = text.parse::<NonZeroU32>();
    let rounds = rounds.map_err(|_| format!("write a whole number from 1 to {MOST_ROUNDS}"))?;
    Rounds::try_from(rounds).map(|Rounds(rounds)| rounds)
}

/// Parses a whole number.
fn whole<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| "write a whole number that is not too large".to_owned())
}

/// The help of every `--filter`.
const FILTER: &str = "Keep only cases whose id contains this; `*` stands for anything, and a number at the end is a \
    whole one (`batch=1` is not `batch=16`, `batch=1*` is); several must all match";

/// Measures LLM inference engines and shows what changed.
#[derive(Debug, Parser)]
#[command(
    name = "windtunnel",
    version,
    arg_required_else_help = true,
    after_help = "Start with: doctor, run smoke, gate --base main."
)]
pub(crate) struct Cli {
    /// Act as if started in this directory
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,

    /// Print only results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// In the order in which `--help` lists them: measure, judge, inspect, baselines and history,
/// upstream, machine.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a run would do, how long it would take and how much memory it needs
    List(ListArgs),
    /// Download models, say where they lie and at which commit, and measure nothing
    Fetch(FetchArgs),
    /// Measure, print a table, keep the records, write a report
    Run(RunArgs),
    /// Say whether a change made anything slower, bigger or wrong, and write it down for a merge
    Gate(GateArgs),
    /// Put two subjects side by side: medians, ratio, spread, verdicts
    Compare(CompareArgs),
    /// Tell whether samples of any benchmark regressed, improved or did neither
    Judge(JudgeArgs),
    /// Join runs that shared the cases of one plan, and judge them as one
    Merge(MergeArgs),
    /// Plant regressions that really happened in the engine, and show which guard catches which
    Museum(MuseumArgs),
    /// Print the numbers of a run again, as a table or for other programs
    Show(ShowArgs),
    /// Show where the time of a case went, in one subject or in two side by side
    Explain(ExplainArgs),
    /// Show the arithmetic behind a verdict of a gate
    ExplainVerdict(ExplainVerdictArgs),
    /// Write the HTML report of a run
    Report(ReportArgs),
    /// Rewrite the list of all reports, `reports/index.html`
    Index(IndexArgs),
    /// Keep measurements that later changes are compared with, and decide which of them count
    Baseline(BaselineArgs),
    /// Show how every metric developed over all kept runs, and what changed; `export` and `import`
    /// them
    #[command(disable_help_flag = true)]
    History(HistoryArgs),
    /// Follow the commits of the upstream engine: what became of each, and picking them onto a fork
    Upstream(UpstreamArgs),
    /// Find the commit that made a case worse
    Bisect(BisectArgs),
    /// Say whether this machine is fit for measuring, what each shortcoming costs, and how to fix
    /// it
    Doctor(DoctorArgs),
    /// Measure unchanged code against itself: the noise of this machine, and its false alarms
    Calibrate(CalibrateArgs),
    /// Lock all GPU clocks while another windtunnel command runs
    HoldClocks(HoldClocksArgs),
    /// Hold the clocks of all GPUs until stdin ends
    #[command(hide = true)]
    KeepClocks(KeepClocksArgs),
    /// Stand in for the probe of an external subject
    #[command(hide = true)]
    Adapt(AdaptArgs),
}

/// Which cases to run.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Scenarios (`gate/decode`), folders of them (`smoke`), or paths to scenario files
    #[arg(default_value = "smoke")]
    pub(crate) scenarios: Vec<String>,

    /// Run on these models instead of the scenarios' own: names from `models.toml`, folders,
    /// 'FOLDER/*' (in quotes) for all models in one, GGUF files, or `hub:OWNER/NAME`, see `fetch`;
    /// separate several by commas
    #[arg(short, long, value_name = "MODEL", value_delimiter = ',')]
    pub(crate) models: Vec<String>,

    #[arg(short, long = "filter", value_name = "PATTERN", help = FILTER)]
    pub(crate) filters: Vec<String>,

    /// Rounds per case and subject, instead of what the scenarios say
    #[arg(short = 'n', long, value_name = "N", value_parser = rounds)]
    pub(crate) rounds: Option<NonZeroU32>,
}

/// What to do if another run holds the machine.
#[derive(Debug, Args)]
pub(crate) struct Waiting {
    /// Wait for another measuring run on this machine instead of refusing: this long, or without
    /// limit
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true)]
    pub(crate) wait: Option<Option<Patience>>,
}

impl Waiting {
    /// How long to wait for another run.
    pub(crate) fn patience(&self) -> Patience {
        Patience::of(self.wait)
    }
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,

    /// List one part of the cases, as `run` splits them: `2/3`
    #[arg(long, value_name = "PART/OF")]
    pub(crate) shard: Option<Shard>,

    /// Also list the cases that this machine cannot run
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Downloads go to the cache of Hugging Face's own tools, which find them there. Interrupted downloads \
resume, and every file is checked by its digest. These variables are read: HF_HOME, HF_HUB_CACHE, \
HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE, HF_HUB_DOWNLOAD_TIMEOUT, and those of proxies.")]
pub(crate) struct FetchArgs {
    /// Names from `models.toml`, `hub:OWNER/NAME`, `hub:OWNER/NAME@REVISION`, or a file of such a
    /// repository, `hub:OWNER/NAME:FILE.gguf`
    #[arg(required = true, value_name = "MODEL")]
    pub(crate) models: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,

    /// What to measure: `.` (the working tree), `rev:REVISION`, `probe:PATH`, or
    /// `external:FILE.toml` with or without `@REVISION`; several alternate
    #[arg(short, long = "subject", value_name = "SUBJECT", conflicts_with = "probe")]
    pub(crate) subjects: Vec<Wanted>,

    /// After all rounds, run each case once more to learn where its time goes; `windtunnel explain`
    /// shows it
    #[arg(long)]
    pub(crate) attribute: bool,

    /// Retry cases that ran out of memory in one of the last hundred runs, or are larger than one
    /// that did
    #[arg(long)]
    pub(crate) forget_oom: bool,

    /// Measure this ready probe and build nothing
    #[arg(long, value_name = "PATH")]
    pub(crate) probe: Option<PathBuf>,

    /// Cargo features to build the subjects with
    #[arg(long, value_name = "FEATURES", value_delimiter = ',', conflicts_with = "probe")]
    pub(crate) features: Vec<String>,

    /// Measure one part of the cases, split into parts that take about equally long: `2/3`
    #[arg(long, value_name = "PART/OF")]
    pub(crate) shard: Option<Shard>,

    #[command(flatten)]
    pub(crate) waiting: Waiting,

    /// The file for the records; log and report are written beside it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Continue an interrupted run: this one, or by default the newest that is not finished
    #[arg(
        long,
        value_name = "RUN",
        num_args = 0..=1,
        conflicts_with_all = ["scenarios", "models", "filters", "rounds", "subjects", "attribute", "probe", "features", "shard", "out"]
    )]
    pub(crate) resume: Option<Option<PathBuf>>,

    /// Repeat rounds that were measured under conditions that this policy forbids, such as
    /// `ci/gate.toml`
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    /// How to print the numbers
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The run: its folder, its file or its name below `reports`; by default the newest
    pub(crate) run: Option<String>,

    /// How to print the numbers
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Base and head alternate, each round a fresh process, until every series is decided or the budget of \
the policy is spent. `ci/judge.md` explains how a verdict comes about.

Exit codes: 0 pass or improved, 1 regressed, 2 usage error, input that cannot be read, or something the \
machine refused (a full disk, a network, a missing tool), 3 inconclusive where the policy says that it \
blocks, 4 invalid or nothing compared, 5 broken. Where several hold, 2 comes before 5 before 1 before 4 \
before 3.")]
pub(crate) struct GateArgs {
    /// Scenarios (`gate/decode`), folders of them (`gate`), or paths to scenario files
    #[arg(default_value = "gate")]
    pub(crate) scenarios: Vec<String>,

    /// Run on these models instead of the scenarios' own
    #[arg(short, long, value_name = "MODEL", value_delimiter = ',')]
    pub(crate) models: Vec<String>,

    #[arg(short, long = "filter", value_name = "PATTERN", help = FILTER)]
    pub(crate) filters: Vec<String>,

    /// What to compare with: a git revision, or a subject as `run` takes it; `baseline` is the
    /// promoted code nearest to the head, measured beside it where it can be built; `stored` is its
    /// stored records
    #[arg(short, long, value_name = "REV", default_value = "HEAD")]
    pub(crate) base: Base,

    /// The head, which is judged: `.` (the working tree), or another subject as `run` takes it
    #[arg(short, long = "subject", value_name = "SUBJECT", default_value = ".")]
    pub(crate) subject: Wanted,

    /// Judge the base's own code on another candle: a version (`0.11.0`), or a revision of a clone
    /// (`FOLDER@REVISION`)
    #[arg(long, value_name = "CANDLE", conflicts_with = "subject")]
    pub(crate) candle: Option<Candle>,

    /// Cargo features to build both with
    #[arg(long, value_name = "FEATURES", value_delimiter = ',')]
    pub(crate) features: Vec<String>,

    /// The policy: margins, what blocks, and the budget
    #[arg(short, long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    /// Measure only the quickest case of each scenario; the others are listed as not seen
    #[arg(long)]
    pub(crate) quick: bool,

    /// Measure one part of the cases, split into parts that take about equally long: `2/3`
    #[arg(long, value_name = "PART/OF")]
    pub(crate) shard: Option<Shard>,

    /// Also print findings as annotations for this service
    #[arg(long, value_name = "SERVICE", value_enum)]
    pub(crate) annotate: Option<Service>,

    #[command(flatten)]
    pub(crate) waiting: Waiting,

    /// The file for the records; everything else is written beside it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Continue an interrupted run: this one, or by default the newest that is not finished
    #[arg(
        long,
        value_name = "RUN",
        num_args = 0..=1,
        conflicts_with_all = ["scenarios", "models", "filters", "base", "subject", "candle", "features", "policy", "quick", "shard", "out"]
    )]
    pub(crate) resume: Option<Option<PathBuf>>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
What it finds is added to `baselines/machines/MACHINE.json`, and every later gate on such a machine is \
judged with it. Repeat it with the same code on other days: only that shows how much days differ.

Exit codes: 0 no false alarm, 4 unchanged code was called changed, or nothing could be judged.")]
pub(crate) struct CalibrateArgs {
    /// Scenarios (`gate/decode`), folders of them (`gate`), or paths to scenario files
    #[arg(default_value = "gate")]
    pub(crate) scenarios: Vec<String>,

    /// Run on these models instead of the scenarios' own
    #[arg(short, long, value_name = "MODEL", value_delimiter = ',')]
    pub(crate) models: Vec<String>,

    #[arg(short, long = "filter", value_name = "PATTERN", help = FILTER)]
    pub(crate) filters: Vec<String>,

    /// What to measure: `.` (the working tree), `rev:REVISION` or `probe:PATH`
    #[arg(short, long = "subject", value_name = "SUBJECT", default_value = ".")]
    pub(crate) subject: Wanted,

    /// Cargo features to build it with
    #[arg(long, value_name = "FEATURES", value_delimiter = ',')]
    pub(crate) features: Vec<String>,

    /// The policy: margins and the budget
    #[arg(short, long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) waiting: Waiting,

    /// The file for the records; log and report are written beside it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
A finding stops measuring, or is bad (results are unsteady by more than what matters), minor, not known \
(never taken for fine) or fine. The noise measurement is a ten-second look at a small fixed workload, and \
no substitute for `windtunnel calibrate`.

Measuring is impossible where no records can be written, or where there is neither a way to build a \
probe (cargo, a C compiler, the sources) nor one that was built before.

Exit codes: 0 something can be measured, 4 nothing can.")]
pub(crate) struct DoctorArgs {
    /// Print JSON for programs, as described by `ci/doctor.schema.json`
    #[arg(long)]
    pub(crate) json: bool,

    /// Skip the ten-second noise measurement
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainVerdictArgs {
    /// Rows whose text `CASE SERIES` contains this; `*` stands for anything
    pub(crate) row: String,

    /// The gate's run; by default the newest
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,
}

/// What a change is compared with, as typed.
#[derive(Clone, Debug)]
pub(crate) enum Base {
    /// A subject, or the name of a revision.
    Subject(Wanted),
    /// The baseline: built and measured beside the head if possible, otherwise its stored records.
    Baseline,
    /// The stored records of the baseline.
    Stored,
}

impl std::str::FromStr for Base {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "baseline" => Ok(Base::Baseline),
            "stored" => Ok(Base::Stored),
            // A git revision has a colon only before a path.
            _ if ["rev:", "probe:", "external:"].iter().any(|kind| text.starts_with(kind)) => {
                text.parse().map(Base::Subject)
            }
            _ => Ok(Base::Subject(text.parse().unwrap_or_else(|_| Wanted::revision(text)))),
        }
    }
}

/// The service that shows annotations beside the changed lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Service {
    /// GitHub Actions: workflow commands on stdout
    Github,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The policy of the verdicts: margins, and what blocks
    #[arg(short, long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    /// The base: a run, `RUN@SUBJECT` where a run holds several, or `baseline`
    pub(crate) base: String,

    /// The head; by default the first and the last subject of the base's run are compared
    pub(crate) head: Option<String>,

    /// How to print the verdicts
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The cases: text that their ids contain; `*` stands for anything
    pub(crate) case: String,

    /// A run that was made with `--attribute`, or `RUN@SUBJECT`; by default the newest, and of
    /// several subjects the first and the last
    pub(crate) base: Option<String>,

    /// Another run to show beside it
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
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = JudgeFormat::Table)]
    pub(crate) format: JudgeFormat,

    /// How a series that could not be decided affects the exit code
    #[arg(long, value_name = "EFFECT", value_enum, default_value_t = Undecided::Blocks)]
    pub(crate) inconclusive: Undecided,
}

/// How to print the verdicts on samples.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum JudgeFormat {
    /// For people
    Table,
    /// For programs: an object with one entry for each series
    Json,
}

/// How to print numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people, with notes
    Table,
    /// For documents
    Markdown,
    /// For spreadsheets: a line for each series
    Csv,
    /// For programs: an object for each series
    Json,
}

/// How a series that could not be decided affects the exit code.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Undecided {
    /// Exit code 3
    Blocks,
    /// None: exit code 0
    Warns,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The runs: the parts that `--shard` made of one plan, all with the same subjects
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<String>,

    /// The file for all records; everything else is written beside it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The run: its folder, its file or its name below `reports`; by default the newest
    pub(crate) run: Option<String>,

    /// Where to write the page, instead of beside the records
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Whether the page shows the history of its series
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Past::Auto)]
    pub(crate) history: Past,
}

/// Whether the page of a run shows the history of its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Past {
    /// If enough runs are kept and `windtunnel-history` lies beside this program
    Auto,
    /// Build `windtunnel-history` if necessary
    Always,
    /// Not at all
    Never,
}

#[derive(Debug, Args)]
pub(crate) struct AdaptArgs {
    /// The external subject, as JSON
    pub(crate) told: String,

    /// The folder in which it runs
    pub(crate) folder: PathBuf,

    /// End when stdin closes, as probes do
    #[arg(long)]
    pub(crate) until_eof: bool,

    /// Asked of probes: what the machine can do at best
    #[arg(long)]
    pub(crate) roof: bool,

    /// List the names of the benchmarks in this bench instead
    #[arg(long, value_name = "PACKAGE/BENCH")]
    pub(crate) benchmarks: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
For example:

  windtunnel hold-clocks 1500 gate gate/cuda --features cuda,flash-attn

The clocks are set before the command begins, checked to be what was asked for, and returned to the driver \
when the command or `hold-clocks` itself ends, is stopped or killed; the command ends with `hold-clocks`. \
Without permission to change clocks, nothing is run. Choose a clock that the GPU holds when it is warm.

Exit codes: those of the command, or 128 plus the number of the signal that ended it; 2 if the clocks could \
not be set or given back.")]
pub(crate) struct HoldClocksArgs {
    /// The clock of the multiprocessors, in MHz
    #[arg(value_parser = whole::<u32>)]
    pub(crate) mhz: u32,

    /// The command: `run …`, `gate …`
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(crate) command: Vec<std::ffi::OsString>,

    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct KeepClocksArgs {
    /// The clock of the multiprocessors, in MHz
    pub(crate) mhz: u32,
}

#[derive(Debug, Args)]
pub(crate) struct IndexArgs {
    /// The folder of the pages, instead of `reports`, for instance one to be published
    pub(crate) folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Passed on to `windtunnel-history`; `--help` shows what it takes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) args: Vec<std::ffi::OsString>,
}

/// Parses a word as the log's files spell it.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    let value = serde_json::Value::String(text.to_owned());
    serde_json::from_value(value).map_err(|error| reworded(&error.to_string()))
}
