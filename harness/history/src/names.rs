//! Interned texts: a store repeats the same few names hundreds of thousands of times.

use std::collections::HashMap;
use std::sync::Arc;

/// The number of a text among all names. The empty text stands for an unknown name.
pub type Name = u32;

/// All names, each stored once.
#[derive(Debug, Default)]
pub struct Names {
    texts: Vec<Arc<str>>,
    places: HashMap<Arc<str>, Name>,
}

impl Names {
    /// The number of `text`.
    pub fn of(&mut self, text: &str) -> Name {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let (text, place): (Arc<str>, Name) = (text.into(), self.texts.len() as Name);
        self.texts.push(text.clone());
        self.places.insert(text, place);
        place
    }

    /// The text of a number; empty if there is none.
    #[must_use]
    pub fn text(&self, name: Name) -> &str {
        self.texts.get(name as usize).map_or("", |text| text)
    }

    /// The number of names.
    #[must_use]
    pub fn count(&self) -> usize {
        self.texts.len()
    }

    /// Adds the names of `other`, and returns the number of each here.
    pub fn adopt(&mut self, other: Names) -> Vec<Name> {
        other.texts.iter().map(|text| self.of(text)).collect()
    }

    /// Renumbers the names in the order of their texts, so that numbers sort as the texts do, and
    /// returns the new number of each old one.
    pub fn sort(&mut self) -> Vec<Name> {
        let mut order: Vec<Name> = (0..self.texts.len() as Name).collect();
        order.sort_by(|a, b| self.texts[*a as usize].cmp(&self.texts[*b as usize]));
        let mut renamed = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            renamed[*old as usize] = new as Name;
        }
        self.texts = order.iter().map(|old| self.texts[*old as usize].clone()).collect();
        self.places = self.texts.iter().cloned().zip(0..).collect();
        renamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_sorted_names_sort_as_the_texts_do() {
        let mut names = Names::default();
        let old = ["c", "", "b", "c"].map(|text| names.of(text));
        assert_eq!(old, [0, 1, 2, 0]);
        let new = names.sort();
        let now = old.map(|name| new[name as usize]);
        assert_eq!(now, [2, 0, 1, 2]);
        assert_eq!(now.map(|name| names.text(name)), ["c", "", "b", "c"]);
        assert_eq!((names.of("b"), names.text(99)), (1, ""));
    }

    #[test]
    fn what_is_adopted_keeps_its_texts() {
        let (mut names, mut other) = (Names::default(), Names::default());
        names.of("a");
        for text in ["b", "a"] {
            other.of(text);
        }
        assert_eq!(names.adopt(other), [1, 0]);
        assert_eq!(names.count(), 2);
    }
}
