//! What a reader must know besides the numbers: caveats, failures, and what was left out.
//!
//! A message that applies to many cases is shown once, with the list of those cases.

use windtunnel_ledger::case::CaseId;
use windtunnel_ledger::summary::{Summary, Unmeasured};

use super::View;

/// Something that went wrong or was left out, with all places where it occurred.
pub(crate) struct Trouble {
    /// The message.
    pub(crate) text: String,
    /// The end of what the process printed.
    pub(crate) tail: Option<String>,
    /// Where it occurred.
    pub(crate) occurrences: Vec<Occurrence>,
}

/// One case, the subject if there is one, and the rounds if it concerns individual ones.
#[derive(PartialEq)]
pub(crate) struct Occurrence {
    /// The case.
    pub(crate) case: CaseId,
    /// Whether the page has a row for it.
    pub(crate) shown: bool,
    /// The index of the subject.
    pub(crate) subject: Option<usize>,
    /// The rounds concerned, in order; empty if it concerns all.
    pub(crate) rounds: Vec<u32>,
}

impl View<'_> {
    /// What to know before believing a number.
    pub(crate) fn caveats(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for (case, subject, summary) in self.summaries() {
            for caveat in &summary.caveats {
                put(&mut troubles, caveat.to_string(), None, occurrence(case, Some(subject)), None);
            }
        }
        troubles
    }

    /// Rounds that do not count.
    pub(crate) fn voids(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for (case, subject, summary) in self.summaries() {
            for unmeasured in &summary.unmeasured {
                if let Unmeasured::Void { round, breaches } = unmeasured {
                    for breach in breaches {
                        let occurrence = occurrence(case, Some(subject));
                        put(&mut troubles, breach.to_string(), None, occurrence, Some(*round));
                    }
                }
            }
        }
        troubles
    }

    /// Rounds that failed.
    pub(crate) fn failures(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for (case, subject, summary) in self.summaries() {
            for unmeasured in &summary.unmeasured {
                if let Unmeasured::Failed { round, failure } = unmeasured {
                    let tail = failure.tail().map(str::to_owned);
                    let occurrence = occurrence(case, Some(subject));
                    put(&mut troubles, failure.to_string(), tail, occurrence, Some(*round));
                }
            }
        }
        troubles
    }

    /// Cases that were left out: by the scenario, by the engine, or because the run ended first.
    pub(crate) fn skips(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for skipped in &self.run.skipped {
            let occurrence = Occurrence { shown: false, ..occurrence(&skipped.id, None) };
            put(&mut troubles, format!("The scenario: {}", skipped.reason), None, occurrence, None);
        }
        for (case, subject, summary) in self.summaries() {
            for unmeasured in &summary.unmeasured {
                if let Unmeasured::Skipped { reason, .. } = unmeasured {
                    let occurrence = occurrence(case, Some(subject));
                    put(&mut troubles, format!("The engine: {reason}"), None, occurrence, None);
                }
            }
        }
        for case in self.cases().filter(|case| case.results.is_empty()) {
            let goes_on = if self.run.gate.is_some() { "gate" } else { "run" };
            let text = format!(
                "The run ended first: continue with windtunnel {goes_on} --resume {}, or with the path of its file instead",
                self.run.id.0
            );
            let occurrence = Occurrence { shown: false, ..occurrence(&case.case.id, None) };
            put(&mut troubles, text, None, occurrence, None);
        }
        troubles
    }

    fn summaries(&self) -> impl Iterator<Item = (&CaseId, usize, &Summary)> {
        self.cases().flat_map(|case| {
            case.results.iter().map(|result| (&case.case.id, result.subject, &result.summary))
        })
    }
}

fn occurrence(case: &CaseId, subject: Option<usize>) -> Occurrence {
    Occurrence { case: case.clone(), shown: true, subject, rounds: Vec::new() }
}

/// Adds an occurrence to the trouble with the same text and tail, which is created if necessary.
fn put(
    troubles: &mut Vec<Trouble>,
    text: String,
    tail: Option<String>,
    occurrence: Occurrence,
    round: Option<u32>,
) {
    let known = troubles.iter().position(|known| known.text == text && known.tail == tail);
    let occurrences = match known {
        Some(i) => &mut troubles[i].occurrences,
        None => {
            troubles.push(Trouble { text, tail, occurrences: Vec::new() });
            let last = troubles.len() - 1;
            &mut troubles[last].occurrences
        }
    };
    let same = |p: &&mut Occurrence| p.case == occurrence.case && p.subject == occurrence.subject;
    match occurrences.iter_mut().find(same) {
        Some(known) => known.rounds.extend(round),
        None => occurrences.push(Occurrence { rounds: round.into_iter().collect(), ..occurrence }),
    }
}
