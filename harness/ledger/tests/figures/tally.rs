//! The results of many simulated runs.

use std::collections::BTreeMap;
use std::fmt;

use windtunnel_ledger::judge::Judgement;
use windtunnel_ledger::verdict::Verdict;

use crate::noise::Noise;

/// Counts of the verdicts on some series.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) series: u64,
    pub(crate) regressed: u64,
    pub(crate) improved: u64,
    pub(crate) pass: u64,
    pub(crate) inconclusive: u64,
    /// Pairs of rounds up to the decision or the end of the budget.
    rounds: u64,
}

/// The results of many runs.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    /// Runs that called some unchanged series regressed.
    pub(crate) regressed_runs: u64,
    /// Runs that called some unchanged series improved.
    pub(crate) improved_runs: u64,
    pub(crate) unchanged: Counts,
    pub(crate) changed: BTreeMap<Noise, Counts>,
}

impl Counts {
    fn add(&mut self, judgement: &Judgement) {
        self.series += 1;
        match judgement.verdict {
            Verdict::Regressed => self.regressed += 1,
            Verdict::Improved => self.improved += 1,
            Verdict::Pass => self.pass += 1,
            Verdict::Inconclusive => self.inconclusive += 1,
            Verdict::Broken | Verdict::Invalid => panic!("no statistics lead to {judgement:?}"),
        }
        self.rounds += judgement.finding.map_or(0, |finding| finding.rounds as u64);
    }

    pub(crate) fn share(&self, of: u64) -> f64 {
        of as f64 / self.series as f64
    }

    pub(crate) fn rounds(&self) -> f64 {
        self.share(self.rounds)
    }
}

impl Tally {
    /// Adds a run: for each series whether it was changed, its noise and its judgement.
    pub(crate) fn run<'a>(&mut self, series: impl Iterator<Item = (bool, Noise, &'a Judgement)>) {
        let before = self.unchanged;
        for (changed, noise, judgement) in series {
            let counts = match changed {
                true => self.changed.entry(noise).or_default(),
                false => &mut self.unchanged,
            };
            counts.add(judgement);
        }
        self.runs += 1;
        self.regressed_runs += u64::from(self.unchanged.regressed > before.regressed);
        self.improved_runs += u64::from(self.unchanged.improved > before.improved);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares = [self.regressed, self.improved, self.pass, self.inconclusive];
        for (name, count) in ["regressed", "improved", "pass", "inconclusive"].iter().zip(shares) {
            write!(f, "{name} {:6.2} %  ", 100.0 * self.share(count))?;
        }
        write!(f, "{:.1} rounds", self.rounds())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alarms = (self.regressed_runs, self.improved_runs);
        writeln!(
            f,
            "runs {}, with a false regressed {}, a false improved {}",
            self.runs, alarms.0, alarms.1
        )?;
        writeln!(f, "{:12} {}", "unchanged", self.unchanged)?;
        for (noise, counts) in &self.changed {
            writeln!(f, "{:12} {counts}", format!("{noise:?}"))?;
        }
        Ok(())
    }
}
