//! What a tracked run is started with, and how it ended.

use std::collections::BTreeMap;
use std::fmt;
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
    /// Written to disk only, for `wandb sync` or `pq-train sync`.
    Offline,
    /// Not tracked.
    Disabled,
}

/// The `[wandb]` table of `training.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the configuration")]
pub struct WandbConfig {
    /// The project that runs are collected in; created when it does not exist.
    pub project: String,
    /// The team or user; empty takes the key's default.
    pub entity: String,
    /// The name shown for the run; empty takes the run's name.
    pub name: String,
    /// Words to find the run by.
    pub tags: Vec<String>,
    /// What runs that belong together share.
    pub group: String,
    /// A longer description of the run.
    pub notes: String,
    /// Whether and how the run is tracked.
    pub mode: WandbMode,
    /// Whether a run does not begin where the service refuses it or is away, and fails where the service lacks lines at its end.
    pub required: bool,
    /// Whether the lines of the log are sent too.
    pub console: bool,
    /// Whether the pictures of evaluated slides are sent too. They are the team's own: without this they stay on its machines.
    pub pictures: bool,
    /// Whether a run that begins also sends, in the background, what the service has not got of earlier ones.
    pub sync_earlier: bool,
    /// How many seconds the end of a run waits at most for what is still to be sent; `pq-train sync` sends the rest.
    pub finish_timeout_s: u64,
}

impl Default for WandbConfig {
    fn default() -> Self {
        Self {
            project: "pitchquest".to_owned(),
            entity: String::new(),
            name: String::new(),
            tags: Vec::new(),
            group: String::new(),
            notes: String::new(),
            mode: WandbMode::Online,
            required: false,
            console: true,
            pictures: false,
            sync_earlier: true,
            finish_timeout_s: 60,
        }
    }
}

/// Where the service is, the key, and where a run's tracking files lie.
#[derive(Clone)]
pub struct WandbOptions {
    /// Address, as in `https://api.wandb.ai`.
    pub base_url: String,
    /// The API key, 40 characters or more; without one everything stays on disk.
    pub api_key: Option<String>,
    /// Folder for spools and `offline-run-*` folders.
    pub folder: PathBuf,
    /// How often gathered lines are sent.
    pub flush_interval: Duration,
    /// How long the end of a run, or a wait without an answer while syncing, lasts at most.
    pub finish_timeout: Duration,
    /// How the service is asked. The pauses of its `retry` lie between attempts, whose number has no bound; its check and its
    /// notices are not used.
    pub http: http_client::Options,
}

impl fmt::Debug for WandbOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WandbOptions")
            .field("base_url", &self.base_url)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// What the service is told when a run starts.
#[derive(Debug, Clone, Default)]
pub struct RunInfo {
    /// The run's name on this machine; the id at the service is made from it.
    pub run: String,
    /// The id at the service, where it is given; one that a run of somebody else has is not taken.
    pub id: Option<String>,
    /// The whole configuration, an object.
    pub config: BTreeMap<String, Value>,
    /// The machine.
    pub host: String,
    /// The program.
    pub program: String,
    /// The commit that the run was started in.
    pub commit: String,
    /// Names of the confusion matrices that will be logged: the page gets a panel for each.
    pub charts: Vec<String>,
    /// Steps that are done already, where a run is resumed; 0 begins a new one.
    pub completed_steps: u64,
}
