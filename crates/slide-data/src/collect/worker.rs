use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use image::RgbImage;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::imaging::{
    QualityThresholds, Signature, Sketch, added_share, encode_png, pixels_sha256, quality_flags,
};
use crate::render::{Event, FailedPart, InputFile, Lacks, RenderedSlide, read_file};
use crate::{Limits, Reason, SlideRecord, TextPrint};

/// One file to read: what is sent to a reader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub(super) input: InputFile,
    pub(super) limits: Limits,
    pub(super) quality: QualityThresholds,
    /// Where the images are put, and what their names begin with.
    pub(super) staging: PathBuf,
    pub(super) prefix: usize,
}

/// What a reader answers, one after the other, the last one `Done`, `Refused` or `NoStore`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// How many slides there are.
    Total(usize),
    /// A slide whose image lies in the staging folder, its sketch, and the fingerprint of its text.
    Slide(Box<SlideRecord>, PathBuf, Sketch, Option<TextPrint>),
    /// A slide that came before and the one that completes it, with the share of the page that this adds; whether the rules leave
    /// the step out.
    Step { step: String, by: String, added: f64, excluded: bool },
    /// A page or entry that was set aside, why, and whether another run may have more luck.
    Failed(String, String, bool),
    /// The whole file was read; its SHA-256.
    Done(String),
    /// The file cannot become slides; whether another run may have more luck.
    Refused(String, bool),
    /// The staging folder cannot be written.
    NoStore(String),
}

/// A slide that was read into the staging folder.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) record: SlideRecord,
    /// Where its image lies.
    pub(super) image: PathBuf,
    pub(super) sketch: Sketch,
    pub(super) text: Option<TextPrint>,
}

/// Reads files into the staging folder.
pub trait Reader {
    /// Reads one file and hands on what it yields; the last answer is `Done`, `Refused` or `NoStore`, unless `stop` is set
    /// meanwhile: then reading ends soon and without one.
    fn read(&mut self, job: &Job, stop: &AtomicBool, answer: &mut dyn FnMut(Answer));
}

/// Reads on the calling thread. Panics are caught, but nothing stops a reader that hangs: for tests and trusted input.
#[derive(Debug, Default)]
pub struct InProcess;

impl Reader for InProcess {
    fn read(&mut self, job: &Job, stop: &AtomicBool, answer: &mut dyn FnMut(Answer)) {
        perform(job, None, stop, answer);
    }
}

fn perform(job: &Job, scratch: Option<&Path>, stop: &AtomicBool, answer: &mut dyn FnMut(Answer)) {
    if let Err(error) = std::fs::create_dir_all(&job.staging) {
        answer(Answer::NoStore(error.to_string()));
        return;
    }
    let mut count = 0;
    let mut broken = None;
    let mut before = None;
    let mut sink = |event: Event| {
        match event {
            Event::Total(total) => answer(Answer::Total(total)),
            Event::Hashed(_) => {}
            Event::Failed(FailedPart { name: part, reason, .. }) => {
                answer(Answer::Failed(part, reason.to_string(), is_transient(&reason)));
            }
            Event::Slide(mut slide) => {
                count += 1;
                let text = slide.text.take();
                let image = job.staging.join(format!("{}-{count}.png", job.prefix));
                let step = before.replace(Page::of(&slide)).and_then(|earlier| earlier.completed_by(&slide));
                match stage(*slide, &job.quality, &image) {
                    Ok((record, sketch)) => answer(Answer::Slide(Box::new(record), image, sketch, text)),
                    Err(error) => broken = Some(error.to_string()),
                }
                if let Some((step, by, added)) = step {
                    let excluded = job.quality.exclude.iter().any(|flag| flag == "build_step");
                    answer(Answer::Step { step, by, added, excluded });
                }
            }
        }
        broken.is_none() && !stop.load(Ordering::Relaxed)
    };
    let result = read_file(&job.input, &job.limits, scratch, &mut sink);
    if stop.load(Ordering::Relaxed) {
        return;
    }
    answer(match (broken, result) {
        (Some(error), _) => Answer::NoStore(error),
        (None, Err(reason)) => refusal(&reason),
        (None, Ok(sha256)) => Answer::Done(sha256),
    });
}

pub(super) fn refusal(reason: &Reason) -> Answer {
    Answer::Refused(reason.to_string(), is_transient(reason))
}

/// A page of a document, kept until the next one shows whether it completes it.
struct Page {
    slide_id: String,
    deck_id: String,
    number: usize,
    image: RgbImage,
}

