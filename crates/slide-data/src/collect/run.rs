use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};

use super::ingest::{Ingest, count};
use super::report::{Progress, Report};
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
}

impl Collector<'_> {
    /// Reads the inputs that are new or have changed, and finds the duplicates among all slides.
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
        let mut report = Report { seen: inputs.len(), inputs: inputs.len(), ..Report::default() };
        let mut jobs = Vec::new();
        for input in inputs {
            let stamp = Stamp::of(&input.path).unwrap_or(Stamp { size_bytes: 0, modified_ns: 0 });
            match self.store.unchanged(input, stamp) {
                Some(known) if !(known.transient || self.retry && is_quarantined(known)) => {
                    report.unchanged += 1;
                    count(known, &mut report);
                }
                _ => jobs.push((input, stamp)),
            }
        }
        progress.inputs(jobs.len());
        if !jobs.is_empty() {
            let result = self.read(&jobs, reader, progress, &mut report);
            let _ = std::fs::remove_dir_all(self.store.staging());
            result?;
            self.store.compact()?;
        }
        progress.comparing();
        let is_interrupted = || progress.is_interrupted();
        if duplicates::resolve(self.store, &self.config.duplicates, &is_interrupted) {
            self.store.rewrite_manifest()?;
        }
        report.interrupted |= is_interrupted();
        summarise(self.store.slides(), &mut report);
        Ok(report)
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
            let result = Ingest::new(self.store, jobs, report, progress).follow(&messages, &stop);
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

fn is_quarantined(record: &InputRecord) -> bool {
    matches!(record.outcome, Outcome::Quarantined { .. }) || !record.set_aside.is_empty()
}

fn summarise(slides: &[SlideRecord], report: &mut Report) {
    let distinct = |key: fn(&SlideRecord) -> &str| {
        slides.iter().map(key).collect::<std::collections::HashSet<_>>().len()
    };
    let count = |is: fn(&&SlideRecord) -> bool| slides.iter().filter(is).count();
    report.slides = slides.len();
    report.decks = distinct(|slide| &slide.deck_id);
    report.groups = distinct(|slide| &slide.group);
    report.duplicates = count(|slide| slide.duplicate_of.is_some());
    report.flagged = count(|slide| !slide.quality.is_empty());
    report.excluded = count(|slide| slide.excluded);
    for name in slides.iter().flat_map(|slide| &slide.missing_fonts) {
        *report.missing_fonts.entry(name.clone()).or_default() += 1;
    }
    report.usable = count(|slide| slide.duplicate_of.is_none() && !slide.excluded);
}
