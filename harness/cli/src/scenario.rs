//! What users write: scenario files, the defaults and the list of models.
//!
//! A file is read into the shape in which it is typed, every key optional that may be left out,
//! and layered over the defaults into a [`Scenario`] in which nothing is. Whatever is wrong with a
//! file is told with its name, the line, and the word that was probably meant.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use windtunnel_ledger::case::{Dtype, KvLayout, Model, Source, Workload};

use crate::workspace::Workspace;

const DEFAULTS: &str = include_str!("../../../scenarios/defaults.toml");
const MODELS: &str = include_str!("../../../scenarios/models.toml");

/// A scenario with nothing left open.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Its path below the scenario directory, without `.toml`: `gate/decode`.
    pub(crate) name: String,
    /// Which workload, one of [`Workload::NAMES`].
    pub(crate) workload: String,
    /// The models to cross with the matrix.
    pub(crate) models: Vec<KnownModel>,
    /// Rounds per case and subject.
    pub(crate) rounds: NonZeroU32,
    /// Iterations before the clock counts.
    pub(crate) warmup: u32,
    /// Iterations that count.
    pub(crate) iterations: NonZeroU32,
    /// Seed of weights and prompts.
    pub(crate) seed: u64,
    /// Seconds until a child is killed.
    pub(crate) deadline: f64,
    /// The axes that the scenario names, each with its values.
    pub(crate) matrix: Matrix,
    /// The value of every axis that it does not name.
    pub(crate) defaults: Point,
    /// Points to leave out.
    pub(crate) skips: Vec<Skip>,
}

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

/// One value for every axis.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Point {
    pub(crate) dtype: Dtype,
    pub(crate) kv: KvLayout,
    pub(crate) attention: String,
    pub(crate) step_tokens: NonZeroU32,
    pub(crate) prompt: NonZeroU32,
    pub(crate) depth: NonZeroU32,
    pub(crate) output: NonZeroU32,
    pub(crate) batch: NonZeroU32,
}

/// The values of the axes that a scenario names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Matrix {
    pub(crate) dtype: Option<Axis<Dtype>>,
    pub(crate) kv: Option<Axis<KvLayout>>,
    pub(crate) attention: Option<Axis<String>>,
    pub(crate) step_tokens: Option<Axis<NonZeroU32>>,
    pub(crate) prompt: Option<Axis<NonZeroU32>>,
    pub(crate) depth: Option<Axis<NonZeroU32>>,
    pub(crate) output: Option<Axis<NonZeroU32>>,
    pub(crate) batch: Option<Axis<NonZeroU32>>,
}

/// The values of one axis, and where in the file they stand.
pub(crate) type Axis<T> = Spanned<Vec<T>>;

/// Points that a scenario leaves out.
#[derive(Clone, Debug)]
pub(crate) struct Skip {
    /// Axes (and `model`) with the values to leave out; all must match.
    pub(crate) when: BTreeMap<String, Vec<String>>,
    /// Why.
    pub(crate) reason: String,
}

/// A scenario file as it is typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ScenarioFile {
    workload: Spanned<String>,
    models: Spanned<Vec<Spanned<String>>>,
    rounds: Option<NonZeroU32>,
    warmup: Option<Spanned<u32>>,
    iterations: Option<Spanned<NonZeroU32>>,
    seed: Option<u64>,
    deadline: Option<Spanned<f64>>,
    #[serde(default)]
    matrix: Matrix,
    #[serde(default)]
    skip: Vec<SkipFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SkipFile {
    when: BTreeMap<Spanned<String>, Spanned<toml::Value>>,
    reason: String,
}

/// `defaults.toml` as it is typed: nothing may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DefaultsFile {
    rounds: NonZeroU32,
    warmup: u32,
    iterations: NonZeroU32,
    seed: u64,
    deadline: f64,
    matrix: Point,
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

/// Why scenarios cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("no scenario `{wanted}` in `{}`{}", dir.display(), hint(near.as_deref(), known))]
    Unknown { wanted: String, dir: PathBuf, near: Option<String>, known: Vec<String> },
    #[error("`{}`, line {line}: {message}\n{excerpt}", path.display())]
    Invalid { path: PathBuf, line: usize, message: String, excerpt: String },
}

