//! What the trained model says of slides that it knows, so that production can be compared with them.

use std::collections::BTreeMap;

use anyhow::Result;
use project_files::Contract as _;
use slide_data::{Prediction, Split};
use slide_scorer::{LabelledSlide, RatingContext, SlideImage, SlideSamples, predict};
use vlm_lora::Model;
use vlm_lora::backend::Backend;

use crate::decision;
use crate::observe;
use crate::preempt::Preemption;
use crate::run::RunDir;

/// At most so many decks of training, with about so many slides, stand for the training data when drift is measured. A deck is kept with
/// all of its slides: production is compared deck by deck, and a deck of which some are left out is another deck.
const REFERENCE_DECKS: usize = 100;
const REFERENCE_SLIDES: usize = 1500;

/// What production can be compared with. The model is surer of slides it was trained on than of new ones: of those only the
/// images are comparable.
fn comparable(slide: &LabelledSlide, prediction: Prediction) -> Prediction {
    if slide.split != Split::Train {
        return prediction;
    }
    let mut image = Prediction { distributions: BTreeMap::new(), ..prediction };
    image.undecide();
    image
}

/// The slides of whole decks, evenly taken from all.
fn whole_decks(slides: &[LabelledSlide]) -> Vec<&LabelledSlide> {
    let mut decks: BTreeMap<&str, Vec<&LabelledSlide>> = BTreeMap::new();
    for slide in slides {
        decks.entry(&slide.record.deck_id).or_default().push(slide);
    }
    let every = slides.len().div_ceil(REFERENCE_SLIDES).max(decks.len().div_ceil(REFERENCE_DECKS));
    decks.into_values().step_by(every.max(1)).flatten().collect()
}

/// How many slides are scored.
pub(crate) fn count(train: &[LabelledSlide], val: &[LabelledSlide]) -> usize {
    whole_decks(train).len() + val.len()
}

/// Scores slides of training and validation once, and learns from those of validation how scores are decided.
///
/// # Errors
/// When a slide cannot be read or scored, or somebody ends it between two slides.
pub(crate) fn predictions<B: Backend>(
    context: &RatingContext<'_>,
    model: &Model<B>,
    (train, val): (&SlideSamples<'_>, &SlideSamples<'_>),
    dir: &RunDir,
    preemption: &Preemption,
) -> Result<()> {
    let slides: Vec<&LabelledSlide> = whole_decks(train.slides()).into_iter().chain(val.slides()).collect();
    let bar = observe::bar("slides that production is compared with", slides.len());
    let mut predictions = Vec::with_capacity(slides.len());
    for slide in slides {
        preemption.check(&dir.name)?;
        let images: [SlideImage; 1] = [slide.image()?];
        let scored = predict(context, model, &images, &dir.name)?;
        predictions.extend(scored.into_iter().map(|prediction| comparable(slide, prediction)));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let decision = decision::learn(context.rating_prompt.rubric(), val.slides(), &predictions, dir)?;
    for prediction in &mut predictions {
        prediction.decide(decision.as_ref());
    }
    Ok(Prediction::replace_log(&dir.files.reference_predictions(), &predictions)?)
}
