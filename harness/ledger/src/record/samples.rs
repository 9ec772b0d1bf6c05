//! [`Samples`]: everything that a round measured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Digest;
use crate::case::Dtype;
use crate::holding::Holding;
use crate::metric::Metric;
use crate::precision::Stopped;
use crate::timeline::Values;

/// Everything that a round measured, raw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    /// The attention backend that ran.
    pub attention: String,
    /// The number format of everything not quantised; none in records from before there was a
    /// choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Dtype>,
    /// Why preferred attention backends made for the device did not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declined: Vec<String>,
    /// The formats of the weights, the one with the most bytes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<Stored>,
    /// What each device held, the first device first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holdings: Vec<Holding>,
    /// The prompts of all iterations that every round of the case has, warm-up included; none if
    /// the case has a text or a reference instead, and in records from before prompts were
    /// recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Digest>,
    /// Values that exist once per round.
    pub once: BTreeMap<Metric, f64>,
    /// What each iteration gave, in order, warm-up included.
    pub iterations: Vec<Iteration>,
    /// How it ended, if it had a precision target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
}

/// The weights held in one format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its name in the engine: `bf16`, `q4_1`.
    pub format: String,
    /// The requested format, if it does not fit these weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<String>,
    /// Number of tensors.
    pub tensors: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// What one iteration gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Iteration {
    /// Whether it counts.
    pub kind: IterationKind,
    /// The digest of the output tokens of all its requests.
    pub digest: Digest,
    /// Raw values by metric.
    pub values: Values,
}

/// Whether an iteration counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IterationKind {
    /// Run before timing starts, with the measured shape.
    WarmUp,
    /// It counts.
    Timed,
}

impl Samples {
    /// The samples of `metric` that count: the value of the round, or those of its timed
    /// iterations.
    #[must_use]
    pub fn of(&self, metric: Metric) -> Vec<f64> {
        if let Some(value) = self.once.get(&metric) {
            return vec![*value];
        }
        let timed = self.iterations.iter().filter(|i| i.kind == IterationKind::Timed);
        timed.filter_map(|iteration| iteration.values.get(&metric)).flatten().copied().collect()
    }

    /// The digests of all iterations that every round of the case has, warm-up included: equal for
    /// rounds that computed the same.
    #[must_use]
    pub fn digests(&self) -> Vec<&Digest> {
        let certain = self.stopped.map_or(self.iterations.len(), |it| it.certain as usize);
        self.iterations.iter().take(certain).map(|iteration| &iteration.digest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Outcome;
    use crate::record::tests::record;

    #[test]
    fn warm_up_is_kept_and_does_not_count() {
        let mut record = record(".", "a", 1, &[1.0, 2.0, 3.0]);
        let Outcome::Measured(samples) = &mut record.outcome else { unreachable!() };
        samples.iterations[0].kind = IterationKind::WarmUp;
        assert_eq!(samples.of(Metric::DecodeRate), [2.0, 3.0]);
        assert_eq!(samples.digests().len(), 3);
        // Iterations that not every round has cannot be compared.
        let by = crate::precision::Cause::Precise;
        samples.stopped = Some(Stopped { by, half_width: Some(0.01), certain: 2 });
        assert_eq!((samples.digests().len(), samples.of(Metric::DecodeRate).len()), (2, 2));
    }
}
