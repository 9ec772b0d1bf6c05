//! The report of a gate for programs, as described by `ci/gate.schema.json`.

use anyhow::{Context, Result};
use serde::Serialize;
use windtunnel_ledger::gate::{Arm, Report};
use windtunnel_ledger::record::{RunId, Subject};
use windtunnel_ledger::store::Contents;

use super::code_of;

/// The version of the format.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    run: &'a RunId,
    at: &'a str,
    command: &'a str,
    /// The kind of machine; none if nothing was measured.
    machine: Option<String>,
    base: Option<&'a Subject>,
    head: Option<&'a Subject>,
    exit: u8,
    #[serde(flatten)]
    report: &'a Report,
}

/// The report as JSON.
pub(super) fn json(contents: &Contents, report: &Report) -> Result<String> {
    let run = &contents.run;
    let own = contents.records.iter().find(|record| record.run == run.id);
    let document = Document {
        schema: SCHEMA,
        run: &run.id,
        at: &run.at,
        command: &run.command,
        machine: own.map(|record| record.environment.machine.key()),
        base: run.subjects.get(Arm::Base as usize),
        head: run.subjects.get(Arm::Head as usize),
        exit: code_of(report),
        report,
    };
    let text = serde_json::to_string_pretty(&document).context("cannot write the report")?;
    Ok(text + "\n")
}
