//! Merges an adapter into its base and writes the result as a Hugging Face directory that other tools load.
//!
//! ```text
//! cargo run --release -p vlm-lora --example merge_export -- MODEL_DIR ADAPTER_DIR OUTPUT_DIR
//! ```
use std::path::PathBuf;

use vlm_lora::{Checkpoint, PeftAdapter, merge};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [model_dir, adapter_dir, output_dir] = paths.as_slice() else {
        return Err("usage: merge_export MODEL_DIR ADAPTER_DIR OUTPUT_DIR".into());
    };
    let checkpoint = Checkpoint::open(model_dir)?;
    let adapter = PeftAdapter::open(adapter_dir, checkpoint.config())?;
    merge(&checkpoint, &adapter, output_dir)?;
    Ok(())
}
