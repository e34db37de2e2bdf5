//! The configuration of a checkpoint: `config.json`.

use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::{Map, Value};

use crate::files::read_json_object;
use crate::lora::Module;
use crate::{Error, Result};

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
    /// Side of a full tile in pixels; a multiple of `patch_size`.
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
    /// Longest sequence that the model was made for, in tokens.
    pub max_position_embeddings: usize,
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
            vision: vision(&root.section("vision_config")?)?,
            text: text(&root.section("text_config")?)?,
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
        let divides = |whole: usize, part: usize, key: &str, of: &str| {
            if whole.is_multiple_of(part) {
                Ok(())
            } else {
                Err(invalid(key, &format!("a divisor of {of} {whole}"), &part))
            }
        };
        divides(
            vision.hidden_size,
            vision.num_attention_heads,
            "vision_config.num_attention_heads",
            "hidden_size",
        )?;
        divides(vision.image_size, vision.patch_size, "vision_config.patch_size", "image_size")?;
        divides(vision.grid(), self.scale_factor, "scale_factor", "the patches of a side,")?;
        let kv_heads = text.num_key_value_heads;
        divides(
            text.num_attention_heads,
            kv_heads,
            "text_config.num_key_value_heads",
            "num_attention_heads",
        )?;
        divides(text.head_dim, 2, "text_config.head_dim", "the rotated pairs, head_dim must be even:")?;
        if vision.num_channels != 3 {
            return Err(invalid("vision_config.num_channels", "3", &vision.num_channels));
        }
        if self.image_token_id as usize >= text.vocab_size {
            return Err(invalid(
                "image_token_id",
                &format!("below vocab_size {}", text.vocab_size),
                &self.image_token_id,
            ));
        }
        Ok(())
    }

    /// Image tokens of one tile: `(image_size / patch_size / scale_factor)²`.
    pub fn image_seq_len(&self) -> usize {
        (self.vision.grid() / self.scale_factor).pow(2)
    }

    /// The linear layers under the names of the checkpoint, in the order of the forward pass: vision tower, connector, text
    /// model, output head.
    pub fn linears(&self) -> Vec<Module> {
        let (v, t) = (&self.vision, &self.text);
        let mut modules = Vec::new();
        let mut push = |name: String, out_features, in_features| {
            modules.push(Module { name, in_features, out_features });
        };
        for layer in 0..v.num_hidden_layers {
            let prefix = format!("model.vision_model.encoder.layers.{layer}");
            for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                push(format!("{prefix}.self_attn.{name}"), v.hidden_size, v.hidden_size);
            }
            push(format!("{prefix}.mlp.fc1"), v.intermediate_size, v.hidden_size);
            push(format!("{prefix}.mlp.fc2"), v.hidden_size, v.intermediate_size);
        }
        let shuffled = v.hidden_size * self.scale_factor.pow(2);
        push("model.connector.modality_projection.proj".to_owned(), t.hidden_size, shuffled);
        let (query, key) = (t.num_attention_heads * t.head_dim, t.num_key_value_heads * t.head_dim);
        for layer in 0..t.num_hidden_layers {
            let prefix = format!("model.text_model.layers.{layer}");
            push(format!("{prefix}.self_attn.q_proj"), query, t.hidden_size);
            push(format!("{prefix}.self_attn.k_proj"), key, t.hidden_size);
            push(format!("{prefix}.self_attn.v_proj"), key, t.hidden_size);
            push(format!("{prefix}.self_attn.o_proj"), t.hidden_size, query);
            push(format!("{prefix}.mlp.gate_proj"), t.intermediate_size, t.hidden_size);
            push(format!("{prefix}.mlp.up_proj"), t.intermediate_size, t.hidden_size);
            push(format!("{prefix}.mlp.down_proj"), t.hidden_size, t.intermediate_size);
        }
        push("lm_head".to_owned(), t.vocab_size, t.hidden_size);
        modules
    }

    /// Every tensor of the checkpoint with its shape; `lm_head.weight` only where the head is not tied.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (v, t) = (&self.vision, &self.text);
        let mut tensors = Vec::new();
        for module in self.linears() {
            let in_vision = module.name.starts_with("model.vision_model.");
            if module.name == "lm_head" && self.tie_word_embeddings {
                continue;
            }
            tensors.push((format!("{}.weight", module.name), vec![module.out_features, module.in_features]));
            if in_vision {
                tensors.push((format!("{}.bias", module.name), vec![module.out_features]));
            }
        }
        let mut norm = |name: String, width: usize, bias: bool| {
            tensors.push((format!("{name}.weight"), vec![width]));
            if bias {
                tensors.push((format!("{name}.bias"), vec![width]));
            }
        };
        for layer in 0..v.num_hidden_layers {
            for name in ["layer_norm1", "layer_norm2"] {
                norm(format!("model.vision_model.encoder.layers.{layer}.{name}"), v.hidden_size, true);
            }
        }
        norm("model.vision_model.post_layernorm".to_owned(), v.hidden_size, true);
        for layer in 0..t.num_hidden_layers {
            for name in ["input_layernorm", "post_attention_layernorm"] {
                norm(format!("model.text_model.layers.{layer}.{name}"), t.hidden_size, false);
            }
        }
        norm("model.text_model.norm".to_owned(), t.hidden_size, false);
        let embeddings = "model.vision_model.embeddings";
        let patch = vec![v.hidden_size, v.num_channels, v.patch_size, v.patch_size];
        tensors.push((format!("{embeddings}.patch_embedding.weight"), patch));
        tensors.push((format!("{embeddings}.patch_embedding.bias"), vec![v.hidden_size]));
        tensors
            .push((format!("{embeddings}.position_embedding.weight"), vec![v.grid().pow(2), v.hidden_size]));
        tensors.push(("model.text_model.embed_tokens.weight".to_owned(), vec![t.vocab_size, t.hidden_size]));
        tensors
    }
}

