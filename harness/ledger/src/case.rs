//! A case: one fully resolved point of a scenario's matrix. Nothing in it is optional.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::precision::Enough;
use crate::switch::Switch;
use crate::unit::{Nanos, Tokens};

mod against;
mod benchmark;
mod family;
mod placement;
mod quant;
mod snapshot;
mod tolerance;
mod traffic;
mod workload;

pub use against::Against;
pub use benchmark::Benchmark;
pub use placement::{DeviceMap, NoDeviceMap, Placement, Topology};
pub use quant::Quant;
pub use snapshot::{Files, Snapshot};
pub use tolerance::Tolerance;
pub use traffic::{Arrival, Lengths, RequestRate, Slo};
pub use workload::{Shape, Workload};

/// What one child process runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name everywhere: filter target, key of records, anchor in the report.
    pub id: CaseId,
    /// What is done, and with how many tokens.
    pub workload: Workload,
    /// The model it is done with.
    pub model: Model,
    /// The number format of activations, KV cache and weights that are not quantised.
    pub dtype: Dtype,
    /// How the model's matrices are quantised while they are loaded.
    #[serde(default, skip_serializing_if = "Quant::is_none")]
    pub quant: Quant,
    /// How the KV cache is laid out in memory.
    pub kv: KvLayout,
    /// Which layer runs on which device.
    #[serde(default, skip_serializing_if = "Placement::is_default")]
    pub placement: Placement,
    /// The attention backend, by its name in the engine; `auto` lets the engine choose.
    pub attention: String,
    /// The most tokens the engine computes in one step: longer prompts are split into chunks.
    pub step_tokens: Tokens,
    /// Whether requests with a common prompt prefix share its blocks.
    #[serde(default = "off", skip_serializing_if = "is_off")]
    pub prefix_cache: Switch,
    /// Whether kernel launches of decode steps are captured on a GPU and replayed (CUDA graphs).
    #[serde(default = "on", skip_serializing_if = "is_on")]
    pub cuda_graphs: Switch,
    /// Size of the KV pool, in per cent of what all concurrent sequences need; never less than one
    /// of them needs.
    #[serde(default = "whole", skip_serializing_if = "is_whole")]
    pub kv_share: NonZeroU32,
    /// Warm-up iterations: run first, in the measured shape, and kept apart.
    pub warmup: u32,
    /// Minimum number of measured iterations.
    pub iterations: NonZeroU32,
    /// When the measured iterations are enough.
    #[serde(default, skip_serializing_if = "Enough::is_counted")]
    pub enough: Enough,
    /// Seed for random weights and for the prompts.
    pub seed: u64,
    /// A child process that takes longer than this is killed.
    pub deadline: Nanos,
}

/// A model by its name in `models.toml`, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name in scenarios and tables.
    pub name: String,
    /// Where its shapes and weights come from.
    pub source: Source,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The shapes of a public model, with random weights drawn from the case's seed.
    Preset(String),
    /// A folder with `config.json` and safetensors.
    Folder(String),
    /// A GGUF file, or any one of the files a model is split over.
    Gguf(String),
    /// Files of a hub repository. A probe never sees this: it is given the folder or file where
    /// they are on its machine.
    Hub(Snapshot),
    /// No model: a benchmark of a part of the engine. It is run by a stand-in for a probe.
    Bench(Benchmark),
}

/// For serde: the value for records from before this field existed.
const fn off() -> Switch {
    Switch::Off
}

const fn is_off(switch: &Switch) -> bool {
    matches!(switch, Switch::Off)
}

/// For serde, likewise.
const fn on() -> Switch {
    Switch::On
}

const fn is_on(switch: &Switch) -> bool {
    matches!(switch, Switch::On)
}

/// The share of a KV pool that holds all sequences, in per cent.
const WHOLE: NonZeroU32 = NonZeroU32::new(100).expect("100 is not 0");

