//! The quantities that a watcher reads.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::unit::Bytes;

/// A quantity that a watcher reads. Values are integers in the gauge's own unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gauge {
    /// Resident set size of the process, in KiB.
    Rss,
    /// CPU time of all its threads, in milliseconds.
    CpuTime,
    /// Its number of threads.
    Threads,
    /// Context switches of its threads.
    Switches,
    /// Page faults that needed no disk access.
    MinorFaults,
    /// Page faults that needed disk access.
    MajorFaults,
    /// Load average of the machine over one minute, in hundredths.
    Load,
    /// Mean clock frequency of the machine's processors, in MHz.
    CpuClock,
    /// Device memory in use by all processes, without the driver's own reserve, in KiB.
    DeviceUsed,
    /// Device memory reserved by the driver, in KiB.
    DeviceReserved,
    /// Device memory used by the process, in KiB.
    ProcessUsed,
    /// Clock frequency of the multiprocessors, in MHz.
    SmClock,
    /// Clock frequency of the device memory, in MHz.
    MemoryClock,
    /// Share of time in which a kernel was running, in per cent.
    Utilisation,
    /// Power draw, in milliwatts.
    Power,
    /// Energy drawn since the driver was loaded, in millijoules.
    Energy,
    /// Temperature, in degrees Celsius.
    Temperature,
    /// Why clocks are reduced: one bit per [`Throttle`].
    Throttle,
    /// The number of other processes that compute on the device.
    Foreign,
}

/// How the values of two neighbouring looks are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The larger: the peak matters.
    Peak,
    /// The smaller: the dip matters.
    Dip,
    /// The later: a count that only grows.
    Last,
    /// The union: a set of bits.
    Union,
}

impl Gauge {
    /// Whether it describes the machine or a device, whichever process is watched.
    #[must_use]
    pub const fn is_of_machine(self) -> bool {
        match self {
            Gauge::Rss
            | Gauge::CpuTime
            | Gauge::Threads
            | Gauge::Switches
            | Gauge::MinorFaults
            | Gauge::MajorFaults
            | Gauge::ProcessUsed
            | Gauge::Foreign => false,
            Gauge::Load
            | Gauge::CpuClock
            | Gauge::DeviceUsed
            | Gauge::DeviceReserved
            | Gauge::SmClock
            | Gauge::MemoryClock
            | Gauge::Utilisation
            | Gauge::Power
            | Gauge::Energy
            | Gauge::Temperature
            | Gauge::Throttle => true,
        }
    }

    /// Its label beside a plot.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Gauge::Rss => "RSS",
            Gauge::CpuTime => "CPU",
            Gauge::Threads => "threads",
            Gauge::Switches => "context switches",
            Gauge::MinorFaults => "minor faults",
            Gauge::MajorFaults => "major faults",
            Gauge::Load => "load",
            Gauge::CpuClock => "CPU clock",
            Gauge::DeviceUsed => "VRAM in use",
            Gauge::DeviceReserved => "VRAM reserved",
            Gauge::ProcessUsed => "VRAM of the process",
            Gauge::SmClock => "SM clock",
            Gauge::MemoryClock => "memory clock",
            Gauge::Utilisation => "utilisation",
            Gauge::Power => "power",
            Gauge::Energy => "energy",
            Gauge::Temperature => "temperature",
            Gauge::Throttle => "throttled by",
            Gauge::Foreign => "other processes",
        }
    }

    /// How the values of two neighbouring looks are merged.
    #[must_use]
    pub const fn merge(self) -> Merge {
        match self {
            Gauge::Rss
            | Gauge::Threads
            | Gauge::Load
            | Gauge::DeviceUsed
            | Gauge::DeviceReserved
            | Gauge::ProcessUsed
            | Gauge::Utilisation
            | Gauge::Power
            | Gauge::Temperature
            | Gauge::Foreign => Merge::Peak,
            Gauge::CpuClock | Gauge::SmClock | Gauge::MemoryClock => Merge::Dip,
            Gauge::CpuTime
            | Gauge::Switches
            | Gauge::MinorFaults
            | Gauge::MajorFaults
            | Gauge::Energy => Merge::Last,
            Gauge::Throttle => Merge::Union,
        }
    }

    /// A value formatted for people, with its unit.
    #[must_use]
    pub fn show(self, value: i64) -> String {
        match self {
            Gauge::Rss | Gauge::DeviceUsed | Gauge::DeviceReserved | Gauge::ProcessUsed => {
                Bytes(value.unsigned_abs() * 1024).to_string()
            }
            Gauge::CpuTime => format!("{value} ms"),
            Gauge::Load => format!("{:.2}", value as f64 / 100.0),
            Gauge::CpuClock | Gauge::SmClock | Gauge::MemoryClock => format!("{value} MHz"),
            Gauge::Utilisation => format!("{value} %"),
            Gauge::Power => format!("{:.0} W", value as f64 / 1000.0),
            Gauge::Energy => format!("{:.0} J", value as f64 / 1000.0),
            Gauge::Temperature => format!("{value} °C"),
            Gauge::Throttle => {
                let names: Vec<&str> = Throttle::of(value).map(Throttle::name).collect();
                if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
            }
            Gauge::Threads
            | Gauge::Switches
            | Gauge::MinorFaults
            | Gauge::MajorFaults
            | Gauge::Foreign => value.to_string(),
        }
    }
}

