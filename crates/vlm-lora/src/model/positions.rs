//! The grid of patches of a tile, and their positions.

use crate::error::{Error, Result};
use crate::sample::Tiles;

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
    fn tiles_of_a_wrong_size_are_refused() {
        let tiles = |side: usize| Tiles { rows: 0, cols: 0, side, data: vec![0; side * side * 3] };
        assert_eq!(grid_of(&tiles(96), 16, 2, 6).unwrap(), 6);
        assert!(grid_of(&tiles(80), 16, 2, 6).is_err());
        assert!(grid_of(&tiles(128), 16, 2, 6).is_err());
        let short = Tiles { data: vec![0; 7], ..tiles(96) };
        assert!(grid_of(&short, 16, 2, 6).is_err());
    }
}
