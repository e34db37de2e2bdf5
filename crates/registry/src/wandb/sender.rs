//! The one sender of a run: reads the spool as its queue, and knows by the service's own counts what is missing there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use project_files::with_causes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{Api, Existing, RunAddress, cancel_when};
use super::batch::Batch;
use super::history::{Counts, Outline};
use super::record::Record;
use super::settings::WandbOptions;
use super::shared::Shared;
use super::spool::{self, Spool};
use crate::{Error, Result};

const HEARTBEAT: Duration = Duration::from_secs(30);
/// After a refusal, which waiting alone seldom mends.
const REFUSED: Duration = Duration::from_mins(10);
/// An upload that failed that often, or was refused, is left to `pq-train sync`.
const UPLOADS: u32 = 20;

/// What the service is known to have, kept beside the spool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Sent {
    id: String,
    pub(super) counts: Counts,
    files: BTreeMap<String, String>,
    /// The attempts whose end the service knows.
    attempts: u64,
    /// Bytes of the spool when the service had all that it holds, where its end was not in it: that of a killed run.
    bytes: u64,
}

impl Sent {
    fn path(spool: &Path) -> PathBuf {
        spool.with_extension("sent.json")
    }

    /// What was noted; nothing where that cannot be read, because the service knows it as well.
    pub(super) fn read(spool: &Path) -> Self {
        let bytes = std::fs::read(Self::path(spool)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Whether the service has the whole run, its end included where there is one.
    pub(super) fn is_whole(&self, outline: &Outline, bytes: u64) -> bool {
        self.attempts == outline.attempts() || self.bytes == bytes
    }
}

/// A run that the service knows.
struct Link {
    address: RunAddress,
    batch: Batch,
    /// Whether Stop was pressed before this attempt began, as far as is known.
    is_old_stop: bool,
}

impl Link {
    /// Sends what has gathered; whether Stop was pressed during this attempt.
    fn stream(&mut self, api: &Api) -> Result<bool> {
        let body = Value::Object(self.batch.body()).to_string();
        let stopped = api.stream(&self.address, &body)?;
        self.is_old_stop &= stopped;
        Ok(stopped && !self.is_old_stop)
    }
}

/// What a turn left to do.
enum Turn {
    More,
    Idle,
    Done,
}

/// Sends a spool to the service.
pub(super) struct Sender {
    api: Option<Api>,
    options: WandbOptions,
    spool: Arc<Spool>,
    outline: Outline,
    shared: Arc<Shared>,
    sent: Sent,
    link: Option<Link>,
    failures: u32,
    uploads: BTreeMap<String, u32>,
    not_before: Instant,
    /// Whether the service itself asked to wait.
    is_asked: bool,
    is_refused: bool,
    last_contact: Instant,
}

impl Sender {
    pub(super) fn new(
        options: &WandbOptions,
        spool: Arc<Spool>,
        outline: Outline,
        shared: Arc<Shared>,
    ) -> Self {
        let now = Instant::now();
        let sent = Sent::read(spool.path());
        Self {
            api: None,
            options: options.clone(),
            spool,
            outline,
            shared,
            sent,
            link: None,
            failures: 0,
            uploads: BTreeMap::new(),
            not_before: now,
            is_asked: false,
            is_refused: false,
            last_contact: now,
        }
    }

    /// Sends until the run has ended and all of it has arrived, the service refuses it after its end, or it is to quit.
    pub(super) fn run(mut self) {
        let mut was_ending = false;
        while !self.shared.is_quitting() {
            let is_ending = self.shared.lock().is_ending;
            if is_ending && !was_ending && !self.is_asked {
                (self.not_before, self.failures) = (Instant::now(), 0);
            }
            was_ending = is_ending;
            let wait = self.not_before.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                self.shared.pause(wait);
                continue;
            }
            if self.turn_or_fail(is_ending) {
                break;
            }
        }
        self.shared.change(|state| state.is_done = true);
    }

    /// One step on, or a note of why it failed; says whether that was the last one.
    fn turn_or_fail(&mut self, is_ending: bool) -> bool {
        match self.turn(is_ending) {
            Ok(Turn::Done) => {
                self.end(true);
                return true;
            }
            Ok(Turn::More) => self.went_well(),
            Ok(Turn::Idle) => {
                self.went_well();
                self.shared.pause(self.options.flush_interval);
            }
            Err(error) => {
                self.failed(&error);
                if is_ending && self.is_refused {
                    self.end(false);
                    return true;
                }
            }
        }
        false
    }

    fn end(&mut self, is_complete: bool) {
        let left_out = self.uploads.values().filter(|count| **count >= UPLOADS).count();
        let not_uploaded = || (left_out > 0).then(|| format!("{left_out} files were not uploaded"));
        let problem = self.spool.problem().or_else(not_uploaded);
        let is_complete = is_complete && problem.is_none();
        self.shared.change(|state| {
            state.is_complete = is_complete;
            state.problem = problem.or_else(|| state.problem.take().filter(|_| !is_complete));
        });
    }

    fn went_well(&mut self) {
        (self.failures, self.is_asked, self.is_refused) = (0, false, false);
        self.shared.change(|state| state.is_settled = true);
    }

    fn failed(&mut self, error: &Error) {
        let asked = match error {
            Error::Refused { wait, .. } => *wait,
            _ => None,
        };
        self.is_refused = is_final(error);
        self.is_asked = asked.is_some();
        self.failures += 1;
        let retry = &self.options.http.retry;
        let own = if self.is_refused { REFUSED } else { retry.delay(self.failures, fastrand::f64()) };
        self.not_before = Instant::now() + asked.unwrap_or(own);
        if self.is_refused {
            self.link = None; // what the service has is asked for anew
        }
        let problem = with_causes(error);
        self.shared.change(|state| (state.is_settled, state.problem) = (true, Some(problem)));
    }

    /// One step on: finds the run, sends what has gathered, uploads a file, or tells the end.
    fn turn(&mut self, is_ending: bool) -> Result<Turn> {
        if self.link.is_none() {
            self.link = Some(self.start()?);
            return Ok(Turn::More);
        }
        let (Some(link), Some(api)) = (&mut self.link, &self.api) else { return Ok(Turn::More) };
        link.batch.fill(is_ending)?;
        if !link.batch.is_empty() || self.last_contact.elapsed() >= HEARTBEAT {
            self.spool.sync(); // the service never has what the disk has not
            if link.stream(api)? {
                self.shared.ask_stop();
            }
            let lines = link.batch.taken();
            let (counts, damaged) = (link.batch.counts, link.batch.damaged());
            self.note_sent(lines, damaged, counts);
            return Ok(Turn::More);
        }
        self.upload_or_end(is_ending)
    }

    /// What is left to do once every line is sent.
    fn upload_or_end(&mut self, is_ending: bool) -> Result<Turn> {
        if let Some(name) = self.next_file() {
            return self.upload(&name).map(|()| Turn::More);
        }
        if !is_ending || !self.link.as_ref().is_some_and(|link| link.batch.is_last()) {
            return Ok(Turn::Idle);
        }
        self.tell_end().map(|()| Turn::Done)
    }

    fn note_sent(&mut self, lines: u64, damaged: u64, counts: Counts) {
        self.last_contact = Instant::now();
        self.shared.change(|state| {
            (state.sent_lines, state.damaged_lines) = (state.sent_lines + lines, damaged);
            state.problem = None;
        });
        self.note(|sent| sent.counts = counts);
    }

    /// The service, which this process may not have spoken to yet.
    fn take_api(&mut self) -> Result<Api> {
        if let Some(api) = self.api.take() {
            return Ok(api);
        }
        let quit = self.shared.quit_flag();
        let key = self.options.api_key.clone().unwrap_or_default();
        let cancel = cancel_when(move || quit.load(Ordering::Relaxed));
        Api::new(&self.options.base_url, &key, &self.options.http, cancel)
    }

    /// Finds the run at the service, or creates it, and reads the spool from its beginning: what the service has is passed over.
    fn start(&mut self) -> Result<Link> {
        let api = self.take_api()?;
        let api = self.api.insert(api);
        let last = &self.outline.last;
        let mut existing = api.status(&last.project, &last.entity, &self.outline.id)?;
        if existing.as_ref().is_some_and(|existing| existing.spool != self.outline.first.spool) {
            // Somebody else's run: it is left as it is.
            self.outline.id = format!("{}-{:08x}", self.outline.id, fastrand::u32(..));
            self.spool.append(&Record::Renamed { id: self.outline.id.clone() });
            existing = api.status(&last.project, &last.entity, &self.outline.id)?;
        }
        let (address, is_new) = api.upsert(&self.outline, existing.as_ref())?;
        if is_new || self.sent.id != self.outline.id {
            self.sent = Sent { id: self.outline.id.clone(), ..Sent::default() };
        }
        let known = existing.as_ref().map(|existing| existing.counts).unwrap_or_default();
        let counts = known.max(self.sent.counts);
        let batch = Batch::new(self.spool.path(), &self.outline, counts, existing.as_ref())?;
        let url = address.page(&self.options.base_url);
        self.shared.change(|state| (state.url, state.problem) = (Some(url), None));
        self.last_contact = Instant::now();
        Ok(Link { address, batch, is_old_stop: self.outline.attempts() > 1 })
    }

    fn next_file(&self) -> Option<String> {
        let files = &self.link.as_ref()?.batch.files;
        let is_due = |(name, sha256): &(&String, &String)| {
            self.sent.files.get(*name) != Some(*sha256) && self.uploads.get(*name) < Some(&UPLOADS)
        };
        files.iter().find(is_due).map(|(name, _)| name.clone())
    }

    /// Uploads a file; one that is refused again and again is left out.
    fn upload(&mut self, name: &str) -> Result<()> {
        let (Some(link), Some(api)) = (&self.link, &self.api) else { return Ok(()) };
        let path = files_of(self.spool.path()).join(name);
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            Err(error) => return self.not_uploaded(name, &error.to_string(), UPLOADS),
        };
        let sha256 = durable_files::sha256_hex(&content);
        if let Err(error) = api.upload(&link.address, name, content) {
            let count = if is_final(&error) { UPLOADS } else { 1 };
            self.not_uploaded(name, &with_causes(&error), count)?;
            return if is_final(&error) { Ok(()) } else { Err(error) };
        }
        api.stream(&link.address, &json!({"uploaded": [name]}).to_string())?;
        self.uploads.remove(name);
        self.last_contact = Instant::now();
        if let Some(link) = &mut self.link {
            link.batch.files.insert(name.to_owned(), sha256.clone()); // as it is now
        }
        self.note(|sent| drop(sent.files.insert(name.to_owned(), sha256)));
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the failure is noted, and sending goes on")]
    fn not_uploaded(&mut self, name: &str, reason: &str, count: u32) -> Result<()> {
        *self.uploads.entry(name.to_owned()).or_default() += count;
        let problem = format!("`{name}` was not uploaded: {reason}");
        self.shared.change(|state| state.problem = Some(problem));
        Ok(())
    }

    fn tell_end(&mut self) -> Result<()> {
        let attempts = self.outline.attempts();
        let (Some(link), Some(api)) = (&self.link, &self.api) else { return Ok(()) };
        let Some(ending) = link.batch.ending else {
            let bytes = spool::size(self.spool.path());
            self.note(|sent| sent.bytes = bytes); // it was killed, and may be resumed
            return Ok(());
        };
        // Also where it was told before: the run counts as running again since it was found.
        let body = json!({
            "files": {"wandb-summary.json": {"offset": 0, "content": [link.batch.summary()]}},
            "complete": true, "exitcode": ending.shown_code(),
        });
        api.stream(&link.address, &body.to_string())?;
        if ending.was_stopped {
            api.mark_stopped(&link.address)?;
        }
        self.note(|sent| sent.attempts = attempts);
        Ok(())
    }

    /// Keeps what the service has now; where that fails, the service is asked the next time.
    fn note(&mut self, change: impl FnOnce(&mut Sent)) {
        let before = self.sent.clone();
        change(&mut self.sent);
        if before != self.sent {
            let _ = durable_files::write_json(&Sent::path(self.spool.path()), &self.sent);
        }
    }
}

/// Where the files of a run lie until they are uploaded, and after.
pub(super) fn files_of(spool: &Path) -> PathBuf {
    spool.with_extension("files")
}

fn is_final(error: &Error) -> bool {
    match error {
        Error::Refused { status, .. } => !http_client::is_transient(*status),
        Error::Unreachable { .. } | Error::Protocol { .. } => false,
        _ => true,
    }
}

/// Whether the service would take the run, asked once and with patience.
///
/// # Errors
/// A refusal, or a service that cannot be reached.
pub(super) fn ask(options: &WandbOptions, project: &str, entity: &str) -> Result<Option<Existing>> {
    let key = options.api_key.clone().unwrap_or_default();
    Api::patient(&options.base_url, &key, &options.http)?.status(project, entity, "none")
}
