use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use jiff::Timestamp;
use project_files::Layout;
use slide_data::{Manifest, Prediction, Rubric};
use subtle::ConstantTimeEq;

use super::cards::{SlideCard, by_id};
use super::overview::LeadReport;
use super::site::PublicUrl;
use crate::people::random_hex;
use crate::{
    Audits, Calibration, Corrections, Doubts, Invitation, LabelConfig, Ledger, Opened, People, Queue, Result,
    Role, read_predictions, uncertainty,
};

/// Who may use the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever sits at this machine and has the link that was printed, under any name.
    Local,
    /// Whoever has an invitation.
    Invited,
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
    /// The address that people type, where a proxy or a name stands before the server.
    pub public_url: Option<PublicUrl>,
    /// Whose word for a client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
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
    sign_ins: Mutex<HashMap<IpAddr, (u32, Instant)>>,
    /// When somebody last rated or opened a slide.
    busy_at: Mutex<Instant>,
    /// Lets in on this machine; made anew at each start, and kept nowhere.
    local_key: String,
    pub(super) report: Mutex<Option<(u64, Instant, Arc<LeadReport>)>>,
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
/// So many sign-ins from one address in a minute, right ones too: a class room behind one address fits.
const MAX_SIGN_INS: u32 = 60;
const WINDOW: Duration = Duration::from_mins(1);

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
        let slides: HashSet<&str> = manifest.slides.iter().map(|slide| slide.slide_id.as_str()).collect();
        let predictions = read_predictions(&settings.paths, &|slide| slides.contains(slide))?;
        let audits = read_audits(&settings)?;
        let mut queue = fill_queue(&manifest, &ledger, &settings, &predictions)?;
        queue.put_first(&audits.open);
        let app = Self {
            slides: RwLock::new(Slides { by_id: by_id(&manifest), modified, looked_at: Instant::now() }),
            audits: RwLock::new(audits),
            queue: Mutex::new(queue),
            people: People::open(&settings.paths.people())?,
            corrections: Mutex::new(Corrections::open(&settings.paths.corrections())?),
            predictions,
            failures: Mutex::default(),
            sign_ins: Mutex::default(),
            busy_at: Mutex::new(Instant::now()),
            local_key: random_hex()?,
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

    /// Somebody rates or opens a slide.
    pub(super) fn note_work(&self) {
        *lock(&self.busy_at) = Instant::now();
    }

    /// For how long nobody has rated or opened a slide.
    pub fn quiet_for(&self) -> Duration {
        lock(&self.busy_at).elapsed()
    }

    /// How many slides there are to rate.
    pub fn slide_count(&self) -> usize {
        lock(&self.queue).len()
    }

    /// Whether somebody has been invited to lead, and can or did get in.
    pub fn has_invited_lead(&self) -> bool {
        let now = Timestamp::now();
        let serves = |invitation: &Invitation| {
            invitation.role == Role::Lead && (invitation.uses > 0 || !invitation.is_expired(now))
        };
        self.people().invitations().iter().any(serves)
    }

    /// Invites a person; returns the token of their link.
    ///
    /// # Errors
    /// As [`People::invite`].
    pub fn invite(&self, name: &str, role: Role, days: Option<u32>) -> Result<String> {
        Ok(self.people().invite(name, role, days)?.1)
    }

    /// The secret of the link that lets in on this machine.
    pub fn local_key(&self) -> &str {
        &self.local_key
    }

    /// Compares in constant time.
    pub(super) fn is_local_key(&self, token: &str) -> bool {
        self.access() == Access::Local && bool::from(token.as_bytes().ct_eq(self.local_key.as_bytes()))
    }

    /// Whether this address is a proxy whose word is taken.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.settings.trusted_proxies.iter().any(|net| net.contains(&address))
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

    /// The ratings that the latest run's model would not have expected, but for slides whose ratings tell how good it is.
    pub(super) fn doubts(&self) -> Result<Doubts> {
        let path = self.settings.paths.latest_run().doubtful_labels();
        let audits = self.audits.read().unwrap_or_else(PoisonError::into_inner);
        Doubts::read(&path, &audits.drawn)
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
        let now = modified(&self.settings.paths);
        {
            let mut slides = self.slides.write().unwrap_or_else(PoisonError::into_inner);
            slides.looked_at = Instant::now();
            if now == slides.modified {
                return;
            }
        }
        self.read_slides(now);
    }

    /// Takes up manifest and audits, which were last changed at `now`.
    fn read_slides(&self, now: [Option<SystemTime>; 2]) {
        // The store is read here with no other lock held: a request that holds it may be waiting for one of them.
        match Manifest::read(self.settings.paths.slides().root()).map_err(crate::Error::from).and_then(
            |manifest| {
                let filled = fill_queue(&manifest, &self.ledger, &self.settings, &self.predictions)?;
                Ok((manifest, filled, read_audits(&self.settings)?))
            },
        ) {
            Ok((manifest, mut filled, audits)) => {
                let mut queue = lock(&self.queue);
                filled.inherit(&queue);
                filled.put_first(&audits.open);
                *queue = filled;
                drop(queue);
                *self.audits.write().unwrap_or_else(PoisonError::into_inner) = audits;
                let mut slides = self.slides.write().unwrap_or_else(PoisonError::into_inner);
                slides.by_id = by_id(&manifest);
                slides.modified = now;
            }
            Err(error) => tracing::warn!("the slides to rate are left as they were: {error}"),
        }
    }

    /// Whether an address has guessed too often.
    pub(super) fn must_wait(&self, address: IpAddr) -> bool {
        is_over(&lock(&self.failures), address, MAX_FAILURES)
    }

    /// Counts a wrong token.
    pub(super) fn count_failure(&self, address: IpAddr) {
        count(&mut lock(&self.failures), address);
    }

    /// Counts a sign-in; whether there were too many from this address.
    pub(super) fn is_one_too_many(&self, address: IpAddr) -> bool {
        let mut sign_ins = lock(&self.sign_ins);
        count(&mut sign_ins, address);
        is_over(&sign_ins, address, MAX_SIGN_INS + 1)
    }
}

fn count(counts: &mut HashMap<IpAddr, (u32, Instant)>, address: IpAddr) {
    counts.retain(|_, (_, since)| since.elapsed() < WINDOW);
    counts.entry(address).or_insert((0, Instant::now())).0 += 1;
}

fn is_over(counts: &HashMap<IpAddr, (u32, Instant)>, address: IpAddr, most: u32) -> bool {
    counts.get(&address).is_some_and(|(count, since)| *count >= most && since.elapsed() < WINDOW)
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
    settings: &AppSettings,
    predictions: &BTreeMap<String, Prediction>,
) -> Result<Queue> {
    let (store, config, path) = (ledger.store(), &settings.config, settings.paths.calibration());
    let calibration = Calibration::of(&path, manifest, &store, config)?;
    calibration.keep(&path)?;
    let mut queue = Queue::new(manifest, &store, config, &calibration);
    for (slide, prediction) in predictions {
        queue.set_uncertainty(slide, uncertainty(prediction));
    }
    Ok(queue)
}
