//! What a history page shows, as plain data: whoever reads the store fills it in.

use serde::{Deserialize, Serialize};
use windtunnel_ledger::course::{Course, Event, EventKind, FEWEST};
use windtunnel_ledger::series::Series;
use windtunnel_ledger::stats;

/// Every series of a store over the builds that were measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// Along which commits it is told.
    pub along: Along,
    /// Every build of every run.
    pub builds: Vec<Build>,
    /// The series, each in the order of commits.
    pub tracks: Vec<Track>,
    /// How many series were judged as one family: these, and others where these were picked out.
    pub family: usize,
    /// How many runs it was read from.
    pub runs: usize,
    /// How many records they hold.
    pub records: usize,
    /// What could not be read, each with its reason.
    pub unread: Vec<String>,
}

/// Along which commits a history is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Along {
    /// Our own.
    #[default]
    Own,
    /// The upstream's, up to which our builds had considered every one.
    Upstream,
}

/// What was measured in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// When its first round began, RFC 3339 in UTC.
    pub at: String,
    /// The run.
    pub run: String,
    /// The subject as the user named it.
    pub subject: String,
    /// Its commit, with `+` if files differed from it; empty if it is unknown.
    pub commit: String,
    /// The upstream commit up to which it had considered every one; empty if it is unknown.
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
    /// What else tells it from others of the same case: the features of the build, or that the case
    /// was defined otherwise. Empty if nothing does.
    pub variant: String,
    /// At least one point, in the order of commits.
    pub points: Vec<Point>,
    /// What became of it.
    pub course: Course,
    /// For each event of the course, what may have caused it.
    pub causes: Vec<Cause>,
}

/// What one build gave in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// An index into [`History::builds`].
    pub build: usize,
    /// The numbers of its rounds, at least one, in the unit of the metric.
    pub rounds: Vec<f64>,
}

/// What may have caused an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The commits of which one did it, the oldest first; the newest of them where there are many.
    pub commits: Vec<Commit>,
    /// How many more there are.
    pub hidden: usize,
    /// What is to be said instead of commits, or beside them.
    pub note: Option<String>,
    /// What else was not the same before and after.
    pub settings: Vec<String>,
}

/// A commit as it is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its hash, as long as it is known.
    pub hash: String,
    /// The first line of its message.
    pub subject: String,
    /// The number of its pull request.
    pub pr: Option<u32>,
    /// Its day.
    pub date: String,
    /// Where it is shown.
    pub link: Option<String>,
    /// Where its pull request is shown.
    pub pr_link: Option<String>,
}

/// Fewest builds of which a change can be told.
pub const LONG_ENOUGH: usize = 2 * FEWEST;

/// How many digits tell a commit from all others.
const DIGITS: usize = 9;

/// A commit in few digits; the mark of changed files stays.
#[must_use]
pub fn short(commit: &str) -> String {
    let hash = commit.trim_end_matches('+');
    let dirty = if hash.len() < commit.len() { "+" } else { "" };
    hash.chars().take(DIGITS).collect::<String>() + dirty
}

impl Build {
    /// Its commit along which a history is told, in few digits; the subject where it is unknown.
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
    /// The value at which it is now: where its newest sessions lie if they lie elsewhere, the end of its
    /// last level, or else its newest point.
    #[must_use]
    pub fn now(&self) -> f64 {
        let newest = self.course.events.last().filter(|event| event.kind == EventKind::Unconfirmed);
        let level = self.course.levels.last().map(|level| level.to);
        let value = newest.map(|event| event.after).or(level);
        value.or_else(|| self.points.last().map(Point::median)).unwrap_or(f64::NAN)
    }

    /// Whether `event` still holds: most of what it did was not undone since, and it did not itself undo
    /// what had happened before. What the newest sessions alone show stands by itself, and undoes nothing
    /// yet.
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

    /// Whether most of an event is left at the end of the last level.
    fn holds(&self, event: &Event) -> bool {
        let level = self.course.levels.last().map_or_else(|| self.now(), |level| level.to);
        self.left(event, level) >= 0.5
    }

    /// How much is left of an event if the series lies at `value`: 1 for all, below 0 if it went the
    /// other way.
    fn left(&self, event: &Event, value: f64) -> f64 {
        // Of the values and not of effects, which are infinite where there was nothing before.
        (value - event.before) / (event.after - event.before)
    }

    /// The event that a reader must see first: what stands and is worst, then what only the newest
    /// sessions show, then what stands and is best, then what was undone. None if nothing happened.
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

/// How many series came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Series that are worse than they were.
    pub worse: usize,
    /// Series whose newest sessions alone lie elsewhere.
    pub unconfirmed: usize,
    /// Series that are better than they were.
    pub better: usize,
    /// Series that changed, and changed back.
    pub undone: usize,
    /// Series with two states.
    pub states: usize,
    /// Series of which nothing could be said.
    pub lacking: usize,
}

impl History {
    /// The series of which a run is a part, with all that came before and after it.
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

    /// Whether any series is long enough to tell what became of it.
    #[must_use]
    pub fn tells(&self) -> bool {
        self.tracks.iter().any(|track| track.points.len() >= LONG_ENOUGH)
    }

    /// The series of a case; of several machines, the first one.
    #[must_use]
    pub fn track(&self, case: &str, series: Series) -> Option<&Track> {
        self.tracks.iter().find(|track| track.case == case && track.series == series)
    }

    /// The tracks to which something happened, what a reader must see first in front; then the others,
    /// those with two states first.
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

    /// How many series came to what.
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
