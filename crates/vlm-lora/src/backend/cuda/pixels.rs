//! Pixels go to the device as bytes, a quarter of what their rows take.

use super::Cuda;
use super::buffer::{Block, Buffer};
use super::check::{ensure, narrow};
use super::device::Device;
use crate::model::NORMALIZED;
use crate::{Result, Tiles};

/// Enough rows for every product to fill a card, and 50 MiB of activations each.
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
        let raw = Block::new(&self.pool, tiles.len() * bytes)?;
        let is_next = |one: &(&Tiles, usize), other: &(&Tiles, usize)| {
            std::ptr::eq(one.0, other.0) && one.1 + 1 == other.1
        };
        let mut to = raw.address;
        for run in tiles.chunk_by(is_next) {
            let (picture, first) = run[0];
            let part = &picture.data[first * bytes..(first + run.len()) * bytes];
            self.device().write(to, part)?;
            to += part.len() as u64;
        }
        let values = self.words(&NORMALIZED.map(f32::to_bits))?;
        let n = tiles.len() * grid * grid * 3 * patch * patch;
        narrow("pixels", tiles.len() * bytes)?;
        let mut y = Buffer::new(&self.pool, n)?;
        let [side, grid, patch] = [side, grid, patch].map(|size| size as u32);
        let arguments = [
            raw.address.into(),
            values.address.into(),
            side.into(),
            grid.into(),
            patch.into(),
            y.at_mut().into(),
            (n as u64).into(),
        ];
        self.each("patches", n, &arguments)?;
        Ok(y)
    }
}