/// For serde: the value for records from before this field existed.
const fn whole() -> NonZeroU32 {
    WHOLE
}

const fn is_whole(share: &NonZeroU32) -> bool {
    share.get() == WHOLE.get()
}

/// A number format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Whichever format the devices run well; the record says which.
    Auto,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl Dtype {
    /// Bytes per number, as far as they are known before measuring.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Dtype::F32 => 4,
            Dtype::Auto | Dtype::F16 | Dtype::Bf16 => 2,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Dtype::Auto => "auto",
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
        })
    }
}

impl FromStr for Dtype {
    type Err = NotOneOf;

    fn from_str(text: &str) -> Result<Self, NotOneOf> {
        match text {
            "auto" => Ok(Dtype::Auto),
            "f32" => Ok(Dtype::F32),
            "f16" => Ok(Dtype::F16),
            "bf16" => Ok(Dtype::Bf16),
            _ => Err(NotOneOf { found: text.to_owned(), expected: "auto, f32, f16, bf16" }),
        }
    }
}

/// How the KV cache is laid out in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KvLayout {
    /// Each sequence has one contiguous region, long enough for all its tokens.
    Contiguous,
    /// Each sequence has a block table; a block holds this many tokens.
    Paged(NonZeroU32),
}

impl fmt::Display for KvLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KvLayout::Contiguous => f.pad("contiguous"),
            KvLayout::Paged(block) => f.pad(&format!("paged-{block}")),
        }
    }
}

impl FromStr for KvLayout {
    type Err = NotOneOf;

    fn from_str(text: &str) -> Result<Self, NotOneOf> {
        let block = text.strip_prefix("paged-").and_then(|block| block.parse().ok());
        match (text, block) {
            ("contiguous", _) => Ok(KvLayout::Contiguous),
            (_, Some(block)) => Ok(KvLayout::Paged(block)),
            _ => Err(NotOneOf {
                found: text.to_owned(),
                expected: "contiguous, paged-16, paged-32, or paged-N with N of at least 1",
            }),
        }
    }
}

impl TryFrom<String> for KvLayout {
    type Error = NotOneOf;

    fn try_from(text: String) -> Result<Self, NotOneOf> {
        text.parse()
    }
}

impl From<KvLayout> for String {
    fn from(layout: KvLayout) -> String {
        layout.to_string()
    }
}

/// A value that an axis does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is none of: {expected}")]
pub struct NotOneOf {
    /// The value found.
    pub found: String,
    /// The values accepted.
    pub expected: &'static str,
}

/// The stable text of a case: scenario, model and the matrix axes in alphabetical order,
/// `gate/decode/qwen3-0.6b/batch=8,dtype=f32`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaseId(String);

