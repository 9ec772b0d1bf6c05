//! Bytes and counts that hardly vary: values that repeat are followed exactly from session to
//! session.

use crate::course::{Course, Event, EventKind, Level, Track};
use crate::judge::Nature;
use crate::judge::range::{Range, WIDEST};
use crate::metric::Better;

/// The smallest share of sessions that must repeat the value of the session before.
const REPEATED: f64 = 0.75;

/// The course of a counted series whose sessions mostly repeat; none for any other.
pub(super) fn follow(track: &Track<'_>) -> Option<Course> {
    if track.nature != Nature::Counted {
        return None;
    }
    let ranges: Option<Vec<Range>> =
        track.sessions.iter().map(|rounds| Range::narrow(rounds)).collect();
    let ranges = ranges.filter(|ranges| ranges.len() > 1)?;
    let pairs = || ranges.windows(2);
    let repeated = pairs().filter(|pair| repeats(&pair[1], &pair[0])).count();
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

/// Whether `now` equals `before`, within the tolerance for rounds that repeat.
fn repeats(now: &Range, before: &Range) -> bool {
    (now.median - before.median).abs() <= WIDEST * before.median
}

/// Whether `now` differs from `before` by at least the margin.
fn differs(track: &Track<'_>, before: &Range, now: &Range) -> bool {
    let grew = now.median - before.median;
    match grew > 0.0 {
        true => now.least > before.most && grew >= track.margin.growth_of(before.median),
        false => now.most < before.least && -grew >= track.margin.shrinkage_of(before.median),
    }
}
