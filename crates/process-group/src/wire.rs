use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::{Error, Result, Watch};

/// How often one who waits looks whether somebody is gone.
const TICK: Duration = Duration::from_millis(100);
/// How long one whose connection ended waits for a better reason than that.
const GRACE: Duration = Duration::from_millis(500);

/// A connection to another process, on which nobody waits for one who is gone.
pub(crate) struct Wire {
    stream: TcpStream,
    peer: usize,
    size: usize,
    watch: Watch,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, peer: usize, size: usize, watch: Watch) -> Result<Self> {
        let set = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_nodelay(true))
            .and_then(|()| stream.set_read_timeout(Some(TICK)))
            .and_then(|()| stream.set_write_timeout(Some(TICK)));
        set.map_err(|error| Error::Start { reason: format!("a connection cannot be set up: {error}") })?;
        Ok(Self { stream, peer, size, watch })
    }

    pub(crate) fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match self.stream.read(&mut bytes[done..]) {
                Ok(0) => return Err(self.gone("its connection ended")),
                Ok(count) => done += count,
                Err(error) => self.wait_on(&error)?,
            }
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match self.stream.write(&bytes[done..]) {
                Ok(count) => done += count,
                Err(error) => self.wait_on(&error)?,
            }
        }
        Ok(())
    }

    /// Goes on after an error that only says that time has passed, as long as everybody is there.
    fn wait_on(&self, error: &std::io::Error) -> Result<()> {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                self.watch.lost().map_or(Ok(()), Err)
            }
            _ => Err(self.gone(&format!("its connection broke: {error}"))),
        }
    }

    /// Why the other is gone: what it said itself, or what was heard of it elsewhere, comes before that its connection ended.
    fn gone(&self, reason: &str) -> Error {
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            if let Some(loss) = self.watch.lost() {
                return loss;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let loss = Error::Lost { rank: self.peer, size: self.size, reason: reason.to_owned() };
        self.watch.note(loss.clone());
        loss
    }

    /// Another point of the program at the other end.
    pub(crate) fn out_of_step(&self, reason: String) -> Error {
        Error::OutOfStep { rank: self.peer, size: self.size, reason }
    }

    pub(crate) fn close(&self) {
        // The other end may be gone already.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}
