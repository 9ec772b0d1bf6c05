//! Parses YAML into rules. Problems come with their line, counted from 1.

use std::ops::Range;

use regex::Regex;
use saphyr_parser::{Event, Parser, ScanError, Span, StrInput};

use super::{Rule, Selector};
use crate::config::UnknownWord;
use crate::placement::error::nearest;
use crate::placement::{DeviceName, PlacementError};
use crate::quant::Quant;

/// A problem and its line.
type Complaint = (usize, String);

const KEYS: [&str; 2] = ["isq", "device"];

/// The rules in `text`, in order.
pub(super) fn read(text: &str) -> Result<Vec<Rule>, Complaint> {
    let mut reader = Reader(Parser::new_from_str(text));
    let mut rules: Vec<(String, Rule)> = Vec::new();
    match reader.next()? {
        (Token::Open, _) => {}
        (_, line) => return Err((
            line,
            "it has no selectors; write them with their keys, as in `0-8: { device: \"cpu:1\" }`"
                .into(),
        )),
    }
    loop {
        let (name, line) = match reader.next()? {
            (Token::Word(name), line) => (name, line),
            (Token::Close, _) => break,
            (_, line) => return Err((line, "a selector is missing here; write layers, as in `0-8`, or a pattern, as in `/q_proj/`".into())),
        };
        if let Some((_, first)) = rules.iter().find(|(known, _)| *known == name) {
            return Err((line, format!("`{name}` is already on line {}", first.line)));
        }
        let selector = selector(&name).map_err(|problem| (line, problem))?;
        let rule = reader.rule(&name, line, selector)?;
        rules.push((name, rule));
    }
    match reader.next()? {
        (Token::End, _) => Ok(rules.into_iter().map(|(_, rule)| rule).collect()),
        (_, line) => {
            Err((line, "a second document begins here, but a topology is a single document".into()))
        }
    }
}

/// Parses a selector.
fn selector(name: &str) -> Result<Selector, String> {
    if let Some(pattern) = name.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
        return Regex::new(pattern).map(Selector::Tensors).map_err(|error| {
            // The problem is on the last line, below a diagram.
            let error = error.to_string();
            let problem = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("`{name}` is not a valid pattern: {problem}")
        });
    }
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let layers = match name.split_once('-') {
        Some((start, end)) => number(start).zip(number(end)),
        None => number(name).map(|layer| (layer, layer.saturating_add(1))),
    };
    match layers.map(|(start, end)| start as usize..end as usize) {
        None => Err(format!(
            "`{name}` is not a selector; write a layer, as in `3`, a range with an exclusive end, as in `0-8`, or a pattern of tensor names, as in `/q_proj/`"
        )),
        Some(Range { start, end }) if end <= start => Err(format!(
            "`{name}` selects nothing; the second number comes after the last layer, as in `{end}-{}`",
            start.max(end + 1)
        )),
        Some(layers) => Ok(Selector::Layers(layers)),
    }
}

/// The subset of YAML used by topologies.
enum Token {
    Word(String),
    Open,
    Close,
    End,
    Other,
}

struct Reader<'a>(Parser<'a, StrInput<'a>>);

impl Reader<'_> {
    fn next(&mut self) -> Result<(Token, usize), Complaint> {
        let at = |span: Span| span.start.line();
        loop {
            let (event, span) = match self.0.next() {
                None => return Ok((Token::End, 1)),
                Some(event) => event.map_err(|error: ScanError| {
                    (error.marker().line(), format!("this is not valid YAML: {}", error.info()))
                })?,
            };
            return Ok(match event {
                Event::Nothing
                | Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd => continue,
                Event::StreamEnd => (Token::End, at(span)),
                Event::Scalar(text, ..) => (Token::Word(text.into_owned()), at(span)),
                Event::MappingStart(..) => (Token::Open, at(span)),
                Event::MappingEnd => (Token::Close, at(span)),
                _ => (Token::Other, at(span)),
            });
        }
    }

    /// The keys of selector `name` on line `line`.
    fn rule(&mut self, name: &str, line: usize, selector: Selector) -> Result<Rule, Complaint> {
        let mut rule = Rule { line, selector, quant: None, device: None };
        let empty = || {
            (
                line,
                format!(
                    "`{name}` sets nothing; write `isq`, `device` or both, as in `{name}: {{ device: \"cpu:1\" }}`"
                ),
            )
        };
        let (Token::Open, _) = self.next()? else { return Err(empty()) };
        loop {
            let (key, line) = match self.next()? {
                (Token::Word(key), line) => (key, line),
                (Token::Close, _) => break,
                (_, line) => return Err((line, format!("a key of `{name}` is missing here"))),
            };
            let (Token::Word(value), at) = self.next()? else {
                return Err((line, format!("`{key}` of `{name}` takes one word")));
            };
            let twice = match key.as_str() {
                "isq" => {
                    let quant: Result<Quant, UnknownWord> = value.parse();
                    rule.quant.replace(quant.map_err(|error| (at, error.to_string()))?).is_some()
                }
                "device" => {
                    let device: Result<DeviceName, PlacementError> = value.parse();
                    let device = device.map_err(|error| (at, error.to_string()))?;
                    rule.device.replace(device).is_some()
                }
                unknown => {
                    let problem = match nearest(unknown, KEYS.into_iter()) {
                        Some(near) => format!("unknown key `{unknown}`, did you mean `{near}`?"),
                        None => format!("unknown key `{unknown}`; the keys are `isq` and `device`"),
                    };
                    return Err((line, problem));
                }
            };
            if twice {
                return Err((line, format!("`{name}` has `{key}` twice")));
            }
        }
        match (rule.quant, rule.device) {
            (None, None) => Err(empty()),
            _ => Ok(rule),
        }
    }
}
