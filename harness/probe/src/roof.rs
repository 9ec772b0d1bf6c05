//! What the machine can do at best, in the words of the ledger.

use anyhow::{Context, Result};
use windtunnel_engine::Roof;
use windtunnel_ledger::roof;

/// Measures it, in about a second.
///
/// # Errors
///
/// When a kernel fails, which would be a bug of it.
pub fn measure() -> Result<roof::Roof> {
    let Roof { threads, read, copy, f32, bf16 } = Roof::measure()?;
    let threads = u32::try_from(threads).context("this machine has too many threads")?;
    let whole = |rate: f64| rate.round() as u64;
    let (read, copy) = (whole(read), whole(copy));
    Ok(roof::Roof { threads, read, copy, f32: whole(f32), bf16: whole(bf16) })
}
