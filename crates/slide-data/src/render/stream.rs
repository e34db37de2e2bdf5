use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::{Event, FailedPart, InputFile, RenderedSlide, deck_id_of, read_file, unreadable};
use crate::{Limits, Reason, Result};

/// The slides of several files, in order; see [`load`](super::load).
#[derive(Debug)]
pub struct Slides {
    inputs: std::vec::IntoIter<InputFile>,
    limits: Limits,
    current: Option<(String, Receiver<Message>)>,
    /// Slides that the files which were begun say they have.
    announced: Arc<AtomicUsize>,
}

type Message = std::result::Result<Box<RenderedSlide>, Failed>;

/// A file, or a part of it, that failed.
struct Failed {
    part: Option<String>,
    deck_id: Option<String>,
    reason: Reason,
}

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
    let mut sha256 = None;
    let mut sink = |event: Event| match event {
        Event::Hashed(hash) => {
            sha256 = Some(hash);
            true
        }
        Event::Total(count) => {
            announced.fetch_add(count, Ordering::Relaxed);
            true
        }
        Event::Slide(slide) => sender.send(Ok(slide)).is_ok(),
        Event::Failed(FailedPart { name, deck_id, reason }) => {
            sender.send(Err(Failed { part: Some(name), deck_id: Some(deck_id), reason })).is_ok()
        }
    };
    if let Err(reason) = read_file(input, limits, None, &mut sink) {
        let deck_id = sha256.map(|sha256| deck_id_of(input, &sha256));
        let _ = sender.send(Err(Failed { part: None, deck_id, reason }));
    }
}

impl Iterator for Slides {
    type Item = Result<RenderedSlide>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((origin, messages)) = &self.current else {
                let input = self.inputs.next()?;
                let origin = input.origin.clone();
                match self.start(input) {
                    Ok(messages) => self.current = Some((origin, messages)),
                    Err(error) => {
                        return Some(Err(unreadable(&origin, None, None, Reason::Io(error.to_string()))));
                    }
                }
                continue;
            };
            // Waiting for a consumer does not count: the reader is at most one slide ahead and then blocks.
            match messages.recv_timeout(self.limits.time_limit() + Duration::from_millis(100)) {
                Ok(Ok(slide)) => return Some(Ok(*slide)),
                Ok(Err(Failed { part, deck_id, reason })) => {
                    return Some(Err(unreadable(origin, part, deck_id, reason)));
                }
                Err(RecvTimeoutError::Disconnected) => self.current = None,
                Err(RecvTimeoutError::Timeout) => {
                    // The thread cannot be stopped; it ends at its next slide, when nobody receives it.
                    let reason = Reason::slow_slide(self.limits.time_limit_s);
                    let slow = unreadable(origin, None, None, reason);
                    self.current = None;
                    return Some(Err(slow));
                }
            }
        }
    }
}
