//! [`Exhausted`]: an accelerator that ran out of memory, and what it held at that moment.

use std::fmt;

use super::DeviceName;
use crate::cuda::DeviceMemory;
use crate::telemetry::Footprint;

/// Memory ran out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// What the memory was for.
    pub wanted: Wanted,
    /// The accelerators in use, as they were then. Which of them ran out is not known.
    pub devices: Vec<Occupied>,
}

/// What memory is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The model's weights.
    Weights,
    /// The KV cache.
    Cache,
    /// The intermediate results of a step.
    Step,
}

/// The memory of an accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupied {
    /// Its logical name.
    pub device: DeviceName,
    /// Memory as reported by its driver; `None` if it did not answer.
    pub memory: Option<DeviceMemory>,
    /// What the engine held on it.
    pub held: Footprint,
}

impl Wanted {
    const fn remedy(self) -> &'static str {
        match self {
            Self::Weights => {
                "choose a smaller dtype or `quant`, or leave layers to another device, as in `cuda:0=20,cpu:0`"
            }
            Self::Cache => {
                "lower `kv_tokens`, or leave layers to another device, as in `cuda:0=20,cpu:0`"
            }
            Self::Step => "lower `max_step_tokens` or `max_sequences`, or make the cache smaller",
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Weights => "the weights",
            Self::Cache => "the cache",
            Self::Step => "a step",
        })
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, devices } = self;
        write!(f, "out of memory for {wanted}; {}", wanted.remedy())?;
        if devices.is_empty() {
            return Ok(());
        }
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / (1 << 20) as f64);
        write!(
            f,
            "\n{:<10} {:>12} {:>12} {:>12} {:>12}",
            "device", "free MiB", "of MiB", "weights MiB", "cache MiB"
        )?;
        for Occupied { device, memory, held } in devices {
            let known = |bytes: Option<u64>| bytes.map_or("unknown".into(), mib);
            let (free, total) = (memory.map(|m| m.free), memory.map(|m| m.total));
            let (free, total) = (known(free), known(total));
            let (weights, kv) = (mib(held.weights), mib(held.kv));
            write!(f, "\n{device:<10} {free:>12} {total:>12} {weights:>12} {kv:>12}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Exhausted {}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_lack_of_memory_is_told_with_what_to_do_and_what_each_device_held() {
        let exhausted = |wanted| {
            let memory = Some(DeviceMemory { free: 300 * MIB, total: 81_559 * MIB });
            let held = Footprint { weights: 60_000 * MIB, kv: 20_480 * MIB };
            let devices = vec![
                Occupied { device: DeviceName::Cuda(0), memory, held },
                Occupied { device: DeviceName::Cuda(1), memory: None, held: Footprint::default() },
            ];
            Exhausted { wanted, devices }.to_string()
        };
        assert_snapshot!(exhausted(Wanted::Cache), @"
        out of memory for the cache; lower `kv_tokens`, or leave layers to another device, as in `cuda:0=20,cpu:0`
        device         free MiB       of MiB  weights MiB    cache MiB
        cuda:0            300.0      81559.0      60000.0      20480.0
        cuda:1          unknown      unknown          0.0          0.0
        ");
        let first = |wanted| exhausted(wanted).lines().next().unwrap_or_default().to_owned();
        assert_snapshot!(first(Wanted::Weights), @"out of memory for the weights; choose a smaller dtype or `quant`, or leave layers to another device, as in `cuda:0=20,cpu:0`");
        assert_snapshot!(first(Wanted::Step), @"out of memory for a step; lower `max_step_tokens` or `max_sequences`, or make the cache smaller");
    }
}
