//! The parts that models are put together from.
//!
//! A layer holds weights and nothing else; whatever changes from step to step comes through
//! [`Pass`](crate::pass::Pass).

pub mod activation;
pub mod decoder;
pub mod linear;
pub mod mlp;
pub mod moe;
pub mod norm;
pub mod rope;
pub mod self_attention;
pub mod table;
