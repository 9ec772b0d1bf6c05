//! Upstreams and forks that tests make themselves: what is new is entered, what is missing is planned,
//! picked and measured, and what made it slower is found.

mod bisecting;
mod picking;
mod planning;
pub(crate) mod script;
mod syncing;
