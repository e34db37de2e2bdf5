use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use serde::Serialize;

use crate::log::encode_lines;
use crate::{Error, Result, append_lines};

/// Requests that may wait; whoever comes later waits for a place.
const WAITING: usize = 1024;
/// Where so many bytes wait, they are written without looking for more.
const GROUP_BYTES: usize = 8 << 20;

/// A log of JSON lines that many threads append to: a thread of its own takes all lines that wait, writes them at once and syncs
/// once for all (group commit), and only then does each caller hear that its lines are on disk.
///
/// Other processes may append to the same log, through a [`GroupLog`] of their own or through [`append_lines`]; the rules for locks and
/// torn lines are those of [`append_lines`]. The lines of one call stand together, and calls of one thread in their order.
#[derive(Debug)]
pub struct GroupLog {
    path: PathBuf,
    requests: Option<SyncSender<Request>>,
    writer: Option<JoinHandle<()>>,
}

/// Lines that wait, and where it is told what became of them.
struct Request {
    lines: Vec<u8>,
    outcome: Sender<Result<()>>,
}

impl GroupLog {
    /// Starts the thread that writes; the log is created with its first line.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let (requests, waiting) = sync_channel(WAITING);
        let log = path.clone();
        let writer = std::thread::Builder::new().name("log".to_owned()).spawn(move || write(&log, &waiting));
        let writer = writer.map_err(|source| failure(&path, source))?;
        Ok(Self { path, requests: Some(requests), writer: Some(writer) })
    }

    /// Appends `lines` (each ended by a newline) and returns once they are on disk.
    ///
    /// # Errors
    /// When the log cannot be created, locked, written or synced: then none of the lines that were written together counts as
    /// written, and each caller is told so.
    pub fn append(&self, lines: Vec<u8>) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let (outcome, told) = channel();
        let sent = self.requests.as_ref().map(|requests| requests.send(Request { lines, outcome }));
        match sent {
            Some(Ok(())) => told.recv().unwrap_or_else(|_| Err(self.ended())),
            _ => Err(self.ended()),
        }
    }

    /// Appends values as JSON lines; otherwise as [`append`](Self::append).
    ///
    /// # Errors
    /// As [`append`](Self::append), or when a value cannot be written as JSON; nothing is then appended.
    pub fn append_json<T: Serialize>(&self, values: &[T]) -> Result<()> {
        self.append(encode_lines(&self.path, values)?)
    }

    fn ended(&self) -> Error {
        failure(&self.path, io::Error::other("the thread that writes the log has ended"))
    }
}

impl Drop for GroupLog {
    /// Waits until what was asked for is on disk.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Writes group after group until nobody can send any more.
fn write(path: &Path, waiting: &Receiver<Request>) {
    while let Ok(first) = waiting.recv() {
        let mut lines = first.lines;
        let mut outcomes = vec![first.outcome];
        while lines.len() < GROUP_BYTES
            && let Ok(mut next) = waiting.try_recv()
        {
            lines.append(&mut next.lines);
            outcomes.push(next.outcome);
        }
        let written = append_lines(path, &lines);
        for outcome in outcomes {
            let told = match &written {
                Ok(()) => Ok(()),
                Err(error) => Err(again(error, path)),
            };
            let _ = outcome.send(told); // who does not listen any more need not be told
        }
    }
}

/// The same error once more: each caller of a group is told.
fn again(error: &Error, log: &Path) -> Error {
    let copy = |source: &io::Error| match source.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(source.kind(), source.to_string()),
    };
    match error {
        Error::Io { action, path, source } => Error::Io { action, path: path.clone(), source: copy(source) },
        Error::Encode { .. } => failure(log, io::Error::other(error.to_string())),
    }
}

fn failure(path: &Path, source: io::Error) -> Error {
    Error::Io { action: "append to", path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::for_each_line;

    fn numbers(path: &Path) -> Vec<[usize; 2]> {
        let mut numbers = Vec::new();
        for_each_line(path, |_, line| {
            numbers.push(serde_json::from_slice(line).unwrap());
            Ok::<(), Error>(())
        })
        .unwrap();
        numbers
    }

    #[test]
    fn threads_share_a_log_and_each_keeps_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("below/log.jsonl");
        let log = GroupLog::open(&path).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let log = &log;
                scope.spawn(move || {
                    for at in 0..40 {
                        log.append_json(&[[thread, 2 * at], [thread, 2 * at + 1]]).unwrap();
                    }
                });
            }
        });
        let written = numbers(&path);
        assert!(written.chunks(2).all(|pair| pair[0][0] == pair[1][0] && pair[0][1] + 1 == pair[1][1]));
        for thread in 0..8 {
            let own: Vec<usize> =
                written.iter().filter(|line| line[0] == thread).map(|line| line[1]).collect();
            assert_eq!(own, (0..80).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_was_asked_for_is_written_before_the_log_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let log = GroupLog::open(&path).unwrap();
        let (outcome, told) = channel();
        let request = Request { lines: b"[1,2]\n".to_vec(), outcome };
        log.requests.as_ref().unwrap().send(request).unwrap();
        drop(log);
        assert_eq!(numbers(&path), [[1, 2]]);
        told.recv().unwrap().unwrap();
    }

    #[test]
    fn every_caller_hears_of_a_failure_and_the_log_goes_on_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        std::fs::create_dir(&path).unwrap();
        let log = GroupLog::open(&path).unwrap();
        let failed = |log: &GroupLog| log.append_json(&[[0, 0]]).unwrap_err().to_string();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| failed(&log))).collect();
            for thread in threads {
                assert!(thread.join().unwrap().contains("log.jsonl"));
            }
        });
        std::fs::remove_dir(&path).unwrap();
        log.append_json(&[[1, 2]]).unwrap();
        assert_eq!(numbers(&path), [[1, 2]]);
        log.append(Vec::new()).unwrap();
        assert_eq!(numbers(&path).len(), 1);
    }
}
