//! Points that a scenario skips, each with its reason.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::ScenarioError;
use super::text::{SourceText, unknown};

/// Points that a scenario skips.
#[derive(Clone, Debug)]
pub(crate) struct Skip {
    /// Axes (and `model`) with the values to skip; all must match.
    pub(crate) when: BTreeMap<String, Vec<String>>,
    /// Why.
    pub(crate) reason: String,
}

/// One `[[skip]]`, as typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct SkipFile {
    when: Spanned<BTreeMap<Spanned<String>, Spanned<toml::Value>>>,
    reason: String,
}

/// Checks that a skip can apply. `named` holds the axes of the matrix, and `model`, with their
/// values.
pub(super) fn resolve(
    skip: SkipFile,
    named: &BTreeMap<&'static str, Vec<String>>,
    source: &SourceText<'_>,
) -> Result<Skip, ScenarioError> {
    let text = |value: &toml::Value| match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if skip.when.get_ref().is_empty() {
        let message = "`when` names no axis, so every case would be left out".into();
        return Err(source.error(skip.when.span(), message));
    }
    let mut when = BTreeMap::new();
    for (axis, values) in skip.when.into_inner() {
        let Some(known) = named.get(axis.get_ref().as_str()) else {
            let message = unknown("axis", axis.get_ref(), named.keys().copied());
            return Err(source.error(axis.span(), message));
        };
        let span = values.span();
        let values: Vec<String> = match values.get_ref() {
            toml::Value::Array(values) => values.iter().map(text).collect(),
            value => vec![text(value)],
        };
        if let Some(value) = values.iter().find(|value| !known.contains(value)) {
            let message = unknown("value", value, known.iter().map(String::as_str));
            return Err(source.error(span, message));
        }
        when.insert(axis.into_inner(), values);
    }
    Ok(Skip { when, reason: skip.reason })
}
