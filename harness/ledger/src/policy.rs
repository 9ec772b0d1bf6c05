//! The policy: which changes of which series matter, and what happens then.
//!
//! It has the structure of `ci/gate.toml`; the caller reads the file. Only what was added after the
//! first policies has a default here, so that the file says everything. A policy is identified by
//! its [`hash`](Policy::hash): verdicts under different policies are different statements.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::case::{CaseId, matches};
use crate::conditions::Rules;
use crate::judge::interleaved::{LAST, PLANNED};
use crate::margin::Margin;
use crate::metric::{Class, Metric};
use crate::series::{Quantile, Series};

/// Which changes of which series matter, and what happens then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// What an undecided series does.
    pub inconclusive: Weight,
    /// How long to measure.
    pub budget: Budget,
    /// The conditions under which a round counts.
    pub conditions: Rules,
    /// The margin of each class of metrics.
    pub margins: Margins,
    /// The minimum margin of tails, whatever the class: a tail is noisier than its median.
    pub tails: TailMargins,
    /// Exceptions; if several match, the last one applies.
    #[serde(default)]
    pub exceptions: Vec<Exception>,
}

/// Whether something can stop a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// It can.
    Blocks,
    /// It is shown, but stops nothing.
    Warns,
}

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Budget {
    /// The most pairs of rounds per case.
    pub pairs: u32,
    /// The most minutes of a run.
    pub minutes: u32,
}

/// The margin of each class of metrics. There is one for every [`Class`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Margins {
    /// Decode speed: how fast tokens come after the first.
    pub decode: ClassTerms,
    /// Prefill speed: how fast a prompt is processed.
    pub prefill: ClassTerms,
    /// Bytes that the engine accounts for exactly.
    pub memory: ClassTerms,
    /// Bytes as counted by the kernel.
    pub resident_memory: ClassTerms,
    /// How long it takes until the engine can serve.
    pub load: ClassTerms,
    /// What users of a busy service experience.
    pub serving: ClassTerms,
    /// What the engine counts itself.
    pub account: ClassTerms,
    /// What a service costs while idle.
    pub idle: ClassTerms,
    /// How close the numbers are to a reference.
    pub fidelity: ClassTerms,
    /// How fast a part of the engine is in isolation. Policies from before there were benches do
    /// not mention it.
    #[serde(default = "ClassTerms::told_only", skip_serializing_if = "ClassTerms::are_told_only")]
    pub bench: ClassTerms,
    /// The energy used. Older policies do not mention it either.
    #[serde(default = "ClassTerms::told_only", skip_serializing_if = "ClassTerms::are_told_only")]
    pub energy: ClassTerms,
}

/// The terms of a class of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClassTerms {
    /// The smallest change that matters.
    pub margin: Margin,
    /// What a regression does.
    pub weight: Weight,
}

/// The minimum margins of tails.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TailMargins {
    /// For 95th percentiles.
    pub p95: Margin,
    /// For 99th percentiles.
    pub p99: Margin,
}

/// A different weight for some cases or metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Exception {
    /// A part of the ids of the cases; `*` matches anything, and a number at the end is matched
    /// whole.
    pub cases: String,
    /// The metrics; all of them if none are named.
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// What a regression does.
    pub weight: Weight,
    /// Why.
    pub reason: String,
}

/// A hash of what a policy means. Comments, order and layout of its file do not change it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyHash(String);

impl std::fmt::Display for PolicyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// The most times that a void round may be repeated.
const REPEATS: u32 = 100;

