use std::collections::{BTreeMap, BTreeSet};

use project_files::KeptFiles;
use serde::Serialize;

use super::decision::Decisions;
use super::duplicates::Copies;
use super::report::Quarantined;
use super::store::Store;
use super::worker::{Staged, stage};
use super::{DataConfig, duplicates};
use crate::error::io_error;
use crate::render::{Lacks, RenderedSlide};
use crate::{KeptSlide, KeptSlides, Result, SlideRecord};

/// Brings slides that were scored in production from where they were kept into a store.
#[derive(Debug)]
pub struct Production<'a> {
    /// The store.
    pub store: &'a mut Store,
    /// Quality rules and duplicate thresholds.
    pub config: &'a DataConfig,
    /// The kept slides.
    pub kept: &'a KeptFiles,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BroughtIn {
    /// How many slides were asked for.
    pub asked: usize,
    /// Of these, slides that were in the store before.
    pub known: usize,
    /// Of these, slides that this run added.
    pub slides_new: usize,
    /// The decks of the added slides.
    pub decks: usize,
    /// Of the added slides, those that repeat one of the store; nobody rates them or trains on them.
    pub duplicates: usize,
    /// Of the added slides, those that the rules leave out.
    pub excluded: usize,
    /// Slides that are neither in the store nor kept.
    pub not_kept: Vec<String>,
    /// Kept slides that cannot be used.
    pub set_aside: Vec<Quarantined>,
    /// Whether the run was stopped before its end; nothing was added then.
    pub interrupted: bool,
}

impl Production<'_> {
    /// Adds those of the slides `asked` for that are kept and not in the store yet, each with its deck and where it came from, and finds
    /// their duplicates and groups.
    ///
    /// The other kept slides of their decks are compared too, so that a deck which shares any slide with one of the store joins its
    /// group; they are not added.
    ///
    /// # Errors
    /// When the kept slides cannot be read or the store cannot be written; it is then as it was.
    pub fn run(
        &mut self,
        asked: &BTreeSet<String>,
        is_interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Result<BroughtIn> {
        let kept = KeptSlides::read(self.kept)?;
        let in_store: BTreeSet<String> =
            self.store.slides().iter().map(|slide| slide.slide_id.clone()).collect();
        let mut report = BroughtIn { asked: asked.len(), ..BroughtIn::default() };
        let (known, missing): (Vec<&String>, Vec<&String>) =
            asked.iter().partition(|id| in_store.contains(*id));
        report.known = known.len();
        report.not_kept =
            missing.iter().filter(|id| !kept.contains_key(**id)).map(|id| (*id).clone()).collect();
        let strangers: BTreeMap<&str, &KeptSlide> = kept
            .iter()
            .filter(|(id, _)| !in_store.contains(*id))
            .map(|(id, slide)| (id.as_str(), slide))
            .collect();
        self.remove_images(strangers.keys().copied())?;
        let wanted: Vec<&KeptSlide> =
            missing.iter().filter_map(|id| strangers.get(id.as_str()).copied()).collect();
        let before = self.store.slides().len();
        let result = self.add(&wanted, &strangers, &mut report, is_interrupted);
        let _ = std::fs::remove_dir_all(self.store.staging());
        if result.is_err() || report.interrupted {
            let added: Vec<SlideRecord> = self.store.slides_mut().drain(before..).collect();
            self.remove_images(added.iter().map(|slide| slide.slide_id.as_str()))?;
        }
        result.map(|()| report)
    }

    fn add(
        &mut self,
        wanted: &[&KeptSlide],
        strangers: &BTreeMap<&str, &KeptSlide>,
        report: &mut BroughtIn,
        is_interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Result<()> {
        let mut staged = Vec::new();
        for slide in wanted {
            match self.stage(slide)? {
                Ok(slide) => staged.push(slide),
                Err(reason) => report.set_aside.push(Quarantined { origin: slide.slide_id.clone(), reason }),
            }
        }
        let new: BTreeSet<String> = staged.iter().map(|slide| slide.record.slide_id.clone()).collect();
        if new.is_empty() {
            return Ok(());
        }
        // Those that stay come first, so that none of them repeats one that goes.
        let decks: BTreeSet<String> = staged.iter().map(|slide| slide.record.deck_id.clone()).collect();
        let companions = strangers
            .values()
            .filter(|slide| decks.contains(&slide.deck_id) && !new.contains(&slide.slide_id));
        let mut goes: Vec<&str> = Vec::new();
        for slide in companions {
            // One that cannot be read is compared with nothing, and was asked for by nobody.
            if let Ok(companion) = self.stage(slide)? {
                goes.push(&slide.slide_id);
                staged.push(companion);
            }
        }
        self.store.admit(staged)?;
        // What is in the store stays, and so do those that were asked for.
        let copies = Copies {
            thresholds: &self.config.duplicates,
            stays: &|_| true,
            decisions: &Decisions::default(),
        };
        if duplicates::resolve(self.store, &copies, is_interrupted).is_none() {
            report.interrupted = true;
            return Ok(());
        }
        self.store.slides_mut().retain(|slide| !goes.contains(&slide.slide_id.as_str()));
        for slide in self.store.slides_mut() {
            slide.duplicate_of.take_if(|original| goes.contains(&original.as_str()));
        }
        self.store.rewrite_manifest()?;
        self.remove_images(goes.into_iter())?;
        let added = || self.store.slides().iter().filter(|slide| new.contains(&slide.slide_id));
        report.slides_new = new.len();
        report.decks = decks.len();
        report.duplicates = added().filter(|slide| slide.duplicate_of.is_some()).count();
        report.excluded = added().filter(|slide| slide.excluded).count();
        Ok(())
    }

    /// Writes the image beside the store's and measures it; or says why it cannot be used.
    fn stage(&self, kept: &KeptSlide) -> Result<std::result::Result<Staged, String>> {
        let image = match KeptSlides::image(self.kept, kept) {
            Ok(image) => image,
            Err(error) => return Ok(Err(project_files::with_causes(&error))),
        };
        let slide = RenderedSlide {
            slide_id: kept.slide_id.clone(),
            deck_id: kept.deck_id.clone(),
            deck: kept.deck.clone(),
            number: kept.number,
            image,
            text: None,
            source: kept.source.clone(),
            lacks: Lacks::default(),
        };
        let folder = self.store.staging();
        std::fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
        let path = folder.join(format!("{}.png", kept.slide_id));
        let (record, sketch) = stage(slide, &self.config.quality, &path).map_err(io_error("write", &path))?;
        let record = SlideRecord { scored_at: Some(kept.scored_at), ..record };
        Ok(Ok(Staged { record, image: path, sketch, text: None }))
    }

    /// Removes images of slides that are not in the store, which a run that was killed may have left.
    fn remove_images<'s>(&self, slides: impl Iterator<Item = &'s str>) -> Result<()> {
        for slide in slides {
            let path = crate::Manifest::image_path(self.store.raw(), slide);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io_error("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