impl Merge {
    /// The merged value of two neighbouring looks.
    #[must_use]
    pub fn both(self, earlier: i64, later: i64) -> i64 {
        match self {
            Merge::Peak => earlier.max(later),
            Merge::Dip => earlier.min(later),
            Merge::Last => later,
            Merge::Union => earlier | later,
        }
    }
}

/// Why the clocks of a GPU are reduced, in NVML's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Throttle {
    /// Nothing runs on it.
    Idle,
    /// They are limited to the application clocks that were set.
    ApplicationClocks,
    /// It would exceed its power limit.
    PowerCap,
    /// Hardware protection against heat, excessive power or a power supply fault.
    HardwareSlowdown,
    /// It follows the other GPUs of its sync boost group.
    SyncBoost,
    /// Driver protection against heat.
    Thermal,
    /// Hardware protection against heat.
    HardwareThermal,
    /// The power supply requires it.
    PowerBrake,
    /// The display clocks require it.
    Display,
}

impl Throttle {
    /// Every reason, with its NVML bit.
    pub const ALL: [(Throttle, i64); 9] = [
        (Throttle::Idle, 0x1),
        (Throttle::ApplicationClocks, 0x2),
        (Throttle::PowerCap, 0x4),
        (Throttle::HardwareSlowdown, 0x8),
        (Throttle::SyncBoost, 0x10),
        (Throttle::Thermal, 0x20),
        (Throttle::HardwareThermal, 0x40),
        (Throttle::PowerBrake, 0x80),
        (Throttle::Display, 0x100),
    ];

    /// The reasons whose bits are set.
    pub fn of(bits: i64) -> impl Iterator<Item = Throttle> {
        let set = move |(throttle, bit)| (bits & bit != 0).then_some(throttle);
        Throttle::ALL.into_iter().filter_map(set)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Throttle::Idle => "idle",
            Throttle::ApplicationClocks => "application clocks",
            Throttle::PowerCap => "power cap",
            Throttle::HardwareSlowdown => "hardware slowdown",
            Throttle::SyncBoost => "sync boost",
            Throttle::Thermal => "thermal slowdown",
            Throttle::HardwareThermal => "hardware thermal slowdown",
            Throttle::PowerBrake => "power brake",
            Throttle::Display => "display clocks",
        }
    }
}

impl fmt::Display for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_with_their_unit() {
        assert_eq!(Gauge::Rss.show(2048), "2.00 MiB");
        assert_eq!(Gauge::Load.show(152), "1.52");
        assert_eq!(Gauge::Power.show(312_400), "312 W");
        assert_eq!(Gauge::Throttle.show(0x24), "power cap, thermal slowdown");
        assert_eq!(Gauge::Throttle.show(0), "nothing");
    }

    #[test]
    fn what_matters_survives_a_merge() {
        assert_eq!(Gauge::Rss.merge().both(7, 5), 7);
        assert_eq!(Gauge::SmClock.merge().both(1980, 1200), 1200);
        assert_eq!(Gauge::CpuTime.merge().both(10, 30), 30);
        assert_eq!(Gauge::Throttle.merge().both(0x4, 0x20), 0x24);
    }
}
