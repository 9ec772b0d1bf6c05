//! The cases of a page that have a roof, numbered consecutively: plot and table refer to a case by
//! its number.

use windtunnel_ledger::roof::Standing;

use super::{CaseView, Scenario, View};

/// One case of one subject, and how close it came to the roof.
pub(crate) struct Numbered<'a> {
    /// Its number on the page, from 1.
    pub(crate) number: usize,
    /// The scenario of the case.
    pub(crate) scenario: &'a Scenario<'a>,
    /// The case.
    pub(crate) case: &'a CaseView<'a>,
    /// The index of the subject.
    pub(crate) subject: usize,
    /// How close it came.
    pub(crate) standing: &'a Standing,
}

impl<'a> View<'a> {
    /// Every result that has a roof, in the order of the page.
    pub(crate) fn standings(&'a self) -> Vec<Numbered<'a>> {
        let results = self.scenarios.iter().flat_map(|scenario| {
            let results = |case: &'a CaseView<'a>| case.results.iter().map(move |r| (case, r));
            scenario
                .cases
                .iter()
                .flat_map(results)
                .map(move |(case, result)| (scenario, case, result))
        });
        let known = results.filter_map(|(scenario, case, result)| {
            let standing = result.standing.as_ref()?;
            Some((scenario, case, result.subject, standing))
        });
        (1..)
            .zip(known)
            .map(|(number, (scenario, case, subject, standing))| Numbered {
                number,
                scenario,
                case,
                subject,
                standing,
            })
            .collect()
    }
}
