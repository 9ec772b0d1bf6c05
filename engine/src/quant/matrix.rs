//! [`Quantised`]: a matrix of blocks.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{GgmlType, QStorage, QTensor};
use candle_core::{DType, Device, Result, Tensor, bail};
use rayon::prelude::*;

use super::QuantType;
use crate::cpu::Numbers;
use crate::weights::LoadWatch;

/// A matrix `[rows, inputs]` of blocks, or some rows of one, sharing its memory.
#[derive(Clone)]
pub struct Quantised {
    kind: QuantType,
    inputs: usize,
    /// All rows of the matrix that this one belongs to.
    blocks: Arc<QTensor>,
    /// Its own rows among them.
    rows: Range<usize>,
}

/// Calls `$f::<B>($args)` with the block type of `$kind`.
macro_rules! by_type {
    ($kind:expr, $f:ident($($arg:expr),* $(,)?)) => {{
        use candle_core::quantized::k_quants as blocks;
        match $kind {
            QuantType::Q4_0 => $f::<blocks::BlockQ4_0>($($arg),*),
            QuantType::Q4_1 => $f::<blocks::BlockQ4_1>($($arg),*),
            QuantType::Q5_0 => $f::<blocks::BlockQ5_0>($($arg),*),
            QuantType::Q5_1 => $f::<blocks::BlockQ5_1>($($arg),*),
            QuantType::Q8_0 => $f::<blocks::BlockQ8_0>($($arg),*),
            QuantType::Q2K => $f::<blocks::BlockQ2K>($($arg),*),
            QuantType::Q3K => $f::<blocks::BlockQ3K>($($arg),*),
            QuantType::Q4K => $f::<blocks::BlockQ4K>($($arg),*),
            QuantType::Q5K => $f::<blocks::BlockQ5K>($($arg),*),
            QuantType::Q6K => $f::<blocks::BlockQ6K>($($arg),*),
        }
    }};
}

impl Quantised {
    /// From the bytes of blocks in GGML's layout, row by row.
    ///
    /// # Errors
    ///
    /// When a row is not a whole number of blocks, or the number of bytes does not match.
    pub fn from_bytes(
        kind: QuantType,
        bytes: &[u8],
        [rows, inputs]: [usize; 2],
        device: &Device,
    ) -> Result<Self> {
        check_inputs(kind, inputs)?;
        let needed = kind.bytes(rows, inputs);
        if bytes.len() as u64 != needed {
            bail!(
                "{rows} rows of {inputs} numbers in {kind} take {needed} bytes, not {}",
                bytes.len()
            );
        }
        let storage = match device {
            Device::Cpu => by_type!(kind, copied(bytes)),
            _ => QStorage::from_data(Cow::Borrowed(bytes), device, kind.candle())?,
        };
        Self::new(kind, storage, [rows, inputs])
    }

    /// Quantises `numbers`, `[rows, inputs]`, on all cores of the CPU.
    ///
    /// # Errors
    ///
    /// When a row is not a whole number of blocks, or the numbers are not on the CPU.
    pub fn of(kind: QuantType, numbers: &Tensor, device: &Device) -> Result<Self> {
        let shape = [numbers.dim(0)?, numbers.dim(1)?];
        let wide = numbers.to_dtype(DType::F32)?.contiguous()?;
        let wide = Numbers::of(&wide)?;
        let wide = wide.slice::<f32>()?;
        let piece =
            |first: usize, to: &mut [f32]| to.copy_from_slice(&wide[first..first + to.len()]);
        Self::by_pieces(kind, shape, piece, &LoadWatch::default(), device)
    }

    /// Quantises a matrix piece by piece: `numbers` fills a slice with its numbers from an index
    /// on, row by row, so that they are never all in memory as floats. `watch` times the rest.
    ///
    /// # Errors
    ///
    /// When a row is not a whole number of blocks.
    pub(crate) fn by_pieces(
        kind: QuantType,
        [rows, inputs]: [usize; 2],
        numbers: impl Fn(usize, &mut [f32]),
        watch: &LoadWatch,
        device: &Device,
    ) -> Result<Self> {
        check_inputs(kind, inputs)?;
        let storage = by_type!(kind, quantised([rows, inputs], numbers, watch));
        let here = Self::new(kind, storage, [rows, inputs])?;
        match device {
            Device::Cpu => Ok(here),
            _ => Self::from_bytes(kind, here.bytes()?, [rows, inputs], device),
        }
    }

    /// A matrix with a size but no numbers: see [`Outline`](crate::weights::Outline).
    pub(crate) fn outline(kind: QuantType, shape: [usize; 2]) -> Result<Self> {
        check_inputs(kind, shape[1])?;
        Self::new(kind, by_type!(kind, copied(&[])), shape)
    }

    fn new(kind: QuantType, storage: QStorage, [rows, inputs]: [usize; 2]) -> Result<Self> {
        let blocks = Arc::new(QTensor::new(storage, (rows, inputs))?);
        Ok(Self { kind, inputs, blocks, rows: 0..rows })
    }

