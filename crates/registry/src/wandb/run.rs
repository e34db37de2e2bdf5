use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::history::Outline;
use super::media::{Media, table_of_chart};
use super::offline::OfflineWriter;
use super::record::{Attempt, Items, Record, VERSION, items};
use super::sender::{self, Sender, files_of};
use super::settings::{RunInfo, WandbConfig, WandbMode, WandbOptions};
use super::shared::Shared;
use super::spool::{self, Spool};
use crate::tracking::{Confusion, End, Finished, Table, Tracker};
use crate::{Error, Result};

/// A run that is being tracked: each call writes to the spool, and a thread of its own sends from there.
///
/// Dropped without [`finish`](Tracker::finish) it leaves the run as a killed process would: whole on disk, to be sent by
/// [`sync`](super::sync) or carried on.
#[derive(Debug)]
pub struct WandbRun {
    spool: Arc<Spool>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    started: Instant,
    /// Seconds of the run before it was resumed.
    earlier: f64,
    finish_timeout: Duration,
    shows_pictures: bool,
}

impl WandbRun {
    /// Begins to track a run: a new one, or from [`RunInfo::completed_steps`] on the newest of the folder. The service is asked
    /// in the background, as often as it takes.
    ///
    /// # Errors
    /// When the folder cannot be written, or another process sends from it.
    pub fn start(config: &WandbConfig, options: &WandbOptions, info: &RunInfo) -> Result<Self> {
        let earlier = if info.completed_steps == 0 { None } else { spool::all(&options.folder)?.pop() };
        let outline = earlier.as_deref().map(Outline::read).transpose()?.flatten();
        let mut attempt = attempt(config, options, info, outline.as_ref());
        let path = match earlier {
            Some(path) if outline.is_some() => path,
            _ => new_path(&options.folder, &mut attempt),
        };
        let runtime = attempt.runtime;
        let spool = begin(&path, attempt)?;
        let outline = Outline::read(&path)?;
        let outline = outline.ok_or_else(|| Error::Spool { problem: "it is empty".to_owned() })?;
        let shared = Arc::new(Shared::default());
        shared.change(|state| state.damaged_lines = outline.damaged);
        let is_online = config.mode == WandbMode::Online && options.api_key.is_some();
        let thread = spawn(is_online, options, &spool, outline, &shared)?;
        Ok(Self {
            spool,
            shared,
            thread: Mutex::new(Some(thread)),
            started: Instant::now(),
            earlier: runtime,
            finish_timeout: options.finish_timeout,
            shows_pictures: config.pictures,
        })
    }

    /// Asks the service, with patience, whether it would take a run: for those who do not want to train without it.
    ///
    /// # Errors
    /// A key that cannot be one, a refusal, or a service that cannot be reached.
    pub fn check(config: &WandbConfig, options: &WandbOptions) -> Result<()> {
        sender::ask(options, &config.project, &config.entity).map(drop)
    }

    /// Waits at most that long for the service's first answer, and returns the run's page or what is wrong so far.
    pub fn wait_for_page(&self, longest: Duration) -> (Option<String>, Option<String>) {
        self.shared
            .wait_until(Instant::now() + longest, &|| false, |state| state.is_settled || state.is_done);
        let state = self.shared.lock();
        (state.url.clone(), state.problem.clone())
    }

    /// The run's page, once the service has told it.
    pub fn url(&self) -> Option<String> {
        self.shared.lock().url.clone()
    }

    /// Where the spool lies.
    pub fn spool(&self) -> &Path {
        self.spool.path()
    }

    fn now(&self) -> (f64, f64) {
        (self.earlier + self.started.elapsed().as_secs_f64(), seconds())
    }

    fn line(&self, step: u64, values: Items) {
        let (runtime, timestamp) = self.now();
        self.spool.append(&Record::History { step, runtime, timestamp, values });
    }

    fn end_thread(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            self.shared.quit();
            let _ = thread.join();
        }
    }
}

impl Tracker for WandbRun {
    fn log(&self, step: u64, values: &BTreeMap<String, f64>) {
        self.line(step, items(values));
    }

    fn table(&self, step: u64, name: &str, table: &Table) {
        let keep = |name: &str, content: &[u8]| {
            if !files_of(self.spool.path()).join(name).exists() {
                self.file(name, content);
            }
        };
        let media = Media { shows_pictures: self.shows_pictures, keep: &keep };
        self.line(step, media.table(step, name, table));
    }

    fn confusion(&self, step: u64, name: &str, confusion: &Confusion) {
        self.table(step, &table_of_chart(name), &confusion.pairs());
    }

    fn preempting(&self) {
        self.spool.append(&Record::Preempting);
        self.spool.sync();
    }

    fn summary(&self, values: &BTreeMap<String, f64>) {
        self.spool.append(&Record::Summary { values: items(values) });
    }

