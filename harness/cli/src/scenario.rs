//! What users write: scenario files, the defaults and the list of models.
//!
//! A file is read as it is typed, with every key that may be left out optional, and layered over
//! the defaults into a [`Scenario`], in which nothing is optional. Errors name the file, the line,
//! and the word that was probably meant.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;
use windtunnel_ledger::case::{Model, Topology, Workload};
use windtunnel_ledger::precision::Enough;
use windtunnel_ledger::unit::Nanos;

use crate::workspace::Workspace;

mod axes;
mod bounds;
mod files;
mod kind;
mod models;
mod precision;
mod skip;
mod targets;
mod text;
mod topologies;
mod values;
mod wishes;

pub(crate) use axes::{Matrix, Point};
pub(crate) use bounds::Bounds;
pub(crate) use kind::Kind;
pub(crate) use models::{KnownModel, stored};
pub(crate) use skip::Skip;
pub(crate) use text::{nearest, parse, reworded};
pub(crate) use values::{MOST_ROUNDS, Rounds};

use bounds::{BoundsFile, DefaultSlo, DefaultTolerance, SloFile, ToleranceFile};
use models::Models;
use precision::PrecisionFile;
use skip::SkipFile;
use targets::TargetsFile;
use text::{SourceText, unknown};
use values::Seconds;

const DEFAULTS: &str = include_str!("../../../scenarios/defaults.toml");

/// A scenario with every key resolved.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Its path below the scenario directory, without `.toml`: `gate/decode`.
    pub(crate) name: String,
    /// What its cases do.
    pub(crate) kind: &'static Kind,
    /// The models to cross with the matrix; for `criterion`, each bench stands in for a model.
    pub(crate) models: Vec<KnownModel>,
    /// Rounds per case and subject.
    pub(crate) rounds: NonZeroU32,
    /// Iterations before measuring starts.
    pub(crate) warmup: u32,
    /// Iterations that are measured.
    pub(crate) iterations: NonZeroU32,
    /// When enough iterations have been measured.
    pub(crate) enough: Enough,
    /// Seed of weights and prompts.
    pub(crate) seed: u64,
    /// The time after which a child is killed.
    pub(crate) deadline: Nanos,
    /// The SLO and the tolerances.
    pub(crate) bounds: Bounds,
    /// The axes that the scenario names, with their values.
    pub(crate) matrix: Matrix,
    /// The values of all other axes.
    pub(crate) defaults: Point,
    /// The topologies that its points name.
    pub(crate) topologies: Vec<Topology>,
    /// Points to skip.
    pub(crate) skips: Vec<Skip>,
}

/// A scenario file as it is typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ScenarioFile {
    workload: Spanned<String>,
    models: Option<Spanned<Vec<Spanned<String>>>>,
    package: Option<Spanned<String>>,
    benches: Option<Spanned<Vec<Spanned<String>>>>,
    filter: Option<Spanned<String>>,
    rounds: Option<Rounds>,
    warmup: Option<Spanned<u32>>,
    iterations: Option<Spanned<NonZeroU32>>,
    precision: Option<Spanned<PrecisionFile>>,
    seed: Option<u64>,
    deadline: Option<Seconds>,
    slo: Option<Spanned<SloFile>>,
    tolerance: Option<Spanned<ToleranceFile>>,
    #[serde(default)]
    matrix: Matrix,
    #[serde(default)]
    skip: Vec<SkipFile>,
}

/// `defaults.toml` as it is typed: nothing may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DefaultsFile {
    rounds: Rounds,
    warmup: u32,
    iterations: NonZeroU32,
    seed: u64,
    deadline: Seconds,
    matrix: Spanned<Point>,
    slo: DefaultSlo,
    tolerance: DefaultTolerance,
}

/// Why scenarios cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    #[error("cannot read `{}`", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("no scenario `{wanted}` in `{}`{}", dir.display(), hint(near.as_deref(), known))]
    Unknown { wanted: String, dir: PathBuf, near: Option<String>, known: Vec<String> },
    #[error("`{}`, line {line}: {message}\n{excerpt}", path.display())]
    Invalid { path: PathBuf, line: usize, message: String, excerpt: String },
    #[error("`{asked} {wanted}`: {problem}")]
    NoModel { asked: &'static str, wanted: String, problem: String },
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

/// Loads the scenarios in `wanted`: each word is a scenario (`gate/decode`), a folder of scenarios
/// (`gate`), or the path of a file. If `own` names any models, they replace the scenarios' own.
pub(crate) fn load(
    workspace: &Workspace,
    wanted: &[String],
    own: &[String],
) -> Result<Vec<Scenario>, ScenarioError> {
    let models = Models::read(workspace)?;
    let own = models.named(own, "--models")?;
    let defaults = defaults(workspace)?;
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
            resolve(name, parse(shown, &text)?, &defaults, &models, &own, (workspace, &source))
        })
        .collect()
}

/// The names of all scenarios of a workspace, sorted.
pub(crate) fn names(workspace: &Workspace) -> Vec<String> {
    files::all(&workspace.scenarios()).into_iter().map(|(name, _)| name).collect()
}

