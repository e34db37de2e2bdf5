use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use super::comparer::{Comparer, Outline};
use super::crowd::{Crowds, Frames, Match};
use super::decision::Decisions;
use super::evidence::Evidence;
use super::grouping::{group, said_again};
use super::sets::is_blank;
use super::store::Store;
use super::texts;
use crate::imaging::{Sketch, SketchTree};
use crate::{DuplicateThresholds, SlideRecord};

/// Which copies are one slide, and which of them is used.
pub(super) struct Copies<'a> {
    pub(super) thresholds: &'a DuplicateThresholds,
    /// Whether a slide is never made the repeat of a later one.
    pub(super) stays: &'a (dyn Fn(&str) -> bool + Sync),
    pub(super) decisions: &'a Decisions,
}

/// What a search for duplicates came to.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Slides of earlier runs that now repeat a better copy.
    pub(super) replaced: usize,
}

/// Finds duplicates of the slides that have no group yet and gives each a group. None where nothing changed: every slide has its
/// group, or the search was interrupted, and the next run makes up for it.
///
/// Of two copies the better one is used and the other one repeats it: one that the rules do not exclude, the sharper, the larger, else
/// the first. Blank pages resemble nothing.
///
/// Decks that are related, by what they show or say, are one group; see [`Evidence::of`]. A group that exists keeps its name and its
/// decks, so that splits never move: a new deck that is related to two groups joins the one that it shares more pages with, and its
/// slides that repeat the other's are duplicates, which nobody labels or trains on.
pub(super) fn resolve(
    store: &mut Store,
    copies: &Copies<'_>,
    is_interrupted: &(dyn Fn() -> bool + Sync),
) -> Option<Resolved> {
    if store.slides().iter().all(|slide| !slide.group.is_empty()) {
        return None;
    }
    let raw = store.raw().to_owned();
    let slides = store.slides_mut();
    let is_new: Vec<bool> = slides.iter().map(|slide| slide.group.is_empty()).collect();
    let outlines = Outline::of_all(&raw, slides);
    let sketches: Vec<_> = outlines.iter().map(|outline| outline.as_ref()?.sketch()).collect();
    let originals = Originals::of(slides, &sketches);
    let search = Search { slides, outlines: &outlines, copies, crowds: Crowds::default() };
    let mut found = search.all(originals, &raw, is_interrupted)?;
    found.links.extend(decided(slides, copies.decisions));
    let said = texts::of_all(&raw, slides);
    let evidence = Evidence::of(slides, &said, &found.links, copies.thresholds);
    let replaced = found.instead.keys().filter(|&&at| !is_new[at]).count();
    found.mark(slides);
    group(slides, &evidence);
    let again = said_again(slides, &is_new, &said, &evidence, copies.stays);
    repeat_all(slides, again);
    Some(Resolved { replaced })
}

/// The pairs of slides that people decided are one.
fn decided(slides: &[SlideRecord], decisions: &Decisions) -> Vec<(usize, usize)> {
    let places: HashMap<&str, usize> =
        slides.iter().enumerate().map(|(at, slide)| (slide.slide_id.as_str(), at)).collect();
    decisions.same().filter_map(|(a, b)| Some((*places.get(a)?, *places.get(b)?))).collect()
}

/// Makes a slide the repeat of another, and so what repeated it.
pub(super) fn repeat(slides: &mut [SlideRecord], at: usize, original: usize) {
    let (own, original) = (slides[at].slide_id.clone(), slides[original].slide_id.clone());
    for slide in slides.iter_mut().filter(|slide| slide.duplicate_of.as_ref() == Some(&own)) {
        slide.duplicate_of = Some(original.clone());
    }
    slides[at].duplicate_of = Some(original);
}

/// As [`repeat`] for each of many slides with its original, one after the other.
fn repeat_all(slides: &mut [SlideRecord], pairs: impl IntoIterator<Item = (usize, usize)>) {
    let mut repeats: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, slide) in slides.iter().enumerate() {
        if let Some(original) = &slide.duplicate_of {
            repeats.entry(original.clone()).or_default().push(at);
        }
    }
    for (at, original) in pairs {
        let (own, original) = (slides[at].slide_id.clone(), slides[original].slide_id.clone());
        let mut moved = repeats.remove(&own).unwrap_or_default();
        // Some may have been given another original since.
        moved.retain(|&other| slides[other].duplicate_of.as_ref() == Some(&own));
        moved.push(at);
        for &other in &moved {
            slides[other].duplicate_of = Some(original.clone());
        }
        repeats.entry(original).or_default().extend(moved);
    }
}

/// New slides that are compared with the earlier ones at once, by all threads.
const BLOCK: usize = 256;

/// What was found to look the same.
#[derive(Default)]
struct Found {
    /// Pairs of near-duplicates.
    links: Vec<(usize, usize)>,
    /// New slides with the original that each repeats.
    repeats: Vec<(usize, usize)>,
    /// Originals with the better copy that came later.
    instead: HashMap<usize, usize>,
}

impl Found {
    /// The copy that is used.
    fn best(&self, mut at: usize) -> usize {
        while let Some(&better) = self.instead.get(&at) {
            at = better;
        }
        at
    }

