//! Values of which some are not above zero: relative changes make no sense for them, so their order
//! decides.
//!
//! For identical code every order of the rounds is equally probable, so all n rounds of the head
//! are worse than all n of the base once in (2n over n) times: the extreme of the rank-sum test (F.
//! Wilcoxon, Individual Comparisons by Ranking Methods, 1945). That detects a fall to zero or a
//! growth from zero. Overlapping rounds stay undecided.

use crate::judge::interleaved::{planned_looks, positive};
use crate::judge::range::Range;
use crate::judge::{ALPHA, Evidence, Finding, Judgement, Lack, Question, Rule};
use crate::metric::Better;
use crate::verdict::Verdict;

/// The judgement in a family of `size`, if this rule applies: the rounds alternate, and there are
/// enough of them for a look that includes one not above zero. Earlier looks fall to the rule for
/// [`interleaved`](crate::judge::interleaved) rounds.
pub(super) fn judge(question: &Question, size: usize) -> Option<Judgement> {
    let Evidence::Interleaved { base, head, budget } = &question.evidence else { return None };
    let pairs = base.len().min(head.len());
    let planned = planned_looks(*budget);
    let seeing = positive(base, head) + 1..=pairs;
    let allowed = ALPHA / planned.len() as f64 / size as f64;
    let mut judgement = None;
    for look in planned.iter().filter(|look| seeing.contains(*look)) {
        let (base, head) = (Range::of(&base[..*look])?, Range::of(&head[..*look])?);
        let seen = Seen::of(question, &base, &head);
        let is_chance = chance(*look) > allowed;
        let next = planned_looks(usize::MAX).iter().find(|next| *next > look);
        let is_last = planned.last() == Some(look);
        let verdict = match seen {
            Seen::Worse if !is_chance => Verdict::Regressed,
            Seen::Better if !is_chance => Verdict::Improved,
            Seen::Within => Verdict::Pass,
            // Better or not, it is not worse.
            Seen::Better if is_last => Verdict::Pass,
            Seen::Worse | Seen::Better | Seen::Mixed => Verdict::Inconclusive,
        };
        let lack = match (verdict, next) {
            (Verdict::Inconclusive, Some(next)) if seen != Seen::Mixed => {
                Some(Lack::Rounds { found: *look, needs: *next })
            }
            (Verdict::Inconclusive, _) => Some(Lack::Order),
            _ => None,
        };
        judgement = Some(Judgement {
            verdict,
            rule: Rule::Order,
            finding: Some(finding(question, &base, &head, *look)),
            lack,
            modes: Vec::new(),
        });
        if lack.is_none() {
            break;
        }
    }
    judgement
}

/// How the rounds of the head compare with those of the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// All are worse than all of the base, and the medians differ by at least the margin.
    Worse,
    /// All are better than all of the base, likewise.
    Better,
    /// None is worse than any of the base by the margin.
    Within,
    /// Anything else.
    Mixed,
}

impl Seen {
    fn of(question: &Question, base: &Range, head: &Range) -> Seen {
        let amount = amount(base, head);
        let (more, less) =
            (question.margin.growth_of(amount), question.margin.shrinkage_of(amount));
        let grew = head.least > base.most && head.median - base.median >= more;
        let shrank = head.most < base.least && base.median - head.median >= less;
        let (worse, better, within) = match question.better {
            Better::Lower => {
                let grew_by = head.most - base.least;
                (grew, shrank, grew_by <= 0.0 || grew_by < more)
            }
            Better::Higher => {
                let shrank_by = base.most - head.least;
                (shrank, grew, shrank_by <= 0.0 || shrank_by < less)
            }
        };
        match () {
            () if worse => Seen::Worse,
            () if better => Seen::Better,
            () if within => Seen::Within,
            () => Seen::Mixed,
        }
    }
}

/// What a change is a fraction of: the larger median, since the base may be zero.
fn amount(base: &Range, head: &Range) -> f64 {
    base.median.abs().max(head.median.abs())
}

/// The change, as fractions of the larger of the two medians.
fn finding(question: &Question, base: &Range, head: &Range, rounds: usize) -> Finding {
    let (better, amount) = (question.better, amount(base, head));
    let worsening = |from: f64, to: f64| match better {
        _ if from == to => 0.0,
        Better::Lower => (to - from) / amount,
        Better::Higher => (from - to) / amount,
    };
    let margin = question.margin.share_of(amount);
    Finding {
        effect: worsening(base.median, head.median),
        low: worsening(base.worst(better), head.best(better)),
        high: worsening(base.best(better), head.worst(better)),
        margin,
        mde: margin.max(worsening(base.best(better), base.worst(better))),
        rounds,
    }
}

