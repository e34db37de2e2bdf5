//! `adapter_config.json` with every key that PEFT 0.21 writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::{AdapterOrigin, PeftAdapter};
use crate::files::{invalid_file, read_bytes, write_atomic};
use crate::lora::{InitLoraWeights, LoraConfig, OneOrMany};
use crate::{Error, Result};

const WHAT: &str = "adapter configuration";

/// The version of PEFT whose format is written.
const PEFT_VERSION: &str = "0.21.2";

/// What an `adapter_config.json` says.
pub(super) struct Read {
    pub(super) config: LoraConfig,
    pub(super) origin: AdapterOrigin,
}

/// Keys that change nothing about what is computed.
const DESCRIPTIVE: [&str; 10] = [
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

pub(super) fn read(path: &Path) -> Result<Read> {
    let bytes = read_bytes(path, WHAT)?;
    // Read twice: the typed form keeps the order of the patterns, the untyped one shows which keys there are.
    let map: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| invalid_file(path, WHAT, error))?;
    let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
    if let Some(other) = text("peft_type").filter(|kind| kind != "LORA") {
        return Err(Error::Unsupported { what: format!("`peft_type` = `{other}`") });
    }
    let raw: Raw = serde_json::from_slice(&bytes).map_err(|error| invalid_file(path, WHAT, error))?;
    refuse_unsupported(&map)?;
    let config = raw.into_config().ok_or_else(|| invalid_file(path, WHAT, "no `target_modules`"))?;
    config.validate()?;
    let origin = AdapterOrigin {
        base_model: text("base_model_name_or_path"),
        revision: text("revision"),
        task_type: text("task_type"),
        auto_mapping: map.get("auto_mapping").cloned().unwrap_or_default(),
    };
    Ok(Read { config, origin })
}

/// The keys that are read, with PEFT's defaults.
#[derive(serde::Deserialize)]
#[serde(default)]
struct Raw {
    r: usize,
    lora_alpha: f64,
    lora_dropout: f64,
    target_modules: Option<OneOrMany<String>>,
    exclude_modules: Option<OneOrMany<String>>,
    layers_to_transform: Option<OneOrMany<usize>>,
    layers_pattern: Option<OneOrMany<String>>,
    rank_pattern: Option<IndexMap<String, usize>>,
    alpha_pattern: Option<IndexMap<String, f64>>,
    use_rslora: bool,
    use_dora: bool,
    bias: String,
    lora_bias: bool,
    init_lora_weights: InitLoraWeights,
    modules_to_save: Option<Vec<String>>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            r: 8,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            target_modules: None,
            exclude_modules: None,
            layers_to_transform: None,
            layers_pattern: None,
            rank_pattern: None,
            alpha_pattern: None,
            use_rslora: false,
            use_dora: false,
            bias: "none".to_owned(),
            lora_bias: false,
            init_lora_weights: InitLoraWeights::Default(true),
            modules_to_save: None,
        }
    }
}

impl Raw {
    fn into_config(self) -> Option<LoraConfig> {
        Some(LoraConfig {
            r: self.r,
            lora_alpha: self.lora_alpha,
            lora_dropout: self.lora_dropout,
            target_modules: self.target_modules?,
            exclude_modules: self.exclude_modules,
            layers_to_transform: self.layers_to_transform,
            layers_pattern: self.layers_pattern,
            rank_pattern: self.rank_pattern.unwrap_or_default(),
            alpha_pattern: self.alpha_pattern.unwrap_or_default(),
            use_rslora: self.use_rslora,
            use_dora: self.use_dora,
            bias: self.bias,
            lora_bias: self.lora_bias,
            init_lora_weights: self.init_lora_weights,
            modules_to_save: self.modules_to_save,
        })
    }
}

const READ: [&str; 15] = [
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
    "use_dora",
    "lora_bias",
    "init_lora_weights",
    "modules_to_save",
    "bias",
];

