use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Contract, Error, Labels, Result, Score, SlideRecord};

/// The part of the data a slide is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Trained on.
    Train,
    /// Used to choose the best checkpoint.
    Val,
    /// Used once, to validate; frozen.
    Test,
}

/// The shares of the splits; what remains is for training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitRatios {
    /// Share of the validation split.
    pub val: f64,
    /// Share of the test split.
    pub test: f64,
}

impl Default for SplitRatios {
    fn default() -> Self {
        Self { val: 0.15, test: 0.15 }
    }
}

/// A change of what a model is measured against: the freezing of the test set, or labels that somebody took over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestSetChange {
    /// When it was made.
    pub at: Timestamp,
    /// Who made it.
    pub by: String,
    /// Why.
    pub why: String,
    /// Slides of the test set whose label it changed.
    pub changed: usize,
    /// Slides that the test set lost, because they were forgotten.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: usize,
    /// SHA-256 of the labels of the test set before it; absent where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// SHA-256 of the labels of the test set after it.
    pub after: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// `data/labeled/splits.json`: group → split. An assigned group never moves.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Splits {
    /// Version of this contract, now 2.
    pub schema_version: u32,
    /// The split of each group.
    pub groups: BTreeMap<String, Split>,
    /// The slides of the test set once it is frozen: from then on it neither loses nor gains one, but for those that are forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_test: Option<BTreeSet<String>>,
    /// What people said of these slides when their labels were frozen: what models are measured against, whatever they say later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_labels: Option<Labels>,
    /// Who froze these labels, and who changed them since, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test_history: Vec<TestSetChange>,
}

impl Contract for Splits {
    const NAME: &'static str = "split file";
    const VERSION: u32 = 2;

    /// Version 1 knew no frozen labels: the next training freezes them.
    fn migrate(_version: u32, mut value: Value) -> std::result::Result<Value, String> {
        let splits = value.as_object_mut().ok_or("it is not an object")?;
        splits.insert("schema_version".to_owned(), Self::VERSION.into());
        Ok(value)
    }
}

/// What a group brings into its split.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupStats {
    /// Number of slides.
    pub slides: usize,
    /// For each criterion how many of its slides have the score 1, 2, 3, 4, 5.
    pub scores: BTreeMap<String, [usize; Score::LEVELS]>,
}

const ORDER: [Split; 3] = [Split::Train, Split::Val, Split::Test];

impl Splits {
    /// The split of a slide: its group's. A slide that joined a group of the frozen test set later has none: training on it
    /// would leak what the test set holds, and testing on it would change the test set. So has one that came from production into a
    /// group that is not trained on.
    pub fn of(&self, slide: &SlideRecord) -> Option<Split> {
        let split = *self.groups.get(&slide.group)?;
        let is_late = |test: &BTreeSet<String>| split == Split::Test && !test.contains(&slide.slide_id);
        let is_kept_out = slide.scored_at.is_some() && split != Split::Train
            || self.frozen_test.as_ref().is_some_and(is_late);
        (!is_kept_out).then_some(split)
    }

