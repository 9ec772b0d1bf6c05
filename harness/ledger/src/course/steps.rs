//! Levels: where a series changed from one to another and stayed.
//!
//! Seeded binary segmentation (Kovács, Bühlmann, Li and Munk 2023): intervals of every length from
//! the whole down to the shortest, each with the split at which its two parts differ most by a t
//! statistic. Of the intervals whose split is beyond chance, the narrowest is taken first
//! (Baranowski, Chen and Fryzlewicz 2019), because a narrow one contains one change and a wide one
//! may contain several. Every change is then moved to the best position between its neighbours, and
//! kept only if its levels differ by the margin and beyond chance.

use std::ops::Range;

use super::FEWEST;
use super::slope::Piece;
use crate::judge::location::SMALLEST_SE;
use crate::judge::student;
use crate::stats;

/// How many sessions a known standard deviation between sessions counts for at most.
const PRIOR_SESSIONS: f64 = 6.0;
/// Each layer of intervals is shorter than the previous one by this factor.
const DECAY: f64 = std::f64::consts::FRAC_1_SQRT_2;
/// Half-width of the window whose median says where a session should lie.
const NEIGHBOURS: usize = 2;
/// How far from there a value is believed, in scales.
const REACH: f64 = 3.0;
/// The confidence that a change is among the sessions named.
const SURE: f64 = 0.95;

/// A series of logarithms (larger is worse), prepared for all questions asked of it.
pub(super) struct Scene<'a> {
    /// The values as measured.
    raw: &'a [f64],
    /// The same, with those far from their neighbours pulled in: one bad day moves no level.
    values: Vec<f64>,
    sums: Vec<Sums>,
    offset: f64,
    /// The prior standard deviation between sessions, and how many sessions it counts for.
    prior: (f64, f64),
    /// The smallest change that matters, on the log scale.
    pub(super) theta: f64,
    /// The allowed probability of a false alarm of one kind in one direction.
    pub(super) alpha: f64,
    intervals: Vec<Range<usize>>,
}

/// Sums over a prefix of the values, less [`Scene::offset`].
#[derive(Clone, Copy, Default)]
struct Sums {
    values: f64,
    squares: f64,
    /// Of values times their positions.
    products: f64,
}

/// The least-squares line through some values.
pub(super) struct Line {
    /// Rise from one session to the next.
    pub(super) slope: f64,
    /// The sum of squared residuals.
    pub(super) squares: f64,
    /// The sum of squared distances of positions from their mean.
    pub(super) width: f64,
}

/// The difference between two neighbouring stretches.
struct Contrast {
    effect: f64,
    t: f64,
    df: f64,
}

