use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use project_files::Layout;
use slide_data::{Manifest, Prediction, Rubric};

use crate::overview::LeadReport;
use crate::{
    Audits, Corrections, Error, LabelConfig, Ledger, Opened, People, Queue, Result, read_predictions,
    uncertainty,
};

/// Who may use the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever sits at this machine, under any name.
    Local,
    /// Whoever has an invitation. `is_https` marks the cookie for encrypted connections only.
    Invited {
        /// Whether people reach the server through HTTPS.
        is_https: bool,
    },
}

/// What the server is started with.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// Where the files lie.
    pub paths: Layout,
    /// The criteria.
    pub rubric: Rubric,
    /// Who rates what.
    pub config: LabelConfig,
    /// Who may use the page.
    pub access: Access,
    /// For how many days after a slide was scored a rating of it says how good the model is.
    pub audit_days: f64,
}

/// What the requests share.
pub struct App {
    settings: AppSettings,
    ledger: Ledger,
    slides: RwLock<Slides>,
    /// Held only for a look: whoever holds it takes no other lock.
    audits: RwLock<Audits>,
    queue: Mutex<Queue>,
    people: People,
    corrections: Mutex<Corrections>,
    predictions: BTreeMap<String, Prediction>,
    failures: Mutex<HashMap<IpAddr, (u32, Instant)>>,
    pub(super) report: Mutex<Option<(u64, Instant, Arc<LeadReport>)>>,
}

/// What the page needs of a slide.
#[derive(Debug, Clone)]
pub(super) struct SlideCard {
    pub(super) deck_id: Arc<str>,
    pub(super) number: usize,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Of the pixels; names the image for the browser's cache.
    pub(super) sha256: Arc<str>,
}

struct Slides {
    by_id: HashMap<Box<str>, SlideCard>,
    modified: [Option<SystemTime>; 2],
    looked_at: Instant,
}

