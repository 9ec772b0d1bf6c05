//! The automatic map: how many layers fit on each device.
//!
//! A pure function of sizes. Devices are filled in order, each with as many layers as fit together
//! with their keys and values and the activations of one layer; the first device that holds a layer
//! also holds everything outside the layers. A device without room for a single layer holds
//! nothing.

use std::fmt;

use super::{DeviceName, Estimate};

/// What a device has to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The device.
    pub device: DeviceName,
    /// Its free bytes; `None` means unlimited, as on a CPU, which can swap.
    pub available: Option<u64>,
}

/// Divisor of an accelerator's free bytes that gives the reserve kept for what is not counted:
/// kernels, fragmentation, other processes.
const RESERVE_DIVISOR: u64 = 50;
/// The smallest reserve, in bytes.
const LEAST_RESERVE: u64 = 512 << 20;

impl Offer {
    /// Bytes that may be used.
    pub fn usable(&self) -> Option<u64> {
        let available = self.available?;
        let reserve = match self.device {
            DeviceName::Cpu(_) => 0,
            DeviceName::Cuda(_) => (available / RESERVE_DIVISOR).max(LEAST_RESERVE).min(available),
        };
        Some(available - reserve)
    }
}

/// Layers that fit on no device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Number of layers left over.
    pub unplaced: usize,
    /// Layers of the model.
    pub layers: usize,
    /// What each device offered and would have needed.
    pub asked: Vec<Asked>,
}

/// A device that was asked to hold the remaining layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// What it offered.
    pub offer: Offer,
    /// Bytes that all remaining layers would have needed.
    pub needed: u128,
    /// Layers placed on it.
    pub taken: usize,
}

/// Assigns a device to each layer.
///
/// # Errors
///
/// When layers are left over.
pub fn place(model: &Estimate, offers: &[Offer]) -> Result<Vec<DeviceName>, Shortage> {
    let Estimate { fixed, layers, activations } = model;
    let mut placed = Vec::with_capacity(layers.len());
    let mut asked = Vec::new();
    for offer in offers {
        let left = &layers[placed.len()..];
        let mut needed = match placed.is_empty() {
            true => u128::from(*fixed) + u128::from(activations.layer.max(activations.fixed)),
            false => u128::from(activations.layer),
        };
        let usable = offer.usable().map(u128::from);
        let mut taken = 0;
        for layer in left {
            needed += u128::from(layer.weights) + u128::from(layer.kv);
            taken += usize::from(usable.is_none_or(|usable| needed <= usable));
        }
        placed.resize(placed.len() + taken, offer.device);
        asked.push(Asked { offer: *offer, needed, taken });
    }
    match layers.len() - placed.len() {
        0 => Ok(placed),
        unplaced => Err(Shortage { unplaced, layers: layers.len(), asked }),
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u128| format!("{:.1}", bytes as f64 / (1 << 20) as f64);
        let Self { unplaced, layers, asked } = self;
        write!(
            f,
            "{unplaced} of {layers} layers fit on no device; name another device, such as `cpu:0`, which has no limit, or make the cache or the weights smaller"
        )?;
        write!(
            f,
            "\n{:<10} {:>12} {:>12} {:>12} {:>8}",
            "device", "free MiB", "usable MiB", "needed MiB", "layers"
        )?;
        for Asked { offer, needed, taken } in asked {
            let known = |bytes: Option<u64>| bytes.map_or("any".into(), |b| mib(b.into()));
            let (free, usable, needed) =
                (known(offer.available), known(offer.usable()), mib(*needed));
            write!(f, "\n{:<10} {free:>12} {usable:>12} {needed:>12} {taken:>8}", offer.device)?;
        }
        Ok(())
    }
}

