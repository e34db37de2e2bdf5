//! The one client of the Hugging Face Hub.
//!
//! - [`Hub`]: repositories, revisions and listings; [`Hub::push`] puts files on a branch in one atomic commit (large files by
//!   LFS, at once or in parts), never repeats a commit blindly and reads back what it pushed; [`Hub::replace`] makes a branch hold
//!   exactly what is given; [`Hub::tag`] names a commit.
//! - [`fetch`](fn@fetch) (feature `download`): a checkpoint into the cache that all of the Hub's clients share. Files come
//!   through the crate `hf-hub`, guarded: what it wrote counts when size and hash are what the Hub lists.
//!
//! The token goes to the endpoint's own origin only. The library reads no environment variable.
#![forbid(unsafe_code)]

mod commit;
mod error;
#[cfg(feature = "download")]
mod fetch;
mod hub;
mod lfs;
mod listing;

pub use commit::{PushFile, Pushed};
pub use error::{Error, Result};
#[cfg(feature = "download")]
pub use fetch::{HubOptions, fetch, fetch_with};
pub use hub::{Hub, Refs, RepositoryInfo, RevisionInfo};
pub use listing::{Hash, RemoteFile, is_id};

/// The address of the public Hub.
pub const ENDPOINT: &str = "https://huggingface.co";
