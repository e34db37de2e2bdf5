use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use pq_cli::{Hint, Layout, WithHint as _};
use project_files::{
    Applicability, ApplicabilityHead, Contract, RunFiles, RunRecord, ScoreDecision, ScoreHead, hash_file,
};
use slide_data::image::{DynamicImage, RgbImage};
use slide_data::{Prediction, VisionSketch};
use vlm_lora::backend::{Backend, OnDevice};
use vlm_lora::{FeatureCache, FeaturePrecision, FeatureTally, Features, Model, PeftAdapter, Sample, Tiles};

use crate::lineage::check_base;
use crate::rating_prompt::Applies;
use crate::{Base, PooledFeatures, RatingPrompt, Settings, open_base};

/// So many digits of a base's fingerprint tell it from others.
const BASE_DIGITS: usize = 16;

/// A slide in memory.
#[derive(Debug, Clone)]
pub struct SlideImage {
    /// Its id.
    pub slide_id: String,
    /// Its deck.
    pub deck_id: String,
    /// Its pixels.
    pub image: RgbImage,
}

/// A model with an adapter that rates slides.
pub struct SlideScorer {
    rating_prompt: RatingPrompt,
    model: Box<dyn Rater>,
    version: String,
    cache: FeatureCache,
    applicability: Option<Applicability>,
    head: Option<ScoreHead>,
    decision: Option<ScoreDecision>,
}

/// A model on the backend that it was loaded for.
trait Rater: Send + Sync {
    /// As [`predict`].
    fn rate(
        &self,
        context: &RatingContext<'_>,
        slides: &[SlideImage],
        version: &str,
    ) -> Result<Vec<Prediction>>;

    fn pooled(&self, context: &RatingContext<'_>, slides: &[SlideImage]) -> Result<Vec<PooledFeatures>>;

    fn sees_as_its_base(&self) -> bool;
}

/// What rating slides takes beside a model: the questions, and where what the vision tower says of an image is kept.
#[derive(Clone, Copy)]
pub struct RatingContext<'a> {
    /// The questions.
    pub rating_prompt: &'a RatingPrompt,
    /// Features of images, of this base.
    pub cache: &'a FeatureCache,
    /// Tells which criteria apply to a slide; without it all do.
    pub applicability: Option<&'a Applicability>,
    /// Tells scores from what the vision tower sees; without it the adapter alone does.
    pub head: Option<&'a ScoreHead>,
    /// From probabilities to scores; without it means are rounded.
    pub decision: Option<&'a ScoreDecision>,
}

impl<B: Backend> Rater for Model<B> {
    fn rate(
        &self,
        context: &RatingContext<'_>,
        slides: &[SlideImage],
        version: &str,
    ) -> Result<Vec<Prediction>> {
        predict(context, self, slides, version)
    }

    fn pooled(&self, context: &RatingContext<'_>, slides: &[SlideImage]) -> Result<Vec<PooledFeatures>> {
        let tiles = slides.iter().map(|slide| context.tiles(slide)).collect::<vlm_lora::Result<Vec<_>>>()?;
        let images: Vec<&Tiles> = tiles.iter().map(|tiles| &**tiles).collect();
        Ok(context.cache.features(self, &images)?.iter().map(PooledFeatures::of).collect())
    }

    fn sees_as_its_base(&self) -> bool {
        !self.trains_vision()
    }
}

impl RatingContext<'_> {
    /// A slide as the vision tower takes it.
    ///
    /// # Errors
    /// When the image cannot be used.
    pub fn tiles(&self, slide: &SlideImage) -> vlm_lora::Result<Arc<Tiles>> {
        Ok(Arc::new(self.rating_prompt.processor().tiles(&DynamicImage::ImageRgb8(slide.image.clone()))?))
    }

    /// For each criterion that need not apply the probability that it does.
    pub(crate) fn applies(
        &self,
        pooled: &PooledFeatures,
        properties: &BTreeMap<String, f64>,
    ) -> Result<Applies> {
        let Some(known) = self.applicability else { return Ok(Applies::new()) };
        let mut all = pooled.concatenated();
        for name in &known.properties {
            let value = properties.get(name).with_context(|| {
                format!("`applicability.json` of the adapter was learned with `{name}` of images, which this program does not measure")
            })?;
            all.push(*value as f32);
        }
        let told = |(key, head): (&String, &ApplicabilityHead)| {
            let told = head.probability(&all).with_context(|| {
                format!(
                    "`applicability.json` of the adapter takes other features for `{key}` than the base has"
                )
            });
            Ok((key.clone(), told?))
        };
        known.criteria.iter().map(told).collect()
    }

    /// What the base's vision tower says of an image, for the log; nothing where an adapter changes the tower: what another version
    /// saw could not be told from it.
    pub(crate) fn sketch<B: Backend>(
        &self,
        model: &Model<B>,
        pooled: &PooledFeatures,
    ) -> Option<VisionSketch> {
        let base: String = self.cache.base().to_string().chars().take(BASE_DIGITS).collect();
        if model.trains_vision() { None } else { pooled.sketch(&base) }
    }

    /// The questions about images, with the features of each.
    ///
    /// # Errors
    /// When the prompt cannot be used or the vision tower fails.
    pub fn questions<B: Backend>(
        &self,
        model: &Model<B>,
        images: &[Arc<Tiles>],
    ) -> vlm_lora::Result<Vec<(Sample, Option<Features>)>> {
        let all: Vec<&Tiles> = images.iter().map(|tiles| &**tiles).collect();
        let question = |(tiles, features): (&Arc<Tiles>, Features)| {
            let Tiles { rows, cols, side, .. } = **tiles;
            let mut question = self.rating_prompt.question(tiles)?;
            question.tiles = Arc::new(Tiles { rows, cols, side, data: Vec::new() });
            Ok((question, Some(features)))
        };
        images.iter().zip(self.cache.features(model, &all)?).map(question).collect()
    }
}