/// The probability that, of two times `rounds` numbers in random order, the first half are the
/// largest.
fn chance(rounds: usize) -> f64 {
    (1..=rounds).map(|place| place as f64 / (rounds + place) as f64).product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Nature;
    use crate::margin::Margin;

    fn judged(better: Better, absolute: f64, base: &[f64], head: &[f64]) -> Option<Judgement> {
        let evidence = Evidence::Interleaved { base: base.into(), head: head.into(), budget: 30 };
        let margin = Margin::new(0.05, absolute).unwrap();
        let question = Question { better, nature: Nature::Timed, margin, bias: 0.0, evidence };
        judge(&question, 201)
    }

    fn verdict(better: Better, base: &[f64], head: &[f64]) -> Verdict {
        judged(better, 0.0, base, head).unwrap().verdict
    }

    fn around(value: f64, rounds: usize) -> Vec<f64> {
        (0..rounds).map(|round| value + (round * 7 % 11) as f64 / 100.0).collect()
    }

    #[test]
    fn the_chance_is_one_order_of_all() {
        assert!((chance(1) - 0.5).abs() < 1e-15);
        assert!((chance(6) - 1.0 / 924.0).abs() < 1e-15);
        assert!((chance(10) - 1.0 / 184_756.0).abs() < 1e-15);
    }

    #[test]
    fn what_falls_to_nothing_and_what_grows_from_nothing_is_regressed() {
        let (some, none) = (around(12.0, 10), vec![0.0; 10]);
        assert_eq!(verdict(Better::Higher, &some, &none), Verdict::Regressed);
        assert_eq!(verdict(Better::Higher, &none, &some), Verdict::Improved);
        assert_eq!(verdict(Better::Lower, &none, &some), Verdict::Regressed);
        assert_eq!(verdict(Better::Lower, &some, &none), Verdict::Improved);
        let below = around(-8.0, 10);
        assert_eq!(verdict(Better::Lower, &below, &some), Verdict::Regressed);
        let finding = judged(Better::Higher, 0.0, &some, &none).unwrap().finding.unwrap();
        assert!((finding.effect - 1.0).abs() < 1e-12, "all of it is lost: {finding:?}");
    }

    #[test]
    fn a_shift_below_the_margin_is_none_below_zero_either() {
        let (base, head) = (vec![-8.0; 10], vec![-7.9; 10]);
        assert_eq!(verdict(Better::Lower, &base, &head), Verdict::Pass);
        assert_eq!(verdict(Better::Lower, &base, &[-7.0; 10]), Verdict::Regressed);
    }

    #[test]
    fn few_rounds_of_many_series_ask_for_more_and_mixed_ones_do_not() {
        let lack = |base: &[f64], head: &[f64]| {
            let judgement = judged(Better::Higher, 0.0, base, head).unwrap();
            assert_eq!(judgement.verdict, Verdict::Inconclusive);
            judgement.lack
        };
        let some = around(12.0, 6);
        assert_eq!(lack(&some, &[0.0; 6]), Some(Lack::Rounds { found: 6, needs: 10 }));
        let mut mixed = around(12.0, 6);
        mixed[3] = 0.0;
        assert_eq!(lack(&some, &mixed), Some(Lack::Order));
        assert_eq!(lack(&mixed, &mixed), Some(Lack::Order));
    }

    #[test]
    fn what_stays_within_the_margin_passes_and_a_verdict_stands() {
        let growth = [-8.0, 0.0, 40.0, 3.0, 0.0, 12.0];
        let judged = |head: &[f64]| judged(Better::Lower, 64.0, &growth, head).unwrap();
        assert_eq!(judged(&[0.0, 55.0, 1.0, 2.0, 3.0, -9.0]).verdict, Verdict::Pass);
        assert_eq!(judged(&[0.0, 56.0, 1.0, 2.0, 3.0, -9.0]).verdict, Verdict::Inconclusive);
        let late = [&growth[..], &[900.0; 4]].concat();
        let early = Evidence::Interleaved {
            base: [&growth[..], &[0.0; 4]].concat(),
            head: late,
            budget: 30,
        };
        let margin = Margin::new(0.05, 64.0).unwrap();
        let question = Question {
            better: Better::Lower,
            nature: Nature::Counted,
            margin,
            bias: 0.0,
            evidence: early,
        };
        assert_eq!(super::judge(&question, 1).unwrap().verdict, Verdict::Pass);
    }

    #[test]
    fn what_has_logarithms_or_is_no_number_or_too_little_is_left_to_others() {
        let some = around(12.0, 10);
        assert_eq!(judged(Better::Higher, 0.0, &some, &some), None);
        assert_eq!(judged(Better::Higher, 0.0, &some, &[f64::NAN; 10]), None);
        assert_eq!(judged(Better::Higher, 0.0, &some, &[0.0; 5]), None);
    }
}
