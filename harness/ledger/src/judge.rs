//! The judge: has a series become worse by at least its margin, and how certain is that?
//!
//! A [`Question`] holds the rounds of one series on both sides, one number per round; [`judge`]
//! answers all questions of a run together, because many series mean many chances of a false alarm.
//! It is a pure function: the same questions get the same judgements.
//!
//! Four rules, in the order in which they apply:
//!
//! 1. bytes and counts that hardly vary are compared directly, without statistics (`quantised`);
//! 2. if a round of an alternating base and head is not above zero, the order of the rounds decides
//!    (`order`), from the first look that includes such a round; what was decided before stays
//!    decided;
//! 3. alternating rounds of base and head are judged by the differences within their pairs, at
//!    planned looks, so that a clear case ends early ([`interleaved`]);
//! 4. if the base was measured in sessions on other days, the noise between days is added
//!    (`stored`).
//!
//! The last two work on logarithms, with the sign chosen so that larger is worse, and share one
//! decision (`family`). Broken or incomparable series never get here.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::compare::Side;
use crate::judge::interleaved::LAST;
use crate::margin::Margin;
use crate::metric::Better;
use crate::verdict::Verdict;

pub mod explain;
mod family;
pub mod interleaved;
pub(crate) mod location;
mod modes;
mod order;
mod quantised;
pub(crate) mod range;
mod stored;
pub(crate) mod student;

pub(crate) use modes::split;
pub use modes::{Mode, Modes};

/// The probability allowed for a run to call any of its unchanged series regressed; likewise
/// improved.
pub const ALPHA: f64 = 0.05;
/// The probability allowed for a series to pass although it is worse by the margin.
pub const BETA: f64 = 0.05;

/// What a verdict is wanted on: one series of one case, as both sides measured it.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Which direction is good.
    pub better: Better,
    /// Whether the values can be expected to repeat exactly.
    pub nature: Nature,
    /// The smallest change that matters.
    pub margin: Margin,
    /// The bias floor δ₀ of the machine and case: how much unchanged code was seen to differ from
    /// itself, on the log scale; 0 until calibrated.
    pub bias: f64,
    /// The rounds.
    pub evidence: Evidence,
}

/// Whether values can be expected to repeat exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Times and rates: they never do.
    Timed,
    /// Bytes and counts: they mostly do.
    Counted,
}

/// The rounds of both sides. A round is one number, in the unit of its metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// Base and head alternated. Rounds at the same position in their order form a pair.
    Interleaved {
        /// The rounds of the base.
        base: Vec<f64>,
        /// The rounds of the head.
        head: Vec<f64>,
        /// The most pairs that will be measured. It fixes the planned looks and thus how strict
        /// each is, so it must not depend on the results.
        budget: usize,
    },
    /// The base was measured on other days.
    Stored {
        /// The rounds of the base in each earlier session, newest last.
        sessions: Vec<Vec<f64>>,
        /// The standard deviation between sessions of unchanged code on this machine, on the log
        /// scale, from calibration; none until calibrated.
        session_sd: Option<f64>,
        /// The rounds of the head.
        head: Vec<f64>,
    },
    /// There is nothing to judge, but the question still counts towards its family.
    Missing(Lack),
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict: improved, pass, regressed or inconclusive.
    pub verdict: Verdict,
    /// The rule that decided it.
    pub rule: Rule,
    /// The measured change; none if there were too few rounds.
    pub finding: Option<Finding>,
    /// What it would take to decide; only if inconclusive.
    pub lack: Option<Lack>,
    /// The sides whose rounds fall into two modes. The mean of two modes is a value that no round
    /// had: read it together with both.
    pub modes: Vec<(Side, Modes)>,
}

/// What the rounds of both sides say about a change. All effects are fractions of the base, or of
/// the head if more is better: half the rate is twice the time, an effect of 1. With
/// [`Rule::Order`] they are fractions of the larger of the two medians. They are positive if the
/// head is worse.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// How much worse the head is.
    pub effect: f64,
    /// The lower bound of the worsening, with the confidence that an alarm needs.
    pub low: f64,
    /// The upper bound of the worsening, with the confidence that a pass needs.
    pub high: f64,
    /// The margin, including its absolute part.
    pub margin: f64,
    /// The minimum detectable effect: a change that would have been detected nine times in ten. An
    /// alarm also requires the margin.
    pub mde: f64,
    /// The number of pairs of rounds used, or of head rounds if the base is stored.
    pub rounds: usize,
}

