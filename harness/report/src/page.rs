//! The markup: one self-contained document. Every text from a run is escaped by `maud`.

mod comparison;
mod devices;
mod evidence;
mod facts;
mod headline;
mod history;
mod index;
mod notes;
mod percentiles;
mod results;
mod roof;
mod rounds;
mod service;
mod stages;
mod trade_off;
mod verdicts;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use windtunnel_ledger::case::CaseId;
use windtunnel_ledger::metric::{Better, Metric};
use windtunnel_ledger::summary::Location;

use crate::index::{Card, NAME};
use crate::plot::{self, Drawn, Plot};
use crate::view::View;

pub(crate) use self::history::{ALL_COURSES, COURSES, page as history, sign as event_sign};
pub(crate) use self::index::page as index;

pub(crate) const STYLE: &str = include_str!("page/style.css");
/// Sorting, filtering and tooltips; the page is complete without it.
const SCRIPT: &str = include_str!("page/script.js");
/// What the page may do: show itself. It makes no network request, whatever text it contains.
pub(crate) const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// A part of the page: its anchor, its heading, and its content.
struct Section {
    anchor: &'static str,
    heading: &'static str,
    body: Markup,
}

/// The page of a run.
pub(crate) fn page(view: &View<'_>, drawn: &Drawn) -> Markup {
    let sections: Vec<Section> = [
        verdicts::section(view, &drawn.ruled),
        comparison::section(view),
        results::section(view),
        history::section(view, &drawn.courses),
        trade_off::section(view, &drawn.trade_offs),
        roof::section(view, &drawn.rooflines),
        stages::section(view),
        service::section(view, &drawn.services),
        devices::section(view),
        percentiles::section(view),
        plots_section(view, &drawn.plots),
        rounds::section(view, &drawn.traces),
        notes::caveats(view),
        notes::voids(view),
        notes::failures(view),
        notes::skips(view),
        facts::repeat(view),
        facts::environment(view),
        facts::run(view),
    ]
    .into_iter()
    .flatten()
    .collect();
    let title = headline::title(view);
    let headline = headline::headline(view);
    let card = headline::card(view, &headline);
    document(&title, Some(&card), &headline, &sections)
}

/// The whole document. The card about it comes at its beginning.
fn document(title: &str, card: Option<&Card>, headline: &Markup, sections: &[Section]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                @if let Some(card) = card { meta name=(NAME) content=(card.text()); }
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.brand { "Windtunnel" }
                    (headline)
                    nav aria-label="Sections" {
                        @for section in sections {
                            a href={ "#" (section.anchor) } { (section.heading) }
                        }
                    }
                }
                main {
                    @for section in sections {
                        section id=(section.anchor) {
                            h2 { (section.heading) }
                            (section.body)
                        }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn plots_section(view: &View<'_>, plots: &[Plot]) -> Option<Section> {
    let body = html! {
        p.note {
            "Every mark is one round, the bar is their median. "
            @if view.subjects.len() > 1 { (legend(view)) }
        }
        div.plots {
            @for plot in plots {
                figure {
                    figcaption { strong { (plot.series.label()) } " " span.muted { (better(plot.series.metric)) } }
                    (PreEscaped(&plot.svg))
                }
            }
        }
    };
    (!plots.is_empty()).then_some(Section { anchor: "plots", heading: "Plots", body })
}

/// Which mark stands for which subject.
fn legend(view: &View<'_>) -> Markup {
    html! {
        @for index in 0..view.subjects.len() { span.key { (subject(view, index)) } " " }
    }
}

/// A subject with its mark.
fn subject(view: &View<'_>, index: usize) -> Markup {
    html! {
        (mark(index)) "\u{a0}"
        @if let Some(subject) = view.subjects.get(index) { (subject.to_string()) }
    }
}

/// The mark of a subject, as in the plots.
fn mark(index: usize) -> Markup {
    let index = index % plot::SHAPES.len();
    html! { span.mark.{ "s" (index) } aria-hidden="true" { (plot::SHAPES[index]) } }
}

/// A median with the spread of its rounds.
fn value(metric: Metric, location: &Location) -> Markup {
    html! {
        (metric.show(location.median))
        @if let Some(spread) = location.spread {
            " " span.spread { "± " (percent(spread)) }
        }
    }
}

/// A fraction in per cent, with as many digits as a reader can use.
fn percent(fraction: f64) -> String {
    match fraction.abs() * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent < 9.95 => format!("{percent:.1} %"),
        percent if percent.is_finite() => format!("{percent:.0} %"),
        // What came from nothing grew by more than any share.
        percent if percent.is_infinite() => "∞".to_owned(),
        _ => "–".to_owned(),
    }
}

/// Which direction of a metric is good, in words.
fn better(metric: Metric) -> &'static str {
    match metric.spec().better {
        Better::Higher => "more is better",
        Better::Lower => "less is better",
    }
}

/// The address of a case on the page.
fn address(case: &CaseId) -> String {
    fragment(case.as_str())
}

/// The address of an element on the page: its id, percent-encoded where an address requires it.
fn fragment(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/=,-._~:+".contains(&byte);
    let mut address = "#".to_owned();
    for byte in id.bytes() {
        match plain(byte) {
            true => address.push(char::from(byte)),
            false => address.push_str(&format!("%{byte:02X}")),
        }
    }
    address
}

/// The longest part of an id that fits on a line of a phone.
const PART: usize = 36;

/// The id of a case, which breaks after a slash or comma rather than within a name.
fn named(id: &str) -> Markup {
    let parts: Vec<&str> = id.split_inclusive(['/', ',']).collect();
    if parts.iter().any(|part| part.chars().count() > PART) {
        return html! { (id) };
    }
    html! {
        span.id {
            @for (place, part) in parts.iter().enumerate() {
                @if place > 0 { wbr; }
                (part)
            }
        }
    }
}

/// A sentence that may contain ids of cases.
fn sentence(text: &str) -> Markup {
    html! {
        @for (place, word) in text.split(' ').enumerate() {
            @if place > 0 { " " }
            @if word.contains('/') { (named(word)) } @else { (word) }
        }
    }
}

/// "1 case", "2 cases".
fn counted(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_digits_that_can_be_used_and_what_came_from_nothing_has_none() {
        let shares = [0.0, -0.0123, 0.0994, 0.5, f64::INFINITY, f64::NAN];
        assert_eq!(shares.map(percent), ["0 %", "1.2 %", "9.9 %", "50 %", "∞", "–"]);
    }

    #[test]
    fn the_script_knows_every_unit_that_a_page_shows() {
        let (_, scales) = SCRIPT.split_once("const scales = {").unwrap();
        let (scales, _) = scales.split_once("};").unwrap();
        let known: Vec<&str> =
            scales.split(',').filter_map(|entry| Some(entry.trim().split_once(": ")?.0)).collect();
        for metric in Metric::ALL {
            for power in -6..=15 {
                let shown = metric.show(10_f64.powi(power));
                let Some((_, unit)) = shown.split_once(' ') else { continue };
                let unit = unit.trim_end_matches("/s");
                let is_known = known.iter().any(|name| name.trim_matches('"') == unit);
                assert!(is_known, "`{shown}` of {metric}");
            }
        }
    }
}
