//! `windtunnel bisect`: finds the commit that made a case worse, by the gate's own rule.
//!
//! Each candidate commit is measured beside the good one, in alternation, until the gate can
//! decide. Commits it cannot decide are skipped: none is called good for lack of evidence. Git
//! chooses the next commit over the whole graph, so that merged branches are searched like the
//! rest.

use anyhow::Result;

use crate::args::BisectArgs;
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::{exit, show};

mod answer;
mod descent;
mod search;

pub(crate) use answer::{Answer, Sought};
pub(crate) use descent::{Descent, Whose};
use search::Search;

/// How one commit compares with another.
pub(crate) struct Look {
    /// The commit.
    pub(crate) commit: String,
    /// The first line of its message.
    pub(crate) subject: String,
    /// How it compares.
    pub(crate) answer: Answer,
    /// By how much it differs; empty if unknown.
    pub(crate) effect: String,
}

/// The result of a search.
pub(crate) enum Found {
    /// There is nothing to look for.
    Nothing,
    /// One of these is the culprit: the last is bad, and the others cannot be judged.
    Several(Vec<Named>),
    /// This commit is the culprit.
    Culprit {
        /// The commit.
        culprit: Named,
        /// The culprit beside each of its parents.
        beside_parents: Vec<Look>,
        /// The bad commit without the culprit, beside the good one; or why there is no such commit.
        /// None inside candle, where nothing is reverted.
        reverted: Option<Result<Look, String>>,
        /// The ranges of other repositories that it took over, searched there.
        descents: Vec<Descent>,
    },
}

/// A commit and the first line of its message.
pub(crate) struct Named {
    pub(crate) commit: String,
    pub(crate) subject: String,
}

/// A whole search.
pub(crate) struct Searched {
    /// The case, and the series that is searched for, if there is one.
    pub(crate) what: String,
    /// The good commit.
    pub(crate) good: String,
    /// The bad commit beside it.
    pub(crate) ends: Look,
    /// Every commit that was measured, in that order.
    pub(crate) looks: Vec<Look>,
    /// The result.
    pub(crate) found: Found,
}

/// Searches and shows the result.
pub(crate) fn bisect(workspace: &Workspace, args: &BisectArgs, progress: Progress) -> Result<u8> {
    let search = Search::new(workspace, args, progress)?;
    let searched = search.run(args)?;
    show::result(&show::bisected(&searched))?;
    Ok(code_of(&searched))
}

/// The exit code of a search.
fn code_of(searched: &Searched) -> u8 {
    match &searched.found {
        Found::Nothing => match searched.ends.answer {
            Answer::Undecided(_) | Answer::Unknown(_) => exit::INCONCLUSIVE,
            Answer::Well | Answer::Worse(_) => exit::INVALID,
        },
        Found::Several(_) => exit::INCONCLUSIVE,
        Found::Culprit { beside_parents, reverted, .. } => {
            let is_worse = |look: &Look| matches!(look.answer, Answer::Worse(_));
            let tried = reverted.as_ref().and_then(|reverted| reverted.as_ref().ok());
            let cured = tried.is_none_or(|look| look.answer == Answer::Well);
            match beside_parents.iter().all(is_worse) && cured {
                true => exit::PASS,
                false => exit::INCONCLUSIVE,
            }
        }
    }
}
