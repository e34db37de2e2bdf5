//! The rule of [`target`](crate::target) at work on a label.

use std::collections::BTreeMap;

use crate::target::{Answer, Authority, Decision, Tally, Target};
use crate::{Correction, Label, Score};

impl Label {
    /// What is taught and measured against for a criterion: the rule of this module.
    pub fn target(&self, key: &str) -> Target {
        let Some(&score) = self.scores.get(key) else { return Target::Missing };
        let answer = Answer::from(score);
        let rated = self.tally(key).target();
        let is_decided = self.decided.contains_key(key) || rated.answer() != Some(answer);
        if is_decided { Target::decided(answer) } else { rated }
    }

    /// The point score of a criterion's target, where it applies.
    pub fn score(&self, key: &str) -> Option<Score> {
        self.target(key).score()
    }

    /// The criteria that apply, with their point scores.
    pub fn scored(&self) -> impl Iterator<Item = (&str, Score)> {
        self.scores.keys().filter_map(|key| Some((key.as_str(), self.score(key)?)))
    }

    /// What the raters said of a criterion.
    pub fn tally(&self, key: &str) -> Tally {
        Tally {
            counts: self.distribution.get(key).copied().unwrap_or_default(),
            not_applicable: self.not_applicable.get(key).copied().unwrap_or_default(),
            corrected: self.severity_corrected.get(key).copied(),
        }
    }

    /// Notes what the raters said of a criterion.
    pub fn rate(&mut self, key: &str, tally: &Tally) {
        set(&mut self.distribution, key, tally.counts.iter().any(|&count| count > 0).then_some(tally.counts));
        set(&mut self.not_applicable, key, (tally.not_applicable > 0).then_some(tally.not_applicable));
        set(&mut self.severity_corrected, key, tally.corrected);
        if !self.decided.contains_key(key) {
            set(&mut self.scores, key, tally.target().answer().map(Answer::score));
        }
    }

    /// Notes what somebody decided of a criterion; an older or lesser decision than the one that is known changes nothing.
    pub fn decide(&mut self, key: &str, answer: Answer, decision: Decision) {
        if self.decided.get(key).is_none_or(|known| *known <= decision) {
            self.scores.insert(key.to_owned(), answer.score());
            self.decided.insert(key.to_owned(), decision);
        }
    }

    /// Obeys those of the corrections that are of this slide.
    pub fn correct<'a>(&mut self, slide_id: &str, corrections: impl IntoIterator<Item = &'a Correction>) {
        for correction in corrections.into_iter().filter(|correction| correction.slide_id == slide_id) {
            for (key, score) in &correction.scores {
                let (at, id) = (Some(correction.corrected_at), correction.id.clone());
                self.decide(key, (*score).into(), Decision { by: Authority::Correction, at, id });
            }
        }
    }
}

fn set<V>(map: &mut BTreeMap<String, V>, key: &str, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key.to_owned(), value)),
        None => drop(map.remove(key)),
    }
}
