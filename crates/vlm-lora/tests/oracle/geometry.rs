//! Small models of random geometry with random weights.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use vlm_lora::{ModelConfig, Sample, Tiles};

/// Repeatable numbers (PCG's multiplier).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5dee_ce66);
        dice.uniform();
        dice
    }

    /// In `[-1, 1)`.
    pub(crate) fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// One of these.
    pub(crate) fn pick(&mut self, values: &[usize]) -> usize {
        let at = f32::midpoint(self.uniform(), 1.0) * values.len() as f32;
        values[(at as usize).min(values.len() - 1)]
    }
}

/// `config.json` of a model that both implementations take.
pub(crate) fn config(dice: &mut Dice) -> serde_json::Value {
    let (vision_heads, vision_head) = (dice.pick(&[1, 2, 3, 4]), dice.pick(&[4, 8, 12, 16]));
    let (kv_heads, groups, head) = (dice.pick(&[1, 2, 3]), dice.pick(&[1, 2, 3]), dice.pick(&[4, 8, 16, 64]));
    let (scale, patch) = (dice.pick(&[1, 2, 4]), dice.pick(&[2, 4, 14]));
    let grid = scale * dice.pick(&[1, 2, 3]);
    let vocabulary = dice.pick(&[40, 97, 128]);
    let rope_theta = dice.pick(&[10_000, 100_000]) as f64;
    let is_stretched = dice.pick(&[0, 0, 1]) == 1;
    let stretched = serde_json::json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": dice.pick(&[16, 64])});
    serde_json::json!({
        "model_type": "idefics3", "image_token_id": vocabulary - 1, "scale_factor": scale,
        "tie_word_embeddings": dice.pick(&[0, 1]) == 1,
        "vision_config": {
            "hidden_size": vision_heads * vision_head, "num_attention_heads": vision_heads,
            "intermediate_size": dice.pick(&[8, 24, 40]), "num_hidden_layers": dice.pick(&[1, 2, 3]),
            "image_size": grid * patch, "patch_size": patch, "layer_norm_eps": 1e-6,
        },
        "text_config": {
            "model_type": "llama", "vocab_size": vocabulary, "hidden_size": kv_heads * groups * head,
            "num_attention_heads": kv_heads * groups, "num_key_value_heads": kv_heads, "head_dim": head,
            "intermediate_size": dice.pick(&[16, 48]), "num_hidden_layers": dice.pick(&[1, 2, 3]),
            "rms_norm_eps": 1e-5, "rope_theta": rope_theta,
            "rope_scaling": if is_stretched { stretched } else { serde_json::Value::Null },
            "max_position_embeddings": 512,
        },
    })
}

/// Writes a checkpoint in f32 whose layers pass on what they get: weights of deviation about `1 / sqrt(fan in)`.
pub(crate) fn write_checkpoint(dir: &Path, config: &serde_json::Value, dice: &mut Dice) {
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let tensors = ModelConfig::open(dir).unwrap().tensors().into_iter().map(|(name, shape)| {
        let fan_in: usize = shape.iter().skip(1).product();
        let is_scale = name.contains("norm") && name.ends_with("weight");
        let (mean, spread) = match shape.len() {
            1 => (f32::from(u8::from(is_scale)), 0.2),
            _ => (0.0, 1.7 / (fan_in as f32).sqrt()),
        };
        let values = (0..shape.iter().product()).map(|_| mean + spread * dice.uniform()).collect::<Vec<_>>();
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    });
    let tensors: HashMap<String, Tensor> = tensors.collect();
    candle_core::safetensors::save(&tensors, dir.join("model.safetensors")).unwrap();
}

/// A text with an image of one tile, or of several and a global view.
pub(crate) fn sample(config: &ModelConfig, dice: &mut Dice) -> Sample {
    let split = dice.pick(&[0, 1, 2]);
    let (rows, cols) = if split == 0 { (0, 0) } else { (split, 3 - split) };
    let side = config.vision.image_size;
    let count = rows * cols + 1;
    let data = (0..count * side * side * 3).map(|_| (dice.uniform() * 127.0 + 128.0) as u8).collect();
    let image = vec![config.image_token_id; count * config.image_seq_len()];
    let below = config.image_token_id as f32;
    let mut words =
        |n: usize| (0..n).map(|_| (f32::midpoint(dice.uniform(), 1.0) * below) as u32).collect::<Vec<_>>();
    let input_ids = [words(3), image, words(6)].concat();
    Sample { input_ids, tiles: Arc::new(Tiles { rows, cols, side, data }), targets: Vec::new() }
}
