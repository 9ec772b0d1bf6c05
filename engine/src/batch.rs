//! Turns one [`Schedule`] into tensors and tables: packed tokens, positions, cache slots.
//!
//! Everything that a forward pass needs besides weights and cache is built here, once per step. No
//! policy: [`scheduler`](crate::scheduler) has decided who runs and for how many tokens.

use candle_core::{DType, Device, Result, Tensor};

use crate::blocks::{Held, Pools};
use crate::kv::{DeviceTables, Run, Table, TableShape, Tables};
use crate::placement::{Placement, Spot};
use crate::scheduler::Schedule;
use crate::sequence::Sequence;

/// The tokens of one step, packed: no batch axis, no padding.
#[derive(Debug)]
pub struct Batch {
    /// `[tokens]`, u32, on the first device.
    pub tokens: Tensor,
    /// Position of each token in its sequence.
    pub positions: Vec<Position>,
    /// Where the queries and keys of each sequence are, for each pool of the cache; a pass without
    /// a cache has one entry.
    pub tables: Vec<Tables>,
    /// The same on each accelerator, with its index in the placement.
    pub on_devices: Vec<(usize, OnDevice)>,
    /// The rows from which a token is sampled, ascending.
    pub drawn: Vec<u32>,
}

/// All numbers of a step that accelerator kernels read. They travel in one copy, and the tensors
/// are slices of it.
#[derive(Debug, Clone)]
pub struct OnDevice {
    /// Token ids, `[tokens]`, u32.
    pub tokens: Tensor,
    /// Row 0: the position of each token; row 1: the length of its sequence. `[2, tokens]`, u32.
    pub positions: Tensor,
    /// Where the queries and keys of each sequence are, for each pool of the cache.
    pub tables: Vec<DeviceTables>,
    /// The buffer that the tensors are slices of, `[n]`, u32.
    numbers: Tensor,
    shape: StepShape,
}

/// Everything about a step except the numbers in it: what its launches depend on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct StepShape {
    tokens: usize,
    tables: Vec<TableShape>,
}

/// Position of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Index in its sequence.
    pub at: u32,
    /// Tokens in its sequence, computed or not.
    pub length: u32,
}

impl Batch {
    /// Packs what `schedule` grants to `running`, for each of `pools`.
    ///
    /// # Errors
    ///
    /// When tokens or tables cannot be copied to the devices of `placement`.
    pub fn new(
        schedule: &Schedule,
        running: &[Sequence],
        pools: &Pools,
        placement: &Placement,
    ) -> Result<Self> {
        let mut tokens = Vec::new();
        let mut positions = Vec::new();
        let block = pools.block();
        let mut tables = vec![Tables { block, ..Tables::default() }; pools.iter().len()];
        let mut drawn = Vec::new();
        for grant in &schedule.grants {
            let sequence = &running[grant.sequence];
            let row = tokens.len();
            let range = grant.tokens.clone();
            tokens.extend_from_slice(&sequence.tokens[range.clone()]);
            let length = sequence.tokens.len() as u32;
            positions.extend(range.clone().map(|at| Position { at: at as u32, length }));
            for (tables, Held { gone, blocks }) in tables.iter_mut().zip(&sequence.held) {
                let blocks = &blocks[..range.end.div_ceil(block) - gone];
                let table = Table {
                    row,
                    queries: range.len(),
                    keys: range.end,
                    gone: *gone,
                    blocks: blocks.iter().map(|id| id.0).collect(),
                };
                tables.runs.extend(runs_of(&table, block));
                tables.sequences.push(table);
            }
            if grant.draws {
                drawn.push(tokens.len() as u32 - 1);
            }
        }
        Self::brought(&tokens, positions, tables, drawn, placement)
    }

    /// Packs whole `sequences` for a pass without a cache: token `n` of the pass is block `n`.
    ///
    /// # Errors
    ///
    /// When tokens or tables cannot be copied to the devices of `placement`.
    pub fn whole(sequences: &[&[u32]], placement: &Placement) -> Result<Self> {
        let mut row = 0;
        let table = |sequence: &&[u32]| {
            let (first, tokens) = (row, sequence.len());
            row += tokens;
            let blocks = (first as u32..row as u32).collect();
            Table { row: first, queries: tokens, keys: tokens, gone: 0, blocks }
        };
        let sequences_of_pass = sequences.iter().map(table).collect();
        let tables = vec![Tables { block: 1, sequences: sequences_of_pass, runs: Vec::new() }];
        let positions = |sequence: &&[u32]| {
            let length = sequence.len() as u32;
            (0..length).map(move |at| Position { at, length })
        };
        let positions = sequences.iter().flat_map(positions).collect();
        Self::brought(&sequences.concat(), positions, tables, Vec::new(), placement)
    }

