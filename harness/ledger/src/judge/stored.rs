//! A base of other days: all rounds of a session share that day's conditions, so sessions are what
//! is counted.

use crate::judge::family::Look;
use crate::judge::location::{FEWEST, Location, SMALLEST_SE, locate};
use crate::judge::{Lack, Question, worse_upwards};
use crate::stats;

/// How many sessions the calibrated standard deviation between sessions counts for.
const PRIOR_SESSIONS: f64 = 6.0;
/// The fewest sessions that show the standard deviation between them without calibration.
const FEWEST_SESSIONS: usize = 5;

/// How the head compares with earlier `sessions` of the base.
///
/// The variance between sessions pools the observed and the calibrated one, weighted by their
/// degrees of freedom (the moderated t of Smyth 2004), and is never below the observed one. The
/// noise of the head's rounds counts only as far as it exceeds what the sessions themselves carried
/// on average.
pub(super) fn look(
    question: &Question,
    sessions: &[Vec<f64>],
    session_sd: Option<f64>,
    head: &[f64],
) -> Result<Look, Lack> {
    let too_few = Lack::Rounds { found: head.len(), needs: FEWEST };
    let of_head = locate(&worse_upwards(head, question.better)?).ok_or(too_few)?;
    let mut locations: Vec<Location> = Vec::new();
    for session in sessions {
        locations.extend(locate(&worse_upwards(session, question.better)?));
    }
    let found = locations.len();
    let lacking = Lack::Sessions { found, needs: FEWEST_SESSIONS };
    if found == 0 {
        // No calibration helps where no session has enough rounds.
        let most = sessions.iter().map(Vec::len).max();
        return Err(most.map_or(lacking, |found| Lack::Rounds { found, needs: FEWEST }));
    }

    let count = found as f64;
    let mean = locations.iter().map(|session| session.centre).sum::<f64>() / count;
    let squares: f64 = locations.iter().map(|session| (session.centre - mean).powi(2)).sum();
    let observed = if found > 1 { squares / (count - 1.0) } else { 0.0 };
    let (between, df) = match session_sd {
        Some(sd) => {
            let df = PRIOR_SESSIONS + count - 1.0;
            (((PRIOR_SESSIONS * sd.powi(2) + squares) / df).max(observed), df)
        }
        None if found < FEWEST_SESSIONS => return Err(lacking),
        None => (observed, count - 1.0),
    };
    let carried = locations.iter().map(|session| session.se.powi(2)).sum::<f64>() / count;
    let variance = between * (1.0 + 1.0 / count) + (of_head.se.powi(2) - carried).max(0.0);

    let rounds: Vec<f64> = sessions.iter().flatten().copied().collect();
    let base = stats::median(&rounds).ok_or(lacking)?;
    Ok(Look {
        rounds: head.len(),
        location: Location {
            centre: of_head.centre - mean,
            se: variance.sqrt().max(SMALLEST_SE),
            df,
        },
        share: 1.0,
        margin: question.margin.share_of(base),
        bias: question.bias,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{Evidence, Nature};
    use crate::margin::Margin;
    use crate::metric::Better;

    /// Sessions whose rounds lie closely around these logarithms.
    fn sessions(centres: &[f64]) -> Vec<Vec<f64>> {
        let around =
            |centre: &f64| (-4..=4).map(|i| (centre + f64::from(i) * 1e-4).exp()).collect();
        centres.iter().map(around).collect()
    }

    /// A question whose evidence is handed to [`look`] beside it.
    fn question() -> Question {
        Question {
            better: Better::Lower,
            nature: Nature::Timed,
            margin: Margin::new(0.03, 0.0).unwrap(),
            bias: 0.0,
            evidence: Evidence::Missing(Lack::SameDay),
        }
    }

    fn look_from(centres: &[f64], session_sd: Option<f64>, head: f64) -> Result<Look, Lack> {
        look(&question(), &sessions(centres), session_sd, &sessions(&[head])[0])
    }

    #[test]
    fn one_session_has_the_calibrated_noise() {
        let location = look_from(&[1.0], Some(0.01), 1.05).unwrap().location;
        assert!((location.centre - 0.05).abs() < 1e-12);
        assert!((location.se - 0.01 * 2.0_f64.sqrt()).abs() < 1e-12, "{location:?}");
        assert_eq!(location.df, 6.0);
    }

    #[test]
    fn sessions_that_differ_more_than_calibrated_are_believed() {
        let location = look_from(&[0.9, 1.0, 1.1], Some(0.001), 1.0).unwrap().location;
        assert!((location.se - 0.1 * (4.0_f64 / 3.0).sqrt()).abs() < 1e-12, "{location:?}");
        assert_eq!(location.df, 8.0);
    }

    #[test]
    fn without_calibration_it_takes_five_sessions() {
        let four = look_from(&[1.0, 1.01, 0.99, 1.0], None, 1.0);
        assert_eq!(four.unwrap_err(), Lack::Sessions { found: 4, needs: 5 });
        let five = look_from(&[1.0, 1.01, 0.99, 1.0, 1.02], None, 1.0).unwrap();
        assert_eq!(five.location.df, 4.0);
        assert_eq!(
            look_from(&[], Some(0.01), 1.0).unwrap_err(),
            Lack::Sessions { found: 0, needs: 5 }
        );
    }

    #[test]
    fn sessions_of_too_few_rounds_lack_rounds_and_not_a_calibration() {
        for session_sd in [None, Some(0.01)] {
            let few = [vec![2.0; 3], vec![2.0; 4]];
            let lack = look(&question(), &few, session_sd, &[2.0; 10]).unwrap_err();
            assert_eq!(lack, Lack::Rounds { found: 4, needs: 5 });
        }
    }

    #[test]
    fn equal_sessions_and_no_noise_are_no_certainty() {
        let look = look(&question(), &[vec![2.0; 5]], Some(0.0), &[2.0; 5]).unwrap();
        assert_eq!(look.location.se, SMALLEST_SE);
    }
}
