//! Runs one case on the engine and reports what it measured.
//!
//! The program around it (`main.rs`) reads an order from stdin and writes messages to stdout. This
//! is a library so that its bench can compare the measuring loop with a bare one.
//!
//! - [`measure`] turns a case into the engine's configuration and runs its iterations, as often as
//!   [`repeat`] says;
//! - [`attribute`] runs a case to learn where the time goes;
//! - [`workload`] has one file per workload;
//! - [`drive`] steps an engine and notes when each token arrived; [`caller`] reads the answers of
//!   an engine that runs on its own thread;
//! - [`traffic`] makes the requests, all drawn from the case's seed;
//! - [`mod@count`] counts instead of timing, including [`allocations`];
//! - [`process`] asks the system about this process, and [`roof`] what the machine can do at best;
//! - `fault`, only with the feature `faults`, plants the faults that a gate must find.

pub mod allocations;
pub mod attribute;
pub mod caller;
pub mod clock;
pub mod count;
pub mod drive;
#[cfg(feature = "faults")]
pub mod fault;
pub mod measure;
pub mod process;
pub mod repeat;
pub mod roof;
pub mod traffic;
pub mod workload;