/// The rule by which a question was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Pairs of alternating rounds.
    Interleaved,
    /// A base measured on other days.
    Stored,
    /// Values that hardly vary.
    Quantised,
    /// Alternating rounds of which at least one is not above zero.
    Order,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Rule::Interleaved => "interleaved",
            Rule::Stored => "stored",
            Rule::Quantised => "quantised",
            Rule::Order => "order",
        })
    }
}

/// What is missing for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// About this many more pairs would decide, at the present noise.
    Pairs(u32),
    /// There are too few rounds for even one look.
    Rounds {
        /// Rounds of the side that has fewer.
        found: usize,
        /// The fewest rounds needed.
        needs: usize,
    },
    /// There are too few sessions to see a change among them.
    History {
        /// The sessions found.
        found: usize,
        /// The fewest sessions needed.
        needs: usize,
    },
    /// The quantile needs more samples in each round.
    Samples {
        /// The fewest samples needed.
        needs: usize,
    },
    /// The noise between days is not known.
    Sessions {
        /// Earlier sessions of the base with enough rounds.
        found: usize,
        /// The fewest sessions that show the noise by themselves.
        needs: usize,
    },
    /// The noise between days hides a change of this size.
    SameDay,
    /// Identical code was seen to differ by more than this on this machine.
    Evenness,
    /// The rounds lie on both sides of the margin.
    Agreement,
    /// A value is not above zero, and the rounds of both sides overlap.
    Order,
    /// A value is not above zero and so has no logarithm, or is not a finite number.
    Positive,
    /// About this many more pairs would decide, at the present noise, but no later look is planned
    /// that would use them.
    Looks(u32),
}

/// The number of pairs above which nobody would wait.
const OUT_OF_REACH: u32 = 1000;

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Pairs(1) => f.write_str("about 1 more pair of rounds"),
            Lack::Pairs(n) if *n > OUT_OF_REACH => {
                write!(f, "over {OUT_OF_REACH} more pairs of rounds: the effect is at the margin, or the noise far above it")
            }
            Lack::Pairs(n) => write!(f, "about {n} more pairs of rounds"),
            Lack::Looks(n) if *n > OUT_OF_REACH => write!(
                f,
                "a quieter machine: there is no look beyond {LAST} pairs of rounds, and over {OUT_OF_REACH} more would be needed: the effect is at the margin, or the noise far above it"
            ),
            Lack::Looks(n) => write!(
                f,
                "a quieter machine: there is no look beyond {LAST} pairs of rounds, and at this noise about {n} more would be needed"
            ),
            Lack::Rounds { found, needs } => {
                write!(f, "{needs} rounds of each side at least; there are {found}")
            }
            Lack::History { found, needs } => {
                write!(f, "{needs} sessions at least; there are {found}")
            }
            Lack::Samples { needs: 1 } => f.write_str("a value in each round: some have none"),
            Lack::Samples { needs } => {
                write!(f, "{needs} samples in each round at least, for this quantile")
            }
            Lack::Sessions { found, needs } => write!(
                f,
                "the noise between days: calibrate this machine, or store {needs} sessions of the base (there are {found}), or measure the base beside the head"
            ),
            Lack::SameDay => f.write_str(
                "a base of the same day: the noise between days hides this; measure the base beside the head",
            ),
            Lack::Evenness => f.write_str(
                "a more even machine: on this one, identical code differed by this much during calibration",
            ),
            Lack::Agreement => f.write_str("rounds that agree: some are beyond the margin, some are not"),
            Lack::Order => f.write_str("rounds that are all worse, or none by the margin: where values are not above zero, only their order tells"),
            Lack::Positive => f.write_str("values above zero: only those can be compared as shares"),
        }
    }
}

/// A question, as far as it can be answered without the rest of its family.
enum Prepared {
    Answered(Judgement),
    Open {
        rule: Rule,
        looks: Vec<family::Look>,
        /// The answer if the looks leave the question open and a later look falls to another rule.
        otherwise: Option<Judgement>,
    },
}

