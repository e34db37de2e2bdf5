//! By how much a run errs less than the best constant, and how sure that is: slides of a deck resemble each other, so whole decks are
//! left out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use project_files::{Gain, Interval};
use slide_data::{Rubric, Split};
use slide_scorer::LabelledSlide;
use statistics::delete_one;
use vlm_eval::best_constants;
use vlm_lora::{Error, Metrics, TrainOutcome};

/// The confidence of the interval.
const CONFIDENCE: f64 = 0.95;

/// Sums of errors in points, and how many there are, by deck.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DeckErrors(BTreeMap<String, (f64, f64)>);

impl DeckErrors {
    /// Adds the error of a criterion of a slide.
    pub(crate) fn add(&mut self, deck: &str, error: f64) {
        let (sum, count) = match self.0.get_mut(deck) {
            Some(known) => known,
            None => self.0.entry(deck.to_owned()).or_default(),
        };
        *sum += error;
        *count += 1.0;
    }

    /// By how many points these errors on the validation slides are below those of the best constant.
    pub(crate) fn gain(&self, slides: &[LabelledSlide], rubric: &Rubric) -> Option<Gain> {
        gain(self, &of_constant(slides, rubric))
    }
}

/// The errors of the best evaluation so far, from who evaluates to who judges.
#[derive(Debug, Clone, Default)]
pub(crate) struct BestErrors(Arc<Mutex<Option<(f64, f64, DeckErrors)>>>);

impl BestErrors {
    /// Keeps what an evaluation found where it is better than what is kept: by its error, of equal ones by its loss, as checkpoints are.
    pub(crate) fn keep(&self, mae: f64, loss: f64, errors: DeckErrors) {
        let mut best = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_better =
            best.as_ref().is_none_or(|(than, of_equal, _)| than.is_nan() || (mae, loss) < (*than, *of_equal));
        if is_better {
            *best = Some((mae, loss, errors));
        }
    }

    /// Takes away what is kept, with its mean error.
    pub(crate) fn take(&self) -> Option<(f64, DeckErrors)> {
        let best = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        best.map(|(mae, _, errors)| (mae, errors))
    }
}

/// The errors of the checkpoint that a run kept, whose model is at hand. Where it was evaluated before the run was resumed, `again` measures
/// it once more; `None` where nothing was evaluated, or somebody asked for the end meanwhile.
///
/// # Errors
/// When the model fails.
pub(crate) fn of_run(
    outcome: &TrainOutcome,
    errors: &BestErrors,
    again: impl FnOnce() -> vlm_lora::Result<Metrics>,
) -> vlm_lora::Result<Option<DeckErrors>> {
    let Some(best) = &outcome.best else { return Ok(None) };
    if let Some((mae, errors)) = errors.take()
        && (mae - best.value).abs() < 1e-9
    {
        return Ok(Some(errors));
    }
    match again() {
        Ok(_) => Ok(errors.take().map(|(_, errors)| errors)),
        Err(Error::Stopped) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The errors on the validation slides of the score for each criterion that is best on the training slides.
fn of_constant(slides: &[LabelledSlide], rubric: &Rubric) -> DeckErrors {
    let of_split = |split: Split| slides.iter().filter(move |slide| slide.split == split);
    let constants = best_constants(rubric, of_split(Split::Train).map(|slide| &slide.label));
    let mut errors = DeckErrors::default();
    for slide in of_split(Split::Val) {
        for (key, score) in slide.label.scored() {
            if let Some(constant) = constants.get(key) {
                errors.add(&slide.record.deck_id, f64::from(constant.get().abs_diff(score.get())));
            }
        }
    }
    errors
}

/// By how many points the model errs less than the constant, with the interval of the jackknife over decks; without one where there are
/// fewer than two decks. `None` where one of the two has no errors to compare.
fn gain(model: &DeckErrors, constant: &DeckErrors) -> Option<Gain> {
    let decks: Vec<[(f64, f64); 2]> =
        constant.0.iter().filter_map(|(deck, constant)| Some([*model.0.get(deck)?, *constant])).collect();
    let difference = |weights: &[f64]| {
        let mean = |of: usize| {
            let sums =
                decks.iter().zip(weights).map(|(deck, weight)| (deck[of].0 * weight, deck[of].1 * weight));
            let (sum, count) = sums.fold((0.0, 0.0), |(sum, count), next| (sum + next.0, count + next.1));
            (count > 0.0).then_some(sum / count)
        };
        Some(mean(1)? - mean(0)?)
    };
    let value = difference(&vec![1.0; decks.len()]).filter(|value| value.is_finite())?;
    let jackknife = delete_one(decks.len(), |weights| vec![difference(weights)]).pop().flatten();
    let ends = jackknife.and_then(|jackknife| jackknife.interval(CONFIDENCE));
    Some(Gain { value, interval: ends.map(|(low, high)| Interval { low, high }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(decks: &[(&str, &[f64])]) -> DeckErrors {
        let mut all = DeckErrors::default();
        for (deck, errors) in decks {
            for error in *errors {
                all.add(deck, *error);
            }
        }
        all
    }

    /// The reference is computed by hand: decks of one slide each make a paired t interval.
    #[test]
    fn decks_of_one_slide_give_the_paired_t_interval() {
        let model = errors(&[("a", &[1.0]), ("b", &[0.0]), ("c", &[1.0]), ("d", &[0.0])]);
        let constant = errors(&[("a", &[2.0]), ("b", &[2.0]), ("c", &[1.0]), ("d", &[1.0])]);
        let gain = gain(&model, &constant).unwrap();
        let differences: [f64; 4] = [1.0, 2.0, 0.0, 1.0];
        let mean = differences.iter().sum::<f64>() / 4.0;
        let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 3.0;
        // t.ppf(0.975, 3) of scipy.
        let half = 3.182_446_305_283_71 * (variance / 4.0).sqrt();
        let interval = gain.interval.unwrap();
        assert!((gain.value - mean).abs() < 1e-12);
        assert!((interval.low - (mean - half)).abs() < 1e-9 && (interval.high - (mean + half)).abs() < 1e-9);
    }

    #[test]
    fn slides_of_one_deck_count_as_one_and_one_deck_has_no_interval() {
        let many: Vec<f64> = vec![0.0; 50];
        let ones: Vec<f64> = vec![1.0; 50];
        let of_one = gain(&errors(&[("a", &many)]), &errors(&[("a", &ones)])).unwrap();
        assert_eq!((of_one.value, of_one.interval), (1.0, None));
        // Fifty slides a deck that agree, two decks that do not: nothing is known.
        let two =
            gain(&errors(&[("a", &many), ("b", &ones)]), &errors(&[("a", &ones), ("b", &many)])).unwrap();
        let interval = two.interval.unwrap();
        assert!(two.value.abs() < 1e-12 && interval.low < -5.0 && interval.high > 5.0, "{interval:?}");
        assert_eq!(gain(&DeckErrors::default(), &errors(&[("a", &ones)])), None);
    }

    #[test]
    fn the_best_evaluation_is_kept() {
        let best = BestErrors::default();
        for (mae, loss) in [(f64::NAN, 9.0), (0.5, 1.0), (0.4, 2.0), (0.6, 0.1), (0.4, 1.5), (f64::NAN, 0.0)]
        {
            best.keep(mae, loss, errors(&[("a", &[loss])]));
        }
        assert_eq!(best.take(), Some((0.4, errors(&[("a", &[1.5])]))));
        assert_eq!(best.take(), None);
    }
}