    /// Puts the groups that have no split yet into training; those that have one keep it.
    pub fn train_on<'a>(&mut self, groups: impl IntoIterator<Item = &'a str>) {
        self.schema_version = Self::VERSION;
        for group in groups {
            self.groups.entry(group.to_owned()).or_insert(Split::Train);
        }
    }

    /// Assigns the groups that have no split yet so that the splits come near their shares of `sizes` (slides per group);
    /// [`Splits::assign_balanced`] without scores.
    ///
    /// # Errors
    /// When fewer than three groups exist in all.
    pub fn assign(&mut self, sizes: &BTreeMap<String, usize>, ratios: SplitRatios, seed: u64) -> Result<()> {
        let bare = |&slides: &usize| GroupStats { slides, ..GroupStats::default() };
        self.assign_balanced(
            &sizes.iter().map(|(group, size)| (group.clone(), bare(size))).collect(),
            ratios,
            seed,
        )
    }

    /// Assigns the groups that have no split yet, so that each split comes near its share of the slides and of every score of
    /// every criterion, and none stays empty. Groups that have a split keep it; a frozen test set gets no new ones.
    ///
    /// Large groups come first, equal ones in the order of a seeded hash of their names; each goes where the squared distances
    /// from the shares become smallest. The same groups and seed give the same splits.
    ///
    /// # Errors
    /// When fewer than three groups exist in all.
    pub fn assign_balanced(
        &mut self,
        groups: &BTreeMap<String, GroupStats>,
        ratios: SplitRatios,
        seed: u64,
    ) -> Result<()> {
        if groups.len() < ORDER.len() {
            return Err(Error::TooFewGroups { groups: groups.len(), needed: ORDER.len() });
        }
        self.schema_version = Self::VERSION;
        let mut tally = Tally::new(groups, ratios);
        let mut new = Vec::new();
        for (group, stats) in groups {
            match self.groups.get(group) {
                Some(&split) => tally.add(split, stats),
                None => new.push((group, stats)),
            }
        }
        let hash = |group: &str| crate::sha256_hex(format!("{seed}:{group}").as_bytes());
        new.sort_by_cached_key(|(group, stats)| (std::cmp::Reverse(stats.slides), hash(group)));
        let count = new.len();
        let is_open = |split: &Split| *split != Split::Test || self.frozen_test.is_none();
        let open: Vec<Split> = ORDER.into_iter().filter(is_open).collect();
        for (at, (group, stats)) in new.into_iter().enumerate() {
            let empty: Vec<Split> = open.iter().copied().filter(|&split| tally.is_empty(split)).collect();
            let choices = if count - at <= empty.len() { empty } else { open.clone() };
            let cost = |split: &Split| tally.cost_with(*split, stats);
            let best = choices.into_iter().min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(Split::Train);
            tally.add(best, stats);
            self.groups.insert(group.clone(), best);
        }
        Ok(())
    }
}

/// How much of each quantity (slides, then every score of every criterion) the splits hold.
struct Tally {
    totals: BTreeMap<(String, usize), f64>,
    held: BTreeMap<Split, BTreeMap<(String, usize), f64>>,
    shares: [(Split, f64); 3],
    members: BTreeMap<Split, usize>,
    criteria: f64,
}

impl Tally {
    fn new(groups: &BTreeMap<String, GroupStats>, ratios: SplitRatios) -> Self {
        let mut totals = BTreeMap::new();
        for stats in groups.values() {
            quantities(stats).for_each(|(key, amount)| *totals.entry(key).or_default() += amount);
        }
        let criteria: std::collections::BTreeSet<&String> =
            groups.values().flat_map(|g| g.scores.keys()).collect();
        Self {
            criteria: criteria.len().max(1) as f64,
            totals,
            held: BTreeMap::new(),
            shares: [
                (Split::Train, 1.0 - ratios.val - ratios.test),
                (Split::Val, ratios.val),
                (Split::Test, ratios.test),
            ],
            members: BTreeMap::new(),
        }
    }

    fn add(&mut self, split: Split, stats: &GroupStats) {
        let held = self.held.entry(split).or_default();
        quantities(stats).for_each(|(key, amount)| *held.entry(key).or_default() += amount);
        *self.members.entry(split).or_default() += 1;
    }

    fn is_empty(&self, split: Split) -> bool {
        !self.members.contains_key(&split)
    }

    /// The sum of squared distances from the shares if `stats` went to `split`; a criterion weighs as much as all slides do
    /// divided by the number of criteria.
    fn cost_with(&self, split: Split, stats: &GroupStats) -> f64 {
        let extra: BTreeMap<_, _> = quantities(stats).collect();
        let slides = self.totals.get(&(String::new(), 0)).copied().unwrap_or(1.0).max(1.0);
        let mut cost = 0.0;
        for (key, total) in self.totals.iter().filter(|(_, total)| **total > 0.0) {
            let weight = if key.0.is_empty() { 1.0 } else { total / slides / self.criteria };
            for (other, share) in self.shares {
                let held = self.held.get(&other).and_then(|held| held.get(key)).copied().unwrap_or(0.0);
                let added = if other == split { extra.get(key).copied().unwrap_or(0.0) } else { 0.0 };
                // Relative to the share: a tenth too much hurts the small splits as it hurts the large one.
                cost += weight * ((held + added) / total - share).powi(2) / share.max(1e-9);
            }
        }
        cost
    }
}

