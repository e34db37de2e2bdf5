//! The slides of one call: rated, logged, printed, reported.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use pq_cli::{Hint, Verdict};
use project_files::Contract as _;
use report_pages::{
    CorrectionForm, DeckReport, Familiar, Image, MediaType, OlderVersion, ScoredSlide, render_deck_report,
};
use slide_data::render::RenderedSlide;
use slide_data::{Page, Prediction, write_atomic};
use slide_scorer::{SlideImage, SlideScorer, thumbnail};

use crate::args::Args;
use crate::failures::FailureLog;
use crate::ids::new_id;
use crate::keep::{Keeper, Origin};
use crate::model::Chosen;
use crate::table;
use crate::versions::{Asked, Newer};

/// What the reader of a report must know.
pub(crate) const CAVEAT: &str = "The scores were made by a model that repeats the ratings of the people it learned from. \
    Read them as a first opinion: look at the spread, and let a person decide.";

/// What was done so far.
pub(crate) struct Session<'a> {
    pub(crate) args: &'a Args,
    /// Where scored slides are logged.
    pub(crate) log: Option<PathBuf>,
    /// Where it is noted what could not be.
    pub(crate) failures: FailureLog,
    /// Keeps them.
    pub(crate) keeper: Keeper,
    pub(crate) scorer: &'a SlideScorer,
    pub(crate) scored: Vec<ScoredSlide>,
    /// What the scored slides are matched by, where there is an older version.
    pub(crate) pages: Vec<Page>,
    /// What could not be rated, with the reason.
    pub(crate) failed: Vec<String>,
}

/// Says that a page or a file is left out: to people, and as a line of its own among those of the slides.
pub(crate) fn tell_failed(args: &Args, input: &Path, error: &anyhow::Error) -> Result<()> {
    tracing::warn!("left out: {error:#}");
    if prints_lines(args) {
        let line = serde_json::json!({"input": input.display().to_string(), "error": format!("{error:#}")});
        writeln!(std::io::stdout().lock(), "{line}")?;
    }
    Ok(())
}

/// Lines of JSON, for programs.
fn prints_lines(args: &Args) -> bool {
    (args.html.is_none() || args.common.json) && !prints_table(args)
}

/// A table, where a person reads.
fn prints_table(args: &Args) -> bool {
    args.html.is_none() && !args.common.json && std::io::stdout().is_terminal()
}

