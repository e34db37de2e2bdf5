use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use pq_cli::WithHint as _;
use project_files::{Contract as _, RunFiles};
use slide_data::image::{DynamicImage, RgbImage};
use slide_data::{Prediction, expected_score, image_features, pixels_sha256};
use vlm_lora::backend::{Backend, OnDevice};
use vlm_lora::{Model, PeftAdapter};

use crate::lineage::check_base;
use crate::{Base, RatingPrompt, Settings, open_base};

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
}

/// A model on the backend that it was loaded for.
trait Rater: Send + Sync {
    /// As [`predict`].
    fn rate(&self, prompt: &RatingPrompt, slides: &[SlideImage], version: &str) -> Result<Vec<Prediction>>;
}

impl<B: Backend> Rater for Model<B> {
    fn rate(&self, prompt: &RatingPrompt, slides: &[SlideImage], version: &str) -> Result<Vec<Prediction>> {
        predict(prompt, self, slides, version)
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
        let read = |run: &RunFiles| {
            let adapter = PeftAdapter::open(run.dir(), base.checkpoint.config());
            adapter.and_then(|adapter| adapter.on_base(&base.checkpoint)).hint(
                format!("`{}` does not hold an adapter for this base", run.dir().display()),
                "name a run of pq-train, or a released version",
            )
        };
        let adapter = adapter.map(read).transpose()?;
        let model = base.device.run(Load { base: &base, adapter: adapter.as_ref() })?;
        let processor = base.processor(settings.longest_edge())?;
        let rating_prompt = RatingPrompt::new(settings.rubric.clone(), processor)?;
        Ok(Self { rating_prompt, model, version: version.to_owned() })
    }

    /// The rubric that is asked.
    pub fn rating_prompt(&self) -> &RatingPrompt {
        &self.rating_prompt
    }

    /// Rates slides; the result of a slide does not depend on the others.
    ///
    /// # Errors
    /// When an image cannot be used or the model fails.
    pub fn rate(&self, slides: &[SlideImage]) -> Result<Vec<Prediction>> {
        self.model.rate(&self.rating_prompt, slides, &self.version)
    }
}

/// What a model says of some slides, with the properties of the images.
///
/// # Errors
/// When an image cannot be used or the model fails.
pub fn predict<B: Backend>(
    rating_prompt: &RatingPrompt,
    model: &Model<B>,
    slides: &[SlideImage],
    version: &str,
) -> Result<Vec<Prediction>> {
    let start = Instant::now();
    let question = |slide: &SlideImage| {
        let tiles = rating_prompt.processor().tiles(&DynamicImage::ImageRgb8(slide.image.clone()))?;
        Ok((rating_prompt.question(&Arc::new(tiles))?, None))
    };
    let questions = slides.iter().map(question).collect::<vlm_lora::Result<Vec<_>>>()?;
    let answers = rating_prompt.ask(model, &questions)?;
    let latency_ms = start.elapsed().as_secs_f64() * 1e3 / slides.len().max(1) as f64;
    let scored_at = jiff::Timestamp::now();
    let predictions = slides.iter().zip(answers).map(|(slide, distributions)| Prediction {
        schema_version: Prediction::VERSION,
        slide_id: slide.slide_id.clone(),
        deck_id: slide.deck_id.clone(),
        sha256: pixels_sha256(&slide.image),
        scored_at,
        model_version: version.to_owned(),
        expected: distributions.iter().map(|(key, p)| (key.clone(), expected_score(p))).collect(),
        distributions,
        features: image_features(&slide.image),
        latency_ms,
    });
    Ok(predictions.collect())
}

/// A slide as a JPEG of at most `longest_edge` pixels, for reports.
///
/// # Errors
/// When the image cannot be encoded.
pub fn thumbnail(image: &RgbImage, longest_edge: u32) -> Result<Vec<u8>> {
    let image = DynamicImage::ImageRgb8(image.clone());
    let small = if image.width().max(image.height()) > longest_edge {
        image.resize(longest_edge, longest_edge, slide_data::image::imageops::FilterType::Triangle)
    } else {
        image
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    small.write_to(&mut bytes, slide_data::image::ImageFormat::Jpeg).context("an image cannot be encoded")?;
    Ok(bytes.into_inner())
}
