use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

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

/// `data/labeled/splits.json`: group → split. An assigned group never moves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Splits {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// The split of each group.
    pub groups: BTreeMap<String, Split>,
}

impl Splits {
    /// Assigns the groups that have no split yet, in the order of a seeded hash of their names, each to the split that is
    /// furthest below its share of `sizes` (slides per group). Assigned groups stay where they are.
    ///
    /// # Errors
    /// When fewer than three groups exist in all.
    pub fn assign(&mut self, sizes: &BTreeMap<String, usize>, ratios: SplitRatios, seed: u64) -> Result<()> {
        const NEEDED: usize = 3;
        if sizes.len() < NEEDED {
            return Err(Error::TooFewGroups { groups: sizes.len(), needed: NEEDED });
        }
        self.schema_version = 1;
        let mut held = BTreeMap::from([(Split::Train, 0usize), (Split::Val, 0), (Split::Test, 0)]);
        for (group, split) in &self.groups {
            *held.entry(*split).or_default() += sizes.get(group).copied().unwrap_or(0);
        }
        let mut new: Vec<&String> = sizes.keys().filter(|group| !self.groups.contains_key(*group)).collect();
        new.sort_by_key(|group| crate::sha256_hex(format!("{seed}:{group}").as_bytes()));
        let shares = [
            (Split::Test, ratios.test),
            (Split::Val, ratios.val),
            (Split::Train, 1.0 - ratios.val - ratios.test),
        ];
        for group in new {
            let total = held.values().sum::<usize>() + sizes[group];
            let lack = |split: Split, share: f64| share * total as f64 - held[&split] as f64;
            let (split, _) = shares
                .iter()
                .max_by(|a, b| lack(a.0, a.1).total_cmp(&lack(b.0, b.1)))
                .copied()
                .unwrap_or((Split::Train, 1.0));
            *held.entry(split).or_default() += sizes[group];
            self.groups.insert(group.clone(), split);
        }
        Ok(())
    }
}
