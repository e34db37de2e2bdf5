use std::sync::OnceLock;

use super::Features;
use super::attention::{Layout, Read};
use super::block::{Save, Saved, Stack};
use super::integer_check::IntegerCheck;
use super::linear::{Linear, LinearSaved};
use super::norm::Norm;
use super::params::{Bias, Grads, Pass};
use super::positions::{grid_of, position_ids};
use crate::Result;
use crate::backend::{Backend, Write};
use crate::sample::Tiles;

/// The SigLIP tower with the connector: from tiles to rows of the text model.
pub(crate) struct Vision<B: Backend> {
    /// The convolution with kernel and stride of a patch, as a product over patches.
    pub(crate) patch_embedding: Linear<B>,
    /// `(side · side, hidden)`.
    pub(crate) positions: B::Buffer,
    pub(crate) stack: Stack<B>,
    pub(crate) post_norm: Norm<B>,
    /// The connector's projection.
    pub(crate) projection: Linear<B>,
    pub(crate) patch_size: usize,
    /// Patches along one side of the image that the model was made for.
    pub(crate) side: usize,
    pub(crate) scale_factor: usize,
    /// What the check of products in integers said, once it was made.
    pub(crate) integer_check: OnceLock<IntegerCheck>,
}

/// What the backward pass needs.
pub(crate) struct VisionSaved<B: Backend> {
    layout: Layout,
    permutation: Vec<u32>,
    blocks: Vec<Saved<B>>,
    /// Output of the last block.
    last: B::Buffer,
    /// Input of the projection.
    shuffled: B::Buffer,
    projection: LinearSaved<B>,
}

/// One tile of one image.
pub(super) type TileRef<'a> = (&'a Tiles, usize);

impl<B: Backend> Vision<B> {
    pub(crate) fn trains(&self) -> bool {
        self.trains_tower() || self.projection.trains()
    }

    fn trains_tower(&self) -> bool {
        self.patch_embedding.trains() || self.stack.trains() || self.post_norm.trains()
    }

    /// The biases of the tower.
    pub(crate) fn biases_mut(&mut self) -> impl Iterator<Item = &mut Bias<B>> {
        let single = [self.patch_embedding.bias.as_mut(), self.post_norm.bias.as_mut()];
        let blocks = self.stack.blocks.iter_mut().flat_map(super::block::Block::biases_mut);
        single.into_iter().flatten().chain(blocks)
    }