fn hint(near: Option<&str>, known: &[String]) -> String {
    match (near, known.is_empty()) {
        (Some(near), _) => format!(", did you mean `{near}`?"),
        (None, false) => format!("; there are: {}", known.join(", ")),
        (None, true) => {
            "; there is none at all: name a file, or change to the workspace with `-C`".into()
        }
    }
}

/// Loads the scenarios that `wanted` names: a scenario (`gate/decode`), a folder of them (`gate`),
/// or a path to a file.
pub(crate) fn load(
    workspace: &Workspace,
    wanted: &[String],
) -> Result<Vec<Scenario>, ScenarioError> {
    let models = models(workspace)?;
    let defaults: DefaultsFile = parse(Path::new("scenarios/defaults.toml"), DEFAULTS)?;
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for name in wanted {
        for file in find(workspace, name)? {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    files
        .into_iter()
        .map(|(name, path)| {
            let text = read(&path)?;
            let shown = path.strip_prefix(workspace.root()).unwrap_or(&path);
            let source = SourceText { path: shown, text: &text };
            resolve(name, parse(shown, &text)?, &defaults, &models, &source)
        })
        .collect()
}

/// The files that one word of the user names, each with the scenario's name.
fn find(workspace: &Workspace, wanted: &str) -> Result<Vec<(String, PathBuf)>, ScenarioError> {
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
    let chosen: Vec<_> = known
        .iter()
        .filter(|(name, _)| {
            name == wanted || name.starts_with(&format!("{}/", wanted.trim_end_matches('/')))
        })
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

/// Every scenario below `dir`, sorted by name. The files at its top are not scenarios.
fn all(dir: &Path) -> Vec<(String, PathBuf)> {
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

/// The models of this build, overlaid with those of the workspace.
fn models(workspace: &Workspace) -> Result<BTreeMap<String, KnownModel>, ScenarioError> {
    let path = workspace.scenarios().join("models.toml");
    let (path, text) = match path.is_file() {
        true => (path.clone(), read(&path)?),
        false => (PathBuf::from("models.toml"), MODELS.to_owned()),
    };
    let shown = path.strip_prefix(workspace.root()).unwrap_or(&path);
    let source = SourceText { path: shown, text: &text };
    let entries: BTreeMap<Spanned<String>, ModelFile> = parse(shown, &text)?;
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

/// Layers a file over the defaults and checks what no type can.
fn resolve(
    name: String,
    file: ScenarioFile,
    defaults: &DefaultsFile,
    models: &BTreeMap<String, KnownModel>,
    source: &SourceText<'_>,
) -> Result<Scenario, ScenarioError> {
    let workload = file.workload.get_ref();
    if !Workload::NAMES.contains(&workload.as_str()) {
        let message = unknown("workload", workload, Workload::NAMES.into_iter());
        return Err(source.error(file.workload.span(), message));
    }
    check_axes(workload, &file.matrix, source)?;
    if file.models.get_ref().is_empty() {
        return Err(source.error(file.models.span(), "no model is named".into()));
    }
    let known = |wanted: &Spanned<String>| {
        models.get(wanted.get_ref()).cloned().ok_or_else(|| {
            let message = unknown("model", wanted.get_ref(), models.keys().map(String::as_str));
            source.error(wanted.span(), message + "; models are described in `models.toml`")
        })
    };
    let repeats =
        [&file.warmup.as_ref().map(Spanned::span), &file.iterations.as_ref().map(Spanned::span)];
    if let (Some(span), "load") = (repeats.into_iter().flatten().next(), workload.as_str()) {
        let message = "workload `load` loads once a round: raise `rounds` instead".into();
        return Err(source.error(span.clone(), message));
    }
    if let Some(deadline) =
        file.deadline.as_ref().filter(|d| !(d.get_ref().is_finite() && *d.get_ref() > 0.0))
    {
        return Err(
            source.error(deadline.span(), "`deadline` is a positive number of seconds".into())
        );
    }

    Ok(Scenario {
        models: file.models.get_ref().iter().map(known).collect::<Result<_, _>>()?,
        skips: file
            .skip
            .into_iter()
            .map(|skip| resolve_skip(skip, source))
            .collect::<Result<_, _>>()?,
        workload: workload.clone(),
        rounds: file.rounds.unwrap_or(defaults.rounds),
        warmup: file.warmup.map_or(defaults.warmup, Spanned::into_inner),
        iterations: file.iterations.map_or(defaults.iterations, Spanned::into_inner),
        seed: file.seed.unwrap_or(defaults.seed),
        deadline: file.deadline.map_or(defaults.deadline, Spanned::into_inner),
        matrix: file.matrix,
        defaults: defaults.matrix.clone(),
        name,
    })
}

/// The axes, and the workloads to which each means something.
pub(crate) const AXES: [(&str, &[&str]); 8] = [
    ("attention", &Workload::NAMES),
    ("batch", &["prefill", "decode", "generate"]),
    ("depth", &["decode"]),
    ("dtype", &Workload::NAMES),
    ("kv", &Workload::NAMES),
    ("output", &["decode", "generate"]),
    ("prompt", &["prefill", "generate"]),
    ("step-tokens", &Workload::NAMES),
];

fn check_axes(
    workload: &str,
    matrix: &Matrix,
    source: &SourceText<'_>,
) -> Result<(), ScenarioError> {
    fn named<T: ToString>(axis: Option<&Axis<T>>) -> Option<(Range<usize>, Vec<String>)> {
        axis.map(|axis| (axis.span(), axis.get_ref().iter().map(T::to_string).collect()))
    }
    let Matrix { dtype, kv, attention, step_tokens, prompt, depth, output, batch } = matrix;
    let written = [
        named(attention.as_ref()),
        named(batch.as_ref()),
        named(depth.as_ref()),
        named(dtype.as_ref()),
        named(kv.as_ref()),
        named(output.as_ref()),
        named(prompt.as_ref()),
        named(step_tokens.as_ref()),
    ];
    for ((axis, workloads), written) in AXES.iter().zip(written) {
        let Some((span, values)) = written else { continue };
        let fault = if !workloads.contains(&workload) {
            let takes: Vec<&str> =
                AXES.iter().filter(|(_, w)| w.contains(&workload)).map(|(axis, _)| *axis).collect();
            format!(
                "axis `{axis}` means nothing to workload `{workload}`, which takes: {}",
                takes.join(", ")
            )
        } else if values.is_empty() {
            format!(
                "axis `{axis}` is empty, so there would be no case at all: give it a value or remove it"
            )
        } else if let Some(twice) =
            values.iter().enumerate().find(|(i, v)| values[..*i].contains(v))
        {
            format!("axis `{axis}` lists `{}` twice", twice.1)
        } else {
            continue;
        };
        return Err(source.error(span, fault));
    }
    Ok(())
}

fn resolve_skip(skip: SkipFile, source: &SourceText<'_>) -> Result<Skip, ScenarioError> {
    let text = |value: &toml::Value| match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut when = BTreeMap::new();
    for (axis, values) in skip.when {
        let known = AXES.iter().map(|(axis, _)| *axis).chain(["model"]);
        if !known.clone().any(|known| known == axis.get_ref()) {
            return Err(source.error(axis.span(), unknown("axis", axis.get_ref(), known)));
        }
        let values = match values.get_ref() {
            toml::Value::Array(values) => values.iter().map(text).collect(),
            value => vec![text(value)],
        };
        when.insert(axis.into_inner(), values);
    }
    Ok(Skip { when, reason: skip.reason })
}

/// A file, for messages about it.
struct SourceText<'a> {
    path: &'a Path,
    text: &'a str,
}

impl SourceText<'_> {
    fn error(&self, span: Range<usize>, message: String) -> ScenarioError {
        let before = &self.text[..span.start.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let shown = self.text[start..].lines().next().unwrap_or_default();
        let margin = " ".repeat(line.to_string().len());
        let width = self
            .text
            .get(span.clone())
            .map_or(1, |t| t.lines().next().unwrap_or("").chars().count());
        let indent = " ".repeat(self.text[start..span.start].chars().count());
        let carets = "^".repeat(width.max(1));
        let excerpt = format!("{margin} |\n{line} | {shown}\n{margin} | {indent}{carets}");
        ScenarioError::Invalid { path: self.path.to_owned(), line, message, excerpt }
    }
}

fn read(path: &Path) -> Result<String, ScenarioError> {
    std::fs::read_to_string(path)
        .map_err(|source| ScenarioError::Unreadable { path: path.to_owned(), source })
}

/// Parses a file, and turns serde's complaints into ours.
fn parse<T: for<'de> Deserialize<'de>>(path: &Path, text: &str) -> Result<T, ScenarioError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let span = error.span().unwrap_or(0..0);
        // serde says: unknown field `x`, expected one of `a`, `b`
        let words: Vec<&str> = error.message().split('`').skip(1).step_by(2).collect();
        let message = match words.split_first() {
            Some((found, expected)) if error.message().starts_with("unknown field") => {
                unknown("key", found, expected.iter().copied())
            }
            Some((found, expected)) if error.message().starts_with("unknown variant") => {
                unknown("value", found, expected.iter().copied())
            }
            _ => error.message().to_owned(),
        };
        SourceText { path, text }.error(span, message)
    })
}

fn unknown<'a>(what: &str, found: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(found, known.clone()) {
        Some(near) => format!("unknown {what} `{found}`, did you mean `{near}`?"),
        None => {
            format!("unknown {what} `{found}`; known: {}", known.collect::<Vec<_>>().join(", "))
        }
    }
}

