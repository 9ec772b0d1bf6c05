//! A history: what changed, the worst that still holds first; then the series without changes.

use maud::{Markup, PreEscaped, html};
use windtunnel_ledger::case::CaseId;
use windtunnel_ledger::course::{Event, EventKind};
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::series::Series;
use windtunnel_ledger::verdict::Verdict;

use super::verdicts::share;
use super::{Section, better, counted, document, fragment};
use crate::history::{Along, Cause, Census, Commit, History, Track, short};
use crate::index::{Card, Kind, words};
use crate::plot::spark;
use crate::view::View;

/// The newest points of a series are listed one by one, at most this many.
const LISTED: usize = 40;

/// The whole page.
pub(crate) fn page(history: &History, plots: &[String]) -> Markup {
    let scene = Scene { history, run: None };
    let (found, quiet) = parted(history, plots, usize::MAX);
    let sections: Vec<Section> = [
        (!found.is_empty()).then(|| Section {
            anchor: "changes",
            heading: "What changed",
            body: html! { (explained(history)) (list(scene, &found)) },
        }),
        (!quiet.is_empty()).then(|| Section {
            anchor: "unchanged",
            heading: "Where nothing was found",
            body: html! {
                details.passed open[found.is_empty()] {
                    summary { (counted(quiet.len(), "row")) }
                    (list(scene, &quiet))
                }
            },
        }),
        unread(history),
    ]
    .into_iter()
    .flatten()
    .collect();
    let headline = headline(history);
    let card = card(history);
    document("Windtunnel · history", Some(&card), &headline, &sections)
}

/// The history of the series of a run, as a section of the page of that run.
pub(super) fn section(view: &View<'_>, plots: &[String]) -> Option<Section> {
    let history = view.history?;
    let scene = Scene { history, run: Some(&view.run.id.0) };
    let (found, quiet) = parted(history, plots, ROWS);
    let hidden = history.tracks.len() - found.len() - quiet.len();
    let body = html! {
        p { (summary(history)) " " span.muted { (extent(history)) } }
        @if !found.is_empty() { (explained(history)) (list(scene, &found)) }
        @if !quiet.is_empty() {
            details.passed {
                summary { (quiet.len()) " series in which nothing was found" }
                (list(scene, &quiet))
            }
        }
        @if !history.unread.is_empty() {
            p.note { (counted(history.unread.len(), "file")) " of the store could not be read: " code { "windtunnel history" } " says why." }
        }
        @if hidden > 0 {
            p.note { (hidden) " more series are left out: " code { "windtunnel history --html FILE" } " shows all." }
        }
    };
    Some(Section { anchor: "history", heading: "History", body })
}

/// The history of a series in a sentence that links to its row; empty if there is none.
pub(super) fn beside(view: &View<'_>, case: &CaseId, series: Series) -> Markup {
    let known = view.history.and_then(|history| {
        let ranked = history.ranked();
        let place = ranked.iter().position(|t| t.case == case.as_str() && t.series == series)?;
        (place < ROWS).then_some((history, ranked[place]))
    });
    let Some((history, track)) = known else { return html! {} };
    let scene = Scene { history, run: None };
    html! {
        p {
            a href=(fragment(&id(track))) { "Its history" }
            " over " (counted(track.points.len(), "build")) ": " (verdict(track))
            @if let Some(event) = track.foremost().filter(|event| track.stands(event)) {
                ", since " (since(scene, track, event))
            }
        }
    }
}

/// The most series with a plot on the page of a history; the others have only their row.
pub(crate) const ALL_COURSES: usize = 200;
/// The same for the page of a run.
pub(crate) const COURSES: usize = 60;
/// The most series shown on the page of a run.
const ROWS: usize = 300;

/// What a page is about.
#[derive(Clone, Copy)]
struct Scene<'a> {
    history: &'a History,
    /// The run, if this is the page of a run.
    run: Option<&'a str>,
}

/// One series, with its plot if that is on the page.
type Row<'a> = (&'a Track, Option<&'a String>);

