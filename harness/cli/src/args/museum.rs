//! The command line of `windtunnel museum`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Waiting;

#[derive(Debug, Args)]
#[command(after_long_help = "\
`scenarios/museum.toml` lists the faults, the upstream commit that each one was, and the guard that must \
catch it. The probe is built with its feature `faults`. Each guard runs, in alternation, on the clean engine \
twice, where it must report no difference, and on an engine with each of its faults; the results are judged \
by the rule of a gate and the policy `ci/gate.toml`, even where that only warns.

Exit codes: 0 every fault was caught without a false alarm, 1 otherwise, 2 usage error, or a probe that \
cannot be built.")]
pub(crate) struct MuseumArgs {
    /// Show only these faults
    #[arg(long = "fault", value_name = "NAME", num_args = 1..)]
    pub(crate) faults: Vec<String>,

    /// Rounds of every guard and engine, instead of what the scenarios say: exact metrics need 3,
    /// times 6
    #[arg(short = 'n', long, value_name = "N", value_parser = super::rounds)]
    pub(crate) rounds: Option<NonZeroU32>,

    /// Plant in this ready probe, which was built with the feature `faults`, and build nothing
    #[arg(long, value_name = "PATH")]
    pub(crate) probe: Option<PathBuf>,

    /// A new folder for records and pages; by default one below `target/windtunnel/museum`
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// How to print what was found
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = MuseumFormat::Table)]
    pub(crate) format: MuseumFormat,

    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

/// How to print what a museum found.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MuseumFormat {
    /// For people
    Table,
    /// For documents
    Markdown,
    /// For programs: an object with a list of faults and one of clean engines
    Json,
}
