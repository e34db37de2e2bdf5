//! LANCZOS resampling to the bit as Pillow 13 does it: two passes over bytes with 22-bit integer weights.

use rayon::prelude::*;

/// An interleaved 8-bit image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rgb {
    pub(super) width: usize,
    pub(super) height: usize,
    /// `(height, width, 3)`.
    pub(super) data: Vec<u8>,
}

const PRECISION_BITS: u32 = 22;
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// The weights of one axis: output `i` sums the inputs from `first[i]` on.
struct Taps {
    first: Vec<usize>,
    start: Vec<usize>,
    weights: Vec<i32>,
}

impl Taps {
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let filter_scale = scale.max(1.0);
        let support = 3.0 * filter_scale;
        let mut taps = Self { first: Vec::with_capacity(to), start: vec![0], weights: Vec::new() };
        for index in 0..to {
            let centre = (index as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let exact: Vec<f64> =
                (first..end).map(|x| lanczos((x as f64 - centre + 0.5) * (1.0 / filter_scale))).collect();
            let sum: f64 = exact.iter().sum();
            taps.weights.extend(
                exact.iter().map(|weight| quantized(if sum == 0.0 { *weight } else { weight / sum })),
            );
            taps.first.push(first);
            taps.start.push(taps.weights.len());
        }
        taps
    }

    fn of(&self, index: usize) -> (usize, &[i32]) {
        (self.first[index], &self.weights[self.start[index]..self.start[index + 1]])
    }
}

/// Half away from zero.
fn quantized(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION_BITS);
    (if weight < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

fn lanczos(x: f64) -> f64 {
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let angle = x * std::f64::consts::PI;
    angle.sin() / angle
}

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Resamples to `width × height`, both at least 1; an axis that keeps its size is not touched.
pub(super) fn resize(image: &Rgb, width: usize, height: usize) -> Rgb {
    let shrinks_by = |from: usize, to: usize| from as i64 - to as i64;
    // Pillow 13 goes down the columns first where that leaves much less to do (its pull request 9549); the rounding between
    // the passes makes the order visible.
    let vertical_first =
        image.height > height && shrinks_by(image.height, height) > 2 * shrinks_by(image.width, width);
    if vertical_first {
        horizontal(&vertical(image, height), width)
    } else {
        vertical(&horizontal(image, width), height)
    }
}

fn horizontal(image: &Rgb, width: usize) -> Rgb {
    if image.width == width {
        return image.clone();
    }
    let taps = Taps::new(image.width, width);
    let mut data = vec![0; width * image.height * 3];
    data.par_chunks_exact_mut(width * 3).zip(image.data.par_chunks_exact(image.width * 3)).for_each(
        |(row, source)| {
            let source = source.as_chunks::<3>().0;
            for (index, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let (first, weights) = taps.of(index);
                let mut sums = [HALF; 3];
                weights.iter().zip(&source[first..]).for_each(|(weight, rgb)| add(&mut sums, *weight, rgb));
                *pixel = sums.map(clip);
            }
        },
    );
    Rgb { width, height: image.height, data }
}

/// `sums += weight · values`.
fn add(sums: &mut [i32], weight: i32, values: &[u8]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * i32::from(*value));
}

fn vertical(image: &Rgb, height: usize) -> Rgb {
    if image.height == height {
        return image.clone();
    }
    let taps = Taps::new(image.height, height);
    let stride = image.width * 3;
    let mut data = vec![0; stride * height];
    data.par_chunks_exact_mut(stride).enumerate().for_each_init(
        || vec![0_i32; stride],
        |sums, (index, row)| {
            let (first, weights) = taps.of(index);
            sums.fill(HALF);
            let rows = image.data[first * stride..].chunks_exact(stride);
            weights.iter().zip(rows).for_each(|(weight, source)| add(sums, *weight, source));
            row.iter_mut().zip(sums.iter()).for_each(|(value, sum)| *value = clip(*sum));
        },
    );
    Rgb { width: image.width, height, data }
}
