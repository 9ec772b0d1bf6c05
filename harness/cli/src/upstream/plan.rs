//! `windtunnel upstream plan`: which commits of its upstream a fork lacks, which of them were
//! picked already, and what picking the rest would do.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::repository::{Change, Forecast, Repository};
use super::rules;
use crate::args::PlanArgs;
use crate::{exit, show};

/// An upstream commit that is not in the fork's history.
pub(crate) struct Ahead {
    /// The commit.
    pub(crate) change: Change,
    /// Whether it was picked, or what picking it would do.
    pub(crate) state: Standing,
    /// Unpicked commits ahead that added lines which it touches.
    pub(crate) needs: BTreeSet<String>,
}

/// Whether a commit was picked, or what picking it would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The fork has it as this commit, on this evidence.
    Picked(String, Evidence),
    /// Not picked; picking it would do this.
    Open(Forecast),
}

/// Why a commit counts as picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// The fork's commit names it in a trailer.
    Trailer,
    /// Both have the same patch.
    Patch,
    /// Both have the same subject, which is a guess.
    Subject,
}

/// The difference between a fork and its upstream.
pub(crate) struct Gap {
    /// Their merge base.
    pub(crate) parting: String,
    /// The fork's newest commit.
    pub(crate) fork: String,
    /// The upstream's newest commit.
    pub(crate) upstream: String,
    /// The upstream's commits since, oldest first.
    pub(crate) ahead: Vec<Ahead>,
}

/// Shows the gap between a fork and its upstream.
pub(super) fn plan(args: &PlanArgs) -> Result<u8> {
    let repository = Repository::at(&args.repo)?;
    let gap = gap(&repository, &args.branch, &args.upstream)?;
    show::result(&show::gap(&gap))?;
    Ok(exit::PASS)
}

/// The gap between the two.
fn gap(repository: &Repository, branch: &str, upstream: &str) -> Result<Gap> {
    let (fork, upstream) = (repository.resolve(branch)?, repository.resolve(upstream)?);
    let parting = repository.parting(&fork, &upstream)?;
    let changes = repository.changes(&parting, &upstream)?;
    let own = standing(repository.changes(&parting, &fork)?);
    let picked = picked(
        &changes,
        &own,
        &repository.patches(&parting, &upstream)?,
        &repository.patches(&parting, &fork)?,
    );
    let mut ahead = Vec::new();
    let mut open: Vec<Change> = Vec::new();
    let mut onto = fork.clone();
    for change in changes {
        let ahead_of = match picked.get(&change.hash) {
            Some((commit, evidence)) => {
                let state = Standing::Picked(commit.clone(), *evidence);
                Ahead { change, state, needs: BTreeSet::new() }
            }
            None => {
                let forecast = repository.forecast(&onto, &change)?;
                // A root commit is not picked, so what comes after cannot build on it.
                if let (Forecast::Clean(made), Some(_)) = (&forecast, &change.parent) {
                    onto.clone_from(made);
                }
                let needs = repository.needs(&parting, &change, &open)?;
                open.push(change.clone());
                Ahead { change, state: Standing::Open(forecast), needs }
            }
        };
        ahead.push(ahead_of);
    }
    Ok(Gap { parting, fork, upstream, ahead })
}

/// The fork's commits that are still in effect: without reverted commits and their reverts.
fn standing(own: Vec<Change>) -> Vec<Change> {
    let mut gone: BTreeSet<String> = BTreeSet::new();
    // Newest first: a revert that was itself reverted undoes nothing.
    for change in own.iter().rev() {
        if gone.contains(&change.hash) {
            continue;
        }
        let named = named(&change.body, "This reverts commit ");
        let reverted = named.iter().find_map(|hash| {
            own.iter().find(|other| !hash.is_empty() && other.hash.starts_with(hash))
        });
        if let Some(reverted) = reverted {
            gone.extend([reverted.hash.clone(), change.hash.clone()]);
        }
    }
    own.into_iter().filter(|change| !gone.contains(&change.hash)).collect()
}