impl Page {
    fn of(slide: &RenderedSlide) -> Self {
        let RenderedSlide { slide_id, deck_id, number, image, .. } = slide;
        Self { slide_id: slide_id.clone(), deck_id: deck_id.clone(), number: *number, image: image.clone() }
    }

    /// This page and the next one, where that completes it.
    fn completed_by(&self, next: &RenderedSlide) -> Option<(String, String, f64)> {
        let is_next =
            next.source.page.is_some() && next.deck_id == self.deck_id && next.number == self.number + 1;
        let added = is_next.then(|| added_share(&self.image, &next.image)).flatten()?;
        Some((self.slide_id.clone(), next.slide_id.clone(), added))
    }
}

/// What depends on the machine rather than on the file may go better next time.
fn is_transient(reason: &Reason) -> bool {
    matches!(reason, Reason::Io(_) | Reason::NeedsLibreOffice)
}

/// Measures a slide and writes its image, synced.
pub(super) fn stage(
    slide: RenderedSlide,
    quality: &QualityThresholds,
    image: &Path,
) -> std::io::Result<(SlideRecord, Sketch)> {
    let flags =
        [quality_flags(&slide.image, quality), lack_flags(&slide.lacks)].into_iter().flatten().collect();
    let bytes = encode_png(&slide.image).map_err(std::io::Error::other)?;
    std::fs::File::create(image)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_data()))?;
    let signature = Signature::of(&slide.image);
    let record = SlideRecord {
        schema_version: 1,
        sha256: pixels_sha256(&slide.image),
        phash: signature.hash().to_hex(),
        width: slide.image.width(),
        height: slide.image.height(),
        slide_id: slide.slide_id,
        deck_id: slide.deck_id,
        number: slide.number,
        source: slide.source,
        group: String::new(),
        excluded: quality.excludes(&flags),
        quality: flags,
        missing_fonts: slide.lacks.fonts.into_iter().chain(slide.lacks.substituted).collect(),
        completed_by: None,
        duplicate_of: None,
        scored_at: None,
        collected_at: Timestamp::now(),
        tool_version: format!("pitchquest {}", env!("CARGO_PKG_VERSION")),
    };
    Ok((record, Sketch::of(&signature)))
}

/// Flags for what the image lacks, each with how many.
fn lack_flags(lacks: &Lacks) -> BTreeMap<String, f64> {
    let counts = [
        ("fonts_missing", lacks.fonts.len()),
        ("fonts_substituted", lacks.substituted.len()),
        ("fonts_unknown", usize::from(lacks.are_fonts_unknown)),
        ("images_missing", lacks.images),
        ("text_moved", lacks.moved),
        ("text_overflows", lacks.overflowing),
    ];
    counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.to_owned(), count as f64))
        .collect()
}

/// Serves jobs: one JSON line in, answers as JSON lines out, until the input ends. This is what a reader process runs; its
/// address space is limited, so a file that makes a decoder ask for too much ends the process and not the run.
///
/// # Errors
/// When the output is gone.
pub fn serve(input: impl BufRead, mut output: impl Write + Send) -> std::io::Result<()> {
    for line in input.lines() {
        let job: Job = serde_json::from_str(&line?)?;
        limit_memory(job.limits.max_memory_mib);
        let mut failed = None;
        // The reader recurses deeply on some documents.
        std::thread::scope(|scope| {
            let work = || {
                perform(&job, Some(&job.staging), &AtomicBool::new(false), &mut |answer| {
                    let line = serde_json::to_string(&answer).map_err(std::io::Error::from);
                    let sent = line.and_then(|line| writeln!(output, "{line}")).and_then(|()| output.flush());
                    failed = failed.take().or(sent.err());
                });
            };
            let started =
                std::thread::Builder::new().stack_size(crate::render::STACK_BYTES).spawn_scoped(scope, work);
            started.map(drop)
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(unix)]
fn limit_memory(mib: u64) {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if mib > 0 {
        let limit = Some(mib << 20);
        // Where the system refuses, the declared sizes still bound what is allocated.
        let _ = setrlimit(Resource::As, Rlimit { current: limit, maximum: limit });
    }
}

#[cfg(not(unix))]
fn limit_memory(_mib: u64) {}

/// A pool's worth of readers.
pub type ReaderFactory<'a> = &'a (dyn Fn() -> Box<dyn Reader + Send> + Sync);
