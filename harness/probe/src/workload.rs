//! What is done in an iteration: a file for each kind of work.

pub mod context;
pub mod embed;
pub mod idle;
pub mod parity;
pub mod quality;
pub mod serve;
pub mod soak;
pub mod together;
