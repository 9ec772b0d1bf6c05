//! The rounds of one case and subject, reduced to what a table shows.

use std::collections::BTreeMap;
use std::fmt;

use crate::case::{CaseHash, CaseId, DeviceMap, Dtype};
use crate::conditions::Breach;
use crate::holding::Holding;
use crate::judge::{location, student};
use crate::metric::Metric;
use crate::precision::{Cause, Enough, Stopped, share};
use crate::record::{Digest, Failure, IterationKind, Outcome, Record, Stored, Subject};
use crate::series::Series;
use crate::stats;

/// The summary of the rounds of one case and subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The case.
    pub case: CaseId,
    /// The subject.
    pub subject: Subject,
    /// The attention backend that ran, if a round was measured.
    pub attention: Option<String>,
    /// What each device held in the last measured round, the first device first.
    pub holdings: Vec<Holding>,
    /// The number format of everything not quantised, if a round reported it.
    pub dtype: Option<Dtype>,
    /// The formats of the weights, if a round reported them.
    pub formats: Vec<Stored>,
    /// The series of the measured rounds, in the order of [`Series::all`].
    pub series: Vec<(Series, Location)>,
    /// The rounds that were not measured, in order.
    pub unmeasured: Vec<Unmeasured>,
    /// What a reader should know before believing the numbers.
    pub caveats: Vec<Caveat>,
}

/// A round without samples that count.
#[derive(Clone, Debug, PartialEq)]
pub enum Unmeasured {
    /// It failed.
    Failed {
        /// The number of the round.
        round: u32,
        /// Why.
        failure: Failure,
    },
    /// It ran under conditions that the rules forbid.
    Void {
        /// The number of the round.
        round: u32,
        /// The rules that were broken.
        breaches: Vec<Breach>,
    },
    /// The engine cannot do it.
    Skipped {
        /// The number of the round.
        round: u32,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Unmeasured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unmeasured::Failed { round, failure } => write!(f, "round {round} failed: {failure}"),
            Unmeasured::Void { round, breaches } => {
                let reasons: Vec<String> = breaches.iter().map(Breach::to_string).collect();
                write!(f, "round {round} does not count: {}", reasons.join("; "))
            }
            Unmeasured::Skipped { reason, .. } => write!(f, "skipped: {reason}"),
        }
    }
}

/// The rounds of one series. Each round counts as one number, because all samples of a process
/// share its luck.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// The value of each round, in order.
    pub rounds: Vec<f64>,
    /// Their median.
    pub median: f64,
    /// Their scaled median absolute deviation, as a fraction of the median; none for a single round
    /// or a median not above zero.
    pub spread: Option<f64>,
}

impl Location {
    /// The location of `rounds`; none if there are none.
    #[must_use]
    pub fn of(rounds: Vec<f64>) -> Option<Location> {
        let median = stats::median(&rounds)?;
        let spread = stats::mad(&rounds).filter(|_| rounds.len() > 1 && median > 0.0);
        Some(Location { median, spread: spread.map(|mad| mad / median), rounds })
    }

    /// The 95 % confidence interval of the centre of such rounds: a t interval on their logarithms,
    /// with the same protection against outliers as a gate. None with fewer than five rounds, or if
    /// one is not above zero.
    #[must_use]
    pub fn interval(&self) -> Option<(f64, f64)> {
        let log = |round: &f64| (*round > 0.0).then(|| round.ln());
        let logs: Option<Vec<f64>> = self.rounds.iter().map(log).collect();
        let location::Location { centre, se, df } = location::locate(&logs?)?;
        let reach = student::quantile(0.025, df) * se;
        Some(((centre - reach).exp(), (centre + reach).exp()))
    }
}

