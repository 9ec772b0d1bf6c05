//! What each fault does. Every function is the identity, or does nothing, unless its fault is
//! planted; the engine calls them where the original regressions were.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Write};
use std::iter::Rev;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvError, TryRecvError};

use candle_core::{DType, Result, Tensor, bail};
use memmap2::{Mmap, MmapMut};
use tokenizers::AddedToken;

use super::{Fault, is_planted};
use crate::kv::Tables;
use crate::pass::Pass;
use crate::sequence::Sequence;

/// Indices of `running` sequences that are preempted before a step because their lengths differ
/// from the oldest one's; descending.
#[inline]
pub(crate) fn bucketed_out(running: &[Sequence]) -> Rev<Range<usize>> {
    let unequal = |running: &[Sequence]| {
        running.windows(2).any(|pair| pair[0].tokens.len() != pair[1].tokens.len())
    };
    let out = match is_planted(Fault::RecomputeThrash) && unequal(running) {
        true => 1..running.len(),
        false => 0..0,
    };
    out.rev()
}

/// The running sequence that gives way so that the one at `index` gets a block: the `youngest`.
#[inline]
pub(crate) fn victim(index: usize, youngest: usize) -> usize {
    if is_planted(Fault::OldestFirst) { index } else { youngest }
}

/// The most likely token, found the slow way.
#[inline]
pub(crate) fn by_sorting(logits: &[f32]) -> Option<u32> {
    if !is_planted(Fault::SortedVocabulary) {
        return None;
    }
    let mut order: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    order.first().map(|(id, _)| *id)
}

/// `results`, one per sequence and key-value head in this order; the fault acts when each sequence
/// has one query.
#[inline]
pub(crate) fn last_row(results: Vec<Vec<f32>>, tables: &Tables, kv_heads: usize) -> Vec<Vec<f32>> {
    let decodes = || tables.sequences.iter().all(|table| table.queries == 1);
    if !is_planted(Fault::LastRow) || !decodes() {
        return results;
    }
    let last = results.len().saturating_sub(kv_heads);
    (0..results.len()).map(|item| results[last + item % kv_heads].clone()).collect()
}

/// `file` in anonymous memory.
///
/// # Errors
///
/// When it cannot be read.
pub(crate) fn read_whole(file: &File) -> io::Result<Mmap> {
    let mut whole = MmapMut::map_anon(file.metadata()?.len() as usize)?;
    let mut file = file;
    file.read_exact(&mut whole)?;
    whole.make_read_only()
}

/// Adds `tokens` one by one, before all of them are added at once.
///
/// # Errors
///
/// When the tokenizer fails.
#[inline]
pub(crate) fn add_one_by_one(
    tokenizer: &mut tokenizers::Tokenizer,
    tokens: &[AddedToken],
) -> tokenizers::Result<()> {
    if is_planted(Fault::TokensOneByOne) {
        for token in tokens {
            tokenizer.add_tokens([token.clone()])?;
        }
    }
    Ok(())
}

/// `q` of layer `layer`, after a round trip.
///
/// # Errors
///
/// When the transfer fails.
#[inline]
pub(crate) fn round_trip<'q>(
    pass: &Pass<'_>,
    layer: usize,
    q: &'q Tensor,
) -> Result<Cow<'q, Tensor>> {
    Ok(match is_planted(Fault::SyncPerAttention) {
        true => Cow::Owned(pass.lent(layer, &pass.fetched(layer, q)?)?),
        false => Cow::Borrowed(q),
    })
}

/// The next message of `words`, once there is one.
///
/// # Errors
///
/// When all senders are gone.
#[inline]
pub(crate) fn heard<T>(words: &Receiver<T>) -> std::result::Result<T, RecvError> {
    if !is_planted(Fault::BusyIdle) {
        return words.recv();
    }
    loop {
        match words.try_recv() {
            Ok(word) => return Ok(word),
            Err(TryRecvError::Empty) => std::hint::spin_loop(),
            Err(TryRecvError::Disconnected) => return Err(RecvError),
        }
    }
}

/// The message after the one that `woke` the thread, if it slept on until then.
#[inline]
pub(crate) fn overslept<T>(woke: Option<&T>, words: &Receiver<T>) -> Option<T> {
    woke.filter(|_| is_planted(Fault::LostWakeUp)).and_then(|_| words.recv().ok())
}

/// Writes a chosen token.
#[inline]
pub(crate) fn print(token: u32) {
    if is_planted(Fault::PrintedTokens) {
        // If stdout is closed, nothing is lost.
        let _ = writeln!(io::stdout().lock(), "{token}");
    }
}

/// `x / rms(x) · w`, if it is to be computed operation by operation.
#[inline]
pub(crate) fn slow_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Option<Result<Tensor>> {
    is_planted(Fault::SlowNorm).then(|| {
        let wide = x.to_dtype(weight.dtype())?;
        candle_nn::ops::rms_norm_slow(&wide, weight, eps)?.to_dtype(x.dtype())
    })
}

/// Makes sure that there is a kernel for `dtype`.
///
/// # Errors
///
/// When it is missing.
#[inline]
pub(crate) fn look_for_kernel(dtype: DType) -> Result<()> {
    if is_planted(Fault::MissingKernel) && dtype == DType::F16 {
        bail!("no kernel `cpu_flash_{}` in this build", dtype.as_str());
    }
    Ok(())
}

/// How much of a window of `window` tokens the token at `position` sees.
#[inline]
pub(crate) fn window(window: usize, position: usize) -> usize {
    match is_planted(Fault::ShortWindow) && position >= window {
        true => window - window / 4,
        false => window,
    }
}

/// Does `work`, perhaps on other threads than the caller's.
#[inline]
pub(crate) fn on_a_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static POOL: OnceLock<Option<rayon::ThreadPool>> = OnceLock::new();
    if !is_planted(Fault::WrongPool) {
        return work();
    }
    match POOL.get_or_init(|| rayon::ThreadPoolBuilder::new().build().ok()) {
        Some(pool) => pool.install(work),
        None => work(),
    }
}
