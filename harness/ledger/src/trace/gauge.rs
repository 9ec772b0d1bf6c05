//! What a watcher reads.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::unit::Bytes;

/// One thing that a watcher reads. Values are whole numbers in the gauge's own unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gauge {
    /// Resident set of the process, in KiB.
    Rss,
    /// Time that all its threads have spent on processors, in milliseconds.
    CpuTime,
    /// Its threads.
    Threads,
    /// How often its threads have left a processor.
    Switches,
    /// Page faults that needed no disk.
    MinorFaults,
    /// Page faults that did.
    MajorFaults,
    /// Load average of the machine over one minute, in hundredths.
    Load,
    /// Mean clock of the machine's processors, in MHz.
    CpuClock,
    /// Device memory in use by everybody, without what the driver keeps for itself, in KiB.
    DeviceUsed,
    /// Device memory that the driver keeps for itself, in KiB.
    DeviceReserved,
    /// Device memory of the process, in KiB.
    ProcessUsed,
    /// Clock of the multiprocessors, in MHz.
    SmClock,
    /// Clock of the device memory, in MHz.
    MemoryClock,
    /// Share of time in which a kernel ran, in per cent.
    Utilisation,
    /// Power that is drawn, in milliwatts.
    Power,
    /// Energy that was drawn since the driver was loaded, in millijoules.
    Energy,
    /// In degrees Celsius.
    Temperature,
    /// Why clocks are lower than they could be: a bit for each [`Throttle`].
    Throttle,
    /// Other processes that compute on the device.
    Foreign,
}

/// What the values of two neighbouring looks become when they are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The larger: what matters is the peak.
    Peak,
    /// The smaller: what matters is the dip.
    Dip,
    /// The later: a count that only grows.
    Last,
    /// All that is in either: a set of bits.
    Union,
}

impl Gauge {
    /// Whether it is of the machine or of a device, whichever process is watched.
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

    /// How it is written beside a plot.
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

    /// What two neighbouring looks become.
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

    /// A value as a person reads it, with its unit.
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
    /// What two neighbouring looks become.
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

/// Why the clocks of a GPU are lower than they could be, in NVML's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Throttle {
    /// Nothing runs on it.
    Idle,
    /// They were set so for applications.
    ApplicationClocks,
    /// It would draw more power than it may.
    PowerCap,
    /// Hardware protects itself from heat, too much power, or a fault of its supply.
    HardwareSlowdown,
    /// It follows others of its group.
    SyncBoost,
    /// The driver protects it from heat.
    Thermal,
    /// Hardware protects itself from heat.
    HardwareThermal,
    /// The power supply asks for it.
    PowerBrake,
    /// A display asks for it.
    Display,
}

impl Throttle {
    /// Every reason, with NVML's bit for it.
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
