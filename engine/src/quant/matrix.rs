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

/// A matrix `[rows, inputs]` of blocks; or some rows of one, sharing its memory.
#[derive(Clone)]
pub struct Quantised {
    kind: QuantType,
    inputs: usize,
    /// All rows of the matrix that this one is a part of.
    blocks: Arc<QTensor>,
    /// Which of them are its own.
    rows: Range<usize>,
}

/// Calls `$f::<B>($args)` with the block of `$kind`.
macro_rules! by_type {
    ($kind:expr, $f:ident($($arg:expr),* $(,)?)) => {{
        use candle_core::quantized::k_quants as blocks;
        match $kind {
            $crate::quant::QuantType::Q4_0 => $f::<blocks::BlockQ4_0>($($arg),*),
            $crate::quant::QuantType::Q4_1 => $f::<blocks::BlockQ4_1>($($arg),*),
            $crate::quant::QuantType::Q5_0 => $f::<blocks::BlockQ5_0>($($arg),*),
            $crate::quant::QuantType::Q5_1 => $f::<blocks::BlockQ5_1>($($arg),*),
            $crate::quant::QuantType::Q8_0 => $f::<blocks::BlockQ8_0>($($arg),*),
            $crate::quant::QuantType::Q2K => $f::<blocks::BlockQ2K>($($arg),*),
            $crate::quant::QuantType::Q3K => $f::<blocks::BlockQ3K>($($arg),*),
            $crate::quant::QuantType::Q4K => $f::<blocks::BlockQ4K>($($arg),*),
            $crate::quant::QuantType::Q5K => $f::<blocks::BlockQ5K>($($arg),*),
            $crate::quant::QuantType::Q6K => $f::<blocks::BlockQ6K>($($arg),*),
        }
    }};
}
pub(crate) use by_type;

impl Quantised {
    /// From the bytes of blocks as GGML lays them out, row by row.
    ///
    /// # Errors
    ///
    /// When a row is no whole number of blocks, or there are more or fewer bytes than rows need.
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

    /// Quantises `numbers`, `[rows, inputs]`, on the CPU and all of its cores.
    ///
    /// # Errors
    ///
    /// When a row is no whole number of blocks, or the numbers are not on the CPU.
    pub fn of(kind: QuantType, numbers: &Tensor, device: &Device) -> Result<Self> {
        let [rows, inputs] = [numbers.dim(0)?, numbers.dim(1)?];
        check_inputs(kind, inputs)?;
        let wide = numbers.to_dtype(DType::F32)?.contiguous()?;
        let wide = Numbers::of(&wide)?;
        let storage = by_type!(kind, quantised(wide.slice::<f32>()?, inputs));
        let here = Self::new(kind, storage, [rows, inputs])?;
        match device {
            Device::Cpu => Ok(here),
            _ => Self::from_bytes(kind, here.bytes()?, [rows, inputs], device),
        }
    }

    /// One that knows its size and has no numbers: see [`Outline`](crate::weights::Outline).
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

    /// Where it lies.
    pub fn device(&self) -> Device {
        self.blocks.device()
    }

    /// The rows `rows` of it. On the CPU they share its memory; elsewhere they are copied.
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

    /// Its blocks, row by row. On the CPU only.
    ///
    /// # Errors
    ///
    /// When it lies elsewhere, or is an outline.
    pub fn bytes(&self) -> Result<&[u8]> {
        let row = self.kind.bytes(1, self.inputs) as usize;
        let range = self.rows.start * row..self.rows.end * row;
        match self.blocks.data()? {
            Cow::Borrowed(all) if range.end <= all.len() => Ok(&all[range]),
            Cow::Borrowed(_) => bail!("the outline of a matrix has no numbers"),
            Cow::Owned(_) => bail!("a CPU kernel needs a matrix on the CPU"),
        }
    }

    /// The same as blocks, which must be those of its [`kind`](Self::kind).
    ///
    /// # Errors
    ///
    /// As [`bytes`](Self::bytes).
    pub(crate) fn blocks<B: GgmlType>(&self) -> Result<&[B]> {
        if B::DTYPE != self.kind.candle() {
            bail!("a kernel for {:?} got a matrix in {}", B::DTYPE, self.kind);
        }
        let bytes = self.bytes()?;
        // SAFETY: the memory was made as a vector of `B`, which is the block of this format, and
        // rows begin and end where blocks do. The blocks live as long as the bytes.
        Ok(unsafe {
            std::slice::from_raw_parts(bytes.as_ptr().cast::<B>(), bytes.len() / size_of::<B>())
        })
    }

    /// The whole matrix for a device that is not a CPU, whose parts are never shared.
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

    /// The rows that `ids` (`[n]`, u32) name, `[n, inputs]`, f32.
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
            "rows of {inputs} numbers are no whole blocks of {}, as {kind} needs",
            kind.block()
        ),
    }
}

/// `bytes` as blocks of their own. Read as they are, they might lie where no block may begin.
fn copied<B: GgmlType + 'static>(bytes: &[u8]) -> QStorage {
    let mut blocks = vec![B::zeros(); bytes.len() / size_of::<B>()];
    // SAFETY: blocks are plain integers and halves without padding, so that any bytes make valid
    // ones; the vector has as many bytes as are written, and is not yet seen by anybody else.
    let to = unsafe {
        std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast::<u8>(), size_of_val(&blocks[..]))
    };
    to.copy_from_slice(&bytes[..to.len()]);
    QStorage::Cpu(Box::new(blocks))
}

/// `numbers`, in rows of `inputs`, as blocks.
fn quantised<B: GgmlType + 'static>(numbers: &[f32], inputs: usize) -> QStorage {
    /// Rows a task.
    const TASK: usize = 8;
    let mut blocks = vec![B::zeros(); numbers.len() / B::BLCK_SIZE];
    let tasks = blocks.par_chunks_mut(TASK * (inputs / B::BLCK_SIZE).max(1));
    tasks
        .zip(numbers.par_chunks(TASK * inputs.max(1)))
        .for_each(|(to, from)| B::from_float(from, to));
    QStorage::Cpu(Box::new(blocks))
}
