//! A head of its own in place of one that is tied to the embedding.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::checkpoint::{EMBEDDING, HEAD, INDEX_FILE, TensorFile};
use crate::files::{invalid_file, read_json_object, read_json_object_if_present, write_atomic};
use crate::{Checkpoint, Result};

/// The header of the file that holds the embedding with the head behind its last tensor: length prefix and JSON.
pub(super) fn header_with_head(file: &TensorFile) -> Result<Vec<u8>> {
    const PREFIX: usize = 8;
    let invalid = |reason: &str| invalid_file(file.path(), "safetensors file", reason);
    let bytes = file.header_bytes().get(PREFIX..).unwrap_or_default();
    let mut header: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| invalid(&error.to_string()))?;
    let entry = file.entry(EMBEDDING).ok_or_else(|| invalid("no embedding"))?;
    let end = file.in_file_order().last().map_or(0, |(_, last)| last.range.end) - file.header_bytes().len();
    let mut head = header.get(EMBEDDING).cloned().ok_or_else(|| invalid("no embedding"))?;
    head["data_offsets"] = json!([end, end + entry.range.len()]);
    header.insert(HEAD.to_owned(), head);
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(PREFIX), b' ');
    Ok([&(text.len() as u64).to_le_bytes()[..], &text].concat())
}

/// Says in configuration and index that the head is a tensor of its own.
pub(super) fn untie(checkpoint: &Checkpoint, staged: &Path) -> Result<()> {
    let path = staged.join("config.json");
    let mut config = read_json_object(&path, "model configuration")?;
    config.insert("tie_word_embeddings".to_owned(), json!(false));
    if let Some(Value::Object(text)) = config.get_mut("text_config") {
        text.insert("tie_word_embeddings".to_owned(), json!(false));
    }
    write_json(&path, &Value::Object(config))?;
    let path = staged.join(INDEX_FILE);
    let Some(mut index) = read_json_object_if_present(&path, "index of shards")? else { return Ok(()) };
    let shape = checkpoint.config().head_shape();
    let head_bytes = checkpoint.head()?.bytes.len();
    let Some(Value::Object(map)) = index.get_mut("weight_map") else { return Ok(()) };
    let Some(shard) = map.get(EMBEDDING).cloned() else { return Ok(()) };
    if map.insert(HEAD.to_owned(), shard).is_none()
        && let Some(Value::Object(metadata)) = index.get_mut("metadata")
    {
        add(metadata, "total_size", head_bytes);
        add(metadata, "total_parameters", shape[0] * shape[1]);
    }
    write_json(&path, &Value::Object(index))
}

fn add(metadata: &mut Map<String, Value>, key: &str, more: usize) {
    if let Some(total) = metadata.get(key).and_then(Value::as_u64) {
        metadata.insert(key.to_owned(), json!(total + more as u64));
    }
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_atomic(path, format!("{value:#}\n").as_bytes())
}
