//! Checkpoints from the Hugging Face Hub, into its usual cache (`models--org--name/{blobs,refs,snapshots}`).
//!
//! Plain HTTPS with the size and the hash of every file checked before it gets its name: the usual clients do not look at the
//! hash, and some keep the text of an error page as the file. What already lies in the cache is checked the same way.

mod cache;
mod transfer;

use std::path::PathBuf;

use serde_json::Value;

use crate::{Error, Result};
use cache::Cache;
use transfer::Client;

/// Where checkpoints come from and where they are kept.
#[derive(Clone)]
pub struct HubOptions {
    /// Address of the service, as in `https://huggingface.co`.
    pub endpoint: String,
    /// Access token; it is sent to `endpoint` alone.
    pub token: Option<String>,
    /// The cache folder, which other clients may share.
    pub cache_dir: PathBuf,
    /// Use the cache only.
    pub offline: bool,
}

impl std::fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("cache_dir", &self.cache_dir)
            .field("offline", &self.offline)
            .finish()
    }
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RemoteFile {
    path: String,
    size: u64,
    hash: Hash,
}

/// What the content is checked against; also the file's name in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hash {
    /// A large file.
    Sha256(String),
    /// A regular file: SHA-1 of `blob <length>\0<content>`.
    GitBlob(String),
}

impl Hash {
    /// By its length, as the names in the cache have it.
    fn parse(text: &str) -> Option<Self> {
        let is_hex = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        match (is_hex, text.len()) {
            (true, 64) => Some(Self::Sha256(text.to_owned())),
            (true, 40) => Some(Self::GitBlob(text.to_owned())),
            _ => None,
        }
    }

    fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitBlob(hex) => hex,
        }
    }
}

/// Fetches what a checkpoint needs (configuration, tokenizer, processor and safetensors files at the top of the repository)
/// and returns the folder that holds it. Files that are in the cache and pass their check are not fetched again.
///
/// `id` is `organisation/name`; `revision` a branch, a tag or a commit, `main` where it is left out.
///
/// # Errors
/// When the repository, the revision or the access is missing, the network fails for good, or a file does not have the size
/// and hash that the Hub states; nothing that failed its check stays in the cache.
pub fn fetch(id: &str, revision: Option<&str>, options: &HubOptions) -> Result<PathBuf> {
    check_id(id)?;
    let revision = revision.unwrap_or("main");
    if revision.is_empty() || revision.contains("..") || revision.starts_with('/') {
        return Err(failed(id, format!("`{revision}` is no revision")));
    }
    let cache = Cache::new(&options.cache_dir, id);
    if options.offline {
        return cache.verified_snapshot(revision);
    }
    let client = Client::new(options);
    let commit = client.commit(id, revision)?;
    let files = client.files(id, &commit)?;
    if !files.iter().any(|file| file.path.ends_with(".safetensors")) {
        return Err(failed(id, format!("revision `{revision}` holds no safetensors file")));
    }
    for file in &files {
        if !cache.holds(file)? {
            client.download(id, &commit, file, &cache)?;
        }
    }
    cache.publish(revision, &commit, &files)
}

fn failed(id: &str, reason: impl Into<String>) -> Error {
    Error::Hub { id: id.to_owned(), reason: reason.into() }
}

fn check_id(id: &str) -> Result<()> {
    let plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && !part.contains("..") && part.chars().all(allowed)
    };
    match id.split_once('/') {
        Some((owner, name)) if plain(owner) && plain(name) => Ok(()),
        _ => Err(failed(id, "it is not of the form `organisation/name`")),
    }
}

/// The files of a checkpoint: at the top of the repository, of a kind that is read or copied.
fn is_wanted(path: &str) -> bool {
    let plain = !path.contains(['/', '\\']) && !path.starts_with('.');
    plain && [".safetensors", ".json", ".jinja", ".txt"].iter().any(|end| path.ends_with(end))
}

/// One entry of the tree listing; folders and unwanted files give nothing.
fn remote_file(id: &str, entry: &Value) -> Result<Option<RemoteFile>> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let Some(path) = text(entry, "path").filter(|path| is_wanted(path)) else { return Ok(None) };
    if text(entry, "type").as_deref() != Some("file") {
        return Ok(None);
    }
    let large = entry.get("lfs").filter(|lfs| !lfs.is_null());
    let source = large.unwrap_or(entry);
    let size = source.get("size").and_then(Value::as_u64);
    let hash = text(source, "oid").and_then(|oid| Hash::parse(oid.trim_start_matches("sha256:")));
    let of_its_kind = hash.filter(|hash| matches!(hash, Hash::Sha256(_)) == large.is_some());
    match (size, of_its_kind) {
        (Some(size), Some(hash)) => Ok(Some(RemoteFile { path, size, hash })),
        _ => Err(failed(id, format!("the listing gives no size and hash for `{path}`"))),
    }
}
