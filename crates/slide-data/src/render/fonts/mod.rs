//! Fonts that a deck asks for, against those that are there.

mod book;
mod package;
mod pdf;

pub(super) use book::FontBook;
pub(super) use package::{Typefaces, typefaces};
pub(super) use pdf::{names_used, not_embedded, resolver};
