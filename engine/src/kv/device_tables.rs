//! [`DeviceTables`]: where the queries and keys of each sequence are, for accelerator kernels.

use std::cell::OnceCell;

use candle_core::{Device, Result, Tensor};

use super::{Table, Tables};

/// The tables of one pool on a device. Those of all pools of a step are copied there together.
#[derive(Debug, Clone)]
pub struct DeviceTables {
    /// Slot of each packed token, `[tokens]`, u32; empty in a pass without a cache.
    pub slots: Tensor,
    /// Row of the first query of each sequence among the packed tokens, then the total,
    /// `[sequences + 1]`, u32.
    pub query_ends: Tensor,
    /// The same for the present keys, as if they were packed, `[sequences + 1]`, u32.
    pub key_ends: Tensor,
    /// The remaining blocks of each sequence, `[sequences, most]`, u32, padded with 0.
    pub blocks: Tensor,
    /// Most queries in one sequence.
    pub most_queries: usize,
    /// Upper bound on the present keys of one sequence.
    pub most_keys: usize,
    /// Slot of each present key, `[keys]`, u32; copied when a layer first asks for it.
    key_slots: OnceCell<Tensor>,
}

impl DeviceTables {
    /// Slot of each present key, `[keys]`, u32, in the order of `slots`.
    ///
    /// # Errors
    ///
    /// When the device does not have enough memory.
    pub(super) fn key_slots(&self, slots: impl FnOnce() -> Vec<u32>) -> Result<Tensor> {
        if let Some(known) = self.key_slots.get() {
            return Ok(known.clone());
        }
        let copied = Tensor::new(slots(), self.blocks.device())?;
        Ok(self.key_slots.get_or_init(|| copied).clone())
    }

    /// Copies `tables`, one per pool, to `device`.
    ///
    /// # Errors
    ///
    /// When the device does not have enough memory.
    pub fn upload(tables: &[Tables], device: &Device) -> Result<Vec<Self>> {
        let mut numbers = Vec::new();
        let shapes: Vec<_> =
            tables.iter().map(|tables| TableShape::of(tables, &mut numbers)).collect();
        let numbers = match numbers.len() {
            // A tensor needs at least one element.
            0 => Tensor::zeros(1, candle_core::DType::U32, device)?,
            _ => Tensor::new(numbers, device)?,
        };
        let mut at = 0;
        shapes.iter().map(|shape| shape.cut(&numbers, &mut at)).collect()
    }
}

/// Everything about the tables of a pool except the numbers in them: what the launches of a step
/// depend on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TableShape {
    slots: usize,
    sequences: usize,
    most_blocks: usize,
    most_queries: usize,
    most_keys: usize,
}

impl TableShape {
    /// Appends `tables` to `numbers`.
    ///
    /// If every sequence has one query, rows of blocks are padded to the next power of two, so that
    /// as sequences grow the shape of their steps changes only a few times and not with every
    /// block.
    pub(crate) fn of(tables: &Tables, numbers: &mut Vec<u32>) -> Self {
        let Tables { block, sequences, runs } = tables;
        let before = numbers.len();
        let slots = runs.iter().flat_map(|run| run.slot..run.slot + run.len);
        numbers.extend(slots.map(|slot| slot as u32));
        let slots = numbers.len() - before;

        let present = |table: &Table| tables.present(table).len();
        let queries = numbers.extend_ends(sequences.iter().map(|table| table.queries));
        numbers.extend_ends(sequences.iter().map(present));
        debug_assert!(slots == 0 || slots == queries, "every token has a slot, or none has");

        let mut most_blocks = sequences.iter().map(|table| table.blocks.len()).max().unwrap_or(0);
        let mut most_keys = sequences.iter().map(present).max().unwrap_or(0);
        if sequences.iter().all(|table| table.queries == 1) {
            most_blocks = most_blocks.next_power_of_two();
            most_keys = most_blocks * block;
        }
        for table in sequences {
            let padding = most_blocks - table.blocks.len();
            numbers.extend(table.blocks.iter().copied().chain(std::iter::repeat_n(0, padding)));
        }
        Self {
            slots,
            sequences: sequences.len(),
            most_blocks,
            most_queries: sequences.iter().map(|table| table.queries).max().unwrap_or(0),
            most_keys,
        }
    }

    /// Slices the tables out of the copied `numbers`, starting at `at`, and advances `at` past
    /// them.
    pub(crate) fn cut(&self, numbers: &Tensor, at: &mut usize) -> Result<DeviceTables> {
        let Self { slots, sequences, most_blocks, most_queries, most_keys } = *self;
        let mut next = |len| {
            let part = numbers.narrow(0, *at, len);
            *at += len;
            part
        };
        Ok(DeviceTables {
            slots: next(slots)?,
            query_ends: next(sequences + 1)?,
            key_ends: next(sequences + 1)?,
            blocks: next(sequences * most_blocks)?.reshape((sequences, most_blocks))?,
            most_queries,
            most_keys,
            key_slots: OnceCell::new(),
        })
    }
}

