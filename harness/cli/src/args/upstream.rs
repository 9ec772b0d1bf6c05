//! The command line of `windtunnel upstream`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use windtunnel_ledger::upstream::{Priority, State};

use super::{Waiting, whole, word};

#[derive(Debug, Args)]
pub(crate) struct UpstreamArgs {
    /// The integration log, instead of the workspace's `engine/upstream.toml`
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) log: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: UpstreamCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UpstreamCommand {
    /// List the commits, one line each
    List {
        /// Only commits of these states
        #[arg(long, value_name = "STATE", value_parser = word::<State>)]
        state: Vec<State>,
        /// Only commits of these areas
        #[arg(long, value_name = "AREA")]
        area: Vec<String>,
        /// Only commits of these priorities
        #[arg(long, value_name = "PRIORITY", value_parser = word::<Priority>)]
        priority: Vec<Priority>,
    },
    /// Show everything known about one commit
    Show {
        /// The beginning of its hash
        hash: String,
    },
    /// Show integration progress and errors in the log
    Status,
    /// Check the log against the sources: exit code 5 if they disagree
    Check,
    /// Enter the upstream's commits after the newest considered one as `new`
    Sync(SyncArgs),
    /// Show what a fork lacks of its upstream, and what picking it would do; nothing is changed
    Plan(PlanArgs),
    /// Pick commits onto a fork one at a time, each checked and measured beside the one before
    Pick(PickArgs),
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Area, priority and needs are proposals, derived from the files, the words of the subject, and the lines that \
another new commit added; `ci/upstream.md` has the rules. Existing entries of the log stay as they are, and \
`considered` does not move: that is for whoever has read the commits.")]
pub(crate) struct SyncArgs {
    /// A clone of the upstream, or the address of its repository, which is copied to the cache
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) repo: String,

    /// The upstream commit up to which to enter
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    pub(crate) head: String,

    /// Only the oldest N
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    pub(crate) limit: Option<usize>,

    /// Show what would be entered, and enter nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
A commit counts as picked if a commit of the fork names it (`git cherry-pick -x`), makes the same patch, \
or has the same subject, in this order; what the fork reverted does not count. Conflicts are predicted \
with `git merge-tree` as if all commits above that apply had been picked; no work tree, index or branch is \
touched.")]
pub(crate) struct PlanArgs {
    /// The fork: a clone in which the upstream is fetched
    #[arg(long, value_name = "FORK", default_value = ".")]
    pub(crate) repo: PathBuf,

    /// The upstream's branch as the fork knows it, for instance `upstream/main`
    #[arg(long, value_name = "REMOTE/BRANCH")]
    pub(crate) upstream: String,

    /// The fork's own branch
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    pub(crate) branch: String,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
In a work tree of its own, each commit is picked (`git cherry-pick -x`), checked, built, and measured \
beside the commit before it, as `windtunnel gate` does. The first that conflicts, fails a check, does not \
build, regresses, is broken or cannot be compared stops the run, and so does one that could not be decided \
if the policy says that this blocks; the commits before it are kept on a branch. `ci/upstream.md` explains \
the file.

Exit codes: 0 all kept, 1 regressed, 3 inconclusive where the policy says that it blocks, 4 a conflict or \
nothing comparable, 5 a check failed, or broken.")]
pub(crate) struct PickArgs {
    /// The commits, in the order in which they are picked
    #[arg(required = true, value_name = "HASH")]
    pub(crate) commits: Vec<String>,

    /// The description of the fork: its repository, how it is built, checked and measured
    #[arg(long, value_name = "FILE")]
    pub(crate) checks: PathBuf,

    /// The commit to pick them onto
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    pub(crate) onto: String,

    /// The branch for the commits that are kept, instead of `picked/TIME`
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,

    /// The folder for the report and the runs, instead of one below `reports`
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) waiting: Waiting,
}
