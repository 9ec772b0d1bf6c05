//! [`LoadWatch`]: where loading spends its time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::telemetry::LoadStages;

/// Adds up the time of a source's work, on any thread.
#[derive(Debug, Default)]
pub(crate) struct LoadWatch {
    read: AtomicU64,
    convert: AtomicU64,
    quantise: AtomicU64,
}

impl LoadWatch {
    /// Runs `work`, which brings bytes into memory.
    pub(crate) fn read<T>(&self, work: impl FnOnce() -> T) -> T {
        timed(&self.read, work)
    }

    /// Runs `work`, which converts bytes to numbers of the requested type.
    pub(crate) fn convert<T>(&self, work: impl FnOnce() -> T) -> T {
        timed(&self.convert, work)
    }

    /// Runs `work`, which turns numbers into blocks.
    pub(crate) fn quantise<T>(&self, work: impl FnOnce() -> T) -> T {
        timed(&self.quantise, work)
    }

    /// The totals.
    pub(crate) fn stages(&self) -> LoadStages {
        let time = |counter: &AtomicU64| Duration::from_nanos(counter.load(Ordering::Relaxed));
        LoadStages {
            open: Duration::ZERO,
            read: time(&self.read),
            convert: time(&self.convert),
            quantise: time(&self.quantise),
        }
    }
}

fn timed<T>(counter: &AtomicU64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    counter.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    done
}
