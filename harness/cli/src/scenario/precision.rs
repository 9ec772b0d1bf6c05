//! The precision that the rounds of a scenario aim for.

use serde::Deserialize;
use toml::Spanned;
use windtunnel_ledger::precision::{Enough, Precision};
use windtunnel_ledger::unit::Nanos;

use super::ScenarioError;
use super::text::SourceText;
use super::values::Seconds;

/// The table, as typed in a scenario.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrecisionFile {
    target: f64,
    budget: Seconds,
}

/// When a round has enough iterations.
pub(super) fn enough(
    file: Option<&Spanned<PrecisionFile>>,
    deadline: Nanos,
    source: &SourceText<'_>,
) -> Result<Enough, ScenarioError> {
    let Some(file) = file else { return Ok(Enough::Counted) };
    let PrecisionFile { target, budget: Seconds(budget) } = *file.get_ref();
    let Some(precision) = Precision::new(target, budget) else {
        let message = format!(
            "a `target` of {target} is not a share from 0.000001 to 1: write 0.01 for ±1 %"
        );
        return Err(source.error(file.span(), message));
    };
    if budget >= deadline {
        let message = format!(
            "a `budget` of {budget} does not end before the `deadline` of {deadline}: raise `deadline`"
        );
        return Err(source.error(file.span(), message));
    }
    Ok(Enough::Precise(precision))
}
