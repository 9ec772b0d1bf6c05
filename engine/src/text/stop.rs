//! [`Stops`]: stop strings in a text that arrives in parts.
//!
//! The text ends before the stop string that completes first; if several complete at the same
//! place, before the longest of them. How the text is split into parts makes no difference. Only
//! what could still become a stop string is held back.

/// Watches one text.
#[derive(Debug, Clone)]
pub(super) struct Stops {
    stops: Vec<Stop>,
    held: String,
    hit: Option<usize>,
}

/// One stop string, and how much of it the text ends with.
#[derive(Debug, Clone)]
struct Stop {
    text: Vec<u8>,
    /// For each number of matched bytes, at index `n − 1`: how many still match when the next
    /// byte does not (the failure function of Knuth, Morris and Pratt).
    falls: Vec<usize>,
    matched: usize,
}

impl Stops {
    /// None of `stops` may be empty.
    pub(super) fn new(stops: &[String]) -> Self {
        let stops = stops.iter().map(|text| Stop::new(text)).collect();
        Self { stops, held: String::new(), hit: None }
    }

    /// Whether a stop string could still be found.
    pub(super) const fn is_watching(&self) -> bool {
        !self.stops.is_empty() && self.hit.is_none()
    }

    /// Which stop string was found.
    pub(super) const fn hit(&self) -> Option<usize> {
        self.hit
    }

    /// What may be shown now that `part` has arrived.
    pub(super) fn push(&mut self, part: &str) -> String {
        if self.hit.is_some() {
            return String::new();
        }
        let before = self.held.len();
        self.held.push_str(part);
        for (at, &byte) in part.as_bytes().iter().enumerate() {
            let mut longest = 0;
            for (index, stop) in self.stops.iter_mut().enumerate() {
                if stop.advance(byte) && stop.text.len() > longest {
                    longest = stop.text.len();
                    self.hit = Some(index);
                }
            }
            if self.hit.is_some() {
                let start = before + at + 1 - longest;
                self.held.truncate(start);
                return std::mem::take(&mut self.held);
            }
        }
        let open = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - open);
        std::mem::replace(&mut self.held, rest)
    }

    /// The text that was held back, now that nothing follows.
    pub(super) fn finish(&mut self) -> String {
        self.stops.iter_mut().for_each(|stop| stop.matched = 0);
        std::mem::take(&mut self.held)
    }
}

impl Stop {
    fn new(text: &str) -> Self {
        let text = text.as_bytes().to_vec();
        let mut stop = Self { falls: vec![0; text.len()], text, matched: 0 };
        // The string is matched against itself, shifted by one.
        for at in 1..stop.text.len() {
            stop.advance(stop.text[at]);
            stop.falls[at] = stop.matched;
        }
        stop.matched = 0;
        stop
    }

    /// Takes one more byte of the text; true if it completes the stop string.
    fn advance(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.text.get(self.matched) != Some(&byte) {
            self.matched = self.falls[self.matched - 1];
        }
        if self.text.get(self.matched) == Some(&byte) {
            self.matched += 1;
        }
        self.matched == self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where `text` ends and at which stop string, found by trying every place.
    fn naive(text: &str, stops: &[String]) -> Option<(usize, usize)> {
        let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
        ends.into_iter().find_map(|end| {
            let ending = stops.iter().enumerate().filter(|(_, stop)| text[..end].ends_with(*stop));
            let longest = ending.rev().max_by_key(|(_, stop)| stop.len())?;
            Some((end - longest.1.len(), longest.0))
        })
    }

    /// Length of the longest suffix of `text` that is a prefix of a stop string.
    fn open(text: &str, stops: &[String]) -> usize {
        let begins = |at: &usize| stops.iter().any(|stop| stop.starts_with(&text[*at..]));
        let starts = text.char_indices().map(|(at, _)| at);
        starts.into_iter().find(begins).map_or(0, |at| text.len() - at)
    }

    proptest! {
        #[test]
        fn parts_end_where_the_whole_does_and_hold_back_no_more_than_they_must(
            parts in proptest::collection::vec("[abü]{0,4}", 0..12),
            stops in proptest::collection::vec("[abü]{1,5}", 0..4),
        ) {
            let mut watch = Stops::new(&stops);
            let (mut whole, mut shown) = (String::new(), String::new());
            for part in &parts {
                whole += part;
                shown += &watch.push(part);
                if watch.hit().is_some() {
                    break;
                }
                prop_assert_eq!(&shown, &whole[..whole.len() - open(&whole, &stops)]);
            }
            let whole = parts.concat();
            match naive(&whole, &stops) {
                Some((end, stop)) => {
                    prop_assert_eq!(&shown, &whole[..end]);
                    prop_assert_eq!(watch.hit(), Some(stop));
                    prop_assert_eq!(watch.push("more"), "");
                }
                None => {
                    prop_assert_eq!(watch.hit(), None);
                    prop_assert_eq!(shown + &watch.finish(), whole);
                }
            }
        }
    }
}
