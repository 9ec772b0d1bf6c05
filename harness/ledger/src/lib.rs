//! The vocabulary, the records and the statistics of Windtunnel.
//!
//! Everything that is kept or judged is a type of this crate; every decision is a pure function of
//! such types. The crate starts no process, prints nothing, and reads neither clock nor
//! environment: the CLI and the probe do that and pass the facts in.
//!
//! In the order in which a measurement travels:
//!
//! 1. [`case`]: what is to be measured, fully resolved;
//! 2. [`wire`]: how the CLI passes it to a probe, and what the probe answers;
//! 3. [`traffic`]: the requests that a service receives, from a reproducible [`draw`];
//! 4. [`timeline`]: when each token arrived, and the [`metric`]s that follow from it; [`fidelity`]:
//!    how close the logits are to a reference;
//! 5. [`record`]: what one round left, with its [`environment`], its [`conditions`] and the
//!    [`trace`] of its process, and [`attribution`]: where the time of its steps went, if the round
//!    was run for that;
//! 6. [`store`]: the file to which records are appended, one JSON line each;
//! 7. [`summary`]: the rounds of one case and subject, reduced by [`stats`] to one number per round
//!    for each [`series`], or all their samples to the percentiles of a [`tail`];
//! 8. [`compare`]: two subjects, side by side;
//! 9. [`judge`]: whether a series changed by more than its [`margin`], which the [`policy`] sets;
//! 10. [`verdict`]: what follows for a series, a case and a run;
//! 11. [`gate`]: all of that for two subjects of a run, with what is broken or incomparable;
//! 12. [`calibration`]: what unchanged code, measured against itself, shows about a machine;
//! 13. [`baseline`]: sessions kept for comparison with later changes;
//! 14. [`course`]: many sessions of one series, and where it changed.
//!
//! Apart from these: [`upstream`], the state of every commit of the engine that ours follows;
//! [`integration`], the outcome of commits that were picked onto a fork; and [`whole`], which
//! writes files.

pub mod attribution;
pub mod baseline;
pub mod calibration;
pub mod case;
pub mod compare;
pub mod conditions;
pub mod counter;
pub mod course;
pub mod draw;
pub mod energy;
pub mod environment;
pub mod fidelity;
pub mod gate;
pub mod holding;
pub mod integration;
pub mod judge;
pub mod margin;
pub mod memory;
pub mod metric;
pub mod policy;
pub mod precision;
pub mod proportion;
pub mod record;
pub mod roof;
pub mod series;
pub mod stats;
pub mod store;
pub mod summary;
pub mod switch;
pub mod tail;
pub mod timeline;
pub mod trace;
pub mod traffic;
pub mod unit;
pub mod upstream;
pub mod verdict;
pub mod whole;
pub mod wire;

pub use case::{Case, CaseHash, CaseId};
pub use environment::Environment;
pub use metric::Metric;
pub use record::{Digest, Outcome, Record, Samples, Subject};
pub use series::Series;
pub use switch::Switch;
pub use unit::{Bytes, Nanos, Rate, Tokens};
