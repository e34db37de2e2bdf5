//! Connections that tell whether the other processes live. They hang on the first process, whatever else carries the numbers.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Error, Result, Watch};

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// So many seconds in which nothing was heard mean that a process is gone. Seconds in which this process itself stood still, as when a
/// whole job is suspended, do not count: one wait is at most one of them.
const MOST_SILENT: u32 = 8;
/// The longest reason that is read.
const MOST_REASON: usize = 64 * 1024;

const ALIVE: u8 = 1;
const LEAVES: u8 = 2;
const ABORTS: u8 = 3;
const IS_LOST: u8 = 4;

/// The connections of one process: the first has one to each of the others, the others one to the first.
pub(crate) struct Lifeline {
    shared: Arc<Shared>,
}

struct Shared {
    rank: usize,
    size: usize,
    watch: Watch,
    /// By the rank at the other end.
    streams: Mutex<Vec<(usize, TcpStream)>>,
    /// Whether this process has left, or is dropped: nothing that others do concerns it.
    has_left: AtomicBool,
}

impl Lifeline {
    /// Listens to the others on these connections.
    pub(crate) fn start(
        rank: usize,
        size: usize,
        streams: Vec<(usize, TcpStream)>,
        watch: Watch,
    ) -> Result<Self> {
        let broken = |error: std::io::Error| Error::Start {
            reason: format!("a connection cannot be set up: {error}"),
        };
        let mut readers = Vec::new();
        for (peer, stream) in &streams {
            stream.set_nonblocking(false).map_err(broken)?;
            stream.set_nodelay(true).map_err(broken)?;
            stream.set_read_timeout(Some(BEAT)).map_err(broken)?;
            stream.set_write_timeout(Some(BEAT)).map_err(broken)?;
            readers.push((*peer, stream.try_clone().map_err(broken)?));
        }
        let has_left = AtomicBool::new(false);
        let shared = Arc::new(Shared { rank, size, watch, streams: Mutex::new(streams), has_left });
        for (peer, stream) in readers {
            let shared = Arc::clone(&shared);
            spawn("lifeline", move || shared.listen(peer, stream))?;
        }
        let beating = Arc::clone(&shared);
        spawn("beat", move || {
            while !beating.has_left() {
                beating.send(&[ALIVE], None);
                std::thread::sleep(BEAT);
            }
        })?;
        Ok(Self { shared })
    }

    pub(crate) fn leave(&self) {
        self.shared.send(&[LEAVES], None);
        self.shared.has_left.store(true, Ordering::Release);
    }

    pub(crate) fn abort(&self, reason: &str) {
        self.shared.send(&frame(ABORTS, self.shared.rank, reason), None);
        self.shared.has_left.store(true, Ordering::Release);
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.shared.has_left.store(true, Ordering::Release);
        for (_, stream) in self.shared.lock().iter() {
            let _ = stream.shutdown(Shutdown::Both); // the other end may be gone already
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|error| Error::Start { reason: format!("no thread can be started: {error}") })
}

fn frame(kind: u8, rank: usize, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(MOST_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut frame = vec![kind];
    frame.extend((rank as u32).to_le_bytes());
    frame.extend((end as u32).to_le_bytes());
    frame.extend(&reason.as_bytes()[..end]);
    frame
}

/// Why nothing can be read.
enum Silence {
    Ended(String),
    Quiet,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<(usize, TcpStream)>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Acquire)
    }

    /// Tells everybody at the other ends, but for one of them. Who cannot be told is missed by those who listen to it.
    fn send(&self, bytes: &[u8], but: Option<usize>) {
        for (peer, stream) in self.lock().iter_mut() {
            if Some(*peer) != but {
                let _ = stream.write_all(bytes);
            }
        }
    }

    /// Listens to one process until it has left, or is gone.
    fn listen(&self, peer: usize, mut stream: TcpStream) {
        let loss = loop {
            let mut kind = [0];
            match self.read(&mut stream, &mut kind) {
                Err(_) if self.has_left() => return,
                Err(Silence::Ended(reason)) => break self.lost(peer, reason),
                Err(Silence::Quiet) => {
                    break self.lost(peer, format!("nothing was heard of it for {MOST_SILENT} s"));
                }
                Ok(()) => match kind[0] {
                    ALIVE => {}
                    LEAVES => return,
                    ABORTS | IS_LOST => match self.reason(&mut stream, kind[0]) {
                        Ok(loss) => break loss,
                        Err(_) => break self.lost(peer, "it ended while it said why".to_owned()),
                    },
                    _ => break self.lost(peer, "it speaks another language".to_owned()),
                },
            }
        };
        self.pass_on(&loss, peer);
        self.watch.note(loss);
    }

    fn lost(&self, rank: usize, reason: String) -> Error {
        Error::Lost { rank, size: self.size, reason }
    }

    fn reason(&self, stream: &mut TcpStream, kind: u8) -> std::result::Result<Error, Silence> {
        let (mut rank, mut length) = ([0; 4], [0; 4]);
        self.read(stream, &mut rank)?;
        self.read(stream, &mut length)?;
        let mut reason = vec![0; (u32::from_le_bytes(length) as usize).min(MOST_REASON)];
        self.read(stream, &mut reason)?;
        let (rank, reason) =
            (u32::from_le_bytes(rank) as usize, String::from_utf8_lossy(&reason).into_owned());
        let size = self.size;
        Ok(if kind == ABORTS {
            Error::Aborted { rank, size, reason }
        } else {
            Error::Lost { rank, size, reason }
        })
    }

    /// The first process tells the others what it knows of one.
    fn pass_on(&self, loss: &Error, from: usize) {
        if self.rank != 0 || self.watch.lost().is_some() {
            return;
        }
        match loss {
            Error::Aborted { rank, reason, .. } => self.send(&frame(ABORTS, *rank, reason), Some(from)),
            Error::Lost { rank, reason, .. } => self.send(&frame(IS_LOST, *rank, reason), Some(from)),
            Error::OutOfStep { .. } | Error::Start { .. } => {}
        }
    }

    fn read(&self, stream: &mut TcpStream, bytes: &mut [u8]) -> std::result::Result<(), Silence> {
        let (mut done, mut silent) = (0, 0);
        while done < bytes.len() {
            match stream.read(&mut bytes[done..]) {
                Ok(0) => {
                    return Err(Silence::Ended(
                        "its connection ended: it was killed, or it crashed".to_owned(),
                    ));
                }
                Ok(count) => (done, silent) = (done + count, 0),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut if self.has_left() => {
                        return Err(Silence::Quiet);
                    }
                    ErrorKind::WouldBlock | ErrorKind::TimedOut if silent + 1 < MOST_SILENT => silent += 1,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(Silence::Quiet),
                    _ => return Err(Silence::Ended(format!("its connection broke: {error}"))),
                },
            }
        }
        Ok(())
    }
}
