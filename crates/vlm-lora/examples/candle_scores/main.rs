//! Rates images with a merged checkpoint in candle-transformers instead of this crate: what `merge_export` wrote is an ordinary
//! checkpoint, and other programs read the same scores from it.
//!
//! ```text
//! cargo run --release -p vlm-lora --example merge_export -- MODEL_DIR ADAPTER_DIR MERGED_DIR
//! cargo run --release -p vlm-lora --features candle --example candle_scores -- MERGED_DIR PICTURE…
//! cargo run --release -p vlm-lora --example score -- MODEL_DIR ADAPTER_DIR PICTURE…
//! ```
//!
//! Images become tiles and text becomes tokens by this crate; everything that computes is candle's, in f32. One JSON line for each
//! image, as `score` prints it, and beside the scores the largest difference from what this crate computes of the same checkpoint.
#![expect(clippy::print_stdout, reason = "the scores are the output")]

mod smolvlm;

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;
use smolvlm::SmolVlm;
use vlm_lora::backend::Cpu;
use vlm_lora::{Checkpoint, ChoiceAnswer, ChoiceTokens, Item, Model, Processor, Sample, Scorer};

const PROMPT: &str = "Rate this pitch deck slide from 1 (poor) to 5 (excellent) on each criterion.";
const CRITERIA: [&str; 5] = ["Clarity", "Design", "Data visualization", "Readability", "Content quality"];
/// More tokens than the largest image with prompt and answer has.
const POSITIONS: usize = 4096;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [model_dir, images @ ..] = paths.as_slice() else {
        return Err("usage: candle_scores MERGED_DIR PICTURE…".into());
    };
    let checkpoint = Checkpoint::open(model_dir)?;
    let mut theirs = SmolVlm::open(model_dir, checkpoint.config(), POSITIONS)?;
    let own = Model::load(Arc::new(Cpu::<f32>::new()), &checkpoint)?;

    let processor = Processor::open(model_dir, None)?;
    let answer = ChoiceAnswer::lines(&CRITERIA, &["1", "2", "3", "4", "5"])?;
    let tokens = answer.tokens(&[true; 5], |text| processor.answer_ids(text))?;
    for path in images {
        let tiles = Arc::new(processor.tiles(&image::open(path)?)?);
        let sample = processor.sample(&tiles, PROMPT, None)?;
        let scores = score(&mut theirs, &sample, &answer, &tokens, &processor)?;
        let owns = Scorer::new(&own, &tokens).score(&[Item { sample: &sample, features: None }])?.remove(0);
        let difference = pq_testing::max_difference(scores.iter().flatten(), owns.iter().flatten());
        let scores: serde_json::Map<_, _> =
            CRITERIA.iter().zip(scores).map(|(name, scores)| ((*name).to_owned(), scores.into())).collect();
        println!(
            "{}",
            serde_json::json!({"picture": path, "scores": scores, "largest_difference": difference})
        );
    }
    Ok(())
}

/// The distribution over the choices of each line; the most probable choice is what the next line follows.
fn score(
    model: &mut SmolVlm,
    sample: &Sample,
    answer: &ChoiceAnswer,
    tokens: &ChoiceTokens,
    processor: &Processor,
) -> Result<Vec<Vec<f64>>> {
    let features = model.features(&sample.tiles.to_tensor(&Device::Cpu)?)?;
    let mut picks = vec![Some(0); tokens.slots().len()];
    let mut scores = Vec::new();
    for (slot, (position, choices)) in tokens.positions().iter().zip(tokens.choices()).enumerate() {
        let before = &processor.answer_ids(&answer.text(&picks))?[..*position];
        let logits = model.logits(&[&sample.input_ids, before].concat(), &features)?;
        let distribution = softmax(choices.iter().map(|id| f64::from(logits[*id as usize])).collect());
        picks[slot] = distribution.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(pick, _)| pick);
        scores.push(distribution);
    }
    Ok(scores)
}

fn softmax(logits: Vec<f64>) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.into_iter().map(|logit| (logit - highest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}
