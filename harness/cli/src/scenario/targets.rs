//! What a scenario runs on: models or, for criterion, the benches of a package.

use std::ops::Range;

use toml::Spanned;
use windtunnel_ledger::case::{Benchmark, Model, Source};

use super::ScenarioError;
use super::kind::Kind;
use super::models::{KnownModel, Models};
use super::text::SourceText;

/// The keys that say what a scenario runs on, as typed.
pub(super) struct TargetsFile {
    pub(super) workload: Range<usize>,
    pub(super) models: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) package: Option<Spanned<String>>,
    pub(super) benches: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) filter: Option<Spanned<String>>,
}

/// The workload that runs benches instead of models.
pub(super) const CRITERION: &str = "criterion";

/// The models that a scenario of `kind` names; for `criterion`, each bench stands in for a model.
pub(super) fn chosen(
    file: &TargetsFile,
    kind: &Kind,
    models: &Models,
    source: &SourceText<'_>,
) -> Result<Vec<KnownModel>, ScenarioError> {
    match kind.name {
        CRITERION => of_benches(file, source),
        _ => of_models(file, kind, models, source),
    }
}

fn of_models(
    file: &TargetsFile,
    kind: &Kind,
    models: &Models,
    source: &SourceText<'_>,
) -> Result<Vec<KnownModel>, ScenarioError> {
    let TargetsFile { workload, models: named, package, benches, filter } = file;
    let of_benches = [
        package.as_ref().map(|package| ("package", package.span())),
        benches.as_ref().map(|benches| ("benches", benches.span())),
        filter.as_ref().map(|filter| ("filter", filter.span())),
    ];
    if let Some((key, span)) = of_benches.into_iter().flatten().next() {
        let message = format!(
            "`{key}` means nothing to workload `{}`: only `{CRITERION}` runs benches",
            kind.name
        );
        return Err(source.error(span, message));
    }
    match named {
        Some(named) => models.choose(named, source),
        None => {
            let message = format!(
                "workload `{}` runs on models: write which ones, `models = [\"NAME\"]`",
                kind.name
            );
            Err(source.error(workload.clone(), message))
        }
    }
}

fn of_benches(
    file: &TargetsFile,
    source: &SourceText<'_>,
) -> Result<Vec<KnownModel>, ScenarioError> {
    let TargetsFile { workload, models, package, benches, filter } = file;
    if let Some(models) = models {
        let message = format!("a bench has no model: workload `{CRITERION}` takes no `models`");
        return Err(source.error(models.span(), message));
    }
    let (Some(package), Some(benches)) = (package, benches) else {
        let message = format!(
            "workload `{CRITERION}` runs benches: write which ones of which package, \
             `package = \"NAME\"` and `benches = [\"NAME\"]`"
        );
        return Err(source.error(workload.clone(), message));
    };
    if benches.get_ref().is_empty() {
        return Err(source.error(benches.span(), "no bench is named".to_owned()));
    }
    if let Some(empty) = filter.as_ref().filter(|filter| filter.get_ref().is_empty()) {
        let message = "an empty `filter` keeps every benchmark: leave it out".to_owned();
        return Err(source.error(empty.span(), message));
    }
    let mut chosen: Vec<KnownModel> = Vec::new();
    for bench in benches.get_ref() {
        let name = bench.get_ref().clone();
        if chosen.iter().any(|known| known.model.name == name) {
            return Err(source.error(bench.span(), format!("bench `{name}` is named twice")));
        }
        let benchmark = Benchmark {
            package: package.get_ref().clone(),
            bench: name.clone(),
            name: filter.as_ref().map(|filter| filter.get_ref().clone()).unwrap_or_default(),
        };
        let model = Model { name, source: Source::Bench(benchmark) };
        chosen.push(KnownModel { model, parameters: 0, kv_width: 0, stored: 0 });
    }
    Ok(chosen)
}