/// The models that a user names outside of any scenario.
pub(crate) fn models(
    workspace: &Workspace,
    wanted: &[String],
) -> Result<Vec<Model>, ScenarioError> {
    let known = Models::read(workspace)?.named(wanted, "fetch")?;
    Ok(known.into_iter().map(|known| known.model).collect())
}

/// The values for keys that a scenario leaves out.
fn defaults(workspace: &Workspace) -> Result<DefaultsFile, ScenarioError> {
    let (path, text) = files::own_or(workspace, "defaults.toml", DEFAULTS)?;
    let defaults: DefaultsFile = parse(&path, &text)?;
    axes::check_defaults(&defaults.matrix, &SourceText { path: &path, text: &text })?;
    Ok(defaults)
}

/// Layers a file over the defaults, and checks what the types cannot. The user's `own` models, if
/// any, replace those of the file.
fn resolve(
    name: String,
    file: ScenarioFile,
    defaults: &DefaultsFile,
    models: &Models,
    own: &[KnownModel],
    (workspace, source): (&Workspace, &SourceText<'_>),
) -> Result<Scenario, ScenarioError> {
    let Some(kind) = Kind::named(file.workload.get_ref()) else {
        let message = unknown("workload", file.workload.get_ref(), Workload::NAMES.into_iter());
        return Err(source.error(file.workload.span(), message));
    };
    let mut named = axes::check(kind.name, &file.matrix, source)?;
    let targets = TargetsFile {
        workload: file.workload.span(),
        models: file.models,
        package: file.package,
        benches: file.benches,
        filter: file.filter,
    };
    let theirs = targets::chosen(&targets, kind, models, source)?;
    // A skip may name a model that the user has replaced: that is no mistake, it just skips
    // nothing.
    let known = theirs.iter().chain(own).map(|known| known.model.name.clone());
    named.insert("model", known.collect());
    let keeps = own.is_empty() || kind.name == targets::CRITERION;
    let models = if keeps { theirs } else { own.to_vec() };
    let bounds = BoundsFile { slo: file.slo, tolerance: file.tolerance };
    let bounds = bounds::layered(&bounds, defaults.slo, defaults.tolerance, kind, source)?;
    let point = defaults.matrix.get_ref();
    let repeats = [
        file.warmup.as_ref().map(Spanned::span),
        file.iterations.as_ref().map(Spanned::span),
        file.precision.as_ref().map(Spanned::span),
    ];
    if let (Some(span), true) =
        (repeats.into_iter().flatten().next(), (kind.at)(point, &bounds).runs_once())
    {
        let message =
            format!("workload `{}` runs once in a process: raise `rounds` instead", kind.name);
        return Err(source.error(span, message));
    }
    let topologies = match &file.matrix.topology {
        Some(axis) => topologies::read(workspace, axis.get_ref(), &axis.span(), source)?,
        None => Vec::new(),
    };
    let deadline = file.deadline.unwrap_or(defaults.deadline).0;
    let skips = file.skip.into_iter().map(|skip| skip::resolve(skip, &named, source));
    let scenario = Scenario {
        skips: skips.collect::<Result<_, _>>()?,
        models,
        rounds: file.rounds.unwrap_or(defaults.rounds).0,
        warmup: file.warmup.map_or(defaults.warmup, Spanned::into_inner),
        iterations: file.iterations.map_or(defaults.iterations, Spanned::into_inner),
        enough: precision::enough(file.precision.as_ref(), deadline, source)?,
        seed: file.seed.unwrap_or(defaults.seed),
        deadline,
        bounds,
        matrix: file.matrix,
        defaults: point.clone(),
        topologies,
        kind,
        name,
    };
    for (point, axes) in scenario.matrix.points(point) {
        let left_out = |known: &KnownModel| scenario.left_out(&known.model.name, &axes).is_some();
        if scenario.models.iter().all(left_out) {
            continue;
        }
        if let Some((axes, message)) = wishes::impossible(&scenario, &point) {
            let span = axes.iter().find_map(|axis| scenario.matrix.span(axis));
            let span = span.unwrap_or_else(|| file.workload.span());
            return Err(source.error(span, message));
        }
    }
    Ok(scenario)
}

impl Scenario {
    /// The topology that `point` names.
    pub(crate) fn topology(&self, point: &Point) -> Topology {
        let named = |topology: &&Topology| topology.name == point.topology;
        self.topologies.iter().find(named).cloned().unwrap_or_default()
    }

    /// Why the scenario skips the point `axes` for `model`, if it does.
    pub(crate) fn left_out(&self, model: &str, axes: &BTreeMap<String, String>) -> Option<&str> {
        let holds = |(axis, values): (&String, &Vec<String>)| {
            let value =
                if axis == "model" { Some(model) } else { axes.get(axis).map(String::as_str) };
            value.is_some_and(|value| values.iter().any(|v| v == value))
        };
        let skip = self.skips.iter().find(|skip| skip.when.iter().all(holds));
        skip.map(|skip| skip.reason.as_str())
    }
}

#[cfg(test)]
mod tests;
