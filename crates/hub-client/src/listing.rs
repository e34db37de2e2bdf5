use serde_json::Value;
use sha1::{Digest as _, Sha1};

use crate::error::protocol;
use crate::{Error, Result};

/// What a file's content is checked against; also its name in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hash {
    /// Of a large file: SHA-256.
    Sha256(String),
    /// Of a regular file: SHA-1 of `blob <length>\0<content>`.
    GitBlob(String),
}

impl Hash {
    /// By its length, as the names in the cache have it.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        match (is_hex, text.len()) {
            (true, 64) => Some(Self::Sha256(text.to_owned())),
            (true, 40) => Some(Self::GitBlob(text.to_owned())),
            _ => None,
        }
    }

    /// The digits.
    pub fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitBlob(hex) => hex,
        }
    }
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its path.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// What its content is checked against.
    pub hash: Hash,
}

impl RemoteFile {
    /// Whether this is its content.
    pub fn is(&self, content: &[u8]) -> bool {
        let hash = match &self.hash {
            Hash::Sha256(_) => durable_files::sha256_hex(content),
            Hash::GitBlob(_) => {
                let blob = Sha1::new().chain_update(format!("blob {}\0", content.len()));
                durable_files::hex(&blob.chain_update(content).finalize())
            }
        };
        self.size == content.len() as u64 && self.hash.hex() == hash
    }
}

/// One entry of a listing; folders give nothing.
pub(crate) fn remote_file(id: &str, entry: &Value) -> Result<Option<RemoteFile>> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    if text(entry, "type").as_deref() != Some("file") {
        return Ok(None);
    }
    let path = text(entry, "path").ok_or_else(|| protocol(id, "the listing has a file without a path"))?;
    let large = entry.get("lfs").filter(|lfs| !lfs.is_null());
    let source = large.unwrap_or(entry);
    let size = source.get("size").and_then(Value::as_u64);
    let hash = text(source, "oid").and_then(|oid| Hash::parse(oid.trim_start_matches("sha256:")));
    let of_its_kind = hash.filter(|hash| matches!(hash, Hash::Sha256(_)) == large.is_some());
    match (size, of_its_kind) {
        (Some(size), Some(hash)) => Ok(Some(RemoteFile { path, size, hash })),
        _ => Err(protocol(id, format!("the listing gives no size and hash for `{path}`"))),
    }
}

/// Whether a text has the form `owner/name` of a repository's id.
pub fn is_id(id: &str) -> bool {
    let plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && !part.contains("..") && part.chars().all(allowed)
    };
    id.split_once('/').is_some_and(|(owner, name)| plain(owner) && plain(name))
}

pub(crate) fn check_id(id: &str) -> Result<()> {
    if is_id(id) { Ok(()) } else { Err(Error::Id { id: id.to_owned() }) }
}
