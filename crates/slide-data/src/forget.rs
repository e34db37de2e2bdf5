//! Decks whose owners want them back: what leaves the records that hold slides.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::frozen::sha256_of;
use crate::{Labels, SlideRecord, Splits, TestSetChange};

/// Which slides are forgotten, and what becomes of groups that are named after their decks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Forgetting {
    /// The decks.
    pub decks: BTreeSet<String>,
    /// Their slides.
    pub slides: BTreeSet<String>,
    /// Groups that other decks are in too, each with its new name.
    pub renamed: BTreeMap<String, String>,
    /// Groups that no other deck is in.
    pub dissolved: BTreeSet<String>,
}

impl Forgetting {
    /// Of these decks, with what must be known of all slides of the store.
    pub fn of(decks: BTreeSet<String>, slides: &[SlideRecord]) -> Self {
        let own = slides.iter().filter(|slide| decks.contains(&slide.deck_id));
        let ids = own.clone().map(|slide| slide.slide_id.clone()).collect();
        let groups: BTreeSet<&String> =
            own.map(|slide| &slide.group).filter(|name| !name.is_empty()).collect();
        let mut gone = Self { decks, slides: ids, ..Self::default() };
        let taken: BTreeSet<&String> = slides.iter().map(|slide| &slide.group).collect();
        for group in groups {
            let mut others =
                slides.iter().filter(|slide| slide.group == *group && !gone.is_deck(&slide.deck_id));
            if others.clone().next().is_none() {
                gone.dissolved.insert(group.clone());
            } else if gone.is_deck(group) {
                let free = others.find(|slide| !taken.contains(&slide.deck_id));
                let name = free.map_or_else(
                    || format!("g{}", &crate::sha256_hex(group.as_bytes())[..12]),
                    |slide| slide.deck_id.clone(),
                );
                gone.renamed.insert(group.clone(), name);
            }
        }
        gone
    }

    /// Whether a deck is forgotten.
    pub fn is_deck(&self, deck_id: &str) -> bool {
        self.decks.contains(deck_id)
    }

    /// Whether a slide is forgotten: one that is listed, or whose id is made of that of a deck.
    pub fn is_slide(&self, slide_id: &str) -> bool {
        let of_deck = || slide_id.rsplit_once('-').is_some_and(|(deck, _)| self.is_deck(deck));
        self.slides.contains(slide_id) || of_deck()
    }

    /// Takes the slides out of a manifest. Of slides that repeated one of them, the largest that is used takes its place, where `stays`
    /// names none that comes before. Returns how many records were taken out or changed; a second time there are none.
    pub fn clear_manifest(&self, slides: &mut Vec<SlideRecord>, stays: &dyn Fn(&str) -> bool) -> usize {
        let before = slides.len();
        slides.retain(|slide| !self.is_deck(&slide.deck_id) && !self.is_slide(&slide.slide_id));
        let mut changed = before - slides.len();
        changed += self.inherit(slides, stays);
        for slide in slides {
            if slide.completed_by.take_if(|next| self.is_slide(next)).is_some() {
                changed += 1;
            }
            if let Some(name) = self.renamed.get(&slide.group) {
                slide.group.clone_from(name);
                changed += 1;
            }
        }
        changed
    }

    /// Gives slides that repeat a forgotten one another original.
    fn inherit(&self, slides: &mut [SlideRecord], stays: &dyn Fn(&str) -> bool) -> usize {
        let worth = |slide: &SlideRecord| {
            (!slide.excluded, stays(&slide.slide_id), u64::from(slide.width) * u64::from(slide.height))
        };
        let mut heirs: HashMap<String, usize> = HashMap::new();
        for (at, slide) in slides.iter().enumerate() {
            let Some(original) = slide.duplicate_of.as_ref().filter(|slide| self.is_slide(slide)) else {
                continue;
            };
            let heir = heirs.entry(original.clone()).or_insert(at);
            if worth(slide) > worth(&slides[*heir]) {
                *heir = at;
            }
        }
        let names: HashMap<String, String> =
            heirs.into_iter().map(|(original, at)| (original, slides[at].slide_id.clone())).collect();
        let mut changed = 0;
        for slide in slides.iter_mut() {
            if let Some(heir) = slide.duplicate_of.as_ref().and_then(|original| names.get(original)) {
                slide.duplicate_of = (*heir != slide.slide_id).then(|| heir.clone());
                changed += 1;
            }
        }
        changed
    }

    /// Takes the slides out of labels. Returns how many were taken out.
    pub fn clear_labels(&self, labels: &mut Labels) -> usize {
        let before = labels.slides.len();
        labels.slides.retain(|slide, _| !self.is_slide(slide));
        before - labels.slides.len()
    }

    /// Takes slides and groups out of the splits, and gives groups their new names. What a frozen test set loses is noted with who did so
    /// and why; what is left of it is measured as before. Returns how many slides and groups changed; a second time there are none.
    pub fn clear_splits(&self, splits: &mut Splits, by: &str, why: &str, at: Timestamp) -> usize {
        let mut changed = 0;
        for group in &self.dissolved {
            changed += usize::from(splits.groups.remove(group).is_some());
        }
        for (group, name) in &self.renamed {
            if let Some(split) = splits.groups.remove(group) {
                splits.groups.insert(name.clone(), split);
                changed += 1;
            }
        }
        let Some(test) = &mut splits.frozen_test else { return changed };
        let slides = test.len();
        test.retain(|slide| !self.is_slide(slide));
        let lost = slides - test.len();
        let before = splits.test_labels.as_ref().map(sha256_of);
        let unlabelled = splits.test_labels.as_mut().map_or(0, |labels| self.clear_labels(labels));
        if lost + unlabelled > 0 {
            let after = splits.test_labels.as_ref().map_or_else(|| sha256_of(&Labels::default()), sha256_of);
            let (by, why) = (by.to_owned(), why.to_owned());
            splits.test_history.push(TestSetChange { at, by, why, changed: unlabelled, lost, before, after });
        }
        changed + lost + unlabelled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Label, Manifest, Split};

