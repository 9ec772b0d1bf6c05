//! A monotonic clock that starts at zero.

use std::time::Instant;

use windtunnel_ledger::Nanos;

/// A monotonic clock that starts at zero.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that shows zero now.
    #[must_use]
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// The time since its start.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.at(Instant::now())
    }

    /// What it showed at `moment`; zero before its start.
    #[must_use]
    pub fn at(&self, moment: Instant) -> Nanos {
        let since = moment.saturating_duration_since(self.0);
        Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}
