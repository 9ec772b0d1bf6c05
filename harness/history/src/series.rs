//! The history of one series of one case on one machine: a point for each build and run, in the
//! order of commits.
//!
//! A series never mixes values of different machines, of different definitions of a case, of builds
//! with different features, or of different engines.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use polars::prelude::{BooleanChunked, DataFrame, IntoLazy, NewChunkedArray, SortMultipleOptions};
use windtunnel_ledger::case::matches;
use windtunnel_ledger::gate::Arm;
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::series;
use windtunnel_report::history::Point;

use crate::Error;
use crate::commits::Commits;
use crate::frame::Loaded;
use crate::names::{Name, Names};

/// One series of one case on one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The case's id.
    pub case: Name,
    /// The series of the case.
    pub series: series::Series,
    /// The key of the machine.
    pub machine: Name,
    /// The hash of the case, and the features of the build or the other engine.
    pub variant: Name,
    /// At least one point, in order; builds are indices into [`History::origins`].
    pub points: Vec<Point>,
}

/// One build in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// When its first round began, RFC 3339 in UTC.
    pub at: Name,
    /// The run's name.
    pub run: Name,
    /// Its commit, with `+` if files differed from it; empty if unknown.
    pub commit: Name,
    /// Its upstream commit; empty if unknown.
    pub upstream: Name,
    /// The subject as the user named it.
    pub subject: Name,
    /// What besides the code could change results.
    pub setting: Name,
    position: Position,
}

/// The position of a build in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    upstream: usize,
    own: usize,
    at: Name,
}

/// The commits that a history follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// Our own.
    Own,
    /// The upstream's commits, up to which our builds had considered every one.
    Upstream,
}

/// Every series of a store, with the builds of its points.
#[derive(Debug, Default)]
pub struct History {
    /// Sorted by case, series and machine.
    pub series: Vec<Series>,
    /// Every build of every run.
    pub origins: Vec<Origin>,
}

/// The columns of a sorted frame, in which the rows of one case on one machine are adjacent.
struct Sorted<'a> {
    names: HashMap<&'static str, &'a [u32]>,
    round: &'a [u32],
    texts: &'a Names,
}

/// The sort columns. Rows equal in the first `OF_SERIES` belong to one series, in the first
/// `OF_POINT` to one point.
const KEY: [&str; 8] = ["case", "variant", "machine", "run", "commit", "subject", "round", "at"];
/// What identifies a round, whichever run it is in, and under whatever name: a gate against a
/// baseline copies the records of its base.
const ROUND: [&str; 6] = ["case", "variant", "machine", "commit", "round", "at"];
const OF_SERIES: usize = 3;
const OF_POINT: usize = 6;

/// The series of every case that matches `pattern`; only those of `metric`, if given. A round that
/// is both in `run` and in another run counts as one of `run`.
///
/// # Errors
/// If the frame is not one that [`load`](crate::frame::load) made.
pub fn history(
    loaded: &Loaded,
    pattern: &str,
    metric: Option<Metric>,
    run: Option<&str>,
    along: Along,
    own: &Commits,
    upstream: &Commits,
) -> Result<History, Error> {
    let mut frame =
        cases(loaded, pattern)?.lazy().sort(KEY, SortMultipleOptions::default()).collect()?;
    frame.rechunk_mut();
    let mut frame = frame.filter(&firsts(&Sorted::of(&frame, &loaded.names)?, run))?;
    frame.rechunk_mut();
    let rows = Sorted::of(&frame, &loaded.names)?;
    let mut history = History::default();
    let mut order = Order { own, upstream, along, names: &loaded.names, known: HashMap::new() };
    let points: Vec<Vec<(Range<usize>, usize)>> = stretches(&rows, OF_SERIES, 0..frame.height())
        .map(|case| {
            let points = stretches(&rows, OF_POINT, case);
            points
                .map(|point| (point.clone(), order.origin(&rows, point, &mut history.origins)))
                .collect()
        })
        .collect();
    order.settle(&mut history.origins);

    for wanted in series::Series::all().filter(|s| metric.is_none_or(|metric| s.metric == metric)) {
        let Ok(values) = frame.column(&wanted.to_string()) else { continue };
        let values = values.f64()?.cont_slice()?;
        for case in &points {
            history.series.extend(one(
                &rows,
                wanted,
                values,
                case,
                &history.origins,
                along,
                &loaded.names,
            ));
        }
    }
    let key = |s: &Series| (s.case, s.series, s.machine, s.variant);
    history.series.sort_by_key(key);
    Ok(history)
}

