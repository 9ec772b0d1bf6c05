//! The series of one run, decided together at planned looks.
//!
//! At each look Holm's procedure (1979) is applied to the whole family: it keeps the probability of
//! any false alarm in the run below [`ALPHA`], however many series there are, and each planned look
//! gets an equal share of it (Bonferroni). A false pass concerns only its own series, so passes
//! need no such correction.

use crate::judge::interleaved::LAST;
use crate::judge::location::Location;
use crate::judge::student::{quantile, tail};
use crate::judge::{ALPHA, BETA, Finding, Judgement, Lack, OUT_OF_REACH, Rule};
use crate::verdict::Verdict;

/// What one look shows of one series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    /// Rounds per side that it includes.
    pub(super) rounds: usize,
    /// The worsening on the log scale.
    pub(super) location: Location,
    /// The share of the allowed error that this look may spend.
    pub(super) share: f64,
    /// The margin, as a share of the base.
    pub(super) margin: f64,
    /// The bias floor, on the log scale.
    pub(super) bias: f64,
}

/// A direction in which a series can have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Worse,
    Better,
}

/// The probability, for the MDE, of missing a change of that size.
const UNSEEN: f64 = 0.1;

impl Look {
    /// θ: the margin on the log scale.
    pub(super) fn theta(&self) -> f64 {
        self.margin.ln_1p()
    }

    /// How much the series changed in this direction.
    fn effect(&self, change: Change) -> f64 {
        match change {
            Change::Worse => self.location.centre,
            Change::Better => -self.location.centre,
        }
    }

    /// The p value of such an effect for unchanged code, divided by the share of this look.
    fn p(&self, change: Change) -> f64 {
        tail((self.effect(change) - self.bias) / self.location.se, self.location.df) / self.share
    }

    /// Whether a worsening by the margin is improbable.
    fn passes(&self) -> bool {
        self.upper() < self.theta()
    }

    /// The upper bound of the effect, at the error allowed for a pass.
    pub(super) fn upper(&self) -> f64 {
        self.location.centre + self.reach(BETA)
    }

    /// The distance from the centre, on the log scale, of a bound with error probability `error`.
    fn reach(&self, error: f64) -> f64 {
        quantile(error * self.share, self.location.df) * self.location.se
    }

    fn finding(&self, size: usize) -> Finding {
        let alarm = self.reach(ALPHA / size as f64);
        let unseen = quantile(UNSEEN, self.location.df) * self.location.se;
        Finding {
            effect: self.location.centre.exp_m1(),
            low: (self.location.centre - alarm).exp_m1(),
            high: self.upper().exp_m1(),
            margin: self.margin,
            mde: (self.bias + alarm + unseen).exp_m1(),
            rounds: self.rounds,
        }
    }

    /// About how many more pairs would decide, if they are as noisy as these: the standard error
    /// must shrink until the bound clears the threshold.
    fn lacks(&self, size: usize) -> Lack {
        let (reach, room) = match self.location.centre {
            centre if centre < self.theta() => (self.reach(BETA), self.theta() - centre),
            centre if centre <= self.bias => return Lack::Evenness,
            centre => (self.reach(ALPHA / size as f64), centre - self.bias),
        };
        let all = self.rounds as f64 * (reach / room).powi(2);
        let more = match (all - self.rounds as f64).ceil() {
            more if more <= f64::from(OUT_OF_REACH) => more.max(1.0) as u32,
            _ => OUT_OF_REACH + 1,
        };
        match self.rounds < LAST {
            true => Lack::Pairs(more),
            false => Lack::Looks(more),
        }
    }
}

/// The state of a series after the looks so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Standing {
    /// The last look.
    look: Option<Look>,
    /// The smallest p of being worse over the looks so far.
    worse: f64,
    /// The smallest p of being better over the looks so far.
    better: f64,
    /// The verdict, once there is one. Later looks do not change it.
    verdict: Option<Verdict>,
}

