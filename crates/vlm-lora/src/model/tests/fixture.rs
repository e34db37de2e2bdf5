//! A tiny random model and samples for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backend::{Backend, Cpu};
use crate::checkpoint::write_f32;
use crate::key::mix;
use crate::model::{Item, Model};
use crate::{Checkpoint, LoraConfig, OneOrMany, PeftAdapter, Sample, Target, Tiles};

pub(super) const IMAGE: u32 = 19;
const VOCAB: u32 = 20;

/// Every linear of the model.
pub(super) const EVERYTHING: [&str; 12] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "out_proj",
    "fc1",
    "fc2",
    "proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "lm_head",
];

/// Numbers that depend on the seed alone, in `[-1, 1)`.
pub(super) struct Noise(pub(super) u64);

impl Noise {
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(1);
        (mix(self.0) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    pub(super) fn values(&mut self, count: usize, size: f64) -> Vec<f32> {
        (0..count).map(|_| (self.next() * size) as f32).collect()
    }
}

/// Writes and opens a checkpoint: two layers in each tower, 4 × 4 patches, 4 rows a tile.
pub(super) fn checkpoint(tied: bool) -> Checkpoint {
    let config = serde_json::json!({
        "model_type": "idefics3", "image_token_id": IMAGE, "scale_factor": 2, "tie_word_embeddings": tied,
        "text_config": {"vocab_size": VOCAB, "hidden_size": 12, "intermediate_size": 14, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "rms_norm_eps": 1e-5,
            "rope_theta": 100.0},
        "vision_config": {"hidden_size": 8, "intermediate_size": 10, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 8, "patch_size": 2}
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let config = crate::ModelConfig::open(dir.path()).unwrap();
    let mut noise = Noise(3);
    let tensors: Vec<(String, Vec<usize>, Vec<f32>)> = config
        .tensors()
        .into_iter()
        .map(|(name, shape)| {
            let is_scale = shape.len() == 1 && name.ends_with("weight");
            let size = if shape.len() == 1 {
                0.3
            } else {
                1.6 / (shape[1..].iter().product::<usize>() as f64).sqrt()
            };
            let mut values = noise.values(shape.iter().product(), size);
            for value in &mut values {
                *value += f32::from(u8::from(is_scale));
            }
            (name, shape, values)
        })
        .collect();
    let tensors: BTreeMap<_, _> =
        tensors.iter().map(|(name, shape, values)| (name.clone(), (shape.clone(), &values[..]))).collect();
    write_f32(&dir.path().join("model.safetensors"), &tensors).unwrap();
    // The mapping keeps the file alive.
    Checkpoint::open(dir.path()).unwrap()
}

/// Adapters of rank 2 on the named modules, none of whose tensors is zero.
pub(super) fn adapter(checkpoint: &Checkpoint, targets: &[&str], dora: bool, dropout: f64) -> PeftAdapter {
    let config = LoraConfig {
        r: 2,
        lora_alpha: 3.0,
        lora_dropout: dropout,
        use_dora: dora,
        target_modules: OneOrMany::Many(targets.iter().map(|&name| name.to_owned()).collect()),
        ..LoraConfig::default()
    };
    let mut adapter = PeftAdapter::init(&config, checkpoint, 5).unwrap();
    let mut noise = Noise(11);
    for module in &mut adapter.modules {
        module.b = noise.values(module.b.len(), 0.4);
        for magnitude in module.magnitude.iter_mut().flatten() {
            *magnitude *= 1.0 + 0.2 * noise.next() as f32;
        }
    }
    adapter
}

pub(super) fn model<B: Backend>(backend: B, checkpoint: &Checkpoint, adapter: &PeftAdapter) -> Model<B> {
    let mut model = Model::load(Arc::new(backend), checkpoint).unwrap();
    model.attach_adapter(adapter).unwrap();
    model
}

pub(super) fn exact(checkpoint: &Checkpoint, adapter: &PeftAdapter) -> Model<Cpu<f64>> {
    model(Cpu::new(), checkpoint, adapter)
}

/// An image, a prompt and an answer of three targets, one of them a distribution; `seed` decides sizes and values.
pub(super) fn sample(seed: u64) -> Sample {
    let mut noise = Noise(seed * 1000);
    let (rows, cols) = if seed.is_multiple_of(2) { (1, 1) } else { (0, 0) };
    let mut tiles = Tiles { rows, cols, side: 8, data: Vec::new() };
    tiles.data = (0..tiles.count() * 8 * 8 * 3).map(|_| ((noise.next() + 1.0) * 127.5) as u8).collect();
    let mut token = |below: u32| ((noise.next() + 1.0) * 0.5 * f64::from(below)) as u32;
    let mut input_ids = vec![1];
    input_ids.extend(std::iter::repeat_n(IMAGE, 4 * tiles.count()));
    input_ids.extend((0..4 + seed % 3).map(|_| token(IMAGE)));
    let len = input_ids.len();
    let hard =
        |position: usize, weight| Target { position, tokens: vec![(input_ids[position], 1.0)], weight };
    let soft = Target { position: len - 1, tokens: vec![(2, 0.25), (3, 0.5), (7, 0.25)], weight: 2.0 };
    let targets = vec![hard(len - 4, 1.0), hard(len - 3, 0.5), soft];
    Sample { input_ids, tiles: Arc::new(tiles), targets }
}

pub(super) fn items(samples: &[Sample]) -> Vec<Item<'_>> {
    samples.iter().map(|sample| Item { sample, features: None }).collect()
}

/// Every gradient by name.
pub(super) fn gradients<B: Backend>(model: &Model<B>) -> BTreeMap<String, Vec<f64>> {
    let gradient = |buffer| model.backend().download_f64(buffer).unwrap();
    model.params().iter().map(|param| (param.name.clone(), gradient(&param.grad))).collect()
}
