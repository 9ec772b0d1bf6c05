//! What an iteration does: one file per workload.

pub mod context;
pub mod embed;
pub mod idle;
pub mod parity;
pub mod quality;
pub mod serve;
pub mod soak;
pub mod together;