impl CaseId {
    /// The id of the point `axes` in the matrix of `scenario`, for `model`.
    #[must_use]
    pub fn new(scenario: &str, model: &str, axes: &BTreeMap<String, String>) -> CaseId {
        let axes: Vec<String> =
            axes.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
        match axes.is_empty() {
            true => CaseId(format!("{scenario}/{model}")),
            false => CaseId(format!("{scenario}/{model}/{}", axes.join(","))),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `pattern` occurs in a case id; `*` matches anything. A number at the end of the pattern
/// must match a whole number: `batch=6` does not match `batch=64`, but `batch=6*` does. The empty
/// pattern matches everything.
#[must_use]
pub fn matches(id: &str, pattern: &str) -> bool {
    let (before, last) = pattern.rsplit_once('*').map_or((None, pattern), |(a, b)| (Some(a), b));
    let mut rest = id;
    let begins = before.into_iter().flat_map(|before| before.split('*')).all(|piece| {
        let found = rest.find(piece);
        rest = found.map_or(rest, |at| &rest[at + piece.len()..]);
        found.is_some()
    });
    let is_digit = |c: char| c.is_ascii_digit();
    let is_whole = |end: usize| !last.ends_with(is_digit) || !rest[end..].starts_with(is_digit);
    begins && rest.match_indices(last).any(|(at, _)| is_whole(at + last.len()))
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A hash of what a case means: cases with different hashes measured different things, even under
/// the same id (a default may have changed between two runs).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaseHash(String);

impl Case {
    /// The hash of everything that can change what is measured: all but the id and the deadline.
    #[must_use]
    pub fn hash(&self) -> CaseHash {
        let Case {
            id: _,
            deadline: _,
            workload,
            model,
            dtype,
            quant,
            kv,
            placement,
            attention,
            step_tokens,
            prefix_cache,
            cuda_graphs,
            kv_share,
            warmup,
            iterations,
            enough,
            seed,
        } = self;
        let engine = (model, dtype, kv, attention, step_tokens, prefix_cache, kv_share);
        let meaning = (workload, engine, warmup, iterations, seed);
        let mut json = serde_json::to_vec(&meaning).expect("a case is plain data");
        // Fields added later are hashed only if they differ from the earlier behaviour, so that
        // existing baselines remain valid.
        if !quant.is_none() {
            json.extend_from_slice(quant.name().as_bytes());
        }
        if !placement.is_default() {
            json.extend(serde_json::to_vec(placement).expect("a placement is plain data"));
        }
        if !is_on(cuda_graphs) {
            json.extend_from_slice(b"cuda-graphs=off");
        }
        if !enough.is_counted() {
            json.extend(serde_json::to_vec(enough).expect("a precision is plain data"));
        }
        CaseHash(format!("{:032x}", xxh3_128(&json)))
    }

    /// The requests of one iteration.
    ///
    /// A decode at depth `d` is a prompt of `d` tokens whose first output token does not count.
    /// While the prompts of a batch are prefilled step by step, sequences that are done with
    /// prefill already decode. So each request gets as many extra tokens as there may be such
    /// steps, and only the time during which all of them decode counts
    /// ([`timeline::together`](crate::timeline::together)).
    #[must_use]
    pub fn shape(&self) -> Shape {
        let at_once =
            |prompt, output, batch| Shape { prompt, output, batch, requests: u64::from(batch) };
        match self.workload {
            Workload::Load => at_once(Tokens(8), Tokens(1), 1),
            Workload::Idle { requests, .. } => {
                let requests = u64::from(requests);
                Shape { requests, ..at_once(Tokens(8), Tokens(1), 1) }
            }
            Workload::Prefill { prompt, batch } => at_once(prompt, Tokens(1), batch),
            Workload::Decode { depth, output, batch } => {
                let budget = self.step_tokens.0.saturating_sub(u64::from(batch)).max(1);
                let steps = depth.0.saturating_mul(u64::from(batch)).div_ceil(budget);
                let lead = if batch == 1 { 0 } else { steps };
                at_once(depth, Tokens(output.0.saturating_add(lead).saturating_add(1)), batch)
            }
            Workload::Generate { prompt, output, batch } => at_once(prompt, output, batch),
            Workload::Context { shallow, depth, output } => {
                let output = Tokens(output.0.saturating_add(1));
                Shape { requests: 2, ..at_once(shallow.max(depth), output, 1) }
            }
            Workload::Serve { batch, requests, prompt, output, .. } => {
                let requests = u64::from(requests);
                Shape { requests, ..at_once(prompt.most(), output.most(), batch) }
            }
            Workload::Embed { batch, requests, prompt } => {
                let requests = u64::from(requests);
                Shape { requests, ..at_once(prompt.most(), Tokens(1), batch) }
            }
            // Typical of a reference; the probe reads the real numbers from it.
            Workload::Parity { .. } => at_once(Tokens(64), Tokens(16), 1),
            Workload::Quality { prompt, requests, .. } => {
                let requests = u64::from(requests);
                Shape { requests, ..at_once(prompt, Tokens(1), 1) }
            }
            Workload::Soak { batch, prompt, output, .. } => {
                at_once(prompt.most(), output.most(), batch)
            }
            // It submits no requests.
            Workload::Criterion => at_once(Tokens(0), Tokens(1), 1),
        }
    }

    /// The scenario that it belongs to: `gate/decode`.
    #[must_use]
    pub fn scenario(&self) -> &str {
        self.split_id().0
    }

    /// The axes that its scenario names, with their values: `batch=8,dtype=f32`. Empty if there are
    /// none.
    #[must_use]
    pub fn axes(&self) -> &str {
        self.split_id().1
    }

    fn split_id(&self) -> (&str, &str) {
        let id = self.id.as_str();
        let model = &self.model.name;
        if let Some(scenario) = id.strip_suffix(model).and_then(|rest| rest.strip_suffix('/')) {
            return (scenario, "");
        }
        // A folder of scenarios may have the model's name: the model is its last occurrence before
        // the axis values, which may contain anything.
        let border = format!("/{model}/");
        let before = id.find('=').and_then(|equals| id[..equals].rfind(&border));
        match before.or_else(|| id.rfind(&border)) {
            Some(at) => (&id[..at], &id[at + border.len()..]),
            None => (id, ""),
        }
    }
}

impl fmt::Display for CaseHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn case(id: &str) -> Case {
        Case {
            id: CaseId(id.to_owned()),
            workload: Workload::Decode { depth: Tokens(128), output: Tokens(32), batch: 1 },
            model: Model { name: "tiny".into(), source: Source::Preset("tiny-qwen3".into()) },
            dtype: Dtype::F32,
            quant: Quant::None,
            kv: KvLayout::Paged(NonZeroU32::new(16).unwrap()),
            placement: Placement::default(),
            attention: "auto".into(),
            step_tokens: Tokens(512),
            prefix_cache: Switch::Off,
            cuda_graphs: Switch::On,
            kv_share: WHOLE,
            warmup: 1,
            iterations: NonZeroU32::new(3).unwrap(),
            enough: Enough::Counted,
            seed: 1,
            deadline: Nanos::from_seconds(60.0),
        }
    }

    #[test]
    fn the_id_sorts_its_axes() {
        let axes = [("kv", "paged-16"), ("batch", "8")];
        let axes = axes.into_iter().map(|(axis, value)| (axis.into(), value.into())).collect();
        assert_eq!(
            CaseId::new("gate/decode", "m", &axes).as_str(),
            "gate/decode/m/batch=8,kv=paged-16"
        );
        assert_eq!(CaseId::new("smoke/load", "m", &BTreeMap::new()).as_str(), "smoke/load/m");
    }

    #[test]
    fn the_hash_sees_every_field_that_can_change_a_result() {
        let original = case("a");
        let mut other = original.clone();
        other.id = CaseId("b".into());
        other.deadline = Nanos(1);
        assert_eq!(original.hash(), other.hash(), "name and deadline change no result");

        let changes: [fn(&mut Case); 15] = [
            |case| case.workload = Workload::Load,
            |case| case.model.name = "other".into(),
            |case| case.dtype = Dtype::Bf16,
            |case| case.quant = Quant::Q8_0,
            |case| case.kv = KvLayout::Contiguous,
            |case| case.placement.devices = "cpu:0=1,cpu:1".parse().unwrap(),
            |case| case.placement.topology.text = "0: { device: cpu }".into(),
            |case| case.attention = "naive".into(),
            |case| case.step_tokens = Tokens(64),
            |case| case.prefix_cache = Switch::On,
            |case| case.cuda_graphs = Switch::Off,
            |case| case.kv_share = NonZeroU32::MIN,
            |case| case.warmup = 0,
            |case| case.iterations = NonZeroU32::MIN,
            |case| case.seed = 2,
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut other = original.clone();
            change(&mut other);
            assert_ne!(original.hash(), other.hash(), "change {i} went unseen");
        }
    }

    #[test]
    fn an_id_is_taken_apart_as_it_was_put_together() {
        let mut split = case("gate/decode/tiny/batch=8,kv=paged-16");
        assert_eq!((split.scenario(), split.axes()), ("gate/decode", "batch=8,kv=paged-16"));
        split.id = CaseId("smoke/load/tiny".into());
        assert_eq!((split.scenario(), split.axes()), ("smoke/load", ""));
        split.model.name = "parity".into();
        split.id = CaseId("guards/parity/parity/kv=contiguous".into());
        assert_eq!((split.scenario(), split.axes()), ("guards/parity", "kv=contiguous"));
        split.model.name = "owner/tiny".into();
        split.id = CaseId("a/owner/tiny/batch=8".into());
        assert_eq!((split.scenario(), split.axes()), ("a", "batch=8"));
    }

    #[test]
    fn a_pattern_may_occur_anywhere_and_a_star_stands_for_anything() {
        let id = "gate/x/tiny/batch=1,kv=paged-16";
        for pattern in ["", "*", "gate", "paged-16", "tiny*kv=paged", "gate*", "*16"] {
            assert!(matches(id, pattern), "{pattern}");
        }
        for pattern in ["smoke", "kv=paged*tiny", "batch=1*batch=1"] {
            assert!(!matches(id, pattern), "{pattern}");
        }
    }

    #[test]
    fn a_number_at_the_end_of_a_pattern_is_a_whole_one() {
        let id = "gate/x/qwen2.5-0.5b/batch=64,depth=16,kv=paged-16";
        for pattern in
            ["batch=64", "batch=6*", "batch=6*,depth", "batch=6*depth=16", "qwen2", "kv=paged"]
        {
            assert!(matches(id, pattern), "{pattern}");
        }
        for pattern in ["batch=6", "depth=1", "paged-1", "batch=64*depth=1", "*=1"] {
            assert!(!matches(id, pattern), "{pattern}");
        }
        assert!(matches("a/x/tiny/batch=16,depth=1", "*=1"), "a later place may fit");
    }

    #[test]
    fn sequences_of_a_batch_get_tokens_for_the_steps_until_all_decode() {
        let mut case = case("a");
        case.step_tokens = Tokens(512);
        let output = |case: &Case| case.shape().output.0;
        assert_eq!(output(&case), 33, "one sequence waits for nobody");
        case.workload = Workload::Decode { depth: Tokens(128), output: Tokens(32), batch: 8 };
        assert_eq!(output(&case), 33 + 3, "1024 prompt tokens, 504 a step beside eight decodes");
        case.step_tokens = Tokens(1);
        assert_eq!(output(&case), 33 + 1024);
    }

    #[test]
    fn a_case_survives_the_wire() {
        let json = serde_json::to_string(&case("a")).unwrap();
        assert_eq!(serde_json::from_str::<Case>(&json).unwrap(), case("a"));
    }

    #[test]
    fn what_a_benchmark_is_called_is_no_border_of_an_id() {
        let id = "nightly/sampler/sampler/benchmark=a/sampler/b";
        let model = Model { name: "sampler".into(), source: Source::Preset("x".into()) };
        let case = Case { model, ..case(id) };
        assert_eq!(case.scenario(), "nightly/sampler");
        assert_eq!(case.axes(), "benchmark=a/sampler/b");
    }

    #[test]
    fn layouts_are_read_as_they_are_written() {
        for text in ["contiguous", "paged-1", "paged-16", "paged-32"] {
            assert_eq!(text.parse::<KvLayout>().unwrap().to_string(), text);
        }
        for text in ["paged-0", "paged-", "paged", "16", ""] {
            let complaint = text.parse::<KvLayout>().unwrap_err().to_string();
            assert!(complaint.contains("paged-16"), "{complaint}");
        }
    }
}