/// The series with events or two states, and the others; of all series, at most the `most` that a
/// reader must see first.
fn parted<'a>(
    history: &'a History,
    plots: &'a [String],
    most: usize,
) -> (Vec<Row<'a>>, Vec<Row<'a>>) {
    let drawn = plots.iter().map(Some).chain(std::iter::repeat(None));
    let rows = history.ranked().into_iter().zip(drawn).take(most);
    rows.partition(|(track, _)| track.foremost().is_some() || track.course.states.is_some())
}

/// The anchor of a series. If a case ran on several machines, it belongs to the first.
fn id(track: &Track) -> String {
    format!("history/{}/{}", track.case, track.series)
}

fn card(history: &History) -> Card {
    let census = history.census();
    let ats = || history.builds.iter().map(|build| build.at.as_str());
    let mut machines: Vec<&str> =
        history.tracks.iter().map(|track| track.machine.as_str()).collect();
    machines.sort_unstable();
    machines.dedup();
    let mut cases: Vec<&str> = history.tracks.iter().map(|track| track.case.as_str()).collect();
    cases.sort_unstable();
    cases.dedup();
    Card {
        kind: Kind::History,
        headline: words(&summary(history).into_string()),
        verdict: match census {
            Census { worse: 1.., .. } => Some(Verdict::Regressed),
            Census { unconfirmed: 1.., .. } => Some(Verdict::Inconclusive),
            Census { better: 1.., .. } => Some(Verdict::Improved),
            _ => None,
        },
        warned: 0,
        at: ats().max().unwrap_or_default().to_owned(),
        subject: counted(history.builds.len(), "build"),
        machine: machines.join(", "),
        cases: cases.len(),
    }
}

fn headline(history: &History) -> Markup {
    let read =
        format!("{} in {}", counted(history.records, "record"), counted(history.runs, "run"));
    html! {
        h1 { (summary(history)) }
        p.lead { (read) "; " (extent(history)) }
    }
}

/// The builds that the history covers.
fn extent(history: &History) -> Markup {
    let days = history.builds.iter().map(|build| build.at.get(..10).unwrap_or(&build.at));
    html! {
        (counted(history.builds.len(), "build"))
        @match days.clone().min().zip(days.max()) {
            Some((first, last)) if first != last => {
                " from " span.id { (first) } " to " span.id { (last) }
            }
            Some((first, _)) => { " of " span.id { (first) } }
            None => {}
        }
        ", along "
        @match history.along {
            Along::Own => "our own commits",
            Along::Upstream => "the upstream's commits",
        }
        "."
    }
}

/// The result in one sentence.
pub(super) fn summary(history: &History) -> Markup {
    let Census { worse, unconfirmed, better, undone, states, lacking } = history.census();
    let all = history.tracks.len();
    html! {
        @if worse > 0 {
            span.worse { "▲ " (worse) " of " (all) " series " (are(worse)) " worse than before" }
        } @else {
            "= None of " (all) " series is worse than before"
        }
        @if unconfirmed > 0 { ", ? " (unconfirmed) " in the newest builds alone" }
        @if better > 0 { ", " span.better { "▽\u{a0}" (better) "\u{a0}better" } }
        @if undone > 0 { ", " (undone) " changed and changed back" }
        @if states > 0 { ", " (states) " with two states" }
        @if lacking > 0 { "; " (lacking) " too short to tell" }
        "."
    }
}

fn are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

fn explained(history: &History) -> Markup {
    html! {
        p.note {
            "Every dot is a build, every line through dots a level, every vertical line a change. The commits named for a change include the one that made it, 19 times in 20. "
            (history.family) " series were judged as one family: if nothing had changed, noise alone would show a change here with a chance of at most 5\u{a0}%."
        }
    }
}

const COLUMNS: [(&str, &str); 6] = [
    ("series", "name"),
    ("change", "word"),
    ("before", "number"),
    ("now", "number"),
    ("course", "drawing"),
    ("since", "since"),
];

fn list(scene: Scene<'_>, rows: &[Row<'_>]) -> Markup {
    html! {
        div.verdicts.courses {
            div.row.heads aria-hidden="true" {
                @for (name, kind) in COLUMNS { span.{ (kind) } data-key=(name) { (name) } }
            }
            @for (track, plot) in rows { (row(scene, track, *plot)) }
        }
    }
}

