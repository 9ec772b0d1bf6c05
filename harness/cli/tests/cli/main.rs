//! The command as a person uses it, with a fake probe instead of a real one.

#![expect(clippy::disallowed_methods, reason = "these tests start the program that they test")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod baselines;
mod benching;
mod comparing;
mod doctoring;
mod explaining;
mod external;
mod forks;
mod gating;
mod hub;
mod interruptions;
mod judging;
mod listing;
mod measuring;
mod mistakes;
mod museum;
mod queueing;
mod reporting;
mod revisions;
mod sandbox;
mod starving;
mod upstream;
mod watching;
mod workflows;