/// Something a reader should know before believing a number.
#[derive(Clone, Debug, PartialEq)]
pub enum Caveat {
    /// Too few rounds to distinguish noise from change.
    FewRounds(usize),
    /// The output tokens differ from round to round.
    OutputVaries,
    /// The output tokens differ from those of a case that differs only in the device map.
    OutputMoves {
        /// That case.
        other: CaseId,
    },
    /// Rounds far from the others. They count nevertheless.
    Outliers {
        /// The numbers of the rounds, from 1.
        rounds: Vec<u32>,
        /// In which series.
        series: Series,
    },
    /// The first timed iteration was slower than those after it.
    SlowStart {
        /// How many times as long it took.
        ratio: f64,
    },
    /// Rounds ended before their median was known to the requested precision.
    Imprecise {
        /// How many.
        rounds: usize,
        /// The requested precision, as a share.
        target: f64,
        /// The worst that they reached; none if one had too few iterations to say.
        reached: Option<f64>,
    },
    /// The machine was busy when a round began.
    Busy {
        /// The highest load average before a round.
        load: f64,
        /// Logical processors of the machine.
        threads: u32,
    },
}

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caveat::FewRounds(1) => f.write_str("one round only: its noise is unknown; use `--rounds 5`"),
            Caveat::FewRounds(n) => write!(f, "only {n} rounds: the spread is a guess; use `--rounds 5`"),
            Caveat::OutputVaries => f.write_str("the output tokens differ between rounds: do not trust this case until that is understood"),
            Caveat::OutputMoves { other } => write!(f, "the output tokens differ from those of `{other}`, although only the device map differs: do not trust this case until that is understood"),
            Caveat::Outliers { rounds, series } => {
                let rounds: Vec<String> = rounds.iter().map(ToString::to_string).collect();
                let (noun, verb) = if rounds.len() == 1 { ("round", "is an outlier") } else { ("rounds", "are outliers") };
                write!(
                    f,
                    "{noun} {} {verb} in {}: kept like the others; look for what else the machine did then",
                    rounds.join(", "),
                    series.label()
                )
            }
            Caveat::SlowStart { ratio } => write!(
                f,
                "the first iteration that counts took {ratio:.2} × the others: raise `warmup`"
            ),
            Caveat::Imprecise { rounds, target, reached } => {
                let verb = if *rounds == 1 { "round" } else { "rounds" };
                let target = share(*target);
                let reached = match reached {
                    Some(reached) => format!("±{} at worst", share(*reached)),
                    None => "too few iterations to tell".to_owned(),
                };
                write!(
                    f,
                    "{rounds} {verb} ended before the median was known to ±{target} ({reached}): raise `budget` or `target` of `[precision]`"
                )
            }
            Caveat::Busy { load, threads } => write!(
                f,
                "the machine was busy (load {load:.1} on {threads} threads before a round): close other programs and repeat"
            ),
        }
    }
}

/// The number of rounds below which a spread says little.
const FEW_ROUNDS: usize = 3;
/// The load per logical processor above which a machine counts as busy. The previous round itself
/// leaves up to one on each.
const BUSY: f64 = 1.5;

/// Scaled deviations from the median beyond which a round is an outlier (Iglewicz and Hoaglin
/// 1993).
const APART: f64 = 3.5;
/// The number of rounds below which there are no outliers: the deviation itself would be a guess.
const CROWD: usize = 5;
/// How many times as long as the others a first iteration may take.
const SLOW: f64 = 1.1;

/// One summary per case and subject, in the order in which they were first measured.
#[must_use]
pub fn summarise(records: &[Record]) -> Vec<Summary> {
    let mut order: Vec<(&CaseId, &Subject)> = Vec::new();
    let mut groups: BTreeMap<(&CaseId, &Subject), Vec<&Record>> = BTreeMap::new();
    for record in records {
        let key = (&record.case.id, &record.subject);
        groups.entry(key).or_insert_with(|| {
            order.push(key);
            Vec::new()
        });
        groups.entry(key).or_default().push(record);
    }
    let mut summaries: Vec<Summary> = order.iter().map(|key| summary(&groups[key])).collect();
    let outputs: Vec<_> = order.iter().map(|key| output_anywhere(&groups[key])).collect();
    for (at, (rest, output)) in outputs.iter().enumerate() {
        let same = |(other, (known, output)): &(usize, &(CaseHash, Option<_>))| {
            known == rest && output.is_some() && order[*other].1 == order[at].1
        };
        let earlier = outputs[..at].iter().enumerate().find(same);
        if let Some((other, (_, Some(expected)))) = earlier
            && output.as_ref().is_some_and(|output| output != expected)
        {
            let other = order[other].0.clone();
            summaries[at].caveats.push(Caveat::OutputMoves { other });
        }
    }
    summaries
}

