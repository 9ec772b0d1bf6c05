//! Topologies: the files in `scenarios/topologies`, which the `topology` axis names.

use std::ops::Range;

use windtunnel_ledger::case::Topology;

use super::text::{SourceText, unknown};
use super::{ScenarioError, files};
use crate::workspace::Workspace;

/// The word for no topology.
pub(super) const NONE: &str = "none";

/// Reads the topologies in `wanted`. `span` is where `source` names them.
pub(super) fn read(
    workspace: &Workspace,
    wanted: &[String],
    span: &Range<usize>,
    source: &SourceText<'_>,
) -> Result<Vec<Topology>, ScenarioError> {
    let known = files::topologies(workspace);
    let wanted = wanted.iter().filter(|name| *name != NONE);
    let topology = |name: &String| match known.iter().find(|(known, _)| known == name) {
        Some((name, path)) => Ok(Topology { name: name.clone(), text: files::read(path)? }),
        None => {
            let names = known.iter().map(|(name, _)| name.as_str());
            let complaint = unknown("topology", name, names.chain([NONE]));
            let place = " Topologies are YAML files in `scenarios/topologies`.";
            Err(source.error(span.clone(), complaint + place))
        }
    };
    wanted.map(topology).collect()
}