    fn system(&self, values: &BTreeMap<String, f64>) {
        let (runtime, timestamp) = self.now();
        let named = |(name, value): (String, String)| (format!("system.{name}"), value);
        let values: Items = items(values).into_iter().map(named).collect();
        self.spool.append(&Record::Event { runtime, timestamp, values });
    }

    fn console(&self, line: &str) {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6f");
        let line = line.trim_end().replace(['\n', '\r'], " ");
        self.spool.append(&Record::Console { line: format!("{time} {line}") });
    }

    fn file(&self, name: &str, content: &[u8]) {
        let path = files_of(self.spool.path()).join(name);
        let is_inside =
            Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        let written = if is_inside { durable_files::write_atomic(&path, content) } else { return };
        if let Err(error) = written {
            let problem = project_files::with_causes(&error);
            return self.shared.change(|state| state.problem = Some(problem));
        }
        let sha256 = durable_files::sha256_hex(content);
        self.spool.append(&Record::File { name: name.to_owned(), sha256 });
    }

    fn is_stop_asked(&self) -> bool {
        self.shared.is_stop_asked()
    }

    fn finish(&self, end: End, cancel: &dyn Fn() -> bool) -> Finished {
        let is_first = self.thread.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_first {
            self.spool.append(&Record::End { exit_code: end.exit_code, was_stopped: end.was_stopped });
            self.spool.sync();
            self.shared.change(|state| state.is_ending = true);
            self.shared.wait_until(Instant::now() + self.finish_timeout, cancel, |state| state.is_done);
            self.end_thread();
        }
        let mut finished = self.shared.finished();
        if let Some(problem) = self.spool.problem() {
            (finished.complete, finished.problem) = (false, Some(problem));
        }
        if !finished.complete {
            finished.problem.get_or_insert_with(|| "there was no answer in time".to_owned());
        }
        finished
    }
}

impl Drop for WandbRun {
    fn drop(&mut self) {
        self.end_thread();
    }
}

fn spawn(
    is_online: bool,
    options: &WandbOptions,
    spool: &Arc<Spool>,
    outline: Outline,
    shared: &Arc<Shared>,
) -> Result<JoinHandle<()>> {
    let builder = std::thread::Builder::new().name("wandb".to_owned());
    let spawned = if is_online {
        let sender = Sender::new(options, Arc::clone(spool), outline, Arc::clone(shared));
        builder.spawn(move || sender.run())
    } else {
        let writer = OfflineWriter::new(options, Arc::clone(spool), outline, Arc::clone(shared));
        builder.spawn(move || writer.run())
    };
    Ok(spawned.map_err(durable_files::io_error("start a thread for", spool.path()))?)
}

/// Where a new run's spool lies. Where an earlier run has its id, it gets another one.
fn new_path(folder: &Path, attempt: &mut Attempt) -> PathBuf {
    if spool::path_of(folder, &attempt.id).exists() {
        attempt.id = format!("{}-{:08x}", attempt.id, fastrand::u32(..));
    }
    spool::path_of(folder, &attempt.id)
}

/// Opens the spool for this process alone, and enters the attempt.
fn begin(path: &Path, attempt: Attempt) -> Result<Arc<Spool>> {
    let spool = Arc::new(Spool::claim(path)?);
    spool.append(&Record::Attempt(Box::new(attempt)));
    match spool.problem() {
        Some(problem) => Err(Error::Spool { problem }),
        None => Ok(spool),
    }
}

fn attempt(
    config: &WandbConfig,
    options: &WandbOptions,
    info: &RunInfo,
    earlier: Option<&Outline>,
) -> Attempt {
    let id = || info.id.clone().unwrap_or_else(|| format!("{}-{:08x}", info.run, fastrand::u32(..)));
    let new_token = || format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let name = if config.name.is_empty() { &info.run } else { &config.name };
    Attempt {
        version: VERSION,
        spool: earlier.map_or_else(new_token, |outline| outline.first.spool.clone()),
        completed_steps: info.completed_steps,
        runtime: earlier.map_or(0.0, |outline| outline.runtime_at(info.completed_steps)),
        started: seconds(),
        base_url: options.base_url.clone(),
        id: earlier.map_or_else(|| plain(&id()), |outline| outline.id.clone()),
        project: earlier.map_or(&config.project, |outline| &outline.first.project).clone(),
        entity: earlier.map_or(&config.entity, |outline| &outline.first.entity).clone(),
        name: name.clone(),
        group: config.group.clone(),
        notes: config.notes.clone(),
        tags: config.tags.clone(),
        config: info.config.clone(),
        host: info.host.clone(),
        program: info.program.clone(),
        commit: info.commit.clone(),
        charts: info.charts.clone(),
    }
}

/// An id that the service takes, and that can be a file's name.
fn plain(id: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let kept: String = id.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    let short = kept.get(kept.len().saturating_sub(100)..).unwrap_or(&kept);
    short.trim_start_matches('.').to_owned()
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
