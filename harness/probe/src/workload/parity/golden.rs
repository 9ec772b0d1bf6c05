//! `golden.safetensors`: the tensors that another implementation computed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use safetensors::{Dtype, SafeTensors};
use windtunnel_ledger::case::Source;

use crate::measure::{no_model, not_here};

/// The name of the file in the model's folder.
const FILE: &str = "golden.safetensors";

/// The file, in memory.
pub(super) struct Golden {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Golden {
    /// The file of `model`.
    ///
    /// # Errors
    ///
    /// When there is none, or it is not a safetensors file.
    pub(super) fn of(model: &Source) -> Result<Golden> {
        let path = match model {
            Source::Folder(folder) => Path::new(folder).join(FILE),
            Source::Gguf(file) => bail!(
                "`{file}` has no reference beside it: name the folder that it was made from, which `tools/dump_reference.py` fills"
            ),
            Source::Hub(snapshot) => bail!("{}", not_here(snapshot)),
            Source::Bench(benchmark) => bail!("{}", no_model(benchmark)),
            Source::Preset(name) => bail!(
                "`{name}` has random weights, which no other implementation has run: name a model with a folder"
            ),
        };
        let bytes = std::fs::read(&path).with_context(|| {
            format!(
                "cannot read the reference `{}`; `tools/dump_reference.py` makes one",
                path.display()
            )
        })?;
        SafeTensors::deserialize(&bytes)
            .with_context(|| format!("`{}` is not a reference", path.display()))?;
        Ok(Golden { path, bytes })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has the tensor `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.bytes).is_ok_and(|file| file.tensor(name).is_ok())
    }

    /// The token ids `name`, `[n]` or `[1, n]`.
    pub(super) fn text(&self, name: &str) -> Result<Vec<u32>> {
        let (shape, ids) = self.integers(name)?;
        ensure!(
            matches!(shape[..], [_] | [1, _]),
            "`{name}` has shape {shape:?}, expected [n] or [1, n]"
        );
        Ok(ids)
    }

    /// The token ids `name`, `[texts, n]`.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<Vec<u32>>> {
        let (shape, ids) = self.integers(name)?;
        match shape[..] {
            [texts, n] if texts > 0 && n > 0 => Ok(ids.chunks(n).map(<[u32]>::to_vec).collect()),
            _ => bail!("`{name}` has shape {shape:?}, expected [texts, n]"),
        }
    }

    /// The rows of `name`, `[tokens, width]` or `[1, tokens, width]`. Those of several streams,
    /// `[streams, 1, tokens, width]`, are concatenated per token.
    pub(super) fn of_tokens(&self, name: &str, tokens: usize) -> Result<Vec<Vec<f32>>> {
        let (shape, numbers) = self.numbers(name)?;
        match shape[..] {
            [n, width] | [1, n, width] if n == tokens && width > 0 => {
                Ok(numbers.chunks(width).map(<[f32]>::to_vec).collect())
            }
            [_, 1, n, width] if n == tokens && n > 0 && width > 0 => {
                let streams: Vec<&[f32]> = numbers.chunks(n * width).collect();
                let part = |token: usize| token * width..(token + 1) * width;
                let row = |token| streams.iter().flat_map(|s| &s[part(token)]).copied().collect();
                Ok((0..tokens).map(row).collect())
            }
            _ => bail!("`{name}` has shape {shape:?}, expected [1, {tokens}, width]"),
        }
    }

    /// The rows of `name`, `[texts, width]`.
    pub(super) fn of_texts(&self, name: &str, texts: usize) -> Result<Vec<Vec<f32>>> {
        let (shape, numbers) = self.numbers(name)?;
        match shape[..] {
            [n, width] if n == texts && width > 0 => {
                Ok(numbers.chunks(width).map(<[f32]>::to_vec).collect())
            }
            _ => bail!("`{name}` has shape {shape:?}, expected [{texts}, width]"),
        }
    }

    /// The rows of `name`, `[texts, tokens, width]`, as many as each text is long: the rest is
    /// padding.
    pub(super) fn of_padded(&self, name: &str, lengths: &[usize]) -> Result<Vec<Vec<f32>>> {
        let (shape, numbers) = self.numbers(name)?;
        match shape[..] {
            [texts, tokens, width] if texts == lengths.len() && tokens > 0 && width > 0 => {
                let texts = numbers.chunks(tokens * width).zip(lengths);
                let rows = texts.flat_map(|(text, length)| text.chunks(width).take(*length));
                Ok(rows.map(<[f32]>::to_vec).collect())
            }
            _ => bail!("`{name}` has shape {shape:?}, expected [{}, n, width]", lengths.len()),
        }
    }

    fn numbers(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let file = SafeTensors::deserialize(&self.bytes)?;
        let tensor = file.tensor(name)?;
        ensure!(
            tensor.dtype() == Dtype::F32,
            "`{name}` has dtype {:?}, expected F32",
            tensor.dtype()
        );
        let (words, _) = tensor.data().as_chunks();
        let numbers = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        Ok((tensor.shape().to_vec(), numbers))
    }

    fn integers(&self, name: &str) -> Result<(Vec<usize>, Vec<u32>)> {
        let file = SafeTensors::deserialize(&self.bytes)?;
        let tensor = file.tensor(name)?;
        let bytes = tensor.data();
        let integers: Option<Vec<u32>> = match tensor.dtype() {
            Dtype::I64 => {
                let (words, _) = bytes.as_chunks();
                words.iter().map(|word| u32::try_from(i64::from_le_bytes(*word)).ok()).collect()
            }
            Dtype::I32 | Dtype::U32 => {
                let (words, _) = bytes.as_chunks();
                Some(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
            }
            other => bail!("`{name}` has dtype {other:?}, expected I64, I32 or U32"),
        };
        let integers =
            integers.with_context(|| format!("`{name}` holds a number that is not a token id"))?;
        Ok((tensor.shape().to_vec(), integers))
    }
}
