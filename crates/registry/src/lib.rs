//! What was trained and released: run tracking, versions, the model card, the Hub, rollback.
//!
//! - [`wandb`] sends a run to Weights & Biases over plain HTTP and falls back to the service's offline file.
//! - [`Registry`] keeps released versions in a folder: gate first, next version, hashes, lineage, aliases.
//! - [`hub`] (the crate `hub-client`) pushes a version to the Hugging Face Hub as one commit with a tag, and reads it back.
//!
//! The library reads no environment variable: keys and end points are arguments.
#![forbid(unsafe_code)]

mod card;
mod error;
mod files;
mod gate;
mod release;
mod version;
pub mod wandb;

pub use card::{CardFacts, model_card};
pub use error::{Error, Result};
pub use files::{FileHash, hash_file};
pub use gate::{Gate, ValidationSummary};
pub use hub_client as hub;
pub use release::{Plan, Registry, RegistryConfig};
pub use version::{Aliases, HubRelease, Lineage, Release, VersionFile};
