//! What rating a slide takes of its picture beside what the vision tower says of it, small enough to be kept for all slides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use project_files::Contract as _;
use slide_data::{Prediction, image_features, pixels_sha256};
use vlm_lora::backend::Backend;
use vlm_lora::{FeatureKey, Features, Model, Sample, Tiles};

use crate::rating_prompt::{Applies, Distributions};
use crate::{PooledFeatures, RatingContext, SlideImage};

/// A slide that was looked at once: whoever has its features need not read the picture again.
#[derive(Debug, Clone)]
pub struct Glance {
    pub(crate) slide_id: String,
    pub(crate) deck_id: String,
    /// SHA-256 of its pixels.
    sha256: String,
    /// Properties of the image.
    pub properties: BTreeMap<String, f64>,
    /// Its tiles, without their pixels.
    tiles: Arc<Tiles>,
    key: FeatureKey,
}

impl RatingContext<'_> {
    /// Looks at a slide.
    ///
    /// # Errors
    /// When the image cannot be used.
    pub fn glance(&self, slide: &SlideImage) -> vlm_lora::Result<Glance> {
        let tiles = self.tiles(slide)?;
        Ok(self.glance_at(slide, &tiles))
    }

    pub(crate) fn glance_at(&self, slide: &SlideImage, tiles: &Tiles) -> Glance {
        let Tiles { rows, cols, side, .. } = *tiles;
        Glance {
            slide_id: slide.slide_id.clone(),
            deck_id: slide.deck_id.clone(),
            sha256: pixels_sha256(&slide.image),
            properties: image_features(&slide.image),
            tiles: Arc::new(Tiles { rows, cols, side, data: Vec::new() }),
            key: self.cache.key(tiles),
        }
    }

    /// What the frozen vision tower said of a slide, where it is kept.
    pub fn kept_features<B: Backend>(&self, model: &Model<B>, glance: &Glance) -> Option<Features> {
        if model.trains_vision() { None } else { self.cache.get(&glance.key) }
    }

    /// What is known of a slide without asking the model about it, from features that are kept; none where they are not.
    ///
    /// # Errors
    /// When what tells which criteria apply does not fit the features.
    pub fn seen<B: Backend>(
        &self,
        model: &Model<B>,
        glance: &Glance,
        version: &str,
    ) -> Result<Option<Prediction>> {
        let start = Instant::now();
        let Some(features) = self.kept_features(model, glance) else { return Ok(None) };
        let pooled = PooledFeatures::of(&features);
        let (applies, vision) = (self.applies(&pooled, &glance.properties)?, self.sketch(model, &pooled));
        let prediction = Prediction { applies, vision, ..glance.prediction(version, Distributions::new()) };
        Ok(Some(Prediction { latency_ms: start.elapsed().as_secs_f64() * 1e3, ..prediction }))
    }

    /// Asks a model about slides whose features are kept; none where those of one are not.
    ///
    /// # Errors
    /// When the model fails.
    pub fn rate_seen<B: Backend>(
        &self,
        model: &Model<B>,
        glances: &[Glance],
        version: &str,
    ) -> Result<Option<Vec<Prediction>>> {
        let features = glances.iter().map(|glance| self.kept_features(model, glance));
        let Some(features) = features.collect::<Option<Vec<_>>>() else { return Ok(None) };
        let question = |(glance, features): (&Glance, Features)| {
            Ok((self.rating_prompt.question(&glance.tiles)?, Some(features)))
        };
        let questions = glances.iter().zip(features).map(question).collect::<vlm_lora::Result<Vec<_>>>()?;
        self.answered(model, glances, &questions, version, Instant::now()).map(Some)
    }

    /// What a model says of slides, whose rating began at some time.
    pub(crate) fn answered<B: Backend>(
        &self,
        model: &Model<B>,
        glances: &[Glance],
        questions: &[(Sample, Option<Features>)],
        version: &str,
        start: Instant,
    ) -> Result<Vec<Prediction>> {
        let pooled: Vec<Option<PooledFeatures>> =
            questions.iter().map(|(_, features)| features.as_ref().map(PooledFeatures::of)).collect();
        let applies = |(pooled, glance): (&Option<PooledFeatures>, &Glance)| match pooled {
            Some(pooled) => self.applies(pooled, &glance.properties),
            None => Ok(Applies::new()),
        };
        let applies = pooled.iter().zip(glances).map(applies).collect::<Result<Vec<_>>>()?;
        let answers = self.answers(model, questions, &pooled, &applies)?;
        let latency_ms = start.elapsed().as_secs_f64() * 1e3 / glances.len().max(1) as f64;
        let said = glances.iter().zip(answers).zip(applies).zip(&pooled);
        let predictions = said.map(|(((glance, distributions), applies), pooled)| {
            let vision = pooled.as_ref().and_then(|pooled| self.sketch(model, pooled));
            let said = glance.prediction(version, distributions);
            let mut prediction = Prediction { applies, vision, latency_ms, ..said };
            prediction.decide(self.decision);
            prediction
        });
        Ok(predictions.collect())
    }
}

impl RatingContext<'_> {
    /// What the adapter says of slides, with what the head says where there is one; the adapter is not asked where the head stands alone.
    fn answers<B: Backend>(
        &self,
        model: &Model<B>,
        questions: &[(Sample, Option<Features>)],
        pooled: &[Option<PooledFeatures>],
        applies: &[Applies],
    ) -> Result<Vec<Distributions>> {
        let Some(head) = self.head else {
            return Ok(self.rating_prompt.ask_applicable(model, questions, applies)?);
        };
        let mut answers = if head.is_alone() {
            vec![Distributions::new(); questions.len()]
        } else {
            self.rating_prompt.ask_applicable(model, questions, applies)?
        };
        for ((answer, pooled), applies) in answers.iter_mut().zip(pooled).zip(applies) {
            let Some(pooled) = pooled else { continue };
            let features = pooled.concatenated();
            for key in self.rating_prompt.asked(applies) {
                let Some(of_key) = head.criteria.get(key) else { continue };
                let told = of_key.rate(&features).with_context(|| {
                    format!(
                        "`score_head.json` of the adapter takes other features for `{key}` than the base has"
                    )
                })?;
                let both = answer.get(key).map_or(told, |adapter| head.blend(&told, adapter));
                answer.insert(key.to_owned(), both);
            }
        }
        Ok(answers)
    }
}

impl Glance {
    fn prediction(&self, version: &str, distributions: Distributions) -> Prediction {
        Prediction {
            schema_version: Prediction::VERSION,
            id: None,
            slide_id: self.slide_id.clone(),
            deck_id: self.deck_id.clone(),
            sha256: self.sha256.clone(),
            scored_at: jiff::Timestamp::now(),
            model_version: version.to_owned(),
            distributions,
            expected: BTreeMap::new(),
            applies: Applies::new(),
            chosen: BTreeMap::new(),
            entropy: BTreeMap::new(),
            interval: BTreeMap::new(),
            features: self.properties.clone(),
            vision: None,
            latency_ms: 0.0,
        }
    }
}
