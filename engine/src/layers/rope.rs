//! Rotary position embeddings: angles once per step, then the rotation of queries and keys.
//!
//! Their configuration is read in `rope/scaling.rs`.

use candle_core::{D, DType, Device, Result as TensorResult, Tensor};

use crate::cuda::driver;
use crate::pass::{Pass, Position};
use crate::placement::Spot;
use crate::telemetry::Stage;

mod scaling;

pub use scaling::RopeKeys;

/// A rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Angle per position, `[rotated / 2]`; the first `rotated` dims of a head are rotated, the
    /// others unchanged.
    frequencies: Vec<f32>,
    /// Used instead of them in long sequences.
    long: Option<Long>,
    /// Factor on cosines and sines.
    magnitude: f32,
    pairing: Pairing,
}

/// Frequencies for sequences of more than `border` tokens.
///
/// What matters is the length of a sequence, not how much of it a step computes, so that no key
/// depends on how the prompt was chunked. A sequence that crosses the border is recomputed.
#[derive(Debug, Clone, PartialEq)]
struct Long {
    border: u32,
    frequencies: Vec<f32>,
}

/// Which dims of a head rotate together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Dim `i` with dim `i + rotated / 2`.
    Halves,
    /// Dim `2i` with dim `2i + 1`.
    Neighbours,
}

/// Cosines and sines of a step's positions.
#[derive(Debug, Clone)]
pub struct Angles {
    /// `[tokens, rotated / 2]`.
    pub cos: Tensor,
    /// `[tokens, rotated / 2]`.
    pub sin: Tensor,
    pairing: Pairing,
}

impl Rope {
    /// The same with `pairing`.
    pub fn with_pairing(self, pairing: Pairing) -> Self {
        Self { pairing, ..self }
    }

    /// Angle per position in a sequence of `length` tokens.
    fn frequencies(&self, length: u32) -> &[f32] {
        match &self.long {
            Some(long) if length > long.border => &long.frequencies,
            _ => &self.frequencies,
        }
    }

    /// Cosines and sines at `positions`.
    ///
    /// # Errors
    ///
    /// When they cannot be copied to `device`.
    pub fn angles(
        &self,
        positions: &[Position],
        dtype: DType,
        device: &Device,
    ) -> TensorResult<Angles> {
        // In f64: at position 100,000 an f32 angle is off by a hundredth.
        let angles = positions.iter().flat_map(|position| {
            let frequencies = self.frequencies(position.length).iter();
            frequencies.map(|&f| f64::from(position.at) * f64::from(f))
        });
        let magnitude = f64::from(self.magnitude);
        let (sin, cos): (Vec<f32>, Vec<f32>) = angles
            .map(|angle| ((angle.sin() * magnitude) as f32, (angle.cos() * magnitude) as f32))
            .unzip();
        let shape = (positions.len(), self.frequencies.len());
        let tensor = |numbers| Tensor::from_vec(numbers, shape, device)?.to_dtype(dtype);
        Ok(Angles { cos: tensor(cos)?, sin: tensor(sin)?, pairing: self.pairing })
    }

    /// The same at `positions` on a GPU, as returned by [`positions_there`](Pass::positions_there).
    fn angles_there(&self, positions: &Tensor, dtype: DType) -> TensorResult<Angles> {
        let (beyond, border) = match &self.long {
            Some(long) => (&long.frequencies, long.border),
            None => (&self.frequencies, u32::MAX),
        };
        let frequencies = [&self.frequencies[..], beyond];
        let both =
            driver::angles(positions, frequencies, border, self.magnitude)?.to_dtype(dtype)?;
        Ok(Angles { cos: both.get(0)?, sin: both.get(1)?, pairing: self.pairing })
    }
}

impl Angles {
    /// Rotates the heads of `x`, `[tokens, heads, dim]`; same shape out.
    ///
    /// Neighbouring pairs come out reordered into halves. Since this happens to queries and keys
    /// alike, scores do not change.
    ///
    /// # Errors
    ///
    /// When `x` has a different dtype or number of tokens, or its heads are too short.
    pub fn rotate(&self, x: &Tensor) -> TensorResult<Tensor> {
        Stage::Rope.of(|| self.rotated(x))
    }

