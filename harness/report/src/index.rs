//! The list of all reports, and what each page tells of itself to be in it.
//!
//! Every page holds its [`Card`]. A list that is made of cards needs no records: pages that were
//! published, or came from elsewhere, are in it by themselves.

use serde::{Deserialize, Serialize};
use windtunnel_ledger::verdict::Verdict;

/// What a page tells of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// What it is.
    pub kind: Kind,
    /// Its heading.
    pub headline: String,
    /// What it came to; none of a page that judges nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// How many series are worse and only warn, whatever it came to.
    #[serde(default)]
    pub warned: usize,
    /// When what it shows was begun, RFC 3339 in UTC.
    pub at: String,
    /// What was measured.
    pub subject: String,
    /// Where.
    pub machine: String,
    /// How many cases it shows.
    pub cases: usize,
}

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Verdicts on a change.
    Gate,
    /// What was measured.
    Run,
    /// What changed over time.
    History,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where it lies, from the folder of the list, with `/` between folders.
    pub path: String,
    /// What it tells of itself; none of a page from before pages did.
    pub card: Option<Card>,
}

/// The name under which a page holds its card.
pub(crate) const NAME: &str = "windtunnel-card";

impl Card {
    /// The card of a page, from the text of its file or as much of the beginning as holds its head.
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

/// Text from the markup of a page.
pub(crate) fn unescaped(text: &str) -> String {
    let text = text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&amp;", "&")
}

/// The words of some markup.
pub(crate) fn words(markup: &str) -> String {
    let mut words = String::new();
    for piece in markup.split('<') {
        // What stands before the first mark of an element has none.
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
