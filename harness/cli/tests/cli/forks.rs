//! Upstreams and forks made by the tests: new commits are entered, missing ones planned, picked and
//! measured, and the commit that made something slower is found.

mod bisecting;
mod picking;
mod planning;
pub(crate) mod script;
mod syncing;