/// Class defaults of transformers stand in where a released configuration may leave a key out and the tensors' shapes would
/// show a wrong one; what no shape shows is required.
fn vision(section: &Section<'_>) -> Result<VisionConfig> {
    section.only("hidden_act", "gelu_pytorch_tanh", true)?;
    section.zero("attention_dropout")?;
    Ok(VisionConfig {
        hidden_size: section.size("hidden_size", Some(1152))?,
        intermediate_size: section.size("intermediate_size", Some(3072))?,
        num_hidden_layers: section.layers("num_hidden_layers", 12)?,
        num_attention_heads: section.size("num_attention_heads", Some(16))?,
        num_channels: section.size("num_channels", Some(3))?,
        image_size: section.within("image_size", Some(224), 1..=8192)?,
        patch_size: section.within("patch_size", Some(32), 1..=1024)?,
        layer_norm_eps: section.positive("layer_norm_eps", Some(1e-6))?,
    })
}

fn text(section: &Section<'_>) -> Result<TextConfig> {
    section.only("model_type", "llama", true)?;
    section.only("hidden_act", "silu", true)?;
    section.zero("attention_dropout")?;
    for key in ["attention_bias", "mlp_bias"] {
        if section.flag(key, false)? {
            return Err(Error::Unsupported { what: format!("`text_config.{key}` = true") });
        }
    }
    let hidden_size = section.size("hidden_size", None)?;
    let heads = section.size("num_attention_heads", None)?;
    let head_dim = section.size("head_dim", Some(hidden_size / heads).filter(|size| *size > 0))?;
    Ok(TextConfig {
        vocab_size: section.size("vocab_size", None)?,
        hidden_size,
        intermediate_size: section.size("intermediate_size", None)?,
        num_hidden_layers: section.layers("num_hidden_layers", 32)?,
        num_attention_heads: heads,
        num_key_value_heads: section.size("num_key_value_heads", Some(heads))?,
        head_dim,
        rms_norm_eps: section.positive("rms_norm_eps", None)?,
        rope_theta: rope_theta(section)?,
        max_position_embeddings: section.size("max_position_embeddings", Some(2048))?,
    })
}

