//! Bytes and counts that hardly vary: what repeats is followed from session to session as it is.

use crate::course::{Course, Event, EventKind, Level, Track};
use crate::judge::Nature;
use crate::metric::Better;
use crate::stats;

/// The widest range of rounds that repeat, as a share of their median.
const WIDEST: f64 = 0.005;
/// The smallest share of sessions that repeat what the session before them gave.
const REPEATED: f64 = 0.75;

/// The rounds of one session.
struct Range {
    least: f64,
    median: f64,
    most: f64,
}

impl Range {
    /// The range of `rounds`; none if they vary, or are no amounts.
    fn narrow(rounds: &[f64]) -> Option<Range> {
        let median = stats::median(rounds)?;
        let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let amounts = rounds.iter().all(|round| round.is_finite() && *round >= 0.0);
        (amounts && most - least <= WIDEST * median).then_some(Range { least, median, most })
    }

    fn repeats(&self, before: &Range) -> bool {
        (self.median - before.median).abs() <= WIDEST * before.median
    }
}

/// The course of a counted series whose sessions mostly repeat; none of another.
pub(super) fn follow(track: &Track<'_>) -> Option<Course> {
    if track.nature != Nature::Counted {
        return None;
    }
    let ranges: Option<Vec<Range>> =
        track.sessions.iter().map(|rounds| Range::narrow(rounds)).collect();
    let ranges = ranges.filter(|ranges| ranges.len() > 1)?;
    let pairs = || ranges.windows(2);
    let repeated = pairs().filter(|pair| pair[1].repeats(&pair[0])).count();
    if (repeated as f64) < REPEATED * pairs().len() as f64 {
        return None;
    }

    let mut course = Course::default();
    let mut start = 0;
    for (at, range) in ranges.iter().enumerate().skip(1) {
        let before = &ranges[start];
        if !differs(track, before, range) {
            continue;
        }
        let (from, to) = (before.median, range.median);
        course.levels.push(Level { sessions: start..at, from, to: from });
        let worsening = match track.better {
            Better::Lower => to / from - 1.0,
            Better::Higher => from / to - 1.0,
        };
        course.events.push(Event {
            kind: EventKind::Change,
            at,
            between: at..at + 1,
            effect: worsening,
            before: from,
            after: to,
        });
        start = at;
    }
    let value = ranges[start].median;
    course.levels.push(Level { sessions: start..ranges.len(), from: value, to: value });
    Some(course)
}

/// Whether `now` is elsewhere than `before`, by the margin at least.
fn differs(track: &Track<'_>, before: &Range, now: &Range) -> bool {
    let grew = now.median - before.median;
    match grew > 0.0 {
        true => now.least > before.most && grew >= track.margin.growth_of(before.median),
        false => now.most < before.least && -grew >= track.margin.shrinkage_of(before.median),
    }
}