fn quantities(stats: &GroupStats) -> impl Iterator<Item = ((String, usize), f64)> + '_ {
    let scores = stats.scores.iter().flat_map(|(criterion, counts)| {
        counts.iter().enumerate().map(move |(level, &count)| ((criterion.clone(), level), count as f64))
    });
    std::iter::once(((String::new(), 0), stats.slides as f64)).chain(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(count: usize) -> BTreeMap<String, usize> {
        (0..count).map(|at| (format!("g{at:03}"), 3 + (at * 7) % 12)).collect()
    }

    fn shares(splits: &Splits, sizes: &BTreeMap<String, usize>) -> BTreeMap<Split, f64> {
        let total: usize = sizes.values().sum();
        let mut held = BTreeMap::new();
        for (group, split) in &splits.groups {
            *held.entry(*split).or_default() += sizes[group] as f64 / total as f64;
        }
        held
    }

    #[test]
    fn each_split_has_a_group_however_few_there_are() {
        for count in 3..12 {
            let mut splits = Splits::default();
            splits.assign(&sizes(count), SplitRatios::default(), 42).unwrap();
            for split in ORDER {
                assert!(splits.groups.values().any(|&s| s == split), "{count} groups: no {split:?}");
            }
        }
    }

    #[test]
    fn two_groups_are_too_few() {
        let refused = Splits::default().assign(&sizes(2), SplitRatios::default(), 42);
        assert!(matches!(refused, Err(Error::TooFewGroups { groups: 2, needed: 3 })));
    }

    #[test]
    fn shares_come_near_the_ratios_and_the_seed_decides_between_equals() {
        let sizes = sizes(60);
        let (mut one, mut same, mut other) = (Splits::default(), Splits::default(), Splits::default());
        one.assign(&sizes, SplitRatios::default(), 1).unwrap();
        same.assign(&sizes, SplitRatios::default(), 1).unwrap();
        other.assign(&sizes, SplitRatios::default(), 2).unwrap();
        assert_eq!(one, same);
        assert_ne!(one, other);
        for (split, wanted) in [(Split::Train, 0.7), (Split::Val, 0.15), (Split::Test, 0.15)] {
            assert!((shares(&one, &sizes)[&split] - wanted).abs() < 0.02, "{:?}", shares(&one, &sizes));
        }
    }

    #[test]
    fn assigned_groups_stay_when_data_grows() {
        let mut splits = Splits::default();
        splits.assign(&sizes(10), SplitRatios::default(), 42).unwrap();
        let before = splits.clone();
        splits.assign(&sizes(40), SplitRatios::default(), 42).unwrap();
        assert!(before.groups.iter().all(|(group, split)| splits.groups[group] == *split));
        assert_eq!(splits.groups.len(), 40);
    }

    #[test]
    fn a_slide_from_production_is_trained_on_or_nothing() {
        let mut splits = Splits::default();
        splits.assign(&sizes(6), SplitRatios::default(), 42).unwrap();
        let before = splits.clone();
        splits.train_on(["new", "g000", "g001", "g002", "g003", "g004", "g005"]);
        assert_eq!(splits.groups["new"], Split::Train);
        assert!(before.groups.iter().all(|(group, split)| splits.groups[group] == *split));
        for (group, split) in &splits.groups {
            let usual = SlideRecord { group: group.clone(), ..SlideRecord::sample("d", 1) };
            let scored = SlideRecord { scored_at: Some(jiff::Timestamp::UNIX_EPOCH), ..usual.clone() };
            assert_eq!(splits.of(&usual), Some(*split));
            assert_eq!(splits.of(&scored), (*split == Split::Train).then_some(Split::Train), "{split:?}");
        }
    }

    #[test]
    fn scores_are_balanced_too() {
        // Half of the groups are rated 1 throughout, half 5: each split must get both.
        let groups: BTreeMap<String, GroupStats> = (0..40)
            .map(|at| {
                let mut counts = [0; 5];
                counts[if at % 2 == 0 { 0 } else { 4 }] = 10;
                let scores = BTreeMap::from([("clarity".to_owned(), counts)]);
                (format!("g{at:02}"), GroupStats { slides: 10, scores })
            })
            .collect();
        let mut splits = Splits::default();
        splits.assign_balanced(&groups, SplitRatios { val: 0.2, test: 0.2 }, 3).unwrap();
        for split in ORDER {
            let members: Vec<_> = splits.groups.iter().filter(|(_, s)| **s == split).collect();
            let low = members.iter().filter(|(group, _)| groups[*group].scores["clarity"][0] > 0).count();
            assert_eq!(low * 2, members.len(), "{split:?}");
        }
    }
}
