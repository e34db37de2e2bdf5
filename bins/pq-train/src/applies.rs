//! Learns from the training slides which criteria apply to a slide.

use anyhow::Result;
use pq_cli::WithHint as _;
use project_files::{Applicability, Contract as _};
use slide_data::{Split, image_features};
use slide_scorer::{LabelledSlide, PooledFeatures, RatingContext, SlideImage};
use vlm_eval::{ImageNumbers, KnownSlide, fit_applicability};
use vlm_lora::Model;
use vlm_lora::backend::Backend;

use crate::observe;
use crate::preempt::Preemption;
use crate::run::RunDir;

/// Says how well it is told which criteria apply.
fn say(found: &Applicability) {
    for (key, head) in &found.criteria {
        let auc = head.auc.map_or_else(|| "unknown".to_owned(), |auc| format!("{auc:.3}"));
        tracing::info!(
            "{key} does not apply to {} of {} training slides; told on decks left out with AUC {auc}",
            head.not_applicable,
            head.slides
        );
    }
}

/// Fits what tells which criteria apply, on the training slides, and keeps it in the run; `None` where people say of no criterion often enough that it does
/// not.
///
/// # Errors
/// When a slide cannot be read, or somebody ends it between two slides.
pub(crate) fn learn<B: Backend>(
    context: &RatingContext<'_>,
    model: &Model<B>,
    slides: &[LabelledSlide],
    dir: &RunDir,
    preemption: &Preemption,
) -> Result<Option<Applicability>> {
    let slides: Vec<&LabelledSlide> = slides.iter().filter(|slide| slide.split == Split::Train).collect();
    let bar = observe::bar("training slides, to learn which criteria apply", slides.len());
    let mut known = Vec::with_capacity(slides.len());
    for slide in slides {
        preemption.check(&dir.name)?;
        let image = slide.image()?;
        let features = context.cache.features(model, &[&*context.tiles(&image)?])?;
        known.extend(
            features.iter().map(|features| known_slide(slide, &image, &PooledFeatures::of(features))),
        );
        bar.inc(1);
    }
    bar.finish_and_clear();
    let found = fit_applicability(context.rating_prompt.rubric(), &known);
    say(&found);
    if found.criteria.is_empty() {
        return Ok(None);
    }
    found
        .write(&dir.files.applicability())
        .hint("the run cannot be completed", "see that its folder can be written")?;
    Ok(Some(found))
}

fn known_slide(slide: &LabelledSlide, image: &SlideImage, pooled: &PooledFeatures) -> KnownSlide {
    KnownSlide {
        slide_id: slide.record.slide_id.clone(),
        group: slide.record.group.clone(),
        label: slide.label.clone(),
        numbers: ImageNumbers {
            mean: pooled.mean.clone(),
            spread: [pooled.max.as_slice(), &pooled.deviation].concat(),
            properties: image_features(&image.image).into_values().map(|value| value as f32).collect(),
        },
    }
}
