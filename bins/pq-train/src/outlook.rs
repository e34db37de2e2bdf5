//! What a run is measured by, before its first step: the model that it begins with, the best constant, the raters.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use pq_cli::{Hint, WithHint as _};
use project_files::Outlook;
use rayon::prelude::*;
use slide_data::ceiling::reachable;
use slide_data::{Rubric, Score, Split};
use slide_scorer::{Glance, LabelledSlide, RatingContext};
use vlm_eval::best_constants;
use vlm_lora::Metrics;
use vlm_lora::backend::Backend;
use vlm_lora::{Error, Evaluator, Model};

use crate::evaluate::{RatingError, SCORE_LOSS};
use crate::observe;
use crate::preempt::Preemption;

/// What was seen of the slides that are trained and chosen by, by their ids.
pub(crate) type Glances = BTreeMap<String, Glance>;

/// Looks at every picture once, so that a broken one is known before hours of training and not in the middle, and none is read again
/// after the last step.
///
/// # Errors
/// When a picture cannot be read: names the first and how many there are; or when somebody ends it.
pub(crate) fn look_at_pictures(
    context: &RatingContext<'_>,
    slides: &[LabelledSlide],
    preemption: &Preemption,
    run: &str,
) -> Result<Glances> {
    let used: Vec<&LabelledSlide> = slides.iter().filter(|slide| slide.split != Split::Test).collect();
    let bar = observe::bar("pictures are looked at", used.len());
    let look = |slide: &&LabelledSlide| {
        let looked = (!pq_cli::interrupted()).then(|| -> Result<_> { Ok(context.glance(&slide.image()?)?) });
        bar.inc(1);
        looked.map(|looked| Ok((slide.record.slide_id.clone(), looked?)))
    };
    let looked: Vec<Result<(String, Glance)>> = used.par_iter().filter_map(look).collect();
    bar.finish_and_clear();
    preemption.check(run)?;
    let count = looked.iter().filter(|looked| looked.is_err()).count();
    let first = match looked.into_iter().collect::<Result<Glances>>() {
        Ok(glances) => return Ok(glances),
        Err(first) => first,
    };
    let all = format!("{count} of the pictures to train on cannot be used");
    Err(first.context(all)).hint(
        "nothing was trained",
        "`pq-collect verify` checks the store; collecting again restores a slide",
    )
}

/// Criteria that no training slide has a score for.
pub(crate) fn untaught(rubric: &Rubric, slides: &[LabelledSlide]) -> Vec<String> {
    let train = || slides.iter().filter(|slide| slide.split == Split::Train);
    let is_taught = |key: &str| train().any(|slide| slide.label.target(key).scored().is_some());
    let untaught: Vec<String> = rubric.keys().filter(|key| !is_taught(key)).map(str::to_owned).collect();
    for key in &untaught {
        tracing::warn!("no training slide has a score for `{key}`: it is not taught, and will not be scored");
    }
    untaught
}

/// Measures the model as it is, the best constant and the raters on the validation slides.
pub(crate) fn outlook<B: Backend>(
    evaluator: &mut RatingError<'_>,
    model: &Model<B>,
    slides: &[LabelledSlide],
    rubric: &Rubric,
) -> Result<Outlook> {
    let metrics = match evaluator.evaluate(model) {
        Err(Error::Stopped) => {
            bail!(Hint::new("stopped before the first step", "begin again: nothing was trained"))
        }
        measured => measured.context("the model cannot be measured before the first step")?,
    };
    let of = |name: &str| named(&metrics, name);
    Ok(Outlook {
        start_mae: of("mae"),
        constant_mae: constant_mae(slides, rubric),
        ceiling_mae: ceiling(slides, rubric),
        start_score_loss: of(SCORE_LOSS),
        rater_entropy: evaluator.rater_entropy(),
    })
}

/// The error on the validation slides of the score for each criterion that is best on the training slides.
pub(crate) fn constant_mae(slides: &[LabelledSlide], rubric: &Rubric) -> f64 {
    let of_split = |split: Split| slides.iter().filter(move |slide| slide.split == split);
    let constants = best_constants(rubric, of_split(Split::Train).map(|slide| &slide.label));
    let (mut error, mut count) = (0.0, 0.0_f64);
    for (key, score) in of_split(Split::Val).flat_map(|slide| slide.label.scored()) {
        let Some(constant) = constants.get(key) else { continue };
        error += f64::from(constant.get().abs_diff(score.get()));
        count += 1.0;
    }
    error / count.max(1.0)
}

fn named(metrics: &Metrics, name: &str) -> f64 {
    metrics.iter().find(|(metric, _)| metric == name).map_or(f64::NAN, |(_, value)| *value)
}

/// The smallest error that the raters' disagreement leaves to reach, as a mean over the criteria of which it can be told.
fn ceiling(slides: &[LabelledSlide], rubric: &Rubric) -> Option<f64> {
    let of = |key: &str| {
        let counts: Vec<[u32; Score::LEVELS]> =
            slides.iter().filter_map(|slide| slide.label.distribution.get(key).copied()).collect();
        reachable(counts).map(|ceiling| ceiling.mae)
    };
    let each: Vec<f64> = rubric.keys().filter_map(of).collect();
    (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64)
}

/// The outlook in a sentence.
pub(crate) fn in_words(outlook: &Outlook) -> String {
    let Outlook { start_mae, constant_mae, ceiling_mae, start_score_loss, rater_entropy } = outlook;
    let ceiling = ceiling_mae.map_or_else(
        || "no slide has two raters, so that nobody knows how small it can become".to_owned(),
        |ceiling| format!("the raters' disagreement leaves {ceiling:.2} to reach"),
    );
    format!(
        "before the first step the error on the validation slides is {start_mae:.2} points; the best constant has {constant_mae:.2}, {ceiling}; \
         cross-entropy of the scores {start_score_loss:.2} nats, entropy of the raters {rater_entropy:.2}"
    )
}