/// Loads the base and an adapter on it.
struct Load<'a> {
    base: &'a Base,
    adapter: Option<&'a PeftAdapter>,
}

impl OnDevice for Load<'_> {
    type Output = Result<Box<dyn Rater>>;

    fn run<B: Backend>(self, backend: &Arc<B>) -> Self::Output {
        let mut model = self.base.model(backend)?;
        if let Some(adapter) = self.adapter {
            model.attach_adapter(adapter).context("the adapter does not fit the base")?;
        }
        Ok(Box::new(model))
    }
}

impl SlideScorer {
    /// Loads the base of a run or a released version and its adapter.
    ///
    /// # Errors
    /// When the base or the adapter cannot be read, or the adapter was trained on another base. Where the run does not say on
    /// which one, a warning does.
    pub fn open(settings: &Settings, adapter: Option<&RunFiles>, version: &str) -> Result<Self> {
        let base = open_base(&settings.model)?;
        if let Some(run) = adapter {
            check_base(run, &settings.model.name, &base.identity()?.checkpoint)?;
        }
        Self::on_base(settings, &base, adapter, version)
    }

    /// Loads the base alone, to look at slides before a run with these settings does, and keeps what the vision tower says of them where
    /// that run looks for it.
    ///
    /// # Errors
    /// As [`open`](Self::open), and where such a run would not take features from there.
    pub fn open_to_look(settings: &Settings, layout: &Layout) -> Result<Self> {
        if !settings.training.cache_vision_features {
            let problem = "a training with these settings keeps nothing that the vision tower says";
            bail!(Hint::new(problem, "set `training.cache_vision_features` to true in training.toml"));
        }
        let base = open_base(&settings.model)?;
        let changes = settings.lora.changes_vision(base.checkpoint.config());
        if changes
            .hint("the adapter does not fit the base", "see `[lora] target_modules` in training.toml")?
        {
            let problem =
                "the adapter changes the vision tower, so each step of a training looks at the slides anew";
            bail!(Hint::new(problem, "there is nothing to compute before it"));
        }
        let scorer = Self::on_base(settings, &base, None, "base")?;
        let cache = scorer.cache.on_disk(layout.feature_cache()).also_from(layout.kept().features());
        Ok(Self { cache, ..scorer })
    }

    fn on_base(settings: &Settings, base: &Base, adapter: Option<&RunFiles>, version: &str) -> Result<Self> {
        let applicability = match adapter {
            Some(run) => Applicability::read_if_present(&run.applicability())?,
            None => None,
        };
        let decision = adapter.map(decision_of).transpose()?.flatten();
        let head = adapter.map(head_of).transpose()?.flatten();
        let run = adapter;
        let read = |run: &RunFiles| {
            let adapter = PeftAdapter::open(run.dir(), base.checkpoint.config());
            adapter.and_then(|adapter| adapter.on_base(&base.checkpoint)).hint(
                format!("`{}` does not hold an adapter for this base", run.dir().display()),
                "name a run of pq-train, or a released version",
            )
        };
        let adapter = adapter.map(read).transpose()?;
        let model = base.device.run(Load { base, adapter: adapter.as_ref() })?;
        let processor = base.processor(settings.longest_edge())?;
        let untaught = untaught_of(run)?;
        let rating_prompt = RatingPrompt::new(settings.rubric.clone(), processor)?.without(&untaught);
        let cache =
            FeatureCache::new(base.identity()?.fingerprint(), FeaturePrecision::Float32).memory_budget(0);
        Ok(Self { rating_prompt, model, version: version.to_owned(), cache, applicability, head, decision })
    }

