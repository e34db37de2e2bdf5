//! The fingerprints of what a store's slides say, in one file. They come from the decks' own files and cannot be made from the images;
//! the text itself is not kept.

use std::path::Path;

use super::records::Records;
use crate::{Result, SlideRecord, TextPrint};

fn file(raw: &Path) -> Records {
    Records { path: raw.join(".texts"), kind: *b"texts001", length: TextPrint::LENGTH }
}

/// Adds fingerprints, each with the SHA-256 of its slide's pixels.
pub(super) fn append(raw: &Path, texts: &[(String, TextPrint)]) -> Result<()> {
    let bytes: Vec<_> = texts.iter().map(|(sha256, text)| (sha256.as_str(), text.to_bytes())).collect();
    let records: Vec<_> = bytes.iter().map(|(sha256, bytes)| (*sha256, bytes.as_slice())).collect();
    file(raw).append(&records)
}

/// Takes the fingerprints out that none of the slides has; returns how many.
pub(super) fn retain(raw: &Path, slides: &[SlideRecord]) -> Result<usize> {
    file(raw).retain(slides)
}

/// The fingerprint of each slide, in order; none for a slide without text, and for one that was collected before texts were read.
pub(super) fn of_all(raw: &Path, slides: &[SlideRecord]) -> Vec<Option<TextPrint>> {
    file(raw).of_all(slides, TextPrint::from_bytes)
}