fn row(scene: Scene<'_>, track: &Track, plot: Option<&String>) -> Markup {
    let worse = track.foremost().map_or(0.0, |event| event.effect);
    let first = scene.history.track(&track.case, track.series);
    let id = first.is_some_and(|first| std::ptr::eq(first, track)).then(|| id(track));
    html! {
        details.ruled id=[id] data-worse=(format!("{worse:.4}")) {
            summary.row { (cells(scene, track)) }
            div.evidence.whole {
                @if let Some(plot) = plot {
                    figure {
                        figcaption.note { (track.series.label()) ", " (better(track.series.metric)) ", on " (track.machine) @if !track.variant.is_empty() { ", " (track.variant) } }
                        (PreEscaped(plot))
                    }
                }
                div { (events(track)) (states(track)) }
                @if plot.is_some() { div.actions { (points(scene, track)) } }
            }
        }
    }
}

fn cells(scene: Scene<'_>, track: &Track) -> Markup {
    let metric = track.series.metric;
    let event = track.foremost();
    html! {
        span.name {
            strong { (track.series.label()) }
            span.case { (super::named(&track.case)) @if !track.variant.is_empty() { " · " (track.variant) } }
        }
        span.word { (verdict(track)) }
        span.number data-label="before" { @if let Some(event) = event { (metric.show(event.before)) } @else { "–" } }
        span.number data-label="now" { (metric.show(track.now())) }
        span.drawing data-label="course" { (spark(track)) }
        span.since data-label="since" { @if let Some(event) = event { (since(scene, track, event)) } @else { "–" } }
    }
}

/// What happened, in a few words.
fn verdict(track: &Track) -> Markup {
    let Some(event) = track.foremost() else {
        return html! {
            @if track.course.states.is_some() { "⇅ two states" }
            @else if track.course.lack.is_some() { span.muted { "? too short" } }
            @else { span.muted { "= steady" } }
        };
    };
    let stands = track.stands(event);
    html! {
        @if stands {
            span class=(class(event)) { (sign(event)) " " (share(event.effect.abs())) " " (direction(event)) }
        } @else {
            span.muted { "↺ was " (share(event.effect.abs())) " " (direction(event)) }
        }
        @match event.kind {
            EventKind::Drift => span.muted { " (drift)" },
            EventKind::Unconfirmed => span.muted { " (newest)" },
            EventKind::Change => {},
        }
        @if track.course.events.len() > 1 { span.muted { ", " (counted(track.course.events.len() - 1, "other")) } }
    }
}

/// The sign before an event, so that colour is never the only sign.
pub(crate) fn sign(event: &Event) -> &'static str {
    match (event.kind, event.effect > 0.0) {
        (EventKind::Unconfirmed, _) => "?",
        (_, true) => "▲",
        (_, false) => "▽",
    }
}

fn class(event: &Event) -> &'static str {
    if event.effect > 0.0 { "worse" } else { "better" }
}

fn direction(event: &Event) -> &'static str {
    if event.effect > 0.0 { "worse" } else { "better" }
}

/// Since when, as briefly as possible: the commit, or a build, with the details inside the row.
fn since(Scene { history, .. }: Scene<'_>, track: &Track, event: &Event) -> Markup {
    let place = track.course.events.iter().position(|other| other == event);
    let cause = place.and_then(|place| track.causes.get(place));
    let build = track.points.get(event.at).and_then(|point| history.builds.get(point.build));
    html! {
        @match cause.map(|cause| (&cause.commits[..], cause.hidden)) {
            Some(([one], 0)) => { (named(one)) }
            Some((several @ [_, ..], hidden)) => {
                "one of " (several.len() + hidden) " commits until "
                @if let Some(last) = several.last() { code { (short(&last.hash)) } }
            }
            _ => { @if let Some(build) = build { code { (build.name(history.along)) } } }
        }
        @if let Some(build) = build { " " span.muted.day { (build.at.get(..10).unwrap_or(&build.at)) } }
    }
}

/// A commit with its pull request and subject.
fn named(commit: &Commit) -> Markup {
    let Commit { hash, subject, pr, link, pr_link, .. } = commit;
    html! {
        (linked(link.as_deref(), html! { code { (short(hash)) } }))
        @if let Some(pr) = pr { " " (linked(pr_link.as_deref(), html! { "#" (pr) })) }
        " " span.subject { (subject) }
    }
}

