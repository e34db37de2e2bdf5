//! What a tracked run is started with, and how it ended.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Whether and how a run is tracked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WandbMode {
    /// Sent where a key is set; left out where none is.
    #[default]
    Online,
    /// Written to disk only, for `wandb sync`.
    Offline,
    /// Not tracked.
    Disabled,
}

/// The `[wandb]` table of `training.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WandbConfig {
    /// The project that runs are collected in; created when it does not exist.
    pub project: String,
    /// The team or user; empty takes the key's default.
    pub entity: String,
    /// The name shown for the run; empty takes the run's id.
    pub name: String,
    /// Words to find the run by.
    pub tags: Vec<String>,
    /// Whether and how the run is tracked.
    pub mode: WandbMode,
}

impl Default for WandbConfig {
    fn default() -> Self {
        Self {
            project: "pitchquest".to_owned(),
            entity: String::new(),
            name: String::new(),
            tags: Vec::new(),
            mode: WandbMode::Online,
        }
    }
}

/// Where the service is, the key, and where offline files go.
#[derive(Clone)]
pub struct WandbOptions {
    /// Address, as in `https://api.wandb.ai`.
    pub base_url: String,
    /// The API key, 40 characters or more.
    pub api_key: String,
    /// Folder for `offline-run-*` folders.
    pub offline_dir: PathBuf,
    /// How often gathered lines are sent.
    pub flush_interval: Duration,
    /// How long the end of a run waits for what is still to be sent.
    pub finish_timeout: Duration,
    /// How the service is asked. Its check ends the start only.
    pub http: http_client::Options,
}

/// What the service is told when a run starts.
#[derive(Debug, Clone, Default)]
pub struct RunInfo {
    /// The run's id, unique in its project: letters, digits, `-` and `_`.
    pub id: String,
    /// The whole configuration, an object.
    pub config: BTreeMap<String, Value>,
    /// The machine.
    pub host: String,
    /// The program.
    pub program: String,
    /// Whether a run of that id may exist and is to be carried on.
    pub resume: bool,
}

/// How tracking ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Whether everything reached the service.
    pub complete: bool,
    /// The folder to upload with `wandb sync`, where something did not.
    pub offline: Option<PathBuf>,
    /// What went wrong on the way, in words.
    pub problem: Option<String>,
}
