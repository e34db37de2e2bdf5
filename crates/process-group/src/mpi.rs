//! A group over MPI. All of MPI happens in one thread: a call that never returns, because a process is gone, keeps nobody but that thread.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _};

use crate::lifeline::Lifeline;
use crate::tcp::{Answer, Greeting, Kind, call};
use crate::{Error, Machine, ProcessGroup, Result, Watch};

/// How often one who waits looks whether somebody is gone.
const TICK: Duration = Duration::from_millis(100);
/// How long the processes try to hear of each other beside MPI.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the thread is asked to do.
enum Task {
    Gather(Vec<u8>),
    Sum(Vec<f32>),
}

enum Done {
    Gathered(Vec<Vec<u8>>),
    Summed(Vec<f32>),
}

/// The processes that an MPI launcher started.
pub struct MpiGroup {
    rank: usize,
    size: usize,
    tasks: Option<Sender<Task>>,
    done: Mutex<Receiver<Done>>,
    thread: Option<JoinHandle<()>>,
    watch: Watch,
    lifeline: Option<Lifeline>,
    has_given_up: AtomicBool,
}

impl MpiGroup {
    /// Begins MPI, and connects the processes beside it, so that the loss of one is noticed: see [`is_watched`](Self::is_watched).
    ///
    /// # Errors
    /// When MPI is begun already, or a process is gone.
    pub fn join() -> Result<Self> {
        let (tell, told) = channel();
        let (tasks, to_do) = channel();
        let (finished, done) = channel();
        let work = move || {
            let Some((universe, _)) = mpi::initialize_with_threading(mpi::Threading::Funneled) else {
                return;
            };
            let world = universe.world();
            if tell.send((world.rank() as usize, world.size() as usize)).is_ok() {
                serve(&world, &to_do, &finished);
            }
        };
        let problem = |reason: String| Error::Start { reason };
        let thread = std::thread::Builder::new().name("mpi".to_owned()).spawn(work);
        let thread = thread.map_err(|error| problem(format!("no thread can be started: {error}")))?;
        let Ok((rank, size)) = told.recv() else {
            return Err(problem("MPI was begun already in this process, or cannot be".to_owned()));
        };
        let (tasks, done, thread) = (Some(tasks), Mutex::new(done), Some(thread));
        let mut group = Self {
            rank,
            size,
            tasks,
            done,
            thread,
            watch: Watch::default(),
            lifeline: None,
            has_given_up: AtomicBool::new(false),
        };
        group.lifeline = group.connect()?;
        Ok(group)
    }

    /// Whether the processes are connected beside MPI. Where no connection can be made between them, a loss is noticed by MPI's launcher
    /// alone.
    pub fn is_watched(&self) -> bool {
        self.size == 1 || self.lifeline.is_some()
    }

    fn run(&self, task: Task) -> Result<Done> {
        let gone = || Error::Start { reason: "MPI has ended".to_owned() };
        self.tasks.as_ref().ok_or_else(gone)?.send(task).map_err(|_| gone())?;
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match done.recv_timeout(TICK) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout) => self.watch.lost().map_or(Ok(()), Err)?,
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        }
    }

    /// Connects all processes with the first, where that can be.
    fn connect(&self) -> Result<Option<Lifeline>> {
        if self.size == 1 {
            return Ok(None);
        }
        let listener = if self.rank == 0 { TcpListener::bind(("0.0.0.0", 0)).ok() } else { None };
        let port =
            listener.as_ref().and_then(|listener| listener.local_addr().ok()).map_or(0, |at| at.port());
        let (here, job) = (Machine::here(), format!("{port}-{}", std::process::id()));
        let mine = format!("{port}\n{job}\n{}", here.written());
        let first = self.all_gather(mine.as_bytes())?.swap_remove(0);
        let first = String::from_utf8_lossy(&first).into_owned();
        let mut parts = first.splitn(3, '\n');
        let port: u16 = parts.next().and_then(|port| port.parse().ok()).unwrap_or(0);
        let job = parts.next().unwrap_or_default().to_owned();
        let there = Machine::read(parts.next().unwrap_or_default());
        let until = Instant::now() + PATIENCE;
        let streams: Option<Vec<(usize, TcpStream)>> = match listener {
            Some(listener) => {
                let answer = Answer { job: &job, size: self.size, kinds: &[Kind::Lifeline] };
                answer.all(&listener, until).ok().map(|met| met.lifelines)
            }
            None if self.rank == 0 || port == 0 => None,
            None => {
                let host = if there.is_same(&here) { "127.0.0.1" } else { &there.host };
                let greeting = Greeting { kind: Kind::Lifeline, rank: self.rank, size: self.size, job: &job };
                call(&(host, port), &greeting, until).ok().map(|stream| vec![(0, stream)])
            }
        };
        let all = self.all_gather(&[u8::from(streams.is_some())])?;
        match streams.filter(|_| all.iter().all(|one| one == &[1])) {
            Some(streams) => Lifeline::start(self.rank, self.size, streams, self.watch.clone()).map(Some),
            None => Ok(None),
        }
    }
}

