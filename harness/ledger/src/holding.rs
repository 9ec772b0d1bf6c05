//! [`Holding`]: what one device of a device map holds, by the engine's own accounting; and
//! [`Occupied`]: the state of a device's memory when it ran out.

use serde::{Deserialize, Serialize};

use crate::unit::Bytes;

/// What one device holds permanently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Its name in the engine, `cpu:0`.
    pub device: String,
    /// Layers that live on it.
    pub layers: u32,
    /// Weights and KV pool, as the engine estimated them before loading any weights.
    pub estimated: Held,
    /// Weights and KV pool as loaded.
    pub held: Held,
}

/// Bytes held permanently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Weights.
    pub weights: Bytes,
    /// KV pool.
    pub kv: Bytes,
}

/// The memory of an accelerator when an allocation did not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupied {
    /// Its name in the engine, `cuda:0`.
    pub device: String,
    /// Free memory according to its driver; none if not reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<Bytes>,
    /// Total memory, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Bytes>,
    /// Weights and KV pool that the engine held on it.
    pub held: Held,
}