    /// Copies everything to the accelerators of `placement`. The CPU reads it in place.
    fn brought(
        tokens: &[u32],
        positions: Vec<Position>,
        tables: Vec<Tables>,
        drawn: Vec<u32>,
        placement: &Placement,
    ) -> Result<Self> {
        let accelerators = placement.devices().enumerate().filter(|(_, device)| !device.is_cpu());
        let brought =
            |(index, device)| Ok((index, OnDevice::bring(tokens, &positions, &tables, device)?));
        let on_devices = accelerators.map(brought).collect::<Result<Vec<_>>>()?;
        let first = on_devices.iter().find(|(index, _)| *index == placement.index(Spot::Fixed));
        let tokens = match first {
            Some((_, there)) => there.tokens.clone(),
            None => Tensor::new(tokens, placement.first())?,
        };
        Ok(Self { tokens, positions, tables, on_devices, drawn })
    }

    /// The device side of this step, if `placement` has a single device and it is an accelerator.
    pub(crate) fn on_only_device(&self, placement: &Placement) -> Option<&OnDevice> {
        match (&self.on_devices[..], placement.devices().count()) {
            ([(_, there)], 1) => Some(there),
            _ => None,
        }
    }

    /// The same step, with kernels reading its numbers from `there`.
    pub(crate) fn reading(&self, there: OnDevice) -> Self {
        Self {
            tokens: there.tokens.clone(),
            positions: self.positions.clone(),
            tables: self.tables.clone(),
            on_devices: vec![(0, there)],
            drawn: self.drawn.clone(),
        }
    }

    /// Whether every sequence computes exactly one token and a token is sampled from each row.
    pub(crate) fn only_decodes(&self) -> bool {
        let sequences = self.tables.first().map_or(&[][..], |tables| &tables.sequences);
        sequences.iter().all(|table| table.queries == 1) && self.drawn.len() == sequences.len()
    }
}

impl OnDevice {
    fn bring(
        tokens: &[u32],
        positions: &[Position],
        tables: &[Tables],
        device: &Device,
    ) -> Result<Self> {
        let mut numbers = tokens.to_vec();
        numbers.extend(positions.iter().map(|position| position.at));
        numbers.extend(positions.iter().map(|position| position.length));
        let tables = tables.iter().map(|tables| TableShape::of(tables, &mut numbers)).collect();
        let numbers = match numbers.len() {
            // A tensor needs at least one element.
            0 => Tensor::zeros(1, DType::U32, device)?,
            _ => Tensor::new(numbers, device)?,
        };
        Self::cut(StepShape { tokens: tokens.len(), tables }, numbers)
    }

    fn cut(shape: StepShape, numbers: Tensor) -> Result<Self> {
        let StepShape { tokens, tables } = &shape;
        let mut at = 3 * tokens;
        Ok(Self {
            tokens: numbers.narrow(0, 0, *tokens)?,
            positions: numbers.narrow(0, *tokens, 2 * tokens)?.reshape((2, *tokens))?,
            tables: tables
                .iter()
                .map(|shape| shape.cut(&numbers, &mut at))
                .collect::<Result<_>>()?,
            numbers,
            shape,
        })
    }

    /// Everything about the step except its numbers.
    pub(crate) const fn shape(&self) -> &StepShape {
        &self.shape
    }

    /// A copy in its own memory, which [`read`](Self::read) can overwrite.
    pub(crate) fn own(&self) -> Result<Self> {
        Self::cut(self.shape.clone(), self.numbers.copy()?)
    }

    /// Overwrites the numbers with those of `other`, which has the same shape.
    pub(crate) fn read(&self, other: &Self) -> Result<()> {
        debug_assert_eq!(self.shape, other.shape, "the numbers of another shape");
        self.numbers.slice_set(&other.numbers, 0, 0)
    }
}