/// Selects one row for each round: a record that is in several files, or in a merged run as well as
/// in the run that measured it, is one round. Rows of `run` take precedence.
fn firsts(rows: &Sorted<'_>, run: Option<&str>) -> BooleanChunked {
    let of_round = ROUND.map(|title| rows.column(title));
    let runs = rows.column("run");
    let wanted = run.and_then(|run| runs.iter().find(|name| rows.texts.text(**name) == run));
    let (wanted, others): (Vec<usize>, Vec<usize>) =
        (0..runs.len()).partition(|row| Some(&runs[*row]) == wanted);
    let mut seen = HashSet::with_capacity(runs.len());
    let mut firsts = vec![false; runs.len()];
    for row in wanted.into_iter().chain(others) {
        firsts[row] = seen.insert(of_round.map(|column| column[row]));
    }
    BooleanChunked::from_slice("first".into(), &firsts)
}

/// The series `wanted` from the rows of one case, if any of them has it.
fn one(
    rows: &Sorted<'_>,
    wanted: series::Series,
    values: &[f64],
    case: &[(Range<usize>, usize)],
    origins: &[Origin],
    along: Along,
    names: &Names,
) -> Option<Series> {
    let mut points: Vec<Point> = Vec::new();
    for (range, origin) in case {
        if along == Along::Upstream && names.text(origins[*origin].upstream).is_empty() {
            continue;
        }
        let numbers = values[range.clone()].iter().copied();
        let rounds: Vec<f64> = numbers.filter(|value| !value.is_nan()).collect();
        if !rounds.is_empty() {
            points.push(Point { build: *origin, rounds });
        }
    }
    let first = case.first()?.0.start;
    let name = |column: &str| rows.names[column][first];
    points.sort_by(|a, b| origins[a.build].position.cmp(&origins[b.build].position));
    (!points.is_empty()).then(|| Series {
        case: name("case"),
        series: wanted,
        machine: name("machine"),
        variant: name("variant"),
        points,
    })
}

impl<'a> Sorted<'a> {
    fn of(frame: &'a DataFrame, texts: &'a Names) -> Result<Sorted<'a>, Error> {
        let column = |title: &'static str| -> Result<&'a [u32], Error> {
            let column = frame.column(title).map_err(|_| Error::Column(title))?;
            Ok(column.u32()?.cont_slice()?)
        };
        let named = crate::frame::NAMES.into_iter().map(|title| Ok((title, column(title)?)));
        Ok(Sorted { names: named.collect::<Result<_, Error>>()?, round: column("round")?, texts })
    }

    /// Whether two rows agree in the first `keys` sort columns. The arms of a gate that are of one
    /// build agree: they share the luck of their run, and as three sessions one bad day would look
    /// like a change.
    fn same(&self, a: usize, b: usize, keys: usize) -> bool {
        KEY[..keys].iter().all(|title| {
            let column = self.column(title);
            column[a] == column[b] || (*title == "subject" && self.built(a) == self.built(b))
        })
    }

    /// The name of the subject of a row, whichever arm it was.
    fn built(&self, row: usize) -> &str {
        Arm::unmarked(self.texts.text(self.column("subject")[row]))
    }

    fn column(&self, title: &str) -> &'a [u32] {
        self.names.get(title).copied().unwrap_or(self.round)
    }
}

