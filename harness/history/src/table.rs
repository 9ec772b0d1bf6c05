//! Terminal output: text in aligned columns.

use windtunnel_ledger::course::{Event, EventKind};
use windtunnel_ledger::metric::{Better, Metric};
use windtunnel_report::history::{Along, Cause, Census, Commit, History, Track, short};

/// The length of a sparkline in blocks.
const STEPS: usize = 24;
/// The widest column padding in characters; longer cells stick out.
const WIDEST: usize = 200;
/// The newest points of a series are shown, at most this many.
const POINTS: usize = 30;
/// The most rows without changes; the rest are only counted.
const QUIET: usize = 40;

/// What changed, the worst that still holds first; then a line for each series.
pub(crate) fn overview(history: &History) -> String {
    let mut text = summary(history);
    let ranked = history.ranked();
    for track in ranked.iter().filter(|track| !track.course.events.is_empty()) {
        text += &format!("\n{}  {}{}\n", track.case, track.series.label(), variant(track));
        text += &events(history, track);
    }
    let mut rows = vec![["case", "series", "now", "course", ""].map(str::to_owned)];
    let quiet = |track: &&&Track| track.course.events.is_empty();
    let shown = ranked.iter().filter(|track| !quiet(track));
    let shown = shown.chain(ranked.iter().filter(quiet).take(QUIET));
    rows.extend(shown.map(|track| {
        [
            format!("{}{}", track.case, variant(track)),
            track.series.to_string(),
            track.series.metric.show(track.now()),
            spark(track),
            verdict(track),
        ]
    }));
    text += "\n";
    text += &aligned(&rows, [Side::Left, Side::Left, Side::Right, Side::Left, Side::Left]);
    let hidden = ranked.len() + 1 - rows.len();
    if hidden > 0 {
        text +=
            &format!("… and {hidden} more to which nothing happened: `--html FILE` shows all\n");
    }
    if let Some(first) = ranked.first() {
        let metric = first.series.metric;
        text += &format!("\nnext: windtunnel history --metric {metric} --case '{}'\n", first.case);
    }
    text
}

/// One series: what it is, its events, and a line for each of its newest points.
pub(crate) fn series(history: &History, track: &Track) -> String {
    let metric = track.series.metric;
    let better = match metric.spec().better {
        Better::Higher => "more is better",
        Better::Lower => "less is better",
    };
    let machine = format!("{}{}", track.machine, variant(track));
    let mut text = format!("{}\n{}, {better}, on {machine}\n", track.case, track.series);
    text += &match track.course.events.is_empty() {
        true => format!("{}  {}\n", spark(track), verdict(track)),
        false => format!("{}\n", spark(track)),
    };
    text += &events(history, track);
    if let Some(states) = &track.course.states {
        text += &format!(
            "two states: {} in {:.0} % and {} in {:.0} %, with {} switches\n",
            metric.show(states.modes.low.value),
            states.modes.low.share * 100.0,
            metric.show(states.modes.high.value),
            states.modes.high.share * 100.0,
            states.switches
        );
    }
    if let Some(lack) = track.course.lack {
        text += &format!("to be judged it lacks {lack}\n");
    }
    let older = track.points.len().saturating_sub(POINTS);
    let commit = match history.along {
        Along::Own => "commit",
        Along::Upstream => "upstream",
    };
    let head = ["at", commit, "subject", "median", "spread", "rounds", ""];
    let mut rows = vec![head.map(str::to_owned)];
    for (place, point) in track.points.iter().enumerate().skip(older) {
        let Some(build) = history.builds.get(point.build) else { continue };
        let location = windtunnel_ledger::summary::Location::of(point.rounds.clone());
        let spread = location.and_then(|location| location.spread);
        rows.push([
            build.at.clone(),
            build.name(history.along),
            build.subject.clone(),
            metric.show(point.median()),
            spread.map(|spread| format!("± {}", percent(spread))).unwrap_or_default(),
            point.rounds.len().to_string(),
            begun(track, place),
        ]);
    }
    let sides =
        [Side::Left, Side::Left, Side::Left, Side::Right, Side::Right, Side::Right, Side::Left];
    text += "\n";
    text += &aligned(&rows, sides);
    if older > 0 {
        text += &format!("the newest {POINTS} of {} builds\n", track.points.len());
    }
    text + "\n"
}

fn variant(track: &Track) -> String {
    if track.variant.is_empty() { String::new() } else { format!(" ({})", track.variant) }
}

