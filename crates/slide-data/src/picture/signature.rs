//! Perceptual comparison made for slides.
//!
//! Slides have large flat areas, and the slides of a deck share one template, so a small global hash either misses variants or
//! takes two slides of a template for one. Two stages: [`SlideHash`], the low frequencies of the picture, finds candidates
//! quickly; [`Signature`], a small grey copy, decides: the copies are aligned (a border crop shifts and scales the content;
//! B. Lucas and T. Kanade, 1981, on a pyramid) and then compared block by block, so that one changed line of text counts
//! however much of the template agrees.

use image::RgbImage;

use super::plane::Plane;

/// Width and height of a signature in cells.
pub(crate) const SIZE: (usize, usize) = (128, 72);
/// Cells of a block that is compared as one.
const BLOCK: usize = 8;
/// Grey levels that are added to a block's contrast, so that noise in flat areas does not count.
const FLOOR: f32 = 6.0;
/// Cells along the borders that are not compared: a crop's edge may lie in them, and what it cut off shines in from outside.
const MARGIN: usize = 2;
/// Low frequencies kept in each direction.
const FREQUENCIES: usize = 8;

/// The directions of the 63 lowest frequencies of a slide, as bytes. Crops and re-encoding hardly turn it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlideHash([i8; Self::LENGTH]);

impl SlideHash {
    /// Number of values: 8 × 8 frequencies, the constant one set to zero.
    pub const LENGTH: usize = FREQUENCIES * FREQUENCIES;

    fn of(plane: &Plane) -> Self {
        let (xs, ys) = (cosines(plane.width), cosines(plane.height));
        let mut rows = vec![[0.0f32; FREQUENCIES]; plane.height];
        for (y, row) in rows.iter_mut().enumerate() {
            let line = &plane.values[y * plane.width..][..plane.width];
            for (value, basis) in row.iter_mut().zip(&xs) {
                *value = line.iter().zip(basis).map(|(a, b)| a * b).sum();
            }
        }
        let mut all = [0.0f32; Self::LENGTH];
        for (v, basis) in ys.iter().enumerate() {
            for u in 0..FREQUENCIES {
                all[v * FREQUENCIES + u] = rows.iter().zip(basis).map(|(row, b)| row[u] * b).sum();
            }
        }
        all[0] = 0.0;
        let norm = all.iter().map(|v| v * v).sum::<f32>().sqrt();
        // Below about half a grey level nothing but noise is left: a blank page resembles nothing.
        let faint = 0.5 * (plane.values.len() as f32) / 2.0;
        let scale = if norm < faint { 0.0 } else { 127.0 / norm };
        Self(all.map(|v| (v * scale).round() as i8))
    }

    /// Cosine of the angle between two hashes: 1 for equal slides, 0 where one of them is blank.
    pub fn similarity(&self, other: &Self) -> f32 {
        let dot = |a: &Self, b: &Self| -> i32 {
            a.0.iter().zip(&b.0).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
        };
        let norms = (dot(self, self) as f32 * dot(other, other) as f32).sqrt();
        if norms == 0.0 { 0.0 } else { dot(self, other) as f32 / norms }
    }

    /// Two hexadecimal digits a value.
    pub fn to_hex(&self) -> String {
        crate::io::hex(&self.0.map(|value| value as u8))
    }

    /// The hash that [`SlideHash::to_hex`] wrote, if `text` is one.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 2 * Self::LENGTH || !text.is_ascii() {
            return None;
        }
        let mut values = [0; Self::LENGTH];
        for (at, value) in values.iter_mut().enumerate() {
            *value = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()? as i8;
        }
        Some(Self(values))
    }
}

/// The first cosines of the discrete cosine transform over `length` cells, each of unit mean square.
fn cosines(length: usize) -> Vec<Vec<f32>> {
    let step = std::f32::consts::PI / length as f32;
    (0..FREQUENCIES)
        .map(|k| (0..length).map(|x| (step * k as f32 * (x as f32 + 0.5)).cos()).collect())
        .collect()
}

/// A grey copy of a slide, 128 × 72 cells whatever its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature(Vec<u8>);

/// How `a` must be read to look like `b`: at `scale · x + shift`, with x and y from -1 to 1.
#[derive(Debug, Clone, Copy)]
struct Warp {
    scale: [f32; 2],
    shift: [f32; 2],
}

impl Signature {
    /// Number of bytes.
    pub const LENGTH: usize = SIZE.0 * SIZE.1;

