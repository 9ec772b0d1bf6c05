//! [`Capacity`]: how many blocks there are, and what fits into them.

use crate::error::Error;

/// How far back the layers of a pool look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// To the start of the sequence.
    Everything,
    /// This many tokens, the one that looks included.
    Window(usize),
}

impl Reach {
    /// The first position that a query at `position` or later sees.
    pub const fn first_seen(self, position: usize) -> usize {
        match self {
            Self::Everything => 0,
            Self::Window(window) => (position + 1).saturating_sub(window),
        }
    }

    /// Blocks of `block` tokens in which `sequences` never lack one, whatever else they lack, when
    /// their steps compute `step_tokens` together; `None` when there is no such number.
    pub const fn ample(self, block: usize, sequences: usize, step_tokens: usize) -> Option<usize> {
        match self {
            Self::Everything => None,
            Self::Window(window) => {
                // The window, the blocks that it begins and ends in, and the one that is kept free
                // for each sequence that may still grow.
                let each = window.div_ceil(block).saturating_add(3);
                Some(each.saturating_mul(sequences).saturating_add(step_tokens.div_ceil(block)))
            }
        }
    }

    /// Most blocks that a sequence of `tokens` holds when no step computes more than `step_tokens`
    /// of them.
    pub(super) fn most_blocks(self, tokens: usize, step_tokens: usize, block: usize) -> usize {
        // What a window sees may begin anywhere in a block.
        touched(self.kept(tokens, step_tokens), block).min(tokens.div_ceil(block))
    }

    /// Most tokens that a sequence of `tokens` has to keep while a step computes up to
    /// `step_tokens` of them: what the first of these sees, and all of them.
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
    /// Blocks that exist.
    pub blocks: usize,
}

/// The sizes of all pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Tokens a block.
    pub block: usize,
    /// Most tokens that one step computes.
    pub step_tokens: usize,
    /// Each pool.
    pub pools: Vec<PoolSize>,
}

impl Capacity {
    /// Whether one sequence can have `tokens` cached tokens when it is alone.
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

/// Most blocks that `tokens` consecutive tokens lie in, wherever they begin.
const fn touched(tokens: usize, block: usize) -> usize {
    match tokens {
        0 => 0,
        _ => (tokens - 1).div_ceil(block) + 1,
    }
}
