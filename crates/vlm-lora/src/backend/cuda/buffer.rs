//! Device memory that is used again: allocating waits for the device, and so does freeing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::check::fail;
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
    pub(super) fn release(&self) {
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

/// Rows of numbers as operands of products, and where they are.
pub(super) struct Place<D: Device> {
    block: Arc<Block<D>>,
    /// Where the first number is.
    pub(super) at: Address,
    pub(super) rows: Rows,
}

/// How numbers lie in memory: rows of `width`, each `stride` elements behind the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) width: usize,
    pub(super) stride: usize,
    /// How many elements behind each row belong to nobody.
    pub(super) room: usize,
}

impl Rows {
    /// Whether nothing lies between them.
    pub(super) fn is_dense(self) -> bool {
        self.width == self.stride
    }
}

impl<D: Device> Clone for Place<D> {
    fn clone(&self) -> Self {
        Self { block: Arc::clone(&self.block), ..*self }
    }
}

impl<D: Device> Place<D> {
    /// Rows from `at` on, in this block.
    pub(super) fn new(block: Arc<Block<D>>, at: Address, rows: Rows) -> Self {
        Self { block, at, rows }
    }

    /// The block that it lies in.
    pub(super) fn block(&self) -> &Arc<Block<D>> {
        &self.block
    }
}

/// What a buffer is kept as.
enum Kept<D: Device> {
    Numbers,
    /// Operands alone, in a block that is made when they are written.
    Operands,
    /// Operands alone, there.
    OperandsAt(Place<D>),
}

/// An array of f32 on the device, which may be kept as operands of products alone.
///
/// Whoever reads the numbers of one that is kept so has them widened; whoever writes such numbers gives it a block for them.
pub struct Buffer<D: Device> {
    len: usize,
    /// The numbers. None where they are kept as operands, until somebody reads them.
    numbers: OnceLock<Block<D>>,
    kept: Kept<D>,
    /// The same numbers as operands of a product; made by the first product that reads them.
    operand: OnceLock<Place<D>>,
    /// Changes with what is written.
    version: u64,
}

impl<D: Device> fmt::Debug for Buffer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("address", &self.numbers.get().map(|block| block.address))
            .field("operand", &self.operand.get().map(|place| place.at))
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// A number that no other call gives.
fn version() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

impl<D: Device> Buffer<D> {
    fn with(len: usize, numbers: OnceLock<Block<D>>, kept: Kept<D>) -> Self {
        Self { len, numbers, kept, operand: OnceLock::new(), version: version() }
    }

    /// `len` elements of unspecified value.
    pub(super) fn new(pool: &Arc<Pool<D>>, len: usize) -> Result<Self> {
        Ok(Self::with(len, OnceLock::from(Block::new(pool, len * 4)?), Kept::Numbers))
    }

    /// `len` elements that are kept as operands alone.
    pub(super) fn of_operands(len: usize) -> Self {
        Self::with(len, OnceLock::new(), Kept::Operands)
    }

    /// `len` elements that are kept as operands alone, there.
    pub(super) fn at_place(len: usize, place: Place<D>) -> Self {
        Self::with(len, OnceLock::new(), Kept::OperandsAt(place))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Of what is there now: no two contents have the same.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Whether it is kept as operands alone.
    pub(super) fn is_operand(&self) -> bool {
        !matches!(self.kept, Kept::Numbers)
    }

    /// Where its operands are to be written, if that is decided.
    pub(super) fn kept_at(&self) -> Option<&Place<D>> {
        match &self.kept {
            Kept::OperandsAt(place) => Some(place),
            Kept::Numbers | Kept::Operands => None,
        }
    }

    /// Where its operands are, if it is kept as operands alone.
    pub(super) fn kept_operand(&self) -> Option<&Place<D>> {
        self.operand.get().filter(|_| self.is_operand())
    }

    /// The numbers, widened by `make` where they are kept as operands.
    pub(super) fn numbers(&self, make: impl FnOnce(&Place<D>) -> Result<Block<D>>) -> Result<Address> {
        if self.numbers.get().is_none() {
            let operand = self.operand.get().ok_or_else(|| fail("nobody wrote what is read".to_owned()))?;
            let made = make(operand)?;
            return Ok(self.numbers.get_or_init(|| made).address);
        }
        Ok(self.numbers.get().map_or(0, |block| block.address))
    }

    /// Where all numbers are written anew, in f32.
    pub(super) fn overwrite(&mut self, pool: &Arc<Pool<D>>) -> Result<Address> {
        self.kept = Kept::Numbers;
        if self.numbers.get().is_none() {
            self.numbers = OnceLock::from(Block::new(pool, self.len * 4)?);
        }
        Ok(self.touch())
    }

    /// Says that the operands it is kept as were changed where they are.
    pub(super) fn changed_in_place(&mut self) {
        self.numbers.take();
        self.version = version();
    }

    /// Where numbers are changed that [`numbers`](Self::numbers) has made sure of.
    pub(super) fn change(&mut self) -> Address {
        self.kept = Kept::Numbers;
        self.touch()
    }

    fn touch(&mut self) -> Address {
        self.operand.take();
        self.version = version();
        self.numbers.get().map_or(0, |block| block.address)
    }

    /// As [`overwrite`](Self::overwrite), where operands are written to `place` at the same time; 0 where only those are kept.
    pub(super) fn overwrite_with(&mut self, place: Place<D>) -> Address {
        if self.is_operand() {
            self.numbers.take();
        }
        let at = self.touch();
        self.operand = OnceLock::from(place);
        at
    }

    /// The numbers as operands, made by `make` where they are not yet.
    pub(super) fn operand(&self, make: impl FnOnce() -> Result<Place<D>>) -> Result<&Place<D>> {
        if let Some(place) = self.operand.get() {
            return Ok(place);
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
