//! Faults, planted on purpose: so that a gate can be shown to find them on the real engine.
//!
//! Only a probe that was built with the feature `faults` has any of this, and its records say so. It
//! looks for words behind the end of its own executable file: `printf '\n#plant decode=5' >> PROBE`
//! makes every decoding step 5 % longer. `ci/faults.sh` plants all that a gate must find.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use windtunnel_engine::StepReport;

/// Where the words begin.
const MARK: &[u8] = b"\n#plant ";
/// How far from the end of the file they may begin.
const REACH: usize = 512;

/// What is planted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// How much longer a step takes that computes more prompt tokens than others, as a share.
    prefill: f64,
    /// How much longer any other step takes, as a share.
    decode: f64,
    /// How much memory is held for nothing, in MiB.
    mebibytes: usize,
    /// Whether the first output token of every request is another.
    wrong_token: bool,
}

impl Faults {
    /// Reads `decode=5 prefill=5 mebibytes=64 wrong-token`, each of them or none.
    fn parse(words: &str) -> Result<Faults> {
        let mut faults = Faults::default();
        for word in words.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, "1"));
            let number: f64 = value.parse().with_context(|| format!("planted: `{word}`"))?;
            match key {
                "prefill" => faults.prefill = number / 100.0,
                "decode" => faults.decode = number / 100.0,
                "mebibytes" => faults.mebibytes = number as usize,
                "wrong-token" => faults.wrong_token = true,
                _ => bail!(
                    "planted: `{word}` is none of decode=PERCENT, prefill=PERCENT, mebibytes=N, wrong-token"
                ),
            }
        }
        Ok(faults)
    }

    /// What is planted in the executable that runs.
    fn here() -> Result<Faults> {
        let exe = std::env::current_exe().context("cannot find the own executable")?;
        let bytes = std::fs::read(&exe).context("cannot read the own executable")?;
        let end = &bytes[bytes.len().saturating_sub(REACH)..];
        let words = end.windows(MARK.len()).rposition(|window| window == MARK);
        words.map_or(Ok(Faults::default()), |at| {
            Faults::parse(&String::from_utf8_lossy(&end[at + MARK.len()..]))
        })
    }

    /// How much longer a step takes that did this.
    fn share(&self, report: &StepReport) -> f64 {
        if report.prefilled > report.decoded { self.prefill } else { self.decode }
    }
}

static PLANTED: OnceLock<Faults> = OnceLock::new();

fn planted() -> Faults {
    PLANTED.get().copied().unwrap_or_default()
}

/// Reads what is planted, and holds the memory that is held for nothing.
///
/// # Errors
/// If the words are not understood.
pub fn begin() -> Result<()> {
    let faults = Faults::here()?;
    // Written to, so that the pages are there, and never given back.
    std::mem::forget(vec![1u8; faults.mebibytes << 20]);
    PLANTED.get_or_init(|| faults);
    Ok(())
}

/// Keeps the processor busy for the planted share of a step that `took` so long.
pub fn prolong(report: &StepReport, took: Duration) {
    let end = Instant::now() + took.mul_f64(planted().share(report).max(0.0));
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// The token that is reported for `token`, the one at this place of its request.
#[must_use]
pub fn token(token: u32, place: usize) -> u32 {
    if planted().wrong_token && place == 0 { token ^ 1 } else { token }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planted_words_are_read_and_others_refused() {
        let faults = Faults::parse("decode=5 mebibytes=64 wrong-token").unwrap();
        let expected = Faults { prefill: 0.0, decode: 0.05, mebibytes: 64, wrong_token: true };
        assert_eq!(faults, expected);
        assert_eq!(Faults::parse("").unwrap(), Faults::default());
        let complaint = Faults::parse("deocde=5").unwrap_err().to_string();
        assert!(complaint.contains("`deocde=5` is none of decode=PERCENT"), "{complaint}");
        assert!(Faults::parse("decode=much").is_err());
    }

    #[test]
    fn a_step_is_prolonged_by_what_it_computes_most() {
        let faults = Faults::parse("decode=5 prefill=20").unwrap();
        let step = |prefilled, decoded| StepReport { prefilled, decoded, ..StepReport::default() };
        assert_eq!(faults.share(&step(128, 1)), 0.2);
        assert_eq!(faults.share(&step(0, 8)), 0.05);
    }

    #[test]
    fn nothing_is_planted_in_what_nobody_changed() {
        assert_eq!(Faults::here().unwrap(), Faults::default());
    }
}
