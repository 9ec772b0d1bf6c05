//! What measuring unchanged code against itself tells about a machine.
//!
//! A [`CalibrationSession`] is a gate run whose head is its base. It gives the noise of every
//! series, whether the judge raised a false alarm, and how far identical code differed; several
//! sessions of the same code give the variation between days. A [`Calibration`] keeps them all, and
//! the [`Floors`] derived from them become part of the terms of every later gate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::baseline::Code;
use crate::case::CaseId;
use crate::gate::{Terms, questions, report};
use crate::judge::location::locate;
use crate::judge::{Evidence, Question, Rule, worse_upwards};
use crate::metric::Class;
use crate::proportion::upper_bound;
use crate::record::{Record, Run, RunId, Subject};
use crate::series::Series;
use crate::stats;
use crate::verdict::Verdict;

/// Everything known about one kind of machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The [key](crate::environment::Machine::key) of the machine.
    pub machine: String,
    /// Its sessions, oldest first.
    pub sessions: Vec<CalibrationSession>,
}

/// One run of unchanged code against itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationSession {
    /// The run.
    pub run: RunId,
    /// Start time, RFC 3339 in UTC.
    pub at: String,
    /// What was measured.
    pub subject: Subject,
    /// How many series were judged by rounds that the judge looked at.
    pub judged: u64,
    /// How many of them were called regressed or improved; each is a false alarm.
    pub alarms: u64,
    /// The series whose rounds vary.
    pub noise: Vec<Noise>,
}

/// What one series showed for unchanged code. All but the MDE is on the log scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// The case.
    pub case: CaseId,
    /// The series.
    pub series: Series,
    /// The location of the base's rounds.
    pub level: f64,
    /// How much worse the head was, which is pure noise and bias.
    pub effect: f64,
    /// The standard deviation of the difference within a pair.
    pub pair_sd: f64,
    /// Number of pairs of rounds.
    pub pairs: usize,
    /// The smallest effect that the rounds up to the verdict would have shown nine times in ten, as
    /// a share of the base.
    pub mde: f64,
}

/// What the judge is told about the machine, by class of metrics. All on the log scale.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Floors {
    /// The bias floor δ₀: 95 % of series of unchanged code differed by no more than this.
    pub bias: BTreeMap<Class, f64>,
    /// The standard deviation between sessions of the same code.
    pub session_sd: BTreeMap<Class, f64>,
}

impl Floors {
    /// For serde: whether there is nothing to write.
    #[must_use]
    pub fn are_unknown(&self) -> bool {
        self.bias.is_empty() && self.session_sd.is_empty()
    }
}

/// How often unchanged code was called changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FalseAlarms {
    /// Series called changed.
    pub alarms: u64,
    /// Series judged.
    pub judged: u64,
    /// The upper bound on the rate, at 95 % confidence.
    pub bound: f64,
}

/// Evaluates a run of unchanged code against itself.
#[must_use]
pub fn session(
    run: &Run,
    terms: &Terms,
    records: &[Record],
    subject: &Subject,
) -> CalibrationSession {
    let report = report(run, terms, records);
    let rows = report.cases.iter().flat_map(|case| case.rows.iter().map(|row| (&case.case, row)));
    // A series that was never looked at could not raise an alarm.
    let judged: Vec<_> = rows.filter(|(_, row)| row.finding.is_some()).collect();
    let alarm = |verdict| matches!(verdict, Verdict::Regressed | Verdict::Improved);
    let mde = |case: &CaseId, series: Series| {
        let row = judged.iter().find(|(id, row)| **id == *case && row.series == series)?;
        let varies = row.1.rule != Some(Rule::Quantised);
        row.1.finding.filter(|_| varies).map(|finding| finding.mde)
    };
    let noise = |(case, series, question): (CaseId, Series, Question)| {
        let mde = mde(&case, series)?;
        noise(&question).map(|(level, effect, pair_sd, pairs)| Noise {
            case,
            series,
            level,
            effect,
            pair_sd,
            pairs,
            mde,
        })
    };
    CalibrationSession {
        run: run.id.clone(),
        at: run.at.clone(),
        subject: subject.clone(),
        judged: judged.len() as u64,
        alarms: judged.iter().filter(|(_, row)| alarm(row.verdict)).count() as u64,
        noise: questions(run, terms, records).into_iter().filter_map(noise).collect(),
    }
}

/// Level, effect, standard deviation within a pair, and number of pairs.
fn noise(question: &Question) -> Option<(f64, f64, f64, usize)> {
    let Evidence::Interleaved { base, head, .. } = &question.evidence else { return None };
    let base = worse_upwards(base, question.better).ok()?;
    let head = worse_upwards(head, question.better).ok()?;
    let differences: Vec<f64> = base.iter().zip(&head).map(|(base, head)| head - base).collect();
    let (level, effect) = (locate(&base)?, locate(&differences)?);
    let pairs = differences.len();
    Some((level.centre, effect.centre, effect.se * (pairs as f64).sqrt(), pairs))
}

