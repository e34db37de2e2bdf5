//! What the trained model says of slides that it knows, so that production can be compared with them.

use std::collections::BTreeMap;

use anyhow::Result;
use project_files::Contract as _;
use slide_data::{Prediction, Split};
use slide_scorer::{LabelledSlide, RatingContext, SlideImage, SlideSamples, predict};
use vlm_lora::Model;
use vlm_lora::backend::Backend;

use crate::decision;
use crate::head::Learned;
use crate::observe;
use crate::outlook::Glances;
use crate::preempt::Preemption;
use crate::run::RunDir;

/// At most so many decks of training, with about so many slides, stand for the training data when drift is measured. A deck is kept with
/// all of its slides: production is compared deck by deck, and a deck of which some are left out is another deck.
const REFERENCE_DECKS: usize = 100;
const REFERENCE_SLIDES: usize = 1500;

/// What production can be compared with. The model is surer of slides it was trained on than of new ones: of those only the
/// images are comparable, and it is not asked about them where their features are kept.
fn comparable<B: Backend>(
    (context, glances): (&RatingContext<'_>, &Glances),
    model: &Model<B>,
    slide: &LabelledSlide,
    run: &str,
) -> Result<Vec<Prediction>> {
    let glance = glances.get(&slide.record.slide_id);
    let is_known = slide.split == Split::Train;
    let kept = match glance {
        Some(glance) if is_known => context.seen(model, glance, run)?.map(|seen| vec![seen]),
        Some(glance) => context.rate_seen(model, std::slice::from_ref(glance), run)?,
        None => None,
    };
    if let Some(kept) = kept {
        return Ok(kept);
    }
    let images: [SlideImage; 1] = [slide.image()?];
    let mut scored = predict(context, model, &images, run)?;
    for image in scored.iter_mut().filter(|_| is_known) {
        image.distributions.clear();
        image.undecide();
    }
    Ok(scored)
}

/// The slides of whole decks, evenly taken from all.
pub(crate) fn whole_decks(slides: &[LabelledSlide]) -> Vec<&LabelledSlide> {
    let mut decks: BTreeMap<&str, Vec<&LabelledSlide>> = BTreeMap::new();
    for slide in slides {
        decks.entry(&slide.record.deck_id).or_default().push(slide);
    }
    let every = slides.len().div_ceil(REFERENCE_SLIDES).max(decks.len().div_ceil(REFERENCE_DECKS));
    decks.into_values().step_by(every.max(1)).flatten().collect()
}

/// Takes down what is seen on slides of training and scores those of validation once, and learns from those of validation what a head has to
/// say beside the adapter, where there is one, and how scores are decided.
///
/// # Errors
/// When a slide cannot be read or scored, or somebody ends it between two slides.
pub(crate) fn predictions<B: Backend>(
    (context, glances): (&RatingContext<'_>, &Glances),
    model: &Model<B>,
    (train, val): (&SlideSamples<'_>, &SlideSamples<'_>),
    (dir, preemption): (&RunDir, &Preemption),
    head: Option<Learned>,
) -> Result<()> {
    let slides: Vec<&LabelledSlide> = whole_decks(train.slides()).into_iter().chain(val.slides()).collect();
    let bar = observe::bar("slides that production is compared with", slides.len());
    let mut predictions = Vec::with_capacity(slides.len());
    for slide in slides {
        preemption.check(&dir.name)?;
        predictions.extend(comparable((context, glances), model, slide, &dir.name)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let rubric = context.rating_prompt.rubric();
    if let Some(head) = head {
        head.join(rubric, val.slides(), &mut predictions, dir)?;
    }
    let decision = decision::learn(rubric, val.slides(), &predictions, dir)?;
    for prediction in &mut predictions {
        prediction.decide(decision.as_ref());
    }
    Ok(Prediction::replace_log(&dir.files.reference_predictions(), &predictions)?)
}
