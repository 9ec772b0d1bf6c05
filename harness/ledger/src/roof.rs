//! How close a case came to the limits of its machine.
//!
//! A token needs bytes to be read and operations to be computed; divided by the machine's rates,
//! the longer of the two times is a lower bound on the time per token. That bound divided by the
//! measured time is the share of the roof (Williams, Waterman and Patterson, "Roofline", 2009). It
//! can be compared across machines, unlike the rates themselves.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::case::{Case, CaseId, Dtype, Placement, Workload};
use crate::metric::{Metric, Unit};
use crate::record::{Record, Subject};
use crate::series::Series;
use crate::summary::Summary;
use crate::unit::Bytes;

/// The peak rates of a machine as measured by a probe: in its own process, with its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roof {
    /// Threads used.
    pub threads: u32,
    /// Bytes per second read from memory.
    pub read: u64,
    /// Bytes per second copied in memory: those read plus those written.
    pub copy: u64,
    /// Floating-point operations per second of a matrix product in f32.
    pub f32: u64,
    /// Likewise in bf16.
    pub bf16: u64,
    /// Multiprocessors of the GPU that this is the roof of; none for the processor.
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

/// What limits the time per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Reading weights and cache.
    Memory,
    /// Computing.
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
    /// Operations per second in `dtype`; for f16, which is widened like bf16, those in bf16.
    const fn rate(&self, dtype: Dtype) -> u64 {
        match dtype {
            Dtype::Bf16 | Dtype::F16 => self.bf16,
            Dtype::F32 | Dtype::Auto => self.f32,
        }
    }

    /// The minimum time in seconds for `bytes` and `flops` in `dtype`, and what limits it.
    #[must_use]
    pub fn least(&self, bytes: f64, flops: f64, dtype: Dtype) -> (f64, Limit) {
        let memory = bytes / (self.read.max(1) as f64);
        let arithmetic = flops / (self.rate(dtype).max(1) as f64);
        match memory >= arithmetic {
            true => (memory, Limit::Memory),
            false => (arithmetic, Limit::Arithmetic),
        }
    }

    /// The operations per byte from which arithmetic is the limit.
    #[must_use]
    pub fn ridge(&self, dtype: Dtype) -> f64 {
        self.rate(dtype) as f64 / self.read.max(1) as f64
    }
}

/// How close one subject came to the roof in one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The case.
    pub case: CaseId,
    /// The subject.
    pub subject: Subject,
    /// The number format of the arithmetic.
    pub dtype: Dtype,
    /// Tokens per second.
    pub rate: f64,
    /// Bytes that must be read per token.
    pub bytes: f64,
    /// Operations per token.
    pub flops: f64,
    /// What limits it.
    pub limit: Limit,
    /// The minimum time divided by the measured time.
    pub share: f64,
    /// The roof: the median one, if rounds measured different ones.
    pub roof: Roof,
}

/// How close each of `summaries` came to the roof; only those whose rate, demand and roof are
/// known.
#[must_use]
pub fn standings(summaries: &[Summary], records: &[Record]) -> Vec<Standing> {
    let mut own: BTreeMap<(&CaseId, &Subject), Vec<&Record>> = BTreeMap::new();
    for record in records {
        own.entry((&record.case.id, &record.subject)).or_default().push(record);
    }
    let of = |summary: &Summary| standing(summary, own.get(&(&summary.case, &summary.subject))?);
    summaries.iter().filter_map(of).collect()
}

/// How close `summary` came to the roof in its `records`.
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

/// The name of the processor among the places of a roof.
pub const PROCESSOR: &str = "cpu";

/// Where to measure the roof for the rate of `case`: on the processor, or on the one GPU that holds
/// the whole model, such as `cuda:0`. None if the case has no such rate, or the model is spread
/// over devices without a common roof.
#[must_use]
pub fn place(case: &Case) -> Option<&str> {
    rated(case)?;
    let Placement { devices, topology } = &case.placement;
    // Only the engine knows which layers a topology moves elsewhere.
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

/// The rate that is compared with the roof: that of the steps whose demand is known.
const fn rated(case: &Case) -> Option<Metric> {
    match case.workload {
        Workload::Prefill { .. } => Some(Metric::PrefillRate),
        Workload::Decode { .. } | Workload::Generate { .. } => Some(Metric::DecodeRate),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
