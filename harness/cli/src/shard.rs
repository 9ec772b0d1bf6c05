//! A shard: the part of a plan that one of several machines runs.

use std::str::FromStr;

use crate::estimate;
use crate::plan::Plan;

/// The time assumed for a case whose time cannot be estimated, in nanoseconds.
const UNKNOWN_TIME: u64 = 5_000_000_000;

/// A part of a plan and the number of parts: `2/3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// From 1.
    part: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('/')
            .and_then(|(part, of)| Some(Shard { part: part.parse().ok()?, of: of.parse().ok()? }));
        parts
            .filter(|shard| (1..=shard.of).contains(&shard.part))
            .ok_or_else(|| "a shard is written `2/3`: the second of three".to_owned())
    }
}

impl Shard {
    /// Reduces `plan` to this shard, and returns how many parts of this size the plan makes,
    /// rounded up, but at least the number of shards. The parts take about the same time by a model
    /// that knows nothing of the machine, so every machine cuts the same plan in the same way.
    pub(crate) fn cut(self, plan: &mut Plan) -> u32 {
        let whole = plan.cases.len();
        let times = estimate::by_model(plan).into_iter();
        let times = times.map(|time| time.map_or(UNKNOWN_TIME, |time| time.0)).enumerate();
        let costs: Vec<u64> = times
            .map(|(place, time)| time.saturating_mul(u64::from(plan.cases[place].rounds)))
            .collect();
        let parts = self::parts(&costs, self.of);
        let mine = |place: usize| parts[place] == self.part - 1;
        let mut place = 0..;
        plan.cases.retain(|_| place.next().is_some_and(mine));
        let mut place = 0..;
        plan.models.retain(|_| place.next().is_some_and(mine));
        plan.elsewhere += whole - plan.cases.len();
        // Skipped points are reported by one shard only.
        if self.part > 1 {
            plan.skipped.clear();
        }
        let shards = whole.div_ceil(plan.cases.len().max(1)).max(self.of);
        u32::try_from(shards).unwrap_or(u32::MAX)
    }
}

/// Assigns each of `costs` to a part: the largest first, each to the least loaded part (Graham
/// 1969).
fn parts(costs: &[u64], of: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by_key(|place| std::cmp::Reverse(costs[*place]));
    // With more parts than cases, the others stay empty.
    let of = of.min(costs.len());
    let mut loads = vec![0u64; of];
    let mut parts = vec![0; costs.len()];
    for place in order {
        let least = (0..of).min_by_key(|part| loads[*part]).unwrap_or(0);
        loads[least] = loads[least].saturating_add(costs[place]);
        parts[place] = least;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_read_as_they_are_written() {
        assert_eq!("2/3".parse(), Ok(Shard { part: 2, of: 3 }));
        for text in ["", "2", "0/3", "4/3", "1/0", "a/b"] {
            assert!(text.parse::<Shard>().unwrap_err().contains("`2/3`"), "{text}");
        }
    }

    #[test]
    fn every_case_is_in_one_part_and_the_parts_take_about_as_long() {
        let costs = [9, 1, 1, 8, 1, 7, 1, 1];
        let parts = parts(&costs, 3);
        let load =
            |part| costs.iter().zip(&parts).filter(|(_, p)| **p == part).map(|(c, _)| c).sum();
        let loads: Vec<u64> = (0..3).map(load).collect();
        assert_eq!(loads.iter().sum::<u64>(), 29);
        assert!(loads.iter().all(|load| (9..=10).contains(load)), "{loads:?}");
        assert_eq!(self::parts(&[1, 1], 5).len(), 2, "more parts than cases");
        assert_eq!(self::parts(&[1, 1], usize::MAX), [0, 1]);
        assert_eq!(self::parts(&[], 3), [0; 0]);
    }
}