impl<'a> Scene<'a> {
    pub(super) fn of(raw: &'a [f64], session_sd: Option<f64>, theta: f64, alpha: f64) -> Scene<'a> {
        let steps: Vec<f64> = raw.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // A difference has twice the variance of a session; a change affects only one of many
        // differences.
        let scale = stats::mad(&steps).unwrap_or(0.0) / std::f64::consts::SQRT_2;
        let prior = match session_sd {
            Some(sd) => (sd, PRIOR_SESSIONS),
            None => (scale, (raw.len() as f64 / 4.0).min(PRIOR_SESSIONS)),
        };
        let values = believed(raw, scale.max(SMALLEST_SE));
        let offset = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let mut sums = vec![Sums::default()];
        let mut sum = Sums::default();
        for (place, value) in values.iter().map(|value| value - offset).enumerate() {
            sum.values += value;
            sum.squares += value.powi(2);
            sum.products += value * place as f64;
            sums.push(sum);
        }
        let intervals = intervals(raw.len());
        Scene { raw, values, sums, offset, prior, theta, alpha, intervals }
    }

    /// The number of sessions.
    pub(super) fn count(&self) -> usize {
        self.values.len()
    }

    fn sums(&self, range: &Range<usize>) -> Sums {
        let (from, to) = (self.sums[range.start], self.sums[range.end]);
        Sums {
            values: to.values - from.values,
            squares: to.squares - from.squares,
            products: to.products - from.products,
        }
    }

    pub(super) fn mean(&self, range: &Range<usize>) -> f64 {
        self.offset + self.sums(range).values / range.len() as f64
    }

    /// The sum of squared distances from the mean.
    pub(super) fn squares(&self, range: &Range<usize>) -> f64 {
        let Sums { values, squares, .. } = self.sums(range);
        (squares - values.powi(2) / range.len() as f64).max(0.0)
    }

    /// The least-squares line through the values of `range`, at least two.
    pub(super) fn line(&self, range: &Range<usize>) -> Line {
        let Sums { values, products, .. } = self.sums(range);
        let count = range.len() as f64;
        let middle = range.start as f64 + (count - 1.0) / 2.0;
        let width = count * (count.powi(2) - 1.0) / 12.0;
        let common = products - middle * values;
        let slope = common / width;
        let squares = (self.squares(range) - slope * common).max(0.0);
        Line { slope, squares, width }
    }

    /// The sum of squares around both levels of `range`, if it changed at `at`.
    fn split(&self, range: &Range<usize>, at: usize) -> f64 {
        self.squares(&(range.start..at)) + self.squares(&(at..range.end))
    }

    /// The sum of squares around both levels of `range`, for the split at which it is smallest.
    pub(super) fn best_split(&self, range: &Range<usize>) -> f64 {
        places(range).map(|at| self.split(range, at)).fold(f64::INFINITY, f64::min)
    }

    fn contrast(&self, range: &Range<usize>, at: usize) -> Contrast {
        let (before, after) = (range.start..at, at..range.end);
        let own = range.len() as f64 - 2.0;
        let (variance, df) = self.variance(self.split(range, at) / own, own);
        let variance = variance * (1.0 / before.len() as f64 + 1.0 / after.len() as f64);
        let effect = self.mean(&after) - self.mean(&before);
        Contrast { effect, t: effect / variance.sqrt().max(SMALLEST_SE), df }
    }

    /// The variance between sessions and its degrees of freedom, from `seen` with `own` degrees of
    /// freedom: weighted with the prior (the moderated t of Smyth 2004), and never below `seen`.
    pub(super) fn variance(&self, seen: f64, own: f64) -> (f64, f64) {
        let (sd, weight) = self.prior;
        (((weight * sd.powi(2) + own * seen) / (weight + own)).max(seen), weight + own)
    }

    /// The allowed probability that a single split looks like a change: all splits of all intervals
    /// share this series' part of the family's error.
    fn chance(&self) -> f64 {
        let splits: usize = self.intervals.iter().map(|interval| places(interval).len()).sum();
        self.alpha / splits.max(1) as f64
    }
}

/// Each value, or the nearest that is credible given its neighbours.
fn believed(raw: &[f64], scale: f64) -> Vec<f64> {
    let near = |at: usize| {
        let width = (2 * NEIGHBOURS + 1).min(raw.len());
        let start = at.saturating_sub(NEIGHBOURS).min(raw.len() - width);
        let middle = stats::median(&raw[start..start + width]).unwrap_or(raw[at]);
        raw[at].clamp(middle - REACH * scale, middle + REACH * scale)
    };
    (0..raw.len()).map(near).collect()
}

/// Intervals of every length, evenly spaced, each overlapping the next by about half.
fn intervals(n: usize) -> Vec<Range<usize>> {
    let mut intervals = Vec::new();
    let mut length = n as f64;
    let mut layer = 0;
    while length >= (2 * FEWEST) as f64 {
        let count = 2 * (1.0 / DECAY).powi(layer).ceil() as usize - 1;
        let shift = (n as f64 - length) / (count.max(2) - 1) as f64;
        for place in 0..count {
            let start = (place as f64 * shift).floor() as usize;
            let end = ((place as f64 * shift + length).ceil() as usize).min(n);
            intervals.push(start..end);
        }
        length *= DECAY;
        layer += 1;
    }
    intervals.dedup();
    intervals
}

/// The positions in `interval` where a change can be.
fn places(interval: &Range<usize>) -> Range<usize> {
    interval.start + FEWEST..(interval.end + 1).saturating_sub(FEWEST)
}

/// The sessions at which new levels begin.
pub(super) fn changes(scene: &Scene<'_>) -> Vec<usize> {
    let chance = scene.chance();
    let found = candidates(scene, chance);
    let mut changes: Vec<usize> = Vec::new();
    for (interval, at) in found {
        let holds = |change: &usize| interval.start < *change && *change < interval.end;
        if !changes.iter().any(holds) {
            changes.push(at);
        }
    }
    changes.sort_unstable();
    settle(scene, changes, chance)
}

/// The intervals that contain a change, and its position; narrowest and clearest first.
fn candidates(scene: &Scene<'_>, chance: f64) -> Vec<(Range<usize>, usize)> {
    let mut found: Vec<(Range<usize>, usize, f64)> = Vec::new();
    // All splits of an interval, and all intervals of a layer, have the same degrees of freedom.
    let mut known = (f64::NAN, f64::INFINITY);
    for interval in &scene.intervals {
        let best = places(interval)
            .map(|at| (at, scene.contrast(interval, at)))
            .max_by(|a, b| a.1.t.abs().total_cmp(&b.1.t.abs()));
        let Some((at, contrast)) = best else { continue };
        if known.0 != contrast.df {
            known = (contrast.df, student::quantile(chance, contrast.df));
        }
        if contrast.t.abs() >= known.1 && contrast.effect.abs() >= scene.theta {
            found.push((interval.clone(), at, contrast.t.abs()));
        }
    }
    found.sort_by(|a, b| a.0.len().cmp(&b.0.len()).then(b.2.total_cmp(&a.2)));
    found.into_iter().map(|(interval, at, _)| (interval, at)).collect()
}

/// Moves every change to its best position, and drops those that do not hold between their
/// neighbours, weakest first.
fn settle(scene: &Scene<'_>, mut changes: Vec<usize>, chance: f64) -> Vec<usize> {
    loop {
        let bounds = |changes: &[usize], place: usize| {
            let start = place.checked_sub(1).map_or(0, |before| changes[before]);
            start..changes.get(place + 1).copied().unwrap_or(scene.count())
        };
        for place in 0..changes.len() {
            let range = bounds(&changes, place);
            let better =
                |a: &usize, b: &usize| scene.split(&range, *a).total_cmp(&scene.split(&range, *b));
            changes[place] = places(&range).min_by(better).unwrap_or(changes[place]);
        }
        let weak = (0..changes.len())
            .map(|place| {
                let Contrast { effect, t, df } =
                    scene.contrast(&bounds(&changes, place), changes[place]);
                (place, effect, student::tail(t.abs(), df))
            })
            .filter(|(_, effect, p)| effect.abs() < scene.theta || *p > chance)
            .max_by(|a, b| a.2.total_cmp(&b.2));
        match weak {
            Some((place, ..)) => changes.remove(place),
            None => return changes,
        };
    }
}

/// The range of sessions that contains the first one after the change at `at`, between `start` and
/// `end`: those of the greatest likelihood, until they have nearly all of it.
pub(super) fn between(scene: &Scene<'_>, start: usize, at: usize, end: usize) -> Range<usize> {
    let range = start..end;
    let floor = SMALLEST_SE.powi(2) * range.len() as f64;
    let best = scene.split(&range, at).max(floor);
    let half = range.len() as f64 / 2.0;
    let weight = |place: usize| {
        let squares = scene.split(&range, place).max(floor);
        ((best / squares).ln() * half).exp().min(1.0)
    };
    let mut weights: Vec<(usize, f64)> =
        (range.start + 1..range.end).map(|place| (place, weight(place))).collect();
    weights.sort_by(|a, b| b.1.total_cmp(&a.1));
    let whole: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let (mut sum, mut named) = (0.0, at..at + 1);
    for (place, weight) in weights {
        named = named.start.min(place)..named.end.max(place + 1);
        sum += weight;
        if sum >= SURE * whole {
            break;
        }
    }
    named
}

/// What only the newest sessions show.
pub(super) struct Newest {
    /// The first of them.
    pub(super) at: usize,
    /// The level before them.
    pub(super) before: f64,
    /// The level of the newest sessions.
    pub(super) after: f64,
}

/// Whether the newest sessions, too few to form a level, lie beyond the margin and beyond chance
/// from `last`, the piece that contains them.
pub(super) fn newest(scene: &Scene<'_>, last: &Piece) -> Option<Newest> {
    let end = last.sessions.end;
    let shown = |count: usize| {
        let at = end.checked_sub(count)?;
        let rest = last.sessions.start..at;
        if last.drifts || rest.len() < FEWEST {
            return None;
        }
        let before = scene.mean(&rest);
        let newest = &scene.raw[at..end];
        let away = newest.iter().all(|value| value - before >= scene.theta)
            || newest.iter().all(|value| before - value >= scene.theta);
        let after = newest.iter().sum::<f64>() / count as f64;
        let own = rest.len() as f64 - 1.0;
        let (variance, df) = scene.variance(scene.squares(&rest) / own, own);
        let variance = variance * (1.0 / count as f64 + 1.0 / rest.len() as f64);
        let t = (after - before).abs() / variance.sqrt().max(SMALLEST_SE);
        let sure = student::tail(t, df) <= scene.alpha / (FEWEST - 1) as f64;
        (away && sure).then_some(Newest { at, before, after })
    };
    (1..FEWEST).rev().find_map(shown)
}
