//! From the bytes of tiles to the normalised rows of the patch embedding: the processor, the model and the backends share it.

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

/// The patches of these tiles of these images, one tile behind the other.
pub(crate) fn patches(tiles: &[(&Tiles, usize)], grid: usize, patch: usize) -> Vec<f32> {
    let mut rows = Vec::with_capacity(tiles.len() * (grid * patch).pow(2) * 3);
    for (tiles, index) in tiles {
        append_patches(tiles, *index, grid, patch, &mut rows);
    }
    rows
}

/// Appends the patches of tile `index`: one row a patch, row-major, its values in the order channel, row, column.
fn append_patches(tiles: &Tiles, index: usize, grid: usize, patch: usize, rows: &mut Vec<f32>) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
        append_patches(&tiles, 0, 2, 2, &mut rows);
        let second = [6, 9, 18, 21, 7, 10, 19, 22, 8, 11, 20, 23].map(|byte: usize| NORMALIZED[byte]);
        assert_eq!(rows[12..24], second);
        assert_eq!(rows.len(), 48);
    }
}
