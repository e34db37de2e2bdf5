//! Rates images: one JSON line each, with a distribution over 1 to 5 for every criterion.
//!
//! ```text
//! cargo run --release -p vlm-lora --example score -- MODEL_DIR ADAPTER_DIR PICTURE…
//! ```
#![expect(clippy::print_stdout, reason = "the scores are the output")]

use std::path::PathBuf;
use std::sync::Arc;

use vlm_lora::backend::Cpu;
use vlm_lora::{BaseModelConfig, Checkpoint, ChoiceAnswer, Item, Model, PeftAdapter, Processor, Scorer};

const PROMPT: &str = "Rate this pitch deck slide from 1 (poor) to 5 (excellent) on each criterion.";
const CRITERIA: [&str; 5] = ["Clarity", "Design", "Data visualization", "Readability", "Content quality"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [model_dir, adapter_dir, images @ ..] = paths.as_slice() else {
        return Err("usage: score MODEL_DIR ADAPTER_DIR PICTURE…".into());
    };
    let checkpoint = Checkpoint::open(model_dir)?;
    let backend = Cpu::<f32>::with_options(BaseModelConfig::default().cpu_options(&checkpoint)?)?;
    let mut model = Model::load(Arc::new(backend), &checkpoint)?;
    model.attach_adapter(&PeftAdapter::open(adapter_dir, model.config())?.on_base(&checkpoint)?)?;

    let processor = Processor::open(model_dir, None)?;
    let answer = ChoiceAnswer::lines(&CRITERIA, &["1", "2", "3", "4", "5"])?;
    let tokens = answer.tokens(&[true; 5], |text| processor.answer_ids(text))?;
    let scorer = Scorer::new(&model, &tokens);
    for path in images {
        let tiles = Arc::new(processor.tiles(&image::open(path)?)?);
        let sample = processor.sample(&tiles, PROMPT, None)?;
        let scores = scorer.score(&[Item { sample: &sample, features: None }])?.remove(0);
        let scores: serde_json::Map<_, _> =
            CRITERIA.iter().zip(scores).map(|(name, scores)| ((*name).to_owned(), scores.into())).collect();
        println!("{}", serde_json::json!({"picture": path, "scores": scores}));
    }
    Ok(())
}
