//! [`Tally`]: counters that run during an iteration.

use std::io;

use windtunnel_ledger::counter::{Count, Counter, Counts};

use crate::allocations;

/// Counters of this process with all its threads.
#[derive(Debug)]
pub struct Tally {
    kernel: Vec<(Counter, Result<Kernel, String>)>,
}

impl Tally {
    /// Stopped counters. They cover this thread and those started from now on.
    #[must_use]
    pub fn new() -> Tally {
        let kernel = [Counter::Instructions, Counter::PageFaults];
        Tally { kernel: kernel.map(|counter| (counter, Kernel::of(counter))).into() }
    }

    /// Starts counting from zero.
    pub fn begin(&mut self) {
        for (_, kernel) in &mut self.kernel {
            if let Ok(known) = kernel
                && let Err(error) = known.begin()
            {
                *kernel = Err(stopped(&error));
            }
        }
        allocations::begin();
    }

    /// Stops counting and returns the counts.
    pub fn end(&mut self) -> Counts {
        let allocated = allocations::end();
        let told = |of: fn(&allocations::Allocations) -> u64| match &allocated {
            Some(allocated) => Count::Known(of(allocated)),
            None => Count::Absent("this program's allocator does not count".to_owned()),
        };
        let mut counts = Counts::from([
            (Counter::Allocations, told(|allocated| allocated.count)),
            (Counter::Allocated, told(|allocated| allocated.bytes)),
            (Counter::Highest, told(|allocated| allocated.highest)),
        ]);
        for (counter, kernel) in &mut self.kernel {
            let count = match kernel {
                Ok(kernel) => kernel.end().map_err(|error| stopped(&error)),
                Err(reason) => Err(reason.clone()),
            };
            counts.insert(*counter, count.map_or_else(Count::Absent, Count::Known));
        }
        counts
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

fn stopped(error: &io::Error) -> String {
    format!("the kernel stopped counting: {error}")
}

/// One counter of the kernel, which never stops: counts are differences.
#[derive(Debug)]
struct Kernel {
    source: source::Source,
    begun: u64,
}

impl Kernel {
    fn of(counter: Counter) -> Result<Kernel, String> {
        let source = source::of(counter)?;
        Ok(Kernel { source, begun: 0 })
    }

    fn begin(&mut self) -> io::Result<()> {
        self.begun = self.source.read()?;
        Ok(())
    }

    fn end(&mut self) -> io::Result<u64> {
        Ok(self.source.read()?.saturating_sub(self.begun))
    }
}

#[cfg(target_os = "linux")]
mod source {
    use perf_event::Builder;
    use perf_event::events::{Hardware, Software};
    use windtunnel_ledger::counter::Counter;

    pub(super) type Source = perf_event::Counter;

    /// A counter of events outside the kernel, or the reason why there is none.
    pub(super) fn of(counter: Counter) -> Result<Source, String> {
        let mut builder = match counter {
            Counter::PageFaults => Builder::new(Software::PAGE_FAULTS),
            _ => Builder::new(Hardware::INSTRUCTIONS),
        };
        let counter = builder.exclude_kernel(true).exclude_hv(true).inherit(true).build();
        let mut counter = counter.map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "not permitted: `sysctl kernel.perf_event_paranoid=2` permits it".to_owned()
            }
            std::io::ErrorKind::NotFound => {
                "this processor has no such counter, as in most virtual machines".to_owned()
            }
            _ => format!("the kernel does not count them: {error}"),
        })?;
        counter.enable().map_err(|error| super::stopped(&error))?;
        Ok(counter)
    }
}

#[cfg(not(target_os = "linux"))]
mod source {
    use windtunnel_ledger::counter::Counter;

    /// No counter exists here.
    #[derive(Debug)]
    pub(super) enum Source {}

    impl Source {
        pub(super) fn read(&mut self) -> std::io::Result<u64> {
            match *self {}
        }
    }

    pub(super) fn of(_: Counter) -> Result<Source, String> {
        Err("counted on Linux only".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn a_count_is_of_its_time_alone_or_says_why_there_is_none() {
        let mut tally = Tally::new();
        let mut count = |pages: usize| {
            tally.begin();
            black_box(vec![1_u8; pages << 12]);
            tally.end()
        };
        let (many, few) = (count(20_000), count(1));
        assert_eq!(many.len(), 5);
        for (counter, many) in &many {
            match (many, &few[counter]) {
                (Count::Known(many), Count::Known(few)) => {
                    assert!(many > few, "{counter:?}: {many} for much, {few} for little");
                }
                (many, few) => assert_eq!((many, many.known()), (few, None)),
            }
        }
        // The tests run with the system's allocator.
        assert_eq!(many[&Counter::Allocations].known(), None);
    }
}
