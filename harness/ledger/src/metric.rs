//! What is measured: every metric with its definition; everything else about it is in its [`Spec`].
//!
//! The definitions are the standard ones: time per output token never includes the first token, and
//! a rate divides by the number of intervals that actually passed. How they follow from the arrival
//! times of tokens is in [`timeline`](crate::timeline).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::unit::{Bytes, Rate, prefixed, rate, three_digits, time};

mod spec;

pub use spec::{Better, Class, Spec, Tails};

/// One kind of measured value. Values are stored as `f64` in the metric's [`Unit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Tokens of all sequences per second while every sequence of the batch decodes: counted from
    /// when the last sequence gets its first token to when the first sequence gets its last.
    DecodeRate,
    /// Time per output token of one request: (last token − first token) / (tokens − 1).
    TimePerOutputToken,
    /// One gap between two consecutive tokens of one request.
    InterToken,
    /// Prompt tokens of all requests per second, from the first submit to the last first token.
    PrefillRate,
    /// Tokens read by an embedding model per second, from the first text to the last vector.
    EmbedRate,
    /// First token − submit, of one request.
    TimeToFirstToken,
    /// Last token − submit, of one request; for an embedding model, from a batch of texts to its
    /// vectors.
    EndToEnd,
    /// Output tokens of all requests per second, from the first submit to the last token.
    SystemRate,
    /// Completed requests per second, from the first submit to the last token.
    RequestRate,
    /// Completed requests per second that met the objectives of the scenario (its SLO).
    Goodput,
    /// From the submit of one request to the start of the first step that computes it.
    QueueTime,
    /// Prompt tokens found in the prefix cache when their request was first computed, as a share of
    /// all prompt tokens.
    PrefixHitRate,
    /// Tokens computed to catch up (prompts, and what preemptions lost) per prompt token: 1 with
    /// ample memory and no prefix cache.
    PrefillAmplification,
    /// Sequences that lost their blocks to others and were recomputed.
    Preemptions,
    /// The most blocks of the KV pool in use at once since loading.
    PeakBlocks,
    /// Tensors moved between the devices of a map, per step on average.
    Transfers,
    /// Bytes of those tensors, per step on average.
    TransferBytes,
    /// How often the host waited for a GPU, per step on average: once, for the tokens, is enough.
    DeviceWaits,
    /// Steps that replayed previously recorded launches in one go, as a share of all steps.
    ReplayedSteps,
    /// Bytes of weights and cache that must be read per token, on average: over steps that only
    /// decode, or, for a prefill, over steps that compute prompts.
    TokenBytes,
    /// Floating-point operations per token, likewise.
    TokenFlops,
    /// How much longer a token takes per 1,000 more tokens in the cache: the difference between the
    /// median gaps of a deep and a shallow decode in one process, divided by the difference of
    /// their depths.
    ContextSlope,
    /// CPU time of the whole process while idle, as a share of one core.
    CpuShare,
    /// From the submit of a single request after a pause to when the thread around the engine picks
    /// it up.
    WakeUp,
    /// Blocks of the KV pool in use when no request is left.
    LeakedBlocks,
    /// Resident set size at the end, minus that after the first tenth of the time.
    RssGrowth,
    /// Threads at the end, minus those after the first tenth of the time.
    ThreadGrowth,
    /// Open files at the end, minus those after the first tenth of the time.
    FileGrowth,
    /// How much a text surprises a model: the exponential of the mean negative log likelihood of
    /// its tokens, which is the number of equally likely tokens that would surprise as much.
    Perplexity,
    /// Largest error of a logit at any position, as a share of the largest logit of the reference.
    LogitError,
    /// Largest error of a component of a text's embedding vector, as a share of the largest
    /// component of the reference.
    VectorError,
    /// Largest absolute error of a model's outputs, logits or vector components.
    LargestError,
    /// Largest error of an intermediate value (hidden states, the results of pooling and of dense
    /// heads), each as a share of the largest value of the reference in the same place.
    HiddenError,
    /// The largest cosine distance of a vector from the reference's: 1 − the cosine of their angle.
    CosineDistance,
    /// How far the distribution of the next token is from the reference's: the Kullback–Leibler
    /// divergence in nats, averaged over all positions.
    Divergence,
    /// Positions at which the most likely token is the reference's, as a share of all positions.
    TopAgreement,
    /// Tokens of the greedy continuation before it diverges from the reference's.
    SameTokens,
    /// Time of one iteration of a benchmark: criterion times several at once, and each such time is
    /// divided by their number.
    IterationTime,
    /// Elements per second that a benchmark says it processes.
    ElementRate,
    /// Bytes per second that a benchmark says it processes.
    ByteRate,
    /// From the call that loads the model to an engine that accepts requests.
    LoadTime,
    /// The part of the load time spent opening files and reading their headers.
    LoadOpen,
    /// The part spent bringing weights into memory; random weights are drawn.
    LoadRead,
    /// The part spent converting them to the requested number format.
    LoadConvert,
    /// The part spent quantising them.
    LoadQuantise,
    /// The peak resident set size of the probe process over its lifetime, as counted by the kernel.
    PeakRss,
    /// Bytes of the model's weights as the engine holds them, by the engine's own accounting.
    WeightBytes,
    /// Bytes of the KV pool that the engine reserved.
    KvBytes,
    /// Energy that the GPUs of a round drew per token: for a decode, while all sequences decode;
    /// for whole requests, per token of the answers; for a prefill, per token of the prompt.
    EnergyPerToken,
    /// The most bytes allocated at once on GPUs, as counted by the driver: weights, KV pool, and
    /// what steps allocate; not what driver and libraries take for themselves.
    DeviceBytes,
}

