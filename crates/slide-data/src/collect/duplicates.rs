use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::comparer::{Comparer, Hashed};
use super::store::Store;
use crate::{DuplicateThresholds, SlideRecord};

/// Finds duplicates of the slides that have no group yet and gives each a group. Returns whether anything changed; when it is
/// interrupted nothing does, and the next run finds them.
///
/// Slides of one deck, and decks that share a near-duplicate, are one group. A group that exists keeps its name and its decks, so
/// that splits never move: a new deck that resembles slides of two groups joins the one with more of them, and its slides that
/// repeat the other's are duplicates, which nobody labels or trains on. Blank pages resemble nothing.
pub(super) fn resolve(
    store: &mut Store,
    thresholds: &DuplicateThresholds,
    is_interrupted: &dyn Fn() -> bool,
) -> bool {
    if store.slides().iter().all(|slide| !slide.group.is_empty()) {
        return false;
    }
    let raw = store.raw().to_owned();
    let slides = store.slides_mut();
    let Some(edges) = find(slides, &raw, thresholds, is_interrupted) else { return false };
    for &(at, earlier) in &edges {
        slides[at].duplicate_of = Some(slides[earlier].slide_id.clone());
    }
    group(slides, &edges);
    true
}

/// For each new slide that repeats an earlier one: both positions. None when interrupted.
fn find(
    slides: &[SlideRecord],
    raw: &Path,
    thresholds: &DuplicateThresholds,
    is_interrupted: &dyn Fn() -> bool,
) -> Option<Vec<(usize, usize)>> {
    let hashes: Vec<Option<Hashed>> = slides.iter().map(Hashed::of).collect();
    let mut by_pixels: HashMap<&str, usize> = HashMap::new();
    let mut originals: Vec<usize> = Vec::new();
    let mut comparer = Comparer::new(raw, thresholds);
    let mut edges = Vec::new();
    for (at, slide) in slides.iter().enumerate() {
        if !slide.group.is_empty() {
            if slide.duplicate_of.is_none() {
                by_pixels.entry(&slide.sha256).or_insert(at);
                originals.push(at);
            }
            continue;
        }
        if is_interrupted() {
            return None;
        }
        let equal = by_pixels.get(slide.sha256.as_str()).copied();
        let earlier = equal.or_else(|| nearest(at, &originals, &hashes, slides, &mut comparer));
        if let Some(earlier) = earlier {
            edges.push((at, earlier));
        } else {
            by_pixels.insert(&slide.sha256, at);
            originals.push(at);
        }
    }
    Some(edges)
}

/// The most similar of the originals that a slide nearly repeats.
fn nearest(
    at: usize,
    originals: &[usize],
    hashes: &[Option<Hashed>],
    slides: &[SlideRecord],
    comparer: &mut Comparer<'_>,
) -> Option<usize> {
    let hash = hashes[at].as_ref().filter(|_| !slides[at].quality.contains_key("blank"))?;
    let similarity = |&other: &usize| Some((hash.similarity(hashes[other].as_ref()?), other));
    let limit = comparer.thresholds.similarity;
    let mut candidates: Vec<(f32, usize)> =
        originals.iter().filter_map(similarity).filter(|(similarity, _)| *similarity >= limit).collect();
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut candidates = candidates.into_iter().map(|(_, other)| other);
    candidates.find(|&other| {
        let difference = comparer.difference(&slides[other].slide_id, &slides[at].slide_id);
        difference.is_some_and(|difference| difference <= comparer.thresholds.difference)
    })
}

