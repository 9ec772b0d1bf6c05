//! Where series changed, and what may have caused it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;
use windtunnel_ledger::calibration::{Calibration, Floors};
use windtunnel_ledger::course::{Event, EventKind, Track as Question, course};
use windtunnel_ledger::judge::Nature;
use windtunnel_ledger::policy::Policy;
use windtunnel_report::history::{self as plain, Build, Cause, Commit, Track, short};

use crate::Error;
use crate::commits::Commits;
use crate::frame::Loaded;
use crate::names::Name;
use crate::series::{Along, History, Origin, Series};
use crate::setting::differences;

/// The most commits named as causes of one event: the newest.
const NAMED: usize = 8;

/// What a history is judged by, and the commits that it names.
pub struct Basis<'a> {
    /// The margins.
    pub policy: &'a Policy,
    /// The known noise of machines, by machine key.
    pub floors: &'a BTreeMap<String, Floors>,
    /// Our own commits.
    pub own: &'a Commits,
    /// The upstream's.
    pub upstream: &'a Commits,
    /// Along which of them the history runs.
    pub along: Along,
}

/// Judges every series of a history as one family.
#[must_use]
pub fn judge(loaded: &Loaded, history: History, basis: &Basis<'_>) -> plain::History {
    let History { series, origins } = history;
    let family = series.len();
    let current = current(loaded, &series, &origins);
    let tracks = series.into_par_iter().map(|series| {
        let (own, _) = parts(loaded.names.text(series.variant));
        let latest = current.get(&(series.case, series.machine)) == Some(&own);
        track(loaded, series, &origins, basis, family, latest)
    });
    let tracks: Vec<Track> = tracks.collect();
    let text = |name: Name| loaded.names.text(name).to_owned();
    let build = |origin: &Origin| Build {
        at: text(origin.at),
        run: text(origin.run),
        subject: text(origin.subject),
        commit: text(origin.commit),
        upstream: text(origin.upstream),
    };
    let runs: HashSet<Name> = origins.iter().map(|origin| origin.run).collect();
    plain::History {
        along: match basis.along {
            Along::Own => plain::Along::Own,
            Along::Upstream => plain::Along::Upstream,
        },
        builds: origins.iter().map(build).collect(),
        tracks,
        family,
        runs: runs.len(),
        records: loaded.records,
        unread: loaded.unread.iter().map(ToString::to_string).collect(),
    }
}

/// For each case and machine, the hash of the case as it was last measured, with any build
/// features.
fn current<'a>(
    loaded: &'a Loaded,
    series: &[Series],
    origins: &[Origin],
) -> HashMap<(Name, Name), &'a str> {
    let mut newest: HashMap<(Name, Name), (Name, &str)> = HashMap::new();
    for one in series {
        let at = one.points.iter().map(|point| origins[point.build].at).max().unwrap_or_default();
        let (hash, _) = parts(loaded.names.text(one.variant));
        let entry = newest.entry((one.case, one.machine)).or_insert((at, hash));
        *entry = (*entry).max((at, hash));
    }
    newest.into_iter().map(|(key, (_, hash))| (key, hash)).collect()
}

/// The two parts of a variant: the hash of the case, and the features of the build or the other
/// engine.
fn parts(variant: &str) -> (&str, &str) {
    variant.split_once(' ').unwrap_or((variant, ""))
}

fn track(
    loaded: &Loaded,
    series: Series,
    origins: &[Origin],
    basis: &Basis<'_>,
    family: usize,
    latest: bool,
) -> Track {
    let text = |name| loaded.names.text(name).to_owned();
    let spec = series.series.metric.spec();
    let machine = text(series.machine);
    let session_sd =
        basis.floors.get(&machine).and_then(|floors| floors.session_sd.get(&spec.class)).copied();
    let question = Question {
        better: spec.better,
        nature: if spec.class.is_timed() { Nature::Timed } else { Nature::Counted },
        margin: basis.policy.margin(series.series),
        session_sd,
        sessions: series.points.iter().map(|point| &point.rounds[..]).collect(),
    };
    let course = course(&question, family);
    let causes = course
        .events
        .iter()
        .map(|event| {
            let of = |place: usize| &origins[series.points[place].build];
            cause(loaded, event, &of, series.points.len(), basis)
        })
        .collect();
    Track {
        case: text(series.case),
        series: series.series,
        variant: variant(loaded.names.text(series.variant), latest),
        machine,
        points: series.points,
        course,
        causes,
    }
}

