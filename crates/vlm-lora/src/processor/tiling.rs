//! From a decoded image to tiles: the geometry of `Idefics3ImageProcessor` with Pillow's arithmetic.

use image::DynamicImage;

use super::resize::{Rgb, resize};
use super::settings::{MAX_IMAGE_SIZE, Settings};
use crate::patches::NORMALIZED;
use crate::{Error, Result, Tiles};

const MAX_SIDE: usize = 65_535;

/// Where Pillow refuses an image as a decompression bomb.
const MAX_PIXELS: usize = 178_956_970;

/// The sizes `(width, height)` that an image goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// After the longest edge was brought to its length.
    pub(super) scaled: (usize, usize),
    /// What is cut into tiles.
    pub(super) split: (usize, usize),
    tile: usize,
}

impl Plan {
    pub(super) fn new(width: usize, height: usize, settings: &Settings) -> Result<Self> {
        let fits = |side: usize| (1..=MAX_SIDE).contains(&side);
        if !fits(width) || !fits(height) || width * height > MAX_PIXELS {
            let reason = format!("its size {width}×{height} is empty or absurd");
            return Err(Error::Image { reason });
        }
        let scaled = below_limit(longest_edge_to(width, height, settings.longest_edge));
        let tile = settings.tile;
        let split = if settings.split { to_multiples(scaled, tile) } else { (tile, tile) };
        Ok(Self { scaled, split, tile })
    }

    /// Rows and columns, `(0, 0)` for a single tile.
    pub(super) fn grid(&self) -> (usize, usize) {
        let (width, height) = self.split;
        if width > self.tile || height > self.tile { (height / self.tile, width / self.tile) } else { (0, 0) }
    }
}

/// The shorter side is truncated, made even and at least 1.
fn longest_edge_to(width: usize, height: usize, edge: usize) -> (usize, usize) {
    let aspect = width as f64 / height as f64;
    // Zero is even; the lower limit of one pixel comes after.
    let even = |side: f64| (side as usize).next_multiple_of(2).max(1);
    if width >= height { (edge, even(edge as f64 / aspect)) } else { (even(edge as f64 * aspect), edge) }
}

fn below_limit((width, height): (usize, usize)) -> (usize, usize) {
    let aspect = width as f64 / height as f64;
    if width >= height && width > MAX_IMAGE_SIZE {
        (MAX_IMAGE_SIZE, ((MAX_IMAGE_SIZE as f64 / aspect) as usize).max(1))
    } else if height > width && height > MAX_IMAGE_SIZE {
        (((MAX_IMAGE_SIZE as f64 * aspect) as usize).max(1), MAX_IMAGE_SIZE)
    } else {
        (width, height)
    }
}

fn to_multiples((width, height): (usize, usize), tile: usize) -> (usize, usize) {
    let aspect = width as f64 / height as f64;
    let up = |side: usize| side.max(1).next_multiple_of(tile);
    if width >= height {
        let width = up(width);
        (width, up((width as f64 / aspect) as usize))
    } else {
        let height = up(height);
        (up((height as f64 * aspect) as usize), height)
    }
}

pub(super) fn tiles(image: &Rgb, settings: &Settings) -> Result<Tiles> {
    let plan = Plan::new(image.width, image.height, settings)?;
    let scaled = resize(image, plan.scaled.0, plan.scaled.1);
    let whole = resize(&scaled, plan.split.0, plan.split.1);
    let (rows, cols) = plan.grid();
    let side = settings.tile;
    let mut data = Vec::with_capacity((rows * cols + 1) * side * side * 3);
    for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
        for y in row * side..(row + 1) * side {
            let start = (y * whole.width + col * side) * 3;
            data.extend_from_slice(&whole.data[start..start + side * 3]);
        }
    }
    data.extend_from_slice(&resize(&whole, side, side).data);
    Ok(Tiles { rows, cols, side, data })
}

/// What Pillow's `convert("RGB")` gives, after transparency was laid over white.
pub(super) fn to_rgb(image: &DynamicImage) -> Result<Rgb> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let high = |value: u16| (value >> 8) as u8;
    let data = match image {
        DynamicImage::ImageRgb8(image) => image.as_raw().clone(),
        DynamicImage::ImageLuma8(image) => image.as_raw().iter().flat_map(|grey| [*grey; 3]).collect(),
        DynamicImage::ImageLuma16(image) => {
            image.as_raw().iter().flat_map(|grey| [(*grey).min(255) as u8; 3]).collect()
        }
        DynamicImage::ImageRgb16(image) => image.as_raw().iter().map(|value| high(*value)).collect(),
        DynamicImage::ImageLumaA8(image) => {
            image.pixels().flat_map(|p| over_white([p.0[0]; 3], p.0[1])).collect()
        }
        DynamicImage::ImageLumaA16(image) => {
            image.pixels().flat_map(|p| over_white([high(p.0[0]); 3], high(p.0[1]))).collect()
        }
        DynamicImage::ImageRgba8(image) => {
            image.pixels().flat_map(|p| over_white([p.0[0], p.0[1], p.0[2]], p.0[3])).collect()
        }
        DynamicImage::ImageRgba16(image) => {
            let pixels = image.pixels().map(|p| p.0.map(high));
            pixels.flat_map(|[r, g, b, a]| over_white([r, g, b], a)).collect()
        }
        _ => {
            let reason = format!("its pixel format {:?} has no counterpart in Pillow", image.color());
            return Err(Error::Image { reason });
        }
    };
    Ok(Rgb { width, height, data })
}

