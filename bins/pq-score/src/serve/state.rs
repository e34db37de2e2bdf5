//! What all requests share.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use project_files::Layout;
use report_pages::CorrectionForm;
use slide_data::{Limits, Rubric};
use slide_label::Corrections;
use slide_scorer::ServeConfig;
use tokio::sync::Semaphore;

use crate::failures::FailureLog;
use crate::familiar::RatedSlides;
use crate::versions::Comparison;

use super::answer::Rejection;
use super::desk::Desk;
use super::jobs::Jobs;
use super::keys::Keys;
use super::metrics::Metrics;

/// A running service.
pub(super) struct App {
    pub(super) config: ServeConfig,
    pub(super) limits: Limits,
    pub(super) rubric: Rubric,
    pub(super) version: String,
    /// How good the version was when it was validated, in a sentence.
    pub(super) quality: String,
    /// Slides that people rated, to compare with.
    pub(super) rated: RatedSlides,
    /// What two versions of a deck are compared by.
    pub(super) comparison: Comparison,
    /// How scores are corrected in a report.
    pub(super) form: CorrectionForm,
    /// Without one only this machine is answered.
    pub(super) token: Option<Token>,
    pub(super) desk: Arc<Desk>,
    pub(super) jobs: Jobs,
    pub(super) keys: Arc<Keys>,
    pub(super) corrections: Mutex<Corrections>,
    pub(super) metrics: Arc<Metrics>,
    /// Where it is noted what could not be rated.
    pub(super) failures: FailureLog,
    /// Bodies that may be in memory at once.
    pub(super) uploads: Arc<Semaphore>,
    /// Readers of the log, and writers of corrections.
    pub(super) disk: Arc<Semaphore>,
    /// Where the log lies, in which slides are looked up that this service did not rate itself.
    pub(super) layout: Layout,
    stage: AtomicU8,
}

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

/// What an [`App`] is made of.
pub(super) struct Parts {
    pub(super) config: ServeConfig,
    pub(super) limits: Limits,
    pub(super) rubric: Rubric,
    pub(super) version: String,
    pub(super) quality: String,
    pub(super) rated: RatedSlides,
    pub(super) comparison: Comparison,
    pub(super) form: CorrectionForm,
    pub(super) token: Option<Token>,
    pub(super) desk: Arc<Desk>,
    pub(super) corrections: Corrections,
    pub(super) failures: FailureLog,
    pub(super) layout: Layout,
}

impl App {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            config,
            limits,
            rubric,
            version,
            quality,
            rated,
            comparison,
            form,
            token,
            desk,
            corrections,
            failures,
            layout,
        } = parts;
        let metrics = desk.metrics.clone();
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let jobs = Jobs::new(
            config.queue_decks,
            config.keep_decks,
            minutes(config.keep_decks_minutes),
            metrics.clone(),
        );
        Self {
            keys: Arc::new(Keys::new(minutes(config.keep_keys_minutes))),
            uploads: Arc::new(Semaphore::new(config.uploads_at_once)),
            disk: Arc::new(Semaphore::new(4)),
            corrections: Mutex::new(corrections),
            stage: AtomicU8::new(STARTING),
            config,
            limits,
            rubric,
            version,
            quality,
            rated,
            comparison,
            form,
            token,
            desk,
            jobs,
            metrics,
            failures,
            layout,
        }
    }

    /// The model has rated its first slide.
    pub(super) fn set_ready(&self) {
        let _ = self.stage.compare_exchange(STARTING, READY, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// What was begun is ended, and nothing is begun any more.
    pub(super) fn set_draining(&self) {
        self.stage.store(DRAINING, Ordering::SeqCst);
    }

    /// Whether work is taken; else why not.
    pub(super) fn check_ready(&self) -> Result<(), Rejection> {
        match self.stage.load(Ordering::SeqCst) {
            READY => Ok(()),
            DRAINING => Err(Rejection::unavailable("draining", "the service is being stopped", 30)),
            _ => Err(Rejection::unavailable("starting", "the model is being loaded", 5)),
        }
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_idle() && self.desk.is_idle()
    }
}

/// What clients must show. It is compared in constant time and never printed.
pub(super) struct Token(String);

/// The variable that holds the token.
pub(super) const TOKEN: &str = "PQ_SCORE_TOKEN";
/// The variable that names a file with the token.
pub(super) const TOKEN_PATH: &str = "PQ_SCORE_TOKEN_PATH";
/// A shorter token could be guessed.
const SHORTEST: usize = 16;

impl Token {
    /// The token of the environment, `.env` or the file that is named there.
    pub(super) fn find() -> anyhow::Result<Option<Self>> {
        use pq_cli::{Hint, secrets};
        let from_file = || -> anyhow::Result<Option<String>> {
            let Some(path) = secrets::variable(TOKEN_PATH) else { return Ok(None) };
            let text = std::fs::read_to_string(&path).map_err(|_| {
                Hint::new(
                    format!("the file that {TOKEN_PATH} names cannot be read"),
                    "write the token into it, on one line",
                )
            })?;
            Ok(Some(text.trim().to_owned()))
        };
        let Some(token) = secrets::variable(TOKEN).map_or_else(from_file, |token| Ok(Some(token)))? else {
            return Ok(None);
        };
        let is_plain = token.len() >= SHORTEST && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain {
            let remedy = "make one with `openssl rand -hex 32`";
            anyhow::bail!(Hint::new(
                format!("the service's token must have at least {SHORTEST} visible ASCII characters"),
                remedy
            ));
        }
        Ok(Some(Self(token)))
    }

    /// Whether these are its bytes; it takes as long whatever they are.
    pub(super) fn is(&self, shown: &[u8]) -> bool {
        use subtle::ConstantTimeEq as _;
        self.0.as_bytes().ct_eq(shown).into()
    }
}
