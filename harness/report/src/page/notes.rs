//! Caveats, failures and skips: what, and where.

use maud::{Markup, html};

use super::{Section, address, counted, named, subject};
use crate::view::{Occurrence, Trouble, View};

/// More places than this are folded away.
const FOLD: usize = 6;

/// What to know before believing the numbers.
pub(super) fn caveats(view: &View<'_>) -> Option<Section> {
    section("caveats", "Caveats", view, &view.caveats())
}

/// Rounds that do not count.
pub(super) fn voids(view: &View<'_>) -> Option<Section> {
    section("voids", "Rounds that do not count", view, &view.voids())
}

/// Rounds that failed, with the end of their output.
pub(super) fn failures(view: &View<'_>) -> Option<Section> {
    section("failures", "Failures", view, &view.failures())
}

/// What was left out.
pub(super) fn skips(view: &View<'_>) -> Option<Section> {
    section("skips", "Not measured", view, &view.skips())
}

fn section(
    anchor: &'static str,
    heading: &'static str,
    view: &View<'_>,
    troubles: &[Trouble],
) -> Option<Section> {
    let body = html! { @for trouble in troubles { (note(view, trouble)) } };
    (!troubles.is_empty()).then_some(Section { anchor, heading, body })
}

fn note(view: &View<'_>, trouble: &Trouble) -> Markup {
    let Trouble { text, tail, occurrences } = trouble;
    let list =
        html! { ul.places { @for known in occurrences { li { (occurrence(view, known)) } } } };
    html! {
        div.trouble {
            p { (sentence(text)) }
            @if occurrences.len() > FOLD {
                details { summary { "in " (counted(occurrences.len(), "place")) } (list) }
            } @else {
                (list)
            }
            @if let Some(tail) = tail {
                details { summary { "the end of its output" } pre { code { (tail) } } }
            }
        }
    }
}

fn occurrence(view: &View<'_>, occurrence: &Occurrence) -> Markup {
    html! {
        @if occurrence.shown {
            a.case href=(address(&occurrence.case)) { (named(occurrence.case.as_str())) }
        } @else {
            span.case { (named(occurrence.case.as_str())) }
        }
        @if let (Some(index), true) = (occurrence.subject, view.subjects.len() > 1) {
            " " (subject(view, index))
        }
        @if !occurrence.rounds.is_empty() {
            span.muted {
                @if occurrence.rounds.len() == 1 { ", round " } @else { ", rounds " }
                (occurrence.rounds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// The ledger's messages are fragments; on the page they read like sentences.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().into_iter().flat_map(char::to_uppercase);
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    first.chain(rest).collect::<String>() + end
}
