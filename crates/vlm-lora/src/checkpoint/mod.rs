//! A checkpoint: a Hugging Face directory with `config.json` and safetensors files.

mod decode;
mod fingerprint;
mod tensors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) use decode::{decode, encode_into};
pub(crate) use tensors::{TensorFile, write_f32};

use crate::Stored;
use crate::files::{invalid_file, read_json_object};
use crate::{Error, ModelConfig, Result};

const SINGLE_FILE: &str = "model.safetensors";
pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";
pub(crate) const HEAD: &str = "lm_head.weight";
pub(crate) const EMBEDDING: &str = "model.text_model.embed_tokens.weight";

/// The memory-mapped weights of a model with their configuration.
///
/// Opening reads headers only and checks that every tensor of the configuration is there with its shape and that there is
/// no other. The files must not be changed while they are mapped: shortening a mapped file ends the process.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    config: ModelConfig,
    files: Vec<TensorFile>,
    /// Tensor name → index into `files`.
    place: BTreeMap<String, usize>,
}

impl Checkpoint {
    /// Opens a directory with `config.json` and either `model.safetensors` or `model.safetensors.index.json` and its shards.
    ///
    /// # Errors
    /// When a file is missing or invalid, or a tensor is missing, unknown, misshapen or of a type other than F32, F16 and
    /// BF16; the error names it.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let config = ModelConfig::open(dir)?;
        let index = dir.join(INDEX_FILE);
        let single = dir.join(SINGLE_FILE);
        let names = if single.exists() || !index.exists() { vec![single] } else { shard_paths(dir, &index)? };
        let files = names.iter().map(|path| TensorFile::open(path)).collect::<Result<Vec<_>>>()?;
        let mut place = BTreeMap::new();
        for (at, file) in files.iter().enumerate() {
            for name in file.names() {
                if place.insert(name.to_owned(), at).is_some() {
                    return Err(tensor(name, "stored twice", file.path()));
                }
            }
        }
        let checkpoint = Self { dir: dir.to_owned(), config, files, place };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    fn check(&self) -> Result<()> {
        let mut expected: BTreeMap<String, Vec<usize>> = self.config.tensors().into_iter().collect();
        if self.config.tie_word_embeddings && self.place.contains_key(HEAD) {
            expected.insert(HEAD.to_owned(), self.config.head_shape().to_vec());
            self.check_tied_head()?;
        }
        for (name, shape) in &expected {
            self.stored(name, shape)?;
        }
        match self.place.iter().find(|(name, _)| !expected.contains_key(*name) && !is_buffer(name)) {
            Some((name, &at)) => Err(tensor(name, "not part of the model", self.files[at].path())),
            None => Ok(()),
        }
    }

    /// A tied head may be stored as a copy; a copy that differs would be silently dropped by one reader and used by another.
    fn check_tied_head(&self) -> Result<()> {
        let shape = self.config.head_shape();
        let (head, embedding) = (self.stored(HEAD, &shape)?, self.stored(EMBEDDING, &shape)?);
        if head.dtype == embedding.dtype && head.bytes == embedding.bytes {
            return Ok(());
        }
        Err(tensor(
            HEAD,
            "different from the embedding that `tie_word_embeddings` ties it to",
            self.path_of(HEAD),
        ))
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The names of the stored tensors in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.place.keys().map(String::as_str)
    }

    /// The tensor `name`, which must have this shape. The bytes are little-endian, row-major and not necessarily aligned.
    ///
    /// # Errors
    /// When there is no such tensor, or it has another shape or an unsupported element type.
    pub fn stored(&self, name: &str, shape: &[usize]) -> Result<Stored<'_>> {
        let Some(&at) = self.place.get(name) else { return Err(tensor(name, "missing", self.path_of(name))) };
        self.files[at].stored(name, shape)
    }

    /// Lets the system take back the memory in which the tensor `name` was read; it may be read again.
    pub(crate) fn release(&self, name: &str) {
        if let Some(file) = self.place.get(name).and_then(|&at| self.files.get(at))
            && let Some(entry) = file.entry(name)
        {
            file.release(entry);
        }
    }

    /// The tensor `name` as f32.
    ///
    /// # Errors
    /// As [`stored`](Self::stored).
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        decode(self.stored(name, shape)?)
    }

    /// The weight `(out, in)` of a linear as f32; a tied head's is the embedding.
    pub(crate) fn module_weight(&self, module: &str, shape: [usize; 2]) -> Result<Vec<f32>> {
        let name = format!("{module}.weight");
        if name == HEAD && shape == self.config.head_shape() {
            return decode(self.head()?);
        }
        self.values(&name, &shape)
    }

    /// The output head `(vocab_size, hidden_size)`: `lm_head.weight`, or the embedding where it is tied.
    ///
    /// # Errors
    /// As [`stored`](Self::stored).
    pub fn head(&self) -> Result<Stored<'_>> {
        let name = if self.config.tie_word_embeddings { EMBEDDING } else { HEAD };
        self.stored(name, &self.config.head_shape())
    }

    pub(crate) fn files(&self) -> &[TensorFile] {
        &self.files
    }

    fn path_of(&self, name: &str) -> &Path {
        match (self.place.get(name), self.files.as_slice()) {
            (Some(&at), files) => files[at].path(),
            (None, [only]) => only.path(),
            (None, _) => &self.dir,
        }
    }
}

fn tensor(name: &str, problem: &'static str, path: &Path) -> Error {
    Error::Tensor { name: name.to_owned(), problem, path: path.to_owned() }
}

/// Buffers that older releases of transformers stored; they are recomputed, not read.
fn is_buffer(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".embeddings.position_ids")
}

/// The shards that the index names: plain file names beside it, each once.
fn shard_paths(dir: &Path, index: &Path) -> Result<Vec<PathBuf>> {
    const WHAT: &str = "index of shards";
    let content = read_json_object(index, WHAT)?;
    let map = content.get("weight_map").and_then(serde_json::Value::as_object);
    let map = map.ok_or_else(|| invalid_file(index, WHAT, "no table `weight_map`"))?;
    let mut names = std::collections::BTreeSet::new();
    for (tensor, file) in map {
        let name =
            file.as_str().filter(|name| Path::new(name).file_name().is_some_and(|plain| plain == *name));
        names.insert(
            name.ok_or_else(|| invalid_file(index, WHAT, format!("`{tensor}` names no plain file: {file}")))?,
        );
    }
    if names.is_empty() {
        return Err(invalid_file(index, WHAT, "names no shard"));
    }
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}
