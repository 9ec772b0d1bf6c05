//! Follows a culprit into another repository whose commits it takes over: into candle, if it moves
//! to another candle, and into a fork's upstream, if it takes over a range in one commit.

use std::path::Path;

use anyhow::{Result, ensure};
use windtunnel_ledger::integration::short;

use super::search::{Described, Line, Search};
use super::{Found, Searched, Sought};
use crate::args::BisectArgs;
use crate::candle;
use crate::git::git;
use crate::upstream::{self, Repository};

/// A range of commits of another repository, and what was found there.
pub(crate) struct Descent {
    /// Whose commits they are.
    pub(crate) whose: Whose,
    /// The commit before them, as the culprit names it.
    pub(crate) from: String,
    /// The newest of them, as the culprit names it.
    pub(crate) to: String,
    /// The result of the search, or why there was none; none if no clone was given.
    pub(crate) searched: Option<Result<Box<Searched>, String>>,
}

/// Whose commits are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Candle's.
    Candle,
    /// Those of the upstream that a fork follows.
    Upstream,
}

impl Search<'_> {
    /// Follows a culprit into what it takes over.
    pub(super) fn descend(
        &self,
        args: &BisectArgs,
        culprit: &str,
        sought: Sought,
    ) -> Result<Vec<Descent>> {
        let mut descents = self.descend_into_candle(args, culprit, sought)?;
        // A merge only takes over what is already in the repository and was searched.
        let [parent] = &self.repository.parents(culprit)?[..] else { return Ok(descents) };
        if let Line::Fork(described) = &self.line
            && let Some((from, to)) = self.taken_over(parent, culprit)?
        {
            let searched = args.upstream.as_deref().map(|clone| {
                let external = described.external.elsewhere(clone);
                let line =
                    Line::Fork(Box::new(Described { file: described.file.clone(), external }));
                self.followed(args, clone, line, Whose::Upstream, (&from, &to), sought)
            });
            descents.push(Descent { whose: Whose::Upstream, from, to, searched });
        }
        Ok(descents)
    }

    /// Follows a culprit that moves to another candle into candle.
    fn descend_into_candle(
        &self,
        args: &BisectArgs,
        culprit: &str,
        sought: Sought,
    ) -> Result<Vec<Descent>> {
        let mut descents = Vec::new();
        let [parent] = &self.repository.parents(culprit)?[..] else { return Ok(descents) };
        let candle = |commit: &str| candle::locked(&self.file(commit, "Cargo.lock")?);
        if let (Some(from), Some(to)) = (candle(parent), candle(culprit))
            && from != to
        {
            let line = Line::Candle { of: Box::new(self.line.clone()), commit: culprit.to_owned() };
            let searched = args
                .candle
                .as_deref()
                .map(|clone| self.followed(args, clone, line, Whose::Candle, (&from, &to), sought));
            descents.push(Descent { whose: Whose::Candle, from, to, searched });
        }
        Ok(descents)
    }

    /// Searches a range of the clone. Errors are returned as text, so that a clone without the
    /// range does not lose what was found so far.
    fn followed(
        &self,
        args: &BisectArgs,
        clone: &Path,
        line: Line,
        whose: Whose,
        (from, to): (&str, &str),
        sought: Sought,
    ) -> Result<Box<Searched>, String> {
        let search = || -> Result<Searched> {
            let clone = std::path::absolute(clone)?;
            let search = self.among(&clone, line, whose.folder())?;
            let commit = |named: &str| whose.commit(&search.repository, named);
            let (good, bad) = (commit(from)?, commit(to)?);
            ensure!(
                search.repository.parting(&good, &bad)? == good,
                "{} is not an ancestor of {} there",
                short(&good),
                short(&bad)
            );
            let mut searched = search.between(&good, &bad, Some(sought))?;
            // The upstream may itself move to another candle; candle takes over nothing.
            if let Found::Culprit { culprit, descents, .. } = &mut searched.found
                && whose == Whose::Upstream
            {
                *descents = search.descend_into_candle(args, &culprit.commit, sought)?;
            }
            Ok(searched)
        };
        search().map(Box::new).map_err(|error| format!("{error:#}"))
    }

    /// The upstream range that a fork's commit takes over: named as `A..B` in its message, or by
    /// its integration log.
    fn taken_over(&self, parent: &str, culprit: &str) -> Result<Option<(String, String)>> {
        let message = git(&self.dir, &["log", "-1", "--format=%B", culprit])?;
        if let Some(range) = named_range(&message) {
            return Ok(Some(range));
        }
        let considered = |commit: &str| {
            let log = self.file(commit, upstream::LOG)?;
            upstream::considered(&log).map(|hash| hash.to_string())
        };
        Ok(considered(parent).zip(considered(culprit)).filter(|(from, to)| from != to))
    }

    /// A file of the workspace or clone at a commit.
    fn file(&self, commit: &str, path: &str) -> Option<String> {
        // A workspace may be a subfolder of its repository, and a clone may be bare.
        let folder = if matches!(self.line, Line::Workspace) { "./" } else { "" };
        git(&self.dir, &["show", &format!("{commit}:{folder}{path}")]).ok()
    }
}

impl Whose {
    /// The folder for the rounds of that search.
    const fn folder(self) -> &'static str {
        match self {
            Whose::Candle => "candle",
            Whose::Upstream => "upstream",
        }
    }

    /// The commit of the clone that `named` means.
    fn commit(self, clone: &Repository, named: &str) -> Result<String> {
        match self {
            Whose::Candle => candle::commit_of(clone, named),
            Whose::Upstream => clone.resolve(named),
        }
    }
}

/// The first range of hashes, `A..B`, in the message of a commit.
fn named_range(message: &str) -> Option<(String, String)> {
    let is_hash =
        |word: &str| (7..=40).contains(&word.len()) && word.chars().all(|c| c.is_ascii_hexdigit());
    let words = message.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'));
    words.into_iter().find_map(|word| {
        // A full stop may follow it.
        let (from, to) = word.trim_end_matches('.').split_once("..")?;
        (is_hash(from) && is_hash(to)).then(|| (from.to_owned(), to.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_a_range_of_hashes() {
        let range = |message: &str| named_range(message);
        let named = Some(("0123abc".to_owned(), "def4567".to_owned()));
        assert_eq!(range("Sync\n\nTakes over upstream 0123abc..def4567."), named);
        assert_eq!(range("Sync (`0123abc..def4567`)"), named);
        for other in ["Version 1..2", "loop over 0..sequences", "0123abc..main", ""] {
            assert_eq!(range(other), None, "{other}");
        }
    }
}