impl Prepared {
    fn looks(&self) -> &[family::Look] {
        match self {
            Prepared::Answered(_) => &[],
            Prepared::Open { looks, .. } => looks,
        }
    }
}

/// Judges the questions of one run; the judgements are in the same order.
///
/// `family` is the number of series that the run judges in all, if some of them are not among
/// `questions`; anything below their number counts as their number.
#[must_use]
pub fn judge(questions: &[Question], family: usize) -> Vec<Judgement> {
    let size = family.max(questions.len());
    let prepared: Vec<Prepared> =
        questions.iter().map(|question| prepare(question, size)).collect();
    let looks: Vec<&[family::Look]> = prepared.iter().map(Prepared::looks).collect();
    let standings = family::decide(&looks, size);

    let answers = questions.iter().zip(prepared).zip(standings);
    answers
        .map(|((question, prepared), standing)| {
            let judgement = match prepared {
                Prepared::Answered(judgement) => judgement,
                Prepared::Open { otherwise: Some(judgement), .. }
                    if standing.verdict().is_none() =>
                {
                    judgement
                }
                Prepared::Open { rule, .. } => standing.judgement(rule, size),
            };
            Judgement { modes: modes::of(question), ..judgement }
        })
        .collect()
}

fn prepare(question: &Question, size: usize) -> Prepared {
    if let Some(judgement) = quantised::judge(question) {
        return Prepared::Answered(judgement);
    }
    let by_order = order::judge(question, size);
    let (rule, looks) = match &question.evidence {
        Evidence::Interleaved { base, head, budget } => {
            (Rule::Interleaved, interleaved::looks(question, base, head, *budget))
        }
        Evidence::Stored { sessions, session_sd, head } => (
            Rule::Stored,
            stored::look(question, sessions, *session_sd, head).map(|look| vec![look]),
        ),
        Evidence::Missing(lack) => (Rule::Interleaved, Err(*lack)),
    };
    match (looks, by_order) {
        (Ok(looks), otherwise) => Prepared::Open { rule, looks, otherwise },
        (Err(_), Some(judgement)) => Prepared::Answered(judgement),
        (Err(lack), None) => Prepared::Answered(Judgement {
            verdict: Verdict::Inconclusive,
            rule,
            finding: None,
            lack: Some(lack),
            modes: Vec::new(),
        }),
    }
}

