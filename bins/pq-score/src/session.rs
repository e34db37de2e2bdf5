//! The slides of one call: rated, logged, printed, reported.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Result, bail};
use pq_cli::{Hint, Verdict};
use project_files::Contract as _;
use report_pages::{DeckReport, Image, MediaType, ScoredSlide, render_deck_report};
use slide_data::render::RenderedSlide;
use slide_data::{Prediction, write_atomic};
use slide_scorer::{Settings, SlideImage, SlideScorer, thumbnail};

use crate::Args;
use crate::keep::{Keeper, Origin};

const CAVEAT: &str = "The scores were made by a model that repeats the ratings of the people it learned from. \
    Read them as a first opinion: look at the spread, and let a person decide.";

/// What was done so far.
pub(crate) struct Session<'a> {
    pub(crate) args: &'a Args,
    /// Where scored slides are logged.
    pub(crate) log: Option<PathBuf>,
    /// Keeps them.
    pub(crate) keeper: Keeper,
    pub(crate) scorer: &'a SlideScorer,
    pub(crate) scored: Vec<ScoredSlide>,
    pub(crate) failed: usize,
}

impl Session<'_> {
    /// Says that an input is left out.
    pub(crate) fn fail(&mut self, error: &anyhow::Error) {
        tracing::warn!("left out: {error:#}");
        self.failed += 1;
    }

    /// Rates these slides, logs and prints them.
    pub(crate) fn score(&mut self, slides: Vec<RenderedSlide>) -> Result<()> {
        if slides.is_empty() {
            return Ok(());
        }
        let origins: Vec<Origin> = slides.iter().map(Origin::of).collect();
        let images: Vec<SlideImage> = slides
            .into_iter()
            .map(|slide| SlideImage { slide_id: slide.slide_id, deck_id: slide.deck_id, image: slide.image })
            .collect();
        let predictions = self.scorer.rate(&images)?;
        // First, so that what is logged and printed can be corrected.
        let kept = origins.iter().zip(&images).zip(&predictions);
        self.keeper.keep(kept.map(|((origin, image), prediction)| (origin, &image.image, prediction)));
        for ((origin, image), prediction) in origins.into_iter().zip(&images).zip(predictions) {
            self.emit(&prediction)?;
            let Origin { number, deck: title, .. } = origin;
            let image = match self.args.html {
                Some(_) => Some(Image { media_type: MediaType::Jpeg, bytes: thumbnail(&image.image, 960)? }),
                None => None,
            };
            self.scored.push(ScoredSlide { number, title, image, prediction });
        }
        Ok(())
    }

    fn emit(&self, prediction: &Prediction) -> Result<()> {
        if let Some(log) = &self.log {
            Prediction::append(log, std::slice::from_ref(prediction))?;
        }
        if self.args.html.is_none() || self.args.common.json {
            writeln!(std::io::stdout().lock(), "{}", serde_json::to_string(prediction)?)?;
        }
        Ok(())
    }

    /// Writes the report.
    pub(crate) fn finish(self, settings: &Settings, version: &str) -> Result<Verdict> {
        self.keeper.finish();
        if pq_cli::interrupted() {
            bail!(Hint::new(
                format!("interrupted after {} slides", self.scored.len()),
                "run it again for the rest; what was printed and logged is whole"
            ));
        }
        if self.failed > 0 {
            tracing::warn!("{} slides were scored, {} inputs were left out", self.scored.len(), self.failed);
        }
        if self.scored.is_empty() {
            bail!(Hint::new("no slide could be scored", "see the messages above"));
        }
        if let Some(path) = &self.args.html {
            let title = match self.args.inputs.as_slice() {
                [deck] => deck.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                decks => format!("{} decks", decks.len()),
            };
            let html = render_deck_report(&DeckReport {
                title: &title,
                rubric: &settings.rubric,
                slides: &self.scored,
                model_version: version,
                caveat: CAVEAT,
                generated_at: jiff::Timestamp::now(),
            })?;
            write_atomic(path, html.as_bytes())?;
            tracing::info!("{} slides were scored by {version}: {}", self.scored.len(), path.display());
        }
        Ok(Verdict::Pass)
    }
}
