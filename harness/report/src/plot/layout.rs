//! The vertical layout of a series' plot: the place of every case and subject.
//!
//! ```text
//!       ticks
//!  heading of a scenario
//!  label of a case
//!  ──○─○│○──────────  median      lane of the base
//!  ─────────◇◇│◇────  median      lane of the head
//!       ticks
//! ```

use windtunnel_ledger::series::Series;
use windtunnel_ledger::summary::Location;

use crate::view::{CaseView, View};

/// Height of the ticks above and below.
pub(super) const AXIS: i32 = 22;
/// Height of a line of text.
pub(super) const LINE: i32 = 16;
/// Height of a lane.
const LANE: i32 = 17;
/// The space between two strips.
const GAP: i32 = 9;
/// The number of characters of a label that always fit into the width.
const LABEL: usize = 62;

/// The layout of one series' plot.
pub(super) struct Layout {
    /// Which series.
    pub(super) series: Series,
    /// The scenario headings, each with its top.
    pub(super) headings: Vec<(String, i32)>,
    /// Cases, from top to bottom.
    pub(super) strips: Vec<Strip>,
}

/// One case.
pub(super) struct Strip {
    /// Its label, in lines that fit.
    pub(super) label: Vec<String>,
    /// The top of its label.
    pub(super) top: i32,
    /// One for each subject that measured it.
    pub(super) lanes: Vec<Lane>,
}

/// One subject in one case.
pub(super) struct Lane {
    /// Which subject.
    pub(super) subject: usize,
    /// The height of its dots.
    pub(super) middle: i32,
    /// Its rounds.
    pub(super) location: Location,
}

impl Layout {
    /// The layout of all cases that have `series`.
    pub(super) fn of(view: &View<'_>, series: Series) -> Layout {
        let mut layout = Layout { series, headings: Vec::new(), strips: Vec::new() };
        let mut top = AXIS + GAP;
        for scenario in view.scenarios.iter().filter(|s| s.series.contains(&series)) {
            layout.headings.push((shown(&scenario.name), top));
            top += LINE + 4;
            for case in &scenario.cases {
                let label = lines(&scenario.label(case));
                let height = label.len() as i32 * LINE;
                let lanes = lanes(case, series, top + height);
                if let Some(last) = lanes.last() {
                    let bottom = last.middle + LANE / 2;
                    layout.strips.push(Strip { label, top, lanes });
                    top = bottom + GAP;
                }
            }
            top += GAP;
        }
        layout
    }

    /// Every lane of every strip.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.strips.iter().flat_map(|strip| &strip.lanes)
    }

    /// The total height.
    pub(super) fn height(&self) -> u32 {
        let bottom = self.lanes().last().map_or(AXIS, |lane| lane.middle + LANE / 2 + GAP);
        (bottom + AXIS).unsigned_abs()
    }
}

fn lanes(case: &CaseView<'_>, series: Series, top: i32) -> Vec<Lane> {
    let located = case.results.iter().filter_map(|result| {
        result.location(series).map(|location| (result.subject, location.clone()))
    });
    let lane = |(i, (subject, location))| {
        let middle = top + LANE * i as i32 + LANE / 2;
        Lane { subject, middle, location }
    };
    located.enumerate().map(lane).collect()
}

/// `text` in lines of at most [`LABEL`] characters, broken between words where possible.
fn lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in shown(text).split_inclusive(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if length + word.len() > LABEL && length > 0 {
            lines.push(String::new());
            length = 0;
        }
        while !word.is_empty() {
            let rest = word.split_off(word.len().min(LABEL));
            length += word.len();
            if let Some(line) = lines.last_mut() {
                line.extend(&word);
            }
            if !rest.is_empty() {
                lines.push(String::new());
                length = 0;
            }
            word = rest;
        }
    }
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}

/// XML allows no control characters.
fn shown(text: &str) -> String {
    text.replace(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'), "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_label_is_broken_between_words_and_a_long_word_anywhere() {
        assert_eq!(lines("batch 8"), ["batch 8"]);
        let text = ["word"; 30].join(" ");
        assert!(lines(&text).iter().all(|line| line.chars().count() <= LABEL));
        assert_eq!(lines(&text).join(" "), text);
        let word = "x".repeat(150);
        assert_eq!(lines(&word).len(), 3);
        assert_eq!(lines(&word).concat(), word);
    }

    #[test]
    fn a_label_has_no_character_that_xml_forbids() {
        assert_eq!(lines("a\u{1}b\u{ffff}c\n"), ["a\u{fffd}b\u{fffd}c\u{fffd}"]);
    }
}
