//! The whole store of records over time.
//!
//! 1. [`frame`]: every file of a store, as one polars frame;
//! 2. [`series`]: each series of each case on each machine, in the order of [`commits`];
//! 3. [`judged`]: where it changed and what may have caused that, as the plain data behind the
//!    table in the terminal and the page of `windtunnel-report`;
//! 4. [`archive`]: a whole store in one Parquet file, and back.
//!
//! The ledger defines rounds, medians and changes; this crate only arranges many of them. It is the
//! only crate that links polars, and only the binary of the same name links it.

pub mod archive;
pub mod commits;
pub mod frame;
pub mod judged;
pub mod names;
pub mod series;
pub mod setting;

use std::path::PathBuf;

/// Why there is no frame, no series, or no archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory cannot be listed.
    #[error("cannot read the store `{}`: {source}", path.display())]
    Walk {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Polars reported an error.
    #[error("the records do not fit into a frame: {0}")]
    Frame(#[from] polars::error::PolarsError),
    /// The frame was not made by [`frame::load`].
    #[error("the frame has no valid column `{0}`")]
    Column(&'static str),
    /// A file does not have the expected contents.
    #[error("`{}`: {reason}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// A file of the store cannot be read.
    #[error(transparent)]
    Store(#[from] windtunnel_ledger::store::StoreError),
    /// An I/O error.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A Parquet file was not made by an export.
    #[error("`{}` is not an archive of a store: {reason}; write one with `windtunnel history export FILE`", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the archive exists already, with other contents.
    #[error(
        "`{}` exists already with other contents: nothing was imported; choose an empty folder with `--into`",
        path.display()
    )]
    Taken {
        /// The file.
        path: PathBuf,
    },
}