    /// Measures a picture.
    pub fn of(picture: &RgbImage) -> Self {
        let plane = Plane::averaged(picture, SIZE.0, SIZE.1);
        Self(plane.values.iter().map(|v| v.round().clamp(0.0, 255.0) as u8).collect())
    }

    /// The bytes, row by row.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A signature from its bytes, if there are [`Signature::LENGTH`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == Self::LENGTH).then(|| Self(bytes.to_vec()))
    }

    /// The coarse hash of the same picture.
    pub fn hash(&self) -> SlideHash {
        SlideHash::of(&self.plane())
    }

    fn plane(&self) -> Plane {
        Plane { width: SIZE.0, height: SIZE.1, values: self.0.iter().map(|&v| f32::from(v)).collect() }
    }

    /// How much two slides differ where they differ most, after alignment: near 0 for variants of one slide, near 1 and above
    /// for a block whose text or picture is another.
    pub fn difference(&self, other: &Self) -> f32 {
        let (a, b) = (pyramid(self.plane()), pyramid(other.plane()));
        // What is finer than two cells depends on where the cells happen to fall, so it must not count.
        let (smooth_a, smooth_b) = (smooth(&a[0]), smooth(&b[0]));
        let still = worst_block(&smooth_a, &smooth_b, Warp::STILL);
        if still < 0.15 {
            return still; // nothing to align
        }
        let starts = best_starts(&a[2], &b[2]);
        let aligned = starts.into_iter().filter_map(|mut warp| {
            let goes = (0..3).rev().all(|level| (0..6).all(|_| align(&a[level], &b[level], &mut warp)));
            goes.then(|| worst_block(&smooth_a, &smooth_b, warp))
        });
        aligned.fold(still, f32::min)
    }
}

impl Warp {
    const STILL: Self = Self { scale: [1.0; 2], shift: [0.0; 2] };

    /// What a crop of these shares of the width (left, right) and height (top, bottom) does; negative shares undo a crop.
    fn crop([left, right, top, bottom]: [f32; 4]) -> Self {
        Self { scale: [1.0 - left - right, 1.0 - top - bottom], shift: [left - right, top - bottom] }
    }
}

/// The alignment only finds what is less than about a cell away: it starts at the most promising of a grid of crops.
fn best_starts(a: &Plane, b: &Plane) -> Vec<Warp> {
    const CROPS: [f32; 3] = [0.0, -0.024, 0.024];
    let mut starts = Vec::with_capacity(81);
    for left in CROPS {
        for right in CROPS {
            for top in CROPS {
                for bottom in CROPS {
                    let warp = Warp::crop([left, right, top, bottom]);
                    starts.push((distance(a, b, warp), warp));
                }
            }
        }
    }
    starts.sort_by(|x, y| x.0.total_cmp(&y.0));
    starts.into_iter().take(3).map(|(_, warp)| warp).collect()
}

/// Mean absolute difference where both planes have values.
fn distance(a: &Plane, b: &Plane, warp: Warp) -> f32 {
    let xs = positions(b.width, warp.scale[0], warp.shift[0]);
    let ys = positions(b.height, warp.scale[1], warp.shift[1]);
    let (mut sum, mut count) = (0.0, 0.0);
    for (row, &(_, y)) in ys.iter().enumerate() {
        for (column, &(_, x)) in xs.iter().enumerate() {
            if let Some((value, ..)) = sample(a, x, y) {
                sum += (b.at(column, row) - value).abs();
                count += 1.0f32;
            }
        }
    }
    sum / count.max(1.0)
}

/// The plane and its halves, the finest first.
fn pyramid(plane: Plane) -> Vec<Plane> {
    let mut levels = vec![plane];
    while levels.len() < 3 {
        let from = &levels[levels.len() - 1];
        let (width, height) = (from.width / 2, from.height / 2);
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let sum = from.at(2 * x, 2 * y)
                    + from.at(2 * x + 1, 2 * y)
                    + from.at(2 * x, 2 * y + 1)
                    + from.at(2 * x + 1, 2 * y + 1);
                values.push(sum / 4.0);
            }
        }
        levels.push(Plane { width, height, values });
    }
    levels
}

