//! The best that the machine can do, in the ledger's types.

use anyhow::{Context, Result};
use windtunnel_engine::{DeviceName, Roof};
use windtunnel_ledger::roof;

/// Measures the device `place` (`cpu`, or a GPU such as `cuda:0`) in about a second.
///
/// # Errors
///
/// When there is no such device, or a kernel fails, which would be a bug in the kernel.
pub fn measure(place: &str) -> Result<roof::Roof> {
    let device = place.parse::<DeviceName>()?.open()?;
    let Roof { threads, read, copy, f32, bf16, multiprocessors } = Roof::measure(&device)?;
    let threads = u32::try_from(threads).context("this machine has too many threads")?;
    let whole = |rate: f64| rate.round() as u64;
    let (read, copy) = (whole(read), whole(copy));
    let (f32, bf16) = (whole(f32), whole(bf16));
    Ok(roof::Roof { threads, read, copy, f32, bf16, multiprocessors })
}
