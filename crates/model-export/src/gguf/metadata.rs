//! The keys of both files, and a checkpoint's configuration from them.

use candle_core::quantized::gguf_file::Value;
use serde_json::json;
use vlm_lora::ModelConfig;

use super::keys::Keys;
use super::vocabulary::Vocabulary;
use crate::json::invalid;
use crate::{Error, Result};

/// How the values of pixels are normalised: the only one that `vlm-lora` computes.
const MEAN_AND_DEVIATION: f32 = 0.5;
/// The projector that llama.cpp has for Idefics3 and SmolVLM.
const PROJECTOR: &str = "idefics3";
const ARCHITECTURE: &str = "general.architecture";

/// Keys with their values, in the order in which they are written.
#[derive(Debug, Default)]
pub(super) struct Metadata(pub(super) Vec<(String, Value)>);

impl Metadata {
    fn text(&mut self, key: &str, value: &str) {
        self.0.push((key.to_owned(), Value::String(value.to_owned())));
    }

    fn number(&mut self, key: &str, value: usize) -> Result<()> {
        let what = || Error::Unsupported { what: format!("`{key}` = {value}"), format: "GGUF" };
        self.0.push((key.to_owned(), Value::U32(u32::try_from(value).map_err(|_| what())?)));
        Ok(())
    }

    fn float(&mut self, key: &str, value: f64) {
        self.0.push((key.to_owned(), Value::F32(value as f32)));
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.0.push((key.to_owned(), Value::Bool(value)));
    }

    fn list(&mut self, key: &str, values: Vec<Value>) {
        self.0.push((key.to_owned(), Value::Array(values)));
    }
}

/// What both files say of themselves; `file_type` is llama.cpp's number of the quantization.
fn general(architecture: &str, kind: &str, name: &str, file_type: usize) -> Result<Metadata> {
    let mut data = Metadata::default();
    data.text(ARCHITECTURE, architecture);
    data.text("general.type", kind);
    data.text("general.name", name);
    data.number("general.file_type", file_type)?;
    data.number("general.quantization_version", 2)?;
    Ok(data)
}

/// The keys of the text model.
pub(super) fn text(
    config: &ModelConfig,
    vocabulary: &Vocabulary,
    name: &str,
    file_type: usize,
) -> Result<Metadata> {
    let text = &config.text;
    if text.rope_scaling.is_some() {
        let what = "a rotary embedding of the type `llama3`".to_owned();
        return Err(Error::Unsupported { what, format: "this project's GGUF" });
    }
    let mut data = general("llama", "model", name, file_type)?;
    data.number("llama.block_count", text.num_hidden_layers)?;
    data.number("llama.context_length", text.max_position_embeddings)?;
    data.number("llama.embedding_length", text.hidden_size)?;
    data.number("llama.feed_forward_length", text.intermediate_size)?;
    data.number("llama.attention.head_count", text.num_attention_heads)?;
    data.number("llama.attention.head_count_kv", text.num_key_value_heads)?;
    data.number("llama.attention.key_length", text.head_dim)?;
    data.number("llama.attention.value_length", text.head_dim)?;
    data.float("llama.attention.layer_norm_rms_epsilon", text.rms_norm_eps);
    data.float("llama.rope.freq_base", text.rope_theta);
    data.number("llama.rope.dimension_count", text.head_dim)?;
    data.number("llama.vocab_size", text.vocab_size)?;
    words(&mut data, vocabulary)?;
    Ok(data)
}

fn words(data: &mut Metadata, vocabulary: &Vocabulary) -> Result<()> {
    data.text("tokenizer.ggml.model", "gpt2");
    data.text("tokenizer.ggml.pre", vocabulary.pre);
    let strings = |texts: &[String]| texts.iter().cloned().map(Value::String).collect();
    data.list("tokenizer.ggml.tokens", strings(&vocabulary.tokens));
    let types = vocabulary.types.iter().map(|kind| Value::I32(*kind)).collect();
    data.list("tokenizer.ggml.token_type", types);
    data.list("tokenizer.ggml.merges", strings(&vocabulary.merges));
    for (key, id) in &vocabulary.special {
        data.number(&format!("tokenizer.ggml.{key}_token_id"), *id)?;
    }
    data.flag("tokenizer.ggml.add_bos_token", false);
    data.flag("tokenizer.ggml.add_eos_token", false);
    data.flag("tokenizer.ggml.add_space_prefix", false);
    data.text("tokenizer.chat_template", &vocabulary.template);
    Ok(())
}

