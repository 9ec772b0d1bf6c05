//! What one round left.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::attribution::Attribution;
use crate::case::{Case, CaseId, Dtype};
use crate::conditions::Breach;
pub use crate::conditions::Conditions;
use crate::environment::Environment;
use crate::gate::Terms;
use crate::holding::{Holding, Occupied};
use crate::metric::Metric;
use crate::precision::Stopped;
use crate::timeline::Values;
use crate::trace::Trace;
use crate::unit::Nanos;
use crate::upstream::Hash;

/// What one child process left, whatever became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Which run it belongs to.
    pub run: RunId,
    /// Which round of its case and subject, from 1. Attribution rounds are counted on their own.
    pub round: u32,
    /// When the child was started, RFC 3339 in UTC.
    pub at: String,
    /// What was measured.
    pub subject: Subject,
    /// What it was asked to do.
    pub case: Case,
    /// Where.
    pub environment: Environment,
    /// In what state the machine was.
    pub conditions: Conditions,
    /// A line for a shell that repeats this round.
    pub command: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What was seen of it over time; none if nobody watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

/// The name of one run, unique on its machine: when it was started, and what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

/// What a run set out to do: the first line of its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// When it was started, RFC 3339 in UTC.
    pub at: String,
    /// The command that started it.
    pub command: String,
    /// What is measured, in the order of the command; the first is the base of comparisons.
    pub subjects: Vec<Subject>,
    /// The cases to run.
    pub cases: Vec<Planned>,
    /// Cases that the scenarios exclude, each with its reason.
    pub skipped: Vec<Skipped>,
    /// What its second subject is held to by its first; none for a run that only measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Terms>,
}

/// One case of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The case, whole: a run that was interrupted goes on with what it began with, whatever became
    /// of the scenario files.
    pub case: Case,
    /// Rounds of it for each subject.
    pub rounds: u32,
    /// Rounds after those that tell where the time goes, and time nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attributions: u32,
    /// Which of the runs that were merged into this one measured it, from 0: the minutes of each were
    /// its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shard: u32,
}

/// Asked by serde, with a reference.
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A case that a scenario excludes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The case.
    pub id: CaseId,
    /// Why, in the words of the scenario.
    pub reason: String,
}

/// What is measured: one build of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// As the user named it: `.`, `rev:v0.2`, `probe:./old`.
    pub name: String,
    /// The engine's commit; none for a probe whose origin is unknown.
    pub commit: Option<String>,
    /// Whether files differed from that commit when it was built.
    pub dirty: bool,
    /// Cargo features that it was built with, sorted.
    pub features: Vec<String>,
    /// Hash of the probe's executable file; empty if it could not be built.
    pub binary: String,
    /// The files that differed from that commit, sorted; the first [`Subject::CHANGED`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// How many more did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub changed_besides: u32,
    /// The upstream commit up to which the integration log that it was built from considers every
    /// one; none if there was no such log, and for a probe whose origin is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Hash>,
    /// What it was built on instead of its own candle: a version, or a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candle: Option<String>,
    /// Hashes of the executable files of its benches, by `package/bench`; only of those that were
    /// built for the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub benches: BTreeMap<String, String>,
}

impl Subject {
    /// How many changed files a record lists.
    pub const CHANGED: usize = 20;

    /// All that is known of where it comes from, in one line: `. (012345678+), 2 files changed,
    /// upstream 2bcf0e9e3`.
    #[must_use]
    pub fn origin(&self) -> String {
        let mut text = self.to_string();
        match self.changed.len() + self.changed_besides as usize {
            0 => (),
            1 => text.push_str(", 1 file changed"),
            n => text.push_str(&format!(", {n} files changed")),
        }
        if let Some(upstream) = &self.upstream {
            text.push_str(&format!(", upstream {upstream}"));
        }
        text
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(commit) = &self.commit {
            let dirty = if self.dirty { "+" } else { "" };
            write!(f, " ({}{dirty})", commit.get(..9).unwrap_or(commit))?;
        }
        if !self.features.is_empty() {
            write!(f, " [{}]", self.features.join(","))?;
        }
        Ok(())
    }
}

/// What became of a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran to its end.
    Measured(Samples),
    /// It ran to its end, only to tell where the time goes.
    Attributed(Attribution),
    /// It ran to its end under conditions that the rules forbid: kept, and not counted.
    Void {
        /// The rules that were broken.
        breaches: Vec<Breach>,
        /// What it measured nevertheless.
        samples: Samples,
    },
    /// It did not.
    Failed(Failure),
    /// The engine cannot do this, by design; the reason is the engine's.
    Skipped(String),
}

