//! Prompts: the same for the same case, different for every iteration and request, so that no cache
//! can answer.

/// The prompt of one request: `length` token ids below `vocabulary`, drawn from the seed, the
/// iteration and the request alone.
pub(crate) fn tokens(
    seed: u64,
    iteration: u32,
    request: u32,
    length: usize,
    vocabulary: usize,
) -> Vec<u32> {
    // Mixed twice, because neighbouring states of the generator give shifted copies of one stream.
    let mut state = seed;
    state = next(&mut state) ^ (u64::from(iteration) << 32 | u64::from(request));
    state = next(&mut state);
    let vocabulary = vocabulary.max(1) as u64;
    (0..length).map(|_| (next(&mut state) % vocabulary) as u32).collect()
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64 (Steele, Lea, Flood 2014): every state leads to another value.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(GOLDEN);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_differ_from_iteration_to_iteration_and_request_to_request() {
        let prompts = [
            tokens(1, 0, 0, 64, 1000),
            tokens(1, 1, 0, 64, 1000),
            tokens(1, 0, 1, 64, 1000),
            tokens(2, 0, 0, 64, 1000),
        ];
        for (i, a) in prompts.iter().enumerate() {
            assert!(a.iter().all(|token| *token < 1000));
            for b in &prompts[i + 1..] {
                let shared = a.windows(4).any(|part| b.windows(4).any(|other| part == other));
                assert!(!shared, "not even a piece is shared, wherever it stands");
            }
        }
        assert_eq!(prompts[0], tokens(1, 0, 0, 64, 1000));
    }

    #[test]
    fn a_vocabulary_of_one_word_is_no_panic() {
        assert_eq!(tokens(1, 0, 0, 2, 1), [0, 0]);
    }
}
