//! The merged checkpoint.

use std::path::Path;

use durable_files::{io_error, sync_dir};
use vlm_lora::{Checkpoint, PeftAdapter, merge};

use crate::Result;

/// What a checkpoint's folder holds beside its weights: configuration, tokenizer, processor. Other files of the base's folder
/// (weights in other formats, its model card) are of the base and not of the merged model.
const KEPT: [&str; 12] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
];

/// Writes the checkpoint with the adapter folded in to the folder `out`, which must not exist or be empty: the same tensors in the
/// same element types, those of the vision tower included; configuration, tokenizer and processor files as the base has them, but
/// for `tie_word_embeddings` where the adapter is on a tied head. What else lies in the base's folder is left out.
///
/// # Errors
/// When the adapter does not fit the checkpoint, or a file cannot be read or written.
pub fn write_merged(checkpoint: &Checkpoint, adapter: &PeftAdapter, out: &Path) -> Result<()> {
    merge(checkpoint, adapter, out)?;
    for entry in std::fs::read_dir(out).map_err(io_error("read", out))? {
        let path = entry.map_err(io_error("read", out))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !KEPT.contains(&name.as_str()) && !is_weight(checkpoint, &name) {
            std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(sync_dir(out)?)
}

/// Whether the base's weights lie in a file of this name, or it is their index.
fn is_weight(checkpoint: &Checkpoint, name: &str) -> bool {
    let is_sharded = !checkpoint.dir().join(SINGLE).exists();
    let is_shard = name.starts_with("model") && (name.ends_with(".safetensors") || name == INDEX);
    if is_sharded { is_shard } else { name == SINGLE }
}

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
