//! The kinds of workload by name, and how each is made from a point of a matrix.

use std::num::NonZeroU32;

use windtunnel_ledger::case::Workload;
use windtunnel_ledger::unit::{Nanos, Tokens};

use super::axes::Point;
use super::bounds::Bounds;

/// A workload without its parameters.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Its name, one of [`Workload::NAMES`].
    pub(crate) name: &'static str,
    /// The workload at one point of a matrix, within the bounds of its scenario.
    pub(crate) at: fn(&Point, &Bounds) -> Workload,
}

/// Every kind. `most()` is the one length where a workload allows no other: scenarios are checked
/// for that.
static KINDS: [Kind; Workload::NAMES.len()] = [
    Kind { name: "load", at: |_, _| Workload::Load },
    Kind {
        name: "prefill",
        at: |p, _| Workload::Prefill { prompt: p.prompt.0.most(), batch: p.batch.get() },
    },
    Kind {
        name: "decode",
        at: |p, _| Workload::Decode {
            depth: tokens(p.depth),
            output: p.output.0.most(),
            batch: p.batch.get(),
        },
    },
    Kind {
        name: "generate",
        at: |p, _| Workload::Generate {
            prompt: p.prompt.0.most(),
            output: p.output.0.most(),
            batch: p.batch.get(),
        },
    },
    Kind {
        name: "context",
        at: |p, _| Workload::Context {
            shallow: tokens(p.shallow),
            depth: tokens(p.depth),
            output: p.output.0.most(),
        },
    },
    Kind {
        name: "serve",
        at: |p, bounds| Workload::Serve {
            arrival: p.arrival.0,
            batch: p.batch.get(),
            requests: p.requests.get(),
            prompt: p.prompt.0,
            output: p.output.0,
            shared: p.shared.0.0,
            slo: bounds.slo,
        },
    },
    Kind {
        name: "idle",
        at: |p, _| Workload::Idle { duration: seconds(p.duration), requests: p.requests.get() },
    },
    Kind {
        name: "soak",
        at: |p, _| Workload::Soak {
            duration: seconds(p.duration),
            batch: p.batch.get(),
            prompt: p.prompt.0,
            output: p.output.0,
            shared: p.shared.0.0,
        },
    },
    Kind {
        name: "embed",
        at: |p, _| Workload::Embed {
            batch: p.batch.get(),
            requests: p.requests.get(),
            prompt: p.prompt.0,
        },
    },
    Kind {
        name: "parity",
        at: |p, bounds| Workload::Parity { tolerance: bounds.tolerance(p.dtype) },
    },
    Kind {
        name: "quality",
        at: |p, _| Workload::Quality {
            prompt: p.prompt.0.most(),
            requests: p.requests.get(),
            against: p.against.0,
        },
    },
    Kind { name: "criterion", at: |_, _| Workload::Criterion },
];

impl Kind {
    /// The kind of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }
}

fn tokens(count: NonZeroU32) -> Tokens {
    Tokens(count.get().into())
}

fn seconds(count: NonZeroU32) -> Nanos {
    Nanos(u64::from(count.get()) * 1_000_000_000)
}
