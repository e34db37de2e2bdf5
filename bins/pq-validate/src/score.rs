use std::io::IsTerminal as _;

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use pq_cli::Hint;
use slide_data::Prediction;
use slide_scorer::{LabelledSlide, SlideImage, SlideScorer};

const BATCH: usize = 8;

/// The predictions for all slides, in their order.
pub(crate) fn all(scorer: &SlideScorer, slides: &[LabelledSlide], name: &str) -> Result<Vec<Prediction>> {
    let bar = if std::io::stderr().is_terminal() {
        let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} slides ({eta} left)");
        ProgressBar::new(slides.len() as u64)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    } else {
        ProgressBar::hidden()
    };
    bar.set_message(name.to_owned());
    let mut predictions = Vec::with_capacity(slides.len());
    for batch in slides.chunks(BATCH) {
        if pq_cli::interrupted() {
            bail!(Hint::new("interrupted; nothing was written", "run it again"));
        }
        let images = batch.iter().map(LabelledSlide::image).collect::<Result<Vec<SlideImage>>>()?;
        predictions.extend(scorer.rate(&images)?);
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    Ok(predictions)
}
