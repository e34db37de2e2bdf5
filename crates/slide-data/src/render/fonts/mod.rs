//! Fonts that a deck asks for, against those that are there.

mod book;
mod iwa;
mod keynote;
mod open_document;
mod package;
mod pdf;
mod powerpoint;

pub(super) use book::FontBook;
pub(super) use keynote::keynote_typefaces;
pub(super) use open_document::open_typefaces;
pub(super) use package::{Drawn, Typefaces, typefaces};
pub(super) use pdf::{names_shown, names_used, not_embedded, resolver};
pub(super) use powerpoint::powerpoint_typefaces;

/// Names the fonts of this machine; they are looked for once.
#[cfg(feature = "collect")]
pub(crate) fn fonts_of_machine() -> &'static str {
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| FontBook::installed().fingerprint())
}