impl Summary {
    /// The summary of the rounds of one case and subject; none if there are no rounds.
    #[must_use]
    pub fn of(records: &[&Record]) -> Option<Summary> {
        (!records.is_empty()).then(|| summary(records))
    }
}

/// The hash of the case of `records` without its device map, and the output of its first measured
/// round.
fn output_anywhere<'a>(records: &[&'a Record]) -> (CaseHash, Option<Vec<&'a Digest>>) {
    let mut case = records[0].case.clone();
    case.placement.devices = DeviceMap::default();
    let measured = records.iter().find_map(|record| match &record.outcome {
        Outcome::Measured(samples) => Some(samples.digests()),
        _ => None,
    });
    (case.hash(), measured)
}

/// The summary of the rounds of one case and subject.
fn summary(records: &[&Record]) -> Summary {
    let first = records[0];
    let mut rounds: BTreeMap<Series, Vec<f64>> = BTreeMap::new();
    let mut unmeasured = Vec::new();
    let mut attention = None;
    let (mut dtype, mut formats, mut holdings) = (None, &[][..], &[][..]);
    let mut digests = Vec::new();
    for record in records {
        let round = record.round;
        match &record.outcome {
            Outcome::Measured(samples) => {
                attention = Some(samples.attention.clone());
                dtype = samples.dtype;
                (formats, holdings) = (&samples.formats[..], &samples.holdings[..]);
                digests.push(samples.digests());
                for series in Series::all() {
                    if let Some(value) = series.of_round(samples) {
                        rounds.entry(series).or_default().push(value);
                    }
                }
            }
            // It has no samples, whatever it took.
            Outcome::Attributed(_) => {}
            Outcome::Failed(failure) => {
                unmeasured.push(Unmeasured::Failed { round, failure: failure.clone() });
            }
            Outcome::Void { breaches, .. } => {
                unmeasured.push(Unmeasured::Void { round, breaches: breaches.clone() });
            }
            Outcome::Skipped(reason) => {
                unmeasured.push(Unmeasured::Skipped { round, reason: reason.clone() });
            }
        }
    }

    let located = |series| Some((series, Location::of(rounds.remove(&series)?)?));
    Summary {
        case: first.case.id.clone(),
        subject: first.subject.clone(),
        attention,
        dtype,
        formats: formats.to_vec(),
        holdings: holdings.to_vec(),
        series: Series::all().filter_map(located).collect(),
        unmeasured,
        caveats: caveats(records, &digests),
    }
}

/// The caveats about the rounds of one case and subject; `digests` are the outputs of the measured
/// ones.
fn caveats(records: &[&Record], digests: &[Vec<&Digest>]) -> Vec<Caveat> {
    let first = records[0];
    let mut caveats = Vec::new();
    if digests.windows(2).any(|pair| pair[0] != pair[1]) {
        caveats.push(Caveat::OutputVaries);
    }
    let exact = first.case.workload.is_exact();
    let metric = first.case.workload.metrics().first().copied();
    if let Some(metric) = metric.filter(|_| !exact) {
        caveats.extend(outliers(records, Series::median(metric)));
        caveats.extend(slow_start(records, metric));
    }
    if !exact && (1..FEW_ROUNDS).contains(&digests.len()) {
        caveats.push(Caveat::FewRounds(digests.len()));
    }
    caveats.extend(imprecise(records));
    let threads = first.environment.machine.threads;
    let load =
        records.iter().filter_map(|record| record.conditions.load_before).fold(0.0, f64::max);
    if !exact && load > BUSY * f64::from(threads.max(1)) {
        caveats.push(Caveat::Busy { load, threads });
    }
    caveats
}

