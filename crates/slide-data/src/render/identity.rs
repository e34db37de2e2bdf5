use image::RgbImage;

use super::boxes::{self, Boxes};
use super::fonts::{self, Typefaces};
use super::{Event, FailedPart, InputFile, Lacks, RenderedSlide};
use crate::{Reason, Source, SourceKind};

/// What a presentation asks of the program that converts it.
#[derive(Debug, Default)]
pub(super) struct Asking {
    pub(super) typefaces: Typefaces,
    pub(super) boxes: Boxes,
}

impl Asking {
    /// Of a presentation of one of the formats that are known by these extensions.
    pub(super) fn of(extension: &str, bytes: &[u8]) -> Self {
        match extension {
            "pptx" => Self { typefaces: fonts::typefaces(bytes), boxes: boxes::boxes(bytes) },
            "odp" => Self { typefaces: fonts::open_typefaces(bytes), boxes: boxes::open_boxes(bytes) },
            "key" => Self { typefaces: fonts::keynote_typefaces(bytes), ..Self::default() },
            "ppt" => Self { typefaces: fonts::powerpoint_typefaces(bytes), ..Self::default() },
            _ => Self::default(),
        }
    }
}

/// A file that is a deck of its own: its id is made of its content, so a renamed or moved copy is the same deck.
pub(super) struct Document<'a> {
    input: &'a InputFile,
    sha256: &'a str,
    kind: SourceKind,
    /// What the original asks for, where it was converted.
    pub(super) asking: Option<Asking>,
}

impl<'a> Document<'a> {
    pub(super) fn new(input: &'a InputFile, sha256: &'a str, kind: SourceKind) -> Self {
        Self { input, sha256, kind: at_home(input, kind), asking: None }
    }

    /// The document that was converted from a presentation that asks for this.
    pub(super) fn asking_for(self, asking: Asking) -> Self {
        Self { asking: Some(asking), ..self }
    }

    /// The beginning of the hash of the file.
    pub(super) fn short_hash(&self) -> &str {
        &self.sha256[..16]
    }

    /// That a page (from 1) failed.
    pub(super) fn failed_page(&self, page: usize, reason: Reason) -> Event {
        self.failed(format!("page {page}"), reason)
    }

    /// That a part of it failed.
    pub(super) fn failed(&self, name: String, reason: Reason) -> Event {
        Event::Failed(FailedPart { name, deck_id: self.deck_id(), reason })
    }

    fn deck_id(&self) -> String {
        format!("d{}", &self.sha256[..12])
    }

    /// The slide on a page (from 1).
    pub(super) fn slide(&self, page: usize, image: RgbImage, lacks: Lacks) -> RenderedSlide {
        let deck_id = self.deck_id();
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
