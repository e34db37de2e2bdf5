//! Notes what could not be scored, so that pq-monitor sees errors and refusals too.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use pq_cli::Layout;
use project_files::Contract as _;
use slide_data::{Error, FailedInput, FailureKind};

use crate::ids::new_id;

/// Where failures of a call or a service are noted; nowhere, where its scores are not logged either.
pub(crate) struct FailureLog {
    path: Option<PathBuf>,
    version: String,
    has_warned: AtomicBool,
}

/// A log of failures takes no more beyond this size (in bytes): a quarter of a million lines say what there is to say.
const LARGEST: u64 = 64 << 20;

impl FailureLog {
    /// Beside this log of scored slides.
    pub(crate) fn beside(predictions: Option<&Path>, version: &str) -> Self {
        let path = predictions.map(Layout::failures_beside);
        Self { path, version: version.to_owned(), has_warned: AtomicBool::new(false) }
    }

    /// Whether anything is noted, and so scores are logged.
    pub(crate) fn is_kept(&self) -> bool {
        self.path.is_some()
    }

    /// Notes the file or page that this error is about, where it is about one.
    pub(crate) fn note_error(&self, error: &anyhow::Error) {
        let error = error.chain().find_map(|cause| cause.downcast_ref::<Error>());
        if let Some(error @ Error::Unreadable { .. }) = error {
            self.note(&[FailedInput::of(error, new_id(), &self.version)]);
        }
    }

    /// Notes a file or page of a deck, as far as that is known.
    pub(crate) fn note_part(
        &self,
        deck_id: Option<String>,
        part: Option<String>,
        kind: FailureKind,
        reason: &str,
    ) {
        self.note(&[self.line(new_id(), deck_id, part, kind, reason)]);
    }

    /// Notes the slides of the store that could not be scored, each with the id of its line, as of a time.
    pub(crate) fn note_slides<'a>(&self, slides: impl Iterator<Item = (String, &'a str)>, at: Timestamp) {
        let line = |(id, slide_id): (String, &str)| {
            let (deck, part) = slide_id.rsplit_once('-').unwrap_or((slide_id, ""));
            let page = part.strip_prefix('p').and_then(|number| number.parse::<usize>().ok());
            let part = page.map_or_else(|| format!("slide {part}"), |page| format!("page {page}"));
            let line = self.line(id, Some(deck.to_owned()), Some(part), FailureKind::Error, "cannot be read");
            FailedInput { failed_at: at, ..line }
        };
        let lines: Vec<FailedInput> = slides.map(line).collect();
        self.note(&lines);
    }

    /// Notes that a file was refused of which nothing was read; one that is sent again has the same `id`, and counts once.
    pub(crate) fn note_unread(&self, id: String, reason: &str) {
        self.note(&[self.line(id, None, None, FailureKind::Refusal, reason)]);
    }

    fn line(
        &self,
        id: String,
        deck_id: Option<String>,
        part: Option<String>,
        kind: FailureKind,
        reason: &str,
    ) -> FailedInput {
        FailedInput {
            schema_version: FailedInput::VERSION,
            id,
            deck_id,
            part,
            failed_at: Timestamp::now(),
            model_version: self.version.clone(),
            kind,
            reason: reason.to_owned(),
        }
    }

    /// What cannot be noted is only warned of: who waits for scores of other pages gets them.
    fn note(&self, lines: &[FailedInput]) {
        let Some(path) = self.path.as_ref().filter(|_| !lines.is_empty()) else { return };
        if std::fs::metadata(path).is_ok_and(|log| log.len() > LARGEST) {
            return self.warn("its log has grown too large: pq-monitor drops what is too old to count");
        }
        if let Err(error) = FailedInput::append(path, lines) {
            self.warn(&format!("{:#}", anyhow::Error::from(error)));
        }
    }

    /// Once: a failure that comes again and again fills no other log either.
    fn warn(&self, why: &str) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("a failure is not noted for pq-monitor: {why}");
        }
    }
}
