//! Reading a `config.json` key by key.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::{TextConfig, VisionConfig};
use crate::rotary::Llama3Scaling;
use crate::{Error, Result};

/// Class defaults of transformers stand in for what a released configuration leaves out.
pub(super) fn vision(section: &Section<'_>) -> Result<VisionConfig> {
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

/// Refuses a text model that computes otherwise.
fn check_text(section: &Section<'_>) -> Result<()> {
    section.only("model_type", "llama", true)?;
    section.only("hidden_act", "silu", true)?;
    section.zero("attention_dropout")?;
    for key in ["attention_bias", "mlp_bias"] {
        if section.flag(key, false)? {
            return Err(Error::Unsupported { what: format!("`text_config.{key}` = true") });
        }
    }
    Ok(())
}

pub(super) fn text(section: &Section<'_>) -> Result<TextConfig> {
    check_text(section)?;
    let hidden_size = section.size("hidden_size", None)?;
    let heads = section.size("num_attention_heads", Some(32))?;
    let head_dim = section.size("head_dim", Some(hidden_size / heads).filter(|size| *size > 0))?;
    Ok(TextConfig {
        vocab_size: section.size("vocab_size", None)?,
        hidden_size,
        intermediate_size: section.size("intermediate_size", None)?,
        num_hidden_layers: section.layers("num_hidden_layers", 32)?,
        num_attention_heads: heads,
        num_key_value_heads: section.size("num_key_value_heads", Some(heads))?,
        head_dim,
        rms_norm_eps: section.positive("rms_norm_eps", Some(1e-6))?,
        rope_theta: rope_theta(section)?,
        rope_scaling: rope_scaling(section)?,
        max_position_embeddings: section.size("max_position_embeddings", Some(2048))?,
    })
}

/// The tables that describe the rotary embedding: transformers 5 writes `rope_parameters`, older versions `rope_scaling`.
fn rope_tables<'a>(section: &'a Section<'_>) -> Result<Vec<(&'static str, &'a Map<String, Value>)>> {
    let mut tables = Vec::new();
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(value) = section.get(key) else { continue };
        tables.push((key, value.as_object().ok_or_else(|| section.invalid(key, "a table", value))?));
    }
    Ok(tables)
}

/// `rope_theta` stands in the text section (older files) or in `rope_parameters`; the class default (10000) is wrong for
/// every released checkpoint, so a missing value is an error.
fn rope_theta(section: &Section<'_>) -> Result<f64> {
    let tables = rope_tables(section)?;
    match tables.iter().find(|(key, map)| *key == "rope_parameters" && map.contains_key("rope_theta")) {
        Some((_, map)) => {
            Section { prefix: "text_config.rope_parameters.", map }.positive("rope_theta", None)
        }
        None => section.positive("rope_theta", None),
    }
}

/// The keys of the type `llama3` beside `rope_type` and `rope_theta`.
const LLAMA3_KEYS: [&str; 4] =
    ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"];

/// What a table of this kind holds beside what every one holds.
fn rope_keys(key: &str, kind: &str) -> Result<&'static [&'static str]> {
    match kind {
        "default" => Ok(&[]),
        "llama3" => Ok(&LLAMA3_KEYS),
        _ => Err(Error::Unsupported {
            what: format!("`text_config.{key}.rope_type` = `{kind}` (only `default` and `llama3`)"),
        }),
    }
}

/// How angles are stretched: by no table or the type `default` not at all, by the type `llama3`, by nothing else.
fn rope_scaling(section: &Section<'_>) -> Result<Option<Llama3Scaling>> {
    let mut scaling = None;
    for (key, map) in rope_tables(section)? {
        let rope = Section { prefix: &format!("text_config.{key}."), map };
        let kind = rope.text("rope_type", None).or_else(|_| rope.text("type", Some("default")))?;
        let known = rope_keys(key, &kind)?;
        let common = ["rope_type", "type", "rope_theta"];
        for (name, value) in map {
            if !common.contains(&name.as_str()) && !known.contains(&name.as_str()) && !value.is_null() {
                return Err(Error::Unsupported { what: format!("`text_config.{key}.{name}`") });
            }
        }
        if kind == "llama3" {
            scaling = Some(llama3(&rope)?);
        }
    }
    Ok(scaling)
}

fn llama3(rope: &Section<'_>) -> Result<Llama3Scaling> {
    let scaling = Llama3Scaling {
        factor: rope.positive("factor", None)?,
        low_freq_factor: rope.positive("low_freq_factor", None)?,
        high_freq_factor: rope.positive("high_freq_factor", None)?,
        original_max_position_embeddings: rope.size("original_max_position_embeddings", None)?,
    };
    if scaling.high_freq_factor <= scaling.low_freq_factor {
        let key = format!("{}high_freq_factor", rope.prefix);
        return Err(invalid(&key, "above `low_freq_factor`", &scaling.high_freq_factor));
    }
    Ok(scaling)
}

pub(super) fn invalid(key: &str, expected: &str, actual: &dyn std::fmt::Display) -> Error {
    Error::InvalidConfig { key: key.to_owned(), expected: expected.to_owned(), actual: actual.to_string() }
}

/// Largest size that any dimension may claim; keeps products of sizes far from overflow.
const MAX_SIZE: usize = 1 << 22;

/// One table of the configuration with the path that errors name.
pub(super) struct Section<'a> {
    pub(super) prefix: &'a str,
    pub(super) map: &'a Map<String, Value>,
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

    pub(super) fn section(&self, key: &'static str) -> Result<Section<'_>> {
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

    pub(super) fn size(&self, key: &str, default: Option<usize>) -> Result<usize> {
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

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.invalid(key, "true or false", value))
    }

    pub(super) fn text(&self, key: &str, default: Option<&str>) -> Result<String> {
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

    pub(super) fn refuse(&self, key: &str) -> Result<()> {
        match self.get(key) {
            Some(_) => Err(Error::Unsupported { what: format!("`{}{key}`", self.prefix) }),
            None => Ok(()),
        }
    }
}
