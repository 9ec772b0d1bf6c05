//! The models that scenarios may name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;
use windtunnel_ledger::case::{Model, Source};

use super::text::{SourceText, parse};
use super::{ScenarioError, files};
use crate::workspace::Workspace;

const MODELS: &str = include_str!("../../../../scenarios/models.toml");

/// A model as `models.toml` describes it.
#[derive(Clone, Debug)]
pub(crate) struct KnownModel {
    /// Its name and source.
    pub(crate) model: Model,
    /// Number of parameters, for estimates.
    pub(crate) parameters: u64,
    /// Numbers that the KV cache holds for one token over all layers, for estimates.
    pub(crate) kv_width: u64,
}

/// One entry of `models.toml` as it is typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ModelFile {
    preset: Option<String>,
    folder: Option<PathBuf>,
    #[serde(default)]
    parameters: u64,
    #[serde(default)]
    kv_width: u64,
}

/// Every model, by its name.
pub(super) fn models(workspace: &Workspace) -> Result<BTreeMap<String, KnownModel>, ScenarioError> {
    let (path, text) = files::own_or(workspace, "models.toml", MODELS)?;
    let source = SourceText { path: &path, text: &text };
    let entries: BTreeMap<Spanned<String>, ModelFile> = parse(&path, &text)?;
    let known = entries.into_iter().map(|(name, entry)| {
        let origin = match (entry.preset, entry.folder) {
            (Some(preset), None) => Source::Preset(preset),
            (None, Some(folder)) => {
                Source::Folder(workspace.root().join(folder).display().to_string())
            }
            _ => {
                let message =
                    format!("model `{}` needs either `preset` or `folder`", name.get_ref());
                return Err(source.error(name.span(), message));
            }
        };
        let name = name.into_inner();
        let model = Model { name: name.clone(), source: origin };
        Ok((name, KnownModel { model, parameters: entry.parameters, kv_width: entry.kv_width }))
    });
    known.collect()
}
