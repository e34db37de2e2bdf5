//! What a run tells while it trains, and whom: one trait, whatever stands behind it.
//!
//! - [`Tracker`]: [`WandbRun`](crate::wandb::WandbRun) and [`EventFiles`] (TensorBoard).
//! - [`Sampler`] measures the machine; [`git_state`] tells which code was run.
//!
//! Nothing of it fails: what goes wrong is told at the end, and whoever trains goes on.

mod events;
mod git;
mod machine;
mod sampler;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use events::EventFiles;
pub use git::{GitState, git_state};
pub use machine::{Machine, host_name};
pub use sampler::Sampler;
pub use table::{Cell, Confusion, Picture, Table};

/// The `[tensorboard]` table of `training.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TensorboardConfig {
    /// Whether event files for TensorBoard are written into the run's folder.
    pub enabled: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The program's exit status; 0 is success.
    pub exit_code: i32,
    /// Whether somebody stopped it: Ctrl-C, a signal, or Stop on its page.
    pub was_stopped: bool,
}

/// How tracking ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finished {
    /// Whether all that was to be done is done: everything at the service or, without one, in its files.
    pub complete: bool,
    /// The run's page, where the service has told it.
    pub url: Option<String>,
    /// The folder that `wandb sync` takes, of an offline run.
    pub offline: Option<PathBuf>,
    /// What went wrong on the way, in words.
    pub problem: Option<String>,
    /// History lines that reached the service this time.
    pub sent_lines: u64,
    /// Lines on disk that could not be read.
    pub damaged_lines: u64,
}

/// Is told what happens in a run. No call waits for a network or fails.
pub trait Tracker: Send + Sync {
    /// The values of a step. Several calls for one step are one line.
    fn log(&self, step: u64, values: &BTreeMap<String, f64>);
    /// A table that was made at a step, in it pictures.
    fn table(&self, step: u64, name: &str, table: &Table);
    /// A confusion matrix of a step.
    fn confusion(&self, step: u64, name: &str, confusion: &Confusion);
    /// Values that describe the whole run.
    fn summary(&self, values: &BTreeMap<String, f64>);
    /// A sample of the machine, as [`Sampler`] takes it.
    fn system(&self, values: &BTreeMap<String, f64>);
    /// A line of the console.
    fn console(&self, line: &str);
    /// A file of the run; its name may hold slashes.
    fn file(&self, name: &str, content: &[u8]);
    /// The machine is about to end the process, and the run will be carried on later.
    fn preempting(&self) {}
    /// Whether somebody asked to stop the run.
    fn is_stop_asked(&self) -> bool {
        false
    }
    /// Ends the run, and waits a bounded time, which `cancel` ends early.
    fn finish(&self, end: End, cancel: &dyn Fn() -> bool) -> Finished;
}
