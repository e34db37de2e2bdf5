//! Notes what could not be scored, so that pq-monitor sees errors and refusals too.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pq_cli::Layout;
use project_files::Contract as _;
use slide_data::{Error, FailedInput, FailureKind};

use crate::ids::new_id;

/// Where failures of a call or a service are noted; nowhere, where its scores are not logged either.
pub(crate) struct FailureLog {
    path: Option<PathBuf>,
    version: String,
}

impl FailureLog {
    /// Beside this log of scored slides.
    pub(crate) fn beside(predictions: Option<&Path>, version: &str) -> Self {
        Self { path: predictions.map(Layout::failures_beside), version: version.to_owned() }
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

    /// Notes a slide of the store that could not be scored.
    pub(crate) fn note_slide(&self, id: String, slide_id: &str, reason: &str) {
        let (deck, part) =
            slide_id.rsplit_once('-').map_or((slide_id, None), |(deck, part)| (deck, Some(part)));
        let part = part.map(|part| format!("slide {part}"));
        self.note(&[self.line(id, Some(deck.to_owned()), part, FailureKind::Error, reason)]);
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
        let Some(path) = &self.path else { return };
        if let Err(error) = FailedInput::append(path, lines) {
            tracing::warn!("a failure is not noted for pq-monitor: {:#}", anyhow::Error::from(error));
        }
    }
}
