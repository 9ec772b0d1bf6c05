//! [`Gpus`]: the interface to the GPUs of a machine.

use windtunnel_ledger::environment::Gpu;
use windtunnel_ledger::trace::{Gauge, Look};

use super::process;
use crate::machine::Root;

/// Answers questions about the GPUs of a machine.
pub(crate) trait Gpus: Send + Sync {
    /// The devices. Other methods refer to them by their index in this list.
    fn devices(&self) -> Vec<Gpu>;

    /// What a device is doing. An unsupported gauge has the reason; an error means that the device
    /// can no longer be read.
    fn look(&self, device: usize) -> Result<Look, String>;

    /// The processes that compute on a device.
    fn users(&self, device: usize) -> Result<Vec<User>, String>;
}

/// A process that computes on a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// Its number, as the driver knows it: in a container, the one on the host.
    pub(crate) process: u32,
    /// The device memory that it uses, in KiB; none if the driver does not say.
    pub(crate) memory: Option<i64>,
}

/// Tells the probe from the other users of a GPU.
///
/// Every process in the probe's process group counts as the probe. If a container hides the numbers
/// of the host and the probe is not seen, so does the first process to appear after watching began
/// whose number no process here has.
pub(crate) struct Users {
    root: Root,
    /// The number of the probe, which leads a process group.
    group: u32,
    /// The number of the process that stands for it.
    probe: u32,
    before: Option<Vec<u32>>,
    /// Who uses the device, each with whether it counts as the probe.
    now: Result<Vec<(User, bool)>, String>,
}

impl Users {
    pub(crate) fn new(root: Root, probe: u32) -> Users {
        let now = Err("the processes were not read".to_owned());
        Users { root, group: probe, probe, before: None, now }
    }

    /// Notes the current users of the device.
    pub(crate) fn are(&mut self, users: Result<Vec<User>, String>) {
        self.now = users.map(|users| {
            let numbers = || users.iter().map(|user| user.process).collect::<Vec<_>>();
            let before = self.before.get_or_insert_with(numbers);
            let group = |number: u32| process::group(&self.root, number);
            let is_own = |number: u32| group(number).is_none_or(|group| group == self.group);
            let mut came = numbers().into_iter().filter(|number| !before.contains(number));
            if !users.iter().any(|user| user.process == self.probe)
                && let Some(first) = came.find(|number| is_own(*number))
            {
                self.probe = first;
            }
            let told = |user: User| {
                let number = user.process;
                let is_probe = number == self.probe || group(number) == Some(self.group);
                (user, is_probe)
            };
            users.into_iter().map(told).collect()
        });
    }

    /// The gauges that follow from them, for the probe and for the other processes.
    pub(crate) fn gauges(&self) -> Look {
        let users = match &self.now {
            Ok(users) => users,
            Err(reason) => {
                return vec![
                    (Gauge::ProcessUsed, Err(reason.clone())),
                    (Gauge::Foreign, Err(reason.clone())),
                ];
            }
        };
        let own = users.iter().filter(|(_, is_probe)| *is_probe);
        let foreign = users.len() - own.clone().count();
        let used: Option<i64> = own.map(|(user, _)| user.memory).sum();
        vec![
            (
                Gauge::ProcessUsed,
                used.ok_or_else(|| "the driver does not report the memory of processes".to_owned()),
            ),
            (Gauge::Foreign, Ok(foreign as i64)),
        ]
    }
}
