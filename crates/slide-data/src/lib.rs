//! What a slide is and where slides come from.
//!
//! The contracts that several stages share live here: [`SlideRecord`] (a line of the manifest), [`Rubric`] (the criteria and
//! the prompt), [`Labels`] (the consensus of the raters), [`Splits`], [`Prediction`] (a scored slide) and [`Correction`].
//! Each file is validated when read and written atomically. The default features hold only these types.
#![forbid(unsafe_code)]

mod error;
mod io;
mod label;
mod prediction;
mod rubric;
mod slide;
mod split;

pub use error::{Error, Result};
pub use io::{append_json_line, read_json, read_json_lines, sha256_hex, write_atomic, write_json};
pub use label::{Label, Labels, Score, Scores};
pub use prediction::{Correction, Prediction, expected_score};
pub use rubric::{Criterion, Rubric};
pub use slide::{Manifest, SlideRecord, Source, SourceKind};
pub use split::{Split, SplitRatios, Splits};