/// Does what is asked until nobody asks any more.
fn serve(world: &SimpleCommunicator, tasks: &Receiver<Task>, done: &Sender<Done>) {
    for task in tasks {
        let result = match task {
            Task::Gather(bytes) => Done::Gathered(gather(world, &bytes)),
            Task::Sum(values) => Done::Summed(sum(world, values)),
        };
        if done.send(result).is_err() {
            return;
        }
    }
}

fn gather(world: &SimpleCommunicator, mine: &[u8]) -> Vec<Vec<u8>> {
    let size = world.size() as usize;
    let mut lengths = vec![0_u64; size];
    world.all_gather_into(&(mine.len() as u64), &mut lengths[..]);
    let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
    if longest == 0 {
        return vec![Vec::new(); size];
    }
    let mut padded = mine.to_vec();
    padded.resize(longest, 0);
    let mut all = vec![0_u8; longest * size];
    world.all_gather_into(&padded[..], &mut all[..]);
    all.chunks(longest).zip(lengths).map(|(part, length)| part[..length as usize].to_vec()).collect()
}

/// Each process adds up a part, in the order of the ranks: what MPI's own sum does not promise.
fn sum(world: &SimpleCommunicator, mut values: Vec<f32>) -> Vec<f32> {
    let (size, count) = (world.size() as usize, values.len());
    let part = count.div_ceil(size);
    if part == 0 {
        return values;
    }
    values.resize(part * size, 0.0);
    let mut parts = vec![0_f32; part * size];
    world.all_to_all_into(&values[..], &mut parts[..]);
    let (first, rest) = parts.split_at_mut(part);
    for other in rest.chunks(part) {
        first.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
    }
    world.all_gather_into(&*first, &mut values[..]);
    values.truncate(count);
    values
}

impl ProcessGroup for MpiGroup {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn transport(&self) -> &'static str {
        "MPI"
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()> {
        let out_of_step =
            |reason: &str| Error::OutOfStep { rank: self.rank, size: self.size, reason: reason.to_owned() };
        match self.run(Task::Sum(values.to_vec()))? {
            Done::Summed(sums) if sums.len() == values.len() => {
                values.copy_from_slice(&sums);
                Ok(())
            }
            _ => Err(out_of_step("it asked for another sum")),
        }
    }

    fn all_gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        match self.run(Task::Gather(mine.to_vec()))? {
            Done::Gathered(all) => Ok(all),
            Done::Summed(_) => {
                let (rank, size, reason) = (self.rank, self.size, "it asked for a sum".to_owned());
                Err(Error::OutOfStep { rank, size, reason })
            }
        }
    }

    fn watch(&self) -> Watch {
        self.watch.clone()
    }

    fn abort(&self, reason: &str) {
        if let Some(lifeline) = &self.lifeline {
            lifeline.abort(reason);
        }
        self.has_given_up.store(true, Ordering::Relaxed);
    }

    fn leave(&self) {
        if let Some(lifeline) = &self.lifeline {
            lifeline.leave();
        }
    }
}

impl Drop for MpiGroup {
    /// Ends MPI, for which all processes wait; where one of them is gone, MPI is left as it is, and its launcher ends the rest.
    fn drop(&mut self) {
        self.tasks = None;
        if self.watch.lost().is_none()
            && !self.has_given_up.load(Ordering::Relaxed)
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join(); // a panic in it was reported by it
        }
    }
}
