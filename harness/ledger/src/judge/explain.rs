//! The arithmetic behind a judgement, step by step, for people who want to check it.

use crate::judge::family::{self, Look, Standing};
use crate::judge::interleaved::differences;
use crate::judge::location::clipping;
use crate::judge::{ALPHA, Evidence, Judgement, Prepared, Question, judge, prepare};
use crate::verdict::Verdict;

pub use crate::judge::location::Clipping;

/// How one question of a family came to its judgement.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The size of the family.
    pub family: usize,
    /// The difference within each pair of rounds before the first pair that has no logarithms, on
    /// the log scale, positive if the head is worse; empty for a stored base.
    pub differences: Vec<f64>,
    /// Each look, until there was a verdict.
    pub steps: Vec<Step>,
    /// The resulting judgement.
    pub judgement: Judgement,
}

/// One look at one series. Everything is on the log scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Rounds per side that were included.
    pub rounds: usize,
    /// How outliers were clipped; none for a stored base.
    pub clipping: Option<Clipping>,
    /// The estimate ê.
    pub effect: f64,
    /// Its standard error.
    pub se: f64,
    /// Its degrees of freedom.
    pub df: f64,
    /// The share of the allowed error that this look may spend.
    pub share: f64,
    /// The margin θ.
    pub theta: f64,
    /// The bias floor δ₀.
    pub bias: f64,
    /// The p value of being worse, divided by the share, the smallest so far; and the threshold of
    /// Holm's procedure.
    pub worse: (f64, f64),
    /// The same for being better.
    pub better: (f64, f64),
    /// The upper bound that must stay below the margin for a pass.
    pub upper: f64,
    /// The verdict after this look.
    pub verdict: Option<Verdict>,
}

/// How the question at index `place` of `questions` got its judgement, in a family of at least
/// `family` series.
#[must_use]
pub fn explain(questions: &[Question], family: usize, place: usize) -> Option<Explanation> {
    let question = questions.get(place)?;
    let family = family.max(questions.len());
    let judgement = judge(questions, family).swap_remove(place);
    let differences = match &question.evidence {
        Evidence::Interleaved { base, head, .. } => differences(base, head, question.better),
        Evidence::Stored { .. } | Evidence::Missing(_) => Vec::new(),
    };
    let prepared: Vec<Prepared> =
        questions.iter().map(|question| prepare(question, family)).collect();
    let looks: Vec<&[Look]> = prepared.iter().map(Prepared::looks).collect();
    let mut steps = Vec::new();
    family::decide_watched(&looks, family, &mut |index, standings: &[Standing]| {
        let before = steps.last().and_then(|step: &Step| step.verdict);
        let look = looks[place].get(index).filter(|_| before.is_none());
        steps.extend(look.map(|look| step(look, standings, place, family, &differences)));
    });
    Some(Explanation { family, differences, steps, judgement })
}

fn step(
    look: &Look,
    standings: &[Standing],
    place: usize,
    family: usize,
    differences: &[f64],
) -> Step {
    let p = |of: fn(&Standing) -> f64| -> (f64, f64) {
        let all: Vec<f64> = standings.iter().map(of).collect();
        // The procedure stops at the first hypothesis that it does not reject.
        let smaller = all.iter().filter(|other| **other < all[place]).count();
        let rank = smaller.min(family::rejected(&all, family).len());
        (all[place], ALPHA / (family - rank) as f64)
    };
    Step {
        rounds: look.rounds,
        clipping: differences.get(..look.rounds).and_then(clipping),
        effect: look.location.centre,
        se: look.location.se,
        df: look.location.df,
        share: look.share,
        theta: look.theta(),
        bias: look.bias,
        worse: p(Standing::worse),
        better: p(Standing::better),
        upper: look.upper(),
        verdict: standings[place].verdict(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{Nature, Rule};
    use crate::margin::Margin;
    use crate::metric::Better;

    /// Ten pairs whose head takes `change` times as long, with noise of width `spread`.
    fn question(change: f64, spread: f64) -> Question {
        let noise = |place: usize| 1.0 + spread * ((place * 7 % 11) as f64 / 11.0 - 0.5);
        let base: Vec<f64> = (0..10).map(noise).collect();
        let head = (0..10).map(|place| noise(place + 5) * change).collect();
        Question {
            better: Better::Lower,
            nature: Nature::Timed,
            margin: Margin::new(0.03, 0.0).unwrap(),
            bias: 0.0,
            evidence: Evidence::Interleaved { base, head, budget: 30 },
        }
    }

    #[test]
    fn every_number_of_an_explanation_leads_to_its_verdict() {
        let mut open = question(1.0, 0.01);
        if let Evidence::Interleaved { base, head, .. } = &mut open.evidence {
            let swings = [1.06, 0.98].into_iter().cycle();
            *head = base.iter().zip(swings).map(|(base, swing)| base * swing).collect();
        }
        let questions = [question(1.0, 0.01), question(1.1, 0.01), open];
        for (place, steps) in [(0, 1), (1, 1)] {
            let told = explain(&questions, 0, place).unwrap();
            assert_eq!((told.steps.len(), told.judgement.rule), (steps, Rule::Interleaved));
            let step = told.steps[0];
            assert_eq!(step.verdict, Some(told.judgement.verdict));
            let mean = told.differences[..6].iter().sum::<f64>() / 6.0;
            assert!((step.effect - mean).abs() < 1e-12, "of six nothing is clipped");
            match told.judgement.verdict {
                Verdict::Pass => assert!(step.upper < step.theta),
                Verdict::Regressed => {
                    assert!(step.effect >= step.theta && step.worse.0 <= step.worse.1);
                    assert_eq!(step.worse.1, ALPHA / 3.0, "the smallest p of three");
                }
                verdict => panic!("{verdict}"),
            }
        }
        let open = explain(&questions, 0, 2).unwrap();
        assert_eq!(open.steps.len(), 2, "looked at twice: {open:?}");
        assert_eq!(open.steps[1].verdict, None);
        // One of the other two was rejected; thresholds that Holm's procedure never reached are not
        // shown.
        assert_eq!(open.steps[1].worse.1, ALPHA / 2.0);
        assert_eq!(explain(&questions, 0, 3), None);
    }
}
