//! Sends training runs to Weights & Biases over plain HTTP (GraphQL and `file_stream`).
//!
//! Every record is on disk, in the run's spool, before anything is sent, and one thread reads the spool as its queue. What is
//! missing at the service follows from the service's own counts and the step of its last line, so that an outage, a kill, a lost
//! answer or a repeated [`sync`] neither loses nor doubles a line. A run without a network has the service's own offline file made
//! from the same spool.

mod api;
mod batch;
mod catch_up;
mod environment;
mod history;
mod media;
mod offline;
mod record;
mod run;
mod sender;
mod settings;
mod shared;
mod spool;
mod sync;
mod wire;

pub use catch_up::CatchUp;
pub use environment::{Environment, EnvironmentError};
pub use media::config_yaml;
pub use run::WandbRun;
pub use settings::{RunInfo, WandbConfig, WandbMode, WandbOptions};
pub use sync::{Spooled, Synced, is_of, spooled, sync, write_offline};
