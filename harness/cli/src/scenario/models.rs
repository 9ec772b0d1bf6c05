//! The models that scenarios may name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use windtunnel_ledger::case::{Files, Model, Snapshot, Source};

use super::text::{SourceText, parse, unknown};
use super::{ScenarioError, files};
use crate::gguf;
use crate::hub::{self, Part};
use crate::workspace::Workspace;

/// The name of reference data: such a file may lie beside the weights, and holds none.
const REFERENCE: &str = "golden.safetensors";
const MODELS: &str = include_str!("../../../../scenarios/models.toml");

/// A model as `models.toml` describes it.
#[derive(Clone, Debug)]
pub(crate) struct KnownModel {
    /// Its name and source.
    pub(crate) model: Model,
    /// Number of parameters, for estimates.
    pub(crate) parameters: u64,
    /// Values that the KV cache holds per token, over all layers; for estimates.
    pub(crate) kv_width: u64,
    /// Size of its weight files in bytes; 0 if it has none.
    pub(crate) stored: u64,
}

/// One entry of `models.toml` as it is typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ModelFile {
    preset: Option<String>,
    folder: Option<PathBuf>,
    gguf: Option<Spanned<PathBuf>>,
    repository: Option<Spanned<String>>,
    revision: Option<Spanned<String>>,
    files: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    parameters: u64,
    #[serde(default)]
    kv_width: u64,
}

/// The keys of an entry that apply to its repository.
struct OfRepository {
    gguf: Option<Spanned<PathBuf>>,
    revision: Option<Spanned<String>>,
    files: Option<Spanned<Vec<String>>>,
}

impl OfRepository {
    fn snapshot(
        &self,
        repository: &Spanned<String>,
        source: &SourceText<'_>,
    ) -> Result<Snapshot, ScenarioError> {
        let OfRepository { gguf, revision, files } = self;
        let wanted = match (gguf, files) {
            (Some(_), Some(files)) => {
                let message = "`gguf` is the one file: leave out `files`".to_owned();
                return Err(source.error(files.span(), message));
            }
            (Some(file), None) => Some(Files::Gguf(file.get_ref().display().to_string())),
            (None, files) => files.as_ref().map(|files| Files::Matching(files.get_ref().clone())),
        };
        let named = revision.as_ref().map_or(hub::MAIN, |revision| revision.get_ref());
        hub::snapshot(repository.get_ref(), named, wanted).map_err(|wrong| {
            let gguf = gguf.as_ref().map(Spanned::span);
            let span = match wrong.part {
                Part::Repository => None,
                Part::Revision => revision.as_ref().map(Spanned::span),
                Part::Files => gguf.or_else(|| Some(files.as_ref()?.span())),
            };
            source.error(span.unwrap_or_else(|| repository.span()), wrong.message)
        })
    }
}

/// The models that scenarios and users can name.
pub(super) struct Models {
    described: BTreeMap<String, KnownModel>,
    /// What relative paths are relative to.
    root: PathBuf,
}

impl Models {
    /// Reads `models.toml`.
    pub(super) fn read(workspace: &Workspace) -> Result<Models, ScenarioError> {
        let (path, text) = files::own_or(workspace, "models.toml", MODELS)?;
        let source = SourceText { path: &path, text: &text };
        let entries: BTreeMap<Spanned<String>, ModelFile> = parse(&path, &text)?;
        let root = workspace.root().to_owned();
        let described = entries.into_iter().map(|(name, entry)| {
            let ModelFile { parameters, kv_width, .. } = entry;
            let (origin, stored) = match (entry.preset, entry.folder, entry.gguf, entry.repository)
            {
                (None, None, gguf, Some(repository)) => {
                    let of_it = OfRepository { gguf, revision: entry.revision, files: entry.files };
                    (Source::Hub(of_it.snapshot(&repository, &source)?), 0)
                }
                _ if entry.revision.is_some() || entry.files.is_some() => {
                    let key = if entry.revision.is_some() { "revision" } else { "files" };
                    let message = format!(
                        "model `{}` has `{key}` but no `repository` for it to belong to",
                        name.get_ref()
                    );
                    return Err(source.error(name.span(), message));
                }
                (Some(preset), None, None, None) => (Source::Preset(preset), 0),
                (None, Some(folder), None, None) => {
                    let folder = root.join(folder);
                    (Source::Folder(shown(&folder, &root)), stored(&folder))
                }
                (None, None, Some(file), None) => {
                    let file = root.join(file.into_inner());
                    (Source::Gguf(shown(&file, &root)), gguf::stored(&file))
                }
                _ => {
                    let message = format!(
                        "model `{}` needs one of `preset`, `folder`, `gguf` and `repository`",
                        name.get_ref()
                    );
                    return Err(source.error(name.span(), message));
                }
            };
            let name = name.into_inner();
            let model = Model { name: name.clone(), source: origin };
            Ok((name, KnownModel { model, parameters, kv_width, stored }))
        });
        Ok(Models { described: described.collect::<Result<_, _>>()?, root })
    }

