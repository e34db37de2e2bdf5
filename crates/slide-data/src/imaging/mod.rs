//! Images: decoding under limits, hashes, features and quality.

mod align;
mod border;
#[cfg(feature = "collect")]
mod build;
mod decode;
mod features;
mod ground;
mod handout;
mod jpeg;
mod jpeg2000;
#[cfg(feature = "collect")]
mod placed;
pub(crate) mod plane;
mod quality;
pub(crate) mod signature;
mod size;
mod sketch;
mod sketch_tree;
mod strokes;
#[cfg(feature = "render")]
mod tiff;
mod words;

#[cfg(feature = "collect")]
pub(crate) use build::added_share;
#[cfg(feature = "render")]
pub(crate) use decode::decode_pages;
pub use decode::{decode, encode_png, pixels_sha256, thumbnail};
pub use features::image_features;
#[cfg(feature = "render")]
pub(crate) use jpeg2000::is_jpeg2000;
#[cfg(feature = "collect")]
pub(crate) use placed::Placed;
#[cfg(feature = "collect")]
pub(crate) use quality::{MEASURED, steepness};
pub use quality::{QualityThresholds, quality_flags};
pub use signature::{Signature, SlideHash};
#[cfg(feature = "render")]
pub(crate) use size::check_pixels;
pub use sketch::Sketch;
pub use sketch_tree::SketchTree;
