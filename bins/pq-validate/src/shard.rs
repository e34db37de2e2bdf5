//! Looking at slides for a validation, shared among several processes.

use anyhow::{Result, bail};
use pq_cli::{Hint, Shard, Verdict};
use slide_scorer::{LabelledSlide, SlideScorer};

use crate::evaluator::Evaluator;
use crate::score;

/// Looks at this process's part of the slides that a validation looks at, and keeps what the frozen vision tower says of them; the
/// validation takes it from there, to the bit, and looks at what is missing itself.
pub(crate) fn look(scorer: &SlideScorer, evaluator: &Evaluator, shard: Shard) -> Result<Verdict> {
    if !scorer.sees_as_its_base() {
        bail!(Hint::new(
            "the adapter changes the vision tower, so nothing that it sees is kept",
            "validate in one process: leave out --shard"
        ));
    }
    let slides = own(evaluator.test.iter().chain(&evaluator.train), shard);
    score::in_batches(&slides, &format!("shard {shard}"), |images| scorer.pooled_features(images))?;
    tracing::info!(
        "shard {shard} has looked at {} slides; pq-validate without --shard validates",
        slides.len()
    );
    Ok(Verdict::Pass)
}

/// The slides of a shard: neighbours.
fn own<'a>(all: impl Iterator<Item = &'a LabelledSlide>, shard: Shard) -> Vec<LabelledSlide> {
    let all: Vec<&LabelledSlide> = all.collect();
    let place = |index: usize| all.len() * index / shard.count();
    all[place(shard.index())..place(shard.index() + 1)].iter().map(|slide| (*slide).clone()).collect()
}
