//! The diagnosis for programs, as described by `ci/doctor.schema.json`.

use anyhow::{Context, Result};
use serde::Serialize;
use windtunnel_ledger::roof::Roof;

use super::noise::Noise;
use super::{Diagnosis, Group, Patient, Severity};

/// The version of the format.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    at: String,
    machine: String,
    can_measure: bool,
    findings: Vec<Entry<'a>>,
    noise: Option<Noise>,
    roof: Option<Roof>,
}

#[derive(Serialize)]
struct Entry<'a> {
    check: &'static str,
    group: Group,
    severity: Severity,
    found: &'a str,
    reason: Option<&'a str>,
    costs: Option<&'a str>,
    mend: Option<&'a str>,
}

/// The diagnosis as JSON.
pub(super) fn json(patient: &Patient, diagnosis: &Diagnosis) -> Result<String> {
    let findings = diagnosis.0.iter().map(|(check, finding)| Entry {
        check: check.name,
        group: check.group,
        severity: finding.severity,
        found: &finding.found,
        reason: told(&finding.reason),
        costs: told(&finding.costs),
        mend: told(&finding.mend),
    });
    let document = Document {
        schema: SCHEMA,
        at: patient.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        machine: patient.machine.key(),
        can_measure: diagnosis.can_measure(),
        findings: findings.collect(),
        noise: patient.noise,
        roof: patient.roof.ok(),
    };
    let text = serde_json::to_string_pretty(&document).context("cannot write the diagnosis")?;
    Ok(text + "\n")
}

/// None for an empty text.
fn told(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
