//! Weights, pixels and tokens, the same for this timer and the peer's.

use std::path::Path;
use std::sync::Arc;

use vlm_lora::{Checkpoint, Dataset, LoraConfig, PeftAdapter, Sample, Target, Tiles};

use super::options::Options;
use super::{AnyResult, random};

const CONFIG: &str = r#"{
  "model_type": "idefics3", "architectures": ["Idefics3ForConditionalGeneration"],
  "image_token_id": 49190, "pad_token_id": 2, "scale_factor": 4, "tie_word_embeddings": false,
  "vision_config": {"model_type": "idefics3_vision", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                    "num_attention_heads": 12, "image_size": 512, "patch_size": 16, "layer_norm_eps": 1e-6},
  "text_config": {"model_type": "llama", "vocab_size": 49280, "hidden_size": 960, "intermediate_size": 2560,
                  "num_hidden_layers": 32, "num_attention_heads": 15, "num_key_value_heads": 5, "head_dim": 64,
                  "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "max_position_embeddings": 8192,
                  "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
                  "pad_token_id": 2, "tie_word_embeddings": false}
}"#;

/// LoRA of rank 16 on the seven linears of every text block, without dropout.
pub(crate) fn lora() -> AnyResult<LoraConfig> {
    let targets = r".*text_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)";
    Ok(serde_json::from_value(serde_json::json!({
        "r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": targets
    }))?)
}

/// A checkpoint of random weights, and in `adapter` fresh adapters.
pub(crate) fn write(dir: &Path) -> AnyResult<()> {
    random::write_checkpoint(dir, CONFIG)?;
    Ok(PeftAdapter::init(&lora()?, &Checkpoint::open(dir)?, 0)?.save(dir.join("adapter"))?)
}

/// The byte at `index` of the pixels: as random as a timer needs, and a formula that numpy computes too.
fn pixel(index: u64) -> u8 {
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56) as u8
}

/// Slides of one size that differ in their pixels, made when they are asked for.
pub(crate) struct Slides<'a>(pub(crate) &'a Options);

impl Dataset for Slides<'_> {
    fn len(&self) -> usize {
        self.0.slides
    }

    fn sample(&self, index: usize) -> vlm_lora::Result<Sample> {
        Ok(sample(self.0, index))
    }

    fn fingerprint(&self) -> String {
        format!("{} slides of edge {}", self.0.slides, self.0.edge)
    }
}

/// The peer's tokens: markers, image, 110 prompt tokens, the answer. Slide 0 has the peer's pixels.
fn sample(options: &Options, slide: usize) -> Sample {
    let (rows, cols) = options.grid();
    let mut input_ids = vec![1];
    for row in 0..rows {
        for col in 0..cols {
            input_ids.extend([49189, 49152 + (row * 6 + col) as u32]);
            input_ids.extend([49190; 64]);
        }
        input_ids.push(198);
    }
    input_ids.extend([49189, 49152 + 40]);
    input_ids.extend([49190; 64]);
    input_ids.push(49189);
    input_ids.extend(100..210);
    let prompt = input_ids.len();
    input_ids.extend((0..options.answer).map(|i| 500 + i as u32));
    let hard = |position: usize| Target { position, tokens: vec![(input_ids[position], 1.0)], weight: 1.0 };
    let targets = (prompt..input_ids.len()).map(hard).collect();
    let bytes = (rows * cols + 1) as u64 * 512 * 512 * 3;
    let data = (0..bytes).map(|index| pixel(slide as u64 * bytes + index)).collect();
    let tiles = Arc::new(Tiles { rows, cols, side: 512, data });
    Sample { input_ids, tiles, targets }
}
