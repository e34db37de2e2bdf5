use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::forget::refuse_parts;
use super::report::{Progress, Quarantined, Report};
use super::staying::Staying;
use super::store::{Drawn, InputRecord, Outcome, Stamp, Store};
use super::worker::{Answer, Staged};
use crate::render::InputFile;
use crate::{Reason, Result};

/// Files that are written to the store at once: one sync for all of them. A crash costs reading these again.
const BATCH: usize = 64;
/// Longest time that a file waits for others.
const PATIENCE: Duration = Duration::from_millis(500);

/// How slides are taken in.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    /// The longest edge of pages.
    pub(super) longest_edge: u32,
    pub(super) staying: &'a Staying,
}

/// Takes what the readers answer into the store.
pub(super) struct Ingest<'a> {
    store: &'a mut Store,
    how: How<'a>,
    jobs: &'a [(&'a InputFile, Stamp)],
    report: &'a mut Report,
    progress: &'a dyn Progress,
    open: Vec<Pending>,
    ready: Vec<(Vec<Staged>, InputRecord)>,
    since: Instant,
}

impl<'a> Ingest<'a> {
    pub(super) fn new(
        store: &'a mut Store,
        how: How<'a>,
        jobs: &'a [(&'a InputFile, Stamp)],
        report: &'a mut Report,
        progress: &'a dyn Progress,
    ) -> Self {
        let open = jobs.iter().map(|_| Pending::default()).collect();
        Self { store, how, jobs, report, progress, open, ready: Vec::new(), since: Instant::now() }
    }

    /// Takes answers in until the readers have ended; on an interruption or when the store cannot be written, stops them.
    pub(super) fn follow(mut self, answers: &Receiver<(usize, Answer)>, stop: &AtomicBool) -> Result<()> {
        let mut result = Ok(());
        loop {
            match answers.recv_timeout(PATIENCE / 5) {
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(_) if result.is_err() => {}
                Ok((index, answer)) => result = self.take(index, answer),
            }
            if result.is_ok() && (self.ready.len() >= BATCH || self.since.elapsed() > PATIENCE) {
                result = self.commit();
            }
            let is_interrupted = self.progress.is_interrupted();
            self.report.interrupted |= is_interrupted;
            if is_interrupted || result.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
        }
        result.and_then(|()| self.commit())
    }

    fn take(&mut self, index: usize, answer: Answer) -> Result<()> {
        if let Answer::NoStore(reason) = answer {
            let source = std::io::Error::other(reason);
            return Err(crate::error::io_error("write", &self.store.staging())(source));
        }
        let (input, stamp) = self.jobs[index];
        let pending = &mut self.open[index];
        if let Some(mut record) = pending.take_in(input, stamp, answer, self.progress) {
            let before = pending.slides.len();
            let reasons = refuse_parts(self.store, &mut pending.slides);
            if before > 0 && pending.slides.is_empty() {
                // Of what was forgotten no record is kept.
                self.report.refused += 1;
                let of_file = |reason| Quarantined { origin: input.origin.clone(), reason };
                self.report.set_aside.extend(reasons.into_iter().map(of_file));
                self.progress.input_done(&input.origin);
                return Ok(());
            }
            record.set_aside.extend(reasons.into_iter().map(|reason| ("a part".to_owned(), reason)));
            if let Outcome::Collected { slides } = &mut record.outcome {
                *slides = pending.slides.len();
            }
            let earlier = self.store.earlier(input, &record.sha256);
            let drawn = Some(Drawn::now(self.how.longest_edge, &pending.slides));
            let record = InputRecord { place: self.store.place(input), earlier, drawn, ..record };
            count(&record, self.report);
            self.progress.input_done(&input.origin);
            self.ready.push((std::mem::take(&mut pending.slides), record));
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.since = Instant::now();
        if !self.ready.is_empty() {
            let (new, redrawn) = self.store.commit(std::mem::take(&mut self.ready), self.how.staying)?;
            self.report.slides_new += new;
            self.report.redrawn += redrawn.drawn;
            self.report.kept_pictures += redrawn.stay;
        }
        Ok(())
    }
}

/// What has come of a file so far.
#[derive(Default)]
struct Pending {
    slides: Vec<Staged>,
    set_aside: Vec<(String, String)>,
    /// Whether a part failed for a reason that lies with the machine.
    transient: bool,
}

impl Pending {
    /// Notes that a slide that came before is a step towards another one.
    fn note_completed(&mut self, step: &str, by: String, added: f64, excluded: bool) {
        let mut slides = self.slides.iter_mut().rev().map(|staged| &mut staged.record);
        if let Some(record) = slides.find(|record| record.slide_id == step) {
            record.quality.insert("build_step".to_owned(), added);
            record.completed_by = Some(by);
            record.excluded |= excluded;
        }
    }

    /// Takes an answer in; returns the input's record after the last one.
    fn take_in(
        &mut self,
        input: &InputFile,
        stamp: Stamp,
        answer: Answer,
        progress: &dyn Progress,
    ) -> Option<InputRecord> {
        let (sha256, outcome) = match answer {
            Answer::Total(count) => {
                progress.slides_found(count);
                return None;
            }
            Answer::Slide(slide, image, sketch, text) => {
                progress.slide(&slide);
                self.slides.push(Staged { record: *slide, image, sketch, text });
                return None;
            }
            Answer::Step { step, by, added, excluded } => {
                self.note_completed(&step, by, added, excluded);
                return None;
            }
            Answer::Failed(part, reason, again) => {
                self.transient |= again;
                progress.set_aside(&Quarantined {
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
                (sha256, Outcome::Quarantined { reason })
            }
            Answer::Done(sha256) => (sha256, Outcome::Collected { slides: self.slides.len() }),
            Answer::NoStore(_) => return None,
            Answer::Refused(reason, again) if self.slides.is_empty() => {
                self.transient |= again;
                progress.set_aside(&Quarantined { origin: input.origin.clone(), reason: reason.clone() });
                (String::new(), Outcome::Quarantined { reason })
            }
            // The pages before the one that stopped the reader are good.
            Answer::Refused(reason, again) => {
                self.transient |= again;
                let slides = self.slides.len();
                self.set_aside.push((format!("after slide {slides}"), reason));
                (self.slides[0].record.source.sha256.clone(), Outcome::Collected { slides })
            }
        };
        Some(InputRecord {
            schema_version: 1,
            origin: input.origin.clone(),
            place: None,
            earlier: Vec::new(),
            drawn: None,
            size_bytes: stamp.size_bytes,
            modified_ns: stamp.modified_ns,
            sha256,
            outcome,
            set_aside: std::mem::take(&mut self.set_aside),
            transient: self.transient,
            at: Timestamp::now(),
        })
    }
}

/// Counts an input in the report, and lists what of it could not become slides.
pub(super) fn count(record: &InputRecord, report: &mut Report) {
    match &record.outcome {
        Outcome::Collected { .. } => report.collected += 1,
        Outcome::Quarantined { reason } => {
            report.refused += 1;
            report.set_aside.push(Quarantined { origin: record.origin.clone(), reason: reason.clone() });
        }
    }
    let parts = record.set_aside.iter().map(|(part, reason)| Quarantined {
        origin: format!("{}, {part}", record.origin),
        reason: reason.clone(),
    });
    report.set_aside.extend(parts);
}
