//! Bytes and counts that hardly vary: values that repeat need no statistics.

use crate::judge::range::Range;
use crate::judge::{Evidence, Finding, Judgement, Lack, Nature, Question, Rule};
use crate::metric::Better;
use crate::verdict::Verdict;

/// The fewest rounds per side.
const FEWEST: usize = 3;

/// The range of `rounds`; none if there are too few, they vary too much, or one is negative or not
/// finite.
fn narrow(rounds: &[f64]) -> Option<Range> {
    Range::narrow(rounds).filter(|_| rounds.len() >= FEWEST)
}

/// The judgement, if this rule applies: counted values, with at least three rounds per side, whose
/// range is at most 0.5 % of their median.
pub(super) fn judge(question: &Question) -> Option<Judgement> {
    if question.nature != Nature::Counted {
        return None;
    }
    // Values that repeat from day to day form one base; others are left to the rule for noise
    // between days.
    let (bases, heads) = match &question.evidence {
        Evidence::Interleaved { base, head, .. } => (base.clone(), head),
        Evidence::Stored { sessions, head, .. } => (sessions.concat(), head),
        Evidence::Missing(_) => return None,
    };
    let (base, head) = (narrow(&bases)?, narrow(heads)?);

    let (margin, better) = (question.margin, question.better);
    let (more, less) = (margin.growth_of(base.median), margin.shrinkage_of(base.median));
    let grew = head.least > base.most && head.median - base.median >= more;
    let shrank = head.most < base.least && base.median - head.median >= less;
    // If the base is zero, so is every share of it: a head that is not worse needs no margin to
    // pass.
    let (regressed, improved, passed) = match better {
        Better::Lower => (grew, shrank, head.most <= base.median || head.most - base.median < more),
        Better::Higher => {
            (shrank, grew, head.least >= base.median || base.median - head.least < less)
        }
    };
    let verdict = match () {
        () if regressed => Verdict::Regressed,
        () if improved => Verdict::Improved,
        () if passed => Verdict::Pass,
        () => Verdict::Inconclusive,
    };
    let worsening = |from: f64, to: f64| match better {
        _ if from == to => 0.0,
        Better::Lower => to / from - 1.0,
        Better::Higher => from / to - 1.0,
    };
    let share = margin.share_of(base.median);
    let finding = Finding {
        effect: worsening(base.median, head.median),
        low: worsening(base.worst(better), head.best(better)),
        high: worsening(base.best(better), head.worst(better)),
        margin: share,
        mde: share.max(worsening(base.best(better), base.worst(better))),
        rounds: bases.len().min(heads.len()),
    };
    Some(Judgement {
        verdict,
        rule: Rule::Quantised,
        finding: Some(finding),
        lack: (verdict == Verdict::Inconclusive).then_some(Lack::Agreement),
        modes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::margin::Margin;

    const MARGIN: (f64, f64) = (0.02, 64.0);

    fn verdict(better: Better, base: &[f64], head: &[f64]) -> Option<Verdict> {
        let evidence = Evidence::Interleaved { base: base.into(), head: head.into(), budget: 30 };
        let margin = Margin::new(MARGIN.0, MARGIN.1).unwrap();
        judge(&Question { better, nature: Nature::Counted, margin, bias: 0.0, evidence })
            .map(|judgement| judgement.verdict)
    }

    #[test]
    fn bytes_that_repeat_are_judged_by_three_rounds() {
        let of = |head: f64| verdict(Better::Lower, &[10_000.0; 3], &[head; 3]);
        assert_eq!(of(10_000.0), Some(Verdict::Pass));
        assert_eq!(of(10_199.0), Some(Verdict::Pass));
        assert_eq!(of(10_200.0), Some(Verdict::Regressed));
        assert_eq!(of(9_800.0), Some(Verdict::Improved));
        assert_eq!(of(9_850.0), Some(Verdict::Pass));
    }

    #[test]
    fn every_session_of_a_stored_base_counts() {
        let of = |sessions: &[[f64; 3]], head: f64| {
            let sessions = sessions.iter().map(|rounds| rounds.to_vec()).collect();
            let evidence = Evidence::Stored { sessions, session_sd: None, head: vec![head; 3] };
            let (margin, better) = (Margin::new(MARGIN.0, MARGIN.1).unwrap(), Better::Lower);
            judge(&Question { better, nature: Nature::Counted, margin, bias: 0.0, evidence })
                .map(|judgement| (judgement.verdict, judgement.finding.unwrap().rounds))
        };
        let same = [[10_000.0; 3], [10_000.0; 3]];
        assert_eq!(of(&same, 10_200.0), Some((Verdict::Regressed, 3)));
        // The newest session alone would make this a regression.
        assert_eq!(of(&[[10_210.0; 3], [10_000.0; 3]], 10_210.0), None);
    }

    #[test]
    fn below_the_absolute_part_no_share_counts() {
        let of = |head: f64| verdict(Better::Lower, &[100.0; 3], &[head; 3]);
        assert_eq!((of(163.0), of(164.0)), (Some(Verdict::Pass), Some(Verdict::Regressed)));
        assert_eq!(of(37.0), Some(Verdict::Pass));
        assert_eq!(of(36.0), Some(Verdict::Improved));
    }

    #[test]
    fn zero_is_a_count_like_any_other() {
        let of = |base: f64, head: f64| verdict(Better::Lower, &[base; 3], &[head; 3]);
        assert_eq!(of(0.0, 0.0), Some(Verdict::Pass));
        assert_eq!(of(0.0, 100.0), Some(Verdict::Regressed));
        assert_eq!(of(100.0, 0.0), Some(Verdict::Improved));
    }

    #[test]
    fn nothing_stays_nothing_where_only_shares_matter() {
        let of = |better, head: f64| {
            let evidence =
                Evidence::Interleaved { base: vec![0.0; 3], head: vec![head; 3], budget: 30 };
            let margin = Margin::new(0.01, 0.0).unwrap();
            judge(&Question { better, nature: Nature::Counted, margin, bias: 0.0, evidence })
                .map(|judgement| judgement.verdict)
        };
        assert_eq!(of(Better::Lower, 0.0), Some(Verdict::Pass));
        assert_eq!(of(Better::Higher, 0.0), Some(Verdict::Pass));
        assert_eq!(of(Better::Lower, 1.0), Some(Verdict::Regressed));
        assert_eq!(of(Better::Higher, 1.0), Some(Verdict::Improved));
    }

    #[test]
    fn more_is_better_where_the_metric_says_so() {
        let of = |head: f64| verdict(Better::Higher, &[10_200.0; 3], &[head; 3]);
        assert_eq!(of(10_001.0), Some(Verdict::Pass));
        assert_eq!(of(9_999.0), Some(Verdict::Regressed));
        assert_eq!(of(10_500.0), Some(Verdict::Improved));
    }

    #[test]
    fn rounds_on_either_side_of_the_margin_decide_nothing() {
        let head = [10_190.0, 10_195.0, 10_201.0];
        assert_eq!(verdict(Better::Lower, &[10_000.0; 3], &head), Some(Verdict::Inconclusive));
    }

    #[test]
    fn what_varies_or_is_too_little_is_left_to_the_statistics() {
        assert_eq!(verdict(Better::Lower, &[100.0, 100.0, 101.0], &[100.0; 3]), None);
        assert_eq!(verdict(Better::Lower, &[100.0; 2], &[100.0; 3]), None);
        assert_eq!(verdict(Better::Lower, &[f64::NAN; 3], &[100.0; 3]), None);
    }
}
