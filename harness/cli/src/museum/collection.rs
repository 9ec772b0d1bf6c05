//! `scenarios/museum.toml`: the faults to show, and the guard of each.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use windtunnel_ledger::counter::Counter;
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::trace::Gauge;
use windtunnel_ledger::upstream::Hash;

use crate::scenario::{nearest, parse};
use crate::workspace::Workspace;

/// Its name in the folder of scenarios.
const FILE: &str = "museum.toml";

/// The file as written.
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

/// A guard, with the faults to show to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Guard {
    /// Its scenario.
    pub(super) scenario: String,
    /// What it watches besides outputs and failures.
    pub(super) watches: Vec<Watch>,
    /// A model to use instead of the scenario's.
    pub(super) model: Option<Made>,
    /// The faults that it must catch.
    pub(super) exhibits: Vec<Exhibit>,
}

/// A fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exhibit {
    /// Its name, which plants it.
    pub(super) fault: String,
    /// The upstream commit that it was.
    pub(super) upstream: Hash,
}

/// A model that the museum generates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Made {
    /// A folder with a large weight file.
    MappedWeights,
    /// A GGUF file whose tokenizer has thousands of special tokens.
    SpecialTokens,
}

/// Something by which engines can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Watch {
    /// A measured metric.
    Metric(Metric),
    /// A counter from attribution, where nothing is timed.
    Counter(Counter),
    /// The highest value of a gauge that is watched from outside.
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
            .ok_or_else(|| format!("`{name}` is not a metric, a counter or a gauge"))
    }
}

impl Watch {
    /// Its name for people.
    pub(super) fn label(self) -> &'static str {
        match self {
            Watch::Metric(metric) => metric.spec().label,
            Watch::Counter(counter) => counter.label(),
            Watch::Gauge(gauge) => gauge.label(),
        }
    }
}

impl Guard {
    /// Whether it watches counters, which need attribution.
    pub(super) fn counts(&self) -> bool {
        self.watches.iter().any(|watch| matches!(watch, Watch::Counter(_)))
    }
}

impl Collection {
    /// Reads the collection of a workspace.
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
            ensure!(!twice, "`{}`: guard `{guard}` is listed twice", shown.display());
        }
        for (place, ExhibitFile { fault, guard, .. }) in collection.exhibit.iter().enumerate() {
            let twice = collection.exhibit[..place].iter().any(|other| other.fault == *fault);
            ensure!(!twice, "`{}`: fault `{fault}` is listed twice", shown.display());
            ensure!(
                guards().any(|known| known == guard),
                "`{}`: fault `{fault}` has the guard `{guard}`, which is not a `[[guard]]`",
                shown.display()
            );
        }
        Ok(collection)
    }

    /// The guards of the named faults, or of all faults if none is named.
    pub(super) fn choose(self, named: &[String]) -> Result<Vec<Guard>> {
        let Collection { guard: guards, exhibit: exhibits } = self;
        let known = || exhibits.iter().map(|exhibit| exhibit.fault.as_str());
        if let Some(unknown) = named.iter().find(|name| !known().any(|fault| fault == **name)) {
            let near = nearest(unknown, known());
            let near = near.map(|near| format!(", did you mean `{near}`? There are"));
            bail!(
                "no fault `{unknown}` in the museum{}: {}",
                near.unwrap_or_else(|| "; there are".to_owned()),
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{plan, scenario};

    #[test]
    fn the_museum_of_this_engine_has_a_scenario_for_each_of_its_guards() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let workspace = Workspace::around(&root).unwrap();
        let guards = Collection::read(&workspace).unwrap().choose(&[]).unwrap();
        let exhibits: usize = guards.iter().map(|guard| guard.exhibits.len()).sum();
        assert_eq!((guards.len(), exhibits), (12, 15));
        for guard in guards {
            let loaded = scenario::load(&workspace, std::slice::from_ref(&guard.scenario), &[]);
            let loaded = loaded.unwrap();
            // Exact values are judged from three rounds on, everything else from six.
            let exact = guard.watches.iter().all(|watch| match watch {
                Watch::Metric(metric) => !metric.spec().class.is_timed(),
                Watch::Counter(_) | Watch::Gauge(_) => true,
            });
            let least = if exact { 3 } else { 6 };
            assert!(loaded[0].rounds.get() >= least, "{}", guard.scenario);
            // Counters of several cases would be several numbers.
            let metric = |watch: &Watch| matches!(watch, Watch::Metric(_));
            let cases = plan::expand(&loaded, &[], None).cases.len();
            assert!(cases == 1 || guard.watches.iter().all(metric), "{}", guard.scenario);
        }
    }

    #[test]
    fn whatever_can_tell_engines_apart_is_known_by_its_name() {
        let watch = |name: &str| Watch::try_from(name.to_owned());
        assert_eq!(watch("preemptions"), Ok(Watch::Metric(Metric::Preemptions)));
        assert_eq!(watch("allocated"), Ok(Watch::Counter(Counter::Allocated)));
        assert_eq!(watch("threads"), Ok(Watch::Gauge(Gauge::Threads)));
        assert!(watch("speed").unwrap_err().starts_with("`speed` is not a metric"));
    }
}
