use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use super::comparer::{Comparer, Outline};
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
    is_interrupted: &(dyn Fn() -> bool + Sync),
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

/// New slides that are compared with the earlier ones at once, by all threads.
const BLOCK: usize = 256;

/// For each new slide that repeats an earlier one: both positions. None when interrupted.
fn find(
    slides: &[SlideRecord],
    raw: &Path,
    thresholds: &DuplicateThresholds,
    is_interrupted: &(dyn Fn() -> bool + Sync),
) -> Option<Vec<(usize, usize)>> {
    let search = Search { slides, outlines: Outline::of_all(raw, slides), thresholds };
    let is_original = |&at: &usize| !slides[at].group.is_empty() && slides[at].duplicate_of.is_none();
    let mut originals: Vec<usize> = (0..slides.len()).filter(is_original).collect();
    let mut by_pixels: HashMap<&str, usize> = HashMap::new();
    for &at in &originals {
        by_pixels.entry(&slides[at].sha256).or_insert(at);
    }
    let new: Vec<usize> = (0..slides.len()).filter(|&at| slides[at].group.is_empty()).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut comparers: Vec<_> = (0..threads).map(|_| Comparer::new(raw)).collect();
    let mut edges = Vec::new();
    for block in new.chunks(BLOCK) {
        let unseen = |&&at: &&usize| !by_pixels.contains_key(slides[at].sha256.as_str());
        let open: Vec<usize> = block.iter().filter(unseen).copied().collect();
        let mut found = search.parallel(&open, &originals, &mut comparers, is_interrupted)?;
        let before = originals.len();
        for &at in block {
            let equal = by_pixels.get(slides[at].sha256.as_str()).copied();
            let earlier = equal.or_else(|| {
                let (similarity, known) = found.remove(&at).unwrap_or_default().unzip();
                let within = search.nearest(at, &originals[before..], &mut comparers[0], similarity);
                within.map(|(_, other)| other).or(known)
            });
            if let Some(earlier) = earlier {
                edges.push((at, earlier));
            } else {
                by_pixels.insert(&slides[at].sha256, at);
                originals.push(at);
            }
        }
    }
    Some(edges)
}

/// A match: how similar the hashes are, and the position of the original.
type Match = (f32, usize);

struct Search<'a> {
    slides: &'a [SlideRecord],
    outlines: Vec<Option<Outline>>,
    thresholds: &'a DuplicateThresholds,
}

impl Search<'_> {
    /// The matches of some slides among the originals, one comparer a thread. None when interrupted.
    fn parallel(
        &self,
        open: &[usize],
        originals: &[usize],
        comparers: &mut [Comparer<'_>],
        is_interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Option<HashMap<usize, Option<Match>>> {
        let next = AtomicUsize::new(0);
        let (sender, matches) = channel();
        std::thread::scope(|scope| {
            for comparer in comparers {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    while let Some(&at) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if is_interrupted() {
                            break;
                        }
                        let _ = sender.send((at, self.nearest(at, originals, comparer, None)));
                    }
                });
            }
            drop(sender);
            let matches: HashMap<_, _> = matches.into_iter().collect();
            (matches.len() == open.len()).then_some(matches)
        })
    }

    /// The most similar of the originals that a slide nearly repeats, if it is more similar than `above`.
    fn nearest(
        &self,
        at: usize,
        originals: &[usize],
        comparer: &mut Comparer<'_>,
        above: Option<f32>,
    ) -> Option<Match> {
        let is_blank = self.slides[at].quality.contains_key("blank");
        let outline = self.outlines[at].as_ref().filter(|_| !is_blank)?;
        let candidate = |&other: &usize| {
            let similarity = outline.resemblance(self.outlines[other].as_ref()?, self.thresholds)?;
            above.is_none_or(|above| similarity > above).then_some((similarity, other))
        };
        let mut candidates: Vec<Match> = originals.iter().filter_map(candidate).collect();
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        candidates.into_iter().find(|&(_, other)| {
            let difference = comparer.difference(&self.slides[other].slide_id, &self.slides[at].slide_id);
            difference.is_some_and(|difference| difference <= self.thresholds.difference)
        })
    }
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

    fn slide(deck: &str, number: usize, group: &str) -> SlideRecord {
        SlideRecord {
            sha256: format!("{deck}{number}"),
            group: group.to_owned(),
            ..SlideRecord::sample(deck, number)
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