impl Policy {
    /// What in it would decide nothing or be silently ignored; none if it is sound.
    #[must_use]
    pub fn unsound(&self) -> Option<String> {
        let Budget { pairs, minutes } = self.budget;
        let Rules { repeats, idle_before, stolen, .. } = self.conditions;
        let first = PLANNED[0];
        match () {
            () if (pairs as usize) < first => Some(format!(
                "a budget of {pairs} pairs decides nothing: the first look is taken after {first}"
            )),
            () if pairs as usize > LAST => Some(format!(
                "a budget of {pairs} pairs is too large: pairs beyond {LAST} are never looked at; write at most {LAST}"
            )),
            () if minutes == 0 => Some(
                "a budget of 0 minutes decides nothing: it ends after the first pair of each case"
                    .to_owned(),
            ),
            () if repeats > REPEATS => {
                Some(format!("{repeats} repeats are too many: at most {REPEATS}"))
            }
            () if !(0.0..=1.0).contains(&stolen) => Some(format!(
                "`stolen = {stolen}` is not a share: write one from 0 to 1, `0.05` for 5 %"
            )),
            () if !(0.0..).contains(&idle_before) => {
                Some(format!("`idle-before = {idle_before}` is not a share: write `0.5` for 50 %"))
            }
            () => None,
        }
    }

    /// The smallest change of `series` that matters.
    #[must_use]
    pub fn margin(&self, series: Series) -> Margin {
        let margin = self.margins.of(series.metric.spec().class).margin;
        match series.quantile {
            Quantile::Median => margin,
            Quantile::P95 => margin.or_larger(self.tails.p95),
            Quantile::P99 => margin.or_larger(self.tails.p99),
        }
    }

    /// What a regression of `metric` in `case` does.
    #[must_use]
    pub fn weight(&self, case: &CaseId, metric: Metric) -> Weight {
        let exception = self.exceptions.iter().rev().find(|exception| exception.fits(case, metric));
        match exception {
            Some(exception) => exception.weight,
            None => self.margins.of(metric.spec().class).weight,
        }
    }

    /// The hash of everything it says.
    #[must_use]
    pub fn hash(&self) -> PolicyHash {
        let json = serde_json::to_vec(self).expect("a policy is plain data");
        PolicyHash(format!("{:032x}", xxh3_128(&json)))
    }
}

impl ClassTerms {
    /// The default for benches and energy: changes only warn, since it is the speed of the whole
    /// that blocks a merge.
    fn told_only() -> ClassTerms {
        let margin = Margin::new(0.05, 0.0).expect("5 % is a share");
        ClassTerms { margin, weight: Weight::Warns }
    }

    fn are_told_only(&self) -> bool {
        *self == ClassTerms::told_only()
    }
}

impl Margins {
    fn of(&self, class: Class) -> ClassTerms {
        match class {
            Class::Decode => self.decode,
            Class::Prefill => self.prefill,
            Class::Memory => self.memory,
            Class::ResidentMemory => self.resident_memory,
            Class::Load => self.load,
            Class::Serving => self.serving,
            Class::Account => self.account,
            Class::Idle => self.idle,
            Class::Fidelity => self.fidelity,
            Class::Bench => self.bench,
            Class::Energy => self.energy,
        }
    }
}

