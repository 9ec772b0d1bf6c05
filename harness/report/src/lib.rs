//! HTML pages: one for a run, one for the history of many runs, and the list of all pages. Each is
//! a single file that needs no network, no script and no other file.
//!
//! In the order in which a page is made:
//!
//! 1. [`view`]: what there is to show, as plain values, grouped and counted;
//! 2. [`plot`]: an SVG for each series, one of latency over throughput for each service, and one of
//!    a round over time for each case;
//! 3. [`page`]: the markup around both.
//!
//! [`integration`] is the page about commits that were picked onto a fork.
//!
//! Pages show what the ledger judges. Nothing is measured, read or written here: the input is the
//! contents of a run's file, the output is text, and equal contents give equal bytes.

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

/// Why a page cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plotting library failed to draw the plot of a series.
    #[error("cannot draw the plot of `{series}`: {source}")]
    Plot {
        /// The series.
        series: Series,
        /// What the library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The plotting library failed to draw a round of a case.
    #[error("cannot draw a round of `{case}`: {source}")]
    Trace {
        /// The case.
        case: CaseId,
        /// What the library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The page of a run, as the text of an HTML file.
///
/// If there are two or more subjects, each is compared with the first of [`Run::subjects`].
///
/// # Errors
/// If a plot cannot be drawn.
///
/// [`Run::subjects`]: windtunnel_ledger::record::Run::subjects
pub fn render(contents: &Contents) -> Result<String, Error> {
    drawn(&View::of(contents))
}

/// Like [`render`], with the history of the run's series. `history` must be [of this
/// run](History::of_run).
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

/// The list of all pages, as the text of an HTML file. The paths of `entries` are relative to the
/// folder of that file.
#[must_use]
pub fn render_index(entries: &[Entry]) -> String {
    page::index(entries).into_string()
}
