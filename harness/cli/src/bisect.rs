//! `windtunnel bisect`: which commit made a case worse, by the gate's own rule.
//!
//! Each commit that is looked at is measured beside the good one, in alternation, until the gate
//! knows. What it cannot know is passed over: a commit is never called good for want of evidence.
//! Which commit is looked at next is git's answer, over the whole graph, so that merged branches are
//! searched like the rest.

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

/// What was found of one commit beside another.
pub(crate) struct Look {
    /// The commit.
    pub(crate) commit: String,
    /// The first line of its message.
    pub(crate) subject: String,
    /// What it is.
    pub(crate) answer: Answer,
    /// By how much it differs; empty if that is not known.
    pub(crate) effect: String,
}

/// What a search came to.
pub(crate) enum Found {
    /// There is nothing to look for.
    Nothing,
    /// It is one of these: the last of them is bad, and the others cannot be judged.
    Several(Vec<Named>),
    /// It is this one.
    Culprit {
        /// The commit.
        culprit: Named,
        /// It beside each of its parents.
        beside_parents: Vec<Look>,
        /// The bad commit without it, beside the good one; or why there is none. Of a commit that
        /// another repository took over, nobody asks.
        reverted: Option<Result<Look, String>>,
        /// What it took over from other repositories, followed there.
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
    /// The case, and the series that is looked for, if it is one.
    pub(crate) what: String,
    /// The good commit.
    pub(crate) good: String,
    /// The bad commit beside it.
    pub(crate) ends: Look,
    /// Every commit that was looked at, in that order.
    pub(crate) looks: Vec<Look>,
    /// What it came to.
    pub(crate) found: Found,
}

/// Searches, and shows what was found.
pub(crate) fn bisect(workspace: &Workspace, args: &BisectArgs, progress: Progress) -> Result<u8> {
    let search = Search::new(workspace, args, progress)?;
    let searched = search.run(args)?;
    show::result(&show::bisected(&searched))?;
    Ok(code_of(&searched))
}

/// What a search means for whoever waits for it.
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
