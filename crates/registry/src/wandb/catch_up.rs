//! Sends in the background what the service has not got of earlier runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use project_files::with_causes;

use super::settings::WandbOptions;
use super::sync::{Spooled, Synced, is_of, spooled, sync};

/// Sends earlier runs, one after the other, on a thread of its own, until all is sent, or it is dropped. A run that another
/// process tracks is left to that one; a run that somebody wants to carry on is given up at once.
#[derive(Debug)]
pub struct CatchUp {
    quit: Arc<AtomicBool>,
    sent_lines: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl CatchUp {
    /// Begins with the runs whose tracking lies in these folders; returns at once. Nothing of it fails: what goes wrong is
    /// logged, and what is not sent is sent the next time.
    pub fn start(options: &WandbOptions, folders: Vec<PathBuf>) -> Self {
        let (quit, sent_lines) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_over, lines) = (Arc::clone(&quit), Arc::clone(&sent_lines));
        let options = options.clone();
        let send = move || {
            for folder in folders {
                let options = WandbOptions { folder, ..options.clone() };
                let is_over = || is_over.load(Ordering::Relaxed);
                if is_over() {
                    break;
                }
                lines.fetch_add(send(&options, &is_over), Ordering::Relaxed);
            }
        };
        let thread = std::thread::Builder::new().name("wandb-earlier".to_owned()).spawn(send).ok();
        Self { quit, sent_lines, thread }
    }

    /// History lines that reached the service so far.
    pub fn sent_lines(&self) -> u64 {
        self.sent_lines.load(Ordering::Relaxed)
    }

    /// Whether nothing is left to do, or the rest failed.
    pub fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for CatchUp {
    fn drop(&mut self) {
        self.quit.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends the runs of one folder; how many lines that were.
fn send(options: &WandbOptions, is_over: &dyn Fn() -> bool) -> u64 {
    let runs = match spooled(&options.folder) {
        Ok(runs) => runs,
        Err(error) => {
            tracing::debug!("an earlier run is not sent: {}", with_causes(&error));
            return 0;
        }
    };
    let mut lines = 0;
    for run in runs.iter().filter(|run| !run.is_whole && is_of(run, options)) {
        if is_over() {
            break;
        }
        lines += send_run(run, options, is_over);
    }
    lines
}

fn send_run(run: &Spooled, options: &WandbOptions, is_over: &dyn Fn() -> bool) -> u64 {
    match sync(run, options, is_over) {
        Ok(Synced { finished, .. }) => {
            let problem = finished.problem.filter(|_| !finished.complete);
            let state = problem.unwrap_or_else(|| "all of it is there".to_owned());
            tracing::debug!("{}: {} lines sent, {state}", run.id, finished.sent_lines);
            finished.sent_lines
        }
        Err(error) => {
            tracing::debug!("{} is not sent: {}", run.id, with_causes(&error));
            0
        }
    }
}
