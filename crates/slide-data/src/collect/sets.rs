//! Slides that are one page, in looks or in words, and decks that may say the same.

use std::collections::{BTreeSet, HashMap};

use crate::{SlideRecord, TextPrint};

/// Pages whose texts have at least this in common say the same. Pages of one template have a tenth.
const SAME_TEXT: f64 = 0.5;
/// From here on a text brings nothing new to be compared with.
const EQUAL_TEXT: f64 = 0.9;
/// Texts with equal hashes in one place that are compared.
const COMPARED: usize = 64;

/// Disjoint sets of positions; each is named by the first of its members.
pub(super) struct Sets(Vec<usize>);

impl Sets {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    /// The first member of a position's set.
    pub(super) fn first(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    pub(super) fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.first(a), self.first(b));
        self.0[a.max(b)] = a.min(b);
    }

    /// The first member of the set of each position.
    pub(super) fn into_firsts(mut self) -> Vec<usize> {
        (0..self.0.len()).map(|at| self.first(at)).collect()
    }
}

/// For each slide the first one that looks the same, by the records and by `links`, pairs that they do not name yet. Blank slides look
/// like no other.
pub(super) fn same_looks(slides: &[SlideRecord], links: &[(usize, usize)]) -> Vec<usize> {
    let places: HashMap<&str, usize> =
        slides.iter().enumerate().map(|(at, slide)| (slide.slide_id.as_str(), at)).collect();
    let original = |slide: &SlideRecord| places.get(slide.duplicate_of.as_deref()?).copied();
    let recorded = slides.iter().enumerate().filter_map(|(at, slide)| Some((at, original(slide)?)));
    let mut sets = Sets::new(slides.len());
    for (a, b) in recorded.chain(links.iter().copied()) {
        if !is_blank(&slides[a]) && !is_blank(&slides[b]) {
            sets.join(a, b);
        }
    }
    sets.into_firsts()
}

pub(super) fn is_blank(slide: &SlideRecord) -> bool {
    slide.quality.contains_key("blank")
}

/// For each text of at least `least` runs the first one that says the same.
pub(super) fn same_words(texts: &[Option<TextPrint>], least: u32) -> Vec<Option<usize>> {
    let mut sets = Sets::new(texts.len());
    let mut index = Index::<3>::default();
    let is_long = |text: &Option<TextPrint>| text.as_ref().is_some_and(|text| text.runs() >= least);
    for (at, text) in texts.iter().enumerate().filter(|(_, text)| is_long(text)) {
        let Some(text) = text else { continue };
        let mut most = 0.0f64;
        for other in index.near(text) {
            let similarity = texts[other].as_ref().map_or(0.0, |other| text.similarity(other));
            most = most.max(similarity);
            if similarity >= SAME_TEXT {
                sets.join(at, other);
            }
        }
        if most < EQUAL_TEXT {
            index.add(at, text);
        }
    }
    let firsts = sets.into_firsts();
    texts.iter().zip(firsts).map(|(text, first)| is_long(text).then_some(first)).collect()
}

/// Pairs of texts that have at least `share` in common, and at least `least` runs each.
pub(super) fn similar_texts(texts: &[Option<TextPrint>], least: u32, share: f64) -> Vec<(usize, usize)> {
    let mut index = Index::<2>::default();
    let mut pairs = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let Some(text) = text.as_ref().filter(|text| text.runs() >= least) else { continue };
        let is_similar =
            |&other: &usize| texts[other].as_ref().is_some_and(|other| text.similarity(other) >= share);
        pairs.extend(index.near(text).into_iter().filter(is_similar).map(|other| (other, at)));
        index.add(at, text);
    }
    pairs
}

/// Texts by `ROWS` of their hashes at a time: those that have a share s in common meet in one of the 64 / `ROWS` places with
/// probability 1 - (1 - s^`ROWS`)^(64 / `ROWS`).
#[derive(Default)]
struct Index<const ROWS: usize>(HashMap<(usize, [u32; ROWS]), Vec<usize>>);

impl<const ROWS: usize> Index<ROWS> {
    fn keys(text: &TextPrint) -> impl Iterator<Item = (usize, [u32; ROWS])> + '_ {
        text.hashes().as_chunks::<ROWS>().0.iter().copied().enumerate()
    }

    fn near(&self, text: &TextPrint) -> BTreeSet<usize> {
        Self::keys(text).filter_map(|key| self.0.get(&key)).flatten().copied().collect()
    }

    fn add(&mut self, at: usize, text: &TextPrint) {
        for key in Self::keys(text) {
            let place = self.0.entry(key).or_default();
            if place.len() < COMPARED {
                place.push(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_named_by_their_first_members() {
        let mut sets = Sets::new(6);
        sets.join(5, 3);
        sets.join(3, 1);
        sets.join(4, 2);
        assert_eq!(sets.into_firsts(), [0, 1, 2, 1, 2, 1]);
    }

    #[test]
    fn recorded_and_new_pairs_look_the_same_and_blank_pages_do_not() {
        let mut slides: Vec<_> = ["a", "b", "c", "d"].map(|deck| SlideRecord::sample(deck, 1)).into();
        slides[1].duplicate_of = Some(slides[0].slide_id.clone());
        slides[3].quality.insert("blank".to_owned(), 1.0);
        assert_eq!(same_looks(&slides, &[(2, 1), (3, 0)]), [0, 0, 0, 3]);
    }

    #[test]
    fn texts_are_the_same_if_they_share_enough_and_are_long_enough() {
        let words = |from: usize, count: usize| {
            (from..from + count).map(|at| format!("word{} ", at * 7_919 % 997)).collect::<Vec<_>>().concat()
        };
        let texts: Vec<_> = [words(0, 60), words(6, 60), words(200, 60), words(0, 3), words(0, 3)]
            .iter()
            .map(|text| TextPrint::of(text))
            .collect();
        assert_eq!(same_words(&texts, 40), [Some(0), Some(0), Some(2), None, None]);
        assert_eq!(similar_texts(&texts, 40, 0.5), [(0, 1)]);
    }
}