/// Pillow's `alpha_composite` over an opaque white ground: integers with 7 additional bits.
fn over_white(color: [u8; 3], alpha: u8) -> [u8; 3] {
    const BITS: u32 = 7;
    if alpha == 0 {
        return [255; 3];
    }
    let front = u32::from(alpha) << BITS;
    let back = (255 << BITS) - front;
    color.map(|value| {
        let sum = u32::from(value) * front + 255 * back + (0x80 << BITS);
        ((((sum >> 8) + sum) >> 8) >> BITS) as u8
    })
}

/// The normalised pixels `(tiles, 3, side, side)`, in `[-1, 1]`.
pub fn pixel_values(tiles: &Tiles) -> Vec<f32> {
    let area = tiles.side * tiles.side;
    let mut values = vec![0.0; tiles.data.len()];
    if area == 0 {
        return values;
    }
    for (planes, pixels) in values.chunks_exact_mut(3 * area).zip(tiles.data.chunks_exact(3 * area)) {
        for (channel, plane) in planes.chunks_exact_mut(area).enumerate() {
            for (value, pixel) in plane.iter_mut().zip(pixels.as_chunks::<3>().0) {
                *value = NORMALIZED[usize::from(pixel[channel])];
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(width: usize, height: usize, longest_edge: usize) -> Plan {
        let settings = Settings { longest_edge, tile: 512, split: true, image_seq_len: 64 };
        Plan::new(width, height, &settings).unwrap()
    }

    #[test]
    fn worked_examples_have_their_geometry() {
        let sizes = [
            (1920, 1080),
            (1280, 720),
            (1024, 768),
            (800, 600),
            (2048, 1536),
            (3000, 1000),
            (500, 1500),
            (512, 512),
            (100, 100),
        ];
        // (scaled, split, grid) for the longest edges 2048, 1024 and 512, as transformers 5.23 computes them
        let wide = ((2048, 1152), (2048, 1536), (3, 4));
        let four_to_three = ((2048, 1536), (2048, 1536), (3, 4));
        let square = ((2048, 2048), (2048, 2048), (4, 4));
        let at_2048 = [
            wide,
            wide,
            four_to_three,
            four_to_three,
            four_to_three,
            ((2048, 682), (2048, 1024), (2, 4)),
            ((682, 2048), (1024, 2048), (4, 2)),
            square,
            square,
        ];
        let (wide, four_to_three) = ((1024, 576), (1024, 768));
        let four = |scaled| (scaled, (1024, 1024), (2, 2));
        let at_1024 = [
            four(wide),
            four(wide),
            four(four_to_three),
            four(four_to_three),
            four(four_to_three),
            ((1024, 342), (1024, 512), (1, 2)),
            ((342, 1024), (512, 1024), (2, 1)),
            four((1024, 1024)),
            four((1024, 1024)),
        ];
        let scaled_512 = [
            (512, 288),
            (512, 288),
            (512, 384),
            (512, 384),
            (512, 384),
            (512, 170),
            (170, 512),
            (512, 512),
            (512, 512),
        ];
        for (index, (width, height)) in sizes.into_iter().enumerate() {
            for (edge, expected) in [
                (2048, at_2048[index]),
                (1024, at_1024[index]),
                (512, (scaled_512[index], (512, 512), (0, 0))),
            ] {
                let plan = plan(width, height, edge);
                assert_eq!((plan.scaled, plan.split, plan.grid()), expected, "{width}×{height} at {edge}");
            }
        }
    }

    #[test]
    fn extreme_sizes_stay_within_the_grid_and_absurd_ones_are_refused() {
        for (width, height) in [(1, 1), (65_535, 1), (1, 65_535), (2, 3), (3, 40_000), (65_535, 2_730)] {
            let (rows, cols) = plan(width, height, 2048).grid();
            assert!(rows <= 4 && cols <= 4, "{width}×{height}: {rows}×{cols}");
        }
        let settings = Settings { longest_edge: 512, tile: 512, split: true, image_seq_len: 64 };
        for (width, height) in [(0, 5), (5, 0), (65_536, 1), (65_535, 65_535), (usize::MAX, 2)] {
            assert!(matches!(Plan::new(width, height, &settings), Err(Error::Image { .. })));
        }
    }

    #[test]
    fn both_ends_of_the_normalisation_are_exact() {
        let tiles = Tiles { rows: 0, cols: 0, side: 1, data: vec![0, 255, 127] };
        let values = pixel_values(&tiles);
        assert_eq!(&values[..2], &[-1.0, 1.0]);
        assert!((values[2] - -1.0 / 255.0).abs() < 1e-7);
    }
}
