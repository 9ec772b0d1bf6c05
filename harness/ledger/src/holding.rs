//! [`Holding`]: what one device of a map holds, by the engine's own accounting; and [`Occupied`]: how
//! its memory stood when there was no room left.

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

/// The memory of an accelerator when something had no room on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupied {
    /// Its name in the engine, `cuda:0`.
    pub device: String,
    /// What its driver called free; none if it did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<Bytes>,
    /// What there is in all; likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Bytes>,
    /// Weights and KV pool that the engine held on it.
    pub held: Held,
}
