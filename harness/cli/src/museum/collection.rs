//! `scenarios/museum.toml`: which faults there are to show, and the guard of each.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use windtunnel_ledger::counter::Counter;
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::trace::Gauge;
use windtunnel_ledger::upstream::Hash;

use crate::scenario::{nearest, parse};
use crate::show;
use crate::workspace::Workspace;

/// Where it lies in the folder of scenarios.
const FILE: &str = "museum.toml";

/// The file as it is typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Collection {
    guard: Vec<GuardFile>,
    exhibit: Vec<ExhibitFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct GuardFile {
    scenario: String,
    #[serde(default)]
    watches: Vec<Watch>,
    model: Option<Made>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ExhibitFile {
    fault: String,
    upstream: Hash,
    guard: String,
}

/// A guard, with the faults that are to be shown to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Guard {
    /// Its scenario.
    pub(super) scenario: String,
    /// By what it tells, beside outputs and ends.
    pub(super) watches: Vec<Watch>,
    /// A model in the place of the scenario's.
    pub(super) model: Option<Made>,
    /// What it must catch.
    pub(super) exhibits: Vec<Exhibit>,
}

/// A fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exhibit {
    /// The word that plants it.
    pub(super) fault: String,
    /// The commit that it was upstream.
    pub(super) upstream: Hash,
}

/// A model that the museum makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Made {
    /// A folder with a large file of weights.
    MappedWeights,
    /// A GGUF file whose tokenizer has thousands of special tokens.
    SpecialTokens,
}

/// Something that tells one engine from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Watch {
    /// What is measured.
    Metric(Metric),
    /// What is counted where nothing is timed.
    Counter(Counter),
    /// The most that was seen of it from outside.
    Gauge(Gauge),
}

impl TryFrom<String> for Watch {
    type Error = String;

    fn try_from(name: String) -> Result<Watch, String> {
        fn read<T: serde::de::DeserializeOwned>(name: &str) -> Option<T> {
            serde_json::from_value(name.into()).ok()
        }
        let metric = Metric::from_name(&name).map(Watch::Metric);
        metric
            .or_else(|| read(&name).map(Watch::Counter))
            .or_else(|| read(&name).map(Watch::Gauge))
            .ok_or_else(|| format!("`{name}` is no metric, no counter and no gauge"))
    }
}

impl Watch {
    /// How it is written for people.
    pub(super) fn label(self) -> &'static str {
        match self {
            Watch::Metric(metric) => metric.spec().label,
            Watch::Counter(counter) => counter.label(),
            Watch::Gauge(gauge) => gauge.label(),
        }
    }
}

impl Guard {
    /// Whether it watches what is only counted where nothing is timed.
    pub(super) fn counts(&self) -> bool {
        self.watches.iter().any(|watch| matches!(watch, Watch::Counter(_)))
    }
}

impl Collection {
    /// The collection of a workspace.
    pub(super) fn read(workspace: &Workspace) -> Result<Collection> {
        let path = workspace.scenarios().join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "cannot read `{}`: change to the workspace of the engine with `-C DIR`",
                path.display()
            )
        })?;
        let shown = path.strip_prefix(workspace.root()).unwrap_or(&path);
        let collection: Collection = parse(shown, &text)?;
        let guards = || collection.guard.iter().map(|guard| &guard.scenario);
        for (place, guard) in guards().enumerate() {
            let twice = guards().take(place).any(|other| other == guard);
            ensure!(!twice, "`{}`: guard `{guard}` is there twice", shown.display());
        }
        for (place, ExhibitFile { fault, guard, .. }) in collection.exhibit.iter().enumerate() {
            let twice = collection.exhibit[..place].iter().any(|other| other.fault == *fault);
            ensure!(!twice, "`{}`: fault `{fault}` is there twice", shown.display());
            ensure!(
                guards().any(|known| known == guard),
                "`{}`: fault `{fault}` has the guard `{guard}`, which is no `[[guard]]`",
                shown.display()
            );
        }
        Ok(collection)
    }

    /// The guards of the faults that are named, or of all of them if none is.
    pub(super) fn choose(self, named: &[String]) -> Result<Vec<Guard>> {
        let Collection { guard: guards, exhibit: exhibits } = self;
        let known = || exhibits.iter().map(|exhibit| exhibit.fault.as_str());
        if let Some(unknown) = named.iter().find(|name| !known().any(|fault| fault == **name)) {
            let near = nearest(unknown, known()).map(|near| format!(", did you mean `{near}`?"));
            bail!(
                "there is no fault `{unknown}` in the museum{} {}: {}",
                near.unwrap_or_else(|| ";".to_owned()),
                match exhibits.len() {
                    1 => "There is 1 fault".to_owned(),
                    n => format!("There are {}", show::count(n, "fault")),
                },
                known().collect::<Vec<_>>().join(", ")
            );
        }
        let is_wanted = |fault: &String| named.is_empty() || named.contains(fault);
        let guards = guards.into_iter().map(|GuardFile { scenario, watches, model }| {
            let mine = exhibits.iter().filter(|it| it.guard == scenario && is_wanted(&it.fault));
            let exhibits =
                mine.map(|it| Exhibit { fault: it.fault.clone(), upstream: it.upstream.clone() });
            Guard { exhibits: exhibits.collect(), scenario, watches, model }
        });
        Ok(guards.filter(|guard| !guard.exhibits.is_empty()).collect())
    }
}
