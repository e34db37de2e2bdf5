use image::RgbImage;

use super::fonts::Typefaces;
use super::{InputFile, Lacks, RenderedSlide};
use crate::{Source, SourceKind};

/// A file that is a deck of its own: its id is made of its content, so a renamed or moved copy is the same deck.
pub(super) struct Document<'a> {
    input: &'a InputFile,
    sha256: &'a str,
    kind: SourceKind,
    /// What the original asks for, where it was converted.
    pub(super) typefaces: Typefaces,
}

impl<'a> Document<'a> {
    pub(super) fn new(input: &'a InputFile, sha256: &'a str, kind: SourceKind) -> Self {
        Self { input, sha256, kind: at_home(input, kind), typefaces: Typefaces::default() }
    }

    /// The document that was converted from one with these typefaces.
    pub(super) fn asking_for(self, typefaces: Typefaces) -> Self {
        Self { typefaces, ..self }
    }

    /// The beginning of the hash of the file.
    pub(super) fn short_hash(&self) -> &str {
        &self.sha256[..16]
    }

    /// The slide on a page (from 1).
    pub(super) fn slide(&self, page: usize, image: RgbImage, lacks: Lacks) -> RenderedSlide {
        let deck_id = format!("d{}", &self.sha256[..12]);
        RenderedSlide {
            slide_id: format!("{deck_id}-p{page:03}"),
            deck_id,
            deck: self.input.stem(),
            number: page,
            image,
            text: None,
            source: Source {
                kind: self.kind,
                origin: self.input.origin.clone(),
                sha256: self.sha256.to_owned(),
                page: Some(page),
                license: self.input.license.clone(),
            },
            lacks,
        }
    }
}

/// An image file: its id is made of its deck and its content.
pub(super) fn image(input: &InputFile, sha256: &str, image: RgbImage) -> RenderedSlide {
    let deck_id = input.deck.id();
    RenderedSlide {
        slide_id: format!("{deck_id}-{}", &sha256[..8]),
        deck_id,
        deck: input.deck.title().to_owned(),
        number: input.number,
        image,
        text: None,
        source: Source {
            kind: at_home(input, SourceKind::Image),
            origin: input.origin.clone(),
            sha256: sha256.to_owned(),
            page: None,
            license: input.license.clone(),
        },
        lacks: Lacks::default(),
    }
}

/// What was fetched from an address is from the web, whatever its format.
fn at_home(input: &InputFile, kind: SourceKind) -> SourceKind {
    let is_address = ["http://", "https://"].iter().any(|scheme| input.origin.starts_with(scheme));
    if is_address { SourceKind::Web } else { kind }
}