    /// Every linear that an adapter can stand on, in the order of computation.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        self.stack.blocks.iter().flat_map(super::block::Block::linears).chain([&self.projection])
    }

    /// As [`linears`](Self::linears).
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear<B>> {
        self.stack.blocks.iter_mut().flat_map(super::block::Block::linears_mut).chain([&mut self.projection])
    }

    /// How many rows the images become.
    pub(crate) fn rows(&self, tiles: &Tiles) -> Result<usize> {
        let grid = grid_of(tiles, self.patch_size, self.scale_factor, self.side)?;
        Ok(tiles.count() * (grid / self.scale_factor).pow(2))
    }

    /// Rows `(image tokens, text hidden)` of these images, one behind the other, with nothing saved.
    pub(crate) fn features(&self, pass: Pass<'_, B>, images: &[&Tiles]) -> Result<Vec<Features>> {
        let width = self.projection.out_features;
        let values = pass.backend.download(&self.rows_of(pass, images)?)?;
        let (mut all, mut rest) = (Vec::with_capacity(images.len()), &values[..]);
        for tiles in images {
            let (own, behind) = rest.split_at(self.rows(tiles)? * width);
            all.push(Features { width, values: own.into() });
            rest = behind;
        }
        Ok(all)
    }

    /// As [`features`](Self::features), in one buffer.
    pub(crate) fn rows_of(&self, pass: Pass<'_, B>, images: &[&Tiles]) -> Result<B::Buffer> {
        self.check_integers(pass, images)?;
        let (backend, width) = (pass.backend, self.projection.out_features);
        let total = images.iter().map(|tiles| self.rows(tiles)).sum::<Result<usize>>()?;
        let (mut rows, mut at) = (backend.scratch(total * width)?, 0);
        let tiles: Vec<TileRef<'_>> =
            images.iter().flat_map(|tiles| (0..tiles.count()).map(|index| (*tiles, index))).collect();
        for of_one_size in tiles.chunk_by(|(one, _), (other, _)| one.side == other.side) {
            for some in of_one_size.chunks(backend.tiles_at_once()) {
                let (part, _) = self.forward_tiles(pass, some, Save::Nothing)?;
                let len = backend.len(&part);
                backend.copy(&part, 0, len, &mut rows, at, Write::Set)?;
                at += len;
            }
        }
        Ok(rows)
    }

    /// Rows of these images, with what [`backward`](Self::backward) needs.
    pub(crate) fn forward(
        &self,
        pass: Pass<'_, B>,
        images: &[&Tiles],
        checkpointing: bool,
    ) -> Result<(B::Buffer, Vec<VisionSaved<B>>)> {
        let width = self.projection.out_features;
        let total = images.iter().map(|tiles| self.rows(tiles)).sum::<Result<usize>>()?;
        let (mut rows, mut all, mut at) = (pass.backend.scratch(total * width)?, Vec::new(), 0);
        let save = Save::ForBackward { below: self.patch_embedding.trains(), checkpointing };
        for tiles in images {
            let tiles: Vec<TileRef<'_>> = (0..tiles.count()).map(|index| (*tiles, index)).collect();
            let (part, saved) = self.forward_tiles(pass, &tiles, save)?;
            let len = pass.backend.len(&part);
            pass.backend.copy(&part, 0, len, &mut rows, at, Write::Set)?;
            at += len;
            all.push(saved);
        }
        Ok((rows, all))
    }

    /// The patches of tiles of one size, projected, with their positions.
    fn embed(&self, pass: Pass<'_, B>, tiles: &[TileRef<'_>], grid: usize) -> Result<B::Buffer> {
        let backend = pass.backend;
        let patches = backend.patches(tiles, grid, self.patch_size)?;
        let (mut x, _) = self.patch_embedding.forward(pass, &patches)?;
        drop(patches);
        let hidden = self.patch_embedding.out_features;
        let mut positions = backend.scratch(grid * grid * hidden)?;
        backend.gather_rows(&self.positions, hidden, &position_ids(grid, self.side), &mut positions)?;
        backend.add(1.0, &positions, &mut x)?;
        Ok(x)
    }

    /// Rows of tiles of one size.
    pub(super) fn forward_tiles(
        &self,
        pass: Pass<'_, B>,
        tiles: &[TileRef<'_>],
        save: Save,
    ) -> Result<(B::Buffer, VisionSaved<B>)> {
        let backend = pass.backend;
        let grid = tiles
            .first()
            .map_or(Ok(0), |(tiles, _)| grid_of(tiles, self.patch_size, self.scale_factor, self.side))?;
        let hidden = self.patch_embedding.out_features;
        let x = self.embed(pass, tiles, grid)?;
        let offsets = (0..=tiles.len()).map(|tile| tile * grid * grid).collect();
        let layout = Layout { offsets, positions: Vec::new() };
        let (last, blocks) = self.stack.forward(pass, x, Read { layout: &layout, rows: None }, save)?;
        let normed = self.post_norm.forward(pass, &last)?;
        let permutation = pixel_shuffle(tiles.len(), grid, self.scale_factor);
        let mut shuffled = backend.scratch(backend.len(&normed))?;
        backend.gather_rows(&normed, hidden, &permutation, &mut shuffled)?;
        let (rows, projection) = self.projection.forward(pass, &shuffled)?;
        Ok((rows, VisionSaved { layout, permutation, blocks, last, shuffled, projection }))
    }

    /// Adds to the gradients of the adapters; `d_rows` is the gradient of the rows that [`forward`](Self::forward) returned.
    pub(crate) fn backward(
        &self,
        grads: &mut Grads<'_, B>,
        saved: Vec<VisionSaved<B>>,
        d_rows: &B::Buffer,
    ) -> Result<()> {
        let (backend, mut at) = (grads.backend, 0);
        for saved in saved {
            let len =
                backend.len(&saved.shuffled) / self.projection.in_features * self.projection.out_features;
            let d_part = grads.pass().slice(d_rows, at, len)?;
            at += len;
            let input = Some(&saved.shuffled);
            if !self.trains_tower() {
                self.projection.backward(grads, input, &saved.projection, &d_part, None)?;
                continue;
            }
            let mut d_shuffled = backend.scratch(backend.len(&saved.shuffled))?;
            let target = Some((&mut d_shuffled, Write::Set));
            self.projection.backward(grads, input, &saved.projection, &d_part, target)?;
            self.tower_backward(grads, saved, d_shuffled)?;
        }
        Ok(())
    }

    /// As [`backward`](Self::backward) of the tower alone; `d_shuffled` is the gradient of the projection's input.
    fn tower_backward(
        &self,
        grads: &mut Grads<'_, B>,
        saved: VisionSaved<B>,
        d_shuffled: B::Buffer,
    ) -> Result<()> {
        let (backend, hidden) = (grads.backend, self.patch_embedding.out_features);
        let mut d_normed = backend.scratch(backend.len(&saved.last))?;
        backend.scatter_rows(&d_shuffled, hidden, &saved.permutation, &mut d_normed, Write::Set)?;
        drop(d_shuffled);
        let below = self.patch_embedding.trains();
        let needs_last = below || self.stack.trains();
        let mut d_last = needs_last.then(|| backend.scratch(backend.len(&saved.last))).transpose()?;
        let target = d_last.as_mut().map(|d_last| (d_last, Write::Set));
        self.post_norm.backward(grads, &d_normed, &saved.last, target)?;
        let Some(d_last) = d_last else { return Ok(()) };
        let read = Read { layout: &saved.layout, rows: None };
        let dx = self.stack.backward(grads, saved.blocks, d_last, read, below)?;
        if let (Some(dx), Some(bias)) = (dx, &self.patch_embedding.bias) {
            bias.backward(grads, &dx)?;
        }
        Ok(())
    }
}

/// Source row of each output row of the pixel shuffle: within a square of `scale × scale` patches rows vary slowest, then
/// columns; the squares count row-major, tile after tile.
fn pixel_shuffle(tiles: usize, grid: usize, scale: usize) -> Vec<u32> {
    let squares = grid / scale;
    let mut rows = Vec::with_capacity(tiles * grid * grid);
    for tile in 0..tiles {
        for square in 0..squares * squares {
            for inner in 0..scale * scale {
                let row = square / squares * scale + inner / scale;
                let col = square % squares * scale + inner % scale;
                rows.push((tile * grid * grid + row * grid + col) as u32);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::pixel_shuffle;

    #[test]
    fn squares_of_patches_become_rows() {
        assert_eq!(pixel_shuffle(1, 4, 2), [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
        assert_eq!(pixel_shuffle(2, 2, 2), [0, 1, 2, 3, 4, 5, 6, 7]);
        let mut sorted = pixel_shuffle(3, 8, 4);
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..3 * 64));
    }
}
