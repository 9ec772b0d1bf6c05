//! Alternating rounds: each pair of base and head gives one difference, free of slow drift.

use crate::judge::family::Look;
use crate::judge::location::locate;
use crate::judge::{Lack, Question, worse_upwards};
use crate::metric::Better;
use crate::stats;

/// The numbers of pairs at which a series is looked at. The later ones are for policies with more
/// patience than usual: half as many pairs again each time.
pub(crate) const PLANNED: [usize; 9] = [6, 10, 15, 22, 30, 45, 68, 100, 150];
/// The number of pairs after which there are no more looks.
pub const LAST: usize = PLANNED[PLANNED.len() - 1];

/// The numbers of pairs at which a series is looked at within a budget of `pairs`. Each look has an
/// equal share of the allowed error.
///
/// Whoever measures proceeds from look to look, and ends a case once all its series are decided.
#[must_use]
pub fn planned_looks(pairs: usize) -> &'static [usize] {
    &PLANNED[..PLANNED.partition_point(|look| *look <= pairs)]
}

/// The looks that the rounds so far allow, as long as all the rounds in them have logarithms.
pub(super) fn looks(
    question: &Question,
    base: &[f64],
    head: &[f64],
    budget: usize,
) -> Result<Vec<Look>, Lack> {
    let pairs = base.len().min(head.len());
    let planned = planned_looks(budget);
    if pairs.min(budget) < PLANNED[0] {
        return Err(Lack::Rounds { found: pairs, needs: PLANNED[0] });
    }
    let differences = differences(base, head, question.better);
    if differences.len() < PLANNED[0] {
        return Err(Lack::Positive);
    }
    let look = |rounds: &usize| {
        Some(Look {
            rounds: *rounds,
            location: locate(differences.get(..*rounds)?)?,
            share: 1.0 / planned.len() as f64,
            margin: question.margin.share_of(stats::median(base.get(..*rounds)?)?),
            bias: question.bias,
        })
    };
    Ok(planned.iter().map_while(look).collect())
}

/// The number of pairs before the first that has no logarithms.
pub(super) fn positive(base: &[f64], head: &[f64]) -> usize {
    let is_positive = |value: &f64| value.is_finite() && *value > 0.0;
    base.iter().zip(head).take_while(|(base, head)| is_positive(base) && is_positive(head)).count()
}

/// The difference within each of those pairs on the log scale, positive if the head is worse.
pub(super) fn differences(base: &[f64], head: &[f64], better: Better) -> Vec<f64> {
    let pairs = positive(base, head);
    let logs = |rounds: &[f64]| worse_upwards(&rounds[..pairs], better).unwrap_or_default();
    logs(base).into_iter().zip(logs(head)).map(|(from, to)| to - from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{Evidence, Nature};
    use crate::margin::Margin;

    fn question(better: Better) -> Question {
        let margin = Margin::new(0.03, 0.0).unwrap();
        let evidence = Evidence::Missing(Lack::Agreement);
        Question { better, nature: Nature::Timed, margin, bias: 0.0, evidence }
    }

    #[test]
    fn the_budget_plans_the_looks_and_the_rounds_so_far_fill_them() {
        assert_eq!(planned_looks(5), [0; 0]);
        assert_eq!(planned_looks(21), [6, 10, 15]);
        assert_eq!(planned_looks(30), [6, 10, 15, 22, 30]);
        assert_eq!(planned_looks(1000), PLANNED);

        let rounds: Vec<f64> = (1..=12).map(f64::from).collect();
        let looks = looks(&question(Better::Lower), &rounds, &rounds, 30).unwrap();
        let seen: Vec<(usize, f64)> = looks.iter().map(|look| (look.rounds, look.share)).collect();
        assert_eq!(seen, [(6, 0.2), (10, 0.2)]);
    }

    #[test]
    fn worse_is_positive_in_either_direction() {
        let (base, head) = ([100.0; 6], [110.0; 6]);
        let centre = |better| looks(&question(better), &base, &head, 6).unwrap()[0].location.centre;
        assert!((centre(Better::Lower) - 1.1_f64.ln()).abs() < 1e-12);
        assert!((centre(Better::Higher) + 1.1_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn too_few_pairs_and_values_without_logarithm_are_told_apart() {
        let question = question(Better::Lower);
        let too_few = looks(&question, &[1.0; 5], &[1.0; 9], 30);
        assert_eq!(too_few.unwrap_err(), Lack::Rounds { found: 5, needs: 6 });
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(looks(&question, &[1.0; 6], &[value; 6], 6).unwrap_err(), Lack::Positive);
        }
    }
}
