use image::RgbImage;

/// A grey image of `f32` values, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plane {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) values: Vec<f32>,
}

/// Rec. 601 luma, 0 to 255.
pub(crate) fn luma([r, g, b]: [u8; 3]) -> f32 {
    0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)
}

impl Plane {
    /// The luma of an image averaged over `width` × `height` equal cells, exactly: a pixel on a border counts for the part of
    /// it that lies inside. Scaling the image therefore hardly changes the cells.
    pub(crate) fn averaged(image: &RgbImage, width: usize, height: usize) -> Self {
        let (from_width, from_height) = (image.width() as usize, image.height() as usize);
        let columns = cover(from_width, width);
        let rows = cover(from_height, height);
        let mut values = vec![0.0f32; width * height];
        let mut line = vec![0.0f32; from_width];
        for (y, pixels) in image.as_raw().chunks_exact(from_width * 3).enumerate() {
            for (to, pixel) in line.iter_mut().zip(pixels.chunks_exact(3)) {
                *to = luma([pixel[0], pixel[1], pixel[2]]);
            }
            let cells = cells_of(&line, &columns, width);
            for &(row, weight) in &rows[y] {
                for (to, from) in values[row * width..][..width].iter_mut().zip(&cells) {
                    *to += from * weight;
                }
            }
        }
        Self { width, height, values }
    }

    pub(crate) fn at(&self, x: usize, y: usize) -> f32 {
        self.values[y * self.width + x]
    }
}

/// For each of `from` pixels the cells of `to` it overlaps, with the share of the cell that it fills.
fn cover(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    let scale = to as f64 / from as f64;
    (0..from)
        .map(|pixel| {
            let (start, end) = (pixel as f64 * scale, (pixel + 1) as f64 * scale);
            let last = (end.ceil() as usize).min(to);
            (start as usize..last)
                .map(|cell| (cell, (end.min((cell + 1) as f64) - start.max(cell as f64)) as f32))
                .filter(|(_, weight)| *weight > 0.0)
                .collect()
        })
        .collect()
}

/// A line of pixels, each shared out among the cells that it covers.
fn cells_of(line: &[f32], columns: &[Vec<(usize, f32)>], width: usize) -> Vec<f32> {
    let mut cells = vec![0.0f32; width];
    for (value, parts) in line.iter().zip(columns) {
        for &(cell, weight) in parts {
            cells[cell] += value * weight;
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn averaging_keeps_the_mean_at_any_ratio() {
        let image = RgbImage::from_fn(37, 23, |x, y| Rgb([(x * 5) as u8, (y * 9) as u8, 77]));
        let exact = image.pixels().map(|p| f64::from(luma(p.0))).sum::<f64>() / (37.0 * 23.0);
        for (width, height) in [(1, 1), (8, 8), (37, 23), (96, 54)] {
            let plane = Plane::averaged(&image, width, height);
            let mean = f64::from(plane.values.iter().sum::<f32>()) / plane.values.len() as f64;
            assert!((mean - exact).abs() < 1e-2, "{width}×{height}: {mean}");
        }
    }
}