fn linked(address: Option<&str>, words: Markup) -> Markup {
    html! {
        @match address {
            Some(address) => a href=(address) rel="noreferrer" { (words) },
            None => (words),
        }
    }
}

/// Every event of a series, with its possible causes.
fn events(track: &Track) -> Markup {
    let causes = track.causes.iter().map(Some).chain(std::iter::repeat(None));
    html! {
        @if !track.course.events.is_empty() {
            ol.events {
                @for (event, cause) in track.course.events.iter().zip(causes) {
                    li { (told(track, event)) @if let Some(cause) = cause { (caused(cause)) } }
                }
            }
        }
        @if let Some(lack) = track.course.lack { p.note { "To be judged it lacks " (lack) "." } }
    }
}

fn told(track: &Track, event: &Event) -> Markup {
    let metric = track.series.metric;
    html! {
        p {
            span class=(class(event)) { (sign(event)) " " (share(event.effect.abs())) " " (direction(event)) }
            ", from " (metric.show(event.before)) " to " (metric.show(event.after))
            @match event.kind {
                EventKind::Change => { @if !track.stands(event) { ", undone since" } }
                EventKind::Drift => { ", in a slope over " (event.between.len()) " builds" }
                EventKind::Unconfirmed => {
                    ", in the newest " (counted(event.between.len(), "build")) " alone: more builds will tell whether it stays"
                }
            }
            "."
        }
    }
}

fn caused(cause: &Cause) -> Markup {
    let Cause { commits, hidden, note, settings } = cause;
    html! {
        @if let Some(note) = note { p.note { (note) "." } }
        @if commits.len() + hidden > 1 { p.note { "One of " (commits.len() + hidden) " commits did it:" } }
        @if !commits.is_empty() {
            ul.commits {
                @if *hidden > 0 { li.muted { (counted(*hidden, "older commit")) } }
                @for commit in commits { li { (named(commit)) " " span.muted { (commit.date) } } }
            }
        }
        @if !settings.is_empty() {
            p { strong { "Not the same before and after: " } (settings.join("; ")) "." }
        }
    }
}

fn states(track: &Track) -> Markup {
    let Some(states) = &track.course.states else { return html! {} };
    let modes = &states.modes;
    let metric = track.series.metric;
    html! {
        p {
            "It has two states, " strong { (metric.show(modes.low.value)) } " in "
            (percent(modes.low.share)) " of cases and " strong { (metric.show(modes.high.value)) }
            " in the others, and went from one to the other " (states.switches) " times. "
            span.muted { "They are laid over each other before changes are looked for." }
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// The newest points in numbers.
fn points(Scene { history, run }: Scene<'_>, track: &Track) -> Markup {
    let metric = track.series.metric;
    let older = track.points.len().saturating_sub(LISTED);
    html! {
        details {
            summary { "the " @if older > 0 { "newest " (LISTED) " of " } (counted(track.points.len(), "build")) ", number by number" }
            div.wide {
                table.numbers {
                    thead { tr {
                        th scope="col" { "measured" } th scope="col" { "commit" } th scope="col" { "upstream" }
                        th.number scope="col" { "median" } th.number scope="col" { "rounds" } th scope="col" { "run" }
                    } }
                    tbody {
                        @for point in track.points.iter().rev().take(LISTED) {
                            @if let Some(build) = history.builds.get(point.build) {
                                tr {
                                    td { (build.at) }
                                    td { code { (build.name(Along::Own)) } }
                                    td { @if build.upstream.is_empty() { "–" } @else { code { (short(&build.upstream)) } } }
                                    td.number { (shown(metric, point.median())) }
                                    td.number { (point.rounds.len()) }
                                    td { (build.run) @if run == Some(build.run.as_str()) { strong { " this run" } } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn shown(metric: Metric, value: f64) -> String {
    if value.is_finite() { metric.show(value) } else { "–".to_owned() }
}

fn unread(history: &History) -> Option<Section> {
    let body = html! {
        p.note { "None of the records of these files is on this page." }
        ul.places { @for error in &history.unread { li { (error) } } }
    };
    (!history.unread.is_empty()).then_some(Section { anchor: "unread", heading: "Not read", body })
}
