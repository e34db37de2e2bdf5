//! Checkpoints into the Hub's usual cache (`models--owner--name/{blobs,refs,snapshots}`).
//!
//! The list of files with size and hash comes first. A file gets its name in the cache when it has both; until then it lies
//! under `.partial/<hash>`, where the next call finds it and goes on. Each file is fetched under the lock that the Hub's
//! Python client takes too, so that of several processes one fetches and the others wait.

mod cache;
mod hasher;
mod through_hf_hub;

use std::path::{Path, PathBuf};

use http_client::{Options, Retry};

use crate::listing::check_id;
use crate::{Error, Hub, RemoteFile, Result, error::io};
use cache::Cache;

/// Where checkpoints come from and where they are kept.
#[derive(Clone)]
pub struct HubOptions {
    /// Address of the service, as in `https://huggingface.co`.
    pub endpoint: String,
    /// Access token; it is sent to the origin of `endpoint` alone.
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

/// As [`fetch_with`], with the usual way of asking.
///
/// # Errors
/// As [`fetch_with`].
pub fn fetch(id: &str, revision: Option<&str>, options: &HubOptions) -> Result<PathBuf> {
    fetch_with(id, revision, options, Options::default())
}

/// Fetches what a checkpoint needs (configuration, tokenizer, processor and safetensors files at the top of the repository)
/// and returns the folder that holds it. Files that are in the cache and pass their check are not fetched again.
///
/// `id` is `owner/name`; `revision` a branch, a tag or a commit, `main` where it is left out.
///
/// # Errors
/// When the repository, the revision or the access is missing, the network fails for good, or a file does not have the size
/// and hash that the Hub states; nothing that failed its check stays in the cache.
pub fn fetch_with(id: &str, revision: Option<&str>, options: &HubOptions, http: Options) -> Result<PathBuf> {
    check_id(id)?;
    let revision = revision.unwrap_or("main");
    let is_odd = |part: &str| part.is_empty() || part.starts_with('.');
    if revision.split('/').any(is_odd) || revision.contains(['\\', ':']) {
        return Err(Error::Revision { revision: revision.to_owned() });
    }
    let cache = Cache::new(&options.cache_dir, id);
    if options.offline {
        return cache.verified_snapshot(revision);
    }
    let hub = Hub::new(&options.endpoint, options.token.as_deref(), http)?;
    let info = hub.revision(id, revision)?;
    let mut files = hub.files(id, &info.commit, false)?;
    files.retain(|file| is_wanted(&file.path));
    if !files.iter().any(|file| file.path.ends_with(".safetensors")) {
        return Err(Error::Missing { what: format!("a safetensors file in revision `{revision}` of {id}") });
    }
    let is_public = info.is_public || options.token.is_none();
    let fetcher = Fetcher { hub: &hub, cache: &cache, id, commit: &info.commit, is_public };
    for file in &files {
        fetcher.file(file)?;
    }
    let snapshot = cache.publish(revision, &info.commit, &files)?;
    cache.sweep();
    Ok(snapshot)
}

/// The files of a checkpoint: at the top of the repository, of a kind that is read or copied.
fn is_wanted(path: &str) -> bool {
    let plain = !path.contains(['/', '\\']) && !path.starts_with('.');
    plain && [".safetensors", ".json", ".jinja", ".txt"].iter().any(|end| path.ends_with(end))
}

struct Fetcher<'a> {
    hub: &'a Hub,
    cache: &'a Cache,
    id: &'a str,
    commit: &'a str,
    is_public: bool,
}

impl Fetcher<'_> {
    /// Sees to it that the cache holds a file whole.
    fn file(&self, file: &RemoteFile) -> Result<()> {
        if self.cache.holds(file)? {
            return Ok(());
        }
        let watch = self.hub.client.watch();
        let _lock = self.cache.lock(&file.hash, &format!("{}/{}", self.id, file.path), &watch)?;
        if self.cache.holds(file)? {
            return Ok(()); // another process fetched it meanwhile
        }
        self.cache.remove_blob(&file.hash)?;
        let staging = self.cache.staging(&file.hash);
        let part = through_hf_hub::part_path(&staging, self.id, &file.hash);
        let folder = part.parent().unwrap_or(&staging);
        std::fs::create_dir_all(folder).map_err(io("create", folder))?;
        if length(&part) > file.size {
            remove(&part)?;
        }
        if length(&part) < file.size && self.may_use_hf_hub(file) {
            match through_hf_hub::download(self.hub, self.id, self.commit, file, &staging, &watch) {
                Err(error) if error.is_cancelled() => return Err(error),
                Err(error) => {
                    let cause =
                        std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    tracing::debug!(
                        "`{}`: hf-hub did not bring it ({error} {cause}); going on without",
                        file.path
                    );
                }
                Ok(()) => {}
            }
        }
        drop(watch);
        self.complete(file, &part)?;
        self.cache.accept(&part, &file.hash)?;
        let _ = std::fs::remove_dir_all(&staging);
        Ok(())
    }

    /// Brings what lacks and checks the whole. What an earlier process or hf-hub left may be wrong: then once more from the
    /// beginning.
    fn complete(&self, file: &RemoteFile, part: &Path) -> Result<()> {
        loop {
            let is_fresh = length(part) == 0;
            if is_fresh && file.size == 0 {
                std::fs::write(part, []).map_err(io("write", part))?;
            } else if length(part) < file.size {
                let request = self.hub.content(self.id, self.commit, &file.path)?;
                self.hub.client.download(&request, part, Some(file.size))?;
            }
            let actual = hasher::digest(part, &file.hash)?;
            if length(part) == file.size && actual == file.hash.hex() {
                return Ok(());
            }
            remove(part)?;
            if is_fresh {
                let expected = file.hash.hex().to_owned();
                return Err(Error::Hash { file: file.path.clone(), expected, actual });
            }
        }
    }

    /// hf-hub would send a token to other origins, knows its own certificates only, puts names into addresses as they are and
    /// believes an answer where to write: then not over a way on which others can answer.
    fn may_use_hf_hub(&self, file: &RemoteFile) -> bool {
        let base = &self.hub.base;
        let is_here = matches!(base.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        self.is_public
            && (base.scheme() == "https" || is_here)
            && file.size > 0
            && self.hub.client.options().certificates.is_none()
            && self.hub.client.options().retry != Retry::NONE
            && file.path.chars().all(is_plain)
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", path)(error)),
        _ => Ok(()),
    }
}