/// The plane blurred by the kernel (1, 2, 1) / 4 in both directions.
fn smooth(plane: &Plane) -> Plane {
    let near = |at: usize, length: usize| [at.saturating_sub(1), at, (at + 1).min(length - 1)];
    let blend = |[a, b, c]: [f32; 3]| (a + 2.0 * b + c) / 4.0;
    let mut across = plane.clone();
    for (at, value) in across.values.iter_mut().enumerate() {
        let (x, y) = (at % plane.width, at / plane.width);
        *value = blend(near(x, plane.width).map(|x| plane.at(x, y)));
    }
    let mut both = across.clone();
    for (at, value) in both.values.iter_mut().enumerate() {
        let (x, y) = (at % plane.width, at / plane.width);
        *value = blend(near(y, plane.height).map(|y| across.at(x, y)));
    }
    both
}

/// Where the cells of a warped row or column lie, in cells of the plane that is read.
fn positions(length: usize, scale: f32, shift: f32) -> Vec<(f32, f32)> {
    let half = length as f32 / 2.0;
    (0..length)
        .map(|cell| {
            let x = (cell as f32 + 0.5) / half - 1.0;
            (x, (scale * x + shift + 1.0) * half - 0.5)
        })
        .collect()
}

/// Value and gradient of a plane between its cells; nothing outside.
fn sample(plane: &Plane, x: f32, y: f32) -> Option<(f32, f32, f32)> {
    let inside = |at: f32, length: usize| at >= -0.5 && at <= length as f32 - 0.5;
    if !inside(x, plane.width) || !inside(y, plane.height) {
        return None;
    }
    let (x, y) = (x.clamp(0.0, (plane.width - 1) as f32), y.clamp(0.0, (plane.height - 1) as f32));
    let (left, top) = ((x as usize).min(plane.width - 2), (y as usize).min(plane.height - 2));
    let (fx, fy) = (x - left as f32, y - top as f32);
    let (a, b) = (plane.at(left, top), plane.at(left + 1, top));
    let (c, d) = (plane.at(left, top + 1), plane.at(left + 1, top + 1));
    let (upper, lower) = (a + (b - a) * fx, c + (d - c) * fx);
    Some((upper + (lower - upper) * fy, (b - a) + ((d - c) - (b - a)) * fy, lower - upper))
}

/// One Gauss-Newton step towards the warp that makes `a` look like `b`; false when it leaves the range of border crops.
fn align(a: &Plane, b: &Plane, warp: &mut Warp) -> bool {
    let xs = positions(b.width, warp.scale[0], warp.shift[0]);
    let ys = positions(b.height, warp.scale[1], warp.shift[1]);
    let mut normal = [[0.0f64; 5]; 4];
    for (row, &(y, at_y)) in ys.iter().enumerate() {
        for (column, &(x, at_x)) in xs.iter().enumerate() {
            let Some((value, gx, gy)) = sample(a, at_x, at_y) else { continue };
            let (gx, gy) = (gx * b.width as f32 / 2.0, gy * b.height as f32 / 2.0);
            let rest = b.at(column, row) - value;
            // Large residuals are content that differs; they must not pull the alignment (Huber weights).
            let weight = 12.0 / rest.abs().max(12.0);
            let slope = [gx * x, gx, gy * y, gy, rest].map(f64::from);
            for (i, line) in normal.iter_mut().enumerate() {
                for (j, sum) in line.iter_mut().enumerate() {
                    *sum += slope[i] * slope[j] * f64::from(weight);
                }
            }
        }
    }
    let trace: f64 = (0..4).map(|i| normal[i][i]).sum();
    (0..4).for_each(|i| normal[i][i] += 1e-4 * trace + 1e-6);
    let [dsx, dtx, dsy, dty] = solve(normal).map(|v| v as f32);
    warp.scale = [warp.scale[0] + dsx, warp.scale[1] + dsy];
    warp.shift = [warp.shift[0] + dtx, warp.shift[1] + dty];
    warp.scale.iter().all(|s| (0.88..=1.14).contains(s)) && warp.shift.iter().all(|t| t.abs() <= 0.1)
}

/// Gaussian elimination of a positive definite system.
fn solve(mut rows: [[f64; 5]; 4]) -> [f64; 4] {
    for pivot in 0..4 {
        let lead = rows[pivot];
        for row in rows.iter_mut().skip(pivot + 1) {
            let factor = row[pivot] / lead[pivot];
            row.iter_mut().zip(lead).for_each(|(value, above)| *value -= factor * above);
        }
    }
    let mut solution = [0.0; 4];
    for at in (0..4).rev() {
        let known: f64 = (at + 1..4).map(|j| rows[at][j] * solution[j]).sum();
        solution[at] = (rows[at][4] - known) / rows[at][at];
    }
    solution
}

