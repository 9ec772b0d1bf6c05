//! The command line of `windtunnel baseline`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use windtunnel_ledger::upstream::Hash;

use super::{Waiting, whole, word};
use crate::scenario::MOST_ROUNDS;
use crate::subject::Wanted;

/// Parses the rounds of a session: too few say nothing about times.
fn rounds(text: &str) -> Result<u32, String> {
    const LEAST: u32 = 5;
    let rounds = text.parse::<u32>().ok();
    let rounds = rounds.filter(|rounds| (LEAST..=MOST_ROUNDS).contains(rounds));
    rounds.ok_or_else(|| format!("write a whole number from {LEAST} to {MOST_ROUNDS}"))
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Sessions are kept in `baselines/UPSTREAM-COMMIT/MACHINE/SCENARIO/`, a file each, and never change. Record \
one a day: how much days differ decides what a stored baseline can show. `promote` makes them count, and \
`windtunnel gate --base baseline` compares changes with them. `baselines/README.md` explains it all.")]
pub(crate) struct BaselineArgs {
    /// The integration log, instead of the workspace's `engine/upstream.toml`
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) log: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: BaselineCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BaselineCommand {
    /// Measure a session, or take it from a run, and keep it
    Record(RecordArgs),
    /// Make the newest recorded code count, unless anything in it is worse or could not be compared
    Promote(DecideArgs),
    /// Accept the findings that block a promotion, with a reason
    Accept(AcceptArgs),
    /// List the recorded code, one line each
    List,
    /// Show what changes on this machine are compared with, session by session
    Show(AboutArgs),
    /// List the sessions that nothing needs any more, and delete them with `--yes`
    Prune(PruneArgs),
    /// Read everything and report all damage: exit code 2 if there is any
    Verify,
    /// Copy sessions that a shared place lacks to it
    Push(ShareArgs),
    /// Copy sessions that are missing here from a shared place
    Pull(ShareArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// Scenarios (`gate/decode`), folders of them (`gate`), or paths to scenario files
    #[arg(default_value = "gate")]
    pub(crate) scenarios: Vec<String>,

    /// Run on these models instead of the scenarios' own
    #[arg(short, long, value_name = "MODEL", value_delimiter = ',')]
    pub(crate) models: Vec<String>,

    #[arg(short, long = "filter", value_name = "PATTERN", help = super::FILTER)]
    pub(crate) filters: Vec<String>,

    /// Rounds of each case
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = rounds)]
    pub(crate) rounds: u32,

    /// What to measure: `.` (the working tree, without changes), `rev:REVISION` or `probe:PATH`
    #[arg(short, long = "subject", value_name = "SUBJECT", default_value = ".")]
    pub(crate) subject: Wanted,

    /// Cargo features to build it with
    #[arg(long, value_name = "FEATURES", value_delimiter = ',')]
    pub(crate) features: Vec<String>,

    #[command(flatten)]
    pub(crate) waiting: Waiting,

    /// Take the records of this run, or `RUN@SUBJECT`, and measure nothing
    #[arg(
        long,
        value_name = "RUN",
        conflicts_with_all = ["scenarios", "models", "filters", "rounds", "subject", "features", "policy"]
    )]
    pub(crate) from: Option<String>,

    /// The upstream commit that the subject has considered, if its own log does not say
    #[arg(long, value_name = "HASH", value_parser = word::<Hash>)]
    pub(crate) upstream: Option<Hash>,

    /// The policy: under which conditions a round counts
    #[arg(short, long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}

/// Which sessions to look at.
#[derive(Debug, Args)]
pub(crate) struct AboutArgs {
    /// The upstream commit; by default that of the working tree
    #[arg(long, value_name = "HASH", value_parser = word::<Hash>)]
    pub(crate) upstream: Option<Hash>,

    /// The kind of machine, as `list` names it; by default this one
    #[arg(long, value_name = "MACHINE")]
    pub(crate) machine: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    #[command(flatten)]
    pub(crate) about: AboutArgs,

    /// The policy: what counts as worse
    #[arg(short, long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    /// Who decides; by default the user that git knows
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AcceptArgs {
    /// Findings whose text `CASE SERIES` contains this; `*` stands for anything; by default all
    #[arg(default_value = "")]
    pub(crate) row: String,

    /// Why they are accepted
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,

    #[command(flatten)]
    pub(crate) decide: DecideArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// How many of the newest sessions of each scenario and machine to keep beside the promoted
    /// ones
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = whole::<usize>)]
    pub(crate) keep: usize,

    /// Delete them; without this they are only listed
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShareArgs {
    /// A folder, or `s3://`, `gs://` or `az://` with bucket and prefix; by default the one in
    /// `baselines/store.toml`
    pub(crate) place: Option<String>,
}
