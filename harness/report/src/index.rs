//! The list of all reports, and the card of each page that puts it on the list.
//!
//! Every page contains its [`Card`]. A list made of cards needs no records, so that it includes
//! pages that were published or came from elsewhere.

use serde::{Deserialize, Serialize};
use windtunnel_ledger::verdict::Verdict;

/// The summary of a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The kind of page.
    pub kind: Kind,
    /// Its heading.
    pub headline: String,
    /// The verdict; none if the page judges nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// How many series got worse but only warn, whatever the verdict.
    #[serde(default)]
    pub warned: usize,
    /// When the run shown on it began, RFC 3339 in UTC.
    pub at: String,
    /// What was measured.
    pub subject: String,
    /// The machine.
    pub machine: String,
    /// The number of cases on it.
    pub cases: usize,
}

/// The kind of page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Verdicts on a change.
    Gate,
    /// The results of a run.
    Run,
    /// Changes over time.
    History,
}

/// One page on the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its path from the folder of the list, with `/` between folders.
    pub path: String,
    /// Its card; none for a page from before there were cards.
    pub card: Option<Card>,
}

/// The name of the element that holds a page's card.
pub(crate) const NAME: &str = "windtunnel-card";

impl Card {
    /// The card of a page, from the text of its file or from a beginning that contains its head.
    #[must_use]
    pub fn of(page: &str) -> Option<Card> {
        let (_, rest) = page.split_once(&format!("<meta name=\"{NAME}\" content=\""))?;
        let (content, _) = rest.split_once('"')?;
        serde_json::from_str(&unescaped(content)).ok()
    }

    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Text without the escapes of markup.
pub(crate) fn unescaped(text: &str) -> String {
    let text = text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&amp;", "&")
}

/// The words in some markup.
pub(crate) fn words(markup: &str) -> String {
    let mut words = String::new();
    for piece in markup.split('<') {
        // Text before the first tag is not preceded by one.
        words.push_str(piece.split_once('>').map_or(piece, |(_, text)| text));
    }
    unescaped(&words).replace('\u{a0}', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_a_card_has_none_and_a_card_survives_any_text() {
        assert_eq!(Card::of("<html><title>elsewhere</title>"), None);
        let hostile = "\"><script>alert(1)</script>&amp;'\u{1}".to_owned();
        let card = Card {
            kind: Kind::Gate,
            headline: hostile.clone(),
            verdict: Some(Verdict::Regressed),
            warned: 2,
            at: "2026-01-01T00:00:00Z".into(),
            subject: hostile.clone(),
            machine: hostile,
            cases: 3,
        };
        let head = maud::html! { meta name=(NAME) content=(card.text()); }.into_string();
        assert_eq!(Card::of(&head), Some(card));
    }

    #[test]
    fn words_are_what_a_reader_sees() {
        let markup = maud::html! { span.mark { "○" } "\u{a0}" b { "a < b & c" } " " i {} "d" };
        assert_eq!(words(&markup.into_string()), "○ a < b & c d");
        assert_eq!(words("plain"), "plain");
    }
}
