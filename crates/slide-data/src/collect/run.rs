use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};

use super::decision::Decisions;
use super::duplicates::Copies;
use super::ingest::{How, Ingest, count};
use super::outdated::Outdated;
use super::renewal::{self, Renewed};
use super::report::{Progress, Quarantined, Report};
use super::staying::Staying;
use super::store::{InputRecord, Outcome, Stamp, Store};
use super::worker::{Answer, Job, ReaderFactory};
use super::{DataConfig, duplicates};
use crate::render::InputFile;
use crate::{Result, SlideRecord};

/// Brings inputs into a store.
#[derive(Debug)]
pub struct Collector<'a> {
    /// The store.
    pub store: &'a mut Store,
    /// Limits, quality rules and duplicate thresholds.
    pub config: &'a DataConfig,
    /// How many files are read at once.
    pub readers: usize,
    /// Whether files that were set aside before are tried again.
    pub retry: bool,
    /// Slides that stay in use when a better copy comes: those that people have rated, and those of a frozen test set.
    pub staying: &'a Staying,
    /// What people decided about slides.
    pub decisions: &'a Decisions,
}

impl Collector<'_> {
    /// Reads the inputs that are new or have changed, and finds the duplicates among all slides. Rules and licences are applied anew to
    /// those of earlier runs; slides that a new version of their file does not have are left out.
    ///
    /// A file that cannot be read is listed in the report and in the store; the rest goes on.
    ///
    /// # Errors
    /// When the store cannot be written; what was taken in before is kept.
    pub fn run(
        &mut self,
        inputs: &[InputFile],
        reader: ReaderFactory<'_>,
        progress: &dyn Progress,
    ) -> Result<Report> {
        let inputs = &self.store.with_known_decks(inputs);
        let mut report = self.bring_in(inputs, reader, progress)?;
        let (rules, staying) = (&self.config.quality, self.staying);
        add(&mut report, renewal::judge(self.store, inputs, rules, self.decisions, staying)?);
        progress.comparing();
        self.store.order_new();
        let is_interrupted = || progress.is_interrupted();
        let stays = |slide: &str| staying.holds(slide);
        let rules_of_copies =
            Copies { thresholds: &self.config.duplicates, stays: &stays, decisions: self.decisions };
        if let Some(found) = duplicates::resolve(self.store, &rules_of_copies, &is_interrupted) {
            report.replaced = found.replaced;
            self.store.rewrite_manifest()?;
        }
        report.decided_pairs = renewal::pair(self.store, self.decisions, staying)?;
        let renewed = renewal::replace(self.store, rules, self.decisions, staying)?;
        add(&mut report, renewed);
        report.untold = Outdated::of(self.store, self.config.limits.longest_edge).untold();
        report.missing = self.store.missing();
        report.interrupted |= is_interrupted();
        summarise(self.store.slides(), &mut report);
        Ok(report)
    }

    /// Reads the inputs that are new or have changed into the store.
    pub(super) fn bring_in(
        &mut self,
        inputs: &[InputFile],
        reader: ReaderFactory<'_>,
        progress: &dyn Progress,
    ) -> Result<Report> {
        let inputs = &self.store.with_known_decks(inputs);
        let mut report = Report { seen: inputs.len(), inputs: inputs.len(), ..Report::default() };
        renewal::measure(self.store, &self.config.quality, progress)?;
        let outdated = Outdated::of(self.store, self.config.limits.longest_edge);
        let mut jobs = Vec::new();
        for input in inputs {
            let stamp = Stamp::of(&input.path).unwrap_or(Stamp { size_bytes: 0, modified_ns: 0 });
            let is_done = |known: &&InputRecord| {
                !(known.transient || self.retry && is_quarantined(known) || outdated.holds(known))
            };
            if let Some(known) = self.store.unchanged(input, stamp).filter(is_done) {
                report.unchanged += 1;
                count(known, &mut report);
            } else if let Some(reason) = self.forgotten(input) {
                report.refused += 1;
                report.set_aside.push(Quarantined { origin: input.origin.clone(), reason });
            } else {
                jobs.push((input, stamp));
            }
        }
        progress.inputs(jobs.len());
        if !jobs.is_empty() {
            let result = self.read(&jobs, reader, progress, &mut report);
            let _ = std::fs::remove_dir_all(self.store.staging());
            result?;
            self.store.compact()?;
            self.store.note_taken_again()?;
        }
        Ok(report)
    }

    /// Why a file is not read, if it was forgotten. A file that cannot be read is left to its reader, who says so.
    fn forgotten(&mut self, input: &InputFile) -> Option<String> {
        if self.store.tombstones_mut().is_empty() {
            return None;
        }
        let hash = durable_files::hash_file(&input.path).ok()?.sha256;
        self.store.tombstones_mut().refusal(&hash)
    }

    fn read(
        &mut self,
        jobs: &[(&InputFile, Stamp)],
        reader: ReaderFactory<'_>,
        progress: &dyn Progress,
        report: &mut Report,
    ) -> Result<()> {
        let readers = self.readers.clamp(1, jobs.len());
        let mut limits = self.config.limits.clone();
        if limits.threads == 0 {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            limits.threads = cores.div_ceil(readers);
        }
        let staging = self.store.staging();
        let job = |index: usize| Job {
            input: jobs[index].0.clone(),
            limits: limits.clone(),
            quality: self.config.quality.clone(),
            staging: staging.clone(),
            prefix: index,
        };
        let queue = Mutex::new(0..jobs.len());
        let stop = AtomicBool::new(false);
        let (sender, messages) = channel();
        std::thread::scope(|scope| {
            for _ in 0..readers {
                let (sender, queue, stop, job) = (sender.clone(), &queue, &stop, &job);
                scope.spawn(move || work(&mut *reader(), queue, stop, job, &sender));
            }
            drop(sender);
            let how = How { longest_edge: self.config.limits.longest_edge, staying: self.staying };
            let result = Ingest::new(self.store, how, jobs, report, progress).follow(&messages, &stop);
            stop.store(true, Ordering::Relaxed);
            result
        })
    }
}