/// The unit in which a metric's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Nanoseconds.
    Nanoseconds,
    /// Bytes.
    Bytes,
    /// Tokens per second.
    TokensPerSecond,
    /// Requests per second.
    RequestsPerSecond,
    /// Elements per second.
    ElementsPerSecond,
    /// Bytes per second.
    BytesPerSecond,
    /// A part of a whole; 1 is all of it.
    Share,
    /// One quantity divided by another.
    Ratio,
    /// A number of things.
    Count,
    /// Floating-point operations.
    Operations,
    /// Energy in joules.
    Joules,
    /// Information; 1 nat is log₂ e bits.
    Nats,
    /// A plain number, neither a count nor a share.
    Number,
}

impl Unit {
    /// A value in this unit, formatted for people.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            // Growth may be negative: the difference of two times or sizes has a sign.
            Unit::Nanoseconds | Unit::Bytes if value <= -0.5 => format!("-{}", self.show(-value)),
            Unit::Nanoseconds => time(value),
            Unit::Bytes => Bytes(value.round() as u64).to_string(),
            Unit::TokensPerSecond => Rate(value).to_string(),
            Unit::RequestsPerSecond => format!("{} req/s", rate(value)),
            Unit::ElementsPerSecond => {
                let (value, prefix) = prefixed(value);
                format!("{} {prefix}elem/s", three_digits(value))
            }
            Unit::BytesPerSecond => format!("{}/s", Bytes(value.round() as u64)),
            Unit::Share if value > 0.0 && value < 1e-4 => format!("{:.1e} %", value * 100.0),
            Unit::Share => format!("{} %", three_digits(value * 100.0)),
            Unit::Ratio => three_digits(value),
            Unit::Operations => operations(value),
            Unit::Joules if value.abs() < 1.0 => format!("{} mJ", three_digits(value * 1e3)),
            Unit::Joules => format!("{} J", three_digits(value)),
            Unit::Count if value.fract() == 0.0 => format!("{value:.0}"),
            Unit::Count => three_digits(value),
            Unit::Nats if value == 0.0 => "0 nat".to_owned(),
            Unit::Nats if value < 0.01 => format!("{value:.1e} nat"),
            Unit::Nats if value < 0.09995 => format!("{value:.4} nat"),
            Unit::Nats => format!("{} nat", three_digits(value)),
            Unit::Number if value == 0.0 => "0".to_owned(),
            Unit::Number if value.abs() < 0.01 => format!("{value:.1e}"),
            Unit::Number if value.abs() < 1000.0 => format!("{value:.3}"),
            Unit::Number => format!("{value:.0}"),
        }
    }
}

impl Metric {
    /// Every metric, in the order in which tables show them.
    pub const ALL: [Metric; 50] = [
        Metric::SystemRate,
        Metric::RequestRate,
        Metric::Goodput,
        Metric::DecodeRate,
        Metric::TimePerOutputToken,
        Metric::InterToken,
        Metric::ContextSlope,
        Metric::PrefillRate,
        Metric::EmbedRate,
        Metric::TimeToFirstToken,
        Metric::EndToEnd,
        Metric::QueueTime,
        Metric::PrefixHitRate,
        Metric::PrefillAmplification,
        Metric::Preemptions,
        Metric::PeakBlocks,
        Metric::Transfers,
        Metric::TransferBytes,
        Metric::DeviceWaits,
        Metric::ReplayedSteps,
        Metric::TokenBytes,
        Metric::TokenFlops,
        Metric::CpuShare,
        Metric::WakeUp,
        Metric::LeakedBlocks,
        Metric::RssGrowth,
        Metric::ThreadGrowth,
        Metric::FileGrowth,
        Metric::Perplexity,
        Metric::LogitError,
        Metric::VectorError,
        Metric::LargestError,
        Metric::HiddenError,
        Metric::CosineDistance,
        Metric::Divergence,
        Metric::TopAgreement,
        Metric::SameTokens,
        Metric::IterationTime,
        Metric::ElementRate,
        Metric::ByteRate,
        Metric::LoadTime,
        Metric::LoadOpen,
        Metric::LoadRead,
        Metric::LoadConvert,
        Metric::LoadQuantise,
        Metric::PeakRss,
        Metric::WeightBytes,
        Metric::KvBytes,
        Metric::DeviceBytes,
        Metric::EnergyPerToken,
    ];