/// Splits a sequence's new tokens at block boundaries.
fn runs_of(table: &Table, block: usize) -> impl Iterator<Item = Run> {
    let mut position = table.first_position();
    std::iter::from_fn(move || {
        let len = (block - position % block).min(table.keys - position);
        let token = table.row + position - table.first_position();
        let id = table.blocks.get(position / block - table.gone);
        let slot = id.map(|&id| id as usize * block + position % block);
        position += len;
        slot.filter(|_| len > 0).map(|slot| Run { token, slot, len })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_end_where_blocks_end() {
        let table = Table { row: 5, queries: 6, keys: 9, gone: 0, blocks: vec![7, 2, 4] };
        let runs: Vec<_> = runs_of(&table, 4).collect();
        let run = |token, slot, len| Run { token, slot, len };
        assert_eq!(runs, [run(5, 31, 1), run(6, 8, 4), run(10, 16, 1)]);
    }

    #[test]
    fn blocks_that_are_gone_do_not_count() {
        let table = Table { row: 0, queries: 2, keys: 17, gone: 3, blocks: vec![9, 5] };
        let runs: Vec<_> = runs_of(&table, 4).collect();
        assert_eq!(runs, [(0, 39), (1, 20)].map(|(token, slot)| Run { token, slot, len: 1 }));
        let tables = Tables { block: 4, ..Tables::default() };
        assert_eq!([15, 16].map(|at| tables.slot(&table, at)), [39, 20]);
        assert_eq!(tables.present(&table), 12..17);
    }

    #[test]
    fn tokens_of_whole_sequences_are_the_blocks_of_their_pool() {
        let batch = Batch::whole(&[&[7, 8, 9], &[5, 6]], &Placement::cpu()).unwrap();
        assert_eq!(batch.tokens.to_vec1::<u32>().unwrap(), [7, 8, 9, 5, 6]);
        let positions: Vec<_> = batch.positions.iter().map(|p| (p.at, p.length)).collect();
        assert_eq!(positions, [(0, 3), (1, 3), (2, 3), (0, 2), (1, 2)]);
        let table =
            |row, tokens, blocks| Table { row, queries: tokens, keys: tokens, gone: 0, blocks };
        let sequences = vec![table(0, 3, vec![0, 1, 2]), table(3, 2, vec![3, 4])];
        assert_eq!(batch.tables, [Tables { block: 1, sequences, runs: Vec::new() }]);
    }

    #[test]
    fn numbers_of_a_step_travel_together_and_make_room_for_those_of_the_next() {
        let step = |token: u32, keys: usize| {
            let blocks = [3, 1, 2][..keys.div_ceil(4)].to_vec();
            let table = Table { row: 0, queries: 1, keys, gone: 0, blocks };
            let runs = runs_of(&table, 4).collect();
            let tables = [Tables { block: 4, sequences: vec![table], runs }];
            let positions = [Position { at: keys as u32 - 1, length: keys as u32 }];
            OnDevice::bring(&[token], &positions, &tables, &Device::Cpu).unwrap()
        };
        let told = |step: &OnDevice| {
            let OnDevice { tokens, positions, tables, .. } = step;
            let [table] = &tables[..] else { panic!("{tables:?}") };
            let all = [tokens, positions, &table.slots, &table.key_ends, &table.blocks];
            all.map(|numbers| numbers.flatten_all().unwrap().to_vec1::<u32>().unwrap())
        };
        let first = step(50, 6);
        let expected = [vec![50], vec![5, 6], vec![5], vec![0, 6], vec![3, 1]];
        assert_eq!(told(&first), expected);

        let (own, second) = (first.own().unwrap(), step(60, 7));
        assert_eq!(own.shape(), second.shape());
        own.read(&second).unwrap();
        assert_eq!(told(&own), told(&second));
        assert_eq!(told(&first), expected);
        assert_ne!(step(50, 9).shape(), first.shape());
    }

    #[test]
    fn a_contiguous_sequence_is_one_run() {
        let table = Table { row: 0, queries: 9, keys: 9, gone: 0, blocks: vec![1] };
        assert_eq!(runs_of(&table, 100).collect::<Vec<_>>(), [Run { token: 0, slot: 100, len: 9 }]);
    }
}
