//! [`Capacity`]: how many blocks there are, and what fits in them.

use crate::error::Error;

/// How far back the layers of a pool look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// To the start of the sequence.
    Everything,
    /// This many tokens, including the query itself.
    Window(usize),
}

impl Reach {
    /// The first position visible to a query at `position` or later.
    pub const fn first_seen(self, position: usize) -> usize {
        match self {
            Self::Everything => 0,
            Self::Window(window) => (position + 1).saturating_sub(window),
        }
    }

    /// Number of blocks of `block` tokens with which `sequences` can never run short in this pool,
    /// when their steps together compute `step_tokens`; `None` if there is no such number.
    pub const fn ample(self, block: usize, sequences: usize, step_tokens: usize) -> Option<usize> {
        match self {
            Self::Everything => None,
            Self::Window(window) => {
                // The window, the blocks in which it begins and ends, and one that is kept free for
                // each sequence that may still grow.
                let each = window.div_ceil(block).saturating_add(3);
                Some(each.saturating_mul(sequences).saturating_add(step_tokens.div_ceil(block)))
            }
        }
    }

    /// Most blocks that a sequence of `tokens` holds if no step computes more than `step_tokens` of
    /// them.
    pub(super) fn most_blocks(self, tokens: usize, step_tokens: usize, block: usize) -> usize {
        // A window may begin anywhere in a block.
        touched(self.kept(tokens, step_tokens), block).min(tokens.div_ceil(block))
    }

    /// Most tokens that a sequence of `tokens` has to keep while a step computes up to
    /// `step_tokens` of them: those visible to the first of these, and all of these.
    const fn kept(self, tokens: usize, step_tokens: usize) -> usize {
        match self {
            Self::Everything => tokens,
            Self::Window(window) => {
                let needed = window.saturating_sub(1).saturating_add(step_tokens);
                if needed < tokens { needed } else { tokens }
            }
        }
    }
}

/// The size of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSize {
    /// How far back its layers look.
    pub reach: Reach,
    /// Number of blocks.
    pub blocks: usize,
}

/// The sizes of all pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Tokens per block.
    pub block: usize,
    /// Most tokens computed per step.
    pub step_tokens: usize,
    /// The size of each pool.
    pub pools: Vec<PoolSize>,
}

impl Capacity {
    /// Whether a single sequence could have `tokens` cached tokens if it were alone.
    ///
    /// # Errors
    ///
    /// [`Error::PoolTooSmall`] with the numbers.
    pub fn check(&self, tokens: usize) -> Result<(), Error> {
        let block = self.block;
        for &PoolSize { reach, blocks } in &self.pools {
            let needed = reach.most_blocks(tokens, self.step_tokens, block);
            if needed > blocks {
                let tokens = reach.kept(tokens, self.step_tokens);
                return Err(Error::PoolTooSmall { tokens, needed, blocks, block });
            }
        }
        Ok(())
    }
}

/// Most blocks that `tokens` consecutive tokens can touch, wherever they begin.
const fn touched(tokens: usize, block: usize) -> usize {
    match tokens {
        0 => 0,
        _ => (tokens - 1).div_ceil(block) + 1,
    }
}
