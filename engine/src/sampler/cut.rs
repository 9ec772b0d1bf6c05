//! [`Cut`]: the cutoff between the tokens that stay and those that go.
//!
//! Tokens are ordered by value, of equals the lower id first. A filter finds its cutoff in linear
//! time, by partial selection; a full sort of a vocabulary would cost more than a decode step of a
//! small model.

use std::cmp::Ordering;

/// Values compared with the cutoff at once: a multiple of every vector width.
const CHUNK: usize = 64;

/// A token with its logit or its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) value: f32,
    pub(super) id: u32,
}

impl Candidate {
    /// Larger values first; of equals, which both zeros are, the lower id.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        // The sum of −0 and 0 is 0.
        (other.value + 0.0).total_cmp(&(self.value + 0.0)).then(self.id.cmp(&other.id))
    }
}

/// The last token that stays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cut(Candidate);

impl Cut {
    /// Everything of at least `value`.
    pub(super) const fn at(value: f32) -> Self {
        Self(Candidate { value, id: u32::MAX })
    }

    pub(super) const fn after(last: Candidate) -> Self {
        Self(last)
    }

    pub(super) fn admits(&self, Candidate { value, id }: Candidate) -> bool {
        value > self.0.value || (value == self.0.value && id <= self.0.id)
    }

    /// Fills `kept` with those of `values` that stay, by id.
    pub(super) fn gather(&self, values: &[f32], kept: &mut Vec<Candidate>) {
        kept.clear();
        for (chunk, first) in values.chunks(CHUNK).zip((0u32..).step_by(CHUNK)) {
            if any(chunk, |value| value >= self.0.value) {
                let all = (first..).zip(chunk).map(|(id, &value)| Candidate { value, id });
                kept.extend(all.filter(|candidate| self.admits(*candidate)));
            }
        }
    }
}

/// The cutoff after the `count` largest of `values`, which are left in `pool`, unordered. −∞ is
/// never among them.
pub(super) fn largest(values: &[f32], count: usize, pool: &mut Vec<Candidate>) -> Cut {
    pool.clear();
    // Selecting costs time linear in the pool, and is due again when the pool has doubled: constant
    // work per token even if the values ascend.
    let full = count.saturating_mul(2).max(512);
    let mut border = f32::NEG_INFINITY;
    for (chunk, first) in values.chunks(CHUNK).zip((0u32..).step_by(CHUNK)) {
        // A later token needs more than the cutoff: of equals, the earlier one stays.
        if !any(chunk, |value| value > border) {
            continue;
        }
        let above = (first..).zip(chunk).filter(|(_, value)| **value > border);
        pool.extend(above.map(|(id, &value)| Candidate { value, id }));
        if pool.len() >= full {
            border = truncate(pool, count).unwrap_or(border);
        }
    }
    truncate(pool, count);
    match pool.get(count.wrapping_sub(1)) {
        Some(&last) => Cut::after(last),
        None => Cut::at(f32::NEG_INFINITY),
    }
}

/// Keeps the first `count` of `pool` by [`Candidate::order`], the last of them in the last place,
/// and returns its value; `None` if there are no more than `count`.
fn truncate(pool: &mut Vec<Candidate>, count: usize) -> Option<f32> {
    let last = count.checked_sub(1).filter(|last| *last < pool.len())?;
    let (_, border, _) = pool.select_nth_unstable_by(last, Candidate::order);
    let border = border.value;
    pool.truncate(count);
    Some(border)
}

/// The cutoff after the smallest set of first candidates in `pool` whose values sum to `wanted`.
/// Leaves `pool` unordered.
pub(super) fn nucleus(pool: &mut [Candidate], mut wanted: f64) -> Cut {
    let mut rest = pool;
    while rest.len() > CHUNK {
        let half = rest.len() / 2;
        rest.select_nth_unstable_by(half, Candidate::order);
        let (upper, lower) = rest.split_at_mut(half);
        let sum: f64 = upper.iter().map(|c| f64::from(c.value)).sum();
        rest = if sum >= wanted {
            upper
        } else {
            wanted -= sum;
            lower
        };
    }
    rest.sort_unstable_by(Candidate::order);
    let mut cut = Cut::at(f32::NEG_INFINITY);
    for &candidate in &*rest {
        cut = Cut::after(candidate);
        wanted -= f64::from(candidate.value);
        if wanted <= 0.0 {
            break;
        }
    }
    cut
}