    /// The models that a scenario names.
    pub(super) fn choose(
        &self,
        wanted: &Spanned<Vec<Spanned<String>>>,
        source: &SourceText<'_>,
    ) -> Result<Vec<KnownModel>, ScenarioError> {
        if wanted.get_ref().is_empty() {
            return Err(source.error(wanted.span(), "no model is named".into()));
        }
        let mut chosen: Vec<KnownModel> = Vec::new();
        for word in wanted.get_ref() {
            let found = self.find(word.get_ref()).map_err(|e| source.error(word.span(), e))?;
            for found in found {
                if chosen.iter().any(|known| known.model.name == found.model.name) {
                    let message = format!("model `{}` is named twice", found.model.name);
                    return Err(source.error(word.span(), message));
                }
                chosen.push(found);
            }
        }
        Ok(chosen)
    }

    /// The models that a user names; `asked` is the option or command that they follow.
    pub(super) fn named(
        &self,
        wanted: &[String],
        asked: &'static str,
    ) -> Result<Vec<KnownModel>, ScenarioError> {
        let mut chosen: Vec<KnownModel> = Vec::new();
        for word in wanted {
            let complaint =
                |problem| ScenarioError::NoModel { asked, wanted: word.clone(), problem };
            for found in self.find(word).map_err(complaint)? {
                match chosen.iter().find(|known| known.model.name == found.model.name) {
                    None => chosen.push(found),
                    Some(known) if known.model.source == found.model.source => (),
                    Some(_) => {
                        let name = &found.model.name;
                        return Err(complaint(format!(
                            "another model is called `{name}` too: rename a folder"
                        )));
                    }
                }
            }
        }
        Ok(chosen)
    }

    /// Resolves one word: a model of `models.toml`, a repository of a hub, a folder, a GGUF file,
    /// or, with `/*` at its end, all model folders in a folder. Paths are relative to the current
    /// folder or, if it is not there, to the workspace.
    fn find(&self, word: &str) -> Result<Vec<KnownModel>, String> {
        // Usually a shell variable that is not set; as a path it would be the workspace itself.
        if word.is_empty() {
            return Err("the name is empty: write that of a model, or leave this out".to_owned());
        }
        if let Some(known) = self.described.get(word) {
            return Ok(vec![known.clone()]);
        }
        if let Some(named) = hub::named(word) {
            let (name, snapshot) = named.map_err(|wrong| wrong.message)?;
            let model = Model { name, source: Source::Hub(snapshot) };
            return Ok(vec![KnownModel { model, parameters: 0, kv_width: 0, stored: 0 }]);
        }
        let place = |path: &str| match Path::new(path) {
            here if here.is_dir() => here.to_owned(),
            there => self.root.join(there),
        };
        if let Some(parent) = word.strip_suffix("/*") {
            let parent = place(parent);
            let entries = std::fs::read_dir(&parent)
                .map_err(|e| format!("cannot read the folder `{}`: {e}", parent.display()))?;
            let mut folders: Vec<PathBuf> = entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.join("config.json").is_file())
                .collect();
            folders.sort();
            return match folders.is_empty() {
                true => Err(format!("no folder in `{}` has a `config.json`", parent.display())),
                false => Ok(folders.iter().map(|folder| self.in_folder(folder)).collect()),
            };
        }
        if gguf::named_so(Path::new(word)) {
            let here = Path::new(word);
            let file = if here.is_file() { here.to_owned() } else { self.root.join(word) };
            return match file.is_file() {
                true => Ok(vec![self.in_file(&file)]),
                false => Err(format!("there is no `{}`", file.display())),
            };
        }
        let folder = place(word);
        let config = folder.join("config.json");
        if config.is_file() {
            return Ok(vec![self.in_folder(&folder)]);
        }
        let known = self.described.keys().map(String::as_str);
        Err(match folder.is_dir() || word.contains('/') {
            true => {
                let repository = hub::snapshot(word, hub::MAIN, None).is_ok();
                let hint = match repository && !folder.is_dir() {
                    true => format!("; a repository of Hugging Face is written `hub:{word}`"),
                    false => String::new(),
                };
                format!("there is no `{}`{hint}", config.display())
            }
            false => {
                let complaint = unknown("model", word, known);
                let end = if complaint.ends_with('?') { "" } else { "." };
                format!("{complaint}{end} Models are described in `models.toml`.")
            }
        })
    }

    /// The model in the GGUF file `file`, named after it.
    fn in_file(&self, file: &Path) -> KnownModel {
        let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let name = file.file_stem().unwrap_or_default().display().to_string();
        let source = Source::Gguf(shown(&file, &self.root));
        let model = Model { name, source };
        KnownModel { model, parameters: 0, kv_width: 0, stored: gguf::stored(&file) }
    }

    /// The model in `folder`, named after it.
    fn in_folder(&self, folder: &Path) -> KnownModel {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let name = folder.file_name().unwrap_or_default().display().to_string();
        let source = Source::Folder(shown(&folder, &self.root));
        let model = Model { name, source };
        KnownModel { model, parameters: 0, kv_width: 0, stored: stored(&folder) }
    }
}

/// The path of a folder or file as it appears in cases: relative to the workspace's root if it is
/// inside, so that a case has the same name and hash in every checkout.
fn shown(folder: &Path, root: &Path) -> String {
    folder.strip_prefix(root).unwrap_or(folder).display().to_string()
}

/// Size in bytes of the weights in a folder.
pub(crate) fn stored(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let weights = entries.filter(|entry| {
        let path = entry.path();
        path.extension().is_some_and(|x| x == "safetensors") && !path.ends_with(REFERENCE)
    });
    // Files may be symbolic links, as in a hub's cache.
    weights.filter_map(|entry| entry.path().metadata().ok()).map(|meta| meta.len()).sum()
}