    fn rotated(&self, x: &Tensor) -> TensorResult<Tensor> {
        let (tokens, heads, dim) = x.dims3()?;
        let half = self.cos.dim(1)?;
        let turning = x.narrow(2, 0, 2 * half)?;
        let turning = match self.pairing {
            Pairing::Halves => turning.contiguous()?,
            Pairing::Neighbours => turning
                .reshape((tokens, heads, half, 2))?
                .transpose(2, 3)?
                .contiguous()?
                .reshape((tokens, heads, 2 * half))?,
        };
        let turned = candle_nn::rotary_emb::rope_thd(&turning.unsqueeze(0)?, &self.cos, &self.sin)?;
        let turned = turned.squeeze(0)?;
        if 2 * half == dim {
            return Ok(turned);
        }
        Tensor::cat(&[turned, x.narrow(2, 2 * half, dim - 2 * half)?], D::Minus1)
    }
}

/// The rotary embeddings of a stack, and which layer uses which.
#[derive(Debug, Clone, PartialEq)]
pub struct Ropes {
    kinds: Vec<Rope>,
    /// Index into `kinds` by layer; `None` for layers without position embeddings.
    layers: Vec<Option<usize>>,
}

impl Ropes {
    /// `kinds`, and for each layer the index of its kind, if it has one.
    pub const fn new(kinds: Vec<Rope>, layers: Vec<Option<usize>>) -> Self {
        Self { kinds, layers }
    }

    /// The same in all `layers`.
    pub fn everywhere(rope: Rope, layers: usize) -> Self {
        Self::new(vec![rope], vec![Some(0); layers])
    }

    /// Length beyond which the whole sequence rotates differently. A configuration has at most one.
    pub fn border(&self) -> Option<usize> {
        self.kinds.iter().find_map(|rope| Some(rope.long.as_ref()?.border as usize))
    }

    /// The angles of this step, computed once per kind, on the first device.
    ///
    /// # Errors
    ///
    /// When they cannot be copied to the device.
    pub fn angles(&self, pass: &Pass<'_>, dtype: DType) -> TensorResult<StepAngles<'_>> {
        let angles = |rope: &Rope| match pass.positions_there() {
            Some(positions) => rope.angles_there(positions, dtype),
            None => rope.angles(pass.positions(), dtype, pass.tokens().device()),
        };
        let kinds =
            Stage::Rope.of(|| self.kinds.iter().map(angles).collect::<TensorResult<_>>())?;
        Ok(StepAngles { kinds, copies: Vec::new(), layers: &self.layers })
    }
}

/// The angles of one step.
#[derive(Debug)]
pub struct StepAngles<'a> {
    kinds: Vec<Angles>,
    /// Copies on other devices than the first, by kind and device.
    copies: Vec<((usize, usize), Angles)>,
    layers: &'a [Option<usize>],
}

impl StepAngles<'_> {
    /// The angles for `layer`, on its device.
    ///
    /// # Errors
    ///
    /// When the transfer fails.
    pub fn at(&mut self, layer: usize, pass: &Pass<'_>) -> TensorResult<Option<&Angles>> {
        let Some(kind) = self.layers[layer] else { return Ok(None) };
        let device = pass.placement.index(Spot::Layer(layer));
        if device == pass.placement.index(Spot::Fixed) {
            return Ok(Some(&self.kinds[kind]));
        }
        let known = self.copies.iter().position(|(place, _)| *place == (kind, device));
        let copy = match known {
            Some(copy) => copy,
            None => {
                let Angles { cos, sin, pairing } = &self.kinds[kind];
                let (cos, sin) = (pass.lent(layer, cos)?, pass.lent(layer, sin)?);
                self.copies.push(((kind, device), Angles { cos, sin, pairing: *pairing }));
                self.copies.len() - 1
            }
        };
        Ok(Some(&self.copies[copy].1))
    }
}

#[cfg(test)]
mod tests;
