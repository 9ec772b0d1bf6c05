//! Valid values of a [`Sampling`].

use super::Sampling;
use crate::error::{Error, Result};

impl Sampling {
    /// Refuses values without a meaning, for a model of `vocabulary` tokens.
    ///
    /// # Errors
    ///
    /// [`Error::Sampling`] on the first value outside its range.
    pub fn check(&self, vocabulary: usize) -> Result<()> {
        let Self { temperature, top_k, top_p, min_p, dry, .. } = self;
        let within = |parameter, value: f32, ok: bool, problem: &str| match ok {
            true => Ok(()),
            false => refuse(parameter, value.to_string(), problem.into()),
        };
        let at_least_0 = |value: f32| value >= 0.0 && value.is_finite();
        within(
            "temperature",
            *temperature,
            at_least_0(*temperature),
            "but must be a number of at least 0; use 0 for greedy decoding",
        )?;
        if *top_k == Some(0) {
            return refuse("top_k", "0".into(), "but one token must stay; leave it out".into());
        }
        within(
            "top_p",
            *top_p,
            *top_p > 0.0 && *top_p <= 1.0,
            "but must be above 0 and at most 1; use 1 to turn it off",
        )?;
        within(
            "min_p",
            *min_p,
            (0.0..=1.0).contains(min_p),
            "but must be between 0 and 1; use 0 to turn it off",
        )?;
        for (parameter, value) in [
            ("frequency_penalty", self.frequency_penalty),
            ("presence_penalty", self.presence_penalty),
        ] {
            within(
                parameter,
                value,
                value.is_finite(),
                "but must be a number; use 0 to turn it off",
            )?;
        }
        let repetition = self.repetition_penalty;
        within(
            "repetition_penalty",
            repetition,
            repetition > 0.0 && repetition.is_finite(),
            "but must be a number above 0; use 1 to turn it off",
        )?;
        within(
            "dry.multiplier",
            dry.multiplier,
            at_least_0(dry.multiplier),
            "but must be a number of at least 0; use 0 to turn it off",
        )?;
        within(
            "dry.base",
            dry.base,
            dry.base >= 1.0 && dry.base.is_finite(),
            "but must be a number of at least 1; 1.75 is usual",
        )?;
        if dry.range == Some(0) {
            let problem = "but at least one token must be searched; leave it out to search all";
            return refuse("dry.range", "0".into(), problem.into());
        }
        for &(token, bias) in &self.logit_bias {
            let value = format!("{bias} for token {token}");
            if token as usize >= vocabulary {
                let problem =
                    format!("outside the vocabulary of {vocabulary}; ids are below that number");
                return refuse("logit_bias", value, problem);
            }
            if bias.is_nan() || bias == f32::INFINITY {
                let problem = "but must be a number; use -inf to ban a token";
                return refuse("logit_bias", value, problem.into());
            }
        }
        Ok(())
    }
}

fn refuse(parameter: &'static str, value: String, problem: String) -> Result<()> {
    Err(Error::Sampling { parameter, value, problem })
}
