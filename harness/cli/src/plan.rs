//! Expands scenarios and filters them into the cases of a run, and keeps what is left out and why.

use std::num::NonZeroU32;

use windtunnel_ledger::case::{Case, CaseId, Placement, Source, matches};
use windtunnel_ledger::precision::Enough;
use windtunnel_ledger::record::{Planned, Skipped};
use windtunnel_ledger::unit::Tokens;

use crate::scenario::{KnownModel, Point, Scenario};

/// What a run is to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// The cases to run.
    pub(crate) cases: Vec<Planned>,
    /// The model of each case, for estimates; same order as `cases`.
    pub(crate) models: Vec<KnownModel>,
    /// The points that the scenarios skip, with reasons.
    pub(crate) skipped: Vec<Skipped>,
    /// How many cases the filter left out.
    pub(crate) filtered: usize,
    /// How many cases belong to other shards.
    pub(crate) elsewhere: usize,
    /// What a case id must contain. Also applied to the cases found when a bench is built.
    pub(crate) filters: Vec<String>,
}

impl Plan {
    /// Says what was left out and where to look, for a message that there is no case.
    pub(crate) fn left_out(&self) -> String {
        format!(
            "{} skipped, {} left out by the filter{}; `windtunnel list` shows the cases",
            self.skipped.len(),
            self.filtered,
            self.in_other_shards()
        )
    }

    /// How many cases belong to other shards, to end a list of what was left out; empty if none do.
    pub(crate) fn in_other_shards(&self) -> String {
        match self.elsewhere {
            0 => String::new(),
            some => format!(", {some} in other shards"),
        }
    }
}

/// Crosses every scenario's models with its matrix, and keeps the cases whose id matches all of
/// `filters`. `rounds` overrides the scenarios' own.
pub(crate) fn expand(scenarios: &[Scenario], filters: &[String], rounds: Option<u32>) -> Plan {
    let mut plan = Plan { filters: filters.to_vec(), ..Plan::default() };
    for scenario in scenarios {
        for model in &scenario.models {
            for (point, axes) in scenario.matrix.points(&scenario.defaults) {
                let id = CaseId::new(&scenario.name, &model.model.name, &axes);
                // The benchmarks of a bench are known, and filtered, only once it is built.
                let is_open = matches!(model.model.source, Source::Bench(_));
                if !is_open && !filters.iter().all(|filter| matches(id.as_str(), filter)) {
                    plan.filtered += 1;
                    continue;
                }
                if let Some(reason) = scenario.left_out(&model.model.name, &axes) {
                    plan.skipped.push(Skipped { id, reason: reason.to_owned() });
                    continue;
                }
                let rounds = rounds.unwrap_or(scenario.rounds.get());
                let case = case(id, scenario, model, &point);
                plan.cases.push(Planned { case, rounds, attributions: 0, shard: 0 });
                plan.models.push(model.clone());
            }
        }
    }
    plan
}

fn case(id: CaseId, scenario: &Scenario, model: &KnownModel, point: &Point) -> Case {
    let workload = (scenario.kind.at)(point, &scenario.bounds);
    let (warmup, iterations, enough) = match workload.runs_once() {
        true => (0, NonZeroU32::MIN, Enough::Counted),
        false => (scenario.warmup, scenario.iterations, scenario.enough),
    };
    Case {
        id,
        workload,
        model: model.model.clone(),
        dtype: point.dtype,
        quant: point.quant.0,
        kv: point.kv,
        placement: Placement {
            devices: point.device_map.0.clone(),
            topology: scenario.topology(point),
        },
        attention: point.attention.clone(),
        step_tokens: Tokens(point.step_tokens.get().into()),
        prefix_cache: point.prefix_cache.0,
        cuda_graphs: point.cuda_graphs.0,
        kv_share: point.kv_share,
        warmup,
        iterations,
        enough,
        seed: scenario.seed,
        deadline: scenario.deadline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load;
    use crate::workspace::Workspace;

    const SCENARIO: &str = r#"
        workload = "decode"
        models = ["tiny-qwen3", "tiny-llama"]
        rounds = 2
        matrix = { kv = ["contiguous", "paged-16"], batch = [1, 8] }
        [[skip]]
        when = { kv = "contiguous", batch = [8], model = "tiny-llama" }
        reason = "as an example"
    "#;

    fn plan(filters: &[&str], rounds: Option<u32>) -> Plan {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("scenarios/gate")).unwrap();
        std::fs::write(dir.path().join("scenarios/gate/x.toml"), SCENARIO).unwrap();
        let workspace = Workspace::around(dir.path()).unwrap();
        let filters: Vec<String> = filters.iter().map(ToString::to_string).collect();
        expand(&load(&workspace, &["gate".into()], &[]).unwrap(), &filters, rounds)
    }

    fn ids(plan: &Plan) -> Vec<String> {
        plan.cases.iter().map(|planned| planned.case.id.to_string()).collect()
    }

    #[test]
    fn models_are_crossed_with_the_matrix_and_skips_are_stated() {
        let plan = plan(&[], None);
        assert_eq!(
            ids(&plan),
            [
                "gate/x/tiny-qwen3/batch=1,kv=contiguous",
                "gate/x/tiny-qwen3/batch=8,kv=contiguous",
                "gate/x/tiny-qwen3/batch=1,kv=paged-16",
                "gate/x/tiny-qwen3/batch=8,kv=paged-16",
                "gate/x/tiny-llama/batch=1,kv=contiguous",
                "gate/x/tiny-llama/batch=1,kv=paged-16",
                "gate/x/tiny-llama/batch=8,kv=paged-16",
            ]
        );
        assert_eq!(plan.skipped.len(), 1);
        assert_eq!(plan.skipped[0].id.as_str(), "gate/x/tiny-llama/batch=8,kv=contiguous");
        assert_eq!(plan.skipped[0].reason, "as an example");
        assert!(plan.cases.iter().all(|planned| planned.rounds == 2));
    }

    #[test]
    fn filters_must_all_match_and_what_they_drop_is_counted() {
        let plan = plan(&["qwen3", "kv=paged"], Some(7));
        assert_eq!(
            ids(&plan),
            ["gate/x/tiny-qwen3/batch=1,kv=paged-16", "gate/x/tiny-qwen3/batch=8,kv=paged-16"]
        );
        assert_eq!((plan.filtered, plan.cases[0].rounds), (6, 7));
    }
}
