use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Processor;
use super::settings::Settings;
use super::template::ChatTemplate;
use crate::Result;
use crate::files::read_json_object;
use crate::fingerprint::{Fingerprint, FingerprintScheme, canonical_json};

impl Processor {
    /// Every file of a checkpoint that a processor may be made from.
    pub(crate) const FILES: [&'static str; 6] = [
        "chat_template.jinja",
        "chat_template.json",
        "preprocessor_config.json",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];

    /// Names how a checkpoint turns text and images into inputs: SHA-256 of the chat template that is in force with the
    /// special tokens it may name, the image settings that are in force, and `tokenizer.json`.
    ///
    /// The same content in the older or the newer layout of files, with other spaces or another order of keys, and with
    /// merges written as pairs or as text, has the same name.
    ///
    /// # Errors
    /// When a file is missing or invalid, or asks for something that is not supported.
    pub fn fingerprint(dir: impl AsRef<Path>) -> Result<Fingerprint> {
        let dir = dir.as_ref();
        let Settings { longest_edge, tile, split, image_seq_len } = Settings::read(dir)?;
        let (template, special_tokens) = ChatTemplate::read(dir)?;
        let tokenizer = read_json_object(&dir.join("tokenizer.json"), "tokenizer")?;
        let text = canonical_json(json!({
            "image": {
                "longest_edge": longest_edge, "tile": tile, "split": split, "image_seq_len": image_seq_len,
            },
            "template": template,
            "special_tokens": special_tokens,
            "tokenizer": plain(tokenizer),
        }));
        Ok(Fingerprint::new(FingerprintScheme::Processor, Sha256::digest(text).into()))
    }
}

/// The tokenizer without what is not used (truncation and padding), its merges as pairs.
fn plain(mut tokenizer: Map<String, Value>) -> Value {
    for unused in ["truncation", "padding"] {
        tokenizer.remove(unused);
    }
    let merges = tokenizer.get_mut("model").and_then(|model| model.get_mut("merges"));
    for merge in merges.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some((first, second)) = merge.as_str().and_then(|merge| merge.split_once(' ')) {
            *merge = json!([first, second]);
        }
    }
    Value::Object(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/text-all/model");
        for name in Processor::FILES {
            if model.join(name).exists() {
                std::fs::copy(model.join(name), dir.path().join(name)).unwrap();
            }
        }
        dir
    }

    fn json_of(path: &Path) -> Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn the_older_layout_has_the_same_name() {
        let dir = copy();
        let name = || Processor::fingerprint(dir.path()).unwrap();
        let newer = name();
        let path = |file: &str| dir.path().join(file);
        let template = std::fs::read_to_string(path("chat_template.jinja")).unwrap();
        std::fs::remove_file(path("chat_template.jinja")).unwrap();
        std::fs::write(path("chat_template.json"), json!({"chat_template": template}).to_string()).unwrap();
        let mut whole = json_of(&path("processor_config.json"));
        let image = whole.as_object_mut().unwrap().remove("image_processor").unwrap();
        std::fs::write(path("processor_config.json"), format!("{whole:#}")).unwrap();
        std::fs::write(path("preprocessor_config.json"), image.to_string()).unwrap();
        let mut tokenizer = json_of(&path("tokenizer.json"));
        tokenizer["truncation"] = json!({"max_length": 5});
        for merge in tokenizer["model"]["merges"].as_array_mut().unwrap() {
            *merge = format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()).into();
        }
        std::fs::write(path("tokenizer.json"), format!("{tokenizer:#}")).unwrap();
        assert_eq!(name(), newer);
    }

    #[test]
    fn whatever_changes_pixels_or_ids_changes_the_name() {
        let dir = copy();
        let name = || Processor::fingerprint(dir.path()).unwrap();
        let mut seen = vec![name()];
        let mut change = |file: &str, pointer: &str, value: Value| {
            let path = dir.path().join(file);
            let mut content = json_of(&path);
            *content.pointer_mut(pointer).unwrap() = value;
            std::fs::write(&path, content.to_string()).unwrap();
            assert!(!seen.contains(&name()), "{file} {pointer}");
            seen.push(name());
        };
        change("processor_config.json", "/image_seq_len", json!(5));
        change("processor_config.json", "/image_processor/do_image_splitting", json!(false));
        change("processor_config.json", "/image_processor/size/longest_edge", json!(777));
        change("processor_config.json", "/image_processor/max_image_size/longest_edge", json!(100));
        change("tokenizer_config.json", "/eos_token", json!("<image>"));
        change("tokenizer.json", "/model/merges/3", json!(["a", "b"]));
        change("tokenizer.json", "/added_tokens/0/special", json!(false));
        let template = dir.path().join("chat_template.jinja");
        let text = std::fs::read_to_string(&template).unwrap();
        std::fs::write(&template, text + "\n").unwrap();
        assert!(!seen.contains(&name()));
        std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
        assert!(Processor::fingerprint(dir.path()).is_err());
    }
}