/// Everything that a round measured, raw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    /// The attention backend that ran.
    pub attention: String,
    /// The number format of what is not quantised; none in records from before there was a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Dtype>,
    /// Why attention backends that were made for the device, and preferred, did not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declined: Vec<String>,
    /// In which formats the weights were held, those with most bytes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<Stored>,
    /// What each device held, the first one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holdings: Vec<Holding>,
    /// The prompts of all iterations that every round of the case has, warm-up included; none where it has a text or a reference
    /// instead, and in records from before they were told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Digest>,
    /// What is known once a round.
    pub once: BTreeMap<Metric, f64>,
    /// What each iteration gave, in order, warm-up included.
    pub iterations: Vec<Iteration>,
    /// How it ended, if it was to be precise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
}

/// The weights that are held in one format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its name in the engine: `bf16`, `q4_1`.
    pub format: String,
    /// The format that was asked for, if it does not fit these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<String>,
    /// Number of tensors.
    pub tensors: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// What one iteration gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Iteration {
    /// Whether it counts.
    pub kind: IterationKind,
    /// The output tokens of all its requests.
    pub digest: Digest,
    /// Raw values by metric.
    pub values: Values,
}

/// Whether an iteration counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IterationKind {
    /// Run before the clock counts, with the measured shape.
    WarmUp,
    /// Counts.
    Timed,
}

impl Samples {
    /// The samples of `metric` that count: the value of the round, or those of its timed iterations.
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

/// A fingerprint of tokens: equal for equal tokens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of the output tokens of several requests, in the order of their submission.
    #[must_use]
    pub fn of_outputs<'a>(outputs: impl IntoIterator<Item = &'a [u32]>) -> Digest {
        let mut hash = Xxh3::new();
        outputs.into_iter().for_each(|output| add(&mut hash, output));
        Digest(format!("{:016x}", hash.digest()))
    }

    /// The digest of the prompts of several requests, in the order of their submission. They are taken
    /// one by one, so that nobody has to hold them all.
    #[must_use]
    pub fn of_prompts(prompts: impl IntoIterator<Item = Vec<u32>>) -> Digest {
        let mut hash = Xxh3::new();
        prompts.into_iter().for_each(|prompt| add(&mut hash, &prompt));
        Digest(format!("{:016x}", hash.digest()))
    }

    /// The digest of vectors: which components of each are its largest four, by absolute value.
    /// Rounding errors change the components themselves, and hardly ever their order.
    #[must_use]
    pub fn of_vectors<'a>(vectors: impl IntoIterator<Item = &'a [f32]>) -> Digest {
        const LARGEST: usize = 4;
        let largest = |vector: &[f32]| -> Vec<u32> {
            let mut order: Vec<u32> = (0..vector.len() as u32).collect();
            let size = |i: u32| vector.get(i as usize).map_or(0.0, |component| component.abs());
            order.sort_by(|a, b| size(*b).total_cmp(&size(*a)).then(a.cmp(b)));
            order.truncate(LARGEST);
            order
        };
        let largest: Vec<Vec<u32>> = vectors.into_iter().map(largest).collect();
        Digest::of_outputs(largest.iter().map(Vec::as_slice))
    }
}

/// Adds the tokens of one request, and where they end.
fn add(hash: &mut Xxh3, tokens: &[u32]) {
    hash.update(&(tokens.len() as u64).to_le_bytes());
    for token in tokens {
        hash.update(&token.to_le_bytes());
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a round did not run to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// The subject could not be built.
    #[error("the build failed")]
    Build {
        /// The end of what cargo printed.
        tail: String,
    },
    /// The child could not be started.
    #[error("the probe could not be started: {error}")]
    Start {
        /// What the system said.
        error: String,
    },
    /// The probe speaks another protocol.
    #[error(
        "the probe speaks protocol {found}, this `windtunnel` speaks {expected}: build both from revisions that agree"
    )]
    Protocol {
        /// What it speaks.
        found: u32,
        /// What was expected.
        expected: u32,
    },
    /// The engine reported an error.
    #[error("{error}")]
    Engine {
        /// The error, with its causes.
        error: String,
    },
    /// The child ended by itself before it had said `end`.
    #[error("the probe crashed ({status})")]
    Crashed {
        /// Exit code or signal, in words.
        status: String,
        /// The end of its stderr.
        tail: String,
    },
    /// The kernel killed the child for want of memory.
    #[error("the kernel ran out of memory and killed the probe")]
    OutOfMemory {
        /// The end of its stderr.
        tail: String,
    },
    /// An accelerator had no room left.
    #[error("{error}")]
    Exhausted {
        /// The engine's words, which say what to do.
        error: String,
        /// How the memory of each accelerator stood at that moment.
        devices: Vec<Occupied>,
    },
    /// The child was killed at its deadline.
    #[error("no end after {deadline}: killed")]
    TimedOut {
        /// The deadline.
        deadline: Nanos,
        /// The end of its stderr.
        tail: String,
    },
    /// The child said that it had done all, and had not.
    #[error("the probe measured {found} of {expected} iterations and called that all")]
    Incomplete {
        /// Iterations that it sent.
        found: usize,
        /// Iterations of the case, warm-up included.
        expected: usize,
    },
    /// The child said all, and then did not exit.
    #[error("the probe had said all and did not exit within {grace}: killed")]
    Lingered {
        /// How long it was given.
        grace: Nanos,
        /// The end of its stderr.
        tail: String,
    },
    /// The child wrote something that is no message.
    #[error("the probe wrote a line that is no message: `{line}`")]
    Garbage {
        /// The line, cut to a readable length.
        line: String,
        /// The end of its stderr.
        tail: String,
    },
}

