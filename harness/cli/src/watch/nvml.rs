//! [`Nvml`]: GPUs through NVIDIA's management library.
//!
//! The library belongs to the driver and is loaded on demand; a machine without it has no GPU to
//! watch. Nothing is linked.

use std::ffi::OsStr;

use nvml_wrapper::Device;
use nvml_wrapper::Nvml as Library;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::{GpuLockedClocksSetting, UsedGpuMemory};
use nvml_wrapper::error::NvmlError;
use windtunnel_ledger::environment::{ClockLimits, Gpu};
use windtunnel_ledger::trace::{Gauge, Look};
use windtunnel_ledger::{Bytes, Switch};

use super::gpus::{Gpus, User};
use crate::clocks::Clocks;
use crate::machine::Root;

/// The name under which drivers install it; the name without a number comes only with toolkits.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// GPUs through NVIDIA's management library.
pub(crate) struct Nvml {
    library: Library,
    devices: u32,
}

/// The GPUs of this machine: none without a driver, or the reason why they cannot be asked.
pub(crate) fn open(root: &Root) -> Result<Option<Nvml>, String> {
    let library = match Library::builder().lib_path(OsStr::new(LIBRARY)).init() {
        Ok(library) => library,
        // Without a driver, its absence is no error.
        Err(_) if !root.has("proc/driver/nvidia/version") => return Ok(None),
        Err(error) => return Err(format!("there is a driver, but no NVML: {error}")),
    };
    let devices = library.device_count().map_err(|error| format!("NVML counts no GPU: {error}"))?;
    Ok(Some(Nvml { library, devices }))
}

impl Nvml {
    fn device(&self, index: usize) -> Result<Device<'_>, String> {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.library.device_by_index(index).map_err(|error| lost(&error))
    }
}

/// Why a device can no longer be read.
fn lost(error: &NvmlError) -> String {
    format!("NVML lost the GPU: {error}")
}

/// Whether an error means that the device is lost, rather than concerning one question alone.
fn is_lost(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::GpuLost
            | NvmlError::Uninitialized
            | NvmlError::DriverNotLoaded
            | NvmlError::ResetRequired
    )
}

impl Gpus for Nvml {
    fn devices(&self) -> Vec<Gpu> {
        let driver = self.library.sys_driver_version().unwrap_or_default();
        let cuda = self.library.sys_cuda_driver_version().map_or_else(
            |_| String::new(),
            |version| format!("{}.{}", version / 1000, version % 1000 / 10),
        );
        let gpu = |index| {
            let common = Gpu { driver: driver.clone(), cuda: cuda.clone(), ..Gpu::default() };
            match self.library.device_by_index(index) {
                Ok(device) => describe(&device, common),
                Err(_) => common,
            }
        };
        (0..self.devices).map(gpu).collect()
    }

    fn look(&self, index: usize) -> Result<Look, String> {
        let device = self.device(index)?;
        let kib = |bytes: u64| (bytes / 1024) as i64;
        let memory = device.memory_info();
        let used = memory.as_ref().map(|memory| kib(memory.used));
        let reserved = memory.as_ref().map(|memory| kib(memory.reserved));
        let number = |value: Result<u32, NvmlError>| value.map(i64::from);
        let answers = [
            (Gauge::SmClock, number(device.clock_info(Clock::SM))),
            (Gauge::MemoryClock, number(device.clock_info(Clock::Memory))),
            (Gauge::Utilisation, number(device.utilization_rates().map(|rates| rates.gpu))),
            (Gauge::Power, number(device.power_usage())),
            (Gauge::Energy, device.total_energy_consumption().map(|energy| energy as i64)),
            (Gauge::Temperature, number(device.temperature(TemperatureSensor::Gpu))),
            (Gauge::Throttle, device.current_throttle_reasons().map(|r| r.bits() as i64)),
        ];
        let mut look: Look = vec![
            (Gauge::DeviceUsed, used.map_err(ToString::to_string)),
            (Gauge::DeviceReserved, reserved.map_err(ToString::to_string)),
        ];
        for (gauge, answer) in answers {
            match answer {
                Err(error) if is_lost(&error) => return Err(lost(&error)),
                answer => look.push((gauge, answer.map_err(|error| error.to_string()))),
            }
        }
        Ok(look)
    }

    fn users(&self, index: usize) -> Result<Vec<User>, String> {
        let processes = self.device(index)?.running_compute_processes();
        let user = |process: nvml_wrapper::struct_wrappers::device::ProcessInfo| User {
            process: process.pid,
            memory: match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some((bytes / 1024) as i64),
                UsedGpuMemory::Unavailable => None,
            },
        };
        let processes = processes.map_err(|error| error.to_string())?;
        Ok(processes.into_iter().map(user).collect())
    }
}

impl Clocks for Nvml {
    fn count(&self) -> u32 {
        self.devices
    }

    fn lock(&self, device: u32, mhz: u32) -> Result<(), String> {
        let mut device = self.device(device as usize)?;
        let setting = GpuLockedClocksSetting::Numeric { min_clock_mhz: mhz, max_clock_mhz: mhz };
        device.set_gpu_locked_clocks(setting).map_err(|error| match error {
            NvmlError::NoPermission => {
                "only root may change its clocks: run this with sudo".to_owned()
            }
            error => format!("its clocks cannot be held at {mhz} MHz: {error}"),
        })
    }

    fn now(&self, device: u32) -> Result<u32, String> {
        self.device(device as usize)?.clock_info(Clock::SM).map_err(|error| error.to_string())
    }

    fn reset(&self, device: u32) -> Result<(), String> {
        let mut device = self.device(device as usize)?;
        device.reset_gpu_locked_clocks().map_err(|error| error.to_string())
    }
}

/// All properties that do not change while it runs.
fn describe(device: &Device<'_>, common: Gpu) -> Gpu {
    let switch = |on: bool| if on { Switch::On } else { Switch::Off };
    let limits = |clock: Clock| ClockLimits {
        default: device.default_applications_clock(clock).ok(),
        max: device.max_clock_info(clock).ok(),
        application: device.applications_clock(clock).ok(),
        held: None,
    };
    Gpu {
        name: device.name().unwrap_or_default(),
        uuid: device.uuid().unwrap_or_default(),
        vbios: device.vbios_version().unwrap_or_default(),
        memory: Bytes(device.memory_info().map_or(0, |memory| memory.total)),
        sm_clock: limits(Clock::SM),
        memory_clock: limits(Clock::Memory),
        power_limit: device.enforced_power_limit().ok(),
        persistence: device.is_in_persistent_mode().ok().map(switch),
        // A GPU without MIG has no mode to report.
        mig: device.mig_mode().ok().map(|mode| switch(mode.current == MIG_ENABLED)),
        ecc: device.is_ecc_enabled().ok().map(|state| switch(state.currently_enabled)),
        pcie_width: device.max_pcie_link_width().ok(),
        ..common
    }
}

/// NVML's value for a GPU with MIG enabled.
const MIG_ENABLED: u32 = 1;