/// The rounds that ended before they reached the precision their case asks for, if any.
fn imprecise(records: &[&Record]) -> Option<Caveat> {
    let Enough::Precise(precision) = records.first()?.case.enough else { return None };
    let ended = records.iter().filter_map(|record| match &record.outcome {
        Outcome::Measured(samples) => samples.stopped,
        _ => None,
    });
    let short: Vec<Stopped> = ended.filter(|stopped| stopped.by != Cause::Precise).collect();
    let widths: Option<Vec<f64>> = short.iter().map(|stopped| stopped.half_width).collect();
    let reached = widths.map(|widths| widths.into_iter().fold(0.0, f64::max));
    let (rounds, target) = (short.len(), precision.target());
    (rounds > 0).then_some(Caveat::Imprecise { rounds, target, reached })
}

/// The outliers in `series`, if any.
fn outliers(records: &[&Record], series: Series) -> Option<Caveat> {
    let of_round = |record: &&Record| match &record.outcome {
        Outcome::Measured(samples) => Some((record.round, series.of_round(samples)?)),
        Outcome::Attributed(_)
        | Outcome::Void { .. }
        | Outcome::Failed(_)
        | Outcome::Skipped(_) => None,
    };
    let rounds: Vec<(u32, f64)> = records.iter().filter_map(of_round).collect();
    let values: Vec<f64> = rounds.iter().map(|(_, value)| *value).collect();
    let (median, mad) = stats::median(&values).zip(stats::mad(&values))?;
    // A round within the noise floor of its metric is not an outlier, however close the others are.
    let near = (APART * mad).max(median.abs() * series.metric.spec().noise_floor / 100.0);
    let apart = rounds.iter().filter(|(_, value)| (value - median).abs() > near);
    let rounds: Vec<u32> = apart.map(|(round, _)| *round).collect();
    let any = values.len() >= CROWD && !rounds.is_empty();
    any.then_some(Caveat::Outliers { rounds, series })
}

