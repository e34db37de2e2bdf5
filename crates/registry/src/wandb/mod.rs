//! Sends a training run to Weights & Biases over plain HTTP (GraphQL and `file_stream`).
//!
//! Logging never stops or slows training: lines go through a bounded queue to one thread, which sends them every few seconds.
//! What cannot be sent is written in the service's own offline format, which its `wandb sync` uploads later.

mod api;
mod offline;
mod run;
mod settings;
mod worker;

pub use run::WandbRun;
pub use settings::{Finished, RunInfo, WandbConfig, WandbMode, WandbOptions};
