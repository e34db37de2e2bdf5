use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::{Error, ProcessGroup, Result, Watch};

/// What the threads of a group share.
struct Shared {
    size: usize,
    round: Mutex<Round>,
    changed: Condvar,
    watch: Watch,
}

/// An exchange. A thread that has not taken the last result has not come to the next exchange, so one result is kept.
#[derive(Default)]
struct Round {
    number: u64,
    parts: Vec<Option<Vec<u8>>>,
    result: Arc<Vec<Vec<u8>>>,
}

/// A thread as a process of a group.
pub struct ThreadGroup {
    rank: usize,
    shared: Arc<Shared>,
    has_left: Cell<bool>,
}

/// So many members of one group, each for a thread of its own.
pub fn threads(size: usize) -> Vec<ThreadGroup> {
    let round = Mutex::new(Round { parts: vec![None; size], ..Round::default() });
    let shared = Arc::new(Shared { size, round, changed: Condvar::new(), watch: Watch::default() });
    (0..size)
        .map(|rank| ThreadGroup { rank, shared: Arc::clone(&shared), has_left: Cell::new(false) })
        .collect()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Round> {
        // Parts are put and taken whole.
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self, loss: Error) {
        self.watch.note(loss);
        drop(self.lock()); // nobody is between looking and waiting
        self.changed.notify_all();
    }
}

impl ThreadGroup {
    fn exchange(&self, mine: Vec<u8>) -> Result<Arc<Vec<Vec<u8>>>> {
        let shared = &self.shared;
        let mut round = shared.lock();
        let number = round.number;
        round.parts[self.rank] = Some(mine);
        if round.parts.iter().all(Option::is_some) {
            round.result = Arc::new(round.parts.iter_mut().filter_map(Option::take).collect());
            round.number += 1;
            shared.changed.notify_all();
        }
        while round.number == number {
            if let Some(loss) = shared.watch.lost() {
                return Err(loss);
            }
            round = shared.changed.wait(round).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(Arc::clone(&round.result))
    }
}

impl ProcessGroup for ThreadGroup {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.shared.size
    }

    fn transport(&self) -> &'static str {
        "threads"
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()> {
        let parts = self.exchange(bytemuck::cast_slice(values).to_vec())?;
        if let Some(rank) = parts.iter().position(|part| part.len() != size_of_val(values)) {
            let reason = format!(
                "it adds {} numbers and process {} {}",
                parts[rank].len() / 4,
                self.rank,
                values.len()
            );
            return Err(Error::OutOfStep { rank, size: self.shared.size, reason });
        }
        values.fill(-0.0); // the one number that changes none when it is added
        for part in parts.iter() {
            for (sum, bytes) in values.iter_mut().zip(part.chunks_exact(4)) {
                *sum += bytemuck::pod_read_unaligned::<f32>(bytes);
            }
        }
        Ok(())
    }

    fn all_gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(self.exchange(mine.to_vec())?.as_ref().clone())
    }

    fn watch(&self) -> Watch {
        self.shared.watch.clone()
    }

    fn abort(&self, reason: &str) {
        let (rank, size, reason) = (self.rank, self.shared.size, reason.to_owned());
        self.has_left.set(true);
        self.shared.lose(Error::Aborted { rank, size, reason });
    }

    fn leave(&self) {
        self.has_left.set(true);
    }
}

impl Drop for ThreadGroup {
    fn drop(&mut self) {
        if !self.has_left.get() {
            let (rank, size) = (self.rank, self.shared.size);
            self.shared.lose(Error::Lost { rank, size, reason: "it ended without a word".to_owned() });
        }
    }
}
