//! Images that are copied to the device while it works at what came before.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::Cuda;
use super::buffer::Block;
use super::device::{Address, Device};
use crate::{Result, Tiles};

/// Images that may wait on the device; one that nobody has asked for until as many others have come is forgotten.
const PICTURES: usize = 64;

/// Memory that images are copied into, and what must be done before it may be written again.
struct Area<D: Device> {
    block: Block<D>,
    size: usize,
    free: D::Mark,
}

/// An image on the device, or on its way to it.
struct Image<D: Device> {
    /// Keeps the pixels where they are, so that their address names the image.
    tiles: Arc<Tiles>,
    area: Area<D>,
    arrived: D::Mark,
}

/// The images of the next batch, and memory for more. It is apart from the memory of the queue: what is freed there may
/// still be read by what is queued.
pub(super) struct Staging<D: Device> {
    state: Mutex<State<D>>,
}

struct State<D: Device> {
    images: VecDeque<Image<D>>,
    free: Vec<Area<D>>,
}

impl<D: Device> Default for Staging<D> {
    fn default() -> Self {
        Self { state: Mutex::new(State { images: VecDeque::new(), free: Vec::new() }) }
    }
}

impl<D: Device> Staging<D> {
    fn lock(&self) -> std::sync::MutexGuard<'_, State<D>> {
        // Entries are moved as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Device> Cuda<D> {
    /// Begins to copy an image.
    pub(super) fn begin_copy(&self, tiles: &Arc<Tiles>) -> Result<()> {
        let mut state = self.staging.lock();
        let bytes = tiles.data.len();
        if bytes == 0 || state.images.iter().any(|image| Arc::ptr_eq(&image.tiles, tiles)) {
            return Ok(());
        }
        if state.images.len() >= PICTURES
            && let Some(forgotten) = state.images.pop_front()
        {
            let Area { block, size, .. } = forgotten.area;
            state.free.push(Area { block, size, free: self.device().mark()? });
        }
        let area = if let Some(at) = state.free.iter().position(|area| area.size >= bytes) {
            state.free.swap_remove(at)
        } else {
            let block = Block::new(&self.pool, bytes)?;
            Area { block, size: bytes, free: self.device().mark()? }
        };
        let arrived = self.device().write_async(area.block.address, &tiles.data, &area.free)?;
        state.images.push_back(Image { tiles: Arc::clone(tiles), area, arrived });
        Ok(())
    }

    /// Runs `read` on the bytes of an image that are on the device already, and says whether it did. With its last tile the
    /// image is forgotten.
    pub(super) fn with_copied(
        &self,
        tiles: &Tiles,
        is_last: bool,
        read: impl FnOnce(Address) -> Result<()>,
    ) -> Result<bool> {
        let mut state = self.staging.lock();
        let Some(at) = state.images.iter().position(|image| std::ptr::eq(&raw const *image.tiles, tiles))
        else {
            return Ok(false);
        };
        let image = &state.images[at];
        self.device().wait_for(&image.arrived)?;
        read(image.area.block.address)?;
        if is_last && let Some(image) = state.images.remove(at) {
            let Area { block, size, .. } = image.area;
            state.free.push(Area { block, size, free: self.device().mark()? });
        }
        Ok(true)
    }
}
