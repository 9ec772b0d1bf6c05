//! What `windtunnel calibrate` found on such a machine: the only measure of its noise that a gate
//! uses.

use jiff::Timestamp;
use windtunnel_ledger::calibration::Calibration;

use super::{Finding, Patient, Severity};

/// After this many days a machine may have changed.
const OLD: i64 = 30;
const AGAIN: &str = "windtunnel calibrate";

pub(super) fn calibration(patient: &Patient) -> Vec<Finding> {
    let known = match &patient.calibration {
        Err(reason) => return vec![Finding::unknown("calibration", reason.as_str())],
        Ok(known) => known.as_ref().filter(|known| !known.sessions.is_empty()),
    };
    let Some(known) = known else {
        return vec![Finding::of(
            Severity::Minor,
            "never calibrated",
            "a gate knows neither the bias nor the false alarms of this machine",
            AGAIN,
        )];
    };
    let told = known.false_alarms();
    let age = age(known, patient.now);
    let found = format!(
        "calibrated {} ({} false alarms in {} series, a rate of at most {:.1} %)",
        age.map_or_else(|| "at an unknown time".to_owned(), in_words),
        told.alarms,
        told.judged,
        told.bound * 100.0
    );
    let is_old = age.is_none_or(|days| days > OLD);
    vec![match (told.alarms, is_old) {
        (0, false) => Finding::fine(found),
        (0, true) => Finding::of(
            Severity::Minor,
            found,
            "kernels, neighbours and fans change: what was true then may not be now",
            AGAIN,
        ),
        (_, _) => Finding::of(
            Severity::Bad,
            found,
            "this is how often a gate calls unchanged code changed",
            format!("fix the rest of this list, then repeat: {AGAIN}"),
        ),
    }]
}

/// Whole days since the newest session.
fn age(known: &Calibration, now: Timestamp) -> Option<i64> {
    let at: Timestamp = known.sessions.last()?.at.parse().ok()?;
    Some((now.as_second() - at.as_second()).div_euclid(24 * 60 * 60))
}

fn in_words(days: i64) -> String {
    match days {
        ..=0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}
