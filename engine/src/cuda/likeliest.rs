//! Decodes the result of the kernel `likeliest` for a row of logits.

use crate::sampler::NoToken;

/// The order key of −∞, which the kernel puts above the 32 bits of the id.
const NOTHING: u64 = 0x007F_FFFF;

/// The token encoded in `best`: the upper half is the order key of its logit, the lower half the
/// complement of its id.
pub(super) fn token(best: u64) -> Result<u32, NoToken> {
    match (best, best >> 32) {
        (u64::MAX, _) | (_, ..=NOTHING) => Err(NoToken::NotFinite),
        _ => Ok(!(best as u32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order key as the kernel computes it.
    fn order(logit: f32) -> u64 {
        let bits = (logit + 0.0).to_bits();
        u64::from(if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 })
    }

    #[test]
    fn a_token_is_read_from_what_the_kernel_left_and_nothing_from_what_is_none() {
        for logit in [f32::MIN, -1.0, -0.0, 0.0, 1e-30, 7.0, f32::MAX] {
            for id in [0, 1, 151_935, u32::MAX - 1] {
                assert_eq!(token(order(logit) << 32 | u64::from(!id)), Ok(id), "{logit}");
            }
        }
        assert_eq!(token(u64::MAX), Err(NoToken::NotFinite));
        assert_eq!(token(0), Err(NoToken::NotFinite));
        let nothing = order(f32::NEG_INFINITY);
        assert_eq!(token(nothing << 32 | u64::from(!5u32)), Err(NoToken::NotFinite));
    }

    #[test]
    fn the_larger_logit_wins_and_of_equals_the_lower_id() {
        let best = |logit, id: u32| order(logit) << 32 | u64::from(!id);
        assert!(best(1.0, 9) > best(0.5, 1) && best(-1.0, 9) > best(-2.0, 1));
        assert!(best(0.5, 1) > best(0.5, 2) && best(-0.0, 1) > best(0.0, 2));
    }
}
