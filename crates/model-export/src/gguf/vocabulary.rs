//! Tokenizer and chat template as GGUF has them, and back.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::keys::Keys;
use crate::json::{invalid, object, object_if_present};
use crate::{Error, Result};

/// llama.cpp's numbers for the types of tokens.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// Keys of `tokenizer_config.json` with their names in GGUF.
const SPECIAL: [(&str, &str); 4] =
    [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")];

/// The tokens of a byte-level BPE tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vocabulary {
    /// One for each row of the embedding; rows without a token have `[PAD<id>]`.
    pub(super) tokens: Vec<String>,
    pub(super) types: Vec<i32>,
    /// The two parts with a blank between them, the strongest first.
    pub(super) merges: Vec<String>,
    /// llama.cpp's name of the pre-tokenizer.
    pub(super) pre: &'static str,
    /// Ids of special tokens by GGUF's name.
    pub(super) special: Vec<(&'static str, usize)>,
    pub(super) template: String,
}

fn unsupported(what: impl Into<String>) -> Error {
    Error::Unsupported { what: what.into(), format: "GGUF" }
}

impl Vocabulary {
    /// Reads `tokenizer.json`, `tokenizer_config.json` and the chat template of a checkpoint with `rows` rows of embeddings.
    pub(super) fn open(dir: &Path, rows: usize) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let tokenizer = object(&path)?;
        let model = tokenizer.get("model").and_then(Value::as_object);
        let model = model.ok_or_else(|| invalid(&path, "it has no `model`"))?;
        check(&tokenizer, model)?;
        let mut vocabulary = Self {
            tokens: (0..rows).map(|id| format!("[PAD{id}]")).collect(),
            types: vec![UNUSED; rows],
            merges: merges(model).ok_or_else(|| invalid(&path, "its `merges` are no pairs"))?,
            pre: pre_tokenizer(&tokenizer)?,
            special: Vec::new(),
            template: template(dir)?,
        };
        let words = model.get("vocab").and_then(Value::as_object);
        for (token, id) in words.ok_or_else(|| invalid(&path, "it has no `vocab`"))? {
            vocabulary.put(&path, token, id, NORMAL)?;
        }
        for token in tokenizer.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
            vocabulary.put_added(&path, token)?;
        }
        vocabulary.read_special(dir)?;
        Ok(vocabulary)
    }

    /// Takes from `tokenizer_config.json` which tokens begin, end and pad a text.
    fn read_special(&mut self, dir: &Path) -> Result<()> {
        let settings = object_if_present(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
        self.special = SPECIAL
            .into_iter()
            .filter_map(|(key, name)| {
                let value = settings.get(key)?;
                let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
                Some((name, self.id(text)?))
            })
            .collect();
        Ok(())
    }

    fn put(&mut self, path: &Path, token: &str, id: &Value, kind: i32) -> Result<()> {
        let at = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|id| *id < self.tokens.len());
        let at =
            at.ok_or_else(|| invalid(path, format!("`{token}` has the id {id}, beyond the embedding")))?;
        token.clone_into(&mut self.tokens[at]);
        self.types[at] = kind;
        Ok(())
    }

    fn put_added(&mut self, path: &Path, token: &Value) -> Result<()> {
        let flag = |key: &str| token.get(key).and_then(Value::as_bool).unwrap_or(false);
        let text = token.get("content").and_then(Value::as_str).unwrap_or_default();
        if flag("lstrip") || flag("rstrip") || flag("single_word") {
            return Err(unsupported(format!(
                "a token such as `{text}`, which takes blanks or whole words alone,"
            )));
        }
        let kind = if flag("special") { CONTROL } else { USER_DEFINED };
        self.put(path, text, token.get("id").unwrap_or(&Value::Null), kind)
    }

    fn id(&self, text: &str) -> Option<usize> {
        self.tokens.iter().position(|token| token == text)
    }
}

/// Refuses what changes tokens and what llama.cpp's byte-level BPE does not do.
fn check(tokenizer: &Map<String, Value>, model: &Map<String, Value>) -> Result<()> {
    let is_set = |map: &Map<String, Value>, key: &str| {
        map.get(key).is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)) && value != "")
    };
    if model.get("type").and_then(Value::as_str) != Some("BPE") {
        return Err(unsupported("a tokenizer that is not byte-level BPE"));
    }
    let keys =
        ["dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"];
    let of_model = keys.into_iter().find(|key| is_set(model, key));
    match of_model.or_else(|| is_set(tokenizer, "normalizer").then_some("normalizer")) {
        Some(key) => Err(unsupported(format!("`{key}` of the tokenizer"))),
        None if adds_tokens(tokenizer.get("post_processor").unwrap_or(&Value::Null)) => {
            Err(unsupported("a tokenizer that adds tokens around a text"))
        }
        None => Ok(()),
    }
}