impl Exception {
    fn fits(&self, case: &CaseId, metric: Metric) -> bool {
        let metrics = self.metrics.is_empty() || self.metrics.contains(&metric);
        metrics && matches(case.as_str(), &self.cases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::tests::case;

    const FILE: &str = include_str!("../../../ci/gate.toml");

    fn policy(text: &str) -> Result<Policy, toml::de::Error> {
        toml::from_str(text)
    }

    fn complaint(from: &str, to: &str) -> String {
        assert!(FILE.contains(from), "{from}");
        policy(&FILE.replacen(from, to, 1)).unwrap_err().message().to_owned()
    }

    #[test]
    fn the_policy_that_is_kept_has_these_margins() {
        let policy = policy(FILE).unwrap();
        let mib_64 = f64::from(64 << 20);
        let table = [
            (Metric::DecodeRate, [(0.03, 0.0); 3]),
            (Metric::TimePerOutputToken, [(0.03, 0.0); 3]),
            (Metric::InterToken, [(0.03, 0.0), (0.05, 0.0), (0.10, 0.0)]),
            (Metric::PrefillRate, [(0.05, 0.0); 3]),
            (Metric::TimeToFirstToken, [(0.05, 0.0), (0.05, 0.0), (0.10, 0.0)]),
            (Metric::WeightBytes, [(0.02, mib_64); 3]),
            (Metric::KvBytes, [(0.02, mib_64); 3]),
            (Metric::PeakRss, [(0.05, mib_64); 3]),
            (Metric::LoadTime, [(0.10, 1e6); 3]),
        ];
        for (metric, margins) in table {
            for (series, (relative, absolute)) in Series::of(metric).zip(margins) {
                let expected = Margin::new(relative, absolute).unwrap();
                assert_eq!(policy.margin(series), expected, "{series}");
            }
        }
    }

    #[test]
    fn the_time_of_loading_warns_only_and_an_exception_says_otherwise() {
        let mut policy = policy(FILE).unwrap();
        let case = case("gate/decode/tiny/batch=8").id;
        assert_eq!(policy.weight(&case, Metric::LoadTime), Weight::Warns);
        assert_eq!(policy.weight(&case, Metric::DecodeRate), Weight::Blocks);
        let exception = |cases: &str, metrics: &[Metric], weight| Exception {
            cases: cases.into(),
            metrics: metrics.into(),
            weight,
            reason: "as an example".into(),
        };
        policy.exceptions = vec![
            exception("gate/decode*batch=8", &[], Weight::Warns),
            exception("", &[Metric::LoadTime], Weight::Blocks),
            exception("elsewhere", &[], Weight::Warns),
        ];
        assert_eq!(policy.weight(&case, Metric::DecodeRate), Weight::Warns);
        assert_eq!(policy.weight(&case, Metric::LoadTime), Weight::Blocks);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let unknown = complaint("weight = \"warns\"", "wieght = \"warns\"");
        assert_eq!(unknown, "unknown field `wieght`, expected `margin` or `weight`");
        let value = complaint("\"warns\"", "\"whines\"");
        assert_eq!(value, "unknown variant `whines`, expected `blocks` or `warns`");
        let margin = complaint("relative = 0.03", "relative = 30");
        assert!(margin.starts_with("a relative margin of `30`"), "{margin}");
        assert!(complaint("[budget]", "[bugdet]").contains("unknown field `bugdet`"));
    }

    #[test]
    fn what_decides_nothing_or_says_nothing_is_unsound() {
        let unsound = |from: &str, to: &str| {
            assert!(FILE.contains(from), "{from}");
            policy(&FILE.replacen(from, to, 1)).unwrap().unsound().unwrap_or_default()
        };
        assert_eq!(policy(FILE).unwrap().unsound(), None);
        for (from, to, told) in [
            ("pairs   = 30", "pairs = 5", "a budget of 5 pairs decides nothing"),
            (
                "pairs   = 30",
                "pairs = 151",
                "a budget of 151 pairs is too large: pairs beyond 150 are never looked",
            ),
            ("minutes = 60", "minutes = 0", "a budget of 0 minutes decides nothing"),
            ("repeats     = 3", "repeats = 101", "101 repeats are too many: at most 100"),
            ("stolen      = 0.05", "stolen = 5.0", "`stolen = 5` is not a share"),
            ("stolen      = 0.05", "stolen = nan", "`stolen = NaN` is not a share"),
            ("idle-before = 0.5", "idle-before = -0.5", "`idle-before = -0.5` is not a share"),
        ] {
            assert!(unsound(from, to).starts_with(told), "{}", unsound(from, to));
        }
        for pairs in ["pairs = 6", "pairs = 150"] {
            assert_eq!(unsound("pairs   = 30", pairs), "");
        }
    }

    #[test]
    fn a_policy_from_before_there_were_benches_is_the_same_policy() {
        let older: Vec<&str> = FILE.lines().filter(|line| !line.starts_with("bench ")).collect();
        assert_eq!(older.len() + 1, FILE.lines().count());
        let (older, kept) = (policy(&older.join("\n")).unwrap(), policy(FILE).unwrap());
        assert_eq!((older.hash(), older), (kept.hash(), kept));
    }

    #[test]
    fn the_hash_is_that_of_the_meaning() {
        let hash = |text: &str| policy(text).unwrap().hash();
        assert_eq!(hash(FILE), hash(&FILE.replacen("0.03", "0.030", 1).replace("#", "# so: ")));
        assert_ne!(hash(FILE), hash(&FILE.replacen("0.03", "0.04", 1)));
        assert_eq!(hash(FILE).to_string().len(), 32);
    }
}
