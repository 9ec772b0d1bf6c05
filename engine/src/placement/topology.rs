//! [`Topology`]: per-layer and per-tensor overrides.
//!
//! A YAML file in the format of mistral.rs: selectors in order, each with a quantisation (`isq`), a
//! device, or both.
//!
//! ```yaml
//! 0-8:                              # layers 0 to 7
//!   isq: Q4K
//! 8-16: { device: "cpu:1" }
//! 16: { isq: Q8_0, device: cpu }    # one layer
//! /v_proj|down_proj/: { isq: Q6K }  # tensors whose full names match
//! ```
//!
//! The two keys are resolved independently. Of the ranges that cover a layer and have the key, the
//! one with the higher end wins, and of those with the same end the later one. Patterns win over
//! ranges, and of the matching patterns the last one wins. Whatever no selector covers keeps what
//! it would have without a topology.
//!
//! Since a layer lives entirely on one device, a pattern with a device must match all tensors of
//! each layer in which it matches any.

use std::ops::Range;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{DeviceName, PlacementError, Spot};
use crate::quant::Quant;

mod reader;

/// Rules that override settings for individual layers and tensors.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "TopologyFile", into = "TopologyFile")]
pub struct Topology {
    file: TopologyFile,
    rules: Vec<Rule>,
}

/// The source text of a topology.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopologyFile {
    name: String,
    text: String,
}

/// A selector and its settings.
#[derive(Debug, Clone)]
struct Rule {
    /// Its line, counted from 1.
    line: usize,
    selector: Selector,
    quant: Option<Quant>,
    device: Option<DeviceName>,
}

/// What a rule applies to.
#[derive(Debug, Clone)]
enum Selector {
    /// These layers.
    Layers(Range<usize>),
    /// Tensors whose full names match.
    Tensors(Regex),
}

impl Topology {
    /// No rules: nothing is overridden.
    pub const NONE: Self =
        Self { file: TopologyFile { name: String::new(), text: String::new() }, rules: Vec::new() };

    /// A reference to [`NONE`](Self::NONE), for callers without rules.
    pub(crate) const NONE_REF: &'static Self = &Self::NONE;

    /// Parses `text`, which messages call `name`.
    ///
    /// # Errors
    ///
    /// [`PlacementError::Topology`] with the line that makes no sense.
    pub fn parse(name: &str, text: &str) -> Result<Self, PlacementError> {
        let file = TopologyFile { name: name.into(), text: text.into() };
        let rules = reader::read(text).map_err(|(line, problem)| file.error(line, problem))?;
        Ok(Self { file, rules })
    }

    /// The quantisation of `tensor` at `spot` by its own rule, if there is one.
    pub fn quant(&self, spot: Spot, tensor: &str) -> Option<Quant> {
        let quantising = self.rules.iter().filter(|rule| rule.quant.is_some());
        winner(quantising, spot, tensor)?.quant
    }

    /// The devices named by its rules.
    pub(super) fn names(&self) -> impl Iterator<Item = DeviceName> {
        self.rules.iter().filter_map(|rule| rule.device)
    }

    /// The device of each of `layers` layers for which a rule sets one. `tensors` are all of the
    /// model, each with its spot.
    ///
    /// # Errors
    ///
    /// [`PlacementError::Topology`] when a rule selects something that the model does not have, or
    /// would split a layer across devices.
    pub(super) fn pins(
        &self,
        layers: usize,
        tensors: &[(Spot, String)],
    ) -> Result<Vec<Option<DeviceName>>, PlacementError> {
        for rule in &self.rules {
            rule.check(layers, tensors).map_err(|problem| self.file.error(rule.line, problem))?;
        }
        let pin = |layer| {
            // Any tensor represents its layer, as a pattern matches all of them or none.
            let spot = Spot::Layer(layer);
            let name = tensors.iter().find(|(at, _)| *at == spot).map_or("", |(_, name)| name);
            let placing = self.rules.iter().filter(|rule| rule.device.is_some());
            winner(placing, spot, name).and_then(|rule| rule.device)
        };
        Ok((0..layers).map(pin).collect())
    }
}

/// The rule that applies to `tensor` at `spot`.
fn winner<'a>(rules: impl Iterator<Item = &'a Rule>, spot: Spot, tensor: &str) -> Option<&'a Rule> {
    let rank = |rule: &Rule| match (&rule.selector, spot) {
        (Selector::Layers(layers), Spot::Layer(layer)) if layers.contains(&layer) => {
            Some((0, layers.end))
        }
        (Selector::Tensors(pattern), _) if pattern.is_match(tensor) => Some((1, 0)),
        _ => None,
    };
    // Of equal ranks, `max_by_key` returns the last.
    rules.filter_map(|rule| Some((rank(rule)?, rule))).max_by_key(|(rank, _)| *rank).map(|(_, r)| r)
}

impl Rule {
    /// Checks it against a model of `layers` layers with these `tensors`.
    fn check(&self, layers: usize, tensors: &[(Spot, String)]) -> Result<(), String> {
        let pattern = match &self.selector {
            Selector::Layers(range) if range.end > layers => {
                return Err(format!(
                    "it selects layer {}, but the model has {layers} layers, counted from 0",
                    range.end - 1
                ));
            }
            Selector::Layers(_) => return Ok(()),
            Selector::Tensors(pattern) => pattern,
        };
        let matching = || tensors.iter().filter(|(_, name)| pattern.is_match(name));
        if matching().next().is_none() {
            let example = tensors.last().map_or("", |(_, name)| name);
            return Err(format!(
                "`/{pattern}/` matches no tensor of this model, whose names are like `{example}`"
            ));
        }
        if self.device.is_none() {
            return Ok(());
        }
        if let Some((_, fixed)) = matching().find(|(spot, _)| *spot == Spot::Fixed) {
            return Err(format!(
                "`/{pattern}/` would move `{fixed}`, which belongs to no layer and lives on the first device of the device map"
            ));
        }
        for (spot, inside) in matching() {
            let torn = |(at, name): &&(Spot, String)| at == spot && !pattern.is_match(name);
            if let Some((_, outside)) = tensors.iter().find(torn) {
                return Err(format!(
                    "`/{pattern}/` would move `{inside}` but not `{outside}`; a layer lives whole on one device: match all of it, or select layers by their numbers"
                ));
            }
        }
        Ok(())
    }
}

impl TopologyFile {
    fn error(&self, line: usize, problem: String) -> PlacementError {
        PlacementError::Topology { file: self.name.clone(), line, problem }
    }
}

impl PartialEq for Topology {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

impl TryFrom<TopologyFile> for Topology {
    type Error = PlacementError;

    fn try_from(TopologyFile { name, text }: TopologyFile) -> Result<Self, PlacementError> {
        match text.is_empty() {
            true => Ok(Self::NONE),
            false => Self::parse(&name, &text),
        }
    }
}

impl From<Topology> for TopologyFile {
    fn from(topology: Topology) -> Self {
        topology.file
    }
}

#[cfg(test)]
mod tests;
