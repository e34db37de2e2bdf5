//! Cheap models on the same slides, fitted to the training slides.

use anyhow::Result;
use slide_data::{Prediction, image_features};
use slide_scorer::{LabelledSlide, PooledFeatures, SlideImage, SlideScorer};
use vlm_eval::{CheapModels, ImageNumbers, KnownSlide, Rater};

use crate::score;

/// What the cheap models say of the slides that `predictions` are of, in their order. Where the training slides are of too few decks
/// to fit any, each is named without predictions: nothing is known of it.
pub(crate) fn rate(
    scorer: &SlideScorer,
    known: &[KnownSlide],
    test: &[LabelledSlide],
    predictions: &[Prediction],
) -> Result<Vec<Rater>> {
    let Some(models) = CheapModels::fit(scorer.rating_prompt().rubric(), known) else {
        tracing::warn!("the training slides are of fewer than two decks: no cheap model can be compared");
        let unknown = |name: &&str| Rater { name: (*name).to_owned(), predictions: Vec::new() };
        return Ok(CheapModels::NAMES.iter().map(unknown).collect());
    };
    let images = numbers(scorer, test, "images of the test slides")?;
    let answers: Vec<_> = images.iter().map(|image| models.rate(image)).collect();
    let of = |name: &&'static str| {
        let prediction = |(prediction, answer): (&Prediction, &_)| said(prediction, name, answer);
        Rater {
            name: (*name).to_owned(),
            predictions: predictions.iter().zip(&answers).map(prediction).collect(),
        }
    };
    Ok(CheapModels::NAMES.iter().map(of).collect())
}

/// The training slides as cheap models learn from them.
pub(crate) fn known(scorer: &SlideScorer, train: &[LabelledSlide]) -> Result<Vec<KnownSlide>> {
    let known = train.iter().zip(numbers(scorer, train, "images of the training slides")?);
    Ok(known.map(|(slide, numbers)| known_slide(slide, numbers)).collect())
}

type Answers = std::collections::BTreeMap<&'static str, slide_scorer::Distributions>;

fn said(model: &Prediction, name: &'static str, answers: &Answers) -> Prediction {
    let mut said = Prediction {
        model_version: name.to_owned(),
        distributions: answers.get(name).cloned().unwrap_or_default(),
        applies: std::collections::BTreeMap::new(),
        latency_ms: 0.0,
        ..model.clone()
    };
    said.decide(None);
    said
}

fn known_slide(slide: &LabelledSlide, numbers: ImageNumbers) -> KnownSlide {
    KnownSlide {
        slide_id: slide.record.slide_id.clone(),
        group: slide.record.group.clone(),
        label: slide.label.clone(),
        numbers,
    }
}

fn numbers(scorer: &SlideScorer, slides: &[LabelledSlide], what: &str) -> Result<Vec<ImageNumbers>> {
    score::in_batches(slides, what, |images| {
        let pooled = scorer.pooled_features(images)?;
        Ok(images.iter().zip(pooled).map(|(image, pooled)| of_image(image, pooled)).collect())
    })
}

fn of_image(image: &SlideImage, pooled: PooledFeatures) -> ImageNumbers {
    let PooledFeatures { mean, max, deviation } = pooled;
    ImageNumbers { mean, spread: [max, deviation].concat(), properties: image_features(&image.image) }
}
