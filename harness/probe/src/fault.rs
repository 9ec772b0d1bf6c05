//! Faults, planted on purpose: so that a gate can be shown to find them on the real engine.
//!
//! Only a probe that was built with the feature `faults` has any of this, and its records say so.
//! What there is to plant is the engine's list, [`Fault`]; those with a measure do their work here,
//! around the engine: `--fault=decode=5` makes every decoding step 5 % longer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use windtunnel_engine::StepReport;
use windtunnel_engine::faults::{self, Fault};
use windtunnel_ledger::wire::Plantable;

/// Plants what `words` say, and holds the memory that is held for nothing.
///
/// # Errors
///
/// If the words are not understood.
pub fn plant(words: &str) -> Result<()> {
    faults::plant(words).context("`--fault`")?;
    let mebibytes = faults::amount(Fault::Ballast).unwrap_or(0.0);
    // Written to, so that the pages are there, and never given back.
    std::mem::forget(vec![1u8; (mebibytes * f64::from(1 << 20)) as usize]);
    Ok(())
}

/// What can be planted, as lines of JSON.
#[must_use]
pub fn list() -> String {
    let line = |fault: &Fault| {
        let (fault, about) = (fault.name().to_owned(), fault.about().to_owned());
        Plantable { fault, about }.line()
    };
    Fault::ALL.iter().map(line).collect()
}

/// Keeps the processor busy for the planted share of a step that `took` so long.
pub fn prolong(report: &StepReport, took: Duration) {
    let per_cent = faults::amount(slowed(report)).unwrap_or(0.0);
    let end = Instant::now() + took.mul_f64(per_cent / 100.0);
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// The fault that makes a step longer which did this.
fn slowed(report: &StepReport) -> Fault {
    match report.prefilled > report.decoded {
        true => Fault::SlowPrefill,
        false => Fault::SlowDecode,
    }
}

/// The token that is reported for `token`, the one at this place of its request.
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
