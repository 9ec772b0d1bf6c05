//! The bounds of a scenario: the latency objectives of a service, and the numerical tolerance.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use windtunnel_ledger::case::{Dtype, Slo, Tolerance};

use super::ScenarioError;
use super::kind::Kind;
use super::text::SourceText;
use super::values::{Seconds, Wrong};

/// The bounds of a scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The objectives that a good answer of a service meets.
    pub(crate) slo: Slo,
    f32: Tolerance,
    f16: Tolerance,
    bf16: Tolerance,
}

/// The tables of bounds, as typed in a scenario.
#[derive(Default)]
pub(super) struct BoundsFile {
    pub(super) slo: Option<Spanned<SloFile>>,
    pub(super) tolerance: Option<Spanned<ToleranceFile>>,
}

/// The objectives of a service, as typed in a scenario.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct SloFile {
    time_to_first_token: Option<Seconds>,
    time_per_output_token: Option<Seconds>,
    end_to_end: Option<Seconds>,
}

/// The tolerance of logits per dtype, as typed in a scenario.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToleranceFile {
    f32: Option<Wrong>,
    f16: Option<Wrong>,
    bf16: Option<Wrong>,
}

/// The default objectives of a service.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct DefaultSlo {
    time_to_first_token: Seconds,
    time_per_output_token: Seconds,
    end_to_end: Seconds,
}

/// The default tolerance of logits.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DefaultTolerance {
    f32: Wrong,
    f16: Wrong,
    bf16: Wrong,
}

impl Bounds {
    /// The tolerance for this dtype.
    pub(crate) const fn tolerance(&self, dtype: Dtype) -> Tolerance {
        match dtype {
            Dtype::F32 => self.f32,
            Dtype::F16 => self.f16,
            // `Auto` may resolve to any dtype, so it gets the same tolerance as bf16.
            Dtype::Auto | Dtype::Bf16 => self.bf16,
        }
    }
}

/// The bounds that the file sets, and the defaults for the rest.
pub(super) fn layered(
    file: &BoundsFile,
    slo: DefaultSlo,
    tolerance: DefaultTolerance,
    kind: &Kind,
    source: &SourceText<'_>,
) -> Result<Bounds, ScenarioError> {
    let means_nothing = |table: &str, span: Range<usize>, why: &str| {
        let message = format!("`{table}` means nothing to workload `{}`: {why}", kind.name);
        Err(source.error(span, message))
    };
    if let (Some(slo), false) = (&file.slo, kind.name == "serve") {
        return means_nothing("slo", slo.span(), "only `serve` judges its answers");
    }
    if let (Some(tolerance), false) = (&file.tolerance, kind.name == "parity") {
        return means_nothing("tolerance", tolerance.span(), "only `parity` has a reference");
    }
    let own = file.slo.as_ref().map(|slo| *slo.get_ref()).unwrap_or_default();
    let or = |own: Option<Seconds>, default: Seconds| own.unwrap_or(default).0;
    let slo = Slo {
        time_to_first_token: or(own.time_to_first_token, slo.time_to_first_token),
        time_per_output_token: or(own.time_per_output_token, slo.time_per_output_token),
        end_to_end: or(own.end_to_end, slo.end_to_end),
    };
    let own = file.tolerance.as_ref().map(|tolerance| *tolerance.get_ref()).unwrap_or_default();
    let or = |own: Option<Wrong>, default: Wrong| own.unwrap_or(default).0;
    Ok(Bounds {
        slo,
        f32: or(own.f32, tolerance.f32),
        f16: or(own.f16, tolerance.f16),
        bf16: or(own.bf16, tolerance.bf16),
    })
}
