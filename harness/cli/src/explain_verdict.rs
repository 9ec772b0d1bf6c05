//! `windtunnel explain-verdict`: the arithmetic behind verdicts of a gate.

use anyhow::{Context, Result, ensure};
use windtunnel_ledger::case::matches;
use windtunnel_ledger::gate::questions;
use windtunnel_ledger::judge::explain::explain;
use windtunnel_ledger::store;

use crate::args::ExplainVerdictArgs;
use crate::runs::{find_run, newest_runs};
use crate::workspace::Workspace;
use crate::{exit, show};

/// Explains every row that the arguments name.
pub(crate) fn verdict(workspace: &Workspace, args: &ExplainVerdictArgs) -> Result<u8> {
    let path = match &args.run {
        Some(run) => find_run(workspace, run)?,
        None => newest_runs(&workspace.reports())
            .into_iter()
            .find(|path| store::read(path).is_ok_and(|contents| contents.run.gate.is_some()))
            .with_context(|| {
                format!(
                    "there is no gate below `{}`: name its run with `--run`",
                    workspace.reports().display()
                )
            })?,
    };
    let contents = store::read(&path)?;
    let terms = contents.run.gate.clone().with_context(|| {
        format!("`{}` holds a run that only measures: it has no verdicts", show::path(&path))
    })?;
    let all = questions(&contents.run, &terms, &contents.records);
    let (names, questions): (Vec<_>, Vec<_>) =
        all.into_iter().map(|(case, series, question)| ((case, series), question)).unzip();
    let wanted: Vec<usize> = (0..names.len())
        .filter(|place| {
            let (case, series) = &names[*place];
            matches(&format!("{case} {series}"), &args.row)
        })
        .collect();
    let example = names.first().map_or_else(
        || "and this gate judged none".to_owned(),
        |(case, series)| format!("for instance `{case} {series}`"),
    );
    ensure!(
        !wanted.is_empty(),
        "no judged row matches `{}`; rows are written `CASE SERIES`, {example}",
        args.row
    );
    for place in wanted {
        let (case, series) = &names[place];
        if let Some(explanation) = explain(&questions, terms.family(questions.len()), place) {
            let title = format!("{case} {series}");
            show::result(&show::explanation(&title, &questions[place], &explanation))?;
        }
    }
    Ok(exit::PASS)
}
