//! Device memory that is used again: allocating waits for the device, and so does freeing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::device::{Address, Device};
use crate::Result;

/// Free blocks by their size, and how many bytes are in use.
#[derive(Debug, Default)]
struct Free {
    blocks: BTreeMap<usize, Vec<Address>>,
    used: usize,
    peak: usize,
}

/// The memory of a device as its buffers share it. Everything runs in one queue, so a block may be given to the next one as
/// soon as the last use of it is queued.
pub(super) struct Pool<D: Device> {
    pub(super) device: D,
    free: Mutex<Free>,
}

/// The size that is allocated for so many bytes: an eighth of a power of two, so that batches of different lengths share.
fn size_class(bytes: usize) -> usize {
    let step = (bytes.max(4096).next_power_of_two() / 16).max(512);
    bytes.max(1).next_multiple_of(step)
}

impl<D: Device> Pool<D> {
    pub(super) fn new(device: D) -> Self {
        Self { device, free: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Free> {
        // Pushing and popping an address cannot be interrupted half way; the counts are for people.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: usize) -> Result<(Address, usize)> {
        let size = size_class(bytes);
        let found = self.lock().blocks.get_mut(&size).and_then(Vec::pop);
        let address = match found {
            Some(address) => address,
            None => self.device.allocate(size).or_else(|_| {
                self.release();
                self.device.allocate(size)
            })?,
        };
        let mut free = self.lock();
        free.used += size;
        free.peak = free.peak.max(free.used);
        Ok((address, size))
    }

    /// The most bytes that were in use at one time.
    pub(super) fn peak(&self) -> usize {
        self.lock().peak
    }

    /// Gives the free blocks back to the device.
    fn release(&self) {
        let free = std::mem::take(&mut self.lock().blocks);
        free.into_values().flatten().for_each(|address| self.device.free(address));
    }
}

impl<D: Device> Drop for Pool<D> {
    fn drop(&mut self) {
        self.release();
    }
}

/// Bytes on the device.
pub(super) struct Block<D: Device> {
    pub(super) address: Address,
    size: usize,
    pool: Arc<Pool<D>>,
}

impl<D: Device> Block<D> {
    /// Bytes of unspecified value.
    pub(super) fn new(pool: &Arc<Pool<D>>, bytes: usize) -> Result<Self> {
        let (address, size) = pool.take(bytes)?;
        Ok(Self { address, size, pool: Arc::clone(pool) })
    }

    /// The `count` numbers it begins with, once all that is queued is done.
    pub(super) fn read_f64(&self, count: usize) -> Result<Vec<f64>> {
        let mut values = vec![0.0; count];
        self.pool.device.read(self.address, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }
}

impl<D: Device> Drop for Block<D> {
    fn drop(&mut self) {
        let mut free = self.pool.lock();
        free.used -= self.size;
        free.blocks.entry(self.size).or_default().push(self.address);
    }
}

/// A flat array of f32 on the device.
pub struct Buffer<D: Device> {
    /// None where only products with frozen matrices read it, in whose operands it is kept.
    block: Option<Block<D>>,
    len: usize,
    /// The same numbers as operands of a product; made by the first product that reads them.
    operand: OnceLock<Block<D>>,
}

impl<D: Device> fmt::Debug for Buffer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("address", &self.block.as_ref().map(|block| block.address))
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl<D: Device> Buffer<D> {
    /// `len` elements of unspecified value.
    pub(super) fn new(pool: &Arc<Pool<D>>, len: usize) -> Result<Self> {
        Ok(Self { block: Some(Block::new(pool, len * 4)?), len, operand: OnceLock::new() })
    }

    /// `len` elements that are kept as operands alone: what writes them must write those.
    pub(super) fn of_operands(len: usize) -> Self {
        Self { block: None, len, operand: OnceLock::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether only products with frozen matrices read it.
    pub(super) fn is_for_products(&self) -> bool {
        self.block.is_none()
    }

    /// Where the numbers are read.
    pub(super) fn at(&self) -> Address {
        debug_assert!(self.block.is_some(), "only products read this");
        self.address()
    }

    /// Where they are written.
    pub(super) fn at_mut(&mut self) -> Address {
        debug_assert!(self.block.is_some(), "kept as operands alone");
        self.operand.take();
        self.address()
    }

    /// As [`at_mut`](Self::at_mut), where the operands are written to `operand` at the same time; 0 where only those are kept.
    pub(super) fn at_mut_with(&mut self, operand: Block<D>) -> Address {
        self.operand = OnceLock::from(operand);
        self.address()
    }

    fn address(&self) -> Address {
        self.block.as_ref().map_or(0, |block| block.address)
    }

    /// The numbers as operands, made by `make` where they are not yet.
    pub(super) fn operand(&self, make: impl FnOnce() -> Result<Block<D>>) -> Result<&Block<D>> {
        if let Some(block) = self.operand.get() {
            return Ok(block);
        }
        let made = make()?;
        Ok(self.operand.get_or_init(|| made))
    }
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn sizes_are_rounded_up_by_an_eighth_at_most() {
        for bytes in (0..100_000).step_by(7).chain([1 << 30, (1 << 30) + 1]) {
            let size = size_class(bytes);
            assert!(size >= bytes.max(1) && size.is_multiple_of(512), "{bytes}: {size}");
            assert!(size <= bytes + (bytes / 8).max(512), "{bytes}: {size}");
        }
    }
}
