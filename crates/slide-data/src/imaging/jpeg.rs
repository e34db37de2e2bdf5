//! Where a JPEG ends, and whether one without its end marker is whole.

use image::{DynamicImage, ImageFormat};

use crate::Reason;

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;

/// The length of the image at the beginning of `bytes`, its end marker included; none where that marker is missing.
///
/// Segments are walked one after the other (ITU-T T.81, annex B): what follows the image, as the film of a motion photo or a second
/// picture does, plays no part, whatever bytes it holds, and neither do the markers of a thumbnail within a segment.
pub(super) fn image_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 2; // past the start marker
    loop {
        // Fill bytes may stand before any marker.
        while bytes.get(at) == Some(&0xff) && bytes.get(at + 1) == Some(&0xff) {
            at += 1;
        }
        if bytes.get(at) != Some(&0xff) {
            return None;
        }
        let marker = *bytes.get(at + 1)?;
        at += 2;
        match marker {
            END_OF_IMAGE => return Some(at),
            // Markers that stand alone: TEM and restarts.
            0x01 | 0xd0..=0xd8 => continue,
            _ => {}
        }
        let length = u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]);
        at += usize::from(length.max(2));
        if marker == START_OF_SCAN {
            at = scan_end(bytes, at)?;
        }
    }
}

/// Where the entropy-coded data that begins at `at` ends: at the first marker that is neither a stuffed byte nor a restart.
fn scan_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        match bytes.get(at + 1)? {
            0x00 | 0xd0..=0xd7 => at += 2,
            0xff => at += 1,
            _ => return Some(at),
        }
    }
}

/// A JPEG without its end marker, with one: for a decoder that asks for it.
///
/// The file may lack the marker alone, which every viewer puts up with, or have been cut through. They are told apart by what comes
/// after: past the last block nothing is read any more, so whatever is put there the pixels stay; where blocks are missing they are
/// read from it.
///
/// # Errors
/// When blocks are missing, or there is no image at all.
pub(super) fn completed(bytes: &[u8]) -> Result<Vec<u8>, Reason> {
    // A half of the marker would make one with what follows.
    let bytes = bytes.strip_suffix(&[0xff]).unwrap_or(bytes);
    let early = || Reason::Malformed("the JPEG ends early".to_owned());
    let with = |padding: &[u8]| [bytes, padding, &[0xff, END_OF_IMAGE]].concat();
    let decode = |padding: &[u8]| -> Option<DynamicImage> {
        image::load_from_memory_with_format(&with(padding), ImageFormat::Jpeg).ok()
    };
    let plain = decode(&[]).ok_or_else(early)?;
    for seed in [0x9e37_79b9_u32, 0x85eb_ca6b] {
        if decode(&noise(seed)).as_ref() != Some(&plain) {
            return Err(early());
        }
    }
    Ok(with(&[]))
}

/// Bytes without a marker among them.
fn noise(seed: u32) -> Vec<u8> {
    let byte = |at: u32| (at.wrapping_add(1).wrapping_mul(seed | 1) >> 24) as u8;
    (0..1024).map(|at| byte(at).min(0xfe)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    fn jpeg() -> Vec<u8> {
        let image = RgbImage::from_fn(83, 61, |x, y| Rgb([(x * 3) as u8, (y * 4) as u8, (x * y) as u8]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn what_follows_the_image_is_not_looked_at() {
        let plain = jpeg();
        assert_eq!(image_length(&plain), Some(plain.len()));
        for seed in 1..40_u32 {
            let byte = |at: u32| (at.wrapping_mul(2_654_435_761).wrapping_add(seed << 20) >> 24) as u8;
            let film: Vec<u8> = (0..5_000).map(byte).chain([0xff, 0xda, 0, 8, 1, 2]).collect();
            assert_eq!(image_length(&[&plain[..], &film].concat()), Some(plain.len()), "{seed}");
        }
    }

    #[test]
    fn the_markers_of_a_thumbnail_do_not_end_the_image() {
        let plain = jpeg();
        let thumbnail = [b"Exif\0\0".as_slice(), &plain].concat();
        let length = u16::try_from(thumbnail.len() + 2).unwrap().to_be_bytes();
        let whole = [&plain[..2], &[0xff, 0xff, 0xe1], &length, &thumbnail, &plain[2..]].concat();
        assert_eq!(image_length(&whole), Some(whole.len()));
    }

    #[test]
    fn a_missing_end_marker_is_told_from_missing_blocks() {
        let plain = jpeg();
        let cut = |at: usize| completed(&plain[..at]);
        assert_eq!(image_length(&plain[..plain.len() - 2]), None);
        assert_eq!(cut(plain.len() - 2).unwrap(), plain);
        // A half of the marker is no marker.
        assert!(cut(plain.len() - 1).is_ok());
        for share in [1, 2, 3, 5, 8, 9] {
            assert!(cut(plain.len() * share / 10).is_err(), "{share} tenths");
        }
        assert!(cut(plain.len() - 40).is_err());
    }
}