/// The known word that was probably meant.
pub(crate) fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    const CLOSE: f64 = 0.69;
    known
        .map(|word| (strsim::jaro_winkler(found, word), word))
        .filter(|(closeness, _)| *closeness >= CLOSE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said about a scenario file with this text.
    fn complaint(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("scenarios/gate")).unwrap();
        std::fs::write(dir.path().join("scenarios/gate/x.toml"), text).unwrap();
        let workspace = Workspace::around(dir.path()).unwrap();
        let error = load(&workspace, &["gate/x".into()]).unwrap_err().to_string();
        error.replace(&workspace.root().display().to_string(), "ROOT")
    }

    #[test]
    fn an_unknown_key_is_named_with_the_one_that_was_meant() {
        insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nroundz = 3\n"), @r#"
        `scenarios/gate/x.toml`, line 3: unknown key `roundz`, did you mean `rounds`?
          |
        3 | roundz = 3
          | ^^^^^^
        "#);
        insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\n[matrix]\nquark = [1]\n"), @r#"
        `scenarios/gate/x.toml`, line 4: unknown key `quark`; known: dtype, kv, attention, step-tokens, prompt, depth, output, batch
          |
        4 | quark = [1]
          | ^^^^^
        "#);
    }

    #[test]
    fn a_value_of_the_wrong_type_is_shown_in_its_place() {
        insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nrounds = \"five\"\n"), @r#"
        `scenarios/gate/x.toml`, line 3: invalid type: string "five", expected a nonzero u32
          |
        3 | rounds = "five"
          |          ^^^^^^
        "#);
        insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nmatrix = { dtype = [\"fp32\"] }\n"), @r#"
        `scenarios/gate/x.toml`, line 3: unknown value `fp32`, did you mean `f32`?
          |
        3 | matrix = { dtype = ["fp32"] }
          |                     ^^^^^^
        "#);
        insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nmatrix = { kv = [\"paged\"] }\n"), @r#"
        `scenarios/gate/x.toml`, line 3: `paged` is none of: contiguous, paged-16, paged-32, or paged-N with N of at least 1
          |
        3 | matrix = { kv = ["paged"] }
          |                 ^^^^^^^^^
        "#);
    }

    #[test]
    fn an_unknown_workload_and_an_unknown_model_are_named() {
        insta::assert_snapshot!(complaint("workload = \"decoding\"\nmodels = [\"tiny-qwen3\"]\n"), @r#"
        `scenarios/gate/x.toml`, line 1: unknown workload `decoding`, did you mean `decode`?
          |
        1 | workload = "decoding"
          |            ^^^^^^^^^^
        "#);
        insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\n  \"tiny-qwen3\",\n  \"tiny-qwen4\",\n]\n"), @r#"
        `scenarios/gate/x.toml`, line 4: unknown model `tiny-qwen4`, did you mean `tiny-qwen3`?; models are described in `models.toml`
          |
        4 |   "tiny-qwen4",
          |   ^^^^^^^^^^^^
        "#);
    }

    #[test]
    fn an_axis_without_values_or_without_meaning_is_refused() {
        insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nmatrix = { kv = [] }\n"), @r#"
        `scenarios/gate/x.toml`, line 3: axis `kv` is empty, so there would be no case at all: give it a value or remove it
          |
        3 | matrix = { kv = [] }
          |                 ^^
        "#);
        insta::assert_snapshot!(complaint("workload = \"prefill\"\nmodels = [\"tiny-qwen3\"]\nmatrix = { depth = [8] }\n"), @r#"
        `scenarios/gate/x.toml`, line 3: axis `depth` means nothing to workload `prefill`, which takes: attention, batch, dtype, kv, prompt, step-tokens
          |
        3 | matrix = { depth = [8] }
          |                    ^^^
        "#);
        insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nmatrix = { batch = [1, 8, 1] }\n"), @r#"
        `scenarios/gate/x.toml`, line 3: axis `batch` lists `1` twice
          |
        3 | matrix = { batch = [1, 8, 1] }
          |                    ^^^^^^^^^
        "#);
    }

    #[test]
    fn a_scenario_without_models_or_with_an_impossible_wish_is_refused() {
        insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = []\n"), @r#"
        `scenarios/gate/x.toml`, line 2: no model is named
          |
        2 | models = []
          |          ^^
        "#);
        insta::assert_snapshot!(complaint("workload = \"load\"\nmodels = [\"tiny-qwen3\"]\niterations = 5\n"), @r#"
        `scenarios/gate/x.toml`, line 3: workload `load` loads once a round: raise `rounds` instead
          |
        3 | iterations = 5
          |              ^
        "#);
        insta::assert_snapshot!(complaint("workload = \"load\"\nmodels = [\"tiny-qwen3\"]\ndeadline = 0.0\n"), @r#"
        `scenarios/gate/x.toml`, line 3: `deadline` is a positive number of seconds
          |
        3 | deadline = 0.0
          |            ^^^
        "#);
        insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\n[[skip]]\nwhen = { kw = 1 }\nreason = \"r\"\n"), @"
        `scenarios/gate/x.toml`, line 4: unknown axis `kw`; known: attention, batch, depth, dtype, kv, output, prompt, step-tokens, model
          |
        4 | when = { kw = 1 }
          |          ^^
        ");
    }

    #[test]
    fn a_scenario_that_does_not_exist_is_told_with_the_nearest() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("scenarios/gate")).unwrap();
        std::fs::write(dir.path().join("scenarios/gate/decode.toml"), "").unwrap();
        let workspace = Workspace::around(dir.path()).unwrap();
        let complaint = |wanted: &str| {
            let error = load(&workspace, &[wanted.into()]).unwrap_err().to_string();
            error.replace(&workspace.root().display().to_string(), "ROOT")
        };
        insta::assert_snapshot!(complaint("gate/decod"), @"no scenario `gate/decod` in `ROOT/scenarios`, did you mean `gate/decode`?");
        insta::assert_snapshot!(complaint("xyz"), @"no scenario `xyz` in `ROOT/scenarios`; there are: gate/decode");
        insta::assert_snapshot!(complaint("nowhere.toml"), @"cannot read `nowhere.toml`: No such file or directory (os error 2)");
    }

    #[test]
    fn every_scenario_of_the_workspace_can_be_read() {
        let workspace = Workspace::around(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let names: Vec<String> =
            all(&workspace.scenarios()).into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(&"gate/decode".to_owned()), "{names:?}");
        let scenarios = load(&workspace, &names).unwrap();
        assert_eq!(scenarios.len(), names.len());
    }
}