impl Calibration {
    /// How often unchanged code was called changed, over all sessions.
    #[must_use]
    pub fn false_alarms(&self) -> FalseAlarms {
        let alarms = self.sessions.iter().map(|session| session.alarms).sum();
        let judged = self.sessions.iter().map(|session| session.judged).sum();
        FalseAlarms { alarms, judged, bound: upper_bound(alarms, judged, 0.95) }
    }

    /// What the judge is told about the machine.
    #[must_use]
    pub fn floors(&self) -> Floors {
        let mut effects: BTreeMap<Class, Vec<f64>> = BTreeMap::new();
        // A level is compared only with levels of the same code: only those differ by the day.
        let mut levels: BTreeMap<(Code, &CaseId, Series), Vec<f64>> = BTreeMap::new();
        for session in &self.sessions {
            let code = Code::of(&session.subject);
            for noise in &session.noise {
                let class = noise.series.metric.spec().class;
                effects.entry(class).or_default().push(noise.effect.abs());
                let key = (code.clone(), &noise.case, noise.series);
                levels.entry(key).or_default().push(noise.level);
            }
        }
        let bias =
            |(class, effects): (Class, Vec<f64>)| Some((class, stats::percentile(&effects, 0.95)?));
        // The variance between sessions of each series, pooled over all series of a class.
        let mut squares: BTreeMap<Class, (f64, f64)> = BTreeMap::new();
        for ((.., series), levels) in levels.iter().filter(|(_, levels)| levels.len() > 1) {
            let mean = levels.iter().sum::<f64>() / levels.len() as f64;
            let (sum, df) = squares.entry(series.metric.spec().class).or_default();
            *sum += levels.iter().map(|level| (level - mean).powi(2)).sum::<f64>();
            *df += levels.len() as f64 - 1.0;
        }
        let sd = |(class, (sum, df)): (Class, (f64, f64))| (class, (sum / df).sqrt());
        Floors {
            bias: effects.into_iter().filter_map(bias).collect(),
            session_sd: squares.into_iter().map(sd).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::tests::case;
    use crate::metric::Metric;
    use crate::record::tests::record;

    fn session(alarms: u64, series: &[(Metric, f64, f64)]) -> CalibrationSession {
        let noise = |(metric, level, effect): &(Metric, f64, f64)| Noise {
            case: case("a").id,
            series: Series::median(*metric),
            level: *level,
            effect: *effect,
            pair_sd: 0.01,
            pairs: 22,
            mde: 0.02,
        };
        CalibrationSession {
            run: RunId("run".into()),
            at: "2026-01-01T00:00:00Z".into(),
            subject: record(".", "a", 1, &[]).subject,
            judged: 10,
            alarms,
            noise: series.iter().map(noise).collect(),
        }
    }

    #[test]
    fn sessions_tell_the_rate_of_false_alarms_with_its_bound() {
        let calibration =
            Calibration { machine: "m".into(), sessions: vec![session(0, &[]), session(1, &[])] };
        let told = calibration.false_alarms();
        assert_eq!((told.alarms, told.judged), (1, 20));
        assert!(told.bound > 0.05 && told.bound < 0.25, "{told:?}");
    }

    #[test]
    fn bias_is_what_equal_code_differed_by_and_days_take_two_sessions() {
        let one = session(0, &[(Metric::DecodeRate, 1.0, -0.004), (Metric::LoadTime, 2.0, 0.02)]);
        let other = session(0, &[(Metric::DecodeRate, 1.02, 0.001)]);
        let floors = |sessions: Vec<CalibrationSession>| {
            Calibration { machine: "m".into(), sessions }.floors()
        };
        let single = floors(vec![one.clone()]);
        assert_eq!(single.bias, [(Class::Decode, 0.004), (Class::Load, 0.02)].into());
        assert!(single.session_sd.is_empty());
        let both = floors(vec![one, other]);
        assert_eq!(both.bias[&Class::Decode], 0.004);
        let sd = 0.02 / 2.0_f64.sqrt();
        assert!((both.session_sd[&Class::Decode] - sd).abs() < 1e-12, "{both:?}");
    }

    #[test]
    fn what_other_code_takes_is_no_difference_between_days() {
        let at = |level: f64| session(0, &[(Metric::DecodeRate, level, 0.0)]);
        let (old, again, mut new) = (at(1.0), at(1.02), at(1.3));
        new.subject.binary = "another".into();
        let sd = |sessions: Vec<CalibrationSession>| {
            let floors = Calibration { machine: "m".into(), sessions }.floors();
            floors.session_sd.get(&Class::Decode).copied()
        };
        assert_eq!(sd(vec![old.clone(), new.clone()]), None);
        let found = sd(vec![old, new, again]).unwrap();
        assert!((found - 0.02 / 2.0_f64.sqrt()).abs() < 1e-12, "{found}");
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let sessions = vec![session(0, &[(Metric::InterToken, 1.0, 0.5)])];
        let calibration = Calibration { machine: "m".into(), sessions };
        let json = serde_json::to_string(&calibration).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&json).unwrap(), calibration);
    }
}
