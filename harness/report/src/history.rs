//! What a history page shows, as plain data that the reader of the store fills in.

use serde::{Deserialize, Serialize};
use windtunnel_ledger::course::{Course, Event, EventKind, FEWEST};
use windtunnel_ledger::series::Series;
use windtunnel_ledger::stats;

/// Every series of a store over the measured builds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// The commits that it follows.
    pub along: Along,
    /// Every build of every run.
    pub builds: Vec<Build>,
    /// The series, each in commit order.
    pub tracks: Vec<Track>,
    /// The number of series judged as one family: these, and any others from which they were
    /// selected.
    pub family: usize,
    /// The number of runs that it was read from.
    pub runs: usize,
    /// The number of records in them.
    pub records: usize,
    /// What could not be read, each with its reason.
    pub unread: Vec<String>,
}

/// The commits that a history follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Along {
    /// Our own.
    #[default]
    Own,
    /// The upstream's, up to which our builds had considered every commit.
    Upstream,
}

/// The build measured in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// When its first round began, RFC 3339 in UTC.
    pub at: String,
    /// The run.
    pub run: String,
    /// The subject, as the user named it.
    pub subject: String,
    /// Its commit, with `+` if files differed from it; empty if unknown.
    pub commit: String,
    /// The upstream commit up to which it had considered every commit; empty if unknown.
    pub upstream: String,
}

/// One series of one case on one machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Track {
    /// The case's id.
    pub case: String,
    /// The series.
    pub series: Series,
    /// The kind of machine, by its key.
    pub machine: String,
    /// What else distinguishes it from other series of the same case: the features of the build, or
    /// an earlier definition of the case. Empty if there is nothing.
    pub variant: String,
    /// At least one point, in commit order.
    pub points: Vec<Point>,
    /// The levels and events found in it.
    pub course: Course,
    /// The possible causes of each event of the course.
    pub causes: Vec<Cause>,
}

/// The result of one build in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// An index into [`History::builds`].
    pub build: usize,
    /// The values of its rounds, at least one, in the unit of the metric.
    pub rounds: Vec<f64>,
}

/// The possible causes of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The commits of which one caused it, oldest first; only the newest if there are many.
    pub commits: Vec<Commit>,
    /// The number of further commits.
    pub hidden: usize,
    /// A note instead of the commits, or in addition to them.
    pub note: Option<String>,
    /// What else differed before and after.
    pub settings: Vec<String>,
}

/// A commit, as shown to readers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its hash, as far as it is known.
    pub hash: String,
    /// The first line of its message.
    pub subject: String,
    /// The number of its pull request.
    pub pr: Option<u32>,
    /// Its date.
    pub date: String,
    /// The URL of the commit.
    pub link: Option<String>,
    /// The URL of its pull request.
    pub pr_link: Option<String>,
}

/// The fewest builds in which a change can be detected.
pub const LONG_ENOUGH: usize = 2 * FEWEST;

/// The number of digits that identify a commit.
const DIGITS: usize = 9;

/// An abbreviated commit hash; the mark of changed files is kept.
#[must_use]
pub fn short(commit: &str) -> String {
    let hash = commit.trim_end_matches('+');
    let dirty = if hash.len() < commit.len() { "+" } else { "" };
    hash.chars().take(DIGITS).collect::<String>() + dirty
}

impl Build {
    /// The abbreviated commit that the history follows; the subject if it is unknown.
    #[must_use]
    pub fn name(&self, along: Along) -> String {
        let commit = match along {
            Along::Own => &self.commit,
            Along::Upstream => &self.upstream,
        };
        if commit.is_empty() { self.subject.clone() } else { short(commit) }
    }
}

impl Point {
    /// The median of its rounds.
    #[must_use]
    pub fn median(&self) -> f64 {
        stats::median(&self.rounds).unwrap_or(f64::NAN)
    }
}

impl Track {
    /// The current value: that of the newest sessions if they alone differ, otherwise the end of
    /// the last level, or else the newest point.
    #[must_use]
    pub fn now(&self) -> f64 {
        let newest = self.course.events.last().filter(|event| event.kind == EventKind::Unconfirmed);
        let level = self.course.levels.last().map(|level| level.to);
        let value = newest.map(|event| event.after).or(level);
        value.or_else(|| self.points.last().map(Point::median)).unwrap_or(f64::NAN)
    }