impl std::error::Error for Shortage {}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::super::estimate::{Activations, LayerBytes};
    use super::*;

    const MIB: u64 = 1 << 20;
    const CPU: Offer = Offer { device: DeviceName::Cpu(0), available: None };

    /// `layers` layers of 10 bytes with 3 bytes of cache each; 100 bytes outside the layers;
    /// activations of 5 bytes inside the layers and 7 outside.
    fn model(layers: usize) -> Estimate {
        Estimate {
            fixed: 100,
            layers: vec![LayerBytes { weights: 10, kv: 3 }; layers],
            activations: Activations { layer: 5, fixed: 7 },
        }
    }

    /// An offer of `bytes` without a reserve.
    fn cpu(ordinal: usize, bytes: u64) -> Offer {
        Offer { device: DeviceName::Cpu(ordinal), available: Some(bytes) }
    }

    /// An offer of `bytes`, of which an accelerator keeps a reserve.
    fn cuda(bytes: u64) -> Offer {
        Offer { device: DeviceName::Cuda(0), available: Some(bytes) }
    }

    /// How many layers each device got: `cpu:0 3, cpu:1 1`.
    fn split(model: &Estimate, offers: &[Offer]) -> Result<String, Shortage> {
        let placed = place(model, offers)?;
        let runs = placed.chunk_by(|a, b| a == b);
        Ok(runs.map(|run| format!("{} {}", run[0], run.len())).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn what_fits_to_the_byte_is_on_one_device_and_one_byte_less_is_not() {
        // 100 + 4 · (10 + 3) + max(5, 7).
        assert_eq!(split(&model(4), &[cpu(0, 159), CPU]).unwrap(), "cpu:0 4");
        assert_eq!(split(&model(4), &[cpu(1, 158), CPU]).unwrap(), "cpu:1 3, cpu:0 1");
        let shortage = split(&model(4), &[cpu(1, 158)]).unwrap_err();
        assert_eq!((shortage.unplaced, shortage.asked[0].taken), (1, 3));
    }

    #[test]
    fn a_later_device_needs_no_room_for_what_belongs_to_no_layer() {
        // 2 · (10 + 3) + 5 on the second.
        let offers = [cpu(0, 107 + 26), cpu(1, 31)];
        assert_eq!(split(&model(4), &offers).unwrap(), "cpu:0 2, cpu:1 2");
        assert_eq!(split(&model(4), &[offers[0], cpu(1, 30)]).unwrap_err().unplaced, 1);
    }

    #[test]
    fn a_device_without_room_for_a_layer_holds_nothing() {
        // Everything outside the layers would fit on the first one, but no layer with it.
        let offers = [cpu(1, 107 + 12), cpu(2, 0), cpu(3, 107 + 13), CPU];
        assert_eq!(split(&model(2), &offers).unwrap(), "cpu:3 1, cpu:0 1");
    }

    #[test]
    fn a_model_far_larger_than_any_memory_is_on_the_cpu() {
        let layer = LayerBytes { weights: u64::MAX, kv: u64::MAX };
        let activations = Activations { layer: u64::MAX, fixed: u64::MAX };
        let huge = Estimate { fixed: u64::MAX, layers: vec![layer; 80], activations };
        assert_eq!(split(&huge, &[CPU]).unwrap(), "cpu:0 80");
        assert_eq!(split(&huge, &[cuda(u64::MAX), CPU]).unwrap(), "cpu:0 80");
    }

    #[test]
    fn layers_that_keep_no_keys_need_none() {
        let mut shared = model(4);
        shared.layers[2..].iter_mut().for_each(|layer| layer.kv = 0);
        assert_eq!(split(&shared, &[cpu(1, 153), CPU]).unwrap(), "cpu:1 4");
        assert_eq!(split(&shared, &[cpu(1, 152), CPU]).unwrap(), "cpu:1 3, cpu:0 1");
    }

    #[test]
    fn an_accelerator_keeps_a_reserve_of_what_is_free() {
        let reserve = |available| available - cuda(available).usable().unwrap();
        assert_eq!(reserve(10 << 30), 512 * MIB);
        assert_eq!(reserve(100 << 30), 2 << 30);
        assert_eq!(reserve(300 * MIB), 300 * MIB);
        assert_eq!(cpu(0, 10).usable(), Some(10));
    }

    #[test]
    fn leftovers_are_told_with_what_each_device_had_and_needed() {
        let layers = vec![LayerBytes { weights: 90 * MIB, kv: 10 * MIB }; 24];
        let activations = Activations { layer: 20 * MIB, fixed: 60 * MIB };
        let model = Estimate { fixed: 500 * MIB, layers, activations };
        let offers = [cuda(2048 * MIB), cpu(1, 300 * MIB)];
        assert_snapshot!(place(&model, &offers).unwrap_err(), @"
        13 of 24 layers fit on no device; name another device, such as `cpu:0`, which has no limit, or make the cache or the weights smaller
        device         free MiB   usable MiB   needed MiB   layers
        cuda:0           2048.0       1536.0       2960.0        9
        cpu:1             300.0        300.0       1520.0        2
        ");
    }

    fn sizes() -> impl Strategy<Value = Estimate> {
        let layer = (0..50u64, 0..20u64).prop_map(|(weights, kv)| LayerBytes { weights, kv });
        let activations = (0..30u64, 0..30u64);
        (0..200u64, prop::collection::vec(layer, 1..40), activations).prop_map(
            |(fixed, layers, (layer, outside))| Estimate {
                fixed,
                layers,
                activations: Activations { layer, fixed: outside },
            },
        )
    }

    proptest! {
        #[test]
        fn every_layer_has_a_place_and_no_device_more_than_it_can_hold(
            model in sizes(),
            available in prop::collection::vec(0..1000u64, 0..5),
        ) {
            let bounded = available.iter().zip(1..).map(|(bytes, at)| cpu(at, *bytes));
            let bounded: Vec<Offer> = bounded.collect();
            let offers: Vec<Offer> = bounded.iter().copied().chain([CPU]).collect();
            let placed = place(&model, &offers).unwrap();
            prop_assert_eq!(placed.len(), model.layers.len());
            // The same devices in the same order, without the CPU as last resort: a shortage of
            // exactly the layers that went there.
            let spilled = placed.iter().filter(|device| **device == CPU.device).count();
            match place(&model, &bounded) {
                Ok(same) => prop_assert_eq!(same, placed.clone()),
                Err(shortage) => {
                    prop_assert_eq!(shortage.unplaced, spilled);
                    let taken: usize = shortage.asked.iter().map(|asked| asked.taken).sum();
                    prop_assert_eq!(taken + spilled, model.layers.len());
                }
            }
            let mut first = 0;
            for run in placed.chunk_by(|a, b| a == b) {
                let layers = &model.layers[first..first + run.len()];
                let held: u64 = layers.iter().map(|layer| layer.weights + layer.kv).sum();
                let activations = model.activations;
                let used = match first {
                    0 => held + model.fixed + activations.layer.max(activations.fixed),
                    _ => held + activations.layer,
                };
                let offer = offers.iter().find(|offer| offer.device == run[0]).unwrap();
                prop_assert!(offer.usable().is_none_or(|usable| used <= usable));
                first += run.len();
            }
        }
    }
}
