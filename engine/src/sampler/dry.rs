//! [`Dry`]: do not repeat yourself.
//!
//! A token is penalised if it would lengthen a repeat: wherever it occurred before, the tokens
//! before it are compared with the end of the context. The longer they match, the higher the
//! penalty.

use std::collections::HashMap;

/// Longest match that is looked for, in tokens; longer ones cost the same.
const LONGEST: usize = 50;

/// Penalty for continuing a repeat: `multiplier · base^(length − allowed_length)` is subtracted
/// from the logit, where `length` is the number of tokens before the candidate that repeat.
#[derive(Debug, Clone, PartialEq)]
pub struct Dry {
    /// Strength; 0 is off.
    pub multiplier: f32,
    /// Growth with each further token; at least 1.
    pub base: f32,
    /// Shortest repeat that is penalised, in tokens.
    pub allowed_length: usize,
    /// How many of the last tokens are searched; if `None`, the whole context.
    pub range: Option<usize>,
    /// Tokens that interrupt every repeat, and are never penalised.
    pub breakers: Vec<u32>,
}

impl Dry {
    /// Off, with the usual values otherwise.
    pub const OFF: Self =
        Self { multiplier: 0.0, base: 1.75, allowed_length: 2, range: None, breakers: Vec::new() };

    pub(super) fn is_off(&self) -> bool {
        self.multiplier == 0.0
    }

    pub(super) fn apply(&self, context: &[u32], logits: &mut [f32]) {
        if self.is_off() {
            return;
        }
        for (id, length) in self.repeats(context) {
            let beyond = length.checked_sub(self.allowed_length);
            if let (Some(beyond), Some(logit)) = (beyond, logits.get_mut(id as usize)) {
                *logit -= self.multiplier * self.base.powi(beyond as i32);
            }
        }
    }

    /// Each token that would lengthen a repeat, with the longest match.
    fn repeats(&self, context: &[u32]) -> HashMap<u32, usize> {
        let hidden = self.range.map_or(0, |range| context.len().saturating_sub(range));
        let context = &context[hidden..];
        let mut repeats = HashMap::new();
        let Some(&last) = context.last() else { return repeats };
        if self.breakers.contains(&last) {
            return repeats;
        }
        for (at, pair) in context.windows(2).enumerate() {
            let &[before, candidate] = pair else { continue };
            if before != last || self.breakers.contains(&candidate) {
                continue;
            }
            let ends = context[..=at].iter().rev().zip(context.iter().rev());
            let agree = |(a, b): &(&u32, &u32)| a == b && !self.breakers.contains(a);
            let length = ends.take(LONGEST).take_while(agree).count();
            let longest = repeats.entry(candidate).or_insert(0);
            *longest = length.max(*longest);
        }
        repeats
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
        atol: f32,
    }

    #[derive(Deserialize)]
    struct Case {
        about: String,
        multiplier: f32,
        base: f32,
        allowed_length: usize,
        breakers: Vec<u32>,
        last_n: usize,
        max_match: usize,
        context: Vec<u32>,
        logits: Vec<f32>,
        expected: Vec<f32>,
        match_lengths: HashMap<u32, usize>,
    }

    #[test]
    fn penalties_and_lengths_are_those_of_the_reference() {
        let json = include_str!("../../tests/golden/sampling/dry.json");
        let Golden { cases, atol } = serde_json::from_str(json).unwrap();
        assert_eq!(cases.len(), 16);
        for mut case in cases {
            assert_eq!(case.max_match, LONGEST, "{}", case.about);
            let dry = Dry {
                multiplier: case.multiplier,
                base: case.base,
                allowed_length: case.allowed_length,
                range: Some(case.last_n).filter(|range| *range > 0),
                breakers: case.breakers,
            };
            assert_eq!(dry.repeats(&case.context), case.match_lengths, "{}", case.about);
            dry.apply(&case.context, &mut case.logits);
            for (id, (found, expected)) in case.logits.iter().zip(&case.expected).enumerate() {
                assert!(
                    (found - expected).abs() <= atol,
                    "{}: token {id} has {found}, expected {expected}",
                    case.about
                );
            }
        }
    }
}
