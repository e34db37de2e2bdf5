//! Learns from the training slides which criteria apply to a slide.

use std::collections::BTreeMap;

use anyhow::Result;
use pq_cli::WithHint as _;
use project_files::{Applicability, Contract as _};
use slide_data::{Rubric, Split, image_features};
use slide_scorer::{LabelledSlide, PooledFeatures, RatingContext};
use vlm_eval::{ImageNumbers, KnownSlide, fit_applicability};
use vlm_lora::Model;
use vlm_lora::backend::Backend;

use crate::observe;
use crate::outlook::Glances;
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

/// The slides that tell which criteria apply, those to which none does among them.
pub(crate) fn learned_from(slides: &[LabelledSlide]) -> impl Iterator<Item = &LabelledSlide> {
    slides.iter().filter(|slide| slide.split == Split::Train)
}

/// What is known of the training slides, those to which no criterion applies among them.
///
/// # Errors
/// When a slide cannot be read, or somebody ends it between two slides.
pub(crate) fn known<B: Backend>(
    (context, glances): (&RatingContext<'_>, &Glances),
    model: &Model<B>,
    slides: &[LabelledSlide],
    dir: &RunDir,
    preemption: &Preemption,
) -> Result<Vec<KnownSlide>> {
    let slides: Vec<&LabelledSlide> = learned_from(slides).collect();
    let bar = observe::bar("training slides, to learn from what is seen of them", slides.len());
    let mut known = Vec::with_capacity(slides.len());
    for slide in slides {
        preemption.check(&dir.name)?;
        known.push(known_slide(slide, seen((context, glances), model, slide)?));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(known)
}

/// Fits what tells which criteria apply, on the training slides, and keeps it in the run; `None` where people say of no criterion often enough
/// that it does not.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn learn(rubric: &Rubric, known: &[KnownSlide], dir: &RunDir) -> Result<Option<Applicability>> {
    let found = fit_applicability(rubric, known);
    say(&found);
    if found.criteria.is_empty() {
        return Ok(None);
    }
    found
        .write(&dir.files.applicability())
        .hint("the run cannot be completed", "see that its folder can be written")?;
    Ok(Some(found))
}

/// What its vision tower says of a slide and the properties of its image: from what was seen and kept, and from the image itself where that
/// is not kept.
pub(crate) fn seen<B: Backend>(
    (context, glances): (&RatingContext<'_>, &Glances),
    model: &Model<B>,
    slide: &LabelledSlide,
) -> Result<(PooledFeatures, BTreeMap<String, f64>)> {
    let glance = glances.get(&slide.record.slide_id);
    if let Some((glance, features)) =
        glance.and_then(|glance| Some((glance, context.kept_features(model, glance)?)))
    {
        return Ok((PooledFeatures::of(&features), glance.properties.clone()));
    }
    let image = slide.image()?;
    let features = context.cache.features(model, &[&*context.tiles(&image)?])?;
    Ok((features.first().map(PooledFeatures::of).unwrap_or_default(), image_features(&image.image)))
}

fn known_slide(
    slide: &LabelledSlide,
    (pooled, properties): (PooledFeatures, BTreeMap<String, f64>),
) -> KnownSlide {
    KnownSlide {
        slide_id: slide.record.slide_id.clone(),
        group: slide.record.group.clone(),
        label: slide.label.clone(),
        numbers: ImageNumbers {
            spread: [pooled.max, pooled.deviation].concat(),
            mean: pooled.mean,
            properties,
        },
    }
}
