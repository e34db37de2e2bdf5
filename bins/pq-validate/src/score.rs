use std::io::IsTerminal as _;

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use pq_cli::Hint;
use slide_scorer::{LabelledSlide, SlideImage};

const BATCH: usize = 8;

/// A bar on a terminal, elsewhere one line.
fn bar(slides: usize, what: &str) -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() {
        let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} slides ({eta} left)");
        ProgressBar::new(slides as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    } else {
        tracing::info!("{what}: {slides} slides");
        ProgressBar::hidden()
    };
    bar.set_message(what.to_owned());
    bar
}

/// What `each` makes of all slides, in their order, a few at a time.
pub(crate) fn in_batches<T>(
    slides: &[LabelledSlide],
    what: &str,
    each: impl Fn(&[SlideImage]) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let bar = bar(slides.len(), what);
    let mut all = Vec::with_capacity(slides.len());
    for batch in slides.chunks(BATCH) {
        if pq_cli::interrupted() {
            bail!(Hint::new("interrupted; nothing was written", "run it again"));
        }
        let images = batch.iter().map(LabelledSlide::image).collect::<Result<Vec<SlideImage>>>()?;
        all.extend(each(&images)?);
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    Ok(all)
}
