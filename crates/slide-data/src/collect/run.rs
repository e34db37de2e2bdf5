use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};

use jiff::Timestamp;
use serde::Serialize;

use super::store::{InputRecord, Outcome, Stamp, Store};
use super::worker::{Answer, Job, ReaderFactory};
use super::{DataConfig, duplicates};
use crate::render::InputFile;
use crate::{Error, Reason, Result, SlideRecord};

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Files that hold slides.
    pub inputs: usize,
    /// Of these, files that had not changed since an earlier run.
    pub unchanged: usize,
    /// Slides that this run added.
    pub slides_new: usize,
    /// Slides in the store.
    pub slides: usize,
    /// Decks in the store.
    pub decks: usize,
    /// Groups in the store: decks joined by near-duplicates.
    pub groups: usize,
    /// Slides in the store that repeat another.
    pub duplicates: usize,
    /// Slides in the store with a quality flag.
    pub flagged: usize,
    /// Slides in the store that the rules leave out.
    pub excluded: usize,
    /// Slides that can be labelled and trained on.
    pub usable: usize,
    /// Files, pages and entries of this run's inputs that could not become slides.
    pub set_aside: Vec<SetAside>,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
}

/// A file, page or entry that could not become a slide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetAside {
    /// The file, and the page or entry where only that failed.
    pub origin: String,
    /// Why.
    pub reason: String,
}

/// Follows a run.
pub trait Progress: Sync {
    /// So many files will be read.
    fn inputs(&self, _total: usize) {}
    /// A file has so many slides.
    fn slides_found(&self, _count: usize) {}
    /// A slide was read.
    fn slide(&self, _slide: &SlideRecord) {}
    /// A file is done.
    fn input_done(&self, _origin: &str) {}
    /// Something was set aside.
    fn set_aside(&self, _item: &SetAside) {}
    /// Duplicates are being looked for.
    fn comparing(&self) {}
    /// Whether to stop after the current file.
    fn is_interrupted(&self) -> bool {
        false
    }
}

impl Progress for () {}

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

enum Message {
    Answer(usize, Answer),
    Ended,
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
        let mut report = Report { inputs: inputs.len(), ..Report::default() };
        let mut jobs = Vec::new();
        for input in inputs {
            let stamp = Stamp::of(&input.path).unwrap_or(Stamp { size_bytes: 0, modified_ns: 0 });
            match self.store.unchanged(input, stamp) {
                Some(known) if !(known.transient || self.retry && is_set_aside(known)) => {
                    report.unchanged += 1;
                    list_set_aside(known, &mut report);
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
        if duplicates::resolve(self.store, &self.config.duplicates) {
            self.store.rewrite_manifest()?;
        }
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
            staging: staging.join(index.to_string()),
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
            let mut open: Vec<Pending> = jobs.iter().map(|_| Pending::default()).collect();
            let mut running = readers;
            let mut failed = None;
            while running > 0 {
                let Ok(message) = messages.recv() else { break };
                if progress.is_interrupted() {
                    stop.store(true, Ordering::Relaxed);
                    report.interrupted = true;
                }
                match message {
                    Message::Ended => running -= 1,
                    Message::Answer(_, Answer::NoStore(reason)) => {
                        stop.store(true, Ordering::Relaxed);
                        let source = std::io::Error::other(reason);
                        failed = Some(Error::Io { action: "write", path: staging.clone(), source });
                    }
                    Message::Answer(index, answer) if failed.is_none() => {
                        let (input, stamp) = jobs[index];
                        let record = open[index].take_in(input, stamp, answer, progress);
                        let Some(record) = record else { continue };
                        list_set_aside(&record, report);
                        progress.input_done(&input.origin);
                        let staged = std::mem::take(&mut open[index].slides);
                        match self.store.commit(staged, record) {
                            Ok(new) => report.slides_new += new,
                            Err(error) => {
                                stop.store(true, Ordering::Relaxed);
                                failed = Some(error);
                            }
                        }
                    }
                    Message::Answer(..) => {}
                }
            }
            failed.map_or(Ok(()), Err)
        })
    }
}

fn work(
    reader: &mut dyn super::Reader,
    queue: &Mutex<std::ops::Range<usize>>,
    stop: &AtomicBool,
    job: &dyn Fn(usize) -> Job,
    sender: &Sender<Message>,
) {
    while !stop.load(Ordering::Relaxed) {
        let next = queue.lock().ok().and_then(|mut queue| queue.next());
        let Some(index) = next else { break };
        reader.read(&job(index), &mut |answer| {
            let _ = sender.send(Message::Answer(index, answer));
        });
    }
    let _ = sender.send(Message::Ended);
}

/// What has come of a file so far.
#[derive(Default)]
struct Pending {
    slides: Vec<(SlideRecord, PathBuf)>,
    set_aside: Vec<(String, String)>,
}

impl Pending {
    /// Takes an answer in; returns the input's record after the last one.
    fn take_in(
        &mut self,
        input: &InputFile,
        stamp: Stamp,
        answer: Answer,
        progress: &dyn Progress,
    ) -> Option<InputRecord> {
        let mut transient = false;
        let (sha256, outcome) = match answer {
            Answer::Total(count) => {
                progress.slides_found(count);
                return None;
            }
            Answer::Slide(slide, picture) => {
                progress.slide(&slide);
                self.slides.push((*slide, picture));
                return None;
            }
            Answer::Failed(part, reason) => {
                progress.set_aside(&SetAside {
                    origin: format!("{}, {part}", input.origin),
                    reason: reason.clone(),
                });
                self.set_aside.push((part, reason));
                return None;
            }
            Answer::Done(sha256) if self.slides.is_empty() => {
                let reason =
                    self.set_aside.first().map_or_else(|| Reason::Empty.to_string(), |(_, why)| why.clone());
                self.set_aside.clear();
                (sha256, Outcome::SetAside { reason })
            }
            Answer::Done(sha256) => (sha256, Outcome::Collected { slides: self.slides.len() }),
            Answer::NoStore(_) => return None,
            Answer::Refused(reason, again) if self.slides.is_empty() => {
                transient = again;
                progress.set_aside(&SetAside { origin: input.origin.clone(), reason: reason.clone() });
                (String::new(), Outcome::SetAside { reason })
            }
            // The pages before the one that stopped the reader are good.
            Answer::Refused(reason, again) => {
                transient = again;
                let slides = self.slides.len();
                self.set_aside.push((format!("after slide {slides}"), reason));
                (self.slides[0].0.source.sha256.clone(), Outcome::Collected { slides })
            }
        };
        Some(InputRecord {
            schema_version: 1,
            origin: input.origin.clone(),
            size_bytes: stamp.size_bytes,
            modified_ns: stamp.modified_ns,
            sha256,
            outcome,
            set_aside: std::mem::take(&mut self.set_aside),
            transient,
            at: Timestamp::now(),
        })
    }
}

fn is_set_aside(record: &InputRecord) -> bool {
    matches!(record.outcome, Outcome::SetAside { .. }) || !record.set_aside.is_empty()
}

fn list_set_aside(record: &InputRecord, report: &mut Report) {
    if let Outcome::SetAside { reason } = &record.outcome {
        report.set_aside.push(SetAside { origin: record.origin.clone(), reason: reason.clone() });
    }
    let parts = record.set_aside.iter().map(|(part, reason)| SetAside {
        origin: format!("{}, {part}", record.origin),
        reason: reason.clone(),
    });
    report.set_aside.extend(parts);
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
    report.usable = count(|slide| slide.duplicate_of.is_none() && !slide.excluded);
}
