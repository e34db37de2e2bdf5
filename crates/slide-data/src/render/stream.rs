use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::{Event, InputFile, RenderedSlide, read_file};
use crate::{Error, Limits, Reason, Result};

/// The slides of several files, in order; see [`load`](super::load).
#[derive(Debug)]
pub struct Slides {
    inputs: std::vec::IntoIter<InputFile>,
    limits: Limits,
    current: Option<(String, Receiver<Message>)>,
    /// Slides that the files which were begun say they have.
    announced: Arc<AtomicUsize>,
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
            let Some((origin, receiver)) = &self.current else {
                let input = self.inputs.next()?;
                let origin = input.origin.clone();
                match self.start(input) {
                    Ok(receiver) => self.current = Some((origin, receiver)),
                    Err(error) => return Some(Err(unreadable(origin, Reason::Io(error.to_string())))),
                }
                continue;
            };
            // Waiting for a consumer does not count: the reader is at most one slide ahead and then blocks.
            match receiver.recv_timeout(self.limits.time_limit() + Duration::from_millis(100)) {
                Ok(Ok(slide)) => return Some(Ok(*slide)),
                Ok(Err((part, reason))) => {
                    let origin = part.map_or_else(|| origin.clone(), |part| format!("{origin}, {part}"));
                    return Some(Err(unreadable(origin, reason)));
                }
                Err(RecvTimeoutError::Disconnected) => self.current = None,
                Err(RecvTimeoutError::Timeout) => {
                    // The thread cannot be stopped; it ends at its next slide, when nobody receives it.
                    let origin = origin.clone();
                    self.current = None;
                    return Some(Err(unreadable(origin, Reason::slow_slide(self.limits.time_limit_s))));
                }
            }
        }
    }
}

fn unreadable(origin: String, reason: Reason) -> Error {
    Error::Unreadable { origin, reason }
}
