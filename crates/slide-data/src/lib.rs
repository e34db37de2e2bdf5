//! What a slide is and where slides come from.
//!
//! The contracts that several stages share live here: [`SlideRecord`] (a line of the manifest), [`Rubric`] (the criteria and
//! the prompt), [`Labels`] (what people say of the slides), [`Splits`], [`Prediction`] (a scored slide), [`KeptSlide`] (one whose image is kept),
//! [`Audit`] (one that was drawn to be rated), [`FailedInput`] (what could not be scored) and [`Correction`].
//! What a label teaches is decided by the rule in [`target`] alone. Each file is a [`Contract`]: validated when read, written
//! atomically. The default features hold only these types.
//!
//! | feature | adds |
//! |---|---|
//! | `image` | [`image`]: decoding under limits, hashes, features, quality |
//! | `render` | [`render`]: images, PDF, ZIP archives and presentations to slides in memory |
//! | `segments` | [`prediction_log`]: the log of scored slides with its past days, which are Parquet files |
//! | `collect` | [`collect`]: the store of slides, duplicates, provenance, exports; sources on the web |
#![forbid(unsafe_code)]

mod audit;
pub mod ceiling;
#[cfg(feature = "collect")]
pub mod collect;
mod config;
mod error;
mod failed_input;
mod forget;
mod frozen;
#[cfg(feature = "image")]
pub mod imaging;
mod input_record;
mod kept;
mod label;
mod label_rule;
mod limits;
mod prediction;
#[cfg(feature = "segments")]
pub mod prediction_log;
#[cfg(feature = "render")]
mod process;
mod receipt;
#[cfg(feature = "render")]
pub mod render;
mod rubric;
mod score;
mod slide;
mod split;
pub mod target;
#[cfg(feature = "render")]
mod text_print;
mod versions;

pub use audit::Audit;
pub use config::{DuplicateThresholds, SplitConfig};
pub use durable_files::{for_each_line, sha256_hex, write_atomic, write_json};
pub use error::{Error, FilePart, Reason, Result};
pub use failed_input::{FailedInput, FailureKind};
pub use forget::Forgetting;
pub use frozen::TestLabelChange;
#[cfg(feature = "image")]
pub use image;
#[cfg(feature = "image")]
pub use imaging::{image_features, pixels_sha256};
pub use input_record::{Drawn, InputRecord, Outcome};
#[cfg(feature = "image")]
pub use kept::KeptSlides;
pub use kept::{KeptConfig, KeptSlide};
pub use label::{Label, Labels, Scores};
pub use limits::Limits;
pub use prediction::{Correction, LineIds, Prediction, VisionSketch, digest_of, expected_score};
pub use project_files::{Contract, Defects, Log};
pub use receipt::{ForgettingAct, Forgotten, ForgottenMarks};
#[cfg(feature = "render")]
pub use render::RenderedSlide;
pub use rubric::{Criterion, Rubric};
pub use score::Score;
pub use slide::{Manifest, SlideRecord, Source, SourceKind};
pub use split::{GroupStats, Split, SplitRatios, Splits, TestSetChange};
pub use target::{Answer, Authority, Decision, ScoreTarget, Tally, Target};
#[cfg(feature = "render")]
pub use text_print::TextPrint;
pub use versions::{DeckVersions, PageMatch, ScoreDifference, SlideVersions, Tendency};
#[cfg(feature = "render")]
pub use versions::{Page, match_pages};
