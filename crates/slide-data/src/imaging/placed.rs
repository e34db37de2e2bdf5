//! Copies of slides that lie as one slide of their kind lies, so that they can be compared without aligning each with each.

use std::ops::Range;

use super::align::{FLOOR, placed};
use super::signature::Signature;

/// Cells of a copy: half a signature's, each way.
const SIZE: (usize, usize) = (96, 54);
/// A tile has so many cells each way; a block, in which copies are compared, two by two tiles.
const TILE: usize = 3;
const TILES: (usize, usize) = (SIZE.0 / TILE, SIZE.1 / TILE);

/// A slide as another one, the frame, would have it: moved and scaled as a crop of a border may have done.
#[derive(Debug)]
pub(crate) struct Placed {
    values: Vec<u8>,
    /// The standard deviation of each block, by its upper left tile.
    contrast: Vec<f32>,
    /// The tiles that are whole.
    columns: Range<usize>,
    rows: Range<usize>,
}

impl Placed {
    /// Aligns a slide with a frame.
    pub(crate) fn of(own: &Signature, frame: &Signature) -> Self {
        let plane = placed(own.plane(), frame.plane());
        let is_known = |x: usize, y: usize| !plane.at(x, y).is_nan();
        // What a crop cut off are whole rows and columns.
        let middle = (SIZE.0 / 2, SIZE.1 / 2);
        let columns = whole_tiles((0..SIZE.0).filter(|&x| is_known(x, middle.1)));
        let rows = whole_tiles((0..SIZE.1).filter(|&y| is_known(middle.0, y)));
        let values = plane.values.iter().map(|value| value.round().clamp(0.0, 255.0) as u8).collect();
        let mut placed = Self { values, contrast: Vec::new(), columns, rows };
        placed.contrast =
            (0..TILES.0 * TILES.1).map(|at| placed.deviation(at % TILES.0, at / TILES.0)).collect();
        placed
    }

    fn deviation(&self, column: usize, row: usize) -> f32 {
        let rows = (row * TILE..((row + 2) * TILE).min(SIZE.1)).map(|y| &self.values[y * SIZE.0..][..SIZE.0]);
        let cells = rows.flat_map(|row| &row[column * TILE..((column + 2) * TILE).min(SIZE.0)]);
        let sums = |(count, sum, squares): (f32, f32, f32), &value: &u8| {
            let value = f32::from(value);
            (count + 1.0, sum + value, squares + value * value)
        };
        let (count, sum, squares) = cells.fold((0.0f32, 0.0, 0.0), sums);
        (squares / count - (sum / count).powi(2)).max(0.0).sqrt()
    }

    /// How much two slides with one frame differ in the block where they differ most, in the measure of
    /// [`Signature::difference`]; none where it is more than `most`.
    pub(crate) fn difference(&self, other: &Self, most: f32) -> Option<f32> {
        let columns = self.columns.start.max(other.columns.start)..self.columns.end.min(other.columns.end);
        let rows = self.rows.start.max(other.rows.start)..self.rows.end.min(other.rows.end);
        let (mut above, mut worst) = ([0u32; TILES.0], 0.0f32);
        for row in rows.clone() {
            let below = self.squares(other, row);
            if row > rows.start {
                for column in columns.start..columns.end.saturating_sub(1) {
                    let squares = above[column] + above[column + 1] + below[column] + below[column + 1];
                    let at = (row - 1) * TILES.0 + column;
                    let contrast = self.contrast[at].max(other.contrast[at]);
                    let difference = (squares as f32 / (4 * TILE * TILE) as f32).sqrt();
                    worst = worst.max(difference / (contrast + FLOOR));
                }
                if worst > most {
                    return None;
                }
            }
            above = below;
        }
        Some(worst)
    }

    /// The squared differences of the tiles of a row.
    fn squares(&self, other: &Self, row: usize) -> [u32; TILES.0] {
        let mut sums = [0; TILES.0];
        for y in row * TILE..(row + 1) * TILE {
            let line = y * SIZE.0..(y + 1) * SIZE.0;
            let tiles = self.values[line.clone()].as_chunks::<TILE>().0.iter();
            let tiles = tiles.zip(other.values[line].as_chunks::<TILE>().0);
            for (sum, (own, other)) in sums.iter_mut().zip(tiles) {
                *sum += own.iter().zip(other).map(|(&a, &b)| u32::from(a.abs_diff(b)).pow(2)).sum::<u32>();
            }
        }
        sums
    }
}

/// The tiles all of whose cells are among some neighbours.
fn whole_tiles(cells: impl Iterator<Item = usize>) -> Range<usize> {
    let (first, end) = cells.fold((usize::MAX, 0), |(first, _), at| (first.min(at), at + 1));
    if first >= end { 0..0 } else { first.div_ceil(TILE)..end / TILE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage, imageops};

    /// A form: headings and lines, and in its fields strokes of the lengths that a number says.
    fn form(number: u32) -> RgbImage {
        RgbImage::from_fn(960, 540, |x, y| {
            let field = y / 60;
            let length = 300 + (number.wrapping_mul(2_654_435_761).rotate_left(3 * field) >> 20) % 400;
            match (x, y % 60) {
                _ if y < 60 => Rgb([30, 60, 110]),
                (60..200, 20..32) if x % 14 < 8 => Rgb([60; 3]),
                (240..900, 44..46) => Rgb([150; 3]),
                (250.., 24..40) if x < length && x % 13 < 7 => Rgb([50; 3]),
                _ => Rgb([252; 3]),
            }
        })
    }

    fn placed(image: &RgbImage) -> Placed {
        Placed::of(&Signature::of(image), &Signature::of(&form(0)))
    }

    #[test]
    fn copies_of_one_form_are_near_and_those_filled_in_otherwise_are_far() {
        let (one, other) = (form(7), form(8));
        let own = placed(&one);
        let copies = [
            one.clone(),
            imageops::crop_imm(&one, 28, 16, 904, 508).to_image(),
            imageops::crop_imm(&one, 0, 12, 940, 520).to_image(),
            imageops::resize(&one, 480, 270, imageops::FilterType::Triangle),
        ];
        for (at, copy) in copies.iter().enumerate() {
            let difference = placed(copy).difference(&own, 10.0).unwrap();
            let apart = placed(copy).difference(&placed(&other), 10.0).unwrap();
            assert!(difference < 0.9 && apart > 1.25 * difference, "copy {at}: {difference}, {apart}");
            assert_eq!(placed(copy).difference(&placed(&other), 0.9 * apart), None);
        }
        assert!(own.difference(&own, 0.0).is_some_and(|none| none < 1e-6));
    }

    #[test]
    fn only_tiles_that_are_whole_count() {
        assert_eq!(whole_tiles(0..96), 0..32);
        assert_eq!(whole_tiles(1..95), 1..31);
        assert_eq!(whole_tiles(3..93), 1..31);
        assert_eq!(whole_tiles(0..0), 0..0);
    }
}
