//! What was trained and released: run tracking, versions, the model card, the Hub, rollback.
//!
//! - [`tracking`]: what a run tells while it trains; [`wandb`] keeps it on disk and sends it to Weights & Biases over plain HTTP,
//!   [`tracking::EventFiles`] writes it for TensorBoard.
//! - [`Registry`] reads what was released: versions, journal, what was in use when. Reading takes no lock.
//! - [`Writer`], from [`Registry::write`], changes it: releases, promotes, goes back, pushes, fetches, repairs. A release is a
//!   transaction that can be interrupted anywhere and is finished by the same call.
//! - [`Place`]: where versions are kept, a folder ([`FolderPlace`]) or a repository on the Hub ([`HubPlace`]),
//!   with the feature `object-store` a bucket that speaks S3 (`BucketPlace`).
//! - [`validated`] is the gate over content: results count for the very files, base and data that they name.
//! - The cards of a release are written from measured facts and looked through ([`lint`]) before anything is stored.
//! - `signing` (feature): signatures in the layout of OpenSSF model signing, behind the trait [`Seal`].
//! - [`hub`] is the crate `hub-client`.
//!
//! The library reads no environment variable: keys and end points are arguments.
#![forbid(unsafe_code)]

mod base;
mod basis;
mod bundle;
mod card;
mod config;
mod contents;
mod doctor;
mod error;
mod gate;
mod ledger;
mod mirror;
mod names;
mod options;
mod place;
mod plan;
mod protobuf;
mod reader;
#[cfg(feature = "signing")]
pub mod signing;
mod steps;
pub mod tracking;
pub mod wandb;
mod writer;

pub use base::{Base, BasePlaces};
pub use bundle::{Bundle, Seal};
pub use card::{CardFacts, CardProblem, CriterionFacts, DataFacts, SplitFacts, lint};
pub use config::{License, RegistryConfig};
pub use doctor::{Finding, Remedy};
pub use error::{Error, Result};
pub use gate::validated;
pub use hub_client as hub;
pub use ledger::By;
pub(crate) use ledger::Ledger;
pub use options::Options;
#[cfg(feature = "object-store")]
pub use place::{BucketOptions, BucketPlace, Object, Objects};
pub use place::{FolderPlace, HubPlace, Place, Stage};
pub use plan::{Candidate, Plan};
pub use project_files::{
    Aliases, Change, Event, FileHash, Gate, HubRelease, Journal, JournalEntry, Lineage, Manifest, Release,
    ValidationResults, Version, VersionFile, hash_file,
};
pub use reader::Registry;
pub use steps::Watch;
pub use writer::{Outcome, Writer};
