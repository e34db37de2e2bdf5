//! Memory that the device reads by itself, so that a copy from it overlaps with the CPU.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, result as cuda};

use super::failed;
use crate::Result;
use crate::backend::cuda::device::Address;

/// Bytes of one piece.
const PIECE: usize = 8 << 20;
/// Pieces at the most: what is on its way at one time.
const PIECES: usize = 16;
/// Copies below this size go into the driver's own memory faster than into a piece.
pub(super) const SMALL: usize = 64 << 10;

struct Piece {
    start: NonNull<c_void>,
    /// Its last copy.
    copied: Option<CudaEvent>,
}

/// Pieces in the order of their last use.
pub(super) struct Pinned {
    context: Arc<CudaContext>,
    pieces: Vec<Piece>,
    next: usize,
}

// SAFETY: the memory belongs to this value alone; any thread may use it.
unsafe impl Send for Pinned {}

impl Pinned {
    pub(super) fn new(context: &Arc<CudaContext>) -> Self {
        Self { context: Arc::clone(context), pieces: Vec::new(), next: 0 }
    }

    /// The piece whose last copy is the longest ago; a new one as long as there may be more and that copy is not done.
    fn piece(&mut self) -> Result<&mut Piece> {
        let is_free = |piece: &Piece| piece.copied.as_ref().is_none_or(CudaEvent::is_complete);
        if self.pieces.len() < PIECES && !self.pieces.get(self.next).is_some_and(is_free) {
            // SAFETY: the context is current, see `copy`.
            let start = unsafe { cuda::malloc_host(PIECE, 0) }
                .map_err(|error| failed("no memory that the device can read", error))?;
            let start =
                NonNull::new(start).ok_or_else(|| failed("no memory that the device can read", "null"))?;
            self.pieces.insert(self.next, Piece { start, copied: None });
        }
        let at = self.next;
        self.next = (at + 1) % self.pieces.len();
        let piece = &mut self.pieces[at];
        if let Some(copied) = piece.copied.take() {
            copied.synchronize().map_err(|error| failed("a copy to the device", error))?;
        }
        Ok(piece)
    }

    /// Queues copies of `bytes` in a stream; they may be changed as soon as the call returns.
    pub(super) fn copy(&mut self, stream: &CudaStream, to: Address, bytes: &[u8]) -> Result<()> {
        let context = Arc::clone(&self.context);
        context.bind_to_thread().map_err(|error| failed("the device cannot be used", error))?;
        for (index, part) in bytes.chunks(PIECE).enumerate() {
            let piece = self.piece()?;
            // SAFETY: the piece has as many bytes, of which the last copy has been waited for.
            let own =
                unsafe { std::slice::from_raw_parts_mut(piece.start.as_ptr().cast::<u8>(), part.len()) };
            own.copy_from_slice(part);
            let at = to + (index * PIECE) as u64;
            // SAFETY: the caller's block has room for the bytes; the piece is left alone until the event below has come.
            unsafe { cuda::memcpy_htod_async(at, own, stream.cu_stream()) }
                .map_err(|error| failed("a copy to the device", error))?;
            let copied = stream.record_event(None).map_err(|error| failed("a mark in the queue", error))?;
            piece.copied = Some(copied);
        }
        Ok(())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_err() {
            return; // the context is broken, and with it goes what it holds
        }
        for piece in self.pieces.drain(..) {
            let done = piece.copied.is_none_or(|copied| copied.synchronize().is_ok());
            if done {
                // SAFETY: allocated in `piece`, and nothing reads it any more. An error has nobody to go to.
                let _ = unsafe { cuda::free_host(piece.start.as_ptr()) };
            }
        }
    }
}
