use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use super::comparer::{Comparer, Outline};
use super::crowd::{Crowds, Frames, Match};
use super::decision::Decisions;
use super::evidence::Evidence;
use super::texts;
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
    /// Of these, pairs that a person decided are different slides, and that were not compared.
    pub decided: usize,
    /// Of the others, pairs that were similar enough to be compared closely; none of them was a near-duplicate.
    pub close_pairs: usize,
    /// Slides that are closest to one in another split: both ids, and how much they differ (near-duplicates are below the threshold).
    pub closest: Option<(String, String, f32)>,
    /// Slides in a split whose text was compared too; the others are images, or were collected before texts were read.
    pub with_text: usize,
    /// Pages that decks of several groups have: one slide of each is used, so each stands on one side.
    pub shared_pages: usize,
    /// Groups that have no split yet.
    pub unassigned: usize,
    /// Slides of the test set, if it is frozen.
    pub frozen_test: Option<usize>,
    /// Slides that joined a group of the frozen test set later and are in no split.
    pub held_out: usize,
    /// The shares that were asked for.
    pub wanted: BTreeMap<Split, f64>,
}

/// Checks, from the images and texts themselves and not from the groups alone, that no deck, no pair of near-duplicates and no two decks
/// that say the same stand in two splits.
///
/// # Errors
/// [`Error::Leak`] names the first deck or pair that does; [`Error::TestSetChanged`] says that the frozen test set is not whole.
pub fn prove(
    manifest: &Manifest,
    raw: &Path,
    splits: &Splits,
    ratios: SplitRatios,
    thresholds: &DuplicateThresholds,
    decisions: &Decisions,
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
    let rules = Rules { thresholds, decisions };
    pairs_are_far(manifest, raw, splits, rules, &mut proof)?;
    none_says_the_same(manifest, raw, splits, rules, &mut proof)?;
    proof.shared_pages = shared_pages(manifest);
    Ok(proof)
}

/// When two slides are one.
#[derive(Clone, Copy)]
struct Rules<'a> {
    thresholds: &'a DuplicateThresholds,
    decisions: &'a Decisions,
}

/// Checks what slides of related decks say, and the decks as a whole. Pages that many decks share relate none.
fn none_says_the_same(
    manifest: &Manifest,
    raw: &Path,
    splits: &Splits,
    rules: Rules<'_>,
    proof: &mut SplitProof,
) -> Result<()> {
    let slides = &manifest.slides;
    let texts = texts::of_all(raw, slides);
    let usable: BTreeSet<&str> = manifest.usable().map(|slide| slide.slide_id.as_str()).collect();
    let split = |at: usize| splits.of(&slides[at]).filter(|_| usable.contains(slides[at].slide_id.as_str()));
    proof.with_text = (0..slides.len()).filter(|&at| texts[at].is_some() && split(at).is_some()).count();
    let evidence = Evidence::of(slides, &texts, &[], rules.thresholds);
    for (a, b) in evidence.related.iter().map(|related| related.decks) {
        for (at, other) in evidence.said_in_both(a, b) {
            if let (Some(one), Some(two)) = (split(at), split(other))
                && one != two
                && !rules.decisions.are_different(&slides[at].slide_id, &slides[other].slide_id)
            {
                return Err(leak(&slides[at].slide_id, &slides[other].slide_id, one, two));
            }
        }
        let splits_of = |deck: usize| evidence.slides(deck).iter().find_map(|&at| split(at));
        if let (Some(one), Some(two)) = (splits_of(a), splits_of(b))
            && one != two
            && evidence.says_the_same(a, b)
        {
            let (a, b) = (evidence.name(a), evidence.name(b));
            return Err(Error::Leak(format!("the decks `{a}` ({one:?}) and `{b}` ({two:?}) say the same")));
        }
    }
    Ok(())
}

/// Pages that slides of several groups show, of which one is used.
fn shared_pages(manifest: &Manifest) -> usize {
    let groups: BTreeMap<&str, &str> =
        manifest.usable().map(|slide| (slide.slide_id.as_str(), slide.group.as_str())).collect();
    let elsewhere = |slide: &SlideRecord| {
        let original = slide.duplicate_of.as_deref()?;
        groups.get(original).filter(|group| **group != slide.group).map(|_| original.to_owned())
    };
    manifest.slides.iter().filter_map(elsewhere).collect::<BTreeSet<_>>().len()
}

fn pairs_are_far(
    manifest: &Manifest,
    raw: &Path,
    splits: &Splits,
    rules: Rules<'_>,
    proof: &mut SplitProof,
) -> Result<()> {
    let usable: Vec<SlideRecord> = manifest.usable().cloned().collect();
    let outlines = Outline::of_all(raw, &usable).into_iter().enumerate();
    let row = |(at, outline): (usize, Option<Outline>)| Some((at, splits.of(&usable[at])?, outline?));
    let rows: Vec<Row> = outlines.filter_map(row).collect();
    let (mut comparer, crowds, mut frames) = (Comparer::new(raw), Crowds::default(), Frames::default());
    for (number, row) in rows.iter().enumerate() {
        let (at, split, _) = row;
        let close = close_to(row, &rows[..number], &usable, rules, proof)?;
        proof.close_pairs += close.len();
        let Some(frame) = frames.of(&close) else { continue };
        frames.set(*at, frame);
        for (_, other) in crowds.nearest(&usable, (*at, frame), close, &mut comparer) {
            let (own, other) = (&usable[*at].slide_id, &usable[other]);
            let Some(difference) = comparer.difference(&other.slide_id, own) else { continue };
            if difference <= rules.thresholds.difference {
                return Err(leak(own, &other.slide_id, *split, splits.of(other).unwrap_or(*split)));
            }
            if proof.closest.as_ref().is_none_or(|(_, _, least)| difference < *least) {
                proof.closest = Some((own.clone(), other.slide_id.clone(), difference));
            }
        }
    }
    Ok(())
}

/// A slide of a split by its position, and what it looks like.
type Row = (usize, Split, Outline);

/// The slides before one, in other splits, that it resembles, the most similar first.
fn close_to(
    (at, split, outline): &Row,
    before: &[Row],
    slides: &[SlideRecord],
    rules: Rules<'_>,
    proof: &mut SplitProof,
) -> Result<Vec<Match>> {
    let (slide, mut close) = (&slides[*at], Vec::new());
    for (place, other_split, other_outline) in before.iter().filter(|row| row.1 != *split) {
        let other = &slides[*place];
        proof.pairs += 1;
        if rules.decisions.are_different(&slide.slide_id, &other.slide_id) {
            proof.decided += 1;
            continue;
        }
        if slide.sha256 == other.sha256 {
            return Err(leak(&slide.slide_id, &other.slide_id, *split, *other_split));
        }
        let similarity = outline.resemblance(other_outline, rules.thresholds);
        close.extend(similarity.map(|similarity| (similarity, *place)));
    }
    close.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    Ok(close)
}

fn leak(a: &str, b: &str, split: Split, other: Split) -> Error {
    Error::Leak(format!("`{a}` ({split:?}) and `{b}` ({other:?}) are near-duplicates, or say the same"))
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