/// The hashes that follow these words in a message.
fn named<'a>(body: &'a str, words: &str) -> Vec<&'a str> {
    let after = body.split(words).skip(1);
    let hash = |rest: &'a str| {
        rest.split(|c: char| !c.is_ascii_hexdigit()).next().filter(|hash| hash.len() >= 7)
    };
    after.filter_map(hash).collect()
}

/// Which of `changes` the fork's `own` commits stand for. Each stands for one, on the best
/// evidence.
fn picked(
    changes: &[Change],
    own: &[Change],
    patches: &BTreeMap<String, String>,
    own_patches: &BTreeMap<String, String>,
) -> BTreeMap<String, (String, Evidence)> {
    let mut picked: BTreeMap<String, (String, Evidence)> = BTreeMap::new();
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for evidence in [Evidence::Trailer, Evidence::Patch, Evidence::Subject] {
        for change in changes {
            let stands_for = |mine: &&Change| match evidence {
                Evidence::Trailer => named(&mine.body, "(cherry picked from commit ")
                    .iter()
                    .any(|hash| change.hash.starts_with(hash)),
                Evidence::Patch => match patches.get(&change.hash) {
                    Some(patch) => own_patches.get(&mine.hash) == Some(patch),
                    None => false,
                },
                Evidence::Subject => {
                    rules::without_number(&mine.subject).0
                        == rules::without_number(&change.subject).0
                }
            };
            // A squash commit names all the commits that it stands for.
            let free = |mine: &&Change| {
                evidence == Evidence::Trailer || !used.contains(mine.hash.as_str())
            };
            if picked.contains_key(&change.hash) {
                continue;
            }
            if let Some(mine) = own.iter().filter(free).find(stands_for) {
                used.insert(&mine.hash);
                picked.insert(change.hash.clone(), (mine.hash.clone(), evidence));
            }
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(hash: &str, subject: &str, body: &str) -> Change {
        Change {
            hash: hash.repeat(40),
            date: "2026-01-01".to_owned(),
            parent: None,
            subject: subject.to_owned(),
            body: body.to_owned(),
            files: Vec::new(),
        }
    }

    #[test]
    fn a_commit_is_picked_by_the_best_evidence_and_each_pick_stands_for_one() {
        let upstream =
            [change("a", "Fix (#7)", ""), change("b", "Same", ""), change("c", "Same", "")];
        let trailer = format!("text\n(cherry picked from commit {})", "a".repeat(40));
        let own = [change("1", "Same", ""), change("2", "Another name", &trailer)];
        let patches = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(hash, patch)| (hash.repeat(40), (*patch).to_owned())).collect()
        };
        let picked = |one: &[(&str, &str)], other: &[(&str, &str)]| {
            super::picked(&upstream, &own, &patches(one), &patches(other))
        };
        let by_subject = picked(&[], &[]);
        assert_eq!(by_subject[&"a".repeat(40)], ("2".repeat(40), Evidence::Trailer));
        assert_eq!(by_subject[&"b".repeat(40)], ("1".repeat(40), Evidence::Subject));
        assert!(!by_subject.contains_key(&"c".repeat(40)), "one pick stands for one commit");
        let by_patch = picked(&[("c", "patch")], &[("1", "patch")]);
        assert_eq!(by_patch[&"c".repeat(40)], ("1".repeat(40), Evidence::Patch));
        assert!(!by_patch.contains_key(&"b".repeat(40)));
    }

    #[test]
    fn what_was_reverted_does_not_stand_and_what_was_reverted_twice_does() {
        let revert = |hash: &str, of: &str| {
            change(hash, "Revert", &format!("This reverts commit {}.", of.repeat(40)))
        };
        let left = |own: Vec<Change>| -> String {
            standing(own).iter().map(|change| &change.hash[..1]).collect()
        };
        assert_eq!(left(vec![change("1", "x", ""), change("2", "y", ""), revert("3", "1")]), "2");
        assert_eq!(left(vec![change("1", "x", ""), revert("2", "1"), revert("3", "2")]), "1");
        assert_eq!(left(vec![revert("2", "f")]), "2", "what came before the fork is not its own");
    }
}