impl Failure {
    /// Whether memory was what it lacked, of the machine or of a device: the kernel killed it, the
    /// engine says so, or it could not allocate and gave up.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Failure::OutOfMemory { .. } | Failure::Exhausted { .. } => true,
            Failure::Engine { error } => {
                let error = error.to_lowercase();
                ["out of memory", "out_of_memory"].iter().any(|words| error.contains(words))
            }
            // What Rust's allocator says at its end.
            Failure::Crashed { tail, .. } => {
                tail.contains("memory allocation of") && tail.contains("bytes failed")
            }
            Failure::Build { .. }
            | Failure::Start { .. }
            | Failure::Protocol { .. }
            | Failure::TimedOut { .. }
            | Failure::Incomplete { .. }
            | Failure::Lingered { .. }
            | Failure::Garbage { .. } => false,
        }
    }

    /// The end of what the failing process printed, if there was any.
    #[must_use]
    pub fn tail(&self) -> Option<&str> {
        match self {
            Failure::Build { tail }
            | Failure::Crashed { tail, .. }
            | Failure::OutOfMemory { tail }
            | Failure::TimedOut { tail, .. }
            | Failure::Lingered { tail, .. }
            | Failure::Garbage { tail, .. } => Some(tail.as_str()).filter(|tail| !tail.is_empty()),
            Failure::Start { .. }
            | Failure::Protocol { .. }
            | Failure::Engine { .. }
            | Failure::Exhausted { .. }
            | Failure::Incomplete { .. } => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::case::tests::case;
    use crate::environment::tests::environment;
    use crate::holding::Held;
    use crate::unit::Bytes;

    /// A record whose timed iterations have these decode rates.
    pub(crate) fn record(subject: &str, id: &str, round: u32, rates: &[f64]) -> Record {
        let iteration = |rate: &f64| Iteration {
            kind: IterationKind::Timed,
            digest: Digest::of_outputs([[1, 2, 3].as_slice()]),
            values: [(Metric::DecodeRate, vec![*rate])].into_iter().collect(),
        };
        Record {
            run: RunId("run".into()),
            round,
            at: "2026-01-01T00:00:00Z".into(),
            subject: Subject { name: subject.into(), ..Subject::default() },
            case: case(id),
            environment: environment(),
            conditions: Conditions::default(),
            command: "true".into(),
            outcome: Outcome::Measured(Samples {
                attention: "naive".into(),
                holdings: Vec::new(),
                dtype: None,
                declined: Vec::new(),
                formats: Vec::new(),
                prompts: None,
                once: BTreeMap::new(),
                iterations: rates.iter().map(iteration).collect(),
                stopped: None,
            }),
            trace: None,
        }
    }

    #[test]
    fn warm_up_is_kept_and_does_not_count() {
        let mut record = record(".", "a", 1, &[1.0, 2.0, 3.0]);
        let Outcome::Measured(samples) = &mut record.outcome else { unreachable!() };
        samples.iterations[0].kind = IterationKind::WarmUp;
        assert_eq!(samples.of(Metric::DecodeRate), [2.0, 3.0]);
        assert_eq!(samples.digests().len(), 3);
        // What not every round has cannot be compared.
        let by = crate::precision::Cause::Precise;
        samples.stopped = Some(Stopped { by, half_width: Some(0.01), certain: 2 });
        assert_eq!((samples.digests().len(), samples.of(Metric::DecodeRate).len()), (2, 2));
    }

    #[test]
    fn a_digest_tells_which_request_a_token_belongs_to() {
        let of = |outputs: &[&[u32]]| Digest::of_outputs(outputs.iter().copied());
        assert_eq!(of(&[&[1, 2], &[3]]), of(&[&[1, 2], &[3]]));
        assert_ne!(of(&[&[1, 2], &[3]]), of(&[&[1], &[2, 3]]));
        assert_ne!(of(&[&[1, 2]]), of(&[&[2, 1]]));
        assert_ne!(of(&[]), of(&[&[]]));
        assert_eq!(Digest::of_prompts([vec![1, 2], vec![3]]), of(&[&[1, 2], &[3]]));
    }

    #[test]
    fn a_digest_of_vectors_sees_no_rounding_and_every_other_text() {
        let of = |vector: &[f32]| Digest::of_vectors([vector]);
        let vector = [0.1, -0.5, 0.3, 0.05, 0.2, 0.01];
        assert_eq!(of(&vector), of(&vector.map(|component| component * 1.000_01 + 1e-6)));
        assert_ne!(of(&vector), of(&[0.1, -0.5, 0.3, 0.25, 0.2, 0.01]));
        assert_ne!(of(&vector), Digest::of_vectors([&vector[..], &vector[..]]));
        assert_eq!(of(&[]), of(&[]));
    }

    #[test]
    fn a_lack_of_memory_is_known_whoever_tells_it() {
        let engine = |error: &str| Failure::Engine { error: error.into() };
        let crashed =
            |tail: &str| Failure::Crashed { status: "signal 6".into(), tail: tail.into() };
        for failure in [
            Failure::OutOfMemory { tail: String::new() },
            Failure::Exhausted { error: "no room".into(), devices: Vec::new() },
            engine("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"),
            engine("cannot make the KV pool: out of memory"),
            crashed("a line\nmemory allocation of 8589934592 bytes failed"),
        ] {
            assert!(failure.is_out_of_memory(), "{failure:?}");
        }
        let others = [engine("no such file"), crashed("index out of bounds")];
        assert!(others.iter().all(|failure| !failure.is_out_of_memory()));
    }

    #[test]
    fn every_outcome_survives_serde() {
        let failures = [
            Failure::Build { tail: "t".into() },
            Failure::Start { error: "e".into() },
            Failure::Protocol { found: 2, expected: 1 },
            Failure::Engine { error: "e".into() },
            Failure::Crashed { status: "signal 11".into(), tail: String::new() },
            Failure::OutOfMemory { tail: String::new() },
            Failure::Exhausted {
                error: "out of memory for the cache".into(),
                devices: vec![Occupied {
                    device: "cuda:0".into(),
                    free: Some(Bytes(3)),
                    total: None,
                    held: Held { weights: Bytes(1), kv: Bytes(2) },
                }],
            },
            Failure::TimedOut { deadline: Nanos(1), tail: String::new() },
            Failure::Garbage { line: "x".into(), tail: String::new() },
            Failure::Incomplete { found: 1, expected: 4 },
            Failure::Lingered { grace: Nanos(1), tail: String::new() },
        ];
        let outcomes = failures.into_iter().map(Outcome::Failed);
        let Outcome::Measured(samples) = record(".", "a", 1, &[1.5]).outcome else {
            unreachable!()
        };
        let void = Outcome::Void { breaches: vec![Breach::Swapped { pages: 3 }], samples };
        for outcome in outcomes.chain([Outcome::Skipped("r".into()), void]) {
            let mut record = record(".", "a", 1, &[1.5]);
            record.outcome = outcome;
            let json = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
        }
    }

    #[test]
    fn a_subject_from_before_it_told_its_changes_is_read_and_written_as_it_was() {
        let old = r#"{"name":".","commit":"0123456789","dirty":true,"features":[],"binary":"b"}"#;
        let subject: Subject = serde_json::from_str(old).unwrap();
        assert_eq!(serde_json::to_string(&subject).unwrap(), old);
    }

    #[test]
    fn a_subject_shows_its_commit_and_whether_that_is_all() {
        let mut subject = record(".", "a", 1, &[]).subject;
        assert_eq!(subject.to_string(), ".");
        subject.commit = Some("0123456789abcdef".into());
        subject.dirty = true;
        subject.features = vec!["cuda".into()];
        assert_eq!(subject.to_string(), ". (012345678+) [cuda]");
        assert_eq!(subject.origin(), subject.to_string(), "nothing more is known");
        subject.changed = vec!["a".into()];
        assert_eq!(subject.origin(), ". (012345678+) [cuda], 1 file changed");
        subject.changed_besides = 4;
        subject.upstream = Some(String::from("2bcf0e9e3a0c").try_into().unwrap());
        let origin = ". (012345678+) [cuda], 5 files changed, upstream 2bcf0e9e3";
        assert_eq!(subject.origin(), origin);
        subject.commit = Some("01234567é".into());
        assert_eq!(subject.to_string(), ". (01234567é+) [cuda]", "a record can say anything");
    }
}
