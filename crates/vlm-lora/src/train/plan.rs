use super::TrainingConfig;
use crate::backend::{BaseDtype, LARGEST_INT8_ROWS};
use crate::config::ModelConfig;
use crate::lora::AdapterSpec;
use crate::sample::Sample;

/// Rows whose logits exist at one time.
const LOGITS_AT_ONCE: usize = crate::model::ROWS_AT_ONCE;
/// Code, stacks, the tokenizer and what allocators keep.
const PROCESS: usize = 64 << 20;

/// The device, kernels, cuBLAS and its workspace in the memory of a GPU.
const CONTEXT: usize = 600 << 20;
/// Tiles that a GPU takes through a frozen tower together.
const TILES_ON_A_GPU: usize = 16;

/// Where a run computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the CPU: everything is in the machine's memory.
    Cpu,
    /// On a GPU, of whose memory the plan then speaks; images wait in that of the machine.
    Gpu,
}

/// How large the passes of a step are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchSize {
    /// Samples that go through together.
    pub samples: usize,
    /// Their tokens.
    pub tokens: usize,
    /// Their supervised tokens.
    pub targets: usize,
    /// Tiles of their images.
    pub tiles: usize,
}

impl BatchSize {
    /// `count` samples of this size.
    pub fn of(sample: &Sample, count: usize) -> Self {
        Self {
            samples: count,
            tokens: count * sample.input_ids.len(),
            targets: count * sample.targets.len(),
            tiles: count * sample.tiles.count(),
        }
    }
}

/// Bytes of a device's memory that training takes at its highest moment, in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct MemoryPlan {
    /// The frozen base.
    pub weights: usize,
    /// The adapter, its gradient and both moments of AdamW.
    pub adapter: usize,
    /// What the forward pass keeps for the backward pass.
    pub activations: usize,
    /// What a pass works in besides: the larger of the vision tower's, a block's and the head's.
    pub working: usize,
    /// Decoded images that wait for the model.
    pub images: usize,
    /// Everything else of the process.
    pub process: usize,
}

impl MemoryPlan {
    /// What a run with these settings takes.
    ///
    /// `specs` are the adapters ([`LoraConfig::adapters`](crate::LoraConfig::adapters)), `base` is how the frozen weights are
    /// held, `batch` is the largest batch. What a GPU takes has not been measured yet.
    pub fn new(
        model: &ModelConfig,
        specs: &[AdapterSpec],
        training: &TrainingConfig,
        place: Place,
        base: BaseDtype,
        batch: BatchSize,
    ) -> Self {
        let is_gpu = place == Place::Gpu;
        // Beside numbers in f32 stand those that products take, in half the bytes.
        let with_operands = |bytes: usize| if is_gpu { bytes + bytes / 2 } else { bytes };
        let rank = specs.iter().filter(|spec| spec.module.contains("text_model")).map(|spec| spec.r).max();
        let text = TextRow::new(model, rank.unwrap_or(0));
        let layers = model.text.num_hidden_layers;
        let kept = if training.gradient_checkpointing {
            layers * text.input + text.kept
        } else {
            layers * text.kept
        };
        let together = if is_gpu { TILES_ON_A_GPU.min(batch.tiles) } else { 1 };
        let vision = vision_bytes(model, specs, training, batch.tiles, together);
        let logits = LOGITS_AT_ONCE.min(batch.targets) * model.text.vocab_size * 4;
        let ahead = training.dataloader_num_workers.max(1) * 2 + training.per_device_train_batch_size;
        let per_sample = batch.tiles.div_ceil(batch.samples.max(1));
        Self {
            weights: weight_bytes(model, base),
            adapter: 4 * 4 * specs.iter().map(parameters).sum::<usize>(),
            activations: with_operands(4 * batch.tokens * kept + vision.0),
            working: with_operands((4 * batch.tokens * text.working).max(vision.1).max(logits)),
            images: if is_gpu { 0 } else { ahead * per_sample * model.vision.image_size.pow(2) * 3 },
            process: if is_gpu { CONTEXT } else { PROCESS },
        }
    }

    /// All parts together.
    pub fn total(&self) -> usize {
        self.weights + self.adapter + self.activations + self.working + self.images + self.process
    }
}

/// Trained values of an adapter.
fn parameters(spec: &AdapterSpec) -> usize {
    spec.r * (spec.in_features + spec.out_features) + if spec.use_dora { spec.out_features } else { 0 }
}

