//! How the processes find each other.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Begins every greeting. The number after it is in the byte order of its sender: numbers are not turned round on the way.
const MAGIC: &[u8; 8] = b"procgrp1";
const ORDER: u32 = 0x0102_0304;
/// How often the others call.
const AGAIN: Duration = Duration::from_millis(50);
/// How long one may take for a greeting.
const GREETING: Duration = Duration::from_secs(5);
const MOST_TEXT: usize = 4096;

/// Where the processes of a group meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpOptions {
    /// The number of this process, from 0.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// The name or address of the machine of the first process.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// Names the job, so that processes of another one are sent away; the same for all.
    pub job: String,
    /// How long one waits for the others.
    pub patience: Duration,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data = 1,
    Lifeline = 2,
}

/// The connections of a process by the rank at the other end.
#[derive(Default)]
pub(crate) struct Met {
    pub(crate) data: Vec<(usize, TcpStream)>,
    pub(crate) lifelines: Vec<(usize, TcpStream)>,
}

fn problem(reason: impl Into<String>) -> Error {
    Error::Start { reason: reason.into() }
}

pub(super) fn meet(options: &TcpOptions) -> Result<Met> {
    let TcpOptions { rank, size, host, port, patience, .. } = options;
    if rank >= size {
        return Err(problem(format!("there is no process {rank} of {size}")));
    }
    let until = Instant::now() + *patience;
    if *rank == 0 {
        let kinds = &[Kind::Data, Kind::Lifeline];
        return Answer { job: &options.job, size: *size, kinds }.all(&listen(host, *port)?, until);
    }
    let greet = |kind| {
        call(&(host.as_str(), *port), &Greeting { kind, rank: *rank, size: *size, job: &options.job }, until)
    };
    let (data, lifeline) = (greet(Kind::Data)?, greet(Kind::Lifeline)?);
    Ok(Met { data: vec![(0, data)], lifelines: vec![(0, lifeline)] })
}

/// Listens at the address, or, where the name is that of another network or of a translated one, at all addresses.
fn listen(host: &str, port: u16) -> Result<TcpListener> {
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| problem(format!("the address `{host}` of the first process is not known: {error}")))?
        .collect();
    let listener = match TcpListener::bind(&addresses[..]) {
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => TcpListener::bind(("0.0.0.0", port)),
        bound => bound,
    };
    listener.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => problem(format!(
            "port {port} is in use: another job, or another process that takes itself for the first of this one"
        )),
        _ => problem(format!("the first process cannot listen at {host}:{port}: {error}")),
    })
}

/// Who calls.
pub(crate) struct Greeting<'a> {
    pub(crate) kind: Kind,
    pub(crate) rank: usize,
    pub(crate) size: usize,
    pub(crate) job: &'a str,
}

impl Greeting<'_> {
    fn written(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(ORDER.to_ne_bytes());
        for number in [self.kind as u32, self.rank as u32, self.size as u32, self.job.len() as u32] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.job.as_bytes());
        bytes
    }
}

/// Calls the first process until it answers.
pub(crate) fn call(
    address: &impl ToSocketAddrs,
    greeting: &Greeting<'_>,
    until: Instant,
) -> Result<TcpStream> {
    loop {
        let answered = connect(address).and_then(|mut stream| {
            stream.set_read_timeout(Some(GREETING))?;
            stream.write_all(&greeting.written())?;
            let refusal = read_text(&mut stream)?;
            Ok((stream, refusal))
        });
        match answered {
            Ok((stream, refusal)) if refusal.is_empty() => return Ok(stream),
            Ok((_, refusal)) => {
                return Err(problem(format!("the first process sends this one away: {refusal}")));
            }
            Err(error) if Instant::now() >= until => {
                return Err(problem(format!("the first process cannot be reached: {error}")));
            }
            Err(_) => std::thread::sleep(AGAIN),
        }
    }
}

fn connect(address: &impl ToSocketAddrs) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::from(ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, GREETING) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read_number(stream: &mut TcpStream) -> std::io::Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_text(stream: &mut TcpStream) -> std::io::Result<String> {
    let length = read_number(stream)? as usize;
    if length > MOST_TEXT {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The first process, which answers the others.
pub(crate) struct Answer<'a> {
    pub(crate) job: &'a str,
    pub(crate) size: usize,
    /// The connections that each of the others makes.
    pub(crate) kinds: &'a [Kind],
}

impl Answer<'_> {
    /// Waits for the connections of the others.
    pub(crate) fn all(&self, listener: &TcpListener, until: Instant) -> Result<Met> {
        let broken = |error: std::io::Error| problem(format!("the first process cannot listen: {error}"));
        listener.set_nonblocking(true).map_err(broken)?;
        let mut met = Met::default();
        while met.data.len() + met.lifelines.len() < self.kinds.len() * (self.size - 1) {
            match listener.accept() {
                Ok((stream, _)) => self.greeted(stream, &mut met),
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                Err(_) => return Err(self.missing(&met)),
            }
        }
        met.data.sort_by_key(|(rank, _)| *rank);
        met.lifelines.sort_by_key(|(rank, _)| *rank);
        Ok(met)
    }

    fn missing(&self, met: &Met) -> Error {
        let is_there = |rank: &usize| met.lifelines.iter().any(|(there, _)| there == rank);
        let missing: Vec<String> =
            (1..self.size).filter(|rank| !is_there(rank)).map(|rank| rank.to_string()).collect();
        problem(format!("of {} processes these did not come in time: {}", self.size, missing.join(", ")))
    }

    /// Takes a connection in, or sends it away; one who does not greet is not answered.
    fn greeted(&self, mut stream: TcpStream, met: &mut Met) {
        let Ok((kind, rank, refusal)) = self.read(&mut stream, met) else { return };
        let mut answer = (refusal.len() as u32).to_le_bytes().to_vec();
        answer.extend(refusal.as_bytes());
        if stream.write_all(&answer).is_ok() && refusal.is_empty() {
            let list = if kind == Kind::Data { &mut met.data } else { &mut met.lifelines };
            list.push((rank, stream));
        }
    }

    /// What a connection is for, of whom, and why it is sent away.
    fn read(&self, stream: &mut TcpStream, met: &Met) -> std::io::Result<(Kind, usize, String)> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(GREETING))?;
        let mut magic = [0; 8];
        stream.read_exact(&mut magic)?;
        let mut order = [0; 4];
        stream.read_exact(&mut order)?;
        if magic != *MAGIC {
            return Err(ErrorKind::InvalidData.into());
        }
        let kind = if read_number(stream)? == Kind::Data as u32 { Kind::Data } else { Kind::Lifeline };
        let (rank, size) = (read_number(stream)? as usize, read_number(stream)? as usize);
        let job = read_text(stream)?;
        let list = if kind == Kind::Data { &met.data } else { &met.lifelines };
        let refusal = if job != self.job {
            "it belongs to another job".to_owned()
        } else if size != self.size {
            format!("it is one of {size} processes, and there are {}", self.size)
        } else if rank == 0 || rank >= size || list.iter().any(|(there, _)| *there == rank) {
            format!("process {rank} is there already, or cannot be")
        } else if !self.kinds.contains(&kind) {
            "numbers go another way".to_owned()
        } else if u32::from_ne_bytes(order) != ORDER {
            "its machine has another byte order".to_owned()
        } else {
            String::new()
        };
        Ok((kind, rank, refusal))
    }
}
