//! Drifts: a series that slides, in steps too small or too many to be changes.

use std::ops::Range;

use super::steps::Scene;
use crate::judge::location::SMALLEST_SE;
use crate::judge::student;

/// Fewest sessions of a drift.
const FEWEST: usize = 8;

/// A stretch of sessions along one line, horizontal unless they drift. On the log scale.
pub(super) struct Piece {
    /// Its sessions.
    pub(super) sessions: Range<usize>,
    /// Value at the start of the line.
    pub(super) from: f64,
    /// Value at its end.
    pub(super) to: f64,
    /// Whether it has a slope.
    pub(super) drifts: bool,
}

/// The levels between `changes`; those that a line describes better than steps do are merged into
/// one drift.
///
/// The choice between line and steps is made by the Bayesian information criterion (Schwarz 1978),
/// because enough steps fit anything; among the alternatives is one step too small to be a change.
/// The line must also cover at least the margin and have a slope beyond chance.
pub(super) fn pieces(scene: &Scene<'_>, changes: &[usize]) -> Vec<Piece> {
    let n = scene.count();
    let starts = std::iter::once(0).chain(changes.iter().copied());
    let ends = changes.iter().copied().chain(std::iter::once(n));
    let levels: Vec<Range<usize>> = starts.zip(ends).map(|(start, end)| start..end).collect();

    let spans = levels.len() * (levels.len() + 1) / 2;
    let mut drifts: Vec<(Range<usize>, Piece)> = Vec::new();
    for count in (1..=levels.len()).rev() {
        for first in 0..=levels.len() - count {
            let span = first..first + count;
            let taken = |(other, _): &(Range<usize>, Piece)| {
                span.start < other.end && other.start < span.end
            };
            if !drifts.iter().any(taken) && one_way(scene, &levels[span.clone()]) {
                let drift = drift(scene, &levels[span.clone()], spans);
                drifts.extend(drift.map(|drift| (span, drift)));
            }
        }
    }
    let level = |(place, sessions): (usize, Range<usize>)| {
        let inside = drifts.iter().any(|(span, _)| span.contains(&place));
        (!inside).then(|| Piece::over(scene, sessions, false))
    };
    let mut pieces: Vec<Piece> = levels.into_iter().enumerate().filter_map(level).collect();
    pieces.extend(drifts.into_iter().map(|(_, drift)| drift));
    pieces.sort_by_key(|piece| piece.sessions.start);
    for place in 1..pieces.len() {
        let (before, after) = pieces.split_at_mut(place);
        if let ([.., before], [after, ..]) = (before, after) {
            join(scene, before, after);
        }
    }
    pieces
}

/// Moves the border between a level and a drift to where both fit best: steps that stand for a
/// slope start only where a step becomes visible, after the slope began.
fn join(scene: &Scene<'_>, before: &mut Piece, after: &mut Piece) {
    if before.drifts == after.drifts {
        return;
    }
    let (start, end) = (before.sessions.start, after.sessions.end);
    let fewest = |piece: &Piece| if piece.drifts { FEWEST } else { super::FEWEST };
    let borders = start + fewest(before)..(end + 1).saturating_sub(fewest(after));
    let squares = |range: Range<usize>, drifts: bool| match drifts {
        true => scene.line(&range).squares,
        false => scene.squares(&range),
    };
    let fit = |border: &usize| {
        squares(start..*border, before.drifts) + squares(*border..end, after.drifts)
    };
    let Some(border) = borders.min_by(|a, b| fit(a).total_cmp(&fit(b))) else { return };
    *before = Piece::over(scene, start..border, before.drifts);
    *after = Piece::over(scene, border..end, after.drifts);
}

impl Piece {
    /// The best line over `sessions`, horizontal unless they drift.
    fn over(scene: &Scene<'_>, sessions: Range<usize>, drifts: bool) -> Piece {
        let mean = scene.mean(&sessions);
        let half = if drifts {
            scene.line(&sessions).slope * (sessions.len() as f64 - 1.0) / 2.0
        } else {
            0.0
        };
        Piece { from: mean - half, to: mean + half, sessions, drifts }
    }
}

/// Whether `levels` all rise or all fall.
fn one_way(scene: &Scene<'_>, levels: &[Range<usize>]) -> bool {
    let mut rises = levels.windows(2).map(|pair| scene.mean(&pair[0]) < scene.mean(&pair[1]));
    let first = rises.next();
    rises.all(|rise| Some(rise) == first)
}

/// The line through consecutive `levels`; none if the steps describe them better.
fn drift(scene: &Scene<'_>, levels: &[Range<usize>], spans: usize) -> Option<Piece> {
    let (first, last) = (levels.first()?, levels.last()?);
    let sessions = first.start..last.end;
    let n = sessions.len();
    if n < FEWEST {
        return None;
    }
    let count = n as f64;
    let line = scene.line(&sessions);
    let floor = SMALLEST_SE.powi(2) * count;
    let around_line = line.squares.max(floor);
    let around_steps = levels.iter().map(|level| scene.squares(level)).sum::<f64>().max(floor);
    let price = |squares: f64, parameters: usize| {
        count * (squares / count).ln() + parameters as f64 * count.ln()
    };
    let told = price(around_line, 2);
    let told_better = told < price(around_steps, 2 * levels.len() - 1)
        && told < price(scene.best_split(&sessions).max(floor), 3);
    let (variance, df) = scene.variance(around_line / (count - 2.0), count - 2.0);
    let t = line.slope.abs() / (variance / line.width).sqrt();
    let beyond_chance = student::tail(t, df) <= scene.alpha / spans as f64;
    let far = line.slope.abs() * (count - 1.0) >= scene.theta;
    (told_better && beyond_chance && far).then(|| Piece::over(scene, sessions, true))
}
