//! [`Patient`]: everything the checks need, read before any of them runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use windtunnel_ledger::Bytes;
use windtunnel_ledger::calibration::Calibration;
use windtunnel_ledger::environment::Machine;
use windtunnel_ledger::roof::Roof;

use super::activity::{Activity, Glance};
use super::noise::{Noise, QUICK};
use super::tools::Tools;
use crate::machine::{self, Root};
use crate::watch::{self, Gpus};
use crate::workspace::Workspace;
use crate::{calibrate, hub, lock};

/// How long the other processes are watched.
const GLANCE: Duration = Duration::from_millis(500);

/// What was read from a machine.
pub(crate) struct Patient {
    /// The root of the kernel's files.
    pub(crate) root: Root,
    /// Its description.
    pub(crate) machine: Machine,
    /// Access to its GPUs, if there are any.
    pub(crate) gpus: Option<Arc<dyn Gpus>>,
    /// What else ran on it a moment ago.
    pub(crate) activity: Activity,
    /// The run that is being measured on it now, if there is one, or why this is unknown.
    pub(crate) other_run: Result<Option<String>, String>,
    /// Where runs are kept.
    pub(crate) reports: Storage,
    /// Where probes are built.
    pub(crate) builds: Storage,
    /// Where checkpoints from the Hugging Face hub are cached.
    pub(crate) hub: Storage,
    /// What subjects are built with.
    pub(crate) tools: Tools,
    /// The folders in the user's library path.
    pub(crate) library_path: Vec<PathBuf>,
    /// What `windtunnel calibrate` found on such a machine, or why it cannot be read.
    pub(crate) calibration: Result<Option<Calibration>, String>,
    /// How unsteady a fixed workload was; none if it was not measured.
    pub(crate) noise: Option<Noise>,
    /// What a probe can do at best on it, or why this is unknown.
    pub(crate) roof: Result<Roof, &'static str>,
    /// When it was read.
    pub(crate) now: Timestamp,
}

/// A folder in which something is or will be kept.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    /// Its path.
    pub(crate) path: PathBuf,
    /// Whether it exists.
    pub(crate) exists: bool,
    /// Whether files can be created in it, or why not.
    pub(crate) writable: Result<(), String>,
    /// Its free space, or why this is unknown.
    pub(crate) free: Result<Bytes, String>,
}

impl Patient {
    /// Reads this machine.
    pub(crate) fn here(workspace: &Workspace) -> Patient {
        let root = Root::here();
        let (machine, gpus) = watch::machine(machine::read());
        let before = Glance::at(&root);
        std::thread::sleep(GLANCE);
        let activity = Activity::between(before, Glance::at(&root));
        let library_path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let other_run = lock::holder(&machine.gpus).map(|busy| busy.map(|busy| busy.run()));
        Patient {
            machine,
            other_run,
            gpus,
            activity,
            reports: Storage::at(&workspace.reports()),
            builds: Storage::at(&workspace.scratch()),
            hub: Storage::at(&hub::cache_folder().unwrap_or_default()),
            tools: Tools::of(workspace),
            library_path: std::env::split_paths(&library_path).collect(),
            calibration: calibrate::known(workspace).map_err(|error| format!("{error:#}")),
            noise: None,
            roof: Err(QUICK),
            now: Timestamp::now(),
            root,
        }
    }

    /// A command that changes kernel settings; in a container it must run on the host.
    pub(crate) fn on_host(&self, command: &str) -> String {
        match self.machine.container.as_str() {
            "" | "none" => command.to_owned(),
            _ => format!("on the host: {command}"),
        }
    }

    /// Why the kernel does not report clocks and their settings.
    pub(crate) fn why_no_clocks(&self) -> &'static str {
        match self.machine.hypervisor.as_str() {
            "" | "none" => "the kernel does not say",
            _ => "hidden from virtual machines; ask whoever runs the host",
        }
    }
}

impl Storage {
    /// The folder `path`, judged by its nearest existing ancestor if it does not exist yet.
    pub(crate) fn at(path: &Path) -> Storage {
        let nearest = path.ancestors().find(|folder| folder.exists()).unwrap_or(path);
        let writable = match nearest.is_dir() {
            true => rustix::fs::access(nearest, rustix::fs::Access::WRITE_OK)
                .map_err(|error| format!("`{}`: {error}", nearest.display())),
            false => Err(format!("`{}` is not a folder", nearest.display())),
        };
        let free = rustix::fs::statvfs(nearest)
            .map(|fs| Bytes(fs.f_bavail.saturating_mul(fs.f_frsize)))
            .map_err(|error| error.to_string());
        Storage { path: path.to_owned(), exists: path.exists(), writable, free }
    }
}
