//! `windtunnel explain`: where the time of a case went, in one subject or in two.

use anyhow::{Context, Result, bail};
use windtunnel_ledger::attribution::Attribution;
use windtunnel_ledger::case::{CaseId, matches};
use windtunnel_ledger::record::{Outcome, Record};
use windtunnel_ledger::store;

use crate::args::ExplainArgs;
use crate::compare::Side;
use crate::runs::newest_runs;
use crate::workspace::Workspace;
use crate::{exit, show};

/// Shows the stages of every case that the arguments name.
pub(crate) fn explain(workspace: &Workspace, args: &ExplainArgs) -> Result<u8> {
    let (base, head) = match (&args.base, &args.head) {
        (None, _) => newest(workspace, &args.case)?,
        (Some(base), None) => (Side::read(workspace, base)?, None),
        (Some(base), Some(head)) => {
            (Side::read(workspace, base)?, Some(Side::read(workspace, head)?))
        }
    };
    let known = attributions(&base.records, &args.case);
    if known.is_empty() {
        bail!(
            "{} has no attribution of a case like `{}`: measure one with `windtunnel run --attribute`",
            base.name,
            args.case
        );
    }
    for (case, attribution) in known {
        let text = match &head {
            None => show::stages(case, &base.name, attribution),
            Some(head) => {
                let others = attributions(&head.records, case.as_str());
                let other = others.into_iter().find(|(other, _)| *other == case);
                let (_, other) = other.with_context(|| {
                    format!(
                        "{} has no attribution of `{case}`: measure it with `windtunnel run --attribute`",
                        head.name
                    )
                })?;
                show::stages_of_two(case, [&base.name, &head.name], [attribution, other])
            }
        };
        show::result(&text)?;
    }
    Ok(exit::PASS)
}

/// The first and the last subject of the newest run that has an attribution of a case like
/// `pattern`.
fn newest(workspace: &Workspace, pattern: &str) -> Result<(Side, Option<Side>)> {
    for path in newest_runs(&workspace.reports()) {
        let Ok(contents) = store::read(&path) else { continue };
        if attributions(&contents.records, pattern).is_empty() {
            continue;
        }
        let side = |name: &str| Side::of(&contents, name);
        match contents.run.subjects.as_slice() {
            [] => (),
            [only] => return Ok((side(&only.name)?, None)),
            [first, .., last] => return Ok((side(&first.name)?, Some(side(&last.name)?))),
        }
    }
    bail!(
        "no run below `{}` has an attribution of a case like `{pattern}`: measure one with `windtunnel run --attribute`",
        workspace.reports().display()
    )
}

/// The attributions of cases like `pattern`: the last one of each case.
fn attributions<'a>(records: &'a [Record], pattern: &str) -> Vec<(&'a CaseId, &'a Attribution)> {
    let mut found: Vec<(&CaseId, &Attribution)> = Vec::new();
    for record in records {
        let Outcome::Attributed(attribution) = &record.outcome else { continue };
        let case = &record.case.id;
        if !matches(case.as_str(), pattern) {
            continue;
        }
        match found.iter_mut().find(|(known, _)| *known == case) {
            Some(entry) => entry.1 = attribution,
            None => found.push((case, attribution)),
        }
    }
    found
}
