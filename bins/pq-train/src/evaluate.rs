use std::sync::Arc;

use process_group::{Deal, ProcessGroup, merge};
use slide_data::{Rubric, Score, expected_score};
use slide_scorer::{Distributions, LabelledSlide, RatingContext, SlideSamples};
use vlm_lora::backend::Backend;
use vlm_lora::{Dataset as _, Error, Evaluator, Features, Metrics, Model, Result, Sample, TrainingConfig};

use crate::gain::{BestErrors, DeckErrors};
use crate::preempt::Preemption;
use crate::processes::Processes;
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
    /// Those who evaluate together.
    group: Option<&'a dyn ProcessGroup>,
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
        Self { context, slides, batch, found, preemption, group: None, seen: Vec::new() }
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

    /// Shares the slides with the other processes, all of which evaluate together.
    pub(crate) fn shared_by(mut self, processes: &'a Processes) -> Self {
        self.group = processes.group();
        self
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
        self.group.map_or(Ok(()), ProcessGroup::check)?;
        if self.preemption.is_wanted() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// The questions about this process's slides.
    fn questions<B: Backend>(&mut self, model: &Model<B>) -> Result<Vec<(Sample, Option<Features>)>> {
        let deal = Deal::new(self.group, self.batch);
        let mine = (0..self.slides.len()).filter(|place| deal.is_mine(*place));
        if self.seen.is_empty() {
            let questions = mine.map(|index| self.question(model, index)).collect::<Result<_>>()?;
            if model.trains_vision() {
                return Ok(questions);
            }
            self.seen = questions;
        }
        Ok(self.seen.clone())
    }

    /// What the model says of this process's slides.
    fn own_answers<B: Backend>(&mut self, model: &Model<B>) -> Result<Vec<Distributions>> {
        let questions = self.questions(model)?;
        let mut answers = Vec::with_capacity(questions.len());
        for batch in questions.chunks(self.batch) {
            self.go_on()?;
            answers.extend(self.context.rating_prompt.ask(model, batch)?);
        }
        Ok(answers)
    }

    /// What the model says of all slides, in their order. Where one process is asked to stop, all do.
    fn answers<B: Backend>(&mut self, model: &Model<B>) -> Result<Vec<Distributions>> {
        let own = self.own_answers(model);
        let Some(group) = self.group else { return own };
        let (own, is_stopped) = match own {
            Err(Error::Stopped) => (Vec::new(), true),
            answers => (answers?, false),
        };
        let keys: Vec<&str> = self.context.rating_prompt.rubric().keys().collect();
        let numbers = own.iter().flat_map(|answer| written(answer, &keys)).collect();
        let of_slide = keys.len() * PER_KEY;
        let (all, is_stopped) = merge(Some(group), numbers, self.batch * of_slide, is_stopped)?;
        if is_stopped {
            return Err(Error::Stopped);
        }
        Ok(all.chunks(of_slide).map(|answer| read(answer, &keys)).collect())
    }
}

/// Numbers of a criterion in an answer: whether it is there, and its distribution.
const PER_KEY: usize = 1 + Score::LEVELS;

/// An answer as numbers, for each criterion as many.
fn written(answer: &Distributions, keys: &[&str]) -> Vec<f64> {
    let of = |key: &&str| match answer.get(*key) {
        Some(distribution) => [&[1.0], &distribution[..]].concat(),
        None => vec![0.0; PER_KEY],
    };
    keys.iter().flat_map(of).collect()
}

fn read(numbers: &[f64], keys: &[&str]) -> Distributions {
    let of = |(key, numbers): (&&str, &[f64])| {
        let (is_there, distribution) = numbers.split_first()?;
        let distribution = distribution.try_into().ok().filter(|_| *is_there > 0.0)?;
        Some(((*key).to_owned(), distribution))
    };
    keys.iter().zip(numbers.chunks(PER_KEY)).filter_map(of).collect()
}

impl<B: Backend> Evaluator<B> for RatingError<'_> {
    fn evaluate(&mut self, model: &Model<B>) -> Result<Metrics> {
        let answers = self.answers(model)?;
        let Measured { mae, within_one, loss, decks } =
            measured(self.context.rating_prompt.rubric(), &answers, self.slides.slides());
        self.found.ratings.put(answers);
        self.found.errors.keep(mae, loss, decks);
        Ok(vec![("mae".to_owned(), mae), ("within_1".to_owned(), within_one), (SCORE_LOSS.to_owned(), loss)])
    }
}

/// How far ratings are from people's.
pub(crate) struct Measured {
    /// Mean absolute error of the rounded means, in points.
    pub(crate) mae: f64,
    /// The share of them within one point.
    pub(crate) within_one: f64,
    /// Mean cross-entropy of the scores against what is to be learned, in nats.
    pub(crate) loss: f64,
    /// The errors, deck by deck.
    pub(crate) decks: DeckErrors,
}

/// Holds the ratings of slides, in their order, against people's.
pub(crate) fn measured(rubric: &Rubric, answers: &[Distributions], slides: &[LabelledSlide]) -> Measured {
    let (mut error, mut within_one, mut count) = (0.0, 0.0, 0.0_f64);
    let mut loss = Mean::default();
    let mut decks = DeckErrors::default();
    for (answer, slide) in answers.iter().zip(slides) {
        for (key, score) in slide.label.scored() {
            let Some(distribution) = answer.get(key) else { continue };
            let rounded = (expected_score(distribution) + 0.5).floor();
            let difference = (rounded - f64::from(score.get())).abs();
            error += difference;
            decks.add(&slide.record.deck_id, difference);
            within_one += f64::from(u8::from(difference < 1.5));
            count += 1.0;
        }
        for (key, target) in targets(rubric, slide) {
            if let Some(distribution) = answer.get(key) {
                loss.add(cross_entropy(&target, distribution));
            }
        }
    }
    let count = count.max(1.0);
    Measured { mae: error / count, within_one: within_one / count, loss: loss.value(), decks }
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
