//! HTML pages: for a run, for the history of many, and the list of all pages. Each is one file that needs
//! no network, no script and no other file.
//!
//! In the order in which a page is made:
//!
//! 1. [`view`]: what there is to show, as plain values, grouped and counted;
//! 2. [`plot`]: an SVG for each series, one of latency over throughput for each service, and one of a
//!    round over time for each case;
//! 3. [`page`]: the markup around both.
//!
//! [`integration`] is the page about commits that were picked onto a fork.
//!
//! Pages show what the ledger judges. Nothing is measured, read or written here: the contents of a
//! run's file come in, text goes out, and equal contents give equal bytes.

mod blocks;
pub mod history;
pub mod index;
mod integration;
mod page;
mod plot;
mod view;

pub use crate::blocks::blocks;
pub use crate::integration::integration;

use windtunnel_ledger::case::CaseId;
use windtunnel_ledger::series::Series;
use windtunnel_ledger::store::Contents;

use crate::history::History;
use crate::index::Entry;
use crate::plot::Drawn;
use crate::view::View;

/// Why a page cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plotting library refused to draw the plot of a series.
    #[error("cannot draw the plot of `{series}`: {source}")]
    Plot {
        /// The series whose plot it was.
        series: Series,
        /// What the library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The plotting library refused to draw a round of a case.
    #[error("cannot draw a round of `{case}`: {source}")]
    Trace {
        /// The case whose round it was.
        case: CaseId,
        /// What the library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The page of a run, as the text of an HTML file.
///
/// With two or more subjects it sets each of them against the first of [`Run::subjects`].
///
/// # Errors
/// If a plot cannot be drawn.
///
/// [`Run::subjects`]: windtunnel_ledger::record::Run::subjects
pub fn render(contents: &Contents) -> Result<String, Error> {
    drawn(&View::of(contents))
}

/// The same, with how the series of the run came to be what they are. `history` is
/// [of this run](History::of_run).
///
/// # Errors
/// If a plot cannot be drawn.
pub fn render_with_history(contents: &Contents, history: &History) -> Result<String, Error> {
    drawn(&View { history: Some(history), ..View::of(contents) })
}

fn drawn(view: &View<'_>) -> Result<String, Error> {
    let drawn = Drawn {
        plots: plot::plots(view)?,
        trade_offs: plot::trade_offs(view)?,
        rooflines: plot::rooflines(view)?,
        services: plot::services(view)?,
        traces: plot::traces(view)?,
        ruled: plot::ruled(view)?,
        courses: match view.history {
            Some(history) => plot::courses(history, page::COURSES)?,
            None => Vec::new(),
        },
    };
    Ok(page::page(view, &drawn).into_string())
}

/// The page of a history, as the text of an HTML file.
///
/// # Errors
/// If a plot cannot be drawn.
pub fn render_history(history: &History) -> Result<String, Error> {
    let plots = plot::courses(history, page::ALL_COURSES)?;
    Ok(page::history(history, &plots).into_string())
}

/// The list of all pages, as the text of an HTML file that lies in the folder which the paths of
/// `entries` begin at.
#[must_use]
pub fn render_index(entries: &[Entry]) -> String {
    page::index(entries).into_string()
}
