//! Low-rank adapters (Hu et al. 2021) under PEFT's names: configuration, targets, initial values, files, merging.

mod config;
mod init;
mod merge;
mod peft;
pub(crate) mod pissa;
mod svd;
mod targets;

pub use config::{InitLoraWeights, LoraConfig, OneOrMany, TEXT_LINEARS};
pub use merge::{merge, unmerge};
pub(crate) use peft::bias_part;
pub use peft::{AdapterOrigin, AdapterWeights, PeftAdapter};
pub use pissa::Principal;
pub use targets::{AdapterSpec, Module};
