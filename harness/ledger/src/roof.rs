//! How near a case came to what its machine can do at best.
//!
//! A token asks for bytes that must be read and for operations that must be done; over the rates of
//! the machine the longer of both times is the least that it can take. That time over the measured one
//! is the share of the roof (Williams, Waterman and Patterson, "Roofline", 2009), which can be compared
//! across machines where the rates themselves cannot.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::case::{Case, CaseId, Dtype, Placement, Workload};
use crate::metric::{Metric, Unit};
use crate::record::{Record, Subject};
use crate::series::Series;
use crate::summary::Summary;
use crate::unit::Bytes;

/// What a machine does at best, as far as a probe found out: in its own process, with its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roof {
    /// Threads that took part.
    pub threads: u32,
    /// Bytes read from memory a second.
    pub read: u64,
    /// Bytes copied in memory a second: read and written ones together.
    pub copy: u64,
    /// Floating-point operations a second of a product in f32.
    pub f32: u64,
    /// Likewise in bf16.
    pub bf16: u64,
    /// Multiprocessors of the GPU that this is the roof of; none for that of the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiprocessors: Option<u32>,
}

/// `18.2 GiB/s read, 21.0 GiB/s copied, 95.0 GFLOP/s in f32 and 60.1 GFLOP/s in bf16 by 2 threads`.
impl fmt::Display for Roof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Roof { threads, read, copy, f32, bf16, multiprocessors } = *self;
        let [f32, bf16] = [f32, bf16].map(|rate| Unit::Operations.show(rate as f64));
        let (read, copy) = (Bytes(read), Bytes(copy));
        write!(f, "{read}/s read, {copy}/s copied, {f32}/s in f32 and {bf16}/s in bf16 by ")?;
        match (multiprocessors, threads) {
            (Some(multiprocessors), _) => write!(f, "a GPU of {multiprocessors} multiprocessors"),
            (None, 1) => f.write_str("1 thread"),
            (None, threads) => write!(f, "{threads} threads"),
        }
    }
}

/// What a token waits for at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Weights and cache to be read.
    Memory,
    /// Operations to be done.
    Arithmetic,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Limit::Memory => "memory",
            Limit::Arithmetic => "arithmetic",
        })
    }
}

impl Roof {
    /// Operations a second in `dtype`; for f16, which is widened as bf16 is, those in bf16.
    const fn rate(&self, dtype: Dtype) -> u64 {
        match dtype {
            Dtype::Bf16 | Dtype::F16 => self.bf16,
            Dtype::F32 | Dtype::Auto => self.f32,
        }
    }

    /// The least seconds that `bytes` and `flops` take in `dtype`, and what they wait for.
    #[must_use]
    pub fn least(&self, bytes: f64, flops: f64, dtype: Dtype) -> (f64, Limit) {
        let memory = bytes / (self.read.max(1) as f64);
        let arithmetic = flops / (self.rate(dtype).max(1) as f64);
        match memory >= arithmetic {
            true => (memory, Limit::Memory),
            false => (arithmetic, Limit::Arithmetic),
        }
    }

    /// Operations a byte from which on arithmetic is what limits.
    #[must_use]
    pub fn ridge(&self, dtype: Dtype) -> f64 {
        self.rate(dtype) as f64 / self.read.max(1) as f64
    }
}

/// How near one subject came to the roof in one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The case.
    pub case: CaseId,
    /// The subject.
    pub subject: Subject,
    /// What the arithmetic ran in.
    pub dtype: Dtype,
    /// Tokens a second.
    pub rate: f64,
    /// Bytes that a token had to read.
    pub bytes: f64,
    /// Operations that it had to do.
    pub flops: f64,
    /// What it waited for at least.
    pub limit: Limit,
    /// The least time that it could take over the time that it took.
    pub share: f64,
    /// The roof: that of the median round, where rounds found different ones.
    pub roof: Roof,
}

/// How near each of `summaries` came to the roof; only those of which rate, demand and roof are known.
#[must_use]
pub fn standings(summaries: &[Summary], records: &[Record]) -> Vec<Standing> {
    let mut own: BTreeMap<(&CaseId, &Subject), Vec<&Record>> = BTreeMap::new();
    for record in records {
        own.entry((&record.case.id, &record.subject)).or_default().push(record);
    }
    let of = |summary: &Summary| standing(summary, own.get(&(&summary.case, &summary.subject))?);
    summaries.iter().filter_map(of).collect()
}

/// How near `summary` came to the roof in its `records`.
fn standing(summary: &Summary, records: &[&Record]) -> Option<Standing> {
    let case = &records.first()?.case;
    let median = |metric: Metric| {
        let series = Series::median(metric);
        let mut known = summary.series.iter();
        known.find(|(known, _)| *known == series).map(|(_, location)| location.median)
    };
    let rate = median(rated(case)?)?;
    let (bytes, flops) = (median(Metric::TokenBytes)?, median(Metric::TokenFlops)?);
    let mut roofs: Vec<Roof> = records.iter().filter_map(|record| record.conditions.roof).collect();
    roofs.sort_by_key(|roof| roof.read);
    let roof = *roofs.get(roofs.len() / 2)?;
    let dtype = summary.dtype.unwrap_or(case.dtype);
    let (least, limit) = roof.least(bytes, flops, dtype);
    let (case, subject) = (summary.case.clone(), summary.subject.clone());
    Some(Standing { case, subject, dtype, rate, bytes, flops, limit, share: least * rate, roof })
}

/// The word for the processor among the places of a roof.
pub const PROCESSOR: &str = "cpu";

/// Where the roof is to be measured to which the rate of `case` is held: on the processor, or on the
/// one GPU that holds the whole model, `cuda:0`. None where its rate is held to nothing, or the model
/// is spread over what has no common roof.
#[must_use]
pub fn place(case: &Case) -> Option<&str> {
    rated(case)?;
    let Placement { devices, topology } = &case.placement;
    // Which layers a topology takes elsewhere is known to the engine alone.
    if topology.names_gpu() {
        return None;
    }
    let map = devices.as_str();
    let list = match map.strip_prefix("auto:") {
        Some(list) => list,
        None if map == "auto" => return Some(PROCESSOR),
        None => map,
    };
    let mut places = list.split('+').map(|entry| match entry.split_once('=') {
        Some((device, _)) => device,
        None => entry,
    });
    let first = places.next()?;
    let is_processor = |device: &str| device.starts_with(PROCESSOR);
    match is_processor(first) {
        true => places.all(is_processor).then_some(PROCESSOR),
        false => places.next().is_none().then_some(first),
    }
}

/// The rate that is held to the roof: that of the steps whose demand is known.
const fn rated(case: &Case) -> Option<Metric> {
    match case.workload {
        Workload::Prefill { .. } => Some(Metric::PrefillRate),
        Workload::Decode { .. } | Workload::Generate { .. } => Some(Metric::DecodeRate),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