/// Running sums.
trait ExtendEnds {
    /// Appends 0 and the running sum of `lengths`. Returns the total.
    fn extend_ends(&mut self, lengths: impl Iterator<Item = usize>) -> usize;
}

impl ExtendEnds for Vec<u32> {
    fn extend_ends(&mut self, lengths: impl Iterator<Item = usize>) -> usize {
        let mut end = 0;
        self.push(0);
        self.extend(lengths.map(|length| {
            end += length;
            end as u32
        }));
        end
    }
}

#[cfg(test)]
mod tests {
    use super::super::Run;
    use super::*;

    fn numbers(tensor: &Tensor) -> Vec<u32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn tables_of_all_pools_come_out_of_one_copy_as_they_went_in() {
        // A prompt chunk of 3 after 2 tokens and a decode, in blocks of 2.
        let whole = Tables {
            block: 2,
            sequences: vec![
                Table { row: 0, queries: 3, keys: 5, gone: 0, blocks: vec![7, 2, 4] },
                Table { row: 3, queries: 1, keys: 4, gone: 0, blocks: vec![1, 5] },
            ],
            runs: vec![
                Run { token: 0, slot: 4, len: 2 },
                Run { token: 2, slot: 8, len: 1 },
                Run { token: 3, slot: 11, len: 1 },
            ],
        };
        // The same with a window: the first block of the first sequence has been released.
        let mut window = whole.clone();
        (window.sequences[0].gone, window.sequences[0].blocks) = (1, vec![2, 4]);
        let [first, second] = &DeviceTables::upload(&[whole, window], &Device::Cpu).unwrap()[..]
        else {
            panic!()
        };

        assert_eq!(numbers(&first.slots), [4, 5, 8, 11]);
        assert_eq!(numbers(&first.query_ends), [0, 3, 4]);
        assert_eq!(numbers(&first.key_ends), [0, 5, 9]);
        assert_eq!(first.blocks.to_vec2::<u32>().unwrap(), [[7, 2, 4], [1, 5, 0]]);
        assert_eq!((first.most_queries, first.most_keys), (3, 5));

        assert_eq!(numbers(&second.slots), numbers(&first.slots));
        assert_eq!(numbers(&second.key_ends), [0, 3, 7]);
        assert_eq!(second.blocks.to_vec2::<u32>().unwrap(), [[2, 4], [1, 5]]);
        assert_eq!((second.most_queries, second.most_keys), (3, 4));
    }

    #[test]
    fn steps_of_decodes_have_one_shape_until_a_power_of_two_of_blocks_is_full() {
        let decode = |row, keys: usize| {
            let blocks = (0..keys.div_ceil(4) as u32).collect();
            Table { row, queries: 1, keys, gone: 0, blocks }
        };
        let shape = |lengths: [usize; 2]| {
            let [first, second] = lengths;
            let sequences = vec![decode(0, first), decode(1, second)];
            let mut numbers = Vec::new();
            let tables = Tables { block: 4, sequences, runs: Vec::new() };
            let shape = TableShape::of(&tables, &mut numbers);
            let cut = shape.cut(&Tensor::new(numbers, &Device::Cpu).unwrap(), &mut 0).unwrap();
            assert_eq!(cut.blocks.dims(), [2, shape.most_blocks]);
            assert!(cut.most_keys >= first.max(second));
            shape
        };
        assert_eq!(shape([17, 3]), shape([32, 20]));
        assert_ne!(shape([32, 20]), shape([33, 20]));
    }

    #[test]
    fn a_pass_that_keeps_nothing_has_no_slots() {
        let table = Table { row: 0, queries: 2, keys: 2, gone: 0, blocks: vec![0, 1] };
        let tables = Tables { block: 1, sequences: vec![table], runs: Vec::new() };
        let uploaded = DeviceTables::upload(&[tables], &Device::Cpu).unwrap();
        assert_eq!(uploaded[0].slots.elem_count(), 0);
        let slots = || uploaded[0].key_slots(|| vec![3, 1]).unwrap();
        assert_eq!(numbers(&slots()), [3, 1]);
        assert_eq!(numbers(&uploaded[0].key_slots(|| panic!("copied twice")).unwrap()), [3, 1]);
        assert!(DeviceTables::upload(&[], &Device::Cpu).unwrap().is_empty());
    }
}
