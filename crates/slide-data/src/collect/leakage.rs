use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use super::comparer::{Comparer, Outline};
use crate::{DuplicateThresholds, Error, Manifest, Result, SlideRecord, Split, SplitRatios, Splits};

/// What was checked to say that the splits are independent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SplitProof {
    /// Usable slides in each split.
    pub slides: BTreeMap<Split, usize>,
    /// Groups in each split.
    pub groups: BTreeMap<Split, usize>,
    /// Decks checked; none of them stands in two splits.
    pub decks: usize,
    /// Pairs of slides in different splits whose hashes were compared.
    pub pairs: u64,
    /// Of these, pairs that were similar enough to be compared closely; none of them was a near-duplicate.
    pub close_pairs: usize,
    /// Slides that are closest to one in another split: both ids, and how much they differ (near-duplicates are below the threshold).
    pub closest: Option<(String, String, f32)>,
    /// Groups that have no split yet.
    pub unassigned: usize,
    /// Slides of the test set, if it is frozen.
    pub frozen_test: Option<usize>,
    /// Slides that joined a group of the frozen test set later and are in no split.
    pub held_out: usize,
    /// The shares that were asked for.
    pub wanted: BTreeMap<Split, f64>,
}

/// Checks, from the images themselves and not from the groups alone, that no deck and no pair of near-duplicates stands in two
/// splits.
///
/// # Errors
/// [`Error::Leak`] names the first deck or pair that does; [`Error::TestSetChanged`] says that the frozen test set is not whole.
pub fn prove(
    manifest: &Manifest,
    raw: &Path,
    splits: &Splits,
    ratios: SplitRatios,
    thresholds: &DuplicateThresholds,
) -> Result<SplitProof> {
    let mut proof = SplitProof {
        wanted: BTreeMap::from([
            (Split::Train, 1.0 - ratios.val - ratios.test),
            (Split::Val, ratios.val),
            (Split::Test, ratios.test),
        ]),
        ..SplitProof::default()
    };
    decks_stand_in_one(manifest, splits, &mut proof)?;
    test_set_is_whole(manifest, splits, &mut proof)?;
    pairs_are_far(manifest, raw, splits, thresholds, &mut proof)?;
    Ok(proof)
}

fn pairs_are_far(
    manifest: &Manifest,
    raw: &Path,
    splits: &Splits,
    thresholds: &DuplicateThresholds,
    proof: &mut SplitProof,
) -> Result<()> {
    let usable: Vec<SlideRecord> = manifest.usable().cloned().collect();
    let outlines = Outline::of_all(raw, &usable);
    let row = |(slide, outline)| Some((slide, splits.of(slide)?, outline?));
    let rows: Vec<(&SlideRecord, Split, Outline)> = usable.iter().zip(outlines).filter_map(row).collect();
    let mut comparer = Comparer::new(raw);
    for (at, (slide, split, outline)) in rows.iter().enumerate() {
        for (other, other_split, other_outline) in rows[..at].iter().filter(|row| row.1 != *split) {
            proof.pairs += 1;
            if slide.sha256 == other.sha256 {
                return Err(leak(&slide.slide_id, &other.slide_id, *split, *other_split));
            }
            if outline.resemblance(other_outline, thresholds).is_none() {
                continue;
            }
            proof.close_pairs += 1;
            let Some(difference) = comparer.difference(&other.slide_id, &slide.slide_id) else { continue };
            if difference <= thresholds.difference {
                return Err(leak(&slide.slide_id, &other.slide_id, *split, *other_split));
            }
            if proof.closest.as_ref().is_none_or(|(_, _, least)| difference < *least) {
                proof.closest = Some((slide.slide_id.clone(), other.slide_id.clone(), difference));
            }
        }
    }
    Ok(())
}

fn leak(a: &str, b: &str, split: Split, other: Split) -> Error {
    Error::Leak(format!("`{a}` ({split:?}) and `{b}` ({other:?}) are near-duplicates"))
}

fn test_set_is_whole(manifest: &Manifest, splits: &Splits, proof: &mut SplitProof) -> Result<()> {
    let Some(frozen) = &splits.frozen_test else { return Ok(()) };
    let usable: BTreeSet<&String> = manifest.usable().map(|slide| &slide.slide_id).collect();
    let missing: Vec<&String> = frozen.iter().filter(|slide| !usable.contains(slide)).collect();
    if let Some(first) = missing.first() {
        let (missing, of) = (missing.len(), frozen.len());
        return Err(Error::TestSetChanged { missing, of, first: (*first).clone() });
    }
    proof.frozen_test = Some(frozen.len());
    Ok(())
}

fn decks_stand_in_one(manifest: &Manifest, splits: &Splits, proof: &mut SplitProof) -> Result<()> {
    let mut of_deck: BTreeMap<&str, (Split, &str)> = BTreeMap::new();
    let (mut groups, mut unassigned) = (BTreeSet::new(), BTreeSet::new());
    for slide in manifest.usable() {
        let Some(&split) = splits.groups.get(&slide.group) else {
            unassigned.insert(&slide.group);
            continue;
        };
        if splits.of(slide).is_none() {
            proof.held_out += 1;
            continue;
        }
        *proof.slides.entry(split).or_default() += 1;
        groups.insert((split, &slide.group));
        let (first, _) = *of_deck.entry(&slide.deck_id).or_insert((split, &slide.group));
        if first != split {
            return Err(Error::Leak(format!("deck `{}` stands in {first:?} and {split:?}", slide.deck_id)));
        }
    }
    for (split, _) in groups {
        *proof.groups.entry(split).or_default() += 1;
    }
    proof.decks = of_deck.len();
    proof.unassigned = unassigned.len();
    Ok(())
}
