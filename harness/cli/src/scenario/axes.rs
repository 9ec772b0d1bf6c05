//! The axes of a matrix: their names, their types, and the workloads that use each.
//!
//! One line of the table below defines an axis: it can then be typed, defaulted, crossed and
//! skipped. An axis that no workload reads is a compiler warning, and a test checks every line
//! against the resulting cases.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use windtunnel_ledger::Switch;
use windtunnel_ledger::case::{Against, Arrival, DeviceMap, Dtype, KvLayout, Lengths, Quant};

use super::ScenarioError;
use super::text::SourceText;
use super::values::{PerCent, Typed};

/// The values of an axis, and where in the file they are.
pub(crate) type Axis<T> = Spanned<Vec<T>>;

/// One point of a matrix, with the axes that the scenario names as text.
pub(crate) type Named = (Point, BTreeMap<String, String>);

/// The workloads of an axis that applies wherever there is a model.
const ALL: &[&str] = &[
    "load", "prefill", "decode", "generate", "context", "serve", "idle", "soak", "parity", "embed",
    "quality",
];

/// The workloads of an axis for generating models only: embedding models have no KV cache, and stay
/// dense.
const CACHED: &[&str] = &[
    "load", "prefill", "decode", "generate", "context", "serve", "idle", "soak", "parity",
    "quality",
];

macro_rules! axes {
    ($($name:literal $field:ident: $kind:ty => $workloads:expr;)+) => {
        /// One value for every axis.
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct Point {
            $(#[serde(rename = $name)] pub(crate) $field: $kind,)+
        }

        /// The values of the axes that a scenario names.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct Matrix {
            $(#[serde(rename = $name)] pub(crate) $field: Option<Axis<$kind>>,)+
        }

        /// The axes, and the workloads to which each means something.
        pub(crate) const AXES: &[(&str, &[&str])] = &[$(($name, $workloads)),+];

        impl Matrix {
            /// The axes that are named, in the order of [`AXES`].
            fn written(&self) -> Vec<Option<Written>> {
                vec![$(self.$field.as_ref().map(Written::of)),+]
            }

            /// Where `axis` is in the file, if it is named.
            pub(super) fn span(&self, axis: &str) -> Option<Range<usize>> {
                let mut axes = AXES.iter().zip(self.written());
                axes.find(|((name, _), _)| *name == axis)?.1.map(|written| written.span)
            }

            /// Every point: this matrix's values, and `defaults` for the axes that it does not
            /// name. The last axis varies fastest.
            pub(crate) fn points(&self, defaults: &Point) -> Vec<Named> {
                let mut points = vec![(defaults.clone(), BTreeMap::new())];
                $(cross(&mut points, $name, self.$field.as_ref(), |p, value| p.$field = value);)+
                points
            }
        }
    };
}

axes! {
    "dtype"        dtype: Dtype               => ALL;
    "quant"        quant: Typed<Quant>        => CACHED;
    "kv"           kv: KvLayout               => CACHED;
    "device-map"   device_map: Typed<DeviceMap> => CACHED;
    "topology"     topology: String           => CACHED;
    "attention"    attention: String          => ALL;
    "step-tokens"  step_tokens: NonZeroU32    => ALL;
    "prefix-cache" prefix_cache: Typed<Switch> => &["serve", "soak"];
    "cuda-graphs"  cuda_graphs: Typed<Switch> => CACHED;
    "kv-share"     kv_share: NonZeroU32       => &["serve", "soak"];
    "arrival"      arrival: Typed<Arrival>    => &["serve"];
    "shared"       shared: Typed<PerCent>     => &["serve", "soak"];
    "prompt"       prompt: Typed<Lengths>     => &["prefill", "generate", "serve", "soak", "embed", "quality"];
    "shallow"      shallow: NonZeroU32        => &["context"];
    "depth"        depth: NonZeroU32          => &["decode", "context"];
    "output"       output: Typed<Lengths>     => &["decode", "generate", "context", "serve", "soak"];
    "duration"     duration: NonZeroU32       => &["idle", "soak"];
    "requests"     requests: NonZeroU32       => &["serve", "idle", "embed", "quality"];
    "against"      against: Typed<Against>    => &["quality"];
    "batch"        batch: NonZeroU32          => &["prefill", "decode", "generate", "serve", "soak", "embed"];
}

/// The workloads whose requests may differ in length.
const OF_ANY_LENGTH: [&str; 3] = ["serve", "soak", "embed"];

/// An axis as it is typed: its place in the file, and its values as text.
struct Written {
    span: Range<usize>,
    values: Vec<String>,
}

impl Written {
    fn of<T: ToString>(axis: &Axis<T>) -> Written {
        Written { span: axis.span(), values: axis.get_ref().iter().map(T::to_string).collect() }
    }
}

/// Checks the axes of a matrix, and returns those that it names, with their values as text.
pub(super) fn check(
    workload: &str,
    matrix: &Matrix,
    source: &SourceText<'_>,
) -> Result<BTreeMap<&'static str, Vec<String>>, ScenarioError> {
    let mut all = BTreeMap::new();
    for ((axis, workloads), written) in AXES.iter().zip(matrix.written()) {
        let Some(Written { span, values }) = written else { continue };
        let fault = if taken(workload).is_empty() {
            format!("axis `{axis}` means nothing to workload `{workload}`, which takes none")
        } else if !workloads.contains(&workload) {
            format!(
                "axis `{axis}` means nothing to workload `{workload}`, which takes: {}",
                taken(workload).join(", ")
            )
        } else if values.is_empty() {
            format!(
                "axis `{axis}` is empty, so there would be no case at all: give it a value or remove it"
            )
        } else if let Some(twice) =
            values.iter().enumerate().find(|(i, v)| values[..*i].contains(v))
        {
            format!("axis `{axis}` lists `{}` twice", twice.1)
        } else {
            all.insert(*axis, values);
            continue;
        };
        return Err(source.error(span, fault));
    }
    if !OF_ANY_LENGTH.contains(&workload) {
        for (axis, lengths) in [("prompt", &matrix.prompt), ("output", &matrix.output)] {
            let Some(lengths) = lengths else { continue };
            if let Some(varied) = lengths.get_ref().iter().find(|lengths| varies(lengths)) {
                let fault = one_length(axis, &format!("workload `{workload}`"), varied);
                return Err(source.error(lengths.span(), fault));
            }
        }
    }
    Ok(all)
}

