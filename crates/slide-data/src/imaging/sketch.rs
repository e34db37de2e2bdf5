//! A cheap test that passes all variants of a slide and few other slides, between the hash and the alignment.

use serde::{Deserialize, Serialize};

use super::plane::Plane;
use super::signature::Signature;

/// Cells of the signature between two samples, and from the border to the first.
const STRIDE: usize = 8;
const FIRST: usize = 12;
/// How far a border crop of 3 % moves a cell of the signature, to each side.
const REACH: (usize, usize) = (6, 4);
/// Samples of each kind: columns × rows.
pub(super) const SAMPLES: usize = 22 * 11;
/// Grey levels that a sample may lie outside the other's range: re-encoding, scaling and the crop's own scale leave up to 7.
pub(super) const TOLERANCE: u8 = 10;

/// Samples of a blurred slide, and around each the darkest and the brightest value that a border crop can move there. Of two
/// variants of one slide, the samples of each lie within the ranges of the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sketch(Box<[u8; Self::LENGTH]>);

impl Sketch {
    /// Number of bytes.
    pub const LENGTH: usize = 3 * SAMPLES;

    /// Measures a signature.
    pub fn of(signature: &Signature) -> Self {
        let blurred = box_blur(&box_blur(&signature.plane()));
        let mut bytes = Box::new([0; Self::LENGTH]);
        let rows = (FIRST..blurred.height - STRIDE).step_by(STRIDE);
        let cells = rows.flat_map(|y| (FIRST..blurred.width - STRIDE).step_by(STRIDE).map(move |x| (x, y)));
        for (at, (x, y)) in cells.enumerate() {
            let (darkest, brightest) = range(&blurred, x, y);
            for (part, value) in [blurred.at(x, y), darkest, brightest].into_iter().enumerate() {
                bytes[part * SAMPLES + at] = value.round().clamp(0.0, 255.0) as u8;
            }
        }
        Self(bytes)
    }

    /// Whether the slides can be variants of one; false is certain for crops of up to 3 %.
    pub fn may_match(&self, other: &Self) -> bool {
        self.holds(other) && other.holds(self)
    }

    fn holds(&self, other: &Self) -> bool {
        let (samples, ranges) = (&other.0[..SAMPLES], &self.0[SAMPLES..]);
        let (darkest, brightest) = ranges.split_at(SAMPLES);
        let ranges = darkest.iter().zip(brightest);
        let outside = samples.iter().zip(ranges).fold(0, |worst: u8, (&at, (&low, &high))| {
            worst.max(low.saturating_sub(at)).max(at.saturating_sub(high))
        });
        outside <= TOLERANCE
    }

    /// The samples, and the darkest and the brightest value that a crop can move to each.
    pub(super) fn parts(&self) -> [&[u8; SAMPLES]; 3] {
        let (parts, _) = self.0.as_chunks::<SAMPLES>();
        std::array::from_fn(|part| &parts[part])
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// A sketch from its bytes, if there are [`Sketch::LENGTH`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.to_vec().into_boxed_slice().try_into().ok().map(Self)
    }
}

impl From<Sketch> for String {
    fn from(sketch: Sketch) -> Self {
        durable_files::hex(sketch.as_bytes())
    }
}

impl TryFrom<String> for Sketch {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        durable_files::from_hex(&text).and_then(|bytes| Self::from_bytes(&bytes)).ok_or("is not a sketch")
    }
}

/// The least and the greatest value that a crop can move to a cell.
fn range(plane: &Plane, x: usize, y: usize) -> (f32, f32) {
    let rows = plane.values.chunks_exact(plane.width).skip(y - REACH.1).take(2 * REACH.1 + 1);
    let near = rows.flat_map(|row| &row[x - REACH.0..=x + REACH.0]);
    near.fold((f32::MAX, f32::MIN), |(least, most), &value| (least.min(value), most.max(value)))
}

/// The mean of five cells in each direction; border values are repeated.
fn box_blur(plane: &Plane) -> Plane {
    let near =
        |at: usize, length: usize| (0..5).map(move |step| (at + step).saturating_sub(2).min(length - 1));
    let sweep = |mean: &dyn Fn(usize, usize) -> f32| Plane {
        values: (0..plane.values.len()).map(|at| mean(at % plane.width, at / plane.width)).collect(),
        ..*plane
    };
    let across = sweep(&|x, y| near(x, plane.width).map(|x| plane.at(x, y)).sum::<f32>() / 5.0);
    sweep(&|x, y| near(y, plane.height).map(|y| across.at(x, y)).sum::<f32>() / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage, imageops};

    /// Lines of strokes whose lengths depend on `seed`, under a header.
    fn slide(seed: u32) -> RgbImage {
        RgbImage::from_fn(960, 540, |x, y| {
            let length = 200 + (seed.wrapping_mul(2_654_435_761).wrapping_add(y / 60 * 40_503) >> 7) % 600;
            match y {
                0..70 => Rgb([20, 40, 90]),
                _ if y % 60 < 24 && (60..length).contains(&x) && x % 12 < 5 => Rgb([30; 3]),
                _ => Rgb([252, 252, 250]),
            }
        })
    }

    fn sketch(image: &RgbImage) -> Sketch {
        Sketch::of(&Signature::of(image))
    }

    #[test]
    fn variants_pass_and_other_slides_of_the_template_do_not() {
        let (own, other) = (slide(1), slide(2));
        let variants = [
            imageops::crop_imm(&own, 28, 16, 904, 508).to_image(),
            imageops::crop_imm(&own, 0, 16, 932, 524).to_image(),
            imageops::resize(&own, 480, 270, imageops::FilterType::Triangle),
        ];
        for (at, variant) in variants.iter().enumerate() {
            assert!(sketch(&own).may_match(&sketch(variant)), "variant {at}");
            assert!(!sketch(&other).may_match(&sketch(variant)), "variant {at}");
        }
    }

    #[test]
    fn sketches_survive_their_text_form() {
        let own = sketch(&slide(3));
        let text = String::from(own.clone());
        assert_eq!(Sketch::try_from(text.clone()), Ok(own.clone()));
        assert!(Sketch::try_from(text[1..].to_owned()).is_err());
        assert!(Sketch::try_from("g".repeat(2 * Sketch::LENGTH)).is_err());
        assert_eq!(Sketch::from_bytes(own.as_bytes()), Some(own));
    }
}