/// The logarithms of `rounds`, with the sign chosen so that larger is worse.
pub(crate) fn worse_upwards(rounds: &[f64], better: Better) -> Result<Vec<f64>, Lack> {
    let sign = match better {
        Better::Lower => 1.0,
        Better::Higher => -1.0,
    };
    let log = |value: &f64| {
        (value.is_finite() && *value > 0.0).then(|| sign * value.ln()).ok_or(Lack::Positive)
    };
    rounds.iter().map(log).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(nature: Nature, evidence: Evidence) -> Question {
        let margin = Margin::new(0.03, 0.0).unwrap();
        Question { better: Better::Lower, nature, margin, bias: 0.0, evidence }
    }

    /// Pairs whose rounds differ by `change`, with about one per cent of noise.
    fn pairs(pairs: usize, change: f64) -> Evidence {
        let noise = |place: usize| 1.0 + 0.01 * ((place * 7 % 11) as f64 / 11.0 - 0.5);
        let base: Vec<f64> = (0..pairs).map(noise).collect();
        let head = (0..pairs).map(|place| noise(place + 5) * change).collect();
        Evidence::Interleaved { base, head, budget: 30 }
    }

    #[test]
    fn what_was_decided_early_stays_decided_when_more_rounds_come() {
        for change in [0.9, 1.0, 1.1] {
            let judged = |n| judge(&[question(Nature::Timed, pairs(n, change))], 60).remove(0);
            let (early, late) = (judged(6), judged(30));
            assert_ne!(early.verdict, Verdict::Inconclusive);
            assert_eq!(early, late);
        }
    }

    #[test]
    fn what_was_decided_before_a_value_without_logarithm_stays_decided() {
        let around = |value: f64| (0..6).map(move |place| value + 0.01 * f64::from(place % 3));
        let judged = |base: &[f64], head: &[f64]| {
            let base = around(20.0).chain(base.iter().copied()).collect();
            let head = around(40.0).chain(head.iter().copied()).collect();
            let evidence = Evidence::Interleaved { base, head, budget: 30 };
            judge(&[question(Nature::Timed, evidence)], 60).remove(0)
        };
        let early = judged(&[], &[]);
        assert_eq!((early.verdict, early.rule), (Verdict::Regressed, Rule::Interleaved));
        let late = judged(&[20.0, -1.0, 20.0, 20.0], &[40.0, 40.0, 15.0, 40.0]);
        assert_eq!(Judgement { modes: Vec::new(), ..late }, early);
    }

    #[test]
    fn what_is_open_before_a_value_without_logarithm_is_told_by_the_order() {
        // After six pairs the question is still open.
        let wild = [20.0, 31.0, 22.0, 35.0, 20.5, 29.0];
        let judged = |base: &[f64], head: &[f64]| {
            let base = wild.iter().chain(base).copied().collect();
            let head = wild.iter().rev().chain(head).copied().collect();
            let evidence = Evidence::Interleaved { base, head, budget: 30 };
            judge(&[question(Nature::Timed, evidence)], 60).remove(0)
        };
        for late in [&[][..], &[20.0, 0.0][..]] {
            let judgement = judged(late, late);
            assert_eq!(judgement.verdict, Verdict::Inconclusive);
            assert_eq!(judgement.rule, Rule::Interleaved, "no look has seen it");
        }
        let judgement = judged(&[20.0, 0.0, 20.0, 20.0], &[20.0; 4]);
        assert_eq!((judgement.rule, judgement.lack), (Rule::Order, Some(Lack::Order)));
    }

    #[test]
    fn what_cannot_be_judged_lacks_what_it_says_and_belongs_to_its_family() {
        let missing = question(Nature::Timed, Evidence::Missing(Lack::Samples { needs: 100 }));
        let judgement = judge(&[missing], 0).remove(0);
        assert_eq!(judgement.verdict, Verdict::Inconclusive);
        assert_eq!(judgement.lack, Some(Lack::Samples { needs: 100 }));
        let told = [1, 100].map(|needs| Lack::Samples { needs }.to_string());
        let expected = [
            "a value in each round: some have none",
            "100 samples in each round at least, for this quantile",
        ];
        assert_eq!(told, expected);
        assert_eq!(judgement.finding, None);
        assert_eq!(judge(&[], 0), []);
    }

    #[test]
    fn bytes_that_repeat_are_compared_as_they_are_and_times_never() {
        let evidence =
            || Evidence::Interleaved { base: vec![5.0; 3], head: vec![6.0; 3], budget: 30 };
        let judged = |nature| judge(&[question(nature, evidence())], 1).remove(0);
        assert_eq!(judged(Nature::Counted).rule, Rule::Quantised);
        assert_eq!(judged(Nature::Counted).verdict, Verdict::Regressed);
        assert_eq!(judged(Nature::Timed).lack, Some(Lack::Rounds { found: 3, needs: 6 }));
    }

    #[test]
    fn no_number_makes_the_judge_panic_and_none_that_is_not_finite_is_judged() {
        let odd = [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 5e-324];
        for (a, b) in odd.into_iter().flat_map(|a| odd.map(|b| (a, b))) {
            let mixed = |n: usize| (0..n).map(|i| if i % 3 == 0 { b } else { a }).collect();
            for nature in [Nature::Timed, Nature::Counted] {
                let interleaved =
                    Evidence::Interleaved { base: mixed(12), head: mixed(11), budget: 30 };
                let sessions = vec![mixed(6), mixed(0), mixed(9)];
                let stored = Evidence::Stored { sessions, session_sd: Some(a), head: mixed(8) };
                for evidence in [interleaved, stored] {
                    let judgement = judge(&[question(nature, evidence)], 60).remove(0);
                    let are_numbers = a.is_finite() && b.is_finite();
                    assert!(judgement.verdict == Verdict::Inconclusive || are_numbers);
                }
            }
        }
    }
}
