//! The configuration of a checkpoint: `config.json`.

mod layout;
mod read;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde_json::{Map, Value};

use crate::Result;
use crate::files::read_json_object;
use crate::rotary::{Llama3Scaling, Rotary};
use read::{Section, invalid};

/// Shape of the `SigLIP` vision tower.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    /// Width of a patch vector.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Colour channels, always 3.
    pub num_channels: usize,
    /// Side of a full tile in pixels. What is left of it beside the last whole patch is not looked at.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
}

impl VisionConfig {
    /// Patches along one side of a full tile.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Size of an attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

/// Shape of the Llama text model.
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    /// Rows of the embedding and of the output head.
    pub vocab_size: usize,
    /// Width of a token vector.
    pub hidden_size: usize,
    /// Width inside the gated feed-forward block.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Size of an attention head, even.
    pub head_dim: usize,
    /// Epsilon of the root-mean-square norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary angles.
    pub rope_theta: f64,
    /// How they are stretched, where they are.
    pub rope_scaling: Option<Llama3Scaling>,
    /// Longest sequence that the model was made for, in tokens.
    pub max_position_embeddings: usize,
}

impl TextConfig {
    /// The rotary embedding.
    pub(crate) fn rotary(&self) -> Rotary {
        Rotary { theta: self.rope_theta, scaling: self.rope_scaling }
    }
}

/// Configuration of an Idefics3 or SmolVLM checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `idefics3` or `smolvlm`.
    pub model_type: String,
    /// The vision tower.
    pub vision: VisionConfig,
    /// The text model.
    pub text: TextConfig,
    /// Side of the square of patches that the connector joins into one vector.
    pub scale_factor: usize,
    /// The token whose embeddings are replaced by image features.
    pub image_token_id: u32,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
}

impl ModelConfig {
    /// Reads `dir/config.json`.
    ///
    /// # Errors
    /// When the file cannot be read, lacks a value that has no safe default (`rope_theta` among them), or asks for
    /// something that this crate does not compute; the error names the key.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::from_json(&read_json_object(&dir.join("config.json"), "model configuration")?)
    }

    /// Reads the parsed content of a `config.json`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_json(config: &Map<String, Value>) -> Result<Self> {
        let root = Section { prefix: "", map: config };
        let model_type = root.text("model_type", None)?;
        if !["idefics3", "smolvlm"].contains(&model_type.as_str()) {
            return Err(invalid("model_type", "`idefics3` or `smolvlm`", &model_type));
        }
        root.refuse("quantization_config")?;
        let config = Self {
            vision: read::vision(&root.section("vision_config")?)?,
            text: read::text(&root.section("text_config")?)?,
            scale_factor: root.size("scale_factor", Some(2))?,
            image_token_id: root.size("image_token_id", None)? as u32,
            tie_word_embeddings: root.flag("tie_word_embeddings", false)?,
            model_type,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let Self { vision, text, .. } = self;
        let heads = "vision_config.num_attention_heads";
        check_divides(vision.num_attention_heads, heads, vision.hidden_size, "hidden_size")?;
        let kv_heads = "text_config.num_key_value_heads";
        check_divides(text.num_key_value_heads, kv_heads, text.num_attention_heads, "num_attention_heads")?;
        check(text.head_dim.is_multiple_of(2), "text_config.head_dim", "even", text.head_dim)?;
        check(vision.num_channels == 3, "vision_config.num_channels", "3", vision.num_channels)?;
        // A remainder of the tile beside the last whole patch is left out, as a convolution leaves it out.
        let fits = (1..=vision.image_size).contains(&vision.patch_size);
        check(fits, "vision_config.patch_size", "at most image_size", vision.patch_size)?;
        let fits = self.scale_factor <= vision.grid();
        check(fits, "scale_factor", "at most the patches of a side", self.scale_factor)?;
        let known = (self.image_token_id as usize) < text.vocab_size;
        check(
            known,
            "image_token_id",
            &format!("below vocab_size {}", text.vocab_size),
            self.image_token_id as usize,
        )
    }

    /// Shape of the output head and the embedding: `[vocab_size, hidden_size]`.
    pub(crate) fn head_shape(&self) -> [usize; 2] {
        [self.text.vocab_size, self.text.hidden_size]
    }

    /// Image tokens of one tile: `(image_size / patch_size / scale_factor)²`.
    pub fn image_seq_len(&self) -> usize {
        (self.vision.grid() / self.scale_factor).pow(2)
    }
}

fn check(holds: bool, key: &str, expected: &str, actual: usize) -> Result<()> {
    if holds { Ok(()) } else { Err(invalid(key, expected, &actual)) }
}

fn check_divides(part: usize, key: &str, whole: usize, of: &str) -> Result<()> {
    check(whole.is_multiple_of(part), key, &format!("a divisor of {of} {whole}"), part)
}