fn weight_bytes(model: &ModelConfig, base: BaseDtype) -> usize {
    let of = |(_, shape): &(String, Vec<usize>)| {
        let count = shape.iter().product::<usize>();
        let (rows, is_matrix) = (shape.first().copied().unwrap_or(0), shape.len() > 1);
        let columns = count / rows.max(1);
        match base {
            _ if !is_matrix => 4 * count,
            BaseDtype::Full => 4 * count,
            // beside the integers a scale and the sum of each row, and the sum of each column
            BaseDtype::Int8 if rows <= LARGEST_INT8_ROWS => count + 8 * rows + 4 * columns,
            BaseDtype::Bf16 | BaseDtype::Int8 => 2 * count,
        }
    };
    model.tensors().iter().map(of).sum()
}

/// Values for each row of the text model.
struct TextRow {
    /// The input of a block.
    input: usize,
    /// What a block keeps.
    kept: usize,
    /// What a block's backward pass works in.
    working: usize,
}

impl TextRow {
    fn new(model: &ModelConfig, rank: usize) -> Self {
        let text = &model.text;
        let (hidden, inner) = (text.hidden_size, text.intermediate_size);
        let query = text.num_attention_heads * text.head_dim;
        let key = text.num_key_value_heads * text.head_dim;
        let norms = text.num_attention_heads;
        Self {
            input: hidden,
            kept: 2 * hidden + 2 * query + 2 * key + norms + 2 * inner + 7 * rank,
            // the gradients of both residual streams, of the activation's inputs and output, and rounded rows
            working: 3 * hidden + 4 * inner + inner / 2,
        }
    }
}

/// What the vision tower keeps, and what it works in.
fn vision_bytes(
    model: &ModelConfig,
    specs: &[AdapterSpec],
    training: &TrainingConfig,
    tiles: usize,
    together: usize,
) -> (usize, usize) {
    let vision = &model.vision;
    let (hidden, inner, rows) = (vision.hidden_size, vision.intermediate_size, vision.grid().pow(2));
    let working = 3 * hidden + 3 * inner;
    if !specs.iter().any(|spec| spec.module.contains("vision_model")) {
        return (0, 4 * together * rows * working);
    }
    let kept = 6 * hidden + inner + vision.num_attention_heads;
    let layers = vision.num_hidden_layers;
    let kept = if training.gradient_checkpointing { layers * hidden + kept } else { layers * kept };
    (4 * tiles * rows * kept, 4 * tiles * rows * working)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn released() -> ModelConfig {
        let dir = tempfile::tempdir().unwrap();
        let config = r#"{"model_type": "idefics3", "image_token_id": 49190, "scale_factor": 4, "tie_word_embeddings": false,
            "vision_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                              "image_size": 512, "patch_size": 16, "layer_norm_eps": 1e-6},
            "text_config": {"model_type": "llama", "vocab_size": 49280, "hidden_size": 960, "intermediate_size": 2560,
                            "num_hidden_layers": 32, "num_attention_heads": 15, "num_key_value_heads": 5, "head_dim": 64,
                            "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "max_position_embeddings": 8192}}"#;
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        ModelConfig::open(dir.path()).unwrap()
    }

    /// The released model's sizes; what a real step takes is measured in docs/benchmarks.md.
    #[test]
    fn the_parts_follow_the_settings() {
        let (model, mut training) = (released(), TrainingConfig::default());
        let specs = crate::LoraConfig::default().adapters(&model).unwrap();
        let batch = BatchSize { samples: 1, tokens: 484, targets: 40, tiles: 5 };
        let plan = |training: &TrainingConfig, base, batch| {
            MemoryPlan::new(&model, &specs, training, Place::Cpu, base, batch)
        };
        let full = plan(&training, BaseDtype::Full, batch);
        let narrow = plan(&training, BaseDtype::Bf16, batch);
        assert!((full.weights as f64 / narrow.weights as f64 - 2.0).abs() < 0.01);
        let eight = plan(&training, BaseDtype::Int8, batch).weights;
        assert!(eight < narrow.weights * 2 / 3 && eight > narrow.weights / 2);
        assert_eq!(full.activations, narrow.activations);
        let twice = BatchSize { samples: 2, tokens: 968, targets: 80, tiles: 10 };
        assert_eq!(plan(&training, BaseDtype::Full, twice).activations, 2 * full.activations);
        let gpu = MemoryPlan::new(&model, &specs, &training, Place::Gpu, BaseDtype::Bf16, batch);
        assert_eq!((gpu.weights, gpu.images), (narrow.weights, 0));
        assert!(gpu.activations > narrow.activations && gpu.process > narrow.process);
        training.gradient_checkpointing = true;
        assert!(plan(&training, BaseDtype::Full, batch).activations < full.activations / 6);
    }
}
