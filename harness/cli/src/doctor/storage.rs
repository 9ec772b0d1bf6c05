//! Where files are kept: whether they can be written, and how much room there is.

use windtunnel_ledger::Bytes;

use super::patient::Storage;
use super::{Finding, Patient, Severity};

/// What a release build of the probe takes, with some reserve.
const BUILD: Bytes = Bytes(4 << 30);
/// Ample for a gate, which leaves some megabytes.
const RUN: Bytes = Bytes(256 << 20);

pub(super) fn reports(patient: &Patient) -> Vec<Finding> {
    let storage = &patient.reports;
    if let Err(reason) = &storage.writable {
        return vec![Finding::of(
            Severity::Stops,
            format!("no records can be written to `{}` ({reason})", storage.path.display()),
            "a round that cannot be kept is not measured",
            "change to a workspace of yours with `-C DIR`, or name a file with `--out FILE`",
        )];
    }
    room("reports", storage, RUN, "a run ends when there is no room for its records")
}

pub(super) fn builds(patient: &Patient) -> Vec<Finding> {
    let storage = &patient.builds;
    if let Err(reason) = &storage.writable {
        return vec![Finding::of(
            Severity::Bad,
            format!("no probe can be kept in `{}` ({reason})", storage.path.display()),
            "nothing can be built, and no ready probe can be measured",
            "make the folder writable, or change to a workspace of yours with `-C DIR`",
        )];
    }
    room("builds", storage, BUILD, "a build of the probe needs about 3 GiB, and fails without")
}

pub(super) fn hub(patient: &Patient) -> Vec<Finding> {
    let storage = &patient.hub;
    if !storage.exists {
        return vec![Finding::fine("no hub cache (presets need none)")];
    }
    let free = match &storage.free {
        Ok(free) => format!("{free} free"),
        Err(reason) => format!("how much is free is not known: {reason}"),
    };
    vec![Finding::fine(format!("hub cache `{}` ({free})", storage.path.display()))]
}

/// Whether `storage` has room for `needed`.
fn room(what: &str, storage: &Storage, needed: Bytes, costs: &str) -> Vec<Finding> {
    let free = match &storage.free {
        Ok(free) => *free,
        Err(reason) => return vec![Finding::unknown(format!("room for {what}"), reason)],
    };
    if free >= needed {
        return vec![Finding::fine(format!("{free} for {what}"))];
    }
    let mend = match what {
        "builds" => "delete what cargo can build again: rm -r target",
        _ => "delete runs that you do not need: ls -d reports/2*",
    };
    vec![Finding::of(Severity::Bad, format!("only {free} for {what}"), costs, mend)]
}
