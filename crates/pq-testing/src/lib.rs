//! What the tests of the workspace share.
//!
//! - Comparisons of numbers that no NaN passes: [`max_difference`], [`relative_difference`], [`assert_close`].
//! - [`trials`]: test programs that report a test whose tool is missing as ignored, or as failed where the tool must be there.
//! - [`SmallDisk`]: a file system that can be filled.
//! - [`Cluster`]: Slurm on this machine alone.
//! - [`adverse`]: a command on a full disk, without permission, with Ctrl-C; with the feature `project`, a project for it.
//!
//! Only ever a development dependency.
#![forbid(unsafe_code)]

pub mod adverse;
mod compare;
mod disk;
#[cfg(feature = "project")]
pub mod project;
mod slurm;
pub mod trials;

pub use compare::{Number, assert_close, largest, max_difference, relative_difference};
pub use disk::SmallDisk;
pub use slurm::Cluster;