    /// Whether `event` still holds: most of its effect has not been undone since, and it did not
    /// itself undo an earlier event. An event shown by the newest sessions alone always holds, and
    /// undoes nothing yet.
    #[must_use]
    pub fn stands(&self, event: &Event) -> bool {
        if event.kind == EventKind::Unconfirmed {
            return true;
        }
        let undid = |earlier: &Event| {
            let back = self.left(earlier, event.after);
            earlier.at < event.at && !self.holds(earlier) && back < 0.5
        };
        self.holds(event) && !self.course.events.iter().any(undid)
    }

    /// Whether most of an event's effect is left at the end of the last level.
    fn holds(&self, event: &Event) -> bool {
        let level = self.course.levels.last().map_or_else(|| self.now(), |level| level.to);
        self.left(event, level) >= 0.5
    }

    /// How much of an event's effect is left if the series is at `value`: 1 for all, below 0 if it
    /// went the other way.
    fn left(&self, event: &Event, value: f64) -> f64 {
        // Computed from values rather than effects, which are infinite if the value before was
        // zero.
        (value - event.before) / (event.after - event.before)
    }

    /// The event that a reader must see first: the worst that still holds, then one that only the
    /// newest sessions show, then the best that still holds, then one that was undone. None if
    /// there was no event.
    #[must_use]
    pub fn foremost(&self) -> Option<&Event> {
        self.course.events.iter().min_by(|a, b| self.rank(a).total_cmp(&self.rank(b)))
    }

    /// Smaller for what a reader must see sooner.
    fn rank(&self, event: &Event) -> f64 {
        let kind = match (event.kind, self.stands(event), event.effect > 0.0) {
            (EventKind::Unconfirmed, ..) => 1e6,
            (_, true, true) => 0.0,
            (_, true, false) => 2e6,
            (_, false, _) => 3e6,
        };
        kind - event.effect.abs().min(1e5)
    }
}

/// The number of series by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Series that got worse.
    pub worse: usize,
    /// Series of which only the newest sessions differ.
    pub unconfirmed: usize,
    /// Series that got better.
    pub better: usize,
    /// Series that changed and changed back.
    pub undone: usize,
    /// Series that alternate between two states.
    pub states: usize,
    /// Series about which nothing can be said.
    pub lacking: usize,
}

impl History {
    /// The series that a run is part of, with everything before and after it.
    #[must_use]
    pub fn of_run(mut self, run: &str) -> History {
        let builds = &self.builds;
        let own = |point: &Point| builds.get(point.build).is_some_and(|build| build.run == run);
        self.tracks.retain(|track| track.points.iter().any(own));
        let mut places = vec![None; self.builds.len()];
        let mut kept = Vec::new();
        for point in self.tracks.iter_mut().flat_map(|track| &mut track.points) {
            let Some(place) = places.get_mut(point.build) else { continue };
            point.build = *place.get_or_insert_with(|| {
                kept.push(self.builds[point.build].clone());
                kept.len() - 1
            });
        }
        self.builds = kept;
        self
    }

    /// Whether any series is long enough for changes to be detected.
    #[must_use]
    pub fn tells(&self) -> bool {
        self.tracks.iter().any(|track| track.points.len() >= LONG_ENOUGH)
    }

    /// The series of a case; if there are several machines, that of the first.
    #[must_use]
    pub fn track(&self, case: &str, series: Series) -> Option<&Track> {
        self.tracks.iter().find(|track| track.case == case && track.series == series)
    }

    /// The tracks with events, those that a reader must see first in front; then the others, those
    /// with two states first.
    #[must_use]
    pub fn ranked(&self) -> Vec<&Track> {
        let mut tracks: Vec<&Track> = self.tracks.iter().collect();
        let rank = |track: &Track| match track.foremost() {
            Some(event) => track.rank(event),
            None if track.course.states.is_some() => 4e6,
            None => 5e6,
        };
        tracks.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
        tracks
    }

    /// The number of series by result.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for track in &self.tracks {
            match track.foremost() {
                Some(event) if !track.stands(event) => census.undone += 1,
                Some(Event { kind: EventKind::Unconfirmed, .. }) => census.unconfirmed += 1,
                Some(event) if event.effect > 0.0 => census.worse += 1,
                Some(_) => census.better += 1,
                None => (),
            }
            census.states += usize::from(track.course.states.is_some());
            census.lacking += usize::from(track.course.lack.is_some());
        }
        census
    }
}