/// The keys of the vision projector; `longest_edge` is what an image is resized to before it is split.
pub(super) fn projector(
    config: &ModelConfig,
    longest_edge: usize,
    name: &str,
    file_type: usize,
) -> Result<Metadata> {
    let vision = &config.vision;
    let mut data = general("clip", "mmproj", name, file_type)?;
    data.flag("clip.has_vision_encoder", true);
    data.text("clip.projector_type", PROJECTOR);
    data.number("clip.vision.projection_dim", config.text.hidden_size)?;
    data.number("clip.vision.image_size", vision.image_size)?;
    data.number("clip.vision.patch_size", vision.patch_size)?;
    data.number("clip.vision.embedding_length", vision.hidden_size)?;
    data.number("clip.vision.feed_forward_length", vision.intermediate_size)?;
    data.number("clip.vision.block_count", vision.num_hidden_layers)?;
    data.number("clip.vision.attention.head_count", vision.num_attention_heads)?;
    data.float("clip.vision.attention.layer_norm_epsilon", vision.layer_norm_eps);
    data.list("clip.vision.image_mean", vec![Value::F32(MEAN_AND_DEVIATION); 3]);
    data.list("clip.vision.image_std", vec![Value::F32(MEAN_AND_DEVIATION); 3]);
    data.number("clip.vision.preproc_image_size", longest_edge)?;
    data.number("clip.vision.projector.scale_factor", config.scale_factor)?;
    data.flag("clip.use_gelu", true);
    Ok(data)
}

/// `config.json` of the pair; `image_token` is the id of the token that image features replace.
pub(super) fn configuration(
    text: &Keys<'_>,
    vision: &Keys<'_>,
    image_token: usize,
    is_tied: bool,
) -> Result<serde_json::Value> {
    text.expect(ARCHITECTURE, "llama")?;
    vision.expect(ARCHITECTURE, "clip")?;
    vision.expect("clip.projector_type", PROJECTOR)?;
    if vision.get("clip.use_gelu", "true or false", |value| value.to_bool().ok())? {
        Ok(json!({
            "architectures": ["Idefics3ForConditionalGeneration"],
            "model_type": "idefics3", "image_token_id": image_token, "tie_word_embeddings": is_tied,
            "scale_factor": vision.number("clip.vision.projector.scale_factor")?,
            "text_config": text_section(text)?, "vision_config": vision_section(vision)?,
        }))
    } else {
        Err(invalid(vision.path, "`clip.use_gelu` is false"))
    }
}

fn text_section(text: &Keys<'_>) -> Result<serde_json::Value> {
    Ok(json!({
        "model_type": "llama", "hidden_act": "silu",
        "vocab_size": text.number("llama.vocab_size")?,
        "hidden_size": text.number("llama.embedding_length")?,
        "intermediate_size": text.number("llama.feed_forward_length")?,
        "num_hidden_layers": text.number("llama.block_count")?,
        "num_attention_heads": text.number("llama.attention.head_count")?,
        "num_key_value_heads": text.number("llama.attention.head_count_kv")?,
        "head_dim": text.number("llama.attention.key_length")?,
        "rms_norm_eps": text.float("llama.attention.layer_norm_rms_epsilon")?,
        "rope_theta": text.float("llama.rope.freq_base")?,
        "max_position_embeddings": text.number("llama.context_length")?,
    }))
}

fn vision_section(vision: &Keys<'_>) -> Result<serde_json::Value> {
    Ok(json!({
        "model_type": "idefics3_vision", "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": vision.number("clip.vision.embedding_length")?,
        "intermediate_size": vision.number("clip.vision.feed_forward_length")?,
        "num_hidden_layers": vision.number("clip.vision.block_count")?,
        "num_attention_heads": vision.number("clip.vision.attention.head_count")?,
        "image_size": vision.number("clip.vision.image_size")?,
        "patch_size": vision.number("clip.vision.patch_size")?,
        "layer_norm_eps": vision.float("clip.vision.attention.layer_norm_epsilon")?,
    }))
}

/// `processor_config.json` of the pair.
pub(super) fn processor(vision: &Keys<'_>) -> Result<serde_json::Value> {
    let side = vision.number("clip.vision.image_size")?;
    let patch = vision.number("clip.vision.patch_size")?.max(1);
    let scale = vision.number("clip.vision.projector.scale_factor")?.max(1);
    let floats = |key| {
        vision.get(key, "a list of numbers", |value| {
            value.to_vec().ok()?.iter().map(|value| value.to_f32().ok()).collect::<Option<Vec<f32>>>()
        })
    };
    Ok(json!({
        "processor_class": "Idefics3Processor", "image_seq_len": (side / patch / scale).pow(2),
        "image_processor": {
            "image_processor_type": "Idefics3ImageProcessor", "resample": 1, "rescale_factor": 1.0 / 255.0,
            "image_mean": floats("clip.vision.image_mean")?, "image_std": floats("clip.vision.image_std")?,
            "do_image_splitting": true, "max_image_size": {"longest_edge": side},
            "size": {"longest_edge": vision.number("clip.vision.preproc_image_size")?},
        },
    }))
}