/// `rope_theta` stands in the text section (older files) or in `rope_parameters`; the class default (10000) is wrong for
/// every released checkpoint, so a missing value is an error.
fn rope_theta(section: &Section<'_>) -> Result<f64> {
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(value) = section.get(key) else { continue };
        let map = value.as_object().ok_or_else(|| section.invalid(key, "a table", value))?;
        let rope = Section { prefix: &format!("text_config.{key}."), map };
        for name in ["rope_type", "type"] {
            rope.only(name, "default", true)?;
        }
        for (name, value) in map {
            if !["rope_type", "type", "rope_theta"].contains(&name.as_str()) && !value.is_null() {
                return Err(Error::Unsupported { what: format!("`text_config.{key}.{name}`") });
            }
        }
    }
    let parameters = section.get("rope_parameters").and_then(Value::as_object);
    match parameters.filter(|map| map.contains_key("rope_theta")) {
        Some(map) => Section { prefix: "text_config.rope_parameters.", map }.positive("rope_theta", None),
        None => section.positive("rope_theta", None),
    }
}

fn invalid(key: &str, expected: &str, actual: &dyn std::fmt::Display) -> Error {
    Error::InvalidConfig { key: key.to_owned(), expected: expected.to_owned(), actual: actual.to_string() }
}

/// Largest size that any dimension may claim; keeps products of sizes far from overflow.
const MAX_SIZE: usize = 1 << 22;

/// One table of the configuration with the path that errors name.
struct Section<'a> {
    prefix: &'a str,
    map: &'a Map<String, Value>,
}

