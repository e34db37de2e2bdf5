use super::{ChoiceTokens, argmax};
use crate::backend::Backend;
use crate::model::{Item, Model, Prompt};
use crate::{Error, Result};

/// Probabilities of a slot's choices in their order; they sum to 1.
pub type Distribution = Vec<f64>;

/// Reads a model's opinion on images as distributions over the choices of an answer, without parsing text.
///
/// The image and the prompt go through the model once. Then the fixed text of each slot is fed, the probabilities at its
/// choice are read, and the most probable choice is fed before the next slot, all on one key-value cache.
pub struct Scorer<'a, B: Backend> {
    model: &'a Model<B>,
    tokens: &'a ChoiceTokens,
}

/// The images of these items, each with what precedes the choice of the first slot.
fn prompts<'a>(items: &'a [Item<'_>], starts: &'a [Vec<u32>]) -> Vec<Prompt<'a>> {
    items
        .iter()
        .zip(starts)
        .map(|(item, input_ids)| Prompt {
            input_ids,
            tiles: Some(&item.sample.tiles),
            features: item.features,
        })
        .collect()
}

impl<'a, B: Backend> Scorer<'a, B> {
    /// A scorer for the asked slots of an answer.
    pub fn new(model: &'a Model<B>, tokens: &'a ChoiceTokens) -> Self {
        Self { model, tokens }
    }

    /// For each item and each asked slot the distribution over its choices. An item is a sample that ends with the prompt (in
    /// the form that generation continues); the result of an item does not depend on the others.
    ///
    /// # Errors
    /// When an item does not fit the model, or the device fails.
    pub fn score(&self, items: &[Item<'_>]) -> Result<Vec<Vec<Distribution>>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        if items.len() > 1 && self.model.backend().integer_bound().is_some() {
            // What stands in a batch decides how integers are rounded: one by one, an item's scores are its own.
            return items.iter().map(|item| Ok(self.score(&[*item])?.remove(0))).collect();
        }
        let starts: Vec<Vec<u32>> =
            items.iter().map(|item| [&item.sample.input_ids, self.tokens.piece(0)].concat()).collect();
        let (mut cache, mut logits) = self.model.prefill(&prompts(items, &starts))?;
        let mut scores = vec![Vec::new(); items.len()];
        for (slot, choices) in self.tokens.choices().iter().enumerate() {
            if slot > 0 {
                let tokens: Vec<Vec<u32>> =
                    scores.iter().map(|scores| self.continuation(scores, slot)).collect();
                let slices: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
                logits = self.model.extend(&mut cache, &slices)?;
            }
            for (scores, row) in scores.iter_mut().zip(&logits) {
                scores.push(distribution(row, choices)?);
            }
        }
        Ok(scores)
    }

    /// The choice of the slot before and the fixed text of `slot`.
    fn continuation(&self, scores: &[Distribution], slot: usize) -> Vec<u32> {
        let best = argmax(scores[slot - 1].iter().map(|p| *p as f32));
        [&[self.tokens.choices()[slot - 1][best]], self.tokens.piece(slot)].concat()
    }
}

/// Distributions over `choices` at the given positions of a sample's own tokens (teacher forcing): the logits that predict
/// the token at `positions[i]`, restricted to `choices[i]`.
///
/// # Errors
/// When a position is 0 or beyond the sample, a choice is not in the vocabulary, or the device fails.
pub fn choice_probabilities<B: Backend>(
    model: &Model<B>,
    item: Item<'_>,
    positions: &[usize],
    choices: &[Vec<u32>],
) -> Result<Vec<Distribution>> {
    let last = item.sample.input_ids.len();
    let row = |&position: &usize| match position.checked_sub(1) {
        Some(row) if position < last => Ok(row),
        _ => Err(Error::Text { reason: format!("no token at position {position} of {last} is predicted") }),
    };
    let rows = positions.iter().map(row).collect::<Result<Vec<_>>>()?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let logits = model.logits(item, &rows)?;
    let width = logits.len() / rows.len();
    logits.chunks_exact(width).zip(choices).map(|(row, choices)| distribution(row, choices)).collect()
}

/// Softmax over the logits of some tokens.
fn distribution(logits: &[f32], choices: &[u32]) -> Result<Distribution> {
    let pick = |&id: &u32| logits.get(id as usize).copied().map(f64::from);
    let Some(picked) = choices.iter().map(pick).collect::<Option<Vec<_>>>() else {
        return Err(Error::Text { reason: format!("a choice of {choices:?} is not in the vocabulary") });
    };
    let highest = picked.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !highest.is_finite() {
        return Err(Error::NotFinite { what: "a score", step: 0 });
    }
    let weights: Vec<f64> = picked.iter().map(|logit| (logit - highest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    if !sum.is_finite() {
        return Err(Error::NotFinite { what: "a score", step: 0 }); // `max` passes over what is not a number
    }
    Ok(weights.into_iter().map(|weight| weight / sum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_a_softmax_over_its_choices_alone() {
        let logits = [9.0, 1.0, 3.0, f32::NEG_INFINITY, 2.0];
        let scores = distribution(&logits, &[1, 2, 4]).unwrap();
        let expected = [0.090_030_573_170_380_46, 0.665_240_955_774_821_9, 0.244_728_471_054_797_67];
        pq_testing::assert_close(&scores, &expected, 1e-12);
        assert!(distribution(&logits, &[1, 5]).is_err());
        assert!(distribution(&[f32::NAN; 2], &[0, 1]).is_err());
        assert!(
            distribution(&[f32::NAN, 1.0], &[0, 1]).is_err()
                && distribution(&[1.0, f32::NAN], &[0, 1]).is_err()
        );
    }

    #[test]
    fn of_equal_values_the_first_is_taken() {
        assert_eq!(argmax([1.0, 4.0, 4.0]), 1);
        assert_eq!(argmax([f32::NAN, -1.0]), 1);
    }
}
