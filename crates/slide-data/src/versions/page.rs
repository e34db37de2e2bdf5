//! A page, as it is compared with those of another version.

use image::RgbImage;

use crate::imaging::{Signature, Sketch, SlideHash, pixels_sha256};
use crate::{DuplicateThresholds, TextPrint};

/// Runs of characters from which on a page says enough to be told by its words.
const WORDY: u32 = 20;
/// What pages are matched by.
#[derive(Debug, Clone)]
pub struct Page {
    pixels: String,
    signature: Signature,
    hash: SlideHash,
    sketch: Sketch,
    text: Option<TextPrint>,
}

impl Page {
    /// Measures an image; `text` is the fingerprint of what it says.
    pub fn of(image: &RgbImage, text: Option<TextPrint>) -> Self {
        let signature = Signature::of(image);
        let (hash, sketch) = (signature.hash(), Sketch::of(&signature));
        Self { pixels: pixels_sha256(image), signature, hash, sketch, text }
    }

    /// How similar two pages look, 0 to 1, without regard to details.
    pub(super) fn looks(&self, other: &Self) -> f64 {
        f64::from(self.hash.similarity(&other.hash)).clamp(0.0, 1.0)
    }

    /// How alike two pages are if they are near-duplicates, as the search for duplicates tells them.
    pub(super) fn duplicates(&self, other: &Self, thresholds: &DuplicateThresholds) -> Option<f64> {
        if self.pixels == other.pixels {
            return Some(2.0);
        }
        let similarity = self.hash.similarity(&other.hash);
        let is_near = similarity >= thresholds.similarity
            && self.sketch.may_match(&other.sketch)
            && self.signature.difference(&other.signature) <= thresholds.difference;
        is_near.then_some(f64::from(similarity))
    }

    /// The share of what two pages say that they have in common, where both say enough.
    pub(super) fn says(&self, other: &Self) -> Option<f64> {
        let is_wordy = |text: &&TextPrint| text.runs() >= WORDY;
        let both = self.text.as_ref().filter(is_wordy).zip(other.text.as_ref().filter(is_wordy));
        both.map(|(a, b)| a.similarity(b))
    }
}
