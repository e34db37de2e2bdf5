use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use project_files::with_causes;

use super::api::{Api, RunAddress, Start};
use super::offline::OfflineFile;
use super::settings::{Finished, RunInfo, WandbConfig, WandbMode, WandbOptions};
use super::worker::{Message, Worker};
use crate::{Error, Result};

/// A run that is being tracked. Dropping it without [`finish`](Self::finish) marks the run as failed.
#[derive(Debug)]
pub struct WandbRun {
    sender: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<Finished>>,
    url: Option<String>,
    offline_reason: Option<String>,
    started: Instant,
    /// Runtime of the run before it was resumed, in seconds.
    earlier: f64,
    /// History lines up to and with this step exist already.
    logged_up_to: Option<u64>,
    stop_asked: Arc<AtomicBool>,
    dropped: AtomicU64,
    finish_timeout: Duration,
}

const QUEUE: usize = 1 << 14;

impl WandbRun {
    /// Registers the run. Network trouble turns it into an offline run; a refusal is an error, so that a wrong key is seen
    /// before hours of training.
    ///
    /// # Errors
    /// A malformed key, a refusal by the service, or an offline folder that cannot be written.
    pub fn start(config: &WandbConfig, options: &WandbOptions, info: &RunInfo) -> Result<Self> {
        let mut offline_reason = None;
        let started = match config.mode {
            WandbMode::Online => {
                check_key(&options.api_key)?;
                let api = Api::new(&options.base_url, &options.api_key, &options.http)?;
                match api.start(config, info) {
                    Ok((address, start)) => Some((api, address, start)),
                    Err(error @ Error::Unreachable { .. }) => {
                        offline_reason = Some(with_causes(&error));
                        None
                    }
                    Err(error) => return Err(error),
                }
            }
            WandbMode::Offline | WandbMode::Disabled => None,
        };
        let stop_asked = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        let offline = OfflineFile::planned(&options.offline_dir, config, info);
        let url = started.as_ref().map(|(_, address, _)| address.page(&options.base_url));
        let resumed = started.as_ref().map(|(_, _, start)| start.clone()).unwrap_or_default();
        let online = started.map(|(api, address, start)| (api, address, start.history_lines));
        let worker = Worker::new(online, offline, options.flush_interval, Arc::clone(&stop_asked));
        let thread = std::thread::Builder::new()
            .name("wandb".to_owned())
            .spawn(move || worker.run(&receiver))
            .map_err(durable_files::io_error("start a thread for", Path::new("wandb")))?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
            url,
            offline_reason,
            started: Instant::now(),
            earlier: resumed.runtime,
            logged_up_to: resumed.last_step,
            stop_asked,
            dropped: AtomicU64::new(0),
            finish_timeout: options.finish_timeout,
        })
    }

    /// The run's page, if it is online.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// Why a run that was to be online is not, in words.
    pub fn offline_reason(&self) -> Option<&str> {
        self.offline_reason.as_deref()
    }

    /// Whether somebody pressed Stop on the run's page.
    pub fn stop_asked(&self) -> bool {
        self.stop_asked.load(Ordering::Relaxed)
    }

    /// Logs the values of a step; never waits. Steps that a resumed run has logged already are left out, because the
    /// service's history only grows.
    pub fn log(&self, step: u64, values: &BTreeMap<String, f64>) {
        if self.logged_up_to.is_some_and(|last| step <= last) {
            return;
        }
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let runtime = self.earlier + self.started.elapsed().as_secs_f64();
        self.send(Message::History { step, runtime, timestamp, values: values.clone() });
    }

    /// Adds a line of the console.
    pub fn console(&self, line: &str) {
        self.send(Message::Console(line.to_owned()));
    }

    /// Adds a file to the run.
    pub fn file(&self, name: &str, content: Vec<u8>) {
        self.send(Message::File { name: name.to_owned(), content });
    }

    fn send(&self, message: Message) {
        let sent = self.sender.as_ref().is_some_and(|sender| sender.try_send(message).is_ok());
        if !sent {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends the run with `exit_code` (0 is success) and waits, within the set time, for what is still to be sent.
    pub fn finish(mut self, exit_code: i32) -> Finished {
        let mut finished = self.end(exit_code);
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > 0 {
            finished.complete = false;
            finished.problem.get_or_insert_with(|| format!("{dropped} lines did not fit into the queue"));
        }
        finished
    }

    fn end(&mut self, exit_code: i32) -> Finished {
        let late =
            |problem: &str| Finished { complete: false, offline: None, problem: Some(problem.to_owned()) };
        let Some(sender) = self.sender.take() else { return late("the run had ended") };
        if sender.send(Message::Finish { exit_code, until: Instant::now() + self.finish_timeout }).is_err() {
            return late("the sending thread had ended");
        }
        drop(sender);
        let Some(thread) = self.thread.take() else { return late("the run had ended") };
        thread.join().unwrap_or_else(|_| late("the sending thread failed"))
    }
}

impl Drop for WandbRun {
    fn drop(&mut self) {
        if self.sender.is_some() {
            self.end(1);
        }
    }
}

fn check_key(key: &str) -> Result<()> {
    let plain = key.chars().all(|c| c.is_ascii_graphic());
    if key.len() >= 40 && plain {
        return Ok(());
    }
    let actual = format!("{} characters", key.chars().count()); // never the key itself
    Err(Error::Domain { key: "WANDB_API_KEY", expected: "40 or more characters without spaces", actual })
}

impl RunAddress {
    fn page(&self, base_url: &str) -> String {
        let site = base_url.replace("://api.wandb.ai", "://wandb.ai");
        format!("{}/{}/{}/runs/{}", site.trim_end_matches('/'), self.entity, self.project, self.run)
    }
}

impl Default for Start {
    fn default() -> Self {
        Self { history_lines: 0, last_step: None, runtime: 0.0 }
    }
}