/// Splits `range` into stretches whose rows agree in the first `keys` sort columns.
fn stretches<'a>(
    rows: &'a Sorted<'_>,
    keys: usize,
    range: Range<usize>,
) -> impl Iterator<Item = Range<usize>> + use<'a> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        let mut end = start;
        while end < range.end && rows.same(start, end, keys) {
            end += 1;
        }
        let stretch = start..end;
        start = end;
        (!stretch.is_empty()).then_some(stretch)
    })
}

/// Puts builds in order.
struct Order<'a> {
    own: &'a Commits,
    upstream: &'a Commits,
    along: Along,
    names: &'a Names,
    known: HashMap<[Name; 5], usize>,
}

/// The place of a commit that is not in the order.
const UNKNOWN: usize = usize::MAX;

impl Order<'_> {
    /// The build of these rows, added if it is new.
    fn origin(
        &mut self,
        rows: &Sorted<'_>,
        range: Range<usize>,
        origins: &mut Vec<Origin>,
    ) -> usize {
        let name = |column: &str| rows.names[column][range.start];
        let at = range.clone().map(|row| rows.names["at"][row]).min().unwrap_or_default();
        // In a run merged from several machines, each has its own setting.
        let key = ["run", "subject", "commit", "machine", "setting"].map(name);
        if let Some(known) = self.known.get(&key) {
            let origin = &mut origins[*known];
            origin.at = origin.at.min(at);
            return *known;
        }
        let (commit, upstream) = (name("commit"), name("upstream"));
        let place =
            |commits: &Commits, name: Name| commits.place(self.names.text(name)).unwrap_or(UNKNOWN);
        let along_upstream = match self.along {
            Along::Own => 0,
            Along::Upstream => place(self.upstream, upstream),
        };
        let position = Position { upstream: along_upstream, own: place(self.own, commit), at };
        let [run, subject, .., setting] = key;
        origins.push(Origin { at, run, commit, upstream, subject, setting, position });
        self.known.insert(key, origins.len() - 1);
        origins.len() - 1
    }

    /// Unknown commits go after everything measured before them.
    fn settle(&self, origins: &mut [Origin]) {
        let mut by_time: Vec<usize> = (0..origins.len()).collect();
        by_time.sort_by(|a, b| match origins[*a].at.cmp(&origins[*b].at) {
            Ordering::Equal => a.cmp(b),
            order => order,
        });
        let (mut upstream, mut own) = (0, 0);
        for index in by_time {
            let Origin { position, at, .. } = &mut origins[index];
            for (mine, newest) in
                [(&mut position.upstream, &mut upstream), (&mut position.own, &mut own)]
            {
                match *mine {
                    UNKNOWN => *mine = *newest,
                    known => *newest = known.max(*newest),
                }
            }
            position.at = *at;
        }
    }
}

/// The rows of the cases that match `pattern`.
fn cases(loaded: &Loaded, pattern: &str) -> Result<DataFrame, Error> {
    let Loaded { frame, names, .. } = loaded;
    if pattern.is_empty() {
        return Ok(frame.clone());
    }
    let cases = frame.column("case").map_err(|_| Error::Column("case"))?.u32()?.cont_slice()?;
    let mut fits: HashMap<Name, bool> = HashMap::new();
    let wanted = cases
        .iter()
        .map(|case| *fits.entry(*case).or_insert_with(|| matches(names.text(*case), pattern)));
    let wanted: Vec<bool> = wanted.collect();
    let wanted = BooleanChunked::from_slice("wanted".into(), &wanted);
    Ok(frame.filter(&wanted)?)
}

/// The cases of a store, sorted.
///
/// # Errors
/// If the frame is not one that [`load`](crate::frame::load) made.
pub fn known_cases(loaded: &Loaded) -> Result<Vec<&str>, Error> {
    let cases =
        loaded.frame.column("case").map_err(|_| Error::Column("case"))?.u32()?.cont_slice()?;
    let mut cases = cases.to_vec();
    cases.sort_unstable();
    cases.dedup();
    Ok(cases.into_iter().map(|case| loaded.names.text(case)).collect())
}
