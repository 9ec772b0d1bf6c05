//! Chooses the baseline for a change: the nearest ancestor of its upstream commit, in the order of
//! the integration log, that is promoted and measured on its kind of machine.

use super::Promotion;
use crate::upstream::{Hash, Log};

/// The baseline that a change is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The promotion.
    pub promotion: &'a Promotion,
    /// How many upstream commits it lies behind the change.
    pub distance: usize,
    /// A nearer promotion that would have been chosen if its sessions were here.
    pub passed_over: Option<&'a Promotion>,
}

/// Why there is no baseline to compare a change with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoChoice {
    /// The upstream commit is not in the log.
    #[error("upstream commit {0} is not in the integration log")]
    Unknown(Hash),
    /// Nothing is promoted on this kind of machine.
    #[error("nothing is promoted on machines like this (`{machine}`){}", listed(others))]
    Machine {
        /// The kind of machine.
        machine: String,
        /// The kinds of machine on which something is.
        others: Vec<String>,
    },
    /// Everything promoted is at later commits, or at unknown ones.
    #[error(
        "everything promoted on machines like this is at later upstream commits than {0}, or at ones that are not in the integration log"
    )]
    Later(Hash),
    /// No ancestor that is promoted has its sessions here.
    #[error("{upstream} is promoted on machines like this, but none of its sessions are here")]
    Gone {
        /// The upstream commit of the nearest promotion.
        upstream: Hash,
    },
}

fn listed(others: &[String]) -> String {
    match others.is_empty() {
        true => String::new(),
        false => format!(", only on `{}`", others.join("`, `")),
    }
}

/// Chooses from `promoted` the baseline for a change at the upstream commit `at`; of several
/// promotions of one commit, the newest. `measured` says whether the sessions of a promotion are
/// here.
///
/// # Errors
/// If there is none.
pub fn choose<'a>(
    log: &Log,
    at: &Hash,
    machine: &str,
    promoted: impl IntoIterator<Item = &'a Promotion>,
    measured: impl Fn(&Promotion) -> bool,
) -> Result<Choice<'a>, NoChoice> {
    let here = log.position(at).ok_or_else(|| NoChoice::Unknown(at.clone()))?;
    let (mine, others): (Vec<_>, Vec<_>) =
        promoted.into_iter().partition(|promotion| promotion.machine == machine);
    if mine.is_empty() {
        let mut others: Vec<String> = others.into_iter().map(|p| p.machine.clone()).collect();
        others.sort();
        others.dedup();
        return Err(NoChoice::Machine { machine: machine.to_owned(), others });
    }
    let ancestor = |promotion: &'a Promotion| {
        let distance = here.checked_sub(log.position(&promotion.upstream)?)?;
        Some(Choice { promotion, distance, passed_over: None })
    };
    let mut ancestors: Vec<Choice<'_>> = mine.into_iter().filter_map(ancestor).collect();
    ancestors.sort_by(|a, b| {
        a.distance.cmp(&b.distance).then_with(|| b.promotion.at.cmp(&a.promotion.at))
    });
    let nearest = ancestors.first().map(|choice| choice.promotion);
    let nearest = nearest.ok_or_else(|| NoChoice::Later(at.clone()))?;
    let chosen = ancestors.into_iter().find(|choice| measured(choice.promotion));
    let chosen = chosen.ok_or(NoChoice::Gone { upstream: nearest.upstream.clone() })?;
    Ok(Choice { passed_over: Some(nearest).filter(|it| *it != chosen.promotion), ..chosen })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::decisions::tests::promotion;
    use crate::baseline::tests::hash;

    /// A log of the commits `a`, `b`, `c` and `d`.
    fn log() -> Log {
        let commit = |digit: char| {
            serde_json::json!({
                "hash": hash(digit).as_str(), "date": "2026-01-01", "area": "engine",
                "priority": "P1", "state": "skipped", "change": "x", "reason": "y",
            })
        };
        let commits: Vec<_> = "abcd".chars().map(commit).collect();
        let log = serde_json::json!({
            "repository": "r", "considered": hash('d').as_str(), "commit": commits,
        });
        serde_json::from_value(log).unwrap()
    }

    fn chosen(at: char, promoted: &[Promotion], gone: &str) -> Result<(String, usize), String> {
        let measured = |promotion: &Promotion| promotion.code.engine != gone;
        let choice = choose(&log(), &hash(at), "m", promoted, measured);
        choice
            .map(|choice| (choice.promotion.code.engine.clone(), choice.distance))
            .map_err(|error| error.to_string().replace(&"e".repeat(40), "E"))
    }

    #[test]
    fn the_nearest_measured_ancestor_is_chosen_and_its_distance_told() {
        let promoted = [
            promotion('a', "m", "first", "1"),
            promotion('c', "m", "third", "2"),
            promotion('c', "m", "third again", "3"),
            promotion('d', "n", "elsewhere", "4"),
        ];
        let found = |name: &str, distance| Ok((name.to_owned(), distance));
        assert_eq!(chosen('d', &promoted, ""), found("third again", 1));
        assert_eq!(chosen('d', &promoted, "third again"), found("third", 1));
        assert_eq!(chosen('c', &promoted, ""), found("third again", 0));
        assert_eq!(chosen('b', &promoted, ""), found("first", 1));
    }

    #[test]
    fn a_nearer_one_without_sessions_is_told() {
        let promoted = [promotion('a', "m", "first", "1"), promotion('c', "m", "third", "2")];
        let choice = |gone: &str| {
            choose(&log(), &hash('d'), "m", &promoted, |p| p.code.engine != gone).unwrap()
        };
        assert_eq!(choice("third").promotion, &promoted[0]);
        assert_eq!(choice("third").passed_over, Some(&promoted[1]));
        assert_eq!(choice("first").passed_over, None);
    }

    #[test]
    fn that_there_is_none_has_a_reason() {
        let elsewhere = [promotion('a', "n", "x", "1"), promotion('b', "n", "y", "1")];
        let later = [promotion('c', "m", "x", "1")];
        let told = |at, promoted: &[Promotion], gone| chosen(at, promoted, gone).unwrap_err();
        assert_eq!(told('d', &[], ""), "nothing is promoted on machines like this (`m`)");
        let only = "nothing is promoted on machines like this (`m`), only on `n`";
        assert_eq!(told('d', &elsewhere, ""), only);
        let late = "everything promoted on machines like this is at later upstream commits than bbbbbbbbb, or at ones that are not in the integration log";
        assert_eq!(told('b', &later, ""), late);
        let gone = "ccccccccc is promoted on machines like this, but none of its sessions are here";
        assert_eq!(told('d', &later, "x"), gone);
        let unknown = "upstream commit eeeeeeeee is not in the integration log";
        assert_eq!(told('e', &later, ""), unknown);
    }
}
