//! Faults planted on purpose, to show that a gate finds them on the real engine.
//!
//! Only a probe built with the feature `faults` has this module, and its records say so. The faults
//! are the engine's list, [`Fault`]; those with an amount take effect here, around the engine:
//! `--fault=decode=5` makes every decode step 5 % longer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use windtunnel_engine::StepReport;
use windtunnel_engine::faults::{self, Fault};
use windtunnel_ledger::wire::Plantable;

/// Plants the faults in `words`, and allocates the ballast if that is among them.
///
/// # Errors
///
/// If the words are not understood.
pub fn plant(words: &str) -> Result<()> {
    faults::plant(words).context("`--fault`")?;
    let mebibytes = faults::amount(Fault::Ballast).unwrap_or(0.0);
    // Written to, so that the pages are resident, and never freed.
    std::mem::forget(vec![1u8; (mebibytes * f64::from(1 << 20)) as usize]);
    Ok(())
}

/// The faults that can be planted, as lines of JSON.
#[must_use]
pub fn list() -> String {
    let line = |fault: &Fault| {
        let (fault, about) = (fault.name().to_owned(), fault.about().to_owned());
        Plantable { fault, about }.line()
    };
    Fault::ALL.iter().map(line).collect()
}

/// Keeps the processor busy for the planted share of `took`, the duration of a step.
pub fn prolong(report: &StepReport, took: Duration) {
    let per_cent = faults::amount(slowed(report)).unwrap_or(0.0);
    let end = Instant::now() + took.mul_f64(per_cent / 100.0);
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// The fault that prolongs a step with this report.
fn slowed(report: &StepReport) -> Fault {
    match report.prefilled > report.decoded {
        true => Fault::SlowPrefill,
        false => Fault::SlowDecode,
    }
}

/// The token to report in place of `token`, the one at index `place` of its request's output.
#[must_use]
pub fn token(token: u32, place: usize) -> u32 {
    let is_wrong = faults::amount(Fault::WrongToken).is_some() && place == 0;
    if is_wrong { token ^ 1 } else { token }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_prolonged_by_what_it_computes_most() {
        let step = |prefilled, decoded| StepReport { prefilled, decoded, ..StepReport::default() };
        assert_eq!(slowed(&step(128, 1)), Fault::SlowPrefill);
        assert_eq!(slowed(&step(0, 8)), Fault::SlowDecode);
    }

    #[test]
    fn nothing_happens_where_nothing_is_planted() {
        assert_eq!(token(7, 0), 7);
        prolong(&StepReport::default(), Duration::MAX);
    }
}
