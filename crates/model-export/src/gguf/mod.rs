//! GGUF files for llama.cpp.
//!
//! Names, keys and row order are those of llama.cpp's `convert_hf_to_gguf.py` (text model `llama`, projector `idefics3`) and of its
//! `gguf` Python package; <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md> is the format.

mod keys;
mod metadata;
mod names;
mod rope;
mod unpack;
mod vocabulary;
mod weights;
mod write;

pub use write::{GgufExport, GgufPair, Quantization};
