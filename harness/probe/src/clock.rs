//! A monotonic clock that starts at zero.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use windtunnel_ledger::Nanos;

/// A monotonic clock that starts at zero.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    /// The same moment on the system's clock.
    origin: Nanos,
}

impl Clock {
    /// A clock that shows zero now.
    #[must_use]
    pub fn start() -> Clock {
        Clock { origin: monotonic(), start: Instant::now() }
    }

    /// The time since the clock started.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.at(Instant::now())
    }

    /// The reading at `moment`; zero before the start.
    #[must_use]
    pub fn at(&self, moment: Instant) -> Nanos {
        let since = moment.saturating_duration_since(self.start);
        Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The reading of the system's monotonic clock when this one showed `moment`.
    #[must_use]
    pub fn on_system(&self, moment: Nanos) -> Nanos {
        Nanos(self.origin.0.saturating_add(moment.0))
    }
}

/// The system's monotonic clock, which is the same for every process.
#[must_use]
pub fn monotonic() -> Nanos {
    let time = clock_gettime(ClockId::Monotonic);
    Nanos(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_on_both_clocks() {
        let before = monotonic();
        let clock = Clock::start();
        let moment = clock.on_system(clock.now());
        assert!(before <= moment && moment <= monotonic());
    }
}