impl Standing {
    const NEW: Standing = Standing { look: None, worse: 1.0, better: 1.0, verdict: None };

    fn see(&mut self, look: Look) {
        self.worse = self.worse.min(look.p(Change::Worse));
        self.better = self.better.min(look.p(Change::Better));
        self.look = Some(look);
    }

    /// The smallest p of being worse over the looks so far.
    pub(super) fn worse(&self) -> f64 {
        self.worse
    }

    /// The smallest p of being better over the looks so far.
    pub(super) fn better(&self) -> f64 {
        self.better
    }

    /// The verdict, once there is one.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// The judgement in the present state.
    pub(super) fn judgement(self, rule: Rule, size: usize) -> Judgement {
        let lack = |look: Look| match rule {
            Rule::Stored => Lack::SameDay,
            Rule::Interleaved | Rule::Quantised | Rule::Order => look.lacks(size),
        };
        Judgement {
            verdict: self.verdict.unwrap_or(Verdict::Inconclusive),
            rule,
            finding: self.look.map(|look| look.finding(size)),
            lack: self.look.filter(|_| self.verdict.is_none()).map(lack),
            modes: Vec::new(),
        }
    }
}

/// Goes through the looks of each series, in a family of `size` series.
pub(super) fn decide(series: &[&[Look]], size: usize) -> Vec<Standing> {
    decide_watched(series, size, &mut |_, _| ())
}

/// Like [`decide`]; after each look, `watch` gets its index and all standings.
pub(super) fn decide_watched(
    series: &[&[Look]],
    size: usize,
    watch: &mut dyn FnMut(usize, &[Standing]),
) -> Vec<Standing> {
    let mut standings = vec![Standing::NEW; series.len()];
    let most = series.iter().map(|looks| looks.len()).max().unwrap_or(0);
    for step in 0..most {
        let open = |standing: &Standing| standing.verdict.is_none();
        for (standing, looks) in standings.iter_mut().zip(series) {
            if let Some(look) = looks.get(step).filter(|_| open(standing)) {
                standing.see(*look);
            }
        }
        alarm(&mut standings, size, Change::Worse);
        alarm(&mut standings, size, Change::Better);
        for (standing, looks) in standings.iter_mut().zip(series) {
            if looks.get(step).is_some_and(|look| open(standing) && look.passes()) {
                standing.verdict = Some(Verdict::Pass);
            }
        }
        watch(step, &standings);
    }
    standings
}

/// Decides every open series whose change is both improbable by chance, across the whole family,
/// and at least the margin.
fn alarm(standings: &mut [Standing], size: usize, change: Change) {
    let (verdict, p): (Verdict, fn(&Standing) -> f64) = match change {
        Change::Worse => (Verdict::Regressed, |standing| standing.worse),
        Change::Better => (Verdict::Improved, |standing| standing.better),
    };
    let p: Vec<f64> = standings.iter().map(p).collect();
    for place in rejected(&p, size) {
        let standing = &mut standings[place];
        let open = standing.look.filter(|_| standing.verdict.is_none());
        if open.is_some_and(|look| look.effect(change) >= look.theta()) {
            standing.verdict = Some(verdict);
        }
    }
}

