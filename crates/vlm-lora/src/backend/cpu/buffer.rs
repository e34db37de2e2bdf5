//! Flat arrays whose memory is used again: fresh pages cost more than most of the loops that fill them.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};

/// One cache line: the unit of allocation, which aligns every buffer to the widest registers.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; 8]);

impl Line {
    const BYTES: usize = 64;
}

mod pod {
    #![expect(unsafe_code, reason = "bytemuck's marker traits are unsafe to implement")]
    use super::{Line, Pod, Zeroable};

    // SAFETY: eight u64 fill the 64 bytes of the type; zero is a valid value of each.
    unsafe impl Zeroable for Line {}
    // SAFETY: as above: no padding, every bit pattern is valid, `Copy` and 'static.
    unsafe impl Pod for Line {}
}

/// Lines that are free, by how many a block has.
#[derive(Debug, Default)]
struct Free {
    blocks: BTreeMap<usize, Vec<Vec<Line>>>,
    held: usize,
    live: usize,
    peak: usize,
}

/// The free list that the buffers of one backend share. What it holds and what is in use never exceed together what was in
/// use at the highest moment.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Free>);

impl Pool {
    fn lock(&self) -> std::sync::MutexGuard<'_, Free> {
        // A panic between two of its plain integer updates cannot leave the list unusable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a buffer of `bytes` takes new memory from the system.
    pub(super) fn grows_by(&self, bytes: usize) -> bool {
        let lines = bytes.div_ceil(Line::BYTES);
        self.lock().blocks.range(lines..=lines + lines / 4).next().is_none()
    }

    /// A block of `lines` lines with unspecified values, and whether they are all zero.
    fn take(&self, lines: usize) -> (Vec<Line>, bool) {
        let mut free = self.lock();
        free.live += lines;
        free.peak = free.peak.max(free.live);
        // A block up to a quarter larger will do.
        let fit = free.blocks.range(lines..=lines + lines / 4).next().map(|(&size, _)| size);
        let found = fit.and_then(|size| free.blocks.get_mut(&size).and_then(Vec::pop));
        let Some(mut block) = found else {
            free.evict();
            drop(free);
            return (vec![Line::zeroed(); lines], true);
        };
        let size = block.capacity();
        free.held -= size;
        if free.blocks.get(&size).is_some_and(Vec::is_empty) {
            free.blocks.remove(&size);
        }
        drop(free);
        block.resize(lines, Line::zeroed());
        (block, false)
    }

    fn give(&self, block: Vec<Line>) {
        let mut free = self.lock();
        free.live -= block.len();
        free.held += block.capacity();
        free.blocks.entry(block.capacity()).or_default().push(block);
        free.evict();
    }
}

impl Free {
    /// Gives the largest free blocks back to the system until the promise of [`Pool`] holds.
    fn evict(&mut self) {
        while self.live + self.held > self.peak
            && let Some(mut entry) = self.blocks.last_entry()
        {
            self.held -= entry.get_mut().pop().map_or(0, |block| block.capacity());
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }
}

/// A flat array of the CPU backend.
#[derive(Debug)]
pub struct Buffer<T: Pod> {
    lines: Vec<Line>,
    len: usize,
    pool: Arc<Pool>,
    element: PhantomData<T>,
}

impl<T: Pod> Buffer<T> {
    /// `len` elements of unspecified value, for those who overwrite them all.
    pub(super) fn uninitialised(pool: &Arc<Pool>, len: usize) -> Self {
        Self::take(pool, len).0
    }

    /// `len` zeros.
    pub(super) fn zeros(pool: &Arc<Pool>, len: usize) -> Self {
        let (mut buffer, zero) = Self::take(pool, len);
        if !zero {
            buffer.fill(T::zeroed());
        }
        buffer
    }

    fn take(pool: &Arc<Pool>, len: usize) -> (Self, bool) {
        let lines = (len * size_of::<T>()).div_ceil(Line::BYTES);
        let (lines, zero) = pool.take(lines);
        (Self { lines, len, pool: Arc::clone(pool), element: PhantomData }, zero)
    }
}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl<T: Pod> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl<T: Pod> Drop for Buffer<T> {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.lines));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_zeros_are_zero() {
        let pool = Arc::new(Pool::default());
        let mut first = Buffer::<f32>::zeros(&pool, 1000);
        first.fill(3.0);
        let at = first.as_ptr();
        drop(first);
        let second = Buffer::<f32>::zeros(&pool, 990);
        assert_eq!(second.as_ptr(), at);
        assert_eq!(second.len(), 990);
        assert!(second.iter().all(|&value| value == 0.0));
    }

    #[test]
    fn the_pool_never_holds_more_than_was_ever_in_use() {
        let pool = Arc::new(Pool::default());
        for round in 0..200_usize {
            let sizes = [round * 37 % 911 + 1, round * 101 % 577 + 1];
            let buffers = sizes.map(|len| Buffer::<f64>::zeros(&pool, len));
            assert!(buffers.iter().zip(sizes).all(|(buffer, len)| buffer.len() == len));
            drop(buffers);
            let free = pool.lock();
            assert_eq!(free.live, 0);
            assert_eq!(free.held, free.blocks.values().flatten().map(Vec::capacity).sum::<usize>());
            assert!(free.held <= free.peak);
        }
    }

    #[test]
    fn an_empty_buffer_is_allowed() {
        let pool = Arc::new(Pool::default());
        assert!(Buffer::<f32>::zeros(&pool, 0).is_empty());
    }
}
