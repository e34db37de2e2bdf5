//! Checkpoints from the Hugging Face Hub, by the crate [`hub_client`]; [`fetch_with`] also takes how the Hub is asked.

use std::path::PathBuf;

pub use hub_client::{ENDPOINT, Error as HubError, HubOptions, fetch_with, is_id};

use crate::{Error, Result};

/// [`hub_client::fetch`]: what a checkpoint needs, in the cache that all of the Hub's clients share.
///
/// # Errors
/// When the repository, the revision or the access is missing, the network fails for good, or a file does not have the size
/// and hash that the Hub states; nothing that failed its check stays in the cache.
pub fn fetch(id: &str, revision: Option<&str>, options: &HubOptions) -> Result<PathBuf> {
    hub_client::fetch(id, revision, options).map_err(|source| Error::Hub { id: id.to_owned(), source })
}