    fn repeat(deck: &str, number: usize, original: &str, width: u32, excluded: bool) -> SlideRecord {
        let duplicate_of = Some(original.to_owned());
        SlideRecord {
            duplicate_of,
            width,
            excluded,
            group: "a".to_owned(),
            ..SlideRecord::sample(deck, number)
        }
    }

    /// Deck `a` leads the group of `b` and `c`; `d` stands alone.
    fn slides() -> Vec<SlideRecord> {
        vec![
            SlideRecord::sample("a", 1),
            SlideRecord::sample("a", 2),
            repeat("b", 1, "a-1", 9, true),
            repeat("b", 2, "a-1", 2, false),
            repeat("c", 1, "a-1", 3, false),
            repeat("c", 2, "a-2", 3, true),
            SlideRecord { completed_by: Some("d-2".to_owned()), ..SlideRecord::sample("d", 1) },
            SlideRecord::sample("d", 2),
        ]
    }

    fn decks(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn repeats_get_another_original_and_the_group_another_name() {
        let mut slides = slides();
        let gone = Forgetting::of(decks(&["a"]), &slides);
        assert_eq!(gone.renamed, [("a".to_owned(), "b".to_owned())].into());
        assert!(gone.dissolved.is_empty());
        assert!(gone.clear_manifest(&mut slides, &|_| false) > 0);
        let rows: Vec<_> = slides
            .iter()
            .map(|s| (s.slide_id.as_str(), s.group.as_str(), s.duplicate_of.as_deref()))
            .collect();
        let expected = [
            ("b-1", "b", Some("c-1")),
            ("b-2", "b", Some("c-1")),
            ("c-1", "b", None),
            ("c-2", "b", None),
            ("d-1", "d", None),
            ("d-2", "d", None),
        ];
        assert_eq!(rows, expected, "the largest that is used is the original now");
        assert_eq!(gone.clear_manifest(&mut slides, &|_| false), 0, "a second time nothing changes");
        let mut again = self::slides();
        gone.clear_manifest(&mut again, &|slide| slide == "b-2");
        assert_eq!(again[1].duplicate_of, None, "the rated one comes first");
    }

    #[test]
    fn a_group_of_its_own_goes_and_a_name_that_is_taken_is_not_given_twice() {
        let mut slides = slides();
        let gone = Forgetting::of(decks(&["d"]), &slides);
        assert_eq!((gone.dissolved.len(), gone.renamed.len()), (1, 0));
        // Deck `b` stands in the group of `a`, and another deck in a group that is called `b`, and so with `c`.
        slides.extend(
            ["b", "c"].map(|group| SlideRecord { group: group.to_owned(), ..SlideRecord::sample("e", 1) }),
        );
        let gone = Forgetting::of(decks(&["a"]), &slides);
        let name = &gone.renamed["a"];
        assert!(name.starts_with('g') && name.len() == 13, "{name}");
    }

    #[test]
    fn ids_of_a_deck_are_known_without_a_list() {
        let gone = Forgetting::of(decks(&["d0123456789ab", "a"]), &[]);
        assert!(gone.is_slide("d0123456789ab-p003") && gone.is_slide("a-1"));
        assert!(!gone.is_slide("d0123456789abc-p003") && !gone.is_slide("a-b-1") && !gone.is_slide("ab-1"));
    }

    #[test]
    fn the_frozen_test_set_loses_slides_as_an_event_and_stays_usable() {
        let slides = slides();
        let groups =
            [("a".to_owned(), Split::Test), ("d".to_owned(), Split::Test), ("t".to_owned(), Split::Train)];
        let mut splits = Splits { groups: groups.into(), ..Splits::default() };
        splits.freeze_test(&Manifest { slides: slides.clone() });
        let labels =
            ["a-1", "d-1"].map(|slide| (slide.to_owned(), Label { annotators: 1, ..Label::default() }));
        let labels = Labels { slides: labels.into() };
        assert!(splits.freeze_test_labels(&labels, "a run", "it began", Timestamp::UNIX_EPOCH));
        let before = splits.test_history[0].after.clone();

        let gone = Forgetting::of(decks(&["a"]), &slides);
        assert_eq!(gone.clear_splits(&mut splits, "Ana", "withdrawn", Timestamp::UNIX_EPOCH), 4);
        assert_eq!(splits.groups.keys().collect::<Vec<_>>(), ["b", "d", "t"]);
        assert_eq!(splits.frozen_test.as_ref().unwrap().iter().collect::<Vec<_>>(), ["d-1", "d-2"]);
        let [_, event] = splits.test_history.as_slice() else { panic!("{:?}", splits.test_history) };
        assert_eq!((event.lost, event.changed, event.why.as_str()), (2, 1, "withdrawn"));
        assert_eq!(event.before.as_ref(), Some(&before));
        assert_ne!(event.after, before);
        let whole = splits.clone();
        assert_eq!(gone.clear_splits(&mut splits, "Ana", "withdrawn", Timestamp::UNIX_EPOCH), 0);
        assert_eq!(splits, whole, "a second time nothing is noted");
        let other = Forgetting::of(decks(&["t"]), &slides);
        assert_eq!(other.clear_splits(&mut splits, "Ana", "withdrawn", Timestamp::UNIX_EPOCH), 0);
        assert_eq!(splits.test_history.len(), 2, "a deck that is not in the test set is no event of it");
    }
}
