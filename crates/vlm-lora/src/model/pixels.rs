//! From bytes to the rows of the patch embedding, and the positions of the patches.

use crate::error::{Error, Result};
use crate::sample::Tiles;

/// The values of the 256 bytes after rescaling and normalisation, rounded as the reference's PIL path rounds: the product with
/// 1/255 in f64, then f32; mean and deviation, both a half, in f32.
pub(crate) const NORMALIZED: [f32; 256] = {
    let (mut table, mut byte) = ([0.0; 256], 0);
    while byte < 256 {
        let rescaled = (byte as f64 * 0.003_921_568_627_450_98) as f32;
        table[byte] = (rescaled - 0.5) / 0.5;
        byte += 1;
    }
    table
};

/// Patches along one side of the tiles, whose dimensions are checked.
pub(crate) fn grid_of(tiles: &Tiles, patch_size: usize, scale_factor: usize, side: usize) -> Result<usize> {
    let image = |reason: String| Err(Error::Image { reason });
    let bytes = tiles.side.checked_pow(2).and_then(|area| area.checked_mul(3 * tiles.count()));
    if bytes != Some(tiles.data.len()) {
        return image(format!(
            "{} tiles of side {} do not hold {} bytes",
            tiles.count(),
            tiles.side,
            tiles.data.len()
        ));
    }
    let grid = tiles.side / patch_size;
    if grid == 0 || grid > side || !grid.is_multiple_of(scale_factor) {
        return image(format!(
            "tiles of {} pixels give {grid} patches of {patch_size} pixels a side; the model takes multiples of {scale_factor} up to {side}",
            tiles.side
        ));
    }
    Ok(grid)
}

/// The patches of these tiles of these images, one tile behind the other.
pub(crate) fn patches(tiles: &[(&Tiles, usize)], grid: usize, patch: usize) -> Vec<f32> {
    let mut rows = Vec::with_capacity(tiles.len() * (grid * patch).pow(2) * 3);
    for (tiles, index) in tiles {
        append_patches(tiles, *index, (grid, patch), &mut rows);
    }
    rows
}

/// Appends the patches of tile `index`: one row a patch, row-major, its values in the order channel, row, column.
fn append_patches(tiles: &Tiles, index: usize, (grid, patch): (usize, usize), rows: &mut Vec<f32>) {
    let side = tiles.side;
    let tile = &tiles.data[index * side * side * 3..(index + 1) * side * side * 3];
    for row in 0..grid {
        for col in 0..grid {
            for channel in 0..3 {
                for y in row * patch..(row + 1) * patch {
                    let start = (y * side + col * patch) * 3;
                    let line = &tile[start..start + patch * 3];
                    rows.extend(
                        line.iter().skip(channel).step_by(3).map(|&byte| NORMALIZED[usize::from(byte)]),
                    );
                }
            }
        }
    }
}

/// Row of the position table for each patch of a `grid × grid` tile, in a model made for `side × side`.
///
/// The reference puts the fraction `i / grid` into the buckets between the boundaries `k / side`, all in f32, so for some
/// sizes the patches of a full tile do not simply count upwards. Its boundaries come from `torch.arange`, which computes
/// them in runs of eight from a rounded start while sixteen are left; the same rounding is done here.
pub(crate) fn position_ids(grid: usize, side: usize) -> Vec<u32> {
    let boundaries = boundaries(side);
    let step = 1.0 / grid as f32;
    let bucket = |index: usize| {
        let fraction = (index as f32 * step).min((1.0 - 1e-6) as f32);
        boundaries.iter().filter(|boundary| **boundary <= fraction).count() as u32
    };
    let buckets: Vec<u32> = (0..grid).map(bucket).collect();
    buckets.iter().flat_map(|row| buckets.iter().map(move |col| row * side as u32 + col)).collect()
}

fn boundaries(side: usize) -> Vec<f32> {
    const RUN: usize = 8;
    let step = 1.0 / side as f64;
    let count = ((1.0 - step) / step).ceil().max(0.0) as usize;
    let in_runs = count - count % (2 * RUN);
    let value = |index: usize| step + step * index as f64;
    (0..count)
        .map(|index| {
            if index < in_runs {
                let start = f64::from(value(index - index % RUN) as f32);
                (start + (index % RUN) as f64 * step) as f32
            } else {
                value(index) as f32
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_axis(grid: usize, side: usize) -> Vec<u32> {
        position_ids(grid, side).into_iter().take(grid).collect()
    }

    #[test]
    fn full_tiles_of_released_models_count_upwards() {
        for side in [6, 8, 24, 27, 32] {
            let expected: Vec<u32> = (0..(side * side) as u32).collect();
            assert_eq!(position_ids(side, side), expected, "{side}");
        }
    }

    /// Taken from transformers 5.23 with torch 2.15.
    #[test]
    fn rounding_follows_the_reference() {
        let nb_20 = [0, 1, 3, 4, 6, 8, 9, 11, 12, 14, 16, 17, 19, 20, 22, 24, 25, 27, 28, 30];
        assert_eq!(per_axis(20, 32), nb_20);
        for (side, last) in [(19, 18), (40, 39), (41, 39), (47, 45), (64, 63)] {
            assert_eq!(per_axis(side, side).last(), Some(&last), "{side}");
        }
        let not_counting = |side: usize| !per_axis(side, side).iter().copied().eq(0..side as u32);
        let odd: Vec<usize> = (1..60).filter(|side| not_counting(*side)).collect();
        assert_eq!(odd, [19, 25, 29, 31, 38, 40, 41, 43, 47, 49, 50, 54, 55, 58, 59]);
    }

    #[test]
    fn bytes_become_the_values_of_the_pil_path() {
        let table = NORMALIZED;
        assert_eq!([table[0], table[255]].map(f32::to_bits), [-1.0_f32, 1.0].map(f32::to_bits));
        let exact = |byte: u8| (f64::from(byte) - 127.5) / 127.5;
        let differs = |byte: &u8| table[usize::from(*byte)].to_bits() != (exact(*byte) as f32).to_bits();
        assert_eq!((0..=255_u8).filter(differs).count(), 128, "levels that differ from the fused form");
        assert!((0..=255_u8).all(|byte| (f64::from(table[usize::from(byte)]) - exact(byte)).abs() < 6e-8));
    }

    #[test]
    fn patches_hold_channels_then_rows_then_columns() {
        let side = 4;
        let data: Vec<u8> = (0..side * side * 3).map(|value| value as u8).collect();
        let tiles = Tiles { rows: 0, cols: 0, side, data };
        let mut rows = Vec::new();
        append_patches(&tiles, 0, (2, 2), &mut rows);
        let second = [6, 9, 18, 21, 7, 10, 19, 22, 8, 11, 20, 23].map(|byte: usize| NORMALIZED[byte]);
        assert_eq!(rows[12..24], second);
        assert_eq!(rows.len(), 48);
    }

    #[test]
    fn tiles_of_a_wrong_size_are_refused() {
        let tiles = |side: usize| Tiles { rows: 0, cols: 0, side, data: vec![0; side * side * 3] };
        assert_eq!(grid_of(&tiles(96), 16, 2, 6).unwrap(), 6);
        assert!(grid_of(&tiles(80), 16, 2, 6).is_err());
        assert!(grid_of(&tiles(128), 16, 2, 6).is_err());
        let short = Tiles { data: vec![0; 7], ..tiles(96) };
        assert!(grid_of(&short, 16, 2, 6).is_err());
    }
}
