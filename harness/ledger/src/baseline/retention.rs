//! Which sessions no decision needs.

use std::collections::BTreeMap;

use super::{Code, Decisions, Key};

/// The sessions that can be deleted, oldest first: all but those of the current promotion of each
/// machine, and the `keep` newest of each scenario on each machine.
#[must_use]
pub fn superfluous(sessions: &[(Key, Code)], decisions: &Decisions, keep: usize) -> Vec<Key> {
    let current = decisions.current();
    let needed = |key: &Key, code: &Code| {
        current.iter().any(|promotion| {
            promotion.machine == key.machine
                && promotion.upstream.same(&key.upstream)
                && promotion.code == *code
        })
    };
    let mut newest: Vec<&(Key, Code)> = sessions.iter().collect();
    newest.sort_by(|(a, _), (b, _)| b.session.cmp(&a.session));
    let mut kept: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut superfluous = Vec::new();
    for (key, code) in newest {
        let kept = kept.entry((&key.machine, &key.scenario)).or_default();
        match *kept < keep {
            true => *kept += 1,
            false if needed(key, code) => (),
            false => superfluous.push(key.clone()),
        }
    }
    superfluous.reverse();
    superfluous
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::decisions::tests::promotion;
    use crate::baseline::tests::{code, hash};

    fn session(upstream: char, day: u32, engine: &str) -> (Key, Code) {
        let key = Key {
            upstream: hash(upstream),
            machine: "m".into(),
            scenario: "smoke/a".into(),
            session: format!("2026010{day}T0Z-0"),
        };
        (key, code(engine))
    }

    #[test]
    fn the_promoted_and_the_newest_sessions_are_kept() {
        let sessions = [
            session('a', 1, "old"),
            session('a', 2, "promoted"),
            session('b', 3, "tried"),
            session('b', 4, "new"),
        ];
        let promoted = vec![promotion('a', "m", "old", "1"), promotion('a', "m", "promoted", "2")];
        let decisions = Decisions { promoted, accepted: Vec::new() };
        let days = |keep| -> Vec<String> {
            let keys = superfluous(&sessions, &decisions, keep);
            keys.iter().map(|key| key.day()[7..].to_owned()).collect()
        };
        assert_eq!(days(0), ["1", "3", "4"]);
        assert_eq!(days(1), ["1", "3"]);
        assert_eq!(days(2), ["1"]);
        assert!(days(4).is_empty());
    }
}
