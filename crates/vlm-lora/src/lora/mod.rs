//! Low-rank adapters (Hu et al. 2021) under PEFT's names: configuration, targets, initial values, files, merging.

mod config;
mod init;
pub(crate) mod layer;
mod merge;
mod peft;
mod targets;

pub use config::{InitLoraWeights, LoraConfig, OneOrMany, TEXT_LINEARS};
pub use merge::{merge, unmerge};
pub use peft::{AdapterWeights, PeftAdapter};
pub use targets::{AdapterSpec, Module};
