use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use slide_data::{Label, Rubric, Score, Target};
use vlm_lora::backend::Backend;
use vlm_lora::{ChoiceAnswer, ChoiceTokens, Features, Item, Model, Processor, Sample, Scorer, Tiles};

/// For each criterion the probabilities of 1 to 5.
pub type Distributions = BTreeMap<String, [f64; Score::LEVELS]>;

/// For each criterion that need not apply the probability that it does.
pub type Applies = BTreeMap<String, f64>;

/// The rubric as a prompt and an answer with one choice a criterion.
pub struct RatingPrompt {
    rubric: Rubric,
    processor: Processor,
    answer: ChoiceAnswer,
    /// Answers with the criteria that apply, by which ones they are.
    partial: Mutex<HashMap<Vec<bool>, Arc<ChoiceTokens>>>,
    /// Criteria that are never asked.
    untaught: BTreeSet<String>,
}

impl RatingPrompt {
    /// The questions of a rubric in the words of a model's tokenizer.
    ///
    /// # Errors
    /// When the digits 1 to 5 are not single tokens of it.
    pub fn new(rubric: Rubric, processor: Processor) -> Result<Self> {
        let names: Vec<&str> = rubric.criteria.iter().map(|criterion| criterion.name.as_str()).collect();
        let answer = ChoiceAnswer::lines(&names, &["1", "2", "3", "4", "5"])?;
        let every = vec![true; names.len()];
        let prompt = Self { rubric, processor, answer, partial: Mutex::default(), untaught: BTreeSet::new() };
        prompt.tokens(&every).context("the model's tokenizer does not suit the rubric's answer")?;
        Ok(prompt)
    }

    /// The same without the lines of these criteria: nothing was taught of them.
    pub fn without(mut self, untaught: &[String]) -> Self {
        self.untaught = untaught.iter().cloned().collect();
        self
    }

    /// The rubric.
    pub fn rubric(&self) -> &Rubric {
        &self.rubric
    }

    /// The processor.
    pub fn processor(&self) -> &Processor {
        &self.processor
    }

    /// A slide with its scores, supervised on the lines of the criteria that apply: the text has the point score of each, and what
    /// is to be predicted there is the distribution, both by [`slide_data::target`].
    ///
    /// # Errors
    /// When no criterion applies.
    pub fn supervised(
        &self,
        tiles: &Arc<Tiles>,
        label: &Label,
        score_token_weight: f64,
    ) -> vlm_lora::Result<Sample> {
        let targets: Vec<Target> = self.rubric.keys().map(|key| label.target(key)).collect();
        let asked: Vec<bool> = targets.iter().map(|target| target.scored().is_some()).collect();
        let tokens = self.tokens(&asked)?;
        let picks: Vec<Option<usize>> =
            targets.iter().map(|target| target.score().map(Score::index)).collect();
        let mut sample =
            self.processor.sample(tiles, &self.rubric.prompt, Some(&self.answer.text(&picks)))?;
        let scored = targets.iter().filter_map(Target::scored);
        let targets: Vec<Vec<f32>> =
            scored.map(|target| target.distribution().iter().map(|p| *p as f32).collect()).collect();
        tokens.set_soft_targets(&mut sample, &targets, score_token_weight as f32)?;
        Ok(sample)
    }

    fn tokens(&self, asked: &[bool]) -> vlm_lora::Result<Arc<ChoiceTokens>> {
        let known = self.partial.lock().unwrap_or_else(PoisonError::into_inner).get(asked).cloned();
        if let Some(tokens) = known {
            return Ok(tokens);
        }
        let ids = |text: &str| self.processor.answer_ids(text);
        let tokens = Arc::new(self.answer.tokens(asked, ids)?);
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(partial.entry(asked.to_vec()).or_insert(tokens)))
    }

    /// A slide as a question.
    ///
    /// # Errors
    /// When the prompt cannot be used.
    pub fn question(&self, tiles: &Arc<Tiles>) -> vlm_lora::Result<Sample> {
        self.processor.sample(tiles, &self.rubric.prompt, None)
    }

    /// The model's distributions for each question, for every criterion that was taught.
    ///
    /// # Errors
    /// When the model fails.
    pub fn ask<B: Backend>(
        &self,
        model: &Model<B>,
        questions: &[(Sample, Option<Features>)],
    ) -> vlm_lora::Result<Vec<Distributions>> {
        self.ask_applicable(model, questions, &vec![Applies::new(); questions.len()])
    }

    /// The criteria that are asked of a slide: those that were taught and are at least as likely to apply as not.
    pub fn asked<'a>(&'a self, applies: &'a Applies) -> impl Iterator<Item = &'a str> {
        self.rubric.keys().filter(|key| self.is_asked(key, applies))
    }

    fn is_asked(&self, key: &str, applies: &Applies) -> bool {
        !self.untaught.contains(key) && applies.get(key).is_none_or(|p| *p >= 0.5)
    }

    /// The model's distributions for each question, for the criteria that are at least as likely to apply as not: the lines of the
    /// others are left out of the answer, as they were in training.
    ///
    /// # Errors
    /// When the model fails.
    pub fn ask_applicable<B: Backend>(
        &self,
        model: &Model<B>,
        questions: &[(Sample, Option<Features>)],
        applies: &[Applies],
    ) -> vlm_lora::Result<Vec<Distributions>> {
        let mut by_lines: BTreeMap<Vec<bool>, Vec<usize>> = BTreeMap::new();
        for (place, applies) in applies.iter().enumerate() {
            let is_asked = |key: &str| self.is_asked(key, applies);
            by_lines.entry(self.rubric.keys().map(is_asked).collect()).or_default().push(place);
        }
        let mut answers = vec![Distributions::new(); questions.len()];
        for (asked, places) in by_lines.into_iter().filter(|(asked, _)| asked.contains(&true)) {
            let item = |place: &usize| {
                let (sample, features) = &questions[*place];
                Item { sample, features: features.as_ref() }
            };
            let items: Vec<Item<'_>> = places.iter().map(item).collect();
            let scores = Scorer::new(model, &*self.tokens(&asked)?).score(&items)?;
            let keys: Vec<&str> =
                self.rubric.keys().zip(&asked).filter(|(_, asked)| **asked).map(|(key, _)| key).collect();
            for (place, scores) in places.into_iter().zip(scores) {
                let named = keys.iter().zip(scores);
                answers[place] = named
                    .map(|(key, p)| ((*key).to_owned(), std::array::from_fn(|level| p[level])))
                    .collect();
            }
        }
        Ok(answers)
    }
}