/// The largest of `values`; `None` if it is not finite or any of them is NaN.
pub(super) fn highest(values: &[f32]) -> Option<f32> {
    let (chunks, rest) = values.as_chunks::<CHUNK>();
    let mut largest = [f32::NEG_INFINITY; CHUNK];
    // As wide as the values, so that both stay in vector registers.
    let mut nan = [0u32; CHUNK];
    for chunk in chunks {
        for ((largest, nan), value) in largest.iter_mut().zip(&mut nan).zip(chunk) {
            *nan |= u32::from(value.is_nan());
            *largest = if *value > *largest { *value } else { *largest };
        }
    }
    let nan = nan.iter().any(|nan| *nan != 0) || rest.iter().any(|value| value.is_nan());
    let largest = largest.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, f32::max);
    (!nan && largest.is_finite()).then_some(largest)
}

/// The lowest id whose value is `value`; 0 if there is none.
pub(super) fn first(values: &[f32], value: f32) -> u32 {
    let holds = |chunk: &[f32]| any(chunk, |other| other == value);
    let chunk = values.chunks(CHUNK).position(holds).unwrap_or(0) * CHUNK;
    let within = values[chunk..].iter().position(|other| *other == value).unwrap_or(0);
    (chunk + within) as u32
}

/// Whether `test` holds for any value, without branching on each: whole chunks in vectors.
#[inline(always)]
fn any(chunk: &[f32], test: impl Fn(f32) -> bool) -> bool {
    let count = |values: &[f32]| values.iter().fold(0, |any, &v| any | u32::from(test(v))) != 0;
    match chunk.as_array::<CHUNK>() {
        Some(whole) => count(whole),
        None => count(chunk),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(values: &[f32]) -> Vec<Candidate> {
        let mut all: Vec<_> =
            (0u32..).zip(values).map(|(id, &value)| Candidate { value, id }).collect();
        all.sort_by(Candidate::order);
        all
    }

    proptest! {
        /// Few distinct values, so that there are ties at every cutoff.
        #[test]
        fn selection_agrees_with_sorting(
            values in proptest::collection::vec(0u8..40, 1..3000),
            count in 1usize..1500,
            share in 0.0f64..1.0,
        ) {
            let values: Vec<f32> = values.into_iter().map(f32::from).collect();
            let sorted = sorted(&values);
            let (mut pool, mut kept) = (Vec::new(), Vec::new());

            largest(&values, count, &mut pool).gather(&values, &mut kept);
            kept.sort_by(Candidate::order);
            pool.sort_by(Candidate::order);
            let expected = &sorted[..count.min(values.len())];
            prop_assert_eq!(&kept[..], expected);
            prop_assert_eq!(&pool[..], expected);

            let wanted = share * values.iter().map(|v| f64::from(*v)).sum::<f64>();
            let mut before = 0.0;
            let expected = sorted.iter().enumerate().take_while(|(at, c)| {
                let stays = *at == 0 || before < wanted;
                before += f64::from(c.value);
                stays
            });
            let expected = expected.count();
            let cut = nucleus(&mut sorted.clone(), wanted);
            prop_assert_eq!(sorted.iter().filter(|c| cut.admits(**c)).count(), expected);
        }
    }

    #[test]
    fn both_zeros_are_equals() {
        let (mut pool, mut kept) = (Vec::new(), Vec::new());
        for values in [[-5.0, -0.0, 0.0], [-5.0, 0.0, -0.0]] {
            largest(&values, 1, &mut pool).gather(&values, &mut kept);
            assert_eq!(kept, [Candidate { value: 0.0, id: 1 }]);
        }
    }

    #[test]
    fn ascending_values_and_minus_infinity_are_selected_right() {
        let values: Vec<f32> = (0..5000).map(|v| v as f32).collect();
        let mut pool = Vec::new();
        assert_eq!(
            largest(&values, 3, &mut pool),
            Cut::after(Candidate { value: 4997.0, id: 4997 })
        );
        let banned = [f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY];
        largest(&banned, 2, &mut pool);
        assert_eq!(pool, [Candidate { value: 1.0, id: 1 }]);
    }
}