/// Whether the first timed iteration was slower than those after it, in the median over the rounds.
fn slow_start(records: &[&Record], metric: Metric) -> Option<Caveat> {
    let of_round = |record: &&Record| {
        let Outcome::Measured(samples) = &record.outcome else { return None };
        let timed = samples.iterations.iter().filter(|i| i.kind == IterationKind::Timed);
        let medians: Option<Vec<f64>> =
            timed.map(|i| stats::median(i.values.get(&metric)?)).collect();
        let [first, rest @ ..] = &medians?[..] else { return None };
        // Above 1 if the first is worse, whichever direction is good.
        Some(1.0 + metric.worsening(stats::median(rest)?, *first))
    };
    let ratios: Vec<f64> = records.iter().filter_map(of_round).collect();
    let ratio = stats::median(&ratios).filter(|ratio| ratio.is_finite() && *ratio > SLOW)?;
    Some(Caveat::SlowStart { ratio })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Tolerance, Workload};
    use crate::record::tests::record;

    #[test]
    fn rounds_that_were_to_be_precise_and_are_not_are_told() {
        use crate::precision::Precision;
        use crate::unit::Nanos;
        let precision = Precision::new(0.01, Nanos(1)).unwrap();
        let round = |by, half_width| {
            let mut record = record(".", "a", 1, &[1.0, 2.0]);
            record.case.enough = Enough::Precise(precision);
            let Outcome::Measured(samples) = &mut record.outcome else { unreachable!() };
            samples.stopped = Some(Stopped { by, half_width, certain: 2 });
            record
        };
        let told = |records: &[Record]| -> Option<String> {
            let records: Vec<&Record> = records.iter().collect();
            imprecise(&records).map(|caveat| caveat.to_string())
        };
        let precise = round(Cause::Precise, Some(0.009));
        assert_eq!(told(std::slice::from_ref(&precise)), None);
        let wide = [precise, round(Cause::Budget, Some(0.034)), round(Cause::Most, Some(0.02))];
        let text = "2 rounds ended before the median was known to ±1.00 % (±3.40 % at worst): raise `budget` or `target` of `[precision]`";
        assert_eq!(told(&wide).unwrap(), text);
        let text = "1 round ended before the median was known to ±1.00 % (too few iterations to tell): raise `budget` or `target` of `[precision]`";
        assert_eq!(told(&[round(Cause::Budget, None)]).unwrap(), text);
        assert_eq!(told(&[record(".", "a", 1, &[1.0])]), None);
    }

    #[test]
    fn a_round_is_one_number() {
        let records = [
            record(".", "a", 1, &[1.0, 2.0, 9.0]),
            record(".", "a", 2, &[5.0, 4.0, 1.0]),
            record(".", "a", 3, &[3.0, 3.0, 3.0]),
        ];
        let [summary] = &summarise(&records)[..] else { panic!("one case, one subject") };
        let (series, location) = &summary.series[0];
        assert_eq!(*series, Series::median(Metric::DecodeRate));
        assert_eq!(location.rounds, [2.0, 4.0, 3.0]);
        assert_eq!(location.median, 3.0);
        assert_eq!(location.spread, Some(1.4826 / 3.0));
        assert_eq!(summary.caveats, []);
    }

    #[test]
    fn the_interval_of_rounds_is_students_and_takes_five() {
        let of = |rounds: &[f64]| Location::of(rounds.to_vec()).unwrap().interval();
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0]), None);
        assert_eq!(of(&[0.0, 2.0, 3.0, 4.0, 5.0]), None);
        // Logarithms −2 … 2: the standard error is √(10/4)/√5, and t at 0.025 with 4 degrees of
        // freedom is 2.776.
        let (low, high) = of(&[-2.0_f64, -1.0, 0.0, 1.0, 2.0].map(f64::exp)).unwrap();
        let reach = 2.776 * (2.5_f64 / 5.0).sqrt();
        assert!(
            (low.ln() + reach).abs() < 1e-3 && (high.ln() - reach).abs() < 1e-3,
            "{low} {high}"
        );
    }

    #[test]
    fn cases_and_subjects_stay_apart_and_in_order() {
        let records = [
            record("b", "z", 1, &[1.0]),
            record("a", "z", 1, &[1.0]),
            record("a", "y", 1, &[1.0]),
            record("b", "z", 2, &[1.0]),
        ];
        let names: Vec<(String, String)> = summarise(&records)
            .into_iter()
            .map(|summary| (summary.case.to_string(), summary.subject.name))
            .collect();
        let expected =
            [("z", "b"), ("z", "a"), ("y", "a")].map(|(c, s)| (c.to_owned(), s.to_owned()));
        assert_eq!(names, expected);
    }

    #[test]
    fn failed_and_skipped_rounds_are_told_and_not_counted() {
        let mut records =
            [record(".", "a", 1, &[1.0]), record(".", "a", 2, &[]), record(".", "a", 3, &[])];
        records[1].outcome = Outcome::Failed(Failure::Start { error: "no such file".into() });
        records[2].outcome = Outcome::Skipped("naive runs f32 only".into());
        let mut void = record(".", "a", 4, &[100.0]);
        let Outcome::Measured(samples) = void.outcome else { unreachable!() };
        let breaches = vec![Breach::Swapped { pages: 3 }];
        void.outcome = Outcome::Void { breaches, samples };
        let records = [records.as_slice(), &[void]].concat();
        let summary = summarise(&records).remove(0);
        assert_eq!(summary.series[0].1.rounds, [1.0]);
        assert_eq!(summary.series[0].1.spread, None);
        let told: Vec<String> = summary.unmeasured.iter().map(Unmeasured::to_string).collect();
        assert_eq!(
            told,
            [
                "round 2 failed: the probe could not be started: no such file",
                "skipped: naive runs f32 only",
                "round 4 does not count: 3 pages were swapped: free memory, or switch swap off"
            ]
        );
        assert_eq!(summary.caveats, [Caveat::FewRounds(1)]);
    }

    #[test]
    fn what_is_exact_needs_no_second_round_and_no_quiet_machine() {
        let mut record = record(".", "a", 1, &[1.0]);
        record.conditions.load_before = Some(7.0);
        let tolerance = Tolerance::new(0.1).unwrap();
        record.case.workload = Workload::Parity { tolerance };
        assert_eq!(summarise(&[record])[0].caveats, []);
    }

    #[test]
    fn output_that_depends_on_the_device_map_is_told() {
        let mut records = ["one", "two", "three"].map(|id| record(".", id, 1, &[1.0]));
        records[1].case.placement.devices = "cpu:0=1,cpu:1".parse().unwrap();
        records[2].case.placement.devices = "cpu:1".parse().unwrap();
        let told = |records: &[Record]| -> Vec<Caveat> {
            let all = summarise(records).into_iter().flat_map(|summary| summary.caveats);
            all.filter(|caveat| matches!(caveat, Caveat::OutputMoves { .. })).collect()
        };
        assert_eq!(told(&records), []);
        let Outcome::Measured(samples) = &mut records[1].outcome else { unreachable!() };
        samples.iterations[0].digest = Digest::of_outputs([[9].as_slice()]);
        assert_eq!(told(&records), [Caveat::OutputMoves { other: records[0].case.id.clone() }]);
        // Another seed has other outputs.
        records[1].case.seed = 77;
        assert_eq!(told(&records), []);
        // A case without output is not a reference for others.
        records[1].case.seed = records[0].case.seed;
        records[0].outcome = Outcome::Skipped("too large".into());
        assert_eq!(told(&records), [Caveat::OutputMoves { other: records[1].case.id.clone() }]);
    }

    #[test]
    fn a_round_that_stands_apart_is_told_and_counted() {
        let rates = [100.0, 101.0, 99.0, 60.0, 100.5, 99.5];
        let caveats = |rates: &[f64]| {
            let rounds = (1..).zip(rates);
            let records: Vec<Record> =
                rounds.map(|(n, rate)| record(".", "a", n, &[*rate])).collect();
            let summary = summarise(&records).remove(0);
            assert_eq!(summary.series[0].1.rounds, rates);
            summary.caveats
        };
        let series = Series::median(Metric::DecodeRate);
        assert_eq!(caveats(&rates), [Caveat::Outliers { rounds: vec![4], series }]);
        assert_eq!(caveats(&rates[..4]), [], "four rounds are no crowd");
        // Nearly equal: nothing within the noise floor is an outlier.
        assert_eq!(caveats(&[100.0, 100.0, 100.0, 100.0, 100.0, 100.9]), []);
    }

    #[test]
    fn a_first_iteration_that_is_slower_than_the_others_is_told() {
        let caveats = |rates: [f64; 3]| {
            let records: Vec<Record> = (1..=3).map(|n| record(".", "a", n, &rates)).collect();
            summarise(&records).remove(0).caveats
        };
        assert_eq!(caveats([50.0, 100.0, 100.0]), [Caveat::SlowStart { ratio: 2.0 }]);
        assert_eq!(caveats([95.0, 100.0, 100.0]), []);
        assert_eq!(caveats([200.0, 100.0, 100.0]), []);
    }

    #[test]
    fn output_that_varies_and_a_busy_machine_are_told() {
        let mut records = [record(".", "a", 1, &[1.0]), record(".", "a", 2, &[1.0])];
        records[1].conditions.load_before = Some(7.0);
        let Outcome::Measured(samples) = &mut records[1].outcome else { unreachable!() };
        samples.iterations[0].digest = Digest::of_outputs([[9].as_slice()]);
        assert_eq!(
            summarise(&records)[0].caveats,
            [Caveat::OutputVaries, Caveat::FewRounds(2), Caveat::Busy { load: 7.0, threads: 4 }]
        );
    }
}