/// Whether a cell lies inside the margin of both pictures.
fn is_inner(cell: f32, other: f32, length: usize) -> bool {
    let inside = MARGIN as f32..=(length - 1 - MARGIN) as f32;
    inside.contains(&cell) && inside.contains(&other)
}

/// The largest ratio, over all blocks, of the difference to the contrast.
fn worst_block(a: &Plane, b: &Plane, warp: Warp) -> f32 {
    let xs = positions(b.width, warp.scale[0], warp.shift[0]);
    let ys = positions(b.height, warp.scale[1], warp.shift[1]);
    let mut worst = 0.0f32;
    for top in (0..b.height).step_by(BLOCK / 2) {
        for left in (0..b.width).step_by(BLOCK / 2) {
            let (mut count, mut sums) = (0.0f32, [0.0f32; 5]);
            for (row, &(_, y)) in ys.iter().enumerate().skip(top).take(BLOCK) {
                for (column, &(_, x)) in xs.iter().enumerate().skip(left).take(BLOCK) {
                    let is_inner = is_inner(row as f32, y, b.height) && is_inner(column as f32, x, b.width);
                    let Some((value, ..)) = sample(a, x, y).filter(|_| is_inner) else { continue };
                    let wanted = b.at(column, row);
                    let terms = [value, wanted, value * value, wanted * wanted, (wanted - value).powi(2)];
                    sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
                    count += 1.0;
                }
            }
            if count < (BLOCK * BLOCK / 2) as f32 {
                continue;
            }
            let [ma, mb, qa, qb, difference] = sums.map(|sum| sum / count);
            let contrast = (qa - ma * ma).max(qb - mb * mb).max(0.0).sqrt();
            worst = worst.max(difference.sqrt() / (contrast + FLOOR));
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, imageops};

    /// A template with a header bar and `seed`-dependent lines of "text".
    fn slide(seed: u32) -> RgbImage {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
        let mut words = Vec::new();
        for line in 0..7u32 {
            let mut x = 80;
            while x < 900 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let width = 20 + (state >> 24) % 90;
                words.push((x, 160 + line * 60, width));
                x += width + 14;
            }
        }
        RgbImage::from_fn(1280, 720, |x, y| {
            let text = words.iter().any(|&(wx, wy, width)| {
                (wx..wx + width).contains(&x) && (wy..wy + 26).contains(&y) && (x + y) % 5 != 0
            });
            match (y < 90, text) {
                (true, _) => Rgb([20, 40, 90]),
                (false, true) => Rgb([40, 40, 40]),
                (false, false) => Rgb([252, 252, 250]),
            }
        })
    }

    #[test]
    fn variants_of_a_slide_are_near_and_other_slides_of_its_template_are_far() {
        let original = slide(1);
        let signature = Signature::of(&original);
        let half = imageops::resize(&original, 640, 360, imageops::FilterType::Triangle);
        {
            let variant = half;
            let difference = Signature::of(&variant).difference(&signature);
            assert!(difference < 0.4, "{difference}");
            assert!(Signature::of(&variant).hash().similarity(&signature.hash()) > 0.8);
        }
        let other = Signature::of(&slide(2)).difference(&signature);
        assert!(other > 0.7, "{other}");
    }

    #[test]
    fn hashes_survive_their_hexadecimal_form() {
        let hash = Signature::of(&slide(3)).hash();
        assert_eq!(SlideHash::from_hex(&hash.to_hex()), Some(hash));
        assert_eq!(SlideHash::from_hex("zz"), None);
    }

    #[test]
    fn a_blank_page_resembles_nothing() {
        let blank = Signature::of(&RgbImage::from_pixel(64, 36, Rgb([255; 3]))).hash();
        assert!(blank.similarity(&blank).abs() < f32::EPSILON);
    }

    #[test]
    fn the_solver_solves() {
        let rows = [
            [4.0, 1.0, 0.0, 0.0, 6.0],
            [1.0, 3.0, 0.0, 0.0, 7.0],
            [0.0, 0.0, 2.0, 1.0, 10.0],
            [0.0, 0.0, 1.0, 5.0, 23.0],
        ];
        for (got, wanted) in solve(rows).into_iter().zip([1.0, 2.0, 3.0, 4.0]) {
            assert!((got - wanted).abs() < 1e-12);
        }
    }
}
