//! Sends what the service has not got of the runs in a folder, any number of times.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::history::Outline;
use super::offline;
use super::sender::{Sender, Sent};
use super::settings::WandbOptions;
use super::shared::Shared;
use super::spool::{self, Spool};
use crate::tracking::Finished;
use crate::{Error, Result};

/// What became of one run.
#[derive(Debug)]
pub struct Synced {
    /// The run's id at the service.
    pub id: String,
    /// How it went.
    pub finished: Finished,
}

/// A run on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spooled {
    /// The run's id at the service.
    pub id: String,
    /// The address of the service that it was begun for.
    pub base_url: String,
    /// Whether the service has all of it, as far as is known here.
    pub is_whole: bool,
    path: PathBuf,
}

/// The runs whose tracking lies in a folder, oldest first.
///
/// # Errors
/// When the folder or a spool in it cannot be read.
pub fn spooled(folder: &Path) -> Result<Vec<Spooled>> {
    let mut found = Vec::new();
    for path in spool::all(folder)? {
        let Some(outline) = Outline::read(&path)? else { continue };
        let is_whole = Sent::read(&path).is_whole(&outline, spool::size(&path));
        found.push(Spooled { base_url: outline.first.base_url.clone(), id: outline.id, is_whole, path });
    }
    Ok(found)
}

/// Whether a run was begun for the service that the options name: a key is for that address, not for one that a file names.
pub fn is_of(run: &Spooled, options: &WandbOptions) -> bool {
    run.base_url.trim_end_matches('/') == options.base_url.trim_end_matches('/')
}

fn start(sender: Sender, path: &Path) -> Result<JoinHandle<()>> {
    let builder = std::thread::Builder::new().name("wandb".to_owned());
    let spawned = builder.spawn(move || sender.run());
    Ok(spawned.map_err(durable_files::io_error("start a thread for", path))?)
}

/// Waits until all is done, `patience` passes without a line sent, or `cancel` says so.
fn wait(shared: &Shared, patience: Duration, cancel: &dyn Fn() -> bool) {
    let (mut lines, mut since) = (0, Instant::now());
    while !shared.wait_until(Instant::now() + Duration::from_secs(1), cancel, |state| state.is_done) {
        let now = shared.lock().sent_lines;
        if now != lines {
            (lines, since) = (now, Instant::now());
        }
        if cancel() || since.elapsed() > patience {
            break;
        }
    }
}

/// Sends what is missing of a run: the service is asked for its line counts first. Ends once all of it has arrived, the service
/// refuses, [`WandbOptions::finish_timeout`] passes without anything taken, `cancel` says so, or another process wants to carry
/// the run on.
///
/// # Errors
/// When the spool cannot be read, or another process sends it, as the one that trains.
pub fn sync(run: &Spooled, options: &WandbOptions, cancel: &dyn Fn() -> bool) -> Result<Synced> {
    let (spool, outline) = open(run)?;
    let cancel = &|| cancel() || spool::is_wanted(&run.path);
    let shared = Arc::new(Shared::default());
    shared.change(|state| (state.is_ending, state.damaged_lines) = (true, outline.damaged));
    let sender = Sender::new(options, Arc::clone(&spool), outline, Arc::clone(&shared));
    let thread = start(sender, &run.path)?;
    wait(&shared, options.finish_timeout, cancel);
    shared.quit();
    let _ = thread.join();
    let mut finished = shared.finished();
    if !finished.complete {
        finished.problem.get_or_insert_with(|| "there was no answer in time".to_owned());
    }
    let outline = Outline::read(&run.path)?;
    let id = outline.as_ref().map_or_else(|| run.id.clone(), |outline| outline.id.clone());
    if let Some(outline) = outline.filter(|_| finished.complete) {
        offline::mark_synced(&options.folder, &outline)?;
    }
    Ok(Synced { id, finished })
}

/// Writes the file that the service's own `wandb sync` takes, with what the service has not got; returns its folder.
///
/// # Errors
/// As [`sync`], and when the file cannot be written.
pub fn write_offline(run: &Spooled, options: &WandbOptions) -> Result<PathBuf> {
    let (_spool, outline) = open(run)?;
    offline::write(&options.folder, &run.path, &outline)
}

fn open(run: &Spooled) -> Result<(Arc<Spool>, Outline)> {
    let spool = Arc::new(Spool::open(&run.path)?);
    let empty = || Error::Spool { problem: format!("`{}` holds no run", run.path.display()) };
    let outline = Outline::read(&run.path)?.ok_or_else(empty)?;
    Ok((spool, outline))
}
