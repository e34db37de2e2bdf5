//! What was trained and released: run tracking, versions, the model card, the Hub, rollback.
//!
//! - [`tracking`]: what a run tells while it trains; [`wandb`] keeps it on disk and sends it to Weights & Biases over plain HTTP,
//!   [`tracking::EventFiles`] writes it for TensorBoard.
//! - [`Registry`] keeps released versions in a folder: gate first, next version, hashes, lineage, aliases.
//! - [`hub`] (the crate `hub-client`) pushes a version to the Hugging Face Hub as one commit with a tag, and reads it back.
//!
//! The library reads no environment variable: keys and end points are arguments.
#![forbid(unsafe_code)]

mod card;
mod error;
mod release;
pub mod tracking;
pub mod wandb;

pub use card::{CardFacts, model_card};
pub use error::{Error, Result};
pub use hub_client as hub;
pub use project_files::{
    Aliases, FileHash, Gate, HubRelease, Lineage, Release, ValidationResults, VersionFile, hash_file,
};
pub use release::{Plan, Registry, RegistryConfig, validated};
