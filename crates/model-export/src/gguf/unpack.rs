//! A pair of GGUF files as a checkpoint again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::Content;
use durable_files::{io_error, write_json};
use serde_json::Value;
use vlm_lora::ModelConfig;
use vlm_lora::safetensors::tensor::TensorView;
use vlm_lora::safetensors::{self, Dtype};

use super::keys::Keys;
use super::metadata;
use super::names::{self, Named};
use super::write::gguf_error;
use super::{GgufPair, rope, vocabulary};
use crate::json::invalid;
use crate::{Error, Result};

const IMAGE_TOKEN: &str = "<image>";

impl GgufPair {
    /// Reads the pair and writes a checkpoint with its weights in f32 to the folder `out`, which is created: configuration,
    /// tokenizer, chat template and processor from the metadata, and nothing from anywhere else.
    ///
    /// # Errors
    /// When a file cannot be read, lacks a key or a tensor, has one that is not of the model, or describes another kind of model.
    pub fn unpack(&self, out: &Path) -> Result<()> {
        let (mut text, mut projector) = (Reader::open(&self.text)?, Reader::open(&self.projector)?);
        let tokens = text.keys().texts("tokenizer.ggml.tokens")?;
        let image_token = tokens.iter().position(|token| *token == IMAGE_TOKEN);
        let image_token =
            image_token.ok_or_else(|| invalid(&self.text, format!("it has no token `{IMAGE_TOKEN}`")))?;
        let has_head = text.content.tensor_infos.contains_key("output.weight");
        let config = metadata::configuration(&text.keys(), &projector.keys(), image_token, !has_head)?;
        std::fs::create_dir_all(out).map_err(io_error("create", out))?;
        let put = |name: &str, value: &Value| write_json(&out.join(name), value);
        put("config.json", &config)?;
        put("processor_config.json", &metadata::processor(&projector.keys())?)?;
        let (tokenizer, settings) = vocabulary::tokenizer(&text.keys())?;
        put("tokenizer.json", &tokenizer)?;
        put("tokenizer_config.json", &settings)?;
        let template = text.keys().text("tokenizer.chat_template")?.to_owned();
        durable_files::write_atomic(&out.join("chat_template.jinja"), template.as_bytes())?;
        let model = ModelConfig::open(out)?;
        let mut tensors = text.tensors(&names::text(&model, has_head))?;
        tensors.extend(projector.tensors(&names::projector(&model))?);
        write(&out.join("model.safetensors"), &tensors)
    }
}

/// Bytes and shapes of f32 tensors by their names in a checkpoint.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

fn write(path: &Path, tensors: &Tensors) -> Result<()> {
    let failed = |error: safetensors::SafeTensorError| invalid(path, error);
    let mut views = Vec::with_capacity(tensors.len());
    for (name, (shape, bytes)) in tensors {
        views.push((name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(failed)?));
    }
    safetensors::serialize_to_file(views, None, path).map_err(failed)
}

/// A GGUF file that is open.
struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    content: Content,
}

impl Reader {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(io_error("read", path))?;
        let mut file = BufReader::new(file);
        let content = Content::read(&mut file).map_err(|error| gguf_error(path, error))?;
        Ok(Self { path: path.to_owned(), file, content })
    }

    fn keys(&self) -> Keys<'_> {
        Keys { path: &self.path, map: &self.content.metadata }
    }

    /// The tensors under their names in a checkpoint: all that are asked for, and no other is in the file.
    fn tensors(&mut self, expected: &[Named]) -> Result<Tensors> {
        let known: BTreeSet<&str> = expected.iter().map(|named| named.name.as_str()).collect();
        if let Some(other) = self.content.tensor_infos.keys().find(|name| !known.contains(name.as_str())) {
            return Err(invalid(&self.path, format!("the tensor `{other}` is not part of the model")));
        }
        let mut tensors = Tensors::new();
        for named in expected {
            tensors.insert(named.source.clone(), (named.shape.clone(), self.bytes(named)?));
        }
        Ok(tensors)
    }

    fn bytes(&mut self, named: &Named) -> Result<Vec<u8>> {
        let (path, name) = (&self.path, named.name.as_str());
        let failed = |error| gguf_error(path, error);
        let tensor = self.content.tensor(&mut self.file, name, &Device::Cpu).map_err(failed)?;
        if tensor.shape().dims() != named.shape {
            let shape = tensor.shape().dims().to_vec();
            return Err(Error::Model(vlm_lora::Error::Shape {
                name: name.to_owned(),
                expected: named.shape.clone(),
                actual: shape,
            }));
        }
        let values =
            tensor.dequantize(&Device::Cpu).and_then(|tensor| tensor.flatten_all()?.to_vec1::<f32>());
        let mut values = values.map_err(failed)?;
        if let Some(heads) = named.rotary_heads {
            values = rope::to_halves(&values, heads, named.shape.last().copied().unwrap_or(1));
        }
        Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}
