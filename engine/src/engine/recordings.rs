//! [`Recordings`]: the launches of steps, replayed on the numbers of later ones of the same shape.

use std::collections::HashMap;

use candle_core::{Result, Tensor};

use crate::attention::Heads;
use crate::batch::{Batch, OnDevice, StepShape};
use crate::cuda::driver::Recording;
use crate::telemetry::Demand;

/// How often a shape must have come before it is recorded: to record takes as long as a few steps.
const OFTEN: u32 = 2;
/// Most recordings, each of which keeps some memory of the device.
const MOST: usize = 48;
/// Most shapes that are counted.
const MOST_COUNTED: usize = 1024;

/// What is known of the shapes of steps.
#[derive(Debug, Default)]
pub(super) struct Recordings {
    counts: HashMap<StepShape, u32>,
    recorded: HashMap<StepShape, Recorded>,
    /// The passes so far.
    passes: u64,
    /// Whether a step could not be recorded: then none is tried any more.
    refused: bool,
}

/// A step that was recorded.
#[derive(Debug)]
struct Recorded {
    recording: Recording,
    /// Where its kernels find the numbers of a step.
    there: OnDevice,
    /// Where they leave logits, `[sequences, vocabulary]`.
    logits: Tensor,
    /// What it asks of a machine but for attention, which depends on how long sequences are.
    but_attention: Demand,
    /// The pass in which it was last replayed.
    last: u64,
}

/// What a pass gave.
#[derive(Debug)]
pub(super) struct Passed {
    /// Logits, `[rows, vocabulary]`.
    pub(super) logits: Tensor,
    /// What it asked of the machine.
    pub(super) demand: Demand,
    /// Whether its launches were recorded before.
    pub(super) replayed: bool,
}

impl Recordings {
    /// Whether a model that has refused to be recorded was seen.
    pub(super) const fn are_refused(&self) -> bool {
        self.refused
    }

    /// Does what `forward` does of `batch`, of which a device has what is `there`: by replaying it if a
    /// step of this shape was recorded, and recording it if such a step has come often. `attention` is
    /// what attention asks of a machine in this step.
    ///
    /// # Errors
    ///
    /// Those of `forward`, and of a replay.
    pub(super) fn forward(
        &mut self,
        batch: &Batch,
        there: &OnDevice,
        attention: Demand,
        mut forward: impl FnMut(&Batch) -> Result<Tensor>,
    ) -> Result<Passed> {
        self.passes += 1;
        if let Some(recorded) = self.recorded.get_mut(there.shape()) {
            recorded.last = self.passes;
            recorded.there.read(there)?;
            recorded.recording.replay()?;
            let demand = recorded.but_attention + attention;
            return Ok(Passed { logits: recorded.logits.clone(), demand, replayed: true });
        }
        match self.is_often(there.shape()) {
            true => self.record(batch, there, attention, &mut forward),
            false => passed(batch, forward),
        }
    }

    /// Counts a shape.
    fn is_often(&mut self, shape: &StepShape) -> bool {
        if self.counts.len() >= MOST_COUNTED && !self.counts.contains_key(shape) {
            self.counts.clear();
        }
        let count = self.counts.entry(shape.clone()).or_default();
        *count += 1;
        *count > OFTEN
    }

    /// Does `forward`, and records it. A step that cannot be recorded is done all the same.
    fn record(
        &mut self,
        batch: &Batch,
        there: &OnDevice,
        attention: Demand,
        forward: &mut impl FnMut(&Batch) -> Result<Tensor>,
    ) -> Result<Passed> {
        let there = there.own()?;
        let batch = batch.reading(there.clone());
        let mut done: Option<(Tensor, Demand)> = None;
        let recording = Recording::of(batch.tokens.device(), || match &done {
            None => {
                let (logits, demand) = Demand::during(|| forward(&batch));
                done = Some((logits?.contiguous()?, demand));
                Ok(())
            }
            // What is asked for here was asked for above.
            Some((logits, _)) => Demand::during(|| logits.slice_set(&forward(&batch)?, 0, 0)).0,
        });
        let (logits, demand) = match (done, recording) {
            (Some((logits, demand)), Ok(recording)) => {
                self.make_room();
                let but_attention = demand.less(attention);
                // The next replay overwrites what it leaves, when the caller has read it long since.
                let kept = logits.clone();
                let recorded =
                    Recorded { recording, there, logits: kept, but_attention, last: self.passes };
                self.recorded.insert(recorded.there.shape().clone(), recorded);
                (logits, demand)
            }
            (Some(done), Err(refusal)) => {
                tracing::debug!(%refusal, "decodes are launched kernel by kernel");
                self.refused = true;
                done
            }
            (None, Err(error)) => return Err(error),
            (None, Ok(_)) => candle_core::bail!("what was recorded was never done"),
        };
        Ok(Passed { logits, demand, replayed: false })
    }

    /// Drops the recording that was not used for longest, if there are too many.
    fn make_room(&mut self) {
        if self.recorded.len() < MOST {
            return;
        }
        let oldest = self.recorded.iter().min_by_key(|(_, recorded)| recorded.last);
        if let Some(shape) = oldest.map(|(shape, _)| shape.clone()) {
            self.recorded.remove(&shape);
        }
    }
}

/// Does what `forward` does of `batch`.
///
/// # Errors
///
/// Those of `forward`.
pub(super) fn passed(
    batch: &Batch,
    mut forward: impl FnMut(&Batch) -> Result<Tensor>,
) -> Result<Passed> {
    let (logits, demand) = Demand::during(|| forward(batch));
    Ok(Passed { logits: logits?, demand, replayed: false })
}

/// What attention of all layers asks of a machine in `batch`, whose keys have numbers of `width` bytes.
pub(super) fn attention_of(batch: &Batch, heads: &Heads, width: usize) -> Demand {
    // Pools differ in where keys lie, not in how many there are.
    let sequences = batch.tables.first().map_or(&[][..], |tables| &tables.sequences);
    let of = |mask: &_| Demand::of_attention(sequences, heads, *mask, width);
    heads.masks.iter().map(of).fold(Demand::default(), |sum, layer| sum + layer)
}

#[cfg(test)]
mod tests;
