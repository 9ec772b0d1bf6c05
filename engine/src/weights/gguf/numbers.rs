//! From the bytes of a file to numbers, with the rows of heads put back into order.

use std::borrow::Cow;
use std::ops::Deref;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Result, Tensor};
use memmap2::MmapMut;

/// Bytes of a tensor: in the file, or reordered.
pub(super) enum Bytes<'a> {
    InFile(&'a [u8]),
    /// A separate mapping, which starts at a page: blocks must be aligned.
    Moved(MmapMut),
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::InFile(bytes) => bytes,
            Self::Moved(bytes) => bytes,
        }
    }
}

/// Puts the rows of `heads` heads, stored as pairs of neighbours, back into halves. `rows` is their
/// total number; they may be quantised, as no block spans two rows.
///
/// ```text
///     file   0a 0b 1a 1b 2a 2b │ …      hub   0a 1a 2a 0b 1b 2b │ …
/// ```
pub(super) fn halves(bytes: &[u8], rows: usize, heads: usize) -> std::io::Result<Bytes<'static>> {
    let dim = rows / heads.max(1);
    let are_pairs = dim > 0 && dim * heads == rows && dim.is_multiple_of(2);
    if !are_pairs || !bytes.len().is_multiple_of(rows) {
        return Err(std::io::Error::other(format!(
            "{} bytes are not {rows} rows of {heads} heads: its biases must be floats",
            bytes.len()
        )));
    }
    let width = bytes.len() / rows;
    let mut moved = MmapMut::map_anon(bytes.len())?;
    for (row, to) in moved.chunks_exact_mut(width.max(1)).take(rows).enumerate() {
        let (head, within) = (row / dim, row % dim);
        let (half, pair) = (within / (dim / 2), within % (dim / 2));
        let from = head * dim + 2 * pair + half;
        to.copy_from_slice(&bytes[from * width..][..width]);
    }
    Ok(Bytes::Moved(moved))
}

/// The numbers in `bytes`: floats as they are, everything else in f32.
pub(super) fn dense(bytes: &[u8], kind: GgmlDType, shape: &[usize]) -> Result<Tensor> {
    let floats = |dtype| Tensor::from_raw_buffer(bytes, dtype, shape, &Device::Cpu);
    match kind {
        GgmlDType::F32 => floats(DType::F32),
        GgmlDType::F16 => floats(DType::F16),
        GgmlDType::BF16 => floats(DType::BF16),
        _ => quantised(bytes, kind, shape)?.dequantize(&Device::Cpu),
    }
}

/// The blocks in `bytes` as they are.
pub(super) fn quantised(bytes: &[u8], kind: GgmlDType, shape: &[usize]) -> Result<QTensor> {
    QTensor::new(QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, kind)?, shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_neighbours_come_back_into_halves() {
        let moved = halves(&[0, 3, 1, 4, 2, 5, 6, 8, 7, 9, 10, 11], 12, 2).unwrap();
        assert_eq!(*moved, [0, 1, 2, 3, 4, 5, 6, 7, 10, 8, 9, 11]);
    }

    #[test]
    fn bytes_that_are_no_rows_of_heads_are_refused() {
        // Two 4-bit blocks of 32 numbers, an odd head dim, heads without rows, no heads, no rows.
        for (bytes, rows, heads) in [(36, 64, 2), (6, 6, 2), (4, 4, 8), (4, 4, 0), (0, 0, 1)] {
            let refusal = halves(&vec![0; bytes], rows, heads).err().unwrap().to_string();
            let told = format!("{bytes} bytes are not {rows} rows of {heads} heads");
            assert!(refusal.starts_with(&told), "{refusal}");
        }
    }
}
