//! Keeps what was scored, so that a correction of it can be learned from.

use jiff::Timestamp;
use pq_cli::Layout;
use project_files::Contract as _;
use slide_data::image::RgbImage;
use slide_data::{KeptConfig, KeptSlide, KeptSlides, Prediction, RenderedSlide, Source};
use slide_scorer::prune_features;

/// What the record of a kept slide says that its prediction does not.
pub(crate) struct Origin {
    pub(crate) deck: String,
    pub(crate) number: usize,
    source: Source,
}

impl Origin {
    pub(crate) fn of(slide: &RenderedSlide) -> Self {
        Self { deck: slide.deck.clone(), number: slide.number, source: slide.source.clone() }
    }

    /// Of a slide of which nothing is known, for tests.
    #[cfg(test)]
    pub(crate) fn unknown(deck: &str, number: usize) -> Self {
        let source = slide_data::SlideRecord::sample(deck, number).source;
        Self { deck: deck.to_owned(), number, source }
    }

    fn record(&self, prediction: &Prediction) -> KeptSlide {
        KeptSlide {
            schema_version: KeptSlide::VERSION,
            slide_id: prediction.slide_id.clone(),
            deck_id: prediction.deck_id.clone(),
            deck: self.deck.clone(),
            number: self.number,
            source: self.source.clone(),
            sha256: prediction.sha256.clone(),
            scored_at: prediction.scored_at,
        }
    }
}

/// The kept slides of a call or a service. What cannot be kept is warned of once, and scoring goes on.
pub(crate) struct Keeper {
    layout: Layout,
    kept: Option<KeptSlides>,
    max_features_mib: u64,
    /// Whether the last slides could not be kept.
    is_failing: bool,
}

impl Keeper {
    /// Keeps nothing where that is switched off, or the call is not logged.
    pub(crate) fn new(layout: &Layout, config: KeptConfig, is_logged: bool) -> Self {
        let max_features_mib = config.max_features_mib;
        let mut keeper = Self { layout: layout.clone(), kept: None, max_features_mib, is_failing: false };
        if config.enabled && is_logged {
            let opened = KeptSlides::open(layout.kept(), config);
            keeper.kept = opened.map_err(|error| warn(&error)).ok();
        }
        keeper
    }

    /// Keeps scored slides.
    pub(crate) fn keep<'a>(
        &mut self,
        slides: impl Iterator<Item = (&'a Origin, &'a RgbImage, &'a Prediction)>,
    ) {
        let Some(kept) = &mut self.kept else { return };
        let slides: Vec<(KeptSlide, &RgbImage)> =
            slides.map(|(origin, image, prediction)| (origin.record(prediction), image)).collect();
        let failed = kept.keep(&slides).err();
        if let (Some(error), false) = (&failed, self.is_failing) {
            warn(error);
        }
        self.is_failing = failed.is_some();
    }

    /// Removes what is too old or too much.
    pub(crate) fn prune(&mut self) {
        let Self { layout, kept: Some(kept), .. } = self else { return };
        match kept.prune(Timestamp::now(), || KeptSlides::asked_for(layout)) {
            Ok(0) => {}
            Ok(removed) => tracing::info!("{removed} kept slides were too old or too many and are removed"),
            Err(error) => tracing::warn!("no kept slide is removed: {error:#}"),
        }
        if let Err(error) = prune_features(&layout.kept().features(), self.max_features_mib << 20) {
            tracing::warn!("nothing that the vision tower said is removed: {error}");
        }
    }
}

fn warn(error: &slide_data::Error) {
    let chain = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    tracing::warn!("slides are scored but not kept, so corrections of them teach nothing: {error}{chain}");
}
