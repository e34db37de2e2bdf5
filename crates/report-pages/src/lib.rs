//! The pages people read: deck, validation and drift reports and the contact sheet.
//!
//! Each is one self-contained HTML file: one frame, one style sheet (light, dark, print), plots as inline SVG. None has a script but a deck
//! report whose scores can be corrected. The numbers are those of `vlm-eval`, `drift` and `slide-data`, which know nothing of pages; this
//! crate draws.
//!
//! Every value goes through the templates and is escaped there; a template that names a value it was not given is an error.
//!
//! ```
//! let page = report_pages::render_contact_sheet(&[])?;
//! assert!(page.starts_with("<!doctype html>"));
//! # Ok::<(), report_pages::Error>(())
//! ```
#![forbid(unsafe_code)]

mod contact_sheet;
mod corrections;
mod deck;
#[cfg(feature = "drift")]
mod drift;
mod error;
mod format;
mod image;
mod page;
mod plots;
#[cfg(feature = "validation")]
mod validation;
mod versions;

#[cfg(feature = "drift")]
pub use crate::drift::{ExampleSlide, render_drift_report};
pub use contact_sheet::render_contact_sheet;
pub use corrections::{CorrectionForm, REPORT_SCRIPT};
pub use deck::{DeckReport, Familiar, ScoredSlide, render_deck_report};
pub use error::{Error, Result};
pub use image::{Image, MediaType};
#[cfg(feature = "validation")]
pub use validation::{ValidationReport, render_validation_report};
pub use versions::OlderVersion;
