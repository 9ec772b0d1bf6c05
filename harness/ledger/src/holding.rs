//! [`Holding`]: what one device of a map holds, by the engine's own accounting.

use serde::{Deserialize, Serialize};

use crate::unit::Bytes;

/// What one device holds for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Its name in the engine, `cpu:0`.
    pub device: String,
    /// Layers that live on it.
    pub layers: u32,
    /// Weights and KV pool, as the engine expected them before it read a weight.
    pub estimated: Held,
    /// Weights and KV pool.
    pub held: Held,
}

/// Bytes that are held for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Weights.
    pub weights: Bytes,
    /// KV pool.
    pub kv: Bytes,
}