/// The opening sentence, with the overall result.
fn summary(history: &History) -> String {
    let Census { worse, unconfirmed, better, undone, states, lacking } = history.census();
    let all = history.tracks.len();
    let mut text = match worse {
        0 => format!("none of {all} series is worse than before"),
        1 => format!("1 of {all} series is worse than before"),
        _ => format!("{worse} of {all} series are worse than before"),
    };
    for (count, words) in [
        (unconfirmed, "in the newest builds alone"),
        (better, "better"),
        (undone, "changed and changed back"),
        (states, "with two states"),
        (lacking, "too short to tell"),
    ] {
        if count > 0 {
            text += &format!(", {count} {words}");
        }
    }
    let along = match history.along {
        Along::Own => "our own commits",
        Along::Upstream => "the upstream's commits",
    };
    let builds = counted(history.builds.len(), "build");
    let runs = counted(history.runs, "run");
    format!("{text}\n{builds} in {runs}, along {along}\n")
}

/// Every event of a series, with its possible causes.
fn events(history: &History, track: &Track) -> String {
    let mut text = String::new();
    let causes = track.causes.iter().map(Some).chain(std::iter::repeat(None));
    for (event, cause) in track.course.events.iter().zip(causes) {
        text += &format!("  {}", happened(track.series.metric, event));
        text += &match event.kind {
            EventKind::Change if !track.stands(event) => ", undone since\n".to_owned(),
            EventKind::Change => "\n".to_owned(),
            EventKind::Drift => format!(", a drift over {} builds\n", event.between.len()),
            EventKind::Unconfirmed => {
                format!(", in the newest {} alone\n", counted(event.between.len(), "build"))
            }
        };
        let build = track.points.get(event.at).and_then(|point| history.builds.get(point.build));
        if let (Some(build), true) = (build, event.kind != EventKind::Drift) {
            text += &format!("    first measured {}, {}\n", build.at, build.name(history.along));
        }
        if let Some(cause) = cause {
            text += &caused(cause);
        }
    }
    text
}

fn caused(cause: &Cause) -> String {
    let Cause { commits, hidden, note, settings } = cause;
    let mut text = String::new();
    if let Some(note) = note {
        text += &format!("    {note}\n");
    }
    if commits.len() + hidden > 1 {
        text += &format!("    one of {} commits", commits.len() + hidden);
        text += &if *hidden > 0 {
            format!(", the newest {}:\n", commits.len())
        } else {
            ":\n".to_owned()
        };
    }
    for Commit { hash, subject, pr, date, .. } in commits {
        let pr = pr.map(|pr| format!(" #{pr}")).unwrap_or_default();
        text += &format!("    {} {date}{pr}  {subject}\n", short(hash));
    }
    if !settings.is_empty() {
        text += &format!("    not the same before and after: {}\n", settings.join("; "));
    }
    text
}

/// An event in a few words: `▲ 8.3 % worse, 41.0 tok/s → 37.6 tok/s`.
fn happened(metric: Metric, event: &Event) -> String {
    format!("{}, {} → {}", in_words(event), metric.show(event.before), metric.show(event.after))
}

fn in_words(event: &Event) -> String {
    let sign = match (event.kind, event.effect > 0.0) {
        (EventKind::Unconfirmed, _) => "?",
        (_, true) => "▲",
        (_, false) => "▽",
    };
    let direction = if event.effect > 0.0 { "worse" } else { "better" };
    format!("{sign} {} {direction}", percent(event.effect.abs()))
}

/// The outcome for a series, in a few words.
fn verdict(track: &Track) -> String {
    match track.foremost() {
        Some(event) if !track.stands(event) => {
            let was = in_words(event);
            format!("↺ was {}", was.split_once(' ').map_or(&*was, |(_, rest)| rest))
        }
        Some(event) => in_words(event),
        None if track.course.states.is_some() => "⇅ two states".to_owned(),
        None if track.course.lack.is_some() => "? too short".to_owned(),
        None => "=".to_owned(),
    }
}

/// The event that begins at a point, if any.
fn begun(track: &Track, place: usize) -> String {
    let mut events = track.course.events.iter().filter(|event| event.at == place);
    events.next().map(in_words).unwrap_or_default()
}

/// The course of a series in blocks, the oldest on the left.
fn spark(track: &Track) -> String {
    let medians: Vec<f64> = track.points.iter().map(|point| point.median()).collect();
    windtunnel_report::blocks(&medians, STEPS)
}

pub(crate) fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn percent(fraction: f64) -> String {
    match fraction.is_finite() {
        true => format!("{:.1} %", fraction * 100.0),
        false => "infinitely".to_owned(),
    }
}

/// The alignment of a column.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// Rows with two spaces between columns and no trailing spaces.
fn aligned<const N: usize>(rows: &[[String; N]], sides: [Side; N]) -> String {
    let cell = |cell: &String| cell.replace('\n', " ");
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(cell)).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().min(WIDEST).max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for ((cell, width), side) in row.iter().zip(widths).zip(sides) {
            line += &match side {
                Side::Left => format!("{cell:<width$}  "),
                Side::Right => format!("{cell:>width$}  "),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}
