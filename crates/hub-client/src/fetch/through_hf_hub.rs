//! One file through the crate `hf-hub` (0.5.0, its blocking form), in a folder of its own where nothing that it does wrong can
//! reach the cache. `ARCHITECTURE.md` names what it does wrong; here is what is done about it:
//!
//! - it never gets a token, so only public files come this way;
//! - it has no timeouts and cannot be stopped: it runs on a thread that ends at its next byte once it is given up;
//! - what it brought is checked by the caller, and its attempts are one: what comes after is `http-client`'s.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use http_client::{Notice, Watch};

use crate::error::{io, protocol};
use crate::{Error, Hash, Hub, RemoteFile, Result};

const TICK: Duration = Duration::from_millis(50);

/// Where hf-hub gathers a file, and where it goes on in a later process.
pub(super) fn part_path(staging: &Path, id: &str, hash: &Hash) -> PathBuf {
    blobs(staging, id).join(format!("{}.part", hash.hex()))
}

fn blobs(staging: &Path, id: &str) -> PathBuf {
    staging.join(format!("models--{}", id.replace('/', "--"))).join("blobs")
}

/// Leaves the file at its part's path, whole or not.
pub(super) fn download(
    hub: &Hub,
    id: &str,
    commit: &str,
    file: &RemoteFile,
    staging: &Path,
    watch: &Watch<'_>,
) -> Result<()> {
    let part = part_path(staging, id, &file.hash);
    let begun_with = super::length(&part);
    let shared = Arc::new(Shared::default());
    let (sender, ended) = mpsc::channel();
    let job = Job {
        endpoint: hub.base.as_str().trim_end_matches('/').to_owned(),
        id: id.to_owned(),
        commit: commit.to_owned(),
        file: file.path.clone(),
        staging: staging.to_owned(),
        shared: Arc::clone(&shared),
    };
    std::thread::Builder::new()
        .name("hf-hub".to_owned())
        .spawn(move || drop(sender.send(job.run())))
        .map_err(io("start a thread for", staging))?;
    let place = format!("{id}/{}", file.path);
    let timeouts = hub.client.options().timeouts;
    let (begun, mut moved, mut seen) = (Instant::now(), Instant::now(), 0);
    let outcome = loop {
        match ended.recv_timeout(TICK) {
            Ok(outcome) => break outcome,
            Err(RecvTimeoutError::Disconnected) => break Err(protocol(&place, "hf-hub failed")),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = shared.seen.load(Ordering::SeqCst);
        let notice = || match now {
            0 => Notice::Waiting { place: &place, attempt: 1, since: begun.elapsed(), sent: 0 },
            now => Notice::Receiving { place: &place, done: begun_with + now, total: Some(file.size) },
        };
        if let Err(stopped) = watch.look(&place, notice) {
            shared.is_given_up.store(true, Ordering::SeqCst);
            return Err(stopped.into());
        }
        if now != seen {
            (moved, seen) = (Instant::now(), now);
        }
        let limit = if seen == 0 { timeouts.connect + timeouts.first_byte } else { timeouts.idle };
        if moved.elapsed() > limit {
            give_up(&shared, &part, begun_with, staging)?;
            break Err(protocol(&place, format!("no byte within {} s", limit.as_secs())));
        }
    };
    let whole = blobs(staging, id).join(file.hash.hex());
    if whole.exists() {
        std::fs::rename(&whole, &part).map_err(io("write", &part))?;
    }
    outcome
}

/// Lets the thread end at its next byte. Until the bytes that it has seen are in the file, it may still be writing; if that
/// takes long, the file is left to it.
fn give_up(shared: &Shared, part: &Path, begun_with: u64, staging: &Path) -> Result<()> {
    shared.is_given_up.store(true, Ordering::SeqCst);
    let until = Instant::now() + Duration::from_secs(2);
    while super::length(part) < begun_with + shared.seen.load(Ordering::SeqCst) {
        if Instant::now() > until {
            std::fs::remove_dir_all(staging).map_err(io("remove", staging))?;
            let folder = part.parent().unwrap_or(staging);
            return std::fs::create_dir_all(folder).map_err(io("create", folder));
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

#[derive(Default)]
struct Shared {
    /// Bytes that arrived.
    seen: AtomicU64,
    is_given_up: AtomicBool,
}

struct Job {
    endpoint: String,
    id: String,
    commit: String,
    file: String,
    staging: PathBuf,
    shared: Arc<Shared>,
}

impl Job {
    fn run(self) -> Result<()> {
        let api = ApiBuilder::from_cache(Cache::new(self.staging.clone()))
            .with_endpoint(self.endpoint)
            .with_token(None)
            .with_progress(false)
            .with_retries(0) // its own repetitions begin at byte 0 of a part that is longer
            .with_user_agent("pitchquest", env!("CARGO_PKG_VERSION"))
            .build();
        let progress = Counter { shared: self.shared, is_begun: false };
        let repo = Repo::with_revision(self.id.clone(), RepoType::Model, self.commit);
        let path = self.staging;
        api.and_then(|api| api.repo(repo).download_with_progress(&self.file, progress))
            .map(drop)
            .map_err(|error| failure(&self.id, &path, error))
    }
}

fn failure(id: &str, path: &Path, error: ApiError) -> Error {
    match error {
        ApiError::IoError(error) => io("write", path)(error),
        // An address that it names may have a signature.
        other => protocol(id, other.to_string().split('?').next().unwrap_or_default()),
    }
}

/// Counts what arrives, and ends the thread once it is given up.
struct Counter {
    shared: Arc<Shared>,
    is_begun: bool,
}

impl Counter {
    fn look(&self) {
        if self.shared.is_given_up.load(Ordering::SeqCst) {
            if cfg!(panic = "unwind") {
                std::panic::resume_unwind(Box::new("given up")); // prints nothing
            }
            loop {
                std::thread::park();
            }
        }
    }
}

impl Progress for Counter {
    fn init(&mut self, _size: usize, _filename: &str) {
        self.look();
    }

    fn update(&mut self, size: usize) {
        // The first count is of what an earlier process left.
        if std::mem::replace(&mut self.is_begun, true) {
            self.shared.seen.fetch_add(size as u64, Ordering::SeqCst);
        }
        self.look();
    }

    fn finish(&mut self) {
        self.look();
    }
}
