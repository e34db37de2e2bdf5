use std::collections::BTreeMap;

use super::evidence::{Evidence, Related};
use super::sets::is_blank;
use crate::imaging::SlideHash;
use crate::{SlideRecord, SourceKind, TextPrint};

/// Pages of one deck whose texts have this in common, and whose coarse hashes are this similar, are one page in two renderings: other
/// fonts move lines, another design changes large areas.
const SAME_PAGE: f64 = 0.9;
const SAME_DESIGN: f32 = 0.5;

/// Gives the new slides their groups.
pub(super) fn group(slides: &mut [SlideRecord], evidence: &Evidence) {
    let named = |related: &Related| {
        let (a, b) = related.decks;
        (evidence.name(a).to_owned(), evidence.name(b).to_owned(), related.pages)
    };
    let related: Vec<(String, String, usize)> = evidence.related.iter().map(named).collect();
    group_related(slides, &related);
}

/// Gives the new slides their groups: pairs of decks that are one, and how many pages they share.
fn group_related(slides: &mut [SlideRecord], related: &[(String, String, usize)]) {
    let mut settled: BTreeMap<String, String> = BTreeMap::new();
    for slide in slides.iter().filter(|slide| !slide.group.is_empty()) {
        settled.insert(slide.deck_id.clone(), slide.group.clone());
    }
    let mut leaders: BTreeMap<String, String> = slides
        .iter()
        .filter(|slide| !settled.contains_key(&slide.deck_id))
        .map(|slide| (slide.deck_id.clone(), slide.deck_id.clone()))
        .collect();
    for (a, b, _) in related {
        if leaders.contains_key(a) && leaders.contains_key(b) {
            let (a, b) = (leader(&leaders, a), leader(&leaders, b));
            // The smaller name leads, whatever the order of the decks was.
            leaders.insert((&a).max(&b).clone(), a.min(b));
        }
    }
    let mut ties: BTreeMap<String, BTreeMap<&String, usize>> = BTreeMap::new();
    for (a, b, pages) in related {
        for (new, old) in [(a, b), (b, a)] {
            if let (true, Some(group)) = (leaders.contains_key(new), settled.get(old)) {
                *ties.entry(leader(&leaders, new)).or_default().entry(group).or_default() += pages;
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

/// Slides that repeat what another one says, each with that one: pages of a presentation that also came as its author drew it, in
/// other fonts; and new pages of a deck whose relatives stand in several groups, so that none is used on two sides.
pub(super) fn said_again(
    slides: &[SlideRecord],
    is_new: &[bool],
    texts: &[Option<TextPrint>],
    evidence: &Evidence,
    stays: &dyn Fn(&str) -> bool,
) -> Vec<(usize, usize)> {
    let mut goes = vec![false; slides.len()];
    let mut again = Vec::new();
    let is_used =
        |at: usize| slides[at].duplicate_of.is_none() && !slides[at].excluded && !is_blank(&slides[at]);
    for Related { decks: (a, b), .. } in &evidence.related {
        for (at, other) in evidence.said_in_both(*a, *b) {
            let is_open = |at: usize| is_used(at) && !goes[at];
            if !(is_new[at] || is_new[other]) || !is_open(at) || !is_open(other) {
                continue;
            }
            let may_go = |at: usize| is_new[at] || !stays(&slides[at].slide_id);
            let choice = if slides[at].group == slides[other].group {
                let is_one = is_another_rendering(slides, texts, at, other);
                let is_drawn = |at: usize| slides[at].source.kind == SourceKind::Presentation;
                let order =
                    if is_drawn(at) { [(at, other), (other, at)] } else { [(other, at), (at, other)] };
                order.into_iter().find(|&(goes, _)| is_one && may_go(goes))
            } else {
                [(at, other), (other, at)].into_iter().find(|&(goes, _)| is_new[goes])
            };
            if let Some((own, original)) = choice {
                goes[own] = true;
                again.push((own, original));
            }
        }
    }
    again
}

/// Whether two slides are one page, at least one of them drawn from a presentation: with other fonts than its author had, perhaps.
fn is_another_rendering(slides: &[SlideRecord], texts: &[Option<TextPrint>], a: usize, b: usize) -> bool {
    let is_drawn = [a, b].iter().any(|&at| slides[at].source.kind == SourceKind::Presentation);
    let says = matches!((&texts[a], &texts[b]), (Some(a), Some(b)) if a.similarity(b) >= SAME_PAGE);
    let hash = |at: usize| SlideHash::from_hex(&slides[at].phash);
    let looks = || matches!((hash(a), hash(b)), (Some(a), Some(b)) if a.similarity(&b) >= SAME_DESIGN);
    is_drawn && says && looks()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DuplicateThresholds;

    fn slide(deck: &str, number: usize, group: &str) -> SlideRecord {
        SlideRecord {
            sha256: format!("{deck}{number}"),
            group: group.to_owned(),
            ..SlideRecord::sample(deck, number)
        }
    }

    fn related(a: &str, b: &str, pages: usize) -> (String, String, usize) {
        (a.to_owned(), b.to_owned(), pages)
    }

    fn groups(slides: &[SlideRecord]) -> Vec<&str> {
        slides.iter().map(|slide| slide.group.as_str()).collect()
    }

    #[test]
    fn related_decks_are_one_group_in_any_order() {
        for order in [["c", "a", "b"], ["b", "c", "a"], ["a", "b", "c"]] {
            let mut slides: Vec<_> = order.iter().map(|deck| slide(deck, 1, "")).collect();
            group_related(&mut slides, &[related(order[1], order[0], 1), related(order[2], order[1], 1)]);
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
        ];
        group_related(&mut slides, &[related("a", "c", 1), related("b", "c", 2)]);
        assert_eq!(groups(&slides), ["a", "b", "b", "b", "b"]);
    }

    #[test]
    fn new_slides_of_a_known_deck_stay_in_its_group() {
        let mut slides = vec![slide("a", 1, "z"), slide("a", 2, "")];
        group_related(&mut slides, &[]);
        assert_eq!(groups(&slides), ["z", "z"]);
    }

    /// Two decks that say the same on each page: `old` in a group, and `new`, a presentation, in one of its own.
    fn said(group: &str, stays: bool) -> Vec<(usize, usize)> {
        let page = |number: usize| {
            let words = (0..12).map(|at| repeatable_random::mix((number * 20 + at) as u64));
            TextPrint::of(&words.map(|word| format!("{word:x} ")).collect::<Vec<_>>().concat())
        };
        let phash = "7f".repeat(SlideHash::LENGTH);
        let mut slides: Vec<_> = (1..4).map(|number| slide("old", number, "old")).collect();
        slides.extend((1..4).map(|number| slide("new", number, group)));
        for slide in &mut slides {
            slide.phash.clone_from(&phash);
        }
        slides[3..].iter_mut().for_each(|slide| slide.source.kind = SourceKind::Presentation);
        let texts: Vec<_> = (1..4).chain(1..4).map(page).collect();
        let evidence = Evidence::of(&slides, &texts, &[], &DuplicateThresholds::default());
        let is_new = [false, false, false, true, true, true];
        said_again(&slides, &is_new, &texts, &evidence, &|_| stays)
    }

    #[test]
    fn a_page_of_a_presentation_repeats_the_one_that_its_author_drew() {
        for stays in [true, false] {
            let mut again = said("old", stays);
            again.sort_unstable();
            assert_eq!(again, [(3, 0), (4, 1), (5, 2)]);
        }
    }

    #[test]
    fn what_another_group_says_already_is_left_out_of_the_new_deck() {
        let mut again = said("elsewhere", true);
        again.sort_unstable();
        assert_eq!(again, [(3, 0), (4, 1), (5, 2)]);
    }
}