/// The indices of the p values that Holm's procedure rejects in a family of `size`.
pub(super) fn rejected(p: &[f64], size: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let ranked = order.into_iter().enumerate();
    let stands = |(rank, place): &(usize, usize)| p[*place] <= ALPHA / (size - rank) as f64;
    ranked.take_while(stands).map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(centre: f64, se: f64) -> Look {
        let location = Location { centre, se, df: 9.0 };
        Look { rounds: 10, location, share: 1.0, margin: 0.03, bias: 0.0 }
    }

    fn verdict(looks: &[Look], size: usize) -> Option<Verdict> {
        decide(&[looks], size)[0].verdict
    }

    #[test]
    fn holm_steps_down_until_the_first_that_stands() {
        assert_eq!(rejected(&[0.2, 0.01, 0.02], 3), [1, 2]);
        assert_eq!(rejected(&[0.2, 0.01, 0.03], 3), [1]);
        assert_eq!(rejected(&[0.2, 0.02, 0.01], 60), [0; 0]);
        assert_eq!(rejected(&[], 0), [0; 0]);
    }

    #[test]
    fn a_clear_change_is_seen_in_either_direction() {
        assert_eq!(verdict(&[look(0.06, 0.001)], 60), Some(Verdict::Regressed));
        assert_eq!(verdict(&[look(-0.06, 0.001)], 60), Some(Verdict::Improved));
        assert_eq!(verdict(&[look(0.0, 0.001)], 60), Some(Verdict::Pass));
        assert_eq!(verdict(&[look(0.0, 0.1)], 60), None);
    }

    #[test]
    fn a_certain_change_below_the_margin_passes() {
        assert_eq!(verdict(&[look(0.02, 0.0001)], 1), Some(Verdict::Pass));
        assert_eq!(verdict(&[look(-0.02, 0.0001)], 1), Some(Verdict::Pass));
    }

    #[test]
    fn a_large_family_asks_for_more() {
        let noisy = [look(0.06, 0.015)];
        assert_eq!(verdict(&noisy, 1), Some(Verdict::Regressed));
        assert_eq!(verdict(&noisy, 60), None);
    }

    #[test]
    fn what_unchanged_code_was_seen_to_differ_by_is_no_alarm() {
        let biased = Look { bias: 0.05, ..look(0.06, 0.01) };
        assert_eq!(verdict(&[biased], 1), None);
        assert_eq!(verdict(&[look(0.06, 0.01)], 1), Some(Verdict::Regressed));
    }

    #[test]
    fn a_verdict_stands_whatever_later_looks_show() {
        assert_eq!(verdict(&[look(0.0, 0.001), look(0.09, 0.001)], 1), Some(Verdict::Pass));
        let standing = decide(&[&[look(0.0, 0.001), look(0.09, 0.001)]], 1)[0];
        assert_eq!(standing.look, Some(look(0.0, 0.001)), "nor are they seen");
    }

    #[test]
    fn what_is_undecided_says_how_many_more_pairs_it_takes() {
        let lack = |look: Look| decide(&[&[look]], 1)[0].judgement(Rule::Interleaved, 1).lack;
        // To pass, 1.833 · se must shrink to ln 1.03, that is by (2.9559 / 1.833)² when squared.
        assert_eq!(lack(look(0.0, 0.02)), Some(Lack::Pairs(6)));
        assert_eq!(lack(look(0.0, 0.5)), Some(Lack::Pairs(1001)));
        assert_eq!(lack(look(0.0, 0.001)), None);
        let last = |look: Look| Look { rounds: 150, ..look };
        assert_eq!(lack(last(look(0.0, 0.02))), Some(Lack::Looks(81)), "no look would see them");
        assert_eq!(lack(last(look(0.0, 0.5))), Some(Lack::Looks(1001)));
        let biased = Look { bias: 0.2, ..look(0.06, 0.01) };
        assert_eq!(lack(biased), Some(Lack::Evenness), "more of the same never will");
        let stored = decide(&[&[look(0.0, 0.02)]], 1)[0].judgement(Rule::Stored, 1).lack;
        assert_eq!(stored, Some(Lack::SameDay));
    }

    #[test]
    fn the_mde_is_what_would_have_been_seen() {
        let finding = look(0.0, 0.01).finding(1);
        // t(0.05, 9) + t(0.1, 9) = 1.8331 + 1.3830.
        assert!((finding.mde - (0.01_f64 * 3.2161).exp_m1()).abs() < 1e-5, "{finding:?}");
        let finding = Look { bias: 0.02, ..look(0.0, 0.01) }.finding(1);
        assert!((finding.mde - (0.02 + 0.01_f64 * 3.2161).exp_m1()).abs() < 1e-5, "{finding:?}");
    }
}
