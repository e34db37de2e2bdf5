use std::sync::Arc;

use slide_data::{Rubric, Score, expected_score};
use slide_scorer::{LabelledSlide, RatingContext, SlideSamples};
use vlm_lora::backend::Backend;
use vlm_lora::{Dataset as _, Error, Evaluator, Features, Metrics, Model, Result, Sample, TrainingConfig};

use crate::gain::{BestErrors, DeckErrors};
use crate::preempt::Preemption;
use crate::ratings::Ratings;

/// The metric's name: mean cross-entropy of the scores against what is to be learned, in nats.
pub(crate) const SCORE_LOSS: &str = "score_loss";

/// What evaluations found, for those who use it after them.
#[derive(Clone, Default)]
pub(crate) struct Found {
    /// The ratings of the last evaluation.
    pub(crate) ratings: Ratings,
    /// The errors of the best one, deck by deck.
    pub(crate) errors: BestErrors,
}

impl Found {
    /// Forgets what was found.
    pub(crate) fn clear(&self) {
        self.ratings.take();
        self.errors.take();
    }
}

/// The error of the model's ratings on the validation slides: what picks the best checkpoint.
pub(crate) struct RatingError<'a> {
    context: RatingContext<'a>,
    slides: &'a SlideSamples<'a>,
    batch: usize,
    found: Found,
    preemption: Preemption,
    /// Questions whose image went through the frozen vision tower already; empty while an adapter changes the tower.
    seen: Vec<(Sample, Option<Features>)>,
}

impl<'a> RatingError<'a> {
    pub(crate) fn new(
        context: RatingContext<'a>,
        slides: &'a SlideSamples<'a>,
        config: &TrainingConfig,
        found: &Found,
        preemption: &Preemption,
    ) -> Self {
        let batch = config.per_device_train_batch_size.max(1);
        let (found, preemption) = (found.clone(), preemption.clone());
        Self { context, slides, batch, found, preemption, seen: Vec::new() }
    }

    /// Mean entropy of what is to be learned of the slides, in nats: the least that the cross-entropy can become.
    pub(crate) fn rater_entropy(&self) -> f64 {
        let mut entropy = Mean::default();
        for slide in self.slides.slides() {
            let of_slide = targets(self.context.rating_prompt.rubric(), slide);
            of_slide.for_each(|(_, target)| entropy.add(cross_entropy(&target, &target)));
        }
        entropy.value()
    }

    /// The question about a slide, with the features of its image.
    fn question<B: Backend>(&self, model: &Model<B>, index: usize) -> Result<(Sample, Option<Features>)> {
        self.go_on()?;
        let tiles = Arc::clone(&self.slides.sample(index)?.tiles);
        let mut questions = self.context.questions(model, &[tiles])?;
        questions.pop().ok_or_else(|| Error::Image { reason: "an image has no question".to_owned() })
    }

    /// Asked before each batch, so that Ctrl-C is not kept waiting for all slides.
    fn go_on(&self) -> Result<()> {
        if self.preemption.is_wanted() { Err(Error::Stopped) } else { Ok(()) }
    }

    fn questions<B: Backend>(&mut self, model: &Model<B>) -> Result<Vec<(Sample, Option<Features>)>> {
        if self.seen.is_empty() {
            let questions =
                (0..self.slides.len()).map(|index| self.question(model, index)).collect::<Result<_>>()?;
            if model.trains_vision() {
                return Ok(questions);
            }
            self.seen = questions;
        }
        Ok(self.seen.clone())
    }
}

impl<B: Backend> Evaluator<B> for RatingError<'_> {
    fn evaluate(&mut self, model: &Model<B>) -> Result<Metrics> {
        let questions = self.questions(model)?;
        let (mut error, mut within_one, mut count) = (0.0, 0.0, 0.0_f64);
        let mut loss = Mean::default();
        let (mut ratings, mut decks) = (Vec::new(), DeckErrors::default());
        let batches = questions.chunks(self.batch).zip(self.slides.slides().chunks(self.batch));
        for (batch, slides) in batches {
            self.go_on()?;
            for (answer, slide) in self.context.rating_prompt.ask(model, batch)?.into_iter().zip(slides) {
                for (key, score) in slide.label.scored() {
                    let Some(distribution) = answer.get(key) else { continue };
                    let rounded = (expected_score(distribution) + 0.5).floor();
                    let difference = (rounded - f64::from(score.get())).abs();
                    error += difference;
                    decks.add(&slide.record.deck_id, difference);
                    within_one += f64::from(u8::from(difference < 1.5));
                    count += 1.0;
                }
                for (key, target) in targets(self.context.rating_prompt.rubric(), slide) {
                    if let Some(distribution) = answer.get(key) {
                        loss.add(cross_entropy(&target, distribution));
                    }
                }
                ratings.push(answer);
            }
        }
        self.found.ratings.put(ratings);
        let count = count.max(1.0);
        self.found.errors.keep(error / count, loss.value(), decks);
        Ok(vec![
            ("mae".to_owned(), error / count),
            ("within_1".to_owned(), within_one / count),
            (SCORE_LOSS.to_owned(), loss.value()),
        ])
    }
}

/// What is to be learned of a slide, by criterion.
fn targets<'a>(
    rubric: &'a Rubric,
    slide: &'a LabelledSlide,
) -> impl Iterator<Item = (&'a str, [f64; Score::LEVELS])> {
    rubric.keys().filter_map(|key| Some((key, *slide.label.target(key).scored()?.distribution())))
}

/// `-Σ p ln q` in nats; of a distribution with itself its entropy.
fn cross_entropy(p: &[f64; Score::LEVELS], q: &[f64; Score::LEVELS]) -> f64 {
    let terms = p.iter().zip(q).filter(|(p, _)| **p > 0.0);
    -terms.map(|(p, q)| p * q.max(f64::MIN_POSITIVE).ln()).sum::<f64>()
}

/// A mean of numbers that come one by one.
#[derive(Debug, Default)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn value(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}
