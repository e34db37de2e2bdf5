use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::attempt::{Exchange, reason};
use crate::client::response;
use crate::pace::Watch;
use crate::{Client, Error, Pace, Request, Result, asked_wait};

/// The most that is read of a refusal.
const REFUSAL: usize = 1 << 16;

impl Client {
    /// Appends the answer's body to the file at `path` and returns the file's size. What lies there already counts as the
    /// body's beginning: the rest is asked for with a range, in this process or in a later one. With `size` given, the body
    /// has exactly that many bytes in the end.
    ///
    /// # Errors
    /// When the service refuses, the body does not come to its end, or the file cannot be written. What arrived stays.
    pub fn download(&self, request: &Request, path: &Path, size: Option<u64>) -> Result<u64> {
        let watch = self.watch();
        let mut pace = Pace::new(request.retry.unwrap_or(self.options().retry), &watch, request.place());
        let failed = |source| Error::Io { action: "write", path: path.to_owned(), source };
        let mut file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
        loop {
            let have = file.metadata().map_err(failed)?.len();
            if size == Some(have) && have > 0 {
                return Ok(have);
            }
            let mut asked = None;
            let target = Target { file: &mut file, path, have, size };
            let error = match self.append(request, target, &watch, pace.attempt(), &mut asked) {
                Ok(length) => return Ok(length),
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error),
            };
            if file.metadata().map_err(failed)?.len() > have {
                pace.progressed();
            }
            if !pace.pause(&reason(&error), asked)? {
                return Err(error.after(pace.attempt()));
            }
        }
    }

    fn append(
        &self,
        request: &Request,
        mut target: Target<'_>,
        watch: &Watch<'_>,
        attempt: u32,
        asked: &mut Option<Duration>,
    ) -> Result<u64> {
        let mut exchange = self.follow(request, target.have, watch, attempt)?;
        match exchange.status {
            206 if range_start(&exchange) == Some(target.have) => {}
            416 if target.have > 0 => {
                let is_whole = target.size.is_none() && range_total(&exchange) == Some(target.have);
                if is_whole {
                    return Ok(target.have);
                }
                target.clear()?; // what lies here is no beginning of this body
                return Err(exchange.short(0, target.size.unwrap_or(0)));
            }
            206 => {
                target.clear()?;
                return Err(exchange.short(0, target.size.unwrap_or(0)));
            }
            200..300 => target.clear()?,
            _ => {
                let mut body = Vec::new();
                while let Some(chunk) = exchange.chunk(watch)?.filter(|_| body.len() < REFUSAL) {
                    body.extend_from_slice(&chunk);
                }
                let refused = response(&exchange, request, body);
                *asked = asked_wait(&refused.headers, SystemTime::now());
                return Err(refused.refusal());
            }
        }
        let end = target.size.or_else(|| Some(target.have + exchange.announced()?));
        while let Some(chunk) = exchange.chunk(watch)? {
            target.have += chunk.len() as u64;
            if let Some(limit) = target.size.filter(|size| target.have > *size) {
                return Err(Error::TooLarge { place: exchange.place.clone(), limit });
            }
            target.write(&chunk)?;
        }
        match end {
            Some(end) if target.have < end => Err(exchange.short(target.have, end)),
            _ => Ok(target.have),
        }
    }
}

/// The file that a body goes to.
struct Target<'a> {
    file: &'a mut File,
    path: &'a Path,
    have: u64,
    size: Option<u64>,
}

impl Target<'_> {
    fn failed(&self, source: io::Error) -> Error {
        Error::Io { action: "write", path: self.path.to_owned(), source }
    }

    fn clear(&mut self) -> Result<()> {
        self.have = 0;
        self.file.set_len(0).map_err(|error| self.failed(error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| self.failed(error))
    }
}

impl Exchange {
    fn short(&self, received: u64, size: u64) -> Error {
        Error::Short { place: self.place.clone(), received, size, attempts: 1 }
    }
}

fn content_range(exchange: &Exchange) -> Option<(&str, &str)> {
    let text = exchange.headers.get("content-range")?.to_str().ok()?;
    text.trim().strip_prefix("bytes ")?.split_once('/')
}

fn range_start(exchange: &Exchange) -> Option<u64> {
    content_range(exchange)?.0.split_once('-')?.0.trim().parse().ok()
}

fn range_total(exchange: &Exchange) -> Option<u64> {
    content_range(exchange)?.1.trim().parse().ok()
}
