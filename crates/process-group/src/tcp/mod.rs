//! A group over connections to its first process: no library, no launcher of its own, for some processes with some megabytes each.

mod meet;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::lifeline::Lifeline;
use crate::wire::Wire;
use crate::{ProcessGroup, Result, Watch};

pub use meet::TcpOptions;
#[cfg(feature = "mpi")]
pub(crate) use meet::{Answer, Greeting, Kind, call};

/// What is said with a frame, so that processes at different points of their program notice it.
const GATHER: u32 = 1;
const SUM: u32 = 2;
/// The most bytes that a process may give to be gathered.
const MOST_GATHERED: u64 = 1 << 32;
/// Bytes that are added at one time.
const PIECE: usize = 1 << 18;
const HEADER: usize = 4 + 8 + 8;

/// Processes that are connected with the first of them.
///
/// A sum takes `2 (size - 1)` times its bytes through the network of the first process.
pub struct TcpGroup {
    rank: usize,
    size: usize,
    links: Mutex<Links>,
    watch: Watch,
    // After `links`: what others read is closed before they miss this process.
    lifeline: Lifeline,
}

/// The connections for numbers: those of the first process by rank, that of another to the first.
struct Links {
    wires: Vec<Wire>,
    /// How many calls were made.
    calls: u64,
}

impl TcpGroup {
    /// Meets the other processes: the first listens at the address, the others call there until it does.
    ///
    /// # Errors
    /// When the address cannot be listened at, or not all have come within the time.
    pub fn join(options: &TcpOptions) -> Result<Self> {
        let met = meet::meet(options)?;
        let (rank, size, watch) = (options.rank, options.size, Watch::default());
        let wires = met.data.into_iter().map(|(peer, stream)| Wire::new(stream, peer, size, watch.clone()));
        let wires = wires.collect::<Result<Vec<_>>>()?;
        let lifeline = Lifeline::start(rank, size, met.lifelines, watch.clone())?;
        let group = Self { rank, size, links: Mutex::new(Links { wires, calls: 0 }), watch, lifeline };
        group.barrier()?;
        Ok(group)
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        // A call that failed is the last one: everybody gets its error.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Links {
    /// Begins a call: its number, which all processes count alike.
    fn begin(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }
}

fn send(wire: &mut Wire, kind: u32, call: u64, bytes: &[u8]) -> Result<()> {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[4..12].copy_from_slice(&call.to_le_bytes());
    header[12..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    wire.write(&header)?;
    wire.write(bytes)
}

/// How many bytes follow.
fn receive(wire: &mut Wire, kind: u32, call: u64) -> Result<u64> {
    let mut header = [0; HEADER];
    wire.read(&mut header)?;
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
    let its_kind = u32::from_le_bytes(std::array::from_fn(|i| header[i]));
    if (its_kind, word(4)) != (kind, call) {
        let name = |kind| if kind == SUM { "adds" } else { "tells" };
        let reason =
            format!("it {} in call {}, and this one {} in call {call}", name(its_kind), word(4), name(kind));
        return Err(wire.out_of_step(reason));
    }
    Ok(word(12))
}

fn receive_bytes(wire: &mut Wire, kind: u32, call: u64) -> Result<Vec<u8>> {
    let length = receive(wire, kind, call)?;
    if length > MOST_GATHERED {
        return Err(wire.out_of_step(format!("it tells {length} bytes at once")));
    }
    let mut bytes = vec![0; length as usize];
    wire.read(&mut bytes)?;
    Ok(bytes)
}

/// Several byte strings as one.
fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut all = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
    for part in parts {
        all.extend((part.len() as u64).to_le_bytes());
        all.extend(part);
    }
    all
}

fn split(mut all: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut parts = Vec::new();
    while !all.is_empty() {
        let (length, rest) = all.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        parts.push(part.to_vec());
        all = rest;
    }
    Some(parts)
}

/// Adds numbers to others as they arrive.
fn add(wire: &mut Wire, values: &mut [f32]) -> Result<()> {
    let mut piece = vec![0_f32; values.len().min(PIECE / 4)];
    for sums in values.chunks_mut(PIECE / 4) {
        let piece = &mut piece[..sums.len()];
        wire.read(bytemuck::cast_slice_mut(piece))?;
        sums.iter_mut().zip(piece).for_each(|(sum, value)| *sum += *value);
    }
    Ok(())
}

/// Checks that as many numbers follow.
fn receive_numbers(wire: &mut Wire, call: u64, count: usize) -> Result<()> {
    let length = receive(wire, SUM, call)?;
    if length == 4 * count as u64 {
        return Ok(());
    }
    Err(wire.out_of_step(format!("it adds {} numbers, and this one {count}", length / 4)))
}

impl ProcessGroup for TcpGroup {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn transport(&self) -> &'static str {
        "TCP"
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()> {
        let mut links = self.links();
        let call = links.begin();
        if self.rank == 0 {
            for wire in &mut links.wires {
                receive_numbers(wire, call, values.len())?;
                add(wire, values)?;
            }
            return links
                .wires
                .iter_mut()
                .try_for_each(|wire| send(wire, SUM, call, bytemuck::cast_slice(values)));
        }
        for wire in &mut links.wires {
            send(wire, SUM, call, bytemuck::cast_slice(values))?;
            receive_numbers(wire, call, values.len())?;
            wire.read(bytemuck::cast_slice_mut(values))?;
        }
        Ok(())
    }

    fn all_gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut links = self.links();
        let call = links.begin();
        if self.rank == 0 {
            let mut parts = vec![mine.to_vec()];
            for wire in &mut links.wires {
                parts.push(receive_bytes(wire, GATHER, call)?);
            }
            let all = join(&parts);
            links.wires.iter_mut().try_for_each(|wire| send(wire, GATHER, call, &all))?;
            return Ok(parts);
        }
        let mut parts = Vec::new();
        for wire in &mut links.wires {
            send(wire, GATHER, call, mine)?;
            let all = receive_bytes(wire, GATHER, call)?;
            parts = split(&all)
                .filter(|parts| parts.len() == self.size)
                .ok_or_else(|| wire.out_of_step("what it tells of all is not of all".to_owned()))?;
        }
        Ok(parts)
    }

    fn watch(&self) -> Watch {
        self.watch.clone()
    }

    fn abort(&self, reason: &str) {
        self.lifeline.abort(reason);
    }

    fn leave(&self) {
        self.lifeline.leave();
    }
}

impl Drop for TcpGroup {
    fn drop(&mut self) {
        self.links().wires.iter().for_each(Wire::close);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_and_half_ones_are_refused() {
        let parts = vec![b"one".to_vec(), Vec::new(), b"three".to_vec()];
        let all = join(&parts);
        assert_eq!(split(&all).as_ref(), Some(&parts));
        assert!(
            (1..all.len()).filter(|end| split(&all[..*end]).is_some()).all(|end| [11, 19].contains(&end))
        );
    }
}
