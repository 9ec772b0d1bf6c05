//! What users write: scenario files, the defaults and the list of models.
//!
//! A file is read into the shape in which it is typed, every key optional that may be left out,
//! and layered over the defaults into a [`Scenario`] in which nothing is. Whatever is wrong with a
//! file is told with its name, the line, and the word that was probably meant.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;
use windtunnel_ledger::case::{Dtype, KvLayout, Model, Source, Workload};

use crate::workspace::Workspace;

mod files;
mod text;

use text::{SourceText, parse, unknown};

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
    when: Spanned<BTreeMap<Spanned<String>, Spanned<toml::Value>>>,
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
    #[error("cannot read `{}`", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("no scenario `{wanted}` in `{}`{}", dir.display(), hint(near.as_deref(), known))]
    Unknown { wanted: String, dir: PathBuf, near: Option<String>, known: Vec<String> },
    #[error("`{}`, line {line}: {message}\n{excerpt}", path.display())]
    Invalid { path: PathBuf, line: usize, message: String, excerpt: String },
    #[error("`{}` and `{}` are both called `{name}`: rename one", first.display(), second.display())]
    SameName { name: String, first: PathBuf, second: PathBuf },
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
    let (path, text) = files::own_or(workspace, "defaults.toml", DEFAULTS)?;
    let defaults: DefaultsFile = parse(&path, &text)?;
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for word in wanted {
        for (name, path) in files::find(workspace, word)? {
            match files.iter().find(|(known, _)| *known == name) {
                None => files.push((name, path)),
                Some((_, first)) if files::same(first, &path) => (),
                Some((_, first)) => {
                    let (first, second) = (first.clone(), path);
                    return Err(ScenarioError::SameName { name, first, second });
                }
            }
        }
    }
    files
        .into_iter()
        .map(|(name, path)| {
            let text = files::read(&path)?;
            let shown = path.strip_prefix(workspace.root()).unwrap_or(&path);
            let source = SourceText { path: shown, text: &text };
            resolve(name, parse(shown, &text)?, &defaults, &models, &source)
        })
        .collect()
}

/// The models that scenarios may name.
fn models(workspace: &Workspace) -> Result<BTreeMap<String, KnownModel>, ScenarioError> {
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
    let mut named = check_axes(workload, &file.matrix, source)?;
    if file.models.get_ref().is_empty() {
        return Err(source.error(file.models.span(), "no model is named".into()));
    }
    let names = file.models.get_ref();
    let twice = |(i, name): &(usize, &Spanned<String>)| {
        names[..*i].iter().any(|earlier| earlier.get_ref() == name.get_ref())
    };
    if let Some((_, name)) = names.iter().enumerate().find(twice) {
        let message = format!("model `{}` is named twice", name.get_ref());
        return Err(source.error(name.span(), message));
    }
    let models_named = names.iter().map(|name| name.get_ref().clone()).collect();
    named.insert("model", models_named);
    let known = |wanted: &Spanned<String>| {
        models.get(wanted.get_ref()).cloned().ok_or_else(|| {
            let message = unknown("model", wanted.get_ref(), models.keys().map(String::as_str));
            source.error(wanted.span(), message + " Models are described in `models.toml`.")
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
            .map(|skip| resolve_skip(skip, &named, source))
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
const AXES: [(&str, &[&str]); 8] = [
    ("attention", &Workload::NAMES),
    ("batch", &["prefill", "decode", "generate"]),
    ("depth", &["decode"]),
    ("dtype", &Workload::NAMES),
    ("kv", &Workload::NAMES),
    ("output", &["decode", "generate"]),
    ("prompt", &["prefill", "generate"]),
    ("step-tokens", &Workload::NAMES),
];

/// Checks the axes of a matrix, and returns those that it names with their values as text.
fn check_axes(
    workload: &str,
    matrix: &Matrix,
    source: &SourceText<'_>,
) -> Result<BTreeMap<&'static str, Vec<String>>, ScenarioError> {
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
    let mut all = BTreeMap::new();
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
            all.insert(*axis, values);
            continue;
        };
        return Err(source.error(span, fault));
    }
    Ok(all)
}

/// Checks that a skip can apply: `named` holds the axes of the matrix, and `model`, with their
/// values.
fn resolve_skip(
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

#[cfg(test)]
mod tests {
    use std::path::Path;

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
        `scenarios/gate/x.toml`, line 4: unknown model `tiny-qwen4`, did you mean `tiny-qwen3`? Models are described in `models.toml`.
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
        `scenarios/gate/x.toml`, line 4: unknown axis `kw`; known: model
          |
        4 | when = { kw = 1 }
          |          ^^
        ");
    }

    #[test]
    fn a_skip_that_can_never_apply_or_always_does_is_refused() {
        let with = |when: &str| {
            complaint(&format!(
                "workload = \"decode\"\nmodels = [\"tiny-qwen3\"]\nmatrix = {{ batch = [1, 8] }}\n\
                 [[skip]]\nwhen = {when}\nreason = \"r\"\n"
            ))
        };
        insta::assert_snapshot!(with("{ kv = \"paged-16\" }"), @r#"
        `scenarios/gate/x.toml`, line 5: unknown axis `kv`; known: batch, model
          |
        5 | when = { kv = "paged-16" }
          |          ^^
        "#);
        insta::assert_snapshot!(with("{ batch = [8, 80] }"), @"
        `scenarios/gate/x.toml`, line 5: unknown value `80`, did you mean `8`?
          |
        5 | when = { batch = [8, 80] }
          |                  ^^^^^^^
        ");
        insta::assert_snapshot!(with("{}"), @"
        `scenarios/gate/x.toml`, line 5: `when` names no axis, so every case would be left out
          |
        5 | when = {}
          |        ^^
        ");
        insta::assert_snapshot!(complaint("workload = \"decode\"\nmodels = [\"tiny-qwen3\", \"tiny-qwen3\"]\n"), @r#"
        `scenarios/gate/x.toml`, line 2: model `tiny-qwen3` is named twice
          |
        2 | models = ["tiny-qwen3", "tiny-qwen3"]
          |                         ^^^^^^^^^^^^
        "#);
    }

    #[test]
    fn files_of_one_name_are_told_apart_from_one_file_named_twice() {
        let dir = tempfile::tempdir().unwrap();
        let text = "workload = \"load\"\nmodels = [\"tiny-qwen3\"]\n";
        for folder in ["scenarios/a", "x", "y"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join("s.toml"), text).unwrap();
        }
        let workspace = Workspace::around(dir.path()).unwrap();
        let path = |name: &str| workspace.root().join(name).display().to_string();
        assert_eq!(load(&workspace, &["a".into(), path("scenarios/a/s.toml")]).unwrap().len(), 1);
        let error = load(&workspace, &[path("x/s.toml"), path("y/s.toml")]).unwrap_err();
        assert!(error.to_string().contains("are both called `s`: rename one"), "{error}");
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
        insta::assert_snapshot!(complaint("nowhere.toml"), @"cannot read `nowhere.toml`");
    }

    #[test]
    fn every_scenario_of_the_workspace_can_be_read() {
        let workspace = Workspace::around(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let names: Vec<String> =
            files::all(&workspace.scenarios()).into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(&"gate/decode".to_owned()), "{names:?}");
        let scenarios = load(&workspace, &names).unwrap();
        assert_eq!(scenarios.len(), names.len());
    }
}