/// Checks the default values of the axes.
pub(super) fn check_defaults(
    defaults: &Spanned<Point>,
    source: &SourceText<'_>,
) -> Result<(), ScenarioError> {
    let Point { prompt, output, .. } = defaults.get_ref();
    match [("prompt", prompt), ("output", output)].into_iter().find(|(_, l)| varies(l)) {
        None => Ok(()),
        Some((axis, varied)) => {
            Err(source.error(defaults.span(), one_length(axis, "the defaults", varied)))
        }
    }
}

fn varies(lengths: &Typed<Lengths>) -> bool {
    !matches!(lengths.0, Lengths::Fixed(_))
}

/// The complaint that requests of `whose` must all have one length.
fn one_length(axis: &str, whose: &str, found: &Typed<Lengths>) -> String {
    let [one, other, last] = OF_ANY_LENGTH;
    format!(
        "axis `{axis}` of {whose} takes a number of tokens, not `{found}`: only scenarios of \
         `{one}`, `{other}` and `{last}` have requests of different lengths"
    )
}

/// The axes that `workload` takes, in alphabetical order.
fn taken(workload: &str) -> Vec<&'static str> {
    let takes = AXES.iter().filter(|(_, workloads)| workloads.contains(&workload));
    let mut takes: Vec<&str> = takes.map(|(axis, _)| *axis).collect();
    takes.sort_unstable();
    takes
}

/// Replaces each point by one point per value of `axis`, if the scenario names it.
fn cross<T: Clone + ToString>(
    points: &mut Vec<Named>,
    name: &str,
    axis: Option<&Axis<T>>,
    set: fn(&mut Point, T),
) {
    let Some(axis) = axis else { return };
    *points = points
        .iter()
        .flat_map(|(point, axes)| {
            axis.get_ref().iter().map(move |value| {
                let (mut point, mut axes) = (point.clone(), axes.clone());
                set(&mut point, value.clone());
                axes.insert(name.to_owned(), value.to_string());
                (point, axes)
            })
        })
        .collect();
}