/// Whether a post-processor adds tokens around a text.
fn adds_tokens(processor: &Value) -> bool {
    let list = |key: &str| processor.get(key).and_then(Value::as_array);
    match processor.get("type").and_then(Value::as_str) {
        None => !processor.is_null(),
        Some("ByteLevel") => false,
        Some("Sequence") => list("processors").is_none_or(|all| all.iter().any(adds_tokens)),
        Some("TemplateProcessing") => {
            list("single").is_none_or(|parts| parts.iter().any(|part| part.get("Sequence").is_none()))
        }
        Some(_) => true,
    }
}

fn merges(model: &Map<String, Value>) -> Option<Vec<String>> {
    let one = |merge: &Value| match merge {
        Value::String(pair) => Some(pair.clone()),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(left), Value::String(right)] => Some(format!("{left} {right}")),
            _ => None,
        },
        _ => None,
    };
    model.get("merges")?.as_array()?.iter().map(one).collect()
}

/// The pre-tokenizers that llama.cpp has, by its names.
fn known_pre_tokenizers() -> [(&'static str, Value); 2] {
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let digits = json!({"type": "Digits", "individual_digits": true});
    [("smollm", json!({"type": "Sequence", "pretokenizers": [digits, bytes.clone()]})), ("gpt-2", bytes)]
}

/// llama.cpp's name of the pre-tokenizer; where words are cut decides the tokens, so that an unknown one is refused.
fn pre_tokenizer(tokenizer: &Map<String, Value>) -> Result<&'static str> {
    fn without_offsets(value: &Value) -> Value {
        let mut value = value.clone();
        if let Some(map) = value.as_object_mut() {
            map.remove("trim_offsets"); // changes no token
            if let Some(Value::Array(parts)) = map.get_mut("pretokenizers") {
                for part in parts.iter_mut() {
                    *part = without_offsets(part);
                }
            }
        }
        value
    }
    let own = without_offsets(tokenizer.get("pre_tokenizer").unwrap_or(&Value::Null));
    let known = known_pre_tokenizers().into_iter().find(|(_, value)| without_offsets(value) == own);
    known.map(|(name, _)| name).ok_or_else(|| unsupported(format!("the pre-tokenizer {own}")))
}

/// The chat template where transformers looks for it.
fn template(dir: &Path) -> Result<String> {
    let path = dir.join("chat_template.jinja");
    match std::fs::read_to_string(&path) {
        Ok(text) => return Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(durable_files::io_error("read", &path)(error).into()),
    }
    for file in ["chat_template.json", "processor_config.json", "tokenizer_config.json"] {
        let found = object_if_present(&dir.join(file))?.and_then(|map| map.get("chat_template").cloned());
        if let Some(Value::String(text)) = found {
            return Ok(text);
        }
    }
    Err(invalid(dir, "it has no chat template"))
}

/// `tokenizer.json` and `tokenizer_config.json` as a GGUF file tells them.
pub(super) fn tokenizer(text: &Keys<'_>) -> Result<(Value, Value)> {
    text.expect("tokenizer.ggml.model", "gpt2")?;
    let tokens = text.texts("tokenizer.ggml.tokens")?;
    let types = text.numbers("tokenizer.ggml.token_type")?;
    if types.len() != tokens.len() {
        return Err(invalid(text.path, "it has more tokens than types, or fewer"));
    }
    let pre = text.text("tokenizer.ggml.pre")?;
    let known = known_pre_tokenizers().into_iter().find(|(name, _)| *name == pre);
    let (_, pre) =
        known.ok_or_else(|| invalid(text.path, format!("the pre-tokenizer `{pre}` is not known")))?;
    let (mut words, mut added) = (Map::new(), Vec::new());
    for (id, (token, kind)) in tokens.iter().zip(&types).enumerate() {
        match *kind {
            NORMAL => {}
            CONTROL | USER_DEFINED => added.push(json!({
                "id": id, "content": token, "special": *kind == CONTROL,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            })),
            UNUSED => continue,
            other => return Err(invalid(text.path, format!("`{token}` has the type {other}"))),
        }
        // Added tokens too: one that is not among the words gets the next free id, whatever it states.
        words.insert((*token).to_owned(), json!(id));
    }
    let merges = text.texts("tokenizer.ggml.merges")?;
    let pairs: Option<Vec<[&str; 2]>> =
        merges.iter().map(|pair| pair.split_once(' ').map(|(left, right)| [left, right])).collect();
    let pairs = pairs.ok_or_else(|| invalid(text.path, "a merge is no pair"))?;
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": pre, "post_processor": null, "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": words, "merges": pairs,
        },
    });
    Ok((tokenizer, special(text, &tokens)))
}

fn special(text: &Keys<'_>, tokens: &[&str]) -> Value {
    let mut settings = Map::new();
    for (key, name) in SPECIAL {
        let id = text.number(&format!("tokenizer.ggml.{name}_token_id")).ok();
        let token = id.and_then(|id| usize::try_from(id).ok()).and_then(|id| tokens.get(id));
        settings.extend(token.map(|token| (key.to_owned(), json!(token))));
    }
    Value::Object(settings)
}
