//! Images of every format: decoding, hashes, features and quality never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slide_data::Limits;
use slide_data::imaging::{QualityThresholds, Signature, decode, image_features, quality_flags};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { max_pixels: 1 << 18, max_edge: 256, ..Limits::default() };
    if let Ok(image) = decode(bytes, &limits) {
        assert!(image.width().max(image.height()) <= 256);
        let signature = Signature::of(&image);
        assert!(signature.difference(&signature) < 1e-3);
        assert!(image_features(&image).values().all(|value| value.is_finite()));
        assert!(quality_flags(&image, &QualityThresholds::default()).values().all(|value| value.is_finite()));
    }
});
