//! SmolVLM of the parts that candle-transformers has: SigLIP without its head, pixel shuffle and projection, Llama. Nothing of it
//! computes with this crate; `tests/oracle` holds the passes against it.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Module as _, Result, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{llama, siglip};
use vlm_lora::ModelConfig;

/// A checkpoint in f32 on the CPU.
pub(crate) struct SmolVlm {
    vision: siglip::VisionModel,
    /// Patches a side of a tile.
    grid: usize,
    /// Side of the squares of patches that become one row.
    scale: usize,
    projection: Tensor,
    text: llama::Llama,
    cache: llama::Cache,
    image_token_id: u32,
}

impl SmolVlm {
    /// Reads the weights of a folder, in one file or several; `positions` is the length of the longest text.
    pub(crate) fn open(dir: &Path, config: &ModelConfig, positions: usize) -> Result<Self> {
        let mut tensors: HashMap<String, Tensor> = HashMap::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // A merged model may have a file beside it that tells how to undo the merge.
            if name.starts_with("model") && name.ends_with(".safetensors") {
                tensors.extend(candle_core::safetensors::load(path, &Device::Cpu)?);
            }
        }
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let (grid, scale) = (config.vision.grid(), config.scale_factor);
        let shape = (config.text.hidden_size, config.vision.hidden_size * scale * scale);
        let projection = weights.get(shape, "model.connector.modality_projection.proj.weight")?;
        let vision =
            siglip::VisionModel::new(&vision_geometry(config), false, weights.pp("model.vision_model"))?;
        let geometry = text_geometry(config, positions);
        let cache = llama::Cache::new(false, DType::F32, &geometry, &Device::Cpu)?;
        let weights = weights.rename_f(|name| name.replacen("model.", "model.text_model.", 1));
        let text = llama::Llama::load(weights, &geometry)?;
        Ok(Self { vision, grid, scale, projection, text, cache, image_token_id: config.image_token_id })
    }

    /// The rows of an image in the text model `(image tokens, width)`, of normalised pixels `(tiles, 3, side, side)`.
    pub(crate) fn features(&self, pixels: &Tensor) -> Result<Tensor> {
        let hidden = self.vision.forward(pixels)?;
        let (tiles, _, width) = hidden.dims3()?;
        let (grid, s) = (self.grid, self.scale);
        let shuffled = hidden
            .reshape((tiles, grid, grid / s, width * s))?
            .permute((0, 2, 1, 3))?
            .reshape((tiles, grid / s, grid / s, width * s * s))?
            .permute((0, 2, 1, 3))?
            .reshape((tiles * (grid / s) * (grid / s), width * s * s))?;
        shuffled.matmul(&self.projection.t()?)
    }

    /// The logits after the last of these tokens; the image tokens among them take the rows of `features` in turn.
    pub(crate) fn logits(&mut self, ids: &[u32], features: &Tensor) -> Result<Vec<f32>> {
        let words = self.text.embed(&Tensor::new(ids, &Device::Cpu)?)?;
        let mut image_rows = ids.len() as u32..;
        let rows: Vec<u32> = (0..)
            .zip(ids)
            .filter_map(|(at, id)| if *id == self.image_token_id { image_rows.next() } else { Some(at) })
            .collect();
        let rows = Tensor::new(rows, &Device::Cpu)?;
        let x = Tensor::cat(&[&words, features], 0)?.index_select(&rows, 0)?.unsqueeze(0)?;
        self.text.forward_input_embed(&x, 0, &mut self.cache)?.flatten_all()?.to_vec1()
    }
}

fn vision_geometry(config: &ModelConfig) -> siglip::VisionConfig {
    let v = &config.vision;
    siglip::VisionConfig {
        hidden_size: v.hidden_size,
        intermediate_size: v.intermediate_size,
        num_hidden_layers: v.num_hidden_layers,
        num_attention_heads: v.num_attention_heads,
        num_channels: 3,
        image_size: v.image_size,
        patch_size: v.patch_size,
        hidden_act: Activation::GeluPytorchTanh,
        layer_norm_eps: v.layer_norm_eps,
    }
}

fn text_geometry(config: &ModelConfig, positions: usize) -> llama::Config {
    let t = &config.text;
    llama::Config {
        hidden_size: t.hidden_size,
        intermediate_size: t.intermediate_size,
        vocab_size: t.vocab_size,
        num_hidden_layers: t.num_hidden_layers,
        num_attention_heads: t.num_attention_heads,
        num_key_value_heads: t.num_key_value_heads,
        use_flash_attn: false,
        rms_norm_eps: t.rms_norm_eps,
        rope_theta: t.rope_theta as f32,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: t.rope_scaling.map(|scaling| llama::Llama3RopeConfig {
            factor: scaling.factor as f32,
            low_freq_factor: scaling.low_freq_factor as f32,
            high_freq_factor: scaling.high_freq_factor as f32,
            original_max_position_embeddings: scaling.original_max_position_embeddings,
            rope_type: llama::Llama3RopeType::Llama3,
        }),
        max_position_embeddings: positions,
        tie_word_embeddings: config.tie_word_embeddings,
    }
}
