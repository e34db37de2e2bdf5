//! Pictures of every format: decoding, hashes, features and quality never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slide_data::Limits;
use slide_data::picture::{QualityThresholds, Signature, decode, picture_features, quality_flags};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { max_pixels: 1 << 18, max_edge: 256, ..Limits::default() };
    if let Ok(picture) = decode(bytes, &limits) {
        assert!(picture.width().max(picture.height()) <= 256);
        let signature = Signature::of(&picture);
        assert!(signature.difference(&signature) < 1e-3);
        assert!(picture_features(&picture).values().all(|value| value.is_finite()));
        assert!(quality_flags(&picture, &QualityThresholds::default()).values().all(|value| value.is_finite()));
    }
});