    fn mark(&self, slides: &mut [SlideRecord]) {
        for &(at, original) in &self.repeats {
            slides[at].duplicate_of = Some(slides[self.best(original)].slide_id.clone());
        }
        repeat_all(slides, self.instead.keys().map(|&at| (at, self.best(at))));
    }
}

/// What a slide repeats of the originals of earlier blocks, and what it is aligned with in a crowd of them.
type Nearest = (Option<Match>, Option<usize>);

/// The slides that others can repeat. Those of earlier blocks are looked up by their sketches, the last ones compared with all.
struct Originals<'a> {
    by_pixels: HashMap<&'a str, usize>,
    settled: SketchTree<'a>,
    last: Vec<usize>,
    frames: Frames,
}

impl<'a> Originals<'a> {
    /// The originals of earlier runs.
    fn of(slides: &'a [SlideRecord], sketches: &'a [Option<&'a Sketch>]) -> Self {
        let (by_pixels, settled) = (HashMap::new(), SketchTree::new(sketches));
        let mut originals = Self { by_pixels, settled, last: Vec::new(), frames: Frames::default() };
        let is_original = |slide: &SlideRecord| !slide.group.is_empty() && slide.duplicate_of.is_none();
        for (at, slide) in slides.iter().enumerate().filter(|(_, slide)| is_original(slide)) {
            originals.by_pixels.entry(&slide.sha256).or_insert(at);
            originals.settled.insert(at);
        }
        originals
    }

    fn add(&mut self, at: usize, slide: &'a SlideRecord) {
        self.by_pixels.insert(&slide.sha256, at);
        self.last.push(at);
    }

    /// Makes the last ones earlier ones.
    fn settle(&mut self) {
        for at in self.last.drain(..) {
            self.settled.insert(at);
        }
    }

    /// Those of earlier blocks that can look like a slide.
    fn settled(&self, outline: &Outline) -> Vec<usize> {
        outline.sketch().map_or_else(|| self.settled.inserted(), |sketch| self.settled.matches(sketch))
    }
}

struct Search<'a> {
    slides: &'a [SlideRecord],
    outlines: &'a [Option<Outline>],
    copies: &'a Copies<'a>,
    crowds: Crowds,
}

