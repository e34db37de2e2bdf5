use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::picture::{QualityThresholds, Signature, encode_png, pixels_sha256, quality_flags};
use crate::render::{Event, InputFile, RenderedSlide, read_file};
use crate::{Limits, Reason, SlideRecord};

/// One file to read: what is sent to a reader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub(super) input: InputFile,
    pub(super) limits: Limits,
    pub(super) quality: QualityThresholds,
    /// Where the pictures are put.
    pub(super) staging: PathBuf,
}

/// What a reader answers, one after the other, the last one `Done`, `Refused` or `NoStore`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// How many slides there are.
    Total(usize),
    /// A slide whose picture lies in the staging folder.
    Slide(Box<SlideRecord>, PathBuf),
    /// A page or entry that was set aside.
    Failed(String, String),
    /// The whole file was read; its SHA-256.
    Done(String),
    /// The file cannot become slides; whether another run may have more luck.
    Refused(String, bool),
    /// The staging folder cannot be written.
    NoStore(String),
}

/// Reads files into the staging folder.
pub trait Reader {
    /// Reads one file and hands on what it yields; the last answer is `Done` or `Refused`.
    fn read(&mut self, job: &Job, answer: &mut dyn FnMut(Answer));
}

/// Reads on the calling thread. Panics are caught, but nothing stops a reader that hangs: for tests and trusted input.
#[derive(Debug, Default)]
pub struct InProcess;

impl Reader for InProcess {
    fn read(&mut self, job: &Job, answer: &mut dyn FnMut(Answer)) {
        perform(job, answer);
    }
}

fn perform(job: &Job, answer: &mut dyn FnMut(Answer)) {
    if let Err(error) = std::fs::create_dir_all(&job.staging) {
        answer(Answer::NoStore(error.to_string()));
        return;
    }
    let mut count = 0;
    let mut broken = None;
    let mut sink = |event: Event| {
        match event {
            Event::Total(total) => answer(Answer::Total(total)),
            Event::Failed(part, reason) => answer(Answer::Failed(part, reason.to_string())),
            Event::Slide(slide) => {
                count += 1;
                let picture = job.staging.join(format!("{count}.png"));
                match stage(*slide, &job.quality, &picture) {
                    Ok(record) => answer(Answer::Slide(Box::new(record), picture)),
                    Err(error) => broken = Some(error.to_string()),
                }
            }
        }
        broken.is_none()
    };
    let result = read_file(&job.input, &job.limits, &mut sink);
    answer(match (broken, result) {
        (Some(error), _) => Answer::NoStore(error),
        (None, Err(reason)) => refusal(&reason),
        (None, Ok(sha256)) => Answer::Done(sha256),
    });
}

/// What depends on the machine rather than on the file may go better next time.
fn refusal(reason: &Reason) -> Answer {
    Answer::Refused(reason.to_string(), matches!(reason, Reason::Io(_) | Reason::NeedsLibreOffice))
}

/// Measures a slide and writes its picture, synced.
fn stage(slide: RenderedSlide, quality: &QualityThresholds, picture: &Path) -> std::io::Result<SlideRecord> {
    let flags = quality_flags(&slide.image, quality);
    let bytes = encode_png(&slide.image).map_err(std::io::Error::other)?;
    std::fs::File::create(picture)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_data()))?;
    Ok(SlideRecord {
        schema_version: 1,
        sha256: pixels_sha256(&slide.image),
        phash: Signature::of(&slide.image).hash().to_hex(),
        width: slide.image.width(),
        height: slide.image.height(),
        slide_id: slide.slide_id,
        deck_id: slide.deck_id,
        number: slide.number,
        source: slide.source,
        group: String::new(),
        excluded: quality.excludes(&flags),
        quality: flags,
        duplicate_of: None,
        collected_at: Timestamp::now(),
        tool_version: format!("pitchquest {}", env!("CARGO_PKG_VERSION")),
    })
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
                perform(&job, &mut |answer| {
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

/// Reads in a process of its own that is ended when it takes too long and started anew when it dies.
#[derive(Debug)]
pub struct Subprocess {
    program: PathBuf,
    arguments: Vec<String>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    input: ChildStdin,
    answers: Receiver<Answer>,
}

impl Subprocess {
    /// A reader that runs `program` with `arguments`, which must call [`serve`] on its standard input and output.
    pub fn new(program: PathBuf, arguments: Vec<String>) -> Self {
        Self { program, arguments, running: None }
    }

    fn start(&self) -> std::io::Result<Running> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let missing = || std::io::Error::other("the reader has no pipes");
        let (input, output) =
            (child.stdin.take().ok_or_else(missing)?, child.stdout.take().ok_or_else(missing)?);
        let (sender, answers) = sync_channel(64);
        std::thread::Builder::new().spawn(move || {
            for line in BufReader::new(output).lines() {
                let answer = line.ok().and_then(|line| serde_json::from_str(&line).ok());
                let Some(answer) = answer else { break };
                if sender.send(answer).is_err() {
                    break;
                }
            }
        })?;
        Ok(Running { child, input, answers })
    }

    fn send(&mut self, job: &Job) -> std::io::Result<()> {
        if self.running.is_none() {
            self.running = Some(self.start()?);
        }
        let Some(running) = &mut self.running else { return Ok(()) };
        let mut line = serde_json::to_vec(job)?;
        line.push(b'\n');
        running.input.write_all(&line).and_then(|()| running.input.flush())
    }

    /// Ends the process; says how it ended.
    fn end(&mut self) -> String {
        let Some(mut running) = self.running.take() else { return "it was not running".to_owned() };
        let _ = running.child.kill();
        running.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}

impl Reader for Subprocess {
    fn read(&mut self, job: &Job, answer: &mut dyn FnMut(Answer)) {
        if let Err(error) = self.send(job) {
            self.end();
            answer(refusal(&Reason::Crashed(error.to_string())));
            return;
        }
        // A little more than the limit, so that a slide that comes at the last moment still counts.
        let limit = job.limits.time_limit() + Duration::from_millis(200);
        loop {
            let received = self.running.as_ref().map(|running| running.answers.recv_timeout(limit));
            let reason = match received {
                Some(Ok(last @ (Answer::Done(_) | Answer::Refused(..) | Answer::NoStore(_)))) => {
                    answer(last);
                    return;
                }
                Some(Ok(next)) => {
                    answer(next);
                    continue;
                }
                Some(Err(RecvTimeoutError::Timeout)) => {
                    self.end();
                    Reason::TimedOut(job.limits.time_limit_s)
                }
                Some(Err(RecvTimeoutError::Disconnected)) | None => Reason::Crashed(self.crash()),
            };
            answer(refusal(&reason));
            return;
        }
    }
}

impl Subprocess {
    /// The output has ended: waits for the process itself, whose status tells why.
    fn crash(&mut self) -> String {
        if let Some(running) = &mut self.running {
            for _ in 0..20 {
                if let Ok(Some(status)) = running.child.try_wait() {
                    self.running = None;
                    return status.to_string();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.end()
    }
}

impl Drop for Subprocess {
    fn drop(&mut self) {
        self.end();
    }
}

/// A pool's worth of readers.
pub(super) type ReaderFactory<'a> = &'a (dyn Fn() -> Box<dyn Reader + Send> + Sync);
