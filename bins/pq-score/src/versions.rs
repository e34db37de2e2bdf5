//! A deck beside an older version of it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use pq_cli::{Hint, WithHint as _};
use project_files::ErrorSpread;
use report_pages::{Image, MediaType, OlderVersion, ScoredSlide};
use slide_data::{
    DeckVersions, DuplicateThresholds, Limits, Page, PageMatch, Prediction, RenderedSlide, Rubric,
    match_pages, render,
};
use slide_scorer::{SlideImage, SlideScorer, thumbnail};
use vlm_eval::{VersionSlide, compare_versions};

/// Width of the pictures of an older version.
const WIDTH: u32 = 960;

/// How slides are matched, and how far the model errs.
pub(crate) struct Comparison {
    pub(crate) thresholds: DuplicateThresholds,
    pub(crate) spreads: BTreeMap<String, ErrorSpread>,
    pub(crate) rubric: Rubric,
}

/// The newer version: its slides, and what they are matched by.
pub(crate) struct Newer<'a> {
    pub(crate) slides: &'a [ScoredSlide],
    pub(crate) pages: &'a [Page],
}

/// Rated slides with their places.
pub(crate) fn numbered(slides: &[ScoredSlide]) -> Vec<VersionSlide<'_>> {
    slides.iter().map(version_slide).collect()
}

fn version_slide(slide: &ScoredSlide) -> VersionSlide<'_> {
    VersionSlide { number: slide.number, scores: Some(&slide.prediction) }
}

/// What an older version is read and rated with.
pub(crate) struct Asked<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) scorer: &'a SlideScorer,
    pub(crate) batch: usize,
}

/// A slide of the older version that changed.
struct Older {
    image: Image,
    scores: Prediction,
}

impl Asked<'_> {
    /// Reads an older version, rates those of its slides that changed, and compares.
    ///
    /// The deck is read twice, so that the images of a long one need not be in memory at once.
    pub(crate) fn compare(
        &self,
        before: &Path,
        newer: &Newer<'_>,
        comparison: &Comparison,
    ) -> Result<OlderVersion> {
        let (mut numbers, mut pages) = (Vec::new(), Vec::new());
        for slide in self.slides_of(before)? {
            let slide = slide?;
            numbers.push(slide.number);
            pages.push(Page::of(&slide.image, slide.text));
        }
        let matches = match_pages(&pages, newer.pages, &comparison.thresholds);
        let is_changed =
            |at: usize| matches.iter().any(|found| matches!(found, PageMatch::Changed(old, _) if *old == at));
        let changed = self.rated(before, &is_changed)?;
        let old: Vec<VersionSlide<'_>> = numbers
            .iter()
            .enumerate()
            .map(|(at, number)| VersionSlide {
                number: *number,
                scores: changed.get(&at).map(|old| &old.scores),
            })
            .collect();
        let Comparison { spreads, rubric, .. } = comparison;
        let versions: DeckVersions =
            compare_versions(rubric, &matches, &old, &numbered(newer.slides), spreads);
        let images = changed.into_iter().map(|(at, old)| (numbers[at], old.image)).collect();
        let title = before.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(OlderVersion { title, versions, images })
    }

    /// The slides of the older version; pages that cannot be read are passed over, with a word.
    fn slides_of(&self, before: &Path) -> Result<impl Iterator<Item = Result<RenderedSlide>>> {
        let slides = render::load(before, self.limits)
            .hint(format!("cannot read `{}`", before.display()), "name the older version of the deck")?;
        let interrupted = || Hint::new("interrupted", "run it again; the scores that were printed are whole");
        Ok(slides.filter_map(move |slide| {
            if pq_cli::interrupted() {
                return Some(Err(interrupted().into()));
            }
            let warn = |error: slide_data::Error| tracing::warn!("left out of the older version: {error}");
            slide.map_err(warn).ok().map(Ok)
        }))
    }

    /// Rates some slides of the older version, by their places among those that can be read.
    fn rated(&self, before: &Path, is_wanted: &dyn Fn(usize) -> bool) -> Result<BTreeMap<usize, Older>> {
        let mut rated = BTreeMap::new();
        let mut batch: Vec<(usize, SlideImage)> = Vec::new();
        for (at, slide) in self.slides_of(before)?.enumerate().filter(|(at, _)| is_wanted(*at)) {
            let RenderedSlide { slide_id, deck_id, image, .. } = slide?;
            batch.push((at, SlideImage { slide_id, deck_id, image }));
            if batch.len() == self.batch {
                self.rate(std::mem::take(&mut batch), &mut rated)?;
            }
        }
        self.rate(batch, &mut rated)?;
        Ok(rated)
    }

    fn rate(&self, batch: Vec<(usize, SlideImage)>, rated: &mut BTreeMap<usize, Older>) -> Result<()> {
        let (places, slides): (Vec<usize>, Vec<SlideImage>) = batch.into_iter().unzip();
        if slides.is_empty() {
            return Ok(());
        }
        let scores = self.scorer.rate(&slides)?;
        if scores.len() != slides.len() {
            bail!("the model rated {} of {} slides", scores.len(), slides.len());
        }
        for ((at, slide), scores) in places.into_iter().zip(&slides).zip(scores) {
            let image = Image { media_type: MediaType::Jpeg, bytes: thumbnail(&slide.image, WIDTH)? };
            rated.insert(at, Older { image, scores });
        }
        Ok(())
    }
}
