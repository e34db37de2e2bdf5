use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use durable_files::hash_file;

use super::{Event, InputFile, RenderedSlide, read_file, unreadable};
use crate::{Error, Limits, Reason, Result};

/// The slides of several files, in order; see [`load`](super::load).
#[derive(Debug)]
pub struct Slides {
    inputs: std::vec::IntoIter<InputFile>,
    limits: Limits,
    current: Option<File>,
    /// Slides that the files which were begun say they have.
    announced: Arc<AtomicUsize>,
}

/// The file that is being read.
#[derive(Debug)]
struct File {
    origin: String,
    path: PathBuf,
    messages: Receiver<Message>,
    /// Looked for once a part of it failed.
    sha256: OnceCell<Option<String>>,
}

type Message = std::result::Result<Box<RenderedSlide>, (Option<String>, Reason)>;

impl Slides {
    pub(super) fn new(inputs: Vec<InputFile>, limits: Limits) -> Self {
        Self { inputs: inputs.into_iter(), limits, current: None, announced: Arc::default() }
    }

    /// How many slides the files that were begun say they have; 0 before the first one was looked at.
    pub fn announced(&self) -> usize {
        self.announced.load(Ordering::Relaxed)
    }

    fn start(&self, input: InputFile) -> std::io::Result<Receiver<Message>> {
        let (sender, receiver) = sync_channel(1);
        let (limits, announced) = (self.limits.clone(), self.announced.clone());
        std::thread::Builder::new()
            .stack_size(super::pdf::STACK_BYTES)
            .spawn(move || produce(&input, &limits, &announced, &sender))?;
        Ok(receiver)
    }
}

fn produce(input: &InputFile, limits: &Limits, announced: &AtomicUsize, sender: &SyncSender<Message>) {
    let mut sink = |event: Event| match event {
        Event::Total(count) => {
            announced.fetch_add(count, Ordering::Relaxed);
            true
        }
        Event::Slide(slide) => sender.send(Ok(slide)).is_ok(),
        Event::Failed(part, reason) => sender.send(Err((Some(part), reason))).is_ok(),
    };
    if let Err(reason) = read_file(input, limits, None, &mut sink) {
        let _ = sender.send(Err((None, reason)));
    }
}

impl Iterator for Slides {
    type Item = Result<RenderedSlide>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(file) = &self.current else {
                let input = self.inputs.next()?;
                let (origin, path) = (input.origin.clone(), input.path.clone());
                match self.start(input) {
                    Ok(messages) => {
                        self.current = Some(File { origin, path, messages, sha256: OnceCell::new() });
                    }
                    Err(error) => {
                        return Some(Err(unreadable(&origin, None, None, Reason::Io(error.to_string()))));
                    }
                }
                continue;
            };
            // Waiting for a consumer does not count: the reader is at most one slide ahead and then blocks.
            match file.messages.recv_timeout(self.limits.time_limit() + Duration::from_millis(100)) {
                Ok(Ok(slide)) => return Some(Ok(*slide)),
                Ok(Err((part, reason))) => return Some(Err(file.failed(part, reason))),
                Err(RecvTimeoutError::Disconnected) => self.current = None,
                Err(RecvTimeoutError::Timeout) => {
                    // The thread cannot be stopped; it ends at its next slide, when nobody receives it.
                    let slow = file.failed(None, Reason::slow_slide(self.limits.time_limit_s));
                    self.current = None;
                    return Some(Err(slow));
                }
            }
        }
    }
}

impl File {
    fn failed(&self, part: Option<String>, reason: Reason) -> Error {
        // A file that is refused by its size is not read for its hash either.
        let is_read = !matches!(reason, Reason::TooLarge { key: "max_file_mib", .. });
        let hash = || hash_file(&self.path).ok().map(|file| file.sha256);
        let sha256 = self.sha256.get_or_init(|| is_read.then(hash).flatten());
        unreadable(&self.origin, sha256.clone(), part, reason)
    }
}
