//! The course of a series over many sessions: the levels it kept, where one changed into the next,
//! where it drifted, and whether it has two states.
//!
//! A session is what one run measured of one build: a number for each round. Sessions are in the
//! order of the commits they measured; a [`Track`] holds them, and [`course`] analyses them. It
//! asks the question of a gate at every position at once, with the same means: logarithms signed so
//! that larger is worse, a variance between sessions that is never taken below what was observed, a
//! margin, and one bound of 5 % on a false alarm anywhere in the family.
//!
//! 1. Bytes and counts that hardly vary are followed exactly, without statistics (`exact`).
//! 2. A series that alternates between two values has two states. It is reported as such, and its
//!    states are laid over each other before anything else is asked (`states`).
//! 3. Levels are found by segmentation (`steps`).
//! 4. A drift is where a line describes the series better than steps do (`slope`).
//! 5. What only the newest sessions show is reported, but not yet called a change.

mod exact;
mod slope;
mod states;
mod steps;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::judge::{ALPHA, Lack, Modes, Nature, worse_upwards};
use crate::margin::Margin;
use crate::metric::Better;
use crate::stats;

/// One series over its sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct Track<'a> {
    /// Which direction is better.
    pub better: Better,
    /// Whether values can be expected to repeat exactly.
    pub nature: Nature,
    /// The smallest change that matters.
    pub margin: Margin,
    /// The standard deviation between sessions of unchanged code on this machine, on the log scale;
    /// none until the machine is calibrated.
    pub session_sd: Option<f64>,
    /// The rounds of each session, in the unit of the metric.
    pub sessions: Vec<&'a [f64]>,
}

/// The course of a series. Sessions are given by their positions in the track.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// The levels, in order; together they cover every session. Empty if nothing could be judged.
    pub levels: Vec<Level>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// The two states, if it has two.
    pub states: Option<States>,
    /// Why nothing could be judged.
    pub lack: Option<Lack>,
}

/// A stretch of sessions around one value or, if it drifts, along one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Its sessions.
    pub sessions: Range<usize>,
    /// Its value at the start, in the unit of the metric.
    pub from: f64,
    /// Its value at the end: the same, unless it drifts.
    pub to: f64,
}

/// Something that happened to a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What it was.
    pub kind: EventKind,
    /// The first session after a change; the first session of a drift.
    pub at: usize,
    /// The range that contains the first session after the change, with 95 % confidence; the
    /// sessions of a drift.
    pub between: Range<usize>,
    /// How much worse it became, as a share of the value before; negative is better. Infinite if
    /// the value before was zero.
    #[serde(with = "unbounded")]
    pub effect: f64,
    /// The value before it, in the unit of the metric.
    pub before: f64,
    /// The value after it.
    pub after: f64,
}

/// An effect in JSON, which has no infinity: an infinite one is written as null.
mod unbounded {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(effect: &f64, to: S) -> Result<S::Ok, S::Error> {
        effect.is_finite().then_some(*effect).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(from)?.unwrap_or(f64::INFINITY))
    }
}

/// What can happen to a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// It changed from one level to another.
    Change,
    /// It slid: a line describes it better than steps do.
    Drift,
    /// Its newest sessions lie elsewhere, but are too few to be called a change.
    Unconfirmed,
}

/// The two states between which a series alternates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct States {
    /// Both values, with their shares.
    pub modes: Modes,
    /// How often it switched from one to the other.
    pub switches: usize,
}

/// Fewest sessions of a level: one bad day is not a change.
pub const FEWEST: usize = 3;

/// How many kinds of false alarm share the allowed error: changes, drifts and unconfirmed changes,
/// each for worse and for better.
const ALARMS: f64 = 6.0;

/// Analyses one track of a `family` of tracks that are judged together.
#[must_use]
pub fn course(track: &Track<'_>, family: usize) -> Course {
    if let Some(course) = exact::follow(track) {
        return course;
    }
    let (centres, logs) = match centres(track) {
        Ok(known) => known,
        Err(lack) => return Course { lack: Some(lack), ..Course::default() },
    };
    let margin = stats::median(&centres).map_or(0.0, |centre| track.margin.share_of(centre));
    let alternating = states::states(&centres, margin);
    let laid = match &alternating {
        Some(states) => states::laid_over(&centres, &logs, states),
        None => logs,
    };
    let alpha = ALPHA / ALARMS / family.max(1) as f64;
    let scene = steps::Scene::of(&laid, track.session_sd, margin.ln_1p(), alpha);
    let pieces = slope::pieces(&scene, &steps::changes(&scene));
    let newest = pieces.last().and_then(|piece| steps::newest(&scene, piece));

    let back = |log: f64| match track.better {
        Better::Lower => log.exp(),
        Better::Higher => (-log).exp(),
    };
    let level = |piece: &slope::Piece| Level {
        sessions: piece.sessions.clone(),
        from: back(piece.from),
        to: back(piece.to),
    };
    let event = |kind, between: Range<usize>, at, before: f64, after: f64| Event {
        kind,
        at,
        between,
        effect: (after - before).exp_m1(),
        before: back(before),
        after: back(after),
    };
    let mut events = Vec::new();
    for (place, piece) in pieces.iter().enumerate() {
        let start = piece.sessions.start;
        if let Some(before) = place.checked_sub(1).map(|before| &pieces[before]) {
            // A drift can run into a level without a step.
            if (piece.from - before.to).abs() >= scene.theta {
                let between =
                    steps::between(&scene, before.sessions.start, start, piece.sessions.end);
                events.push(event(EventKind::Change, between, start, before.to, piece.from));
            }
        }
        if piece.drifts {
            let between = piece.sessions.clone();
            events.push(event(EventKind::Drift, between, start, piece.from, piece.to));
        }
    }
    events.extend(newest.map(|newest| {
        let between = newest.at..laid.len();
        event(EventKind::Unconfirmed, between, newest.at, newest.before, newest.after)
    }));

    let last = pieces.last().map_or(0..0, |piece| piece.sessions.clone());
    let states = alternating.or_else(|| {
        let rounds: Vec<f64> =
            track.sessions[last].iter().flat_map(|rounds| rounds.iter().copied()).collect();
        states::states(&rounds, margin)
    });
    Course { levels: pieces.iter().map(level).collect(), events, states, lack: None }
}

/// The centre of each session in the unit of the metric, and its logarithm, signed so that larger
/// is worse.
fn centres(track: &Track<'_>) -> Result<(Vec<f64>, Vec<f64>), Lack> {
    let centres: Vec<f64> =
        track.sessions.iter().filter_map(|rounds| stats::median(rounds)).collect();
    if centres.len() < 2 * FEWEST || centres.len() < track.sessions.len() {
        return Err(Lack::History { found: centres.len(), needs: 2 * FEWEST });
    }
    let logs = worse_upwards(&centres, track.better)?;
    Ok((centres, logs))
}

#[cfg(test)]
pub(crate) mod tests;