fn work(
    reader: &mut dyn super::Reader,
    queue: &Mutex<std::ops::Range<usize>>,
    stop: &AtomicBool,
    job: &dyn Fn(usize) -> Job,
    sender: &Sender<(usize, Answer)>,
) {
    while !stop.load(Ordering::Relaxed) {
        let next = queue.lock().ok().and_then(|mut queue| queue.next());
        let Some(index) = next else { break };
        reader.read(&job(index), stop, &mut |answer| {
            let _ = sender.send((index, answer));
        });
    }
}

fn add(report: &mut Report, renewed: Renewed) {
    report.newly_excluded += renewed.excluded;
    report.newly_included += renewed.included;
    report.outdated += renewed.replaced;
    report.licences += renewed.licences;
    report.held += renewed.held;
}

fn is_quarantined(record: &InputRecord) -> bool {
    matches!(record.outcome, Outcome::Quarantined { .. }) || !record.set_aside.is_empty()
}

/// Pages that slides of at least three groups show: one of them is used, the others repeat it.
fn common_pages(slides: &[SlideRecord]) -> usize {
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for slide in slides.iter().filter(|slide| !slide.group.is_empty()) {
        let original = slide.duplicate_of.as_ref().unwrap_or(&slide.slide_id);
        groups.entry(original).or_default().insert(&slide.group);
    }
    groups.values().filter(|groups| groups.len() > 2).count()
}

fn summarise(slides: &[SlideRecord], report: &mut Report) {
    let distinct = |key: fn(&SlideRecord) -> &str| {
        slides.iter().map(key).collect::<std::collections::HashSet<_>>().len()
    };
    let count = |is: fn(&&SlideRecord) -> bool| slides.iter().filter(is).count();
    report.slides = slides.len();
    report.decks = distinct(|slide| &slide.deck_id);
    report.groups = distinct(|slide| &slide.group);
    report.common_pages = common_pages(slides);
    report.duplicates = count(|slide| slide.duplicate_of.is_some());
    report.flagged = count(|slide| !slide.quality.is_empty());
    report.excluded = count(|slide| slide.excluded);
    for name in slides.iter().flat_map(|slide| &slide.missing_fonts) {
        *report.missing_fonts.entry(name.clone()).or_default() += 1;
    }
    report.unknown_fonts = count(|slide| slide.quality.contains_key("fonts_unknown"));
    report.usable = count(|slide| slide.duplicate_of.is_none() && !slide.excluded);
}