    /// The metric of this [`name`](Spec::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Metric> {
        Metric::ALL.into_iter().find(|metric| metric.spec().name == name)
    }

    /// A value of this metric, formatted for people, with its unit.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        self.spec().unit.show(value)
    }

    /// How much worse `head` is than `base`: positive is worse, whatever the metric's direction and
    /// the signs. It is a fraction of `base` if lower is better, and of `head` if higher is. Equal
    /// values have not changed, zeros included.
    #[must_use]
    pub fn worsening(self, base: f64, head: f64) -> f64 {
        if base == head {
            return 0.0;
        }
        match self.spec().better {
            Better::Lower => (head - base) / base.abs(),
            Better::Higher => (base - head) / head.abs(),
        }
    }
}

/// Floating-point operations, formatted for people.
fn operations(value: f64) -> String {
    let (value, prefix) = prefixed(value);
    format!("{} {prefix}FLOP", three_digits(value))
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.spec().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The derive knows every variant: its error about an unknown one lists them all.
    #[test]
    fn every_metric_is_in_all() {
        let complaint = serde_json::from_str::<Metric>("\"no such metric\"").unwrap_err();
        let listed = complaint.to_string().matches('`').count() / 2 - 1;
        assert_eq!(listed, Metric::ALL.len(), "{complaint}");
    }

    #[test]
    fn every_metric_survives_serde_under_its_name() {
        for metric in Metric::ALL {
            let json = serde_json::to_string(&metric).unwrap();
            assert_eq!(json, format!("\"{}\"", metric.spec().name));
            assert_eq!(serde_json::from_str::<Metric>(&json).unwrap(), metric);
            assert_eq!(Metric::from_name(metric.spec().name), Some(metric));
        }
    }

    #[test]
    fn names_and_labels_are_unique() {
        for (i, a) in Metric::ALL.iter().enumerate() {
            for b in &Metric::ALL[i + 1..] {
                assert_ne!(a.spec().name, b.spec().name);
                assert_ne!(a.spec().label, b.spec().label);
            }
        }
    }

    #[test]
    fn worse_is_positive_in_either_direction() {
        assert!(Metric::DecodeRate.worsening(100.0, 80.0) > 0.0);
        assert!(Metric::TimeToFirstToken.worsening(100.0, 80.0) < 0.0);
        assert_eq!(Metric::DecodeRate.worsening(100.0, 50.0), 1.0);
        assert_eq!(Metric::KvBytes.worsening(0.0, 0.0), 0.0);
    }

    #[test]
    fn what_shrinks_has_a_sign_and_what_grows_from_below_zero_is_worse() {
        assert_eq!(Metric::RssGrowth.show(-2048.0), "-2.00 KiB");
        assert_eq!(Metric::ContextSlope.show(-1.5e6), "-1.50 ms");
        assert_eq!(Metric::RssGrowth.show(-0.2), "0 B");
        assert_eq!(Metric::IterationTime.show(1.43), "1.43 ns");
        assert_eq!(Metric::RequestRate.show(0.1234), "0.123 req/s");
        assert_eq!(Metric::Perplexity.show(12.3456), "12.346");
        assert_eq!(Metric::Perplexity.show(151_936.4), "151936");
        assert_eq!(Metric::CosineDistance.show(2.13e-7), "2.1e-7");
        assert_eq!(Metric::TokenFlops.show(987_654_321.0), "988 MFLOP");
        assert_eq!(Metric::TokenFlops.show(12.0), "12.0 FLOP");
        assert_eq!(Metric::ElementRate.show(2_340_000.0), "2.34 Melem/s");
        assert_eq!(Metric::ByteRate.show(3e9), "2.79 GiB/s");
        assert_eq!(Metric::EnergyPerToken.show(0.12345), "123 mJ");
        assert_eq!(Metric::EnergyPerToken.show(2.5), "2.50 J");
        assert!(Metric::RssGrowth.worsening(-100.0, 100.0) > 0.0);
        assert!(Metric::RssGrowth.worsening(100.0, -100.0) < 0.0);
    }
}
