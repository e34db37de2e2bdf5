//! Pushing a version to the Hugging Face Hub: one atomic commit, a tag on exactly that commit, and reading back.
//!
//! Large files go by the LFS protocol, so that a push needs neither an asynchronous runtime nor a chunk store, and a commit
//! is never repeated blindly: after a lost answer the branch is read and compared.

mod client;
mod commit;

pub use client::{Hub, HubOptions};
pub use commit::{PushFile, Pushed};
