use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use durable_files::write_atomic_with;
use vlm_lora::{Checkpoint, ModelConfig, PeftAdapter, Processor};

use super::metadata::{self, Metadata};
use super::names::{self, Named};
use super::rope;
use super::vocabulary::Vocabulary;
use super::weights::Weights;
use crate::{Error, Result};

/// How the matrices of a GGUF file are stored. Vectors and the embeddings of the vision tower stay in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantization {
    /// Floats of two bytes with eleven significant bits.
    F16,
    /// Blocks of 32 whole numbers from −127 to 127 with a common scale in f16. Matrices whose rows are no multiple of 32 long are
    /// stored in f16.
    Q8_0,
}

impl Quantization {
    /// Its name: `f16` or `q8_0`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// llama.cpp's number of a file that is mostly stored so.
    fn file_type(self) -> usize {
        match self {
            Self::F16 => 1,
            Self::Q8_0 => 7,
        }
    }

    fn element_type(self, named: &Named) -> GgmlDType {
        let width = named.shape.last().copied().unwrap_or_default();
        match self {
            _ if named.stays_f32 => GgmlDType::F32,
            Self::Q8_0 if width.is_multiple_of(GgmlDType::Q8_0.block_size()) => GgmlDType::Q8_0,
            Self::F16 | Self::Q8_0 => GgmlDType::F16,
        }
    }
}

/// Both files of an exported model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufPair {
    /// The text model, for llama.cpp's `--model`.
    pub text: PathBuf,
    /// Vision tower and connector, for `--mmproj`.
    pub projector: PathBuf,
}

impl GgufPair {
    /// The pair of this name in a folder: `<name>-<quantization>.gguf` and `mmproj-<name>-<quantization>.gguf`.
    pub fn in_folder(folder: &Path, name: &str, quantization: Quantization) -> Self {
        let file = format!("{name}-{}.gguf", quantization.name());
        Self { projector: folder.join(format!("mmproj-{file}")), text: folder.join(file) }
    }
}

/// A model that is written as a pair of GGUF files.
#[derive(Debug, Clone, Copy)]
pub struct GgufExport<'a> {
    /// The base.
    pub checkpoint: &'a Checkpoint,
    /// What is folded into its weights, the vision tower's included.
    pub adapter: Option<&'a PeftAdapter>,
    /// What the files are called, and say of themselves.
    pub name: &'a str,
    /// How matrices are stored.
    pub quantization: Quantization,
    /// The longest edge that images are resized to before they are split; `None` takes the checkpoint's own.
    pub longest_edge: Option<usize>,
}

impl GgufExport<'_> {
    /// Writes both files into a folder, each whole or not at all. Adapters are folded in by f32 arithmetic and the sum is rounded
    /// once. Each file's tensors are held in memory before it is written.
    ///
    /// # Errors
    /// When the adapter does not fit the checkpoint, the tokenizer or the processor does what llama.cpp does not, or a file cannot
    /// be written.
    pub fn write(&self, folder: &Path) -> Result<GgufPair> {
        let config = self.checkpoint.config();
        let pair = GgufPair::in_folder(folder, self.name, self.quantization);
        let weights = Weights::new(self.checkpoint, self.adapter)?;
        let vocabulary = Vocabulary::open(self.checkpoint.dir(), config.text.vocab_size)?;
        let file_type = self.quantization.file_type();
        let longest_edge = self.longest_edge(config)?;
        let text = metadata::text(config, &vocabulary, self.name, file_type)?;
        self.file(&pair.text, &text, &names::text(config, weights.has_head()), &weights)?;
        let projector = metadata::projector(config, longest_edge, self.name, file_type)?;
        self.file(&pair.projector, &projector, &names::projector(config), &weights)?;
        Ok(pair)
    }

    fn longest_edge(&self, config: &ModelConfig) -> Result<usize> {
        let processor = Processor::open(self.checkpoint.dir(), self.longest_edge)?;
        if processor.tile_size() == config.vision.image_size {
            return Ok(processor.longest_edge());
        }
        let (tile, side) = (processor.tile_size(), config.vision.image_size);
        let what = format!("a tile of {tile} pixels before a vision tower of {side}");
        Err(Error::Unsupported { what, format: "GGUF" })
    }

    fn file(&self, path: &Path, data: &Metadata, tensors: &[Named], weights: &Weights<'_>) -> Result<()> {
        let mut encoded = Vec::with_capacity(tensors.len());
        for named in tensors {
            encoded.push((named, self.encode(path, named, weights)?));
        }
        let metadata: Vec<(&str, &gguf_file::Value)> =
            data.0.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<(&str, &QTensor)> =
            encoded.iter().map(|(named, tensor): &(&Named, QTensor)| (named.name.as_str(), tensor)).collect();
        write_atomic_with(path, |file| {
            gguf_file::write(file, &metadata, &tensors).map_err(|error| gguf_error(path, error))
        })
    }

    fn encode(&self, path: &Path, named: &Named, weights: &Weights<'_>) -> Result<QTensor> {
        let values = weights.values(named)?;
        let width = named.shape.last().copied().unwrap_or(1);
        let values = match named.rotary_heads {
            Some(heads) => rope::to_neighbours(&values, heads, width),
            None => values,
        };
        let tensor = Tensor::from_vec(values, named.shape.as_slice(), &Device::Cpu);
        let element_type = self.quantization.element_type(named);
        tensor
            .and_then(|tensor| QTensor::quantize(&tensor, element_type))
            .map_err(|error| gguf_error(path, error))
    }
}

pub(super) fn gguf_error(path: &Path, error: candle_core::Error) -> Error {
    Error::Gguf { path: path.to_owned(), source: Box::new(error) }
}
