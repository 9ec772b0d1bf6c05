//! The whole store of records over time.
//!
//! 1. [`frame`]: every file of a store, as one polars frame;
//! 2. [`series`]: how one metric of one case developed on one machine, run by run.
//!
//! What a round or a median is, is the ledger's; this crate only orders many of them. It writes no
//! records and judges nothing. It is the only one that links polars, and the binary of the same name
//! is the only one that links it.

pub mod frame;
pub mod series;

/// Why there is no frame or no series.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory cannot be listed.
    #[error("cannot read the store `{path}`: {source}")]
    Walk {
        /// The directory.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Polars refused.
    #[error("the records do not fit into a frame: {0}")]
    Frame(#[from] polars::error::PolarsError),
    /// The frame is not one that [`frame::load`] made.
    #[error("the frame has no valid column `{0}`")]
    Column(&'static str),
}