impl<'a> Search<'a> {
    /// For each new slide the copy that came before, if there is one. None when interrupted.
    fn all(
        &self,
        mut originals: Originals<'a>,
        raw: &Path,
        is_interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Option<Found> {
        let slides = self.slides;
        let new: Vec<usize> = (0..slides.len()).filter(|&at| slides[at].group.is_empty()).collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut comparers: Vec<_> = (0..threads).map(|_| Comparer::new(raw)).collect();
        let mut found = Found::default();
        for block in new.chunks(BLOCK) {
            let open: Vec<usize> =
                block.iter().filter(|&&at| self.equal(at, &originals).is_none()).copied().collect();
            let mut near = self.parallel(&open, &originals, &mut comparers, is_interrupted)?;
            let comparer = &mut comparers[0];
            for &at in block {
                let earlier = self.equal(at, &originals).or_else(|| {
                    let (nearest, frame) = near.remove(&at).unwrap_or_default();
                    let (similarity, known) = nearest.unzip();
                    let within = self.candidates(at, &originals.last, similarity);
                    if let Some(frame) = frame.or_else(|| originals.frames.of(&within)) {
                        originals.frames.set(at, frame);
                    }
                    self.nearest(at, within, &originals, comparer).map(|(_, other)| other).or(known)
                });
                if earlier
                    .is_none_or(|earlier| self.takes_place(at, earlier, &originals, comparer, &mut found))
                {
                    originals.add(at, &slides[at]);
                }
            }
            originals.settle();
        }
        Some(found)
    }

    /// The original with the same pixels.
    fn equal(&self, at: usize, originals: &Originals<'_>) -> Option<usize> {
        let other = originals.by_pixels.get(self.slides[at].sha256.as_str()).copied();
        other.filter(|&other| self.may_be_original(at, other))
    }

    /// Whether a slide is used instead of an earlier copy, and of all others that it resembles; else it repeats one of them.
    fn takes_place(
        &self,
        at: usize,
        earlier: usize,
        originals: &Originals<'_>,
        comparer: &mut Comparer<'_>,
        found: &mut Found,
    ) -> bool {
        let earlier = found.best(earlier);
        let mut copies = BTreeSet::from([earlier]);
        if self.is_better(at, earlier, comparer) {
            for near in [self.settled(at, originals), self.candidates(at, &originals.last, None)] {
                let near = self.closely(at, near, originals, comparer).into_iter();
                let near = near.filter(|&(_, other)| self.is_near(at, other, comparer));
                copies.extend(near.map(|(_, other)| found.best(other)));
            }
        }
        found.links.extend(copies.iter().map(|&copy| (at, copy)));
        match copies.iter().find(|&&copy| !self.is_better(at, copy, comparer)) {
            Some(&copy) => found.repeats.push((at, copy)),
            None => found.instead.extend(copies.iter().map(|&copy| (copy, at))),
        }
        found.instead.get(&earlier) == Some(&at)
    }

    /// Whether a slide could repeat another one, or the other way round: what is used never repeats what the rules exclude.
    fn may_be_original(&self, at: usize, other: usize) -> bool {
        let (own, other) = (&self.slides[at], &self.slides[other]);
        let is_open = own.excluded || !self.is_left_out(other) || !(self.copies.stays)(&other.slide_id);
        is_open && !self.copies.decisions.are_different(&own.slide_id, &other.slide_id)
    }

    /// Whether the rules leave a slide out; what a person left out is left out with its copies.
    fn is_left_out(&self, slide: &SlideRecord) -> bool {
        slide.excluded && self.copies.decisions.used(&slide.slide_id).is_none()
    }

    /// Whether a slide is to be used instead of an earlier copy.
    fn is_better(&self, at: usize, earlier: usize, comparer: &Comparer<'_>) -> bool {
        let (own, other) = (&self.slides[at], &self.slides[earlier]);
        let is_decided = other.excluded && !self.is_left_out(other);
        if own.excluded || is_decided || (self.copies.stays)(&other.slide_id) {
            return false;
        }
        other.excluded || own.sha256 != other.sha256 && comparer.is_better(&own.slide_id, &other.slide_id)
    }

    /// The matches of some slides among the originals, one comparer a thread. None when interrupted.
    fn parallel(
        &self,
        open: &[usize],
        originals: &Originals<'_>,
        comparers: &mut [Comparer<'_>],
        is_interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Option<HashMap<usize, Nearest>> {
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
                        let candidates = self.settled(at, originals);
                        let frame = originals.frames.of(&candidates);
                        let nearest = self.nearest(at, candidates, originals, comparer);
                        let _ = sender.send((at, (nearest, frame)));
                    }
                });
            }
            drop(sender);
            let matches: HashMap<_, _> = matches.into_iter().collect();
            (matches.len() == open.len()).then_some(matches)
        })
    }

    /// The first of the candidates that a slide nearly repeats.
    fn nearest(
        &self,
        at: usize,
        candidates: Vec<Match>,
        originals: &Originals<'_>,
        comparer: &mut Comparer<'_>,
    ) -> Option<Match> {
        let mut closely = self.closely(at, candidates, originals, comparer).into_iter();
        closely.find(|&(_, other)| self.is_near(at, other, comparer))
    }

    /// Those of the candidates that a slide is aligned with.
    fn closely(
        &self,
        at: usize,
        candidates: Vec<Match>,
        originals: &Originals<'_>,
        comparer: &mut Comparer<'_>,
    ) -> Vec<Match> {
        let Some(frame) = originals.frames.of(&candidates) else { return candidates };
        self.crowds.nearest(self.slides, (at, frame), candidates, comparer)
    }

    /// The originals of earlier blocks whose hashes are similar to a slide's, the most similar first.
    fn settled(&self, at: usize, originals: &Originals<'_>) -> Vec<Match> {
        let Some(outline) = self.outline(at) else { return Vec::new() };
        self.candidates(at, &originals.settled(outline), None)
    }

    /// What a slide is compared by; none for a blank one.
    fn outline(&self, at: usize) -> Option<&'a Outline> {
        self.outlines[at].as_ref().filter(|_| !is_blank(&self.slides[at]))
    }

    /// Which of some originals have hashes that are similar to a slide's, more than `above`, the most similar first.
    fn candidates(&self, at: usize, others: &[usize], above: Option<f32>) -> Vec<Match> {
        let Some(outline) = self.outline(at) else { return Vec::new() };
        let candidate = |&other: &usize| {
            if !self.may_be_original(at, other) {
                return None;
            }
            let similarity = outline.resemblance(self.outlines[other].as_ref()?, self.copies.thresholds)?;
            above.is_none_or(|above| similarity > above).then_some((similarity, other))
        };
        let mut candidates: Vec<Match> = others.iter().filter_map(candidate).collect();
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        candidates
    }

    fn is_near(&self, at: usize, other: usize, comparer: &mut Comparer<'_>) -> bool {
        let difference = comparer.difference(&self.slides[other].slide_id, &self.slides[at].slide_id);
        difference.is_some_and(|difference| difference <= self.copies.thresholds.difference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_repeats_at_once_are_those_one_after_the_other() {
        let mut dice = fastrand::Rng::with_seed(5);
        for _ in 0..200 {
            let mut slides: Vec<SlideRecord> =
                (0..20).map(|at| SlideRecord::sample("deck", at + 1)).collect();
            for _ in 0..6 {
                let (at, original) = (dice.usize(..20), dice.usize(..20));
                slides[at].duplicate_of = Some(slides[original].slide_id.clone());
            }
            let pairs: Vec<_> =
                (0..12).map(|_| (dice.usize(..20), dice.usize(..20))).filter(|(a, b)| a != b).collect();
            let mut expected = slides.clone();
            for &(at, original) in &pairs {
                repeat(&mut expected, at, original);
            }
            repeat_all(&mut slides, pairs);
            assert_eq!(slides, expected);
        }
    }
}