    /// Keeps what the frozen vision tower says of images in this folder, and takes from there what other models of the same base
    /// saw before; without it each image goes through the tower anew. The ratings are the same to the bit.
    pub fn with_feature_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = self.cache.on_disk(folder);
        self
    }

    /// Asks none of these criteria: nothing was taught of them.
    pub fn without(mut self, untaught: &[String]) -> Self {
        self.rating_prompt = self.rating_prompt.without(untaught);
        self
    }

    /// The rubric that is asked.
    pub fn rating_prompt(&self) -> &RatingPrompt {
        &self.rating_prompt
    }

    /// About how many tokens an image of this size takes the model, for batches of a bounded size; text is not counted.
    pub fn image_tokens(&self, width: u32, height: u32) -> usize {
        let processor = self.rating_prompt.processor();
        let tiles = processor.grid(width as usize, height as usize).map_or(1, |(rows, cols)| {
            if rows * cols > 0 { rows * cols + 1 } else { 1 } // and the whole image, made small
        });
        tiles * processor.image_seq_len()
    }

    /// Rates slides; the result of a slide does not depend on the others.
    ///
    /// # Errors
    /// When an image cannot be used or the model fails.
    pub fn rate(&self, slides: &[SlideImage]) -> Result<Vec<Prediction>> {
        self.model.rate(&self.context(), slides, &self.version)
    }

    /// As [`rate`](Self::rate), with a score for each criterion whether or not it applies.
    ///
    /// # Errors
    /// As [`rate`](Self::rate).
    pub fn rate_all_criteria(&self, slides: &[SlideImage]) -> Result<Vec<Prediction>> {
        let context = RatingContext { applicability: None, ..self.context() };
        self.model.rate(&context, slides, &self.version)
    }

    /// Whether the vision tower says the same as the base's: no adapter changes it.
    pub fn sees_as_its_base(&self) -> bool {
        self.model.sees_as_its_base()
    }

    /// What the vision tower says of each slide, summed up over the image.
    ///
    /// # Errors
    /// When an image cannot be used or the model fails.
    pub fn pooled_features(&self, slides: &[SlideImage]) -> Result<Vec<PooledFeatures>> {
        self.model.pooled(&self.context(), slides)
    }

    /// How many tiles of images were taken from the cache, and how many were computed.
    pub fn feature_tally(&self) -> FeatureTally {
        self.cache.tally()
    }

    /// The adapter's decision from probabilities to scores, where it has one.
    pub fn decision(&self) -> Option<&ScoreDecision> {
        self.decision.as_ref()
    }

    fn context(&self) -> RatingContext<'_> {
        let Self { rating_prompt, cache, applicability, head, decision, .. } = self;
        RatingContext {
            rating_prompt,
            cache,
            applicability: applicability.as_ref(),
            head: head.as_ref(),
            decision: decision.as_ref(),
        }
    }
}

/// The decision that lies beside an adapter, which must be its own.
fn decision_of(run: &RunFiles) -> Result<Option<ScoreDecision>> {
    let remedy = "train again, or remove the file: means are rounded without it";
    beside(run, &run.decision(), remedy, ScoreDecision::is_for)
}

/// The head that lies beside an adapter, which must be its own.
fn head_of(run: &RunFiles) -> Result<Option<ScoreHead>> {
    beside(run, &run.score_head(), "train again with `--head`", ScoreHead::is_for)
}

/// What lies beside an adapter and says by hash for which one it is.
fn beside<T: Contract>(
    run: &RunFiles,
    path: &Path,
    remedy: &str,
    is_for: impl FnOnce(&T, &str) -> bool,
) -> Result<Option<T>> {
    let Some(found) = T::read_if_present(path)? else { return Ok(None) };
    let sha256 = hash_file(&run.adapter_weights()).context("the adapter cannot be read")?.sha256;
    if is_for(&found, &sha256) {
        return Ok(Some(found));
    }
    bail!(Hint::new(
        format!("`{}` was made for another adapter than the one beside it", path.display()),
        format!("bring back the adapter or the file that belongs to it, or {remedy}")
    ))
}

/// The criteria that a run was not taught, by its record.
fn untaught_of(run: Option<&RunFiles>) -> Result<Vec<String>> {
    let record = run.map(|run| RunRecord::read_if_present(&run.record())).transpose()?.flatten();
    Ok(record.map(|record| record.untaught).unwrap_or_default())
}

/// What a model says of some slides, with the properties of the images.
///
/// # Errors
/// When an image cannot be used or the model fails.
pub fn predict<B: Backend>(
    context: &RatingContext<'_>,
    model: &Model<B>,
    slides: &[SlideImage],
    version: &str,
) -> Result<Vec<Prediction>> {
    let start = Instant::now();
    let tiles = slides.iter().map(|slide| context.tiles(slide)).collect::<vlm_lora::Result<Vec<_>>>()?;
    let questions = context.questions(model, &tiles)?;
    let glance = |(slide, tiles): (&SlideImage, &Arc<Tiles>)| context.glance_at(slide, tiles);
    let glances: Vec<_> = slides.iter().zip(&tiles).map(glance).collect();
    context.answered(model, &glances, &questions, version, start)
}

/// A slide as a JPEG of at most `longest_edge` pixels, for reports.
///
/// # Errors
/// When the image cannot be encoded.
pub fn thumbnail(image: &RgbImage, longest_edge: u32) -> Result<Vec<u8>> {
    slide_data::imaging::thumbnail(image, longest_edge).context("an image cannot be encoded")
}