impl Section<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn invalid(&self, key: &str, expected: &str, actual: &Value) -> Error {
        let mut actual = actual.to_string();
        if actual.len() > 80 {
            actual = format!("{}…", actual.chars().take(80).collect::<String>());
        }
        invalid(&format!("{}{key}", self.prefix), expected, &actual)
    }

    fn missing(&self, key: &str) -> Error {
        invalid(&format!("{}{key}", self.prefix), "given", &"nothing")
    }

    fn section(&self, key: &'static str) -> Result<Section<'_>> {
        let prefix = if key == "text_config" { "text_config." } else { "vision_config." };
        let value = self.get(key).ok_or_else(|| self.missing(key))?;
        let map = value.as_object().ok_or_else(|| self.invalid(key, "a table", value))?;
        Ok(Section { prefix, map })
    }

    fn within(&self, key: &str, default: Option<usize>, range: RangeInclusive<usize>) -> Result<usize> {
        let Some(value) = self.get(key) else { return default.ok_or_else(|| self.missing(key)) };
        let size =
            value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| range.contains(size));
        size.ok_or_else(|| {
            self.invalid(key, &format!("a whole number from {} to {}", range.start(), range.end()), value)
        })
    }

    fn size(&self, key: &str, default: Option<usize>) -> Result<usize> {
        self.within(key, default, 1..=MAX_SIZE)
    }

    fn layers(&self, key: &str, default: usize) -> Result<usize> {
        self.within(key, Some(default), 1..=512)
    }

    fn positive(&self, key: &str, default: Option<f64>) -> Result<f64> {
        let Some(value) = self.get(key) else { return default.ok_or_else(|| self.missing(key)) };
        let number = value.as_f64().filter(|number| number.is_finite() && *number > 0.0);
        number.ok_or_else(|| self.invalid(key, "a positive number", value))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.invalid(key, "true or false", value))
    }

    fn text(&self, key: &str, default: Option<&str>) -> Result<String> {
        let Some(value) = self.get(key) else {
            return default.map(str::to_owned).ok_or_else(|| self.missing(key));
        };
        value.as_str().map(str::to_owned).ok_or_else(|| self.invalid(key, "a string", value))
    }

    /// The only value of `key` that this crate computes; absent is the same where `optional`.
    fn only(&self, key: &str, supported: &str, optional: bool) -> Result<()> {
        let actual = self.text(key, optional.then_some(supported))?;
        if actual == supported {
            return Ok(());
        }
        Err(Error::Unsupported { what: format!("`{}{key}` = `{actual}` (only `{supported}`)", self.prefix) })
    }

    fn zero(&self, key: &str) -> Result<()> {
        match self.get(key) {
            Some(value) if value.as_f64() != Some(0.0) => {
                Err(Error::Unsupported { what: format!("`{}{key}` = {value} (only 0)", self.prefix) })
            }
            _ => Ok(()),
        }
    }

    fn refuse(&self, key: &str) -> Result<()> {
        match self.get(key) {
            Some(_) => Err(Error::Unsupported { what: format!("`{}{key}`", self.prefix) }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn small() -> Value {
        serde_json::json!({
            "model_type": "idefics3", "image_token_id": 394, "scale_factor": 4,
            "text_config": {"vocab_size": 448, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
                "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 100_000.0},
            "vision_config": {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
                "num_attention_heads": 4, "image_size": 128, "patch_size": 16},
        })
    }

    fn parse(value: &Value) -> Result<ModelConfig> {
        ModelConfig::from_json(value.as_object().unwrap())
    }

    #[test]
    fn both_places_of_rope_theta_are_read() {
        let mut old = small();
        assert!((parse(&old).unwrap().text.rope_theta - 100_000.0).abs() < 1e-9);
        let text = old["text_config"].as_object_mut().unwrap();
        text.remove("rope_theta");
        text.insert(
            "rope_parameters".into(),
            serde_json::json!({"rope_theta": 273_768.0, "rope_type": "default"}),
        );
        assert!((parse(&old).unwrap().text.rope_theta - 273_768.0).abs() < 1e-9);
    }

    #[test]
    fn a_missing_rope_theta_is_named() {
        let mut config = small();
        config["text_config"].as_object_mut().unwrap().remove("rope_theta");
        let error = parse(&config).unwrap_err().to_string();
        assert!(error.contains("text_config.rope_theta"), "{error}");
        config["text_config"]["rope_parameters"] = serde_json::json!({"rope_type": "default"});
        assert!(parse(&config).unwrap_err().to_string().contains("rope_theta"));
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        let cases = [
            ("text_config", "hidden_act", serde_json::json!("gelu")),
            ("text_config", "attention_bias", serde_json::json!(true)),
            ("text_config", "mlp_bias", serde_json::json!(true)),
            ("text_config", "model_type", serde_json::json!("mistral")),
            ("text_config", "rope_scaling", serde_json::json!({"rope_type": "llama3", "factor": 8.0})),
            ("text_config", "rope_parameters", serde_json::json!({"rope_type": "yarn", "rope_theta": 1e4})),
            ("text_config", "attention_dropout", serde_json::json!(0.1)),
            ("text_config", "num_attention_heads", serde_json::json!(0)),
            ("text_config", "num_hidden_layers", serde_json::json!(u64::MAX)),
            ("text_config", "num_key_value_heads", serde_json::json!(3)),
            ("text_config", "rms_norm_eps", Value::Null),
            ("vision_config", "hidden_act", serde_json::json!("gelu")),
            ("vision_config", "num_attention_heads", serde_json::json!(5)),
            ("vision_config", "patch_size", serde_json::json!(17)),
            ("vision_config", "num_channels", serde_json::json!(4)),
        ];
        for (section, key, value) in cases {
            let mut config = small();
            config[section][key] = value;
            let error = parse(&config).unwrap_err().to_string();
            assert!(error.contains(key), "{section}.{key}: {error}");
        }
        let mut config = small();
        config["quantization_config"] = serde_json::json!({"load_in_8bit": true});
        assert!(parse(&config).unwrap_err().to_string().contains("quantization_config"));
    }

    #[test]
    fn the_released_geometry_has_the_published_size() {
        let config = serde_json::json!({
            "model_type": "idefics3", "image_token_id": 49190, "scale_factor": 4,
            "text_config": {"vocab_size": 49280, "hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32,
                "num_attention_heads": 15, "num_key_value_heads": 5, "rms_norm_eps": 1e-5, "rope_theta": 100_000.0},
            "vision_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                "num_attention_heads": 12, "image_size": 512, "patch_size": 16},
        });
        let config = parse(&config).unwrap();
        let tensors = config.tensors();
        let total: usize = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!((tensors.len(), total), (489, 507_482_304));
        assert_eq!((config.text.head_dim, config.image_seq_len()), (64, 64));
    }
}
