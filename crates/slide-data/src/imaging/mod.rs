//! Images: decoding under limits, hashes, features and quality.

mod align;
mod border;
mod decode;
mod features;
pub(crate) mod plane;
mod quality;
pub(crate) mod signature;
mod sketch;

#[cfg(feature = "pdf")]
pub(crate) use decode::check_pixels;
pub use decode::{decode, encode_png, pixels_sha256};
pub use features::image_features;
#[cfg(feature = "collect")]
pub(crate) use quality::{MEASURED, steepness};
pub use quality::{QualityThresholds, quality_flags};
pub use signature::{Signature, SlideHash};
pub use sketch::Sketch;
