//! The command line of `windtunnel bisect`.

use std::path::PathBuf;

use clap::Args;
use windtunnel_ledger::metric::Metric;

use super::{Waiting, word};
use crate::subject::Wanted;

#[derive(Debug, Args)]
#[command(after_long_help = "\
Good and bad are measured beside each other first: there must be something to look for. Then each commit \
is compared with the good one by the gate's rule, which adds rounds until it can decide. Commits that do \
not build, cannot be compared or stay undecided are skipped and listed. Merged branches are searched too. \
The culprit is confirmed twice: beside its parent, and by reverting it on top of the bad commit.

A culprit that moves to another candle, or takes over a range of what a fork follows (its message names it \
as `A..B`, or its `engine/upstream.toml` moves on), is followed into a clone of that.

The same command again continues where it was interrupted: builds and rounds are kept.

Exit codes: 0 found and confirmed, 3 found but not confirmed, or one of several, or it could not be decided \
whether the bad commit is worse, 4 it is not worse than the good one.")]
pub(crate) struct BisectArgs {
    /// A commit that is good
    #[arg(long, value_name = "REV")]
    pub(crate) good: String,

    /// A later commit that is bad
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    pub(crate) bad: String,

    /// The case: its id, or text that only its id contains
    #[arg(long, value_name = "ID")]
    pub(crate) case: String,

    /// Look only at this metric, for instance `decode-rate`
    #[arg(long, value_name = "METRIC", value_parser = word::<Metric>)]
    pub(crate) metric: Option<Metric>,

    /// Whose commits to search: `.` (this workspace) or `external:FILE.toml`
    #[arg(short, long, value_name = "SUBJECT", default_value = ".")]
    pub(crate) subject: Wanted,

    /// A clone of candle: a culprit that moves to another candle is followed into it
    #[arg(long, value_name = "CLONE")]
    pub(crate) candle: Option<PathBuf>,

    /// A clone of what a fork follows: a culprit that takes over a range of it is followed into it
    #[arg(long, value_name = "CLONE")]
    pub(crate) upstream: Option<PathBuf>,

    /// Run on this model instead of the scenario's own
    #[arg(short, long, value_name = "MODEL", value_delimiter = ',')]
    pub(crate) models: Vec<String>,

    /// Cargo features to build with
    #[arg(long, value_name = "FEATURES", value_delimiter = ',')]
    pub(crate) features: Vec<String>,

    /// The policy: margins and the budget of each comparison
    #[arg(short, long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) waiting: Waiting,
}