/// What tells a series from others of its case, in words: the features of the build or the other
/// engine, and whether the definition of the case has changed since.
fn variant(variant: &str, latest: bool) -> String {
    let (_, build) = parts(variant);
    let earlier = (!latest).then_some("an earlier definition");
    let build = (!build.is_empty()).then_some(build);
    build.into_iter().chain(earlier).collect::<Vec<_>>().join(", ")
}

/// What lies between the last build before an event and the builds at which it may have begun.
fn cause<'a>(
    loaded: &Loaded,
    event: &Event,
    of: &dyn Fn(usize) -> &'a Origin,
    points: usize,
    basis: &Basis<'_>,
) -> Cause {
    let first = match event.kind {
        EventKind::Drift => return slope(loaded, event, of),
        EventKind::Change => event.between.start,
        EventKind::Unconfirmed => event.at,
    };
    let last = match event.kind {
        EventKind::Unconfirmed => event.at,
        EventKind::Change | EventKind::Drift => (event.between.end - 1).min(points - 1),
    };
    let Some(before) = first.checked_sub(1).map(of) else { return Cause::default() };
    let after = of(last);
    let mut cause = between(loaded, before, after, basis);
    let settings = (loaded.names.text(before.setting), loaded.names.text(after.setting));
    cause.settings = differences(settings.0, settings.1);
    cause
}

fn between(loaded: &Loaded, before: &Origin, after: &Origin, basis: &Basis<'_>) -> Cause {
    let text = |name: Name| loaded.names.text(name);
    if basis.along == Along::Upstream && before.upstream != after.upstream {
        let places = [before, after].map(|origin| basis.upstream.place(text(origin.upstream)));
        if let [Some(from), Some(to)] = places {
            return named(basis.upstream, from + 1..to + 1, None);
        }
    }
    let note = (basis.along == Along::Upstream).then(|| {
        format!(
            "The upstream commit stayed {}: it was one of our own",
            short(text(before.upstream))
        )
    });
    let (from, to) = (text(before.commit), text(after.commit));
    if from == to && !from.is_empty() && !from.ends_with('+') {
        return told(format!(
            "Commit {} was measured both before and after: the machine or its setting changed, not the code",
            short(from)
        ));
    }
    match [from, to].map(|commit| basis.own.place(commit)) {
        [Some(a), Some(b)] if a < b => named(basis.own, a + 1..b + 1, note),
        [Some(a), Some(b)] if a == b => told(format!(
            "Changes that were not committed: {} before, {} after",
            short(from),
            short(to)
        )),
        _ => {
            let name = |commit: &str| {
                if commit.is_empty() { "an unknown commit".to_owned() } else { short(commit) }
            };
            told(format!(
                "It lies between {} and {}; which commits those are is not known in this repository",
                name(from),
                name(to)
            ))
        }
    }
}

fn told(note: String) -> Cause {
    Cause { note: Some(note), ..Cause::default() }
}

fn named(commits: &Commits, places: Range<usize>, note: Option<String>) -> Cause {
    let shown = places.start.max(places.end.saturating_sub(NAMED))..places.end;
    let hidden = shown.start - places.start;
    let commits: Vec<Commit> = shown.filter_map(|place| commits.get(place).cloned()).collect();
    Cause { commits, hidden, note, settings: Vec::new() }
}

fn slope<'a>(loaded: &Loaded, event: &Event, of: &dyn Fn(usize) -> &'a Origin) -> Cause {
    let (first, last) = (of(event.between.start), of(event.between.end - 1));
    let text = |name: Name| loaded.names.text(name);
    let mut cause = told(format!(
        "It drifted from {} to {}, not by any single commit",
        short(text(first.commit)),
        short(text(last.commit))
    ));
    cause.settings = differences(text(first.setting), text(last.setting));
    cause
}

/// The policy in the file `path`, or else the one built into this program.
///
/// # Errors
/// If the file is not a policy.
pub fn policy(path: &Path) -> Result<Policy, Error> {
    const OWN: &str = include_str!("../../../ci/gate.toml");
    let text = std::fs::read_to_string(path).unwrap_or_else(|_| OWN.to_owned());
    toml::from_str(&text)
        .map_err(|error| Error::Toml { path: path.to_owned(), reason: error.to_string() })
}

/// The noise floors in the calibrations in the folder `dir`; empty if there is no such folder.
///
/// # Errors
/// If a file there is not a calibration.
pub fn floors(dir: &Path) -> Result<BTreeMap<String, Floors>, Error> {
    let mut floors = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let calibration: Calibration = serde_json::from_str(&text)
            .map_err(|error| Error::Toml { path: path.clone(), reason: error.to_string() })?;
        floors.insert(calibration.machine.clone(), calibration.floors());
    }
    Ok(floors)
}
