//! Low-rank adapters (Hu et al. 2021) under PEFT's names: configuration, targets, initial values, files, merging.

mod adapter_weights;
mod config;
mod init;
mod merge;
mod on_base;
mod peft;
pub(crate) mod pissa;
mod svd;
mod targets;

pub use adapter_weights::AdapterWeights;
pub use config::{InitLoraWeights, LoraConfig, OneOrMany, TEXT_LINEARS};
pub use merge::{merge, unmerge};
pub(crate) use peft::bias_part;
pub use peft::{AdapterOrigin, PeftAdapter};
pub use pissa::Principal;
pub use targets::{AdapterSpec, Module};
