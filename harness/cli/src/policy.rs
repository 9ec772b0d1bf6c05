//! Reads the policy.

use std::path::Path;

use anyhow::{Context, Result};
use windtunnel_ledger::conditions::Rules;
use windtunnel_ledger::policy::Policy;

/// The rules for conditions of the policy in the file `path`.
pub(crate) fn conditions(path: &Path) -> Result<Rules> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read policy `{}`", path.display()))?;
    let policy: Policy =
        toml::from_str(&text).with_context(|| format!("policy `{}`", path.display()))?;
    Ok(policy.conditions)
}