/// Every other key, known or from a newer PEFT, must be off.
fn refuse_unsupported(map: &Map<String, Value>) -> Result<()> {
    for (key, value) in map {
        let known = READ.contains(&key.as_str()) || DESCRIPTIVE.contains(&key.as_str());
        let off = match value {
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::Array(items) => items.is_empty(),
            Value::Object(items) => items.is_empty(),
            Value::String(text) => text.is_empty(),
            Value::Number(_) => false,
        };
        if !known && !off {
            return Err(Error::Unsupported { what: format!("`{key}` of the adapter configuration") });
        }
    }
    Ok(())
}

pub(super) fn write(adapter: &PeftAdapter, path: &Path) -> Result<()> {
    let text =
        serde_json::to_string_pretty(&content(adapter)).map_err(|error| invalid_file(path, WHAT, error))?;
    write_atomic(path, format!("{text}\n").as_bytes())
}

/// A value of the file; the patterns keep their order, which decides which key matches first.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Field<'a> {
    Json(Value),
    Ranks(&'a IndexMap<String, usize>),
    Alphas(IndexMap<&'a str, Value>),
}

fn content(adapter: &PeftAdapter) -> BTreeMap<String, Field<'_>> {
    let config = &adapter.config;
    let alphas = config.alpha_pattern.iter().map(|(key, alpha)| (key.as_str(), number(*alpha))).collect();
    let mut fields: BTreeMap<_, _> =
        plain(adapter).into_iter().map(|(key, value)| (key, Field::Json(value))).collect();
    fields.insert("alpha_pattern".to_owned(), Field::Alphas(alphas));
    fields.insert("rank_pattern".to_owned(), Field::Ranks(&config.rank_pattern));
    fields
}

fn plain(adapter: &PeftAdapter) -> Map<String, Value> {
    let (config, origin) = (&adapter.config, &adapter.origin);
    let mut fields = Map::new();
    for key in OFF {
        fields.insert(key.to_owned(), Value::Null);
    }
    fields.extend(flags(config));
    for (key, value) in [
        ("auto_mapping", origin.auto_mapping.clone()),
        ("base_model_name_or_path", json!(origin.base_model)),
        ("bias", json!(config.bias)),
        ("exclude_modules", json!(config.exclude_modules)),
        ("init_lora_weights", json!(config.init_lora_weights)),
        ("layers_pattern", json!(config.layers_pattern)),
        ("layers_to_transform", json!(config.layers_to_transform)),
        ("loftq_config", json!({})),
        ("lora_alpha", number(config.lora_alpha)),
        ("lora_dropout", json!(config.lora_dropout)),
        ("megatron_core", json!("megatron.core")),
        ("modules_to_save", json!(config.modules_to_save)),
        ("peft_type", json!("LORA")),
        ("peft_version", json!(PEFT_VERSION)),
        ("qalora_group_size", json!(16)),
        ("r", json!(config.r)),
        ("revision", json!(origin.revision)),
        ("target_modules", target_modules(adapter)),
        ("task_type", json!(origin.task_type)),
    ] {
        fields.insert(key.to_owned(), value);
    }
    fields
}

fn flags(config: &LoraConfig) -> impl Iterator<Item = (String, Value)> {
    let flags = [
        ("ensure_weight_tying", false),
        ("fan_in_fan_out", false),
        ("inference_mode", true),
        ("lora_bias", config.lora_bias),
        ("use_dora", config.use_dora),
        ("use_qalora", false),
        ("use_rslora", config.use_rslora),
    ];
    flags.into_iter().map(|(key, flag)| (key.to_owned(), json!(flag)))
}

/// Keys that are always written as null: what they turn on is not supported.
const OFF: [&str; 13] = [
    "alora_invocation_tokens",
    "arrow_config",
    "corda_config",
    "eva_config",
    "kasa_config",
    "layer_replication",
    "lora_ga_config",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "velora_config",
];

/// PEFT types `lora_alpha` as an integer; a fraction is kept as it is.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}

/// `all-linear` is stored as the suffixes that it stood for, which other readers understand too.
fn target_modules(adapter: &PeftAdapter) -> Value {
    match &adapter.config.target_modules {
        OneOrMany::One(name) if name.eq_ignore_ascii_case("all-linear") => {
            let names = adapter.modules.iter().filter_map(|module| module.spec.module.rsplit('.').next());
            json!(names.collect::<BTreeSet<&str>>())
        }
        other => json!(other),
    }
}
