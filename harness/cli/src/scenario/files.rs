//! Finds the files that the user names.

use std::path::{Path, PathBuf};

use super::ScenarioError;
use super::text::nearest;
use crate::workspace::Workspace;

/// The files that one word of the user names, each with the name of its scenario.
pub(super) fn find(
    workspace: &Workspace,
    wanted: &str,
) -> Result<Vec<(String, PathBuf)>, ScenarioError> {
    let dir = workspace.scenarios();
    let name_of = |path: &Path| {
        let inside =
            path.canonicalize().ok().and_then(|p| p.strip_prefix(&dir).map(Path::to_owned).ok());
        let named =
            inside.as_deref().unwrap_or_else(|| Path::new(path.file_name().unwrap_or_default()));
        named.with_extension("").display().to_string()
    };
    if wanted.ends_with(".toml") {
        let path = PathBuf::from(wanted);
        return Ok(vec![(name_of(&path), path)]);
    }
    let known = all(&dir);
    // Shell completion adds the folder.
    let word = wanted.trim_start_matches("./").trim_end_matches('/');
    let word = word.strip_prefix("scenarios/").unwrap_or(word);
    let chosen: Vec<_> = known
        .iter()
        .filter(|(name, _)| name == word || name.starts_with(&format!("{word}/")))
        .cloned()
        .collect();
    if chosen.is_empty() {
        let names: Vec<String> = known.into_iter().map(|(name, _)| name).collect();
        let folders =
            names.iter().filter_map(|name| name.rsplit_once('/').map(|(folder, _)| folder));
        let near = nearest(wanted, names.iter().map(String::as_str).chain(folders));
        return Err(ScenarioError::Unknown { wanted: wanted.to_owned(), dir, near, known: names });
    }
    Ok(chosen)
}

/// Every scenario below `dir`, sorted by name. The files directly in `dir` are not scenarios.
pub(super) fn all(dir: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if folder != dir && path.extension().is_some_and(|extension| extension == "toml")
            {
                let inside = path.strip_prefix(dir).unwrap_or(&path).with_extension("");
                found.push((inside.display().to_string(), path));
            }
        }
    }
    found.sort();
    found
}

/// The topologies of `workspace`, sorted by name.
pub(super) fn topologies(workspace: &Workspace) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(workspace.scenarios().join("topologies"));
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let yaml = |path: &PathBuf| path.extension().is_some_and(|x| x == "yaml" || x == "yml");
    let named = |path: PathBuf| Some((path.file_stem()?.to_str()?.to_owned(), path));
    let mut found: Vec<_> = paths.filter(yaml).filter_map(named).collect();
    found.sort();
    found
}

/// Reads a file of the workspace, or falls back to the one built into this program.
pub(super) fn own_or(
    workspace: &Workspace,
    name: &str,
    built_in: &str,
) -> Result<(PathBuf, String), ScenarioError> {
    let path = workspace.scenarios().join(name);
    let shown = path.strip_prefix(workspace.root()).unwrap_or(&path).to_owned();
    match path.is_file() {
        true => Ok((shown, read(&path)?)),
        false => Ok((PathBuf::from(name), built_in.to_owned())),
    }
}

/// Whether two paths lead to the same file.
pub(super) fn same(a: &Path, b: &Path) -> bool {
    a == b || a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

pub(super) fn read(path: &Path) -> Result<String, ScenarioError> {
    std::fs::read_to_string(path)
        .map_err(|source| ScenarioError::Unreadable { path: path.to_owned(), source })
}
