//! `baselines/store.toml`: where a team shares its sessions.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::scenario;
use crate::workspace::Workspace;

/// Where sessions are shared.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The place that `push` and `pull` use if none is named.
    #[serde(default)]
    pub(crate) url: Option<String>,
    /// What a bucket needs besides its name: `region`, `endpoint`. No credentials: those come from
    /// the environment.
    #[serde(default)]
    #[cfg_attr(
        not(feature = "cloud"),
        expect(dead_code, reason = "without buckets, a file with options is still valid")
    )]
    pub(crate) options: BTreeMap<String, String>,
}

impl Settings {
    /// Reads the settings of a workspace, which may have none.
    pub(crate) fn read(workspace: &Workspace) -> Result<Settings> {
        let path = workspace.baselines().join("store.toml");
        if !path.is_file() {
            return Ok(Settings::default());
        }
        let text = std::fs::read_to_string(&path).context("cannot read `baselines/store.toml`")?;
        Ok(scenario::parse("baselines/store.toml".as_ref(), &text)?)
    }

    /// The place `named`, or else the one in the settings.
    pub(crate) fn place(&self, named: Option<&str>) -> Result<String> {
        let place = named.map(str::to_owned).or_else(|| self.url.clone());
        // An empty place would mean the current folder.
        place.filter(|place| !place.is_empty()).context(
            "no place given: name a folder or a URL such as `s3://BUCKET/PREFIX`, or write `url = \"…\"` into `baselines/store.toml`",
        )
    }
}