    /// Its format.
    pub const fn kind(&self) -> QuantType {
        self.kind
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Numbers in a row.
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// The device that holds it.
    pub fn device(&self) -> Device {
        self.blocks.device()
    }

    /// Its rows `rows`. On the CPU they share its memory; elsewhere they are copied.
    ///
    /// # Errors
    ///
    /// When it has fewer rows.
    pub fn narrow(&self, rows: Range<usize>) -> Result<Self> {
        if rows.start > rows.end || rows.end > self.rows() {
            bail!("rows {rows:?} of a matrix that has {}", self.rows());
        }
        let rows = self.rows.start + rows.start..self.rows.start + rows.end;
        let part = Self { rows, ..self.clone() };
        match self.device() {
            Device::Cpu => Ok(part),
            device => {
                let row = self.kind.bytes(1, self.inputs) as usize;
                let all = self.blocks.data()?;
                let bytes = &all[part.rows.start * row..part.rows.end * row];
                Self::from_bytes(self.kind, bytes, [part.rows(), self.inputs], &device)
            }
        }
    }

    /// Its blocks, row by row; only on the CPU.
    ///
    /// # Errors
    ///
    /// When it is elsewhere, or an outline.
    pub fn bytes(&self) -> Result<&[u8]> {
        let row = self.kind.bytes(1, self.inputs) as usize;
        let range = self.rows.start * row..self.rows.end * row;
        match self.blocks.data()? {
            Cow::Borrowed(all) if range.end <= all.len() => Ok(&all[range]),
            Cow::Borrowed(_) => bail!("the outline of a matrix has no numbers"),
            Cow::Owned(_) => bail!("a CPU kernel needs a matrix on the CPU"),
        }
    }

    /// The whole matrix, for a device other than a CPU, where parts never share memory.
    pub(crate) fn whole(&self) -> &QTensor {
        &self.blocks
    }

    /// Its numbers, `[rows, inputs]`, f32.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub fn dequantised(&self) -> Result<Tensor> {
        self.blocks.dequantize(&self.device())?.narrow(0, self.rows.start, self.rows())
    }

    /// The rows with `ids` (`[n]`, u32), `[n, inputs]`, f32.
    ///
    /// # Errors
    ///
    /// When an id is not below the number of rows.
    pub fn select(&self, ids: &Tensor) -> Result<Tensor> {
        match self.rows.start {
            0 => self.blocks.embedding(ids),
            first => self.blocks.embedding(&(ids + first as f64)?),
        }
    }
}

impl fmt::Debug for Quantised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quantised({}, [{}, {}])", self.kind, self.rows(), self.inputs)
    }
}

fn check_inputs(kind: QuantType, inputs: usize) -> Result<()> {
    match inputs.is_multiple_of(kind.block()) {
        true => Ok(()),
        false => bail!(
            "rows of {inputs} numbers are not whole blocks of {}, as {kind} needs",
            kind.block()
        ),
    }
}

/// `bytes` copied into blocks. In place they might not be aligned as blocks must be.
fn copied<B: GgmlType + 'static>(bytes: &[u8]) -> QStorage {
    let mut blocks = vec![B::zeros(); bytes.len() / size_of::<B>()];
    // SAFETY: blocks are plain integers and halves without padding, so any bytes make valid ones;
    // the vector has as many bytes as are written, and nobody else sees it yet.
    let to = unsafe {
        std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast::<u8>(), size_of_val(&blocks[..]))
    };
    to.copy_from_slice(&bytes[..to.len()]);
    QStorage::Cpu(Box::new(blocks))
}

/// The blocks of a matrix, made piece by piece; `numbers` fills a slice with its numbers from an
/// index on.
fn quantised<B: GgmlType + 'static>(
    [rows, inputs]: [usize; 2],
    numbers: impl Fn(usize, &mut [f32]),
    watch: &LoadWatch,
) -> QStorage {
    /// Numbers held as floats at a time: 16 MiB.
    const PIECE: usize = 1 << 22;
    /// Numbers per task: whole blocks.
    const TASK: usize = 1 << 12;
    let mut blocks = vec![B::zeros(); rows * inputs / B::BLCK_SIZE];
    let mut floats = vec![0.0; PIECE.min(rows * inputs)];
    for (index, blocks) in blocks.chunks_mut(PIECE / B::BLCK_SIZE).enumerate() {
        let floats = &mut floats[..blocks.len() * B::BLCK_SIZE];
        numbers(index * PIECE, floats);
        watch.quantise(|| {
            let tasks = blocks.par_chunks_mut(TASK / B::BLCK_SIZE).zip(floats.par_chunks(TASK));
            tasks.for_each(|(to, from)| B::from_float(from, to));
        });
    }
    QStorage::Cpu(Box::new(blocks))
}
