//! Properties of the assignment to splits, for any data and any growth of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use slide_data::{GroupStats, Manifest, SlideRecord, Split, SplitRatios, Splits};

type Groups = BTreeMap<String, GroupStats>;

fn group() -> impl Strategy<Value = GroupStats> {
    (1usize..30, prop::collection::vec(0usize..6, 5)).prop_map(|(slides, counts)| {
        let counts = <[usize; 5]>::try_from(counts).unwrap();
        GroupStats { slides, scores: BTreeMap::from([("clarity".to_owned(), counts)]) }
    })
}

fn groups(range: std::ops::Range<usize>) -> impl Strategy<Value = Groups> {
    prop::collection::btree_map("[a-z0-9]{6}", group(), range)
}

fn assigned(groups: &Groups, before: &Splits, seed: u64) -> Splits {
    let mut splits = before.clone();
    splits.assign_balanced(groups, SplitRatios::default(), seed).unwrap();
    splits
}

/// `extra` slides more in each group than it has now.
fn manifest(groups: &Groups, extra: usize) -> Manifest {
    let slides = groups.iter().flat_map(|(group, stats)| {
        (1..=stats.slides + extra).map(move |number| SlideRecord::sample(group, number))
    });
    Manifest { slides: slides.collect() }
}

fn test_slides(splits: &Splits, manifest: &Manifest) -> BTreeSet<String> {
    let test = manifest.slides.iter().filter(|slide| splits.of(slide) == Some(Split::Test));
    test.map(|slide| slide.slide_id.clone()).collect()
}

proptest! {
    #[test]
    fn every_group_gets_one_split_and_the_same_data_gives_the_same_splits(groups in groups(3..40), seed: u64) {
        let splits = assigned(&groups, &Splits::default(), seed);
        prop_assert_eq!(splits.groups.keys().collect::<Vec<_>>(), groups.keys().collect::<Vec<_>>());
        for split in [Split::Train, Split::Val, Split::Test] {
            prop_assert!(splits.groups.values().any(|&s| s == split), "none in {:?}", split);
        }
        prop_assert_eq!(&assigned(&groups, &Splits::default(), seed), &splits);
        prop_assert_eq!(&assigned(&groups, &splits, seed + seed % 2), &splits, "a second run moves nothing");
    }

    #[test]
    fn growth_moves_nobody(old in groups(3..25), more in groups(1..25), seed: u64) {
        let before = assigned(&old, &Splits::default(), seed);
        let mut all = more;
        all.extend(old); // groups of one name grow
        let after = assigned(&all, &before, seed);
        for (group, split) in &before.groups {
            prop_assert_eq!(&after.groups[group], split);
        }
        prop_assert_eq!(after.groups.len(), all.len());
    }

    #[test]
    fn a_frozen_test_set_neither_loses_nor_gains_a_slide(old in groups(3..20), more in groups(1..20), seed: u64) {
        let mut before = assigned(&old, &Splits::default(), seed);
        let held = test_slides(&before, &manifest(&old, 0));
        before.freeze_test(&manifest(&old, 0));
        let mut all = more;
        all.extend(old);
        let after = assigned(&all, &before, seed);
        // Old groups have grown by three slides each; those of test groups belong nowhere.
        let grown = manifest(&all, 3);
        prop_assert_eq!(test_slides(&after, &grown), held);
        for slide in &grown.slides {
            let late = before.groups.get(&slide.group) == Some(&Split::Test) && after.of(slide).is_none();
            prop_assert!(late || after.of(slide).is_some());
        }
    }

    #[test]
    fn shares_come_near_what_was_asked_for(groups in groups(60..90), seed: u64) {
        let splits = assigned(&groups, &Splits::default(), seed);
        let total: usize = groups.values().map(|g| g.slides).sum();
        for (split, wanted) in [(Split::Train, 0.7), (Split::Val, 0.15), (Split::Test, 0.15)] {
            let held: usize = groups.iter().filter(|(g, _)| splits.groups[*g] == split).map(|(_, g)| g.slides).sum();
            let share = held as f64 / total as f64;
            // Balanced scores count too: a split may hold a little more or less for them.
            prop_assert!((share - wanted).abs() < 0.05, "{:?}: {}", split, share);
        }
    }
}