impl Session<'_> {
    /// Says that a page or a file is left out, and leaves it out.
    pub(crate) fn fail(&mut self, input: &Path, error: &anyhow::Error) -> Result<()> {
        tell_failed(self.args, input, error)?;
        self.failures.note_error(error);
        self.failed.push(format!("{error:#}"));
        Ok(())
    }

    fn prints_lines(&self) -> bool {
        prints_lines(self.args)
    }

    fn prints_table(&self) -> bool {
        prints_table(self.args)
    }

    /// Rates these slides, logs and prints them.
    pub(crate) fn score(&mut self, slides: Vec<RenderedSlide>) -> Result<()> {
        if slides.is_empty() {
            return Ok(());
        }
        let origins: Vec<Origin> = slides.iter().map(Origin::of).collect();
        if self.args.before.is_some() {
            self.pages.extend(slides.iter().map(|slide| Page::of(&slide.image, slide.text.clone())));
        }
        let images: Vec<SlideImage> = slides
            .into_iter()
            .map(|slide| SlideImage { slide_id: slide.slide_id, deck_id: slide.deck_id, image: slide.image })
            .collect();
        let mut predictions = self.scorer.rate(&images)?;
        for prediction in &mut predictions {
            prediction.id = Some(new_id());
        }
        // First, so that what is logged and printed can be corrected.
        let kept = origins.iter().zip(&images).zip(&predictions);
        self.keeper.keep(kept.map(|((origin, image), prediction)| (origin, &image.image, prediction)));
        if let Some(log) = &self.log {
            Prediction::append(log, &predictions)?;
        }
        for ((origin, image), prediction) in origins.into_iter().zip(&images).zip(predictions) {
            let Origin { number, deck: title, .. } = origin;
            self.emit(&format!("{title}, slide {number}"), &prediction)?;
            let image = match self.args.html {
                Some(_) => Some(Image { media_type: MediaType::Jpeg, bytes: thumbnail(&image.image, 960)? }),
                None => None,
            };
            self.scored.push(ScoredSlide { number, title, image, prediction, familiar: Familiar::default() });
        }
        Ok(())
    }

    fn emit(&self, name: &str, prediction: &Prediction) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if self.prints_table() {
            let rubric = self.scorer.rating_prompt().rubric();
            if self.scored.is_empty() {
                writeln!(out, "{}", table::header(rubric))?;
            }
            writeln!(out, "{}", table::row(rubric, name, prediction))?;
        } else if self.prints_lines() {
            writeln!(out, "{}", serde_json::to_string(prediction)?)?;
        }
        Ok(())
    }

    /// Compares what was rated with an older version of the deck, and prints what was found.
    fn compare(&self, before: &Path, chosen: &Chosen) -> Result<OlderVersion> {
        let newer = Newer { slides: &self.scored, pages: &self.pages };
        let asked = Asked { limits: &chosen.limits, scorer: self.scorer, batch: self.args.batch.max(1) };
        let older = asked.compare(before, &newer, &chosen.comparison()?)?;
        let mut out = std::io::stdout().lock();
        if self.prints_table() {
            write!(out, "{}", table::versions(self.scorer.rating_prompt().rubric(), &older.versions))?;
        } else if self.prints_lines() {
            writeln!(out, "{}", serde_json::json!({"versions": older.versions}))?;
        }
        Ok(older)
    }

    /// Writes the report.
    fn report(&mut self, path: &Path, older: Option<&OlderVersion>, chosen: &Chosen) -> Result<()> {
        let title = match self.args.inputs.as_slice() {
            [deck] => deck.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            decks => format!("{} decks", decks.len()),
        };
        // Of slides that are not logged nothing stays here, so nobody would know what was corrected.
        let corrections = if self.log.is_some() { CorrectionForm::File } else { CorrectionForm::None };
        let rated = chosen.rated_slides();
        self.scored.iter_mut().for_each(|slide| slide.familiar = rated.like(&slide.prediction));
        let html = render_deck_report(&DeckReport {
            title: &title,
            rubric: &chosen.settings.rubric,
            slides: &self.scored,
            model_version: &chosen.version,
            caveat: CAVEAT,
            quality: &chosen.quality()?,
            older,
            failed: &self.failed,
            corrections,
            generated_at: jiff::Timestamp::now(),
        })?;
        write_atomic(path, html.as_bytes())?;
        let version = &chosen.version;
        tracing::info!("{} slides were scored by {version}: {}", self.scored.len(), path.display());
        Ok(())
    }

    /// Ends the call.
    pub(crate) fn finish(mut self, chosen: &Chosen) -> Result<Verdict> {
        self.keeper.prune();
        if pq_cli::interrupted() {
            bail!(Hint::new(
                format!("interrupted after {} slides", self.scored.len()),
                "run it again for the rest; what was printed and logged is whole"
            ));
        }
        if !self.failed.is_empty() {
            tracing::warn!(
                "{} slides were scored, {} inputs were left out",
                self.scored.len(),
                self.failed.len()
            );
        }
        if self.scored.is_empty() {
            bail!(Hint::new("no slide could be scored", "see the messages above"));
        }
        let older = self.args.before.as_deref().map(|before| self.compare(before, chosen)).transpose()?;
        if let Some(path) = &self.args.html {
            self.report(path, older.as_ref(), chosen)?;
        }
        Ok(if self.failed.is_empty() { Verdict::Pass } else { Verdict::Fail })
    }
}
