//! What the PitchQuest commands share: common arguments, configuration files, logging, exit status.
//!
//! A binary's `main` is `fn main() -> ExitCode { pq_cli::run::<Args>(|args| …) }`: logs go to stderr, data to stdout,
//! an error prints its chain and its hint and ends with status 2.
#![forbid(unsafe_code)]

mod config;
mod foreign;
mod hint;
#[cfg(feature = "http")]
mod http;
mod keys;
pub mod launcher;
mod log;
mod run;
pub mod secrets;
mod shard;

pub use config::{ConfigError, ProjectConfig, with_overrides};
pub use hint::{Hint, WithHint};
#[cfg(feature = "http")]
pub use http::http_options;
pub use keys::{ConfigFile, FILES};
pub use log::{LogCopy, copy_log, log_warnings_only};
pub use project_files::{Layout, Storage};
pub use run::{CommonArgs, HasCommon, Verdict, asked_by, interrupted, run};
pub use shard::{Shard, ShardArgs, ShardError};
