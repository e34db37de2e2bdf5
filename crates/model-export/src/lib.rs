//! A fine-tuned SmolVLM (Idefics3) as other programs load it.
//!
//! - [`write_merged`]: a checkpoint in the Hugging Face layout with the adapter folded into the weights.
//! - [`GgufExport`]: the pair of GGUF files that llama.cpp loads, text model and vision projector, with the tensor names, metadata
//!   keys and row order of its `convert_hf_to_gguf.py`. [`GgufPair::unpack`] reads such a pair back into a checkpoint, from
//!   nothing but the two files, so that an export can be scored before anybody relies on it.
#![forbid(unsafe_code)]

mod error;
mod gguf;
mod json;
mod merged;

pub use error::{Error, Result};
pub use gguf::{GgufExport, GgufPair, Quantization};
pub use merged::write_merged;
