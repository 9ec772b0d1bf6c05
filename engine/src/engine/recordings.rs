//! [`Recordings`]: the launches of decode steps, recorded and replayed for later steps of the same
//! shape.

use std::collections::HashMap;

use candle_core::{Result, Tensor};

use crate::attention::Heads;
use crate::batch::{Batch, OnDevice, StepShape};
use crate::cuda::driver::Recording;
use crate::telemetry::Demand;

/// How often a shape must have occurred before it is recorded: recording takes as long as a few
/// steps.
const OFTEN: u32 = 2;
/// Most recordings kept; each uses some device memory.
const MOST: usize = 48;
/// Most shapes counted.
const MOST_COUNTED: usize = 1024;

/// Counts and recordings by step shape.
#[derive(Debug, Default)]
pub(super) struct Recordings {
    counts: HashMap<StepShape, u32>,
    recorded: HashMap<StepShape, Recorded>,
    /// Passes so far.
    passes: u64,
    /// Whether a step could not be recorded; none is tried after that.
    refused: bool,
}

/// A step that was recorded.
#[derive(Debug)]
struct Recorded {
    recording: Recording,
    /// Where its kernels read the numbers of a step.
    there: OnDevice,
    /// Where they write logits, `[sequences, vocabulary]`.
    logits: Tensor,
    /// Its demand except for attention, which depends on sequence lengths.
    but_attention: Demand,
    /// The pass in which it was last replayed.
    last: u64,
}

/// The result of a pass.
#[derive(Debug)]
pub(super) struct Passed {
    /// Logits, `[rows, vocabulary]`.
    pub(super) logits: Tensor,
    /// What it demanded of the machine.
    pub(super) demand: Demand,
    /// Whether it replayed recorded launches.
    pub(super) replayed: bool,
}

impl Recordings {
    /// Whether this model could not be recorded.
    pub(super) const fn are_refused(&self) -> bool {
        self.refused
    }

    /// Does `forward` on `batch`, whose device side is `there`: replays it if a step of this shape
    /// was recorded, or records it if the shape has occurred often enough. `attention` is the
    /// attention demand of this step.
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

    /// Counts a shape, and returns whether it has occurred often enough to be recorded.
    fn is_often(&mut self, shape: &StepShape) -> bool {
        if self.counts.len() >= MOST_COUNTED && !self.counts.contains_key(shape) {
            self.counts.clear();
        }
        let count = self.counts.entry(shape.clone()).or_default();
        *count += 1;
        *count > OFTEN
    }

    /// Does and records `forward`. A step that cannot be recorded is done all the same.
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
            // The same demand was already counted in the first run.
            Some((logits, _)) => Demand::during(|| logits.slice_set(&forward(&batch)?, 0, 0)).0,
        });
        let (logits, demand) = match (done, recording) {
            (Some((logits, demand)), Ok(recording)) => {
                self.make_room();
                let but_attention = demand.less(attention);
                // The next replay overwrites the logits, long after the caller has read them.
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
            (None, Ok(_)) => candle_core::bail!("the recorded pass was never run"),
        };
        Ok(Passed { logits, demand, replayed: false })
    }

    /// If there are too many recordings, drops the least recently used one.
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

/// Does `forward` on `batch`, without recording.
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

/// The attention demand of all layers in `batch`, for keys with elements of `width` bytes.
pub(super) fn attention_of(batch: &Batch, heads: &Heads, width: usize) -> Demand {
    // Pools differ in where keys are, not in how many there are.
    let sequences = batch.tables.first().map_or(&[][..], |tables| &tables.sequences);
    let of = |mask: &_| Demand::of_attention(sequences, heads, *mask, width);
    heads.masks.iter().map(of).fold(Demand::default(), |sum, layer| sum + layer)
}

#[cfg(test)]
mod tests;
