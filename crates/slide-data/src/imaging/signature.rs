//! Perceptual comparison made for slides.
//!
//! Slides have large flat areas, and the slides of a deck share one template, so a small global hash either misses variants or
//! takes two slides of a template for one. Three stages: [`SlideHash`], the low frequencies of the image, finds candidates
//! quickly; [`Sketch`](super::Sketch) drops nearly all that a crop cannot explain; [`Signature`], a small grey copy, decides: the copies are aligned (a border crop shifts and scales the content;
//! B. Lucas and T. Kanade, 1981, on a pyramid) and then compared block by block, so that one changed line of text counts
//! however much of the template agrees.

use image::RgbImage;

use super::align;
use super::plane::Plane;

/// Width and height of a signature in cells.
const SIZE: (usize, usize) = (192, 108);
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
        self.scaled_similarity(self.inverse_length(), other, other.inverse_length())
    }

    /// One divided by the length of the vector, 0 for a blank slide: computed once where many are compared.
    pub(crate) fn inverse_length(&self) -> f32 {
        let square = self.dot(self);
        if square == 0 { 0.0 } else { 1.0 / (square as f32).sqrt() }
    }

    /// [`SlideHash::similarity`] with both inverse lengths.
    pub(crate) fn scaled_similarity(&self, inverse: f32, other: &Self, other_inverse: f32) -> f32 {
        self.dot(other) as f32 * inverse * other_inverse
    }

    fn dot(&self, other: &Self) -> i32 {
        self.0.iter().zip(&other.0).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
    }

    /// Two hexadecimal digits a value.
    pub fn to_hex(&self) -> String {
        durable_files::hex(&self.0.map(|value| value as u8))
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

/// A grey copy of a slide, 192 × 108 cells whatever its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature(Vec<u8>);

impl Signature {
    /// Number of bytes.
    pub const LENGTH: usize = SIZE.0 * SIZE.1;

    /// Measures an image.
    pub fn of(image: &RgbImage) -> Self {
        let plane = Plane::averaged(image, SIZE.0, SIZE.1);
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

    /// The coarse hash of the same image.
    pub fn hash(&self) -> SlideHash {
        SlideHash::of(&self.plane())
    }

    pub(super) fn plane(&self) -> Plane {
        Plane { width: SIZE.0, height: SIZE.1, values: self.0.iter().map(|&v| f32::from(v)).collect() }
    }

    /// How much two slides differ where they differ most, after alignment: near 0 for variants of one slide, near 1 and above
    /// for a block whose text or image is another.
    pub fn difference(&self, other: &Self) -> f32 {
        align::difference(self.plane(), other.plane())
    }
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
}