/// The manifest is looked at again after this long, so that slides collected meanwhile appear.
const MANIFEST_PAUSE: Duration = Duration::from_secs(3);
/// So many wrong tokens from one address in a minute, and it has to wait.
const MAX_FAILURES: u32 = 10;
const FAILURE_WINDOW: Duration = Duration::from_mins(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl App {
    /// Opens the store for serving; also says what was found in the journal.
    ///
    /// # Errors
    /// When the configuration is invalid, another process has locked the store, or a file cannot be read.
    pub fn open(settings: AppSettings) -> Result<(Self, Opened)> {
        settings.config.validate()?;
        settings.rubric.validate()?;
        let (ledger, opened) = Ledger::open(&settings.paths, &settings.rubric, settings.config.consensus)?;
        let modified = modified(&settings.paths);
        let manifest = Manifest::read(settings.paths.slides().root())?;
        let predictions = read_predictions(&settings.paths.predictions())?;
        let audits = read_audits(&settings)?;
        let mut queue = fill_queue(&manifest, &ledger, &settings.config, &predictions);
        queue.put_first(&audits.open);
        let app = Self {
            slides: RwLock::new(Slides { by_id: by_id(&manifest), modified, looked_at: Instant::now() }),
            audits: RwLock::new(audits),
            queue: Mutex::new(queue),
            people: People::open(&settings.paths.people())?,
            corrections: Mutex::new(Corrections::open(&settings.paths.corrections())?),
            predictions,
            failures: Mutex::default(),
            report: Mutex::default(),
            ledger,
            settings,
        };
        Ok((app, opened))
    }

    /// Who may use the page.
    pub fn access(&self) -> Access {
        self.settings.access
    }

    /// How many slides there are to rate.
    pub fn slide_count(&self) -> usize {
        lock(&self.queue).len()
    }

    /// Whether somebody has been invited to lead.
    pub fn has_invited_lead(&self) -> bool {
        self.people().invitations().iter().any(|invitation| invitation.role == crate::Role::Lead)
    }

    /// Invites a person; returns the token of their link.
    ///
    /// # Errors
    /// As [`People::invite`].
    pub fn invite(&self, name: &str, role: crate::Role) -> Result<String> {
        Ok(self.people().invite(name, role)?.1)
    }

    pub(super) fn settings(&self) -> &AppSettings {
        &self.settings
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    pub(super) fn people(&self) -> &People {
        &self.people
    }

    /// Changes the list of people beside the threads that answer requests: the disk may take its time.
    pub(super) async fn change_people<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&People) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let app = self.clone();
        let changed = tokio::task::spawn_blocking(move || change(&app.people)).await;
        changed.unwrap_or(Err(crate::Error::Failed))
    }

    pub(super) fn corrections(&self) -> MutexGuard<'_, Corrections> {
        lock(&self.corrections)
    }

    /// What the model says of a slide; nothing of one whose ratings tell how good the model is.
    pub(super) fn prediction(&self, slide_id: &str) -> Option<&Prediction> {
        let audits = self.audits.read().unwrap_or_else(PoisonError::into_inner);
        self.predictions.get(slide_id).filter(|_| !audits.drawn.contains(slide_id))
    }

    pub(super) fn slide(&self, id: &str) -> Option<SlideCard> {
        self.slides.read().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }

    /// Takes up slides that were collected since. A manifest that cannot be read just now leaves things as they are.
    pub(super) fn refresh_slides(&self) {
        let due = {
            let slides = self.slides.read().unwrap_or_else(PoisonError::into_inner);
            slides.looked_at.elapsed() > MANIFEST_PAUSE
        };
        if !due {
            return;
        }
        let mut slides = self.slides.write().unwrap_or_else(PoisonError::into_inner);
        slides.looked_at = Instant::now();
        let now = modified(&self.settings.paths);
        if now == slides.modified {
            return;
        }
        let manifest = Manifest::read(self.settings.paths.slides().root()).map_err(Error::from);
        match manifest.and_then(|manifest| Ok((manifest, read_audits(&self.settings)?))) {
            Ok((manifest, audits)) => {
                let mut queue = fill_queue(&manifest, &self.ledger, &self.settings.config, &self.predictions);
                queue.put_first(&audits.open);
                *lock(&self.queue) = queue;
                *self.audits.write().unwrap_or_else(PoisonError::into_inner) = audits;
                slides.by_id = by_id(&manifest);
                slides.modified = now;
            }
            Err(error) => tracing::warn!("the slides to rate are left as they were: {error}"),
        }
    }

    /// Whether an address has guessed too often.
    pub(super) fn must_wait(&self, address: IpAddr) -> bool {
        let failures = lock(&self.failures);
        failures
            .get(&address)
            .is_some_and(|(count, since)| *count >= MAX_FAILURES && since.elapsed() < FAILURE_WINDOW)
    }

    /// Counts a wrong token.
    pub(super) fn count_failure(&self, address: IpAddr) {
        let mut failures = lock(&self.failures);
        failures.retain(|_, (_, since)| since.elapsed() < FAILURE_WINDOW);
        failures.entry(address).or_insert((0, Instant::now())).0 += 1;
    }
}

fn by_id(manifest: &Manifest) -> HashMap<Box<str>, SlideCard> {
    // A name that leads out of the image folder is no slide.
    let is_plain = |id: &str| !id.is_empty() && !id.contains(['/', '\\', '\0']) && id != "..";
    let mut decks: HashMap<&str, Arc<str>> = HashMap::new();
    let mut by_id = HashMap::new();
    for slide in manifest.usable().filter(|slide| is_plain(&slide.slide_id)) {
        let deck_id = decks.entry(&slide.deck_id).or_insert_with(|| slide.deck_id.as_str().into()).clone();
        let card = SlideCard {
            deck_id,
            number: slide.number,
            width: slide.width,
            height: slide.height,
            sha256: slide.sha256.as_str().into(),
        };
        by_id.insert(slide.slide_id.as_str().into(), card);
    }
    by_id
}

fn modified(paths: &Layout) -> [Option<SystemTime>; 2] {
    [paths.slides().manifest(), paths.audits()]
        .map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
}

fn read_audits(settings: &AppSettings) -> Result<Audits> {
    Audits::read(&settings.paths.audits(), settings.audit_days, jiff::Timestamp::now())
}

fn fill_queue(
    manifest: &Manifest,
    ledger: &Ledger,
    config: &LabelConfig,
    predictions: &BTreeMap<String, Prediction>,
) -> Queue {
    let mut queue = Queue::new(manifest, &ledger.store(), config);
    for (slide, prediction) in predictions {
        queue.set_uncertainty(slide, uncertainty(prediction));
    }
    queue
}
