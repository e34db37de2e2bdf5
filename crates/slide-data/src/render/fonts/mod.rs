//! Fonts that a deck asks for, against those that are there.

mod book;
mod open_document;
mod package;
mod pdf;

pub(super) use book::FontBook;
pub(super) use open_document::open_typefaces;
pub(super) use package::{Typefaces, typefaces};
/// Names the fonts of this machine; they are looked for once.
pub(crate) fn fonts_of_machine() -> &'static str {
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| FontBook::installed().fingerprint())
}

pub(super) use pdf::{names_used, not_embedded, resolver};
