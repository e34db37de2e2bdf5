//! A checkpoint of a few thousand random weights, and samples for it.

use std::path::Path;
use std::sync::Arc;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use vlm_lora::backend::Cpu;
use vlm_lora::{Checkpoint, LoraConfig, Model, ModelConfig, Sample, Target, Tiles};

const IMAGE_TOKEN: u32 = 3;
const CONFIG: &str = r#"{
  "model_type": "idefics3", "image_token_id": 3, "scale_factor": 2, "tie_word_embeddings": false,
  "vision_config": {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
                    "image_size": 32, "patch_size": 8, "layer_norm_eps": 1e-6},
  "text_config": {"model_type": "llama", "vocab_size": 48, "hidden_size": 24, "intermediate_size": 40,
                  "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
                  "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 128}
}"#;

/// Uniform numbers in -1..1.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        (f32::midpoint(self.next(), 1.0) * limit as f32) as u32 % limit
    }
}

/// Writes the checkpoint into `dir`.
pub(crate) fn write_checkpoint(dir: &Path) {
    std::fs::write(dir.join("config.json"), CONFIG).unwrap();
    let config = ModelConfig::open(dir).unwrap();
    let mut noise = Noise(1);
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = config
        .tensors()
        .into_iter()
        .map(|(name, shape)| {
            let fan_in: usize = shape.iter().skip(1).product();
            let is_norm = name.contains("norm") && name.ends_with("weight");
            // a wide head, so that a probability near 1 can be reached at all
            let gain = if name == "lm_head.weight" { 8.0 } else { 2.0 };
            let scale = if shape.len() == 1 { 0.1 } else { gain / (fan_in as f32).sqrt() };
            let values =
                (0..shape.iter().product()).map(|_| noise.next() * scale + f32::from(u8::from(is_norm)));
            let bytes = values.flat_map(f32::to_le_bytes).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &dir.join("model.safetensors")).unwrap();
}

/// The model with a fresh adapter.
pub(crate) fn model(dir: &Path, lora: &LoraConfig) -> Model<Cpu<f32>> {
    let checkpoint = Checkpoint::open(dir).unwrap();
    let mut model = Model::load(Arc::new(Cpu::new()), &checkpoint).unwrap();
    model.attach(lora, &checkpoint, 7).unwrap();
    model
}

/// Images of one tile with prompts and answers of differing lengths.
pub(crate) fn samples(count: usize) -> Vec<Sample> {
    let mut noise = Noise(2);
    let mut sample = |index: usize| {
        let data: Vec<u8> = (0..32 * 32 * 3).map(|_| noise.below(256) as u8).collect();
        let tiles = Arc::new(Tiles { rows: 0, cols: 0, side: 32, data });
        let mut input_ids = vec![1];
        input_ids.extend([IMAGE_TOKEN; 4]);
        input_ids.extend((0..3 + index % 3).map(|_| 4 + noise.below(40)));
        let prompt = input_ids.len();
        input_ids.extend((0..2 + index % 4).map(|_| 4 + noise.below(40)));
        let targets = (prompt..input_ids.len())
            .map(|position| Target { position, tokens: vec![(input_ids[position], 1.0)], weight: 1.0 })
            .collect();
        Sample { input_ids, tiles, targets }
    };
    (0..count).map(&mut sample).collect()
}