/// Gives the new slides their groups.
fn group(slides: &mut [SlideRecord], edges: &[(usize, usize)]) {
    let mut settled: BTreeMap<String, String> = BTreeMap::new();
    for slide in slides.iter().filter(|slide| !slide.group.is_empty()) {
        settled.insert(slide.deck_id.clone(), slide.group.clone());
    }
    let mut leaders: BTreeMap<String, String> = slides
        .iter()
        .filter(|slide| !settled.contains_key(&slide.deck_id))
        .map(|slide| (slide.deck_id.clone(), slide.deck_id.clone()))
        .collect();
    let joining = |&&(at, _): &&(usize, usize)| !slides[at].quality.contains_key("blank");
    let decks = |&(at, earlier): &(usize, usize)| (&slides[at].deck_id, &slides[earlier].deck_id);
    for (a, b) in edges.iter().filter(joining).map(decks) {
        if leaders.contains_key(a) && leaders.contains_key(b) {
            let (a, b) = (leader(&leaders, a), leader(&leaders, b));
            // The smaller name leads, whatever the order of the decks was.
            leaders.insert((&a).max(&b).clone(), a.min(b));
        }
    }
    let mut ties: BTreeMap<String, BTreeMap<&String, usize>> = BTreeMap::new();
    for (a, b) in edges.iter().filter(joining).map(decks) {
        for (new, old) in [(a, b), (b, a)] {
            if let (true, Some(group)) = (leaders.contains_key(new), settled.get(old)) {
                *ties.entry(leader(&leaders, new)).or_default().entry(group).or_default() += 1;
            }
        }
    }
    let joined: BTreeMap<String, String> = ties
        .into_iter()
        .filter_map(|(leader, groups)| {
            let most = groups.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0)))?;
            Some((leader, most.0.clone()))
        })
        .collect();
    for slide in slides.iter_mut().filter(|slide| slide.group.is_empty()) {
        slide.group = settled.get(&slide.deck_id).cloned().unwrap_or_else(|| {
            let leader = leader(&leaders, &slide.deck_id);
            joined.get(&leader).cloned().unwrap_or(leader)
        });
    }
}

fn leader(leaders: &BTreeMap<String, String>, deck: &str) -> String {
    let mut at = deck;
    while let Some(next) = leaders.get(at).filter(|next| next.as_str() != at) {
        at = next;
    }
    at.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Source, SourceKind};

    fn slide(deck: &str, number: usize, group: &str) -> SlideRecord {
        SlideRecord {
            schema_version: 1,
            slide_id: format!("{deck}-{number}"),
            deck_id: deck.to_owned(),
            number,
            source: Source {
                kind: SourceKind::Image,
                origin: String::new(),
                sha256: String::new(),
                page: None,
                license: None,
            },
            sha256: format!("{deck}{number}"),
            phash: String::new(),
            width: 1,
            height: 1,
            group: group.to_owned(),
            quality: BTreeMap::new(),
            duplicate_of: None,
            excluded: false,
            collected_at: jiff::Timestamp::UNIX_EPOCH,
            tool_version: String::new(),
        }
    }

    fn groups(slides: &[SlideRecord]) -> Vec<&str> {
        slides.iter().map(|slide| slide.group.as_str()).collect()
    }

    #[test]
    fn decks_that_share_a_slide_are_one_group_in_any_order() {
        for order in [["c", "a", "b"], ["b", "c", "a"], ["a", "b", "c"]] {
            let mut slides: Vec<_> = order.iter().map(|deck| slide(deck, 1, "")).collect();
            group(&mut slides, &[(1, 0), (2, 1)]);
            assert_eq!(groups(&slides), ["a", "a", "a"], "{order:?}");
        }
    }

    #[test]
    fn a_bridge_between_two_groups_joins_one_and_moves_none() {
        let mut slides = vec![
            slide("a", 1, "a"),
            slide("b", 1, "b"),
            slide("b", 2, "b"),
            slide("c", 1, ""),
            slide("c", 2, ""),
            slide("c", 3, ""),
        ];
        group(&mut slides, &[(3, 0), (4, 1), (5, 2)]);
        assert_eq!(groups(&slides), ["a", "b", "b", "b", "b", "b"]);
    }

    #[test]
    fn a_blank_page_joins_no_decks() {
        let mut slides = vec![slide("a", 1, ""), slide("b", 1, "")];
        slides[1].quality.insert("blank".to_owned(), 1.0);
        group(&mut slides, &[(1, 0)]);
        assert_eq!(groups(&slides), ["a", "b"]);
    }

    #[test]
    fn new_slides_of_a_known_deck_stay_in_its_group() {
        let mut slides = vec![slide("a", 1, "z"), slide("a", 2, "")];
        group(&mut slides, &[]);
        assert_eq!(groups(&slides), ["z", "z"]);
    }
}
