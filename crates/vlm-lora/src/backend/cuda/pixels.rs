//! Pixels go to the device as bytes, a quarter of what their rows take.

use super::Cuda;
use super::buffer::Buffer;
use super::check::{ensure, to_u32};
use super::device::{Address, Device};
use crate::patches::NORMALIZED;
use crate::{Result, Tiles};

/// Enough rows for every product to fill a GPU, and 50 MiB of activations each.
pub(super) const TILES_AT_ONCE: usize = 16;

impl<D: Device> Cuda<D> {
    /// See [`Backend::patches`](crate::backend::Backend::patches).
    pub(super) fn patches_of(
        &self,
        tiles: &[(&Tiles, usize)],
        grid: usize,
        patch: usize,
    ) -> Result<Buffer<D>> {
        let side = tiles.first().map_or(0, |(tiles, _)| tiles.side);
        let bytes = side * side * 3;
        for (tiles, index) in tiles {
            ensure(
                tiles.side == side && tiles.data.len() >= (index + 1) * bytes && side >= grid * patch,
                || {
                    format!(
                        "there is no tile {index} of side {side} with {grid} patches of {patch} pixels a side"
                    )
                },
            )?;
        }
        to_u32("pixels", tiles.len() * bytes)?;
        let values = self.words(&NORMALIZED.map(f32::to_bits))?;
        let per_tile = grid * grid * 3 * patch * patch;
        let mut y = Buffer::new(&self.pool, tiles.len() * per_tile)?;
        let mut to = self.overwritten(&mut y)?;
        let [width, grid, patch] = [side, grid, patch].map(|size| size as u32);
        let is_next = |one: &(&Tiles, usize), other: &(&Tiles, usize)| {
            std::ptr::eq(one.0, other.0) && one.1 + 1 == other.1
        };
        for run in tiles.chunk_by(is_next) {
            let ((image, first), n) = (run[0], run.len() * per_tile);
            let start = first * bytes;
            let read = |from: Address| {
                let numbers = [width.into(), grid.into(), patch.into(), to.into(), (n as u64).into()];
                self.each("patches", n, &[&[from.into(), values.address.into()], &numbers[..]].concat())
            };
            let is_last = first + run.len() == image.count();
            if !self.with_copied(image, is_last, |at| read(at + start as u64))? {
                let raw = self.block_of(&image.data[start..start + run.len() * bytes])?;
                read(raw.address)?;
            }
            to += 4 * n as u64;
        }
        Ok(y)
    }
}
