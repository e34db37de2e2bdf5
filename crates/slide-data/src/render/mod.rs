//! From files to slides in memory: images, PDF, ZIP archives, presentations, and folders of them. Every file that holds no slides is
//! named, with the reason ([`survey`]).
//!
//! What a file is, is told by its content. Everything is read under [`Limits`]: sizes by what is declared, time by a watch on the
//! reader, panics caught. A file, page or entry that fails is one `Err` among the results; the rest goes on.

mod archive;
mod attached;
mod boxes;
mod deck_name;
mod entry;
mod folder;
mod fonts;
mod foreign;
mod format;
mod identity;
mod letters;
mod office;
mod package;
mod page_box;
mod passed;
mod pdf;
mod stream;
mod xml;

use std::collections::BTreeSet;
use std::path::Path;

use image::RgbImage;

pub use deck_name::DeckName;
pub use folder::{InputFile, PassedOver, Survey, find_all_inputs, find_inputs, survey};
#[cfg(feature = "collect")]
#[cfg(feature = "collect")]
pub(crate) use fonts::fonts_of_machine;
pub use foreign::Foreign;
pub use format::{FileFormat, sniff};
pub use office::find_libreoffice;
#[cfg(feature = "collect")]
pub(crate) use pdf::STACK_BYTES;
pub use stream::Slides;

use crate::{
    Error, FailedInput, FilePart, Limits, Reason, Result, Source, SourceKind, TextPrint, sha256_hex,
};

/// A slide in memory with where it came from.
#[derive(Debug, Clone)]
pub struct RenderedSlide {
    /// Stable name of the slide, made of content: the same on every run and machine.
    pub slide_id: String,
    /// Stable name of its deck.
    pub deck_id: String,
    /// The deck's name for people: file or folder.
    pub deck: String,
    /// Its place in the deck, from 1.
    pub number: usize,
    /// The image.
    pub image: RgbImage,
    /// The fingerprint of its text, where the file has any.
    pub text: Option<TextPrint>,
    /// Where it came from.
    pub source: Source,
    /// What the image lacks against the original.
    pub lacks: Lacks,
}

/// What the image of a slide lacks against the original, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lacks {
    /// Fonts that were not there, so that letters are lost or lines may break elsewhere.
    pub fonts: BTreeSet<String>,
    /// Fonts that were not there, whose letters stand in their places in another shape.
    pub substituted: BTreeSet<String>,
    /// Whether the original asks for fonts that could not be read from it.
    pub are_fonts_unknown: bool,
    /// Images that could not be decoded.
    pub images: usize,
    /// Texts that stand out of boxes which hold all of them in the program that made the original.
    pub moved: usize,
    /// Texts that stand out of other boxes, or run out of the page.
    pub overflowing: usize,
}

/// Renders the slides of an image, a PDF, a ZIP archive, a presentation or a folder of them, in order.
///
/// The reader runs on its own thread and at most two slides ahead, so memory stays flat however long the deck is.
///
/// # Errors
/// When `path` does not exist. A file that cannot be read is an `Err` item with its name and reason.
pub fn load(path: &Path, limits: &Limits) -> Result<Slides> {
    Ok(Slides::new(find_inputs(path, None)?, limits.clone()))
}

/// Renders the slides of a file that is in memory; `name` is its name in records. What fails is an `Err` item, as in [`load`].
///
/// It runs on the calling thread and nothing watches its time, so it is for files that are trusted or short.
pub fn load_bytes(name: &str, bytes: Vec<u8>, limits: &Limits) -> Vec<Result<RenderedSlide>> {
    let deck = DeckName(name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned());
    let input = InputFile { path: name.into(), origin: name.to_owned(), deck, number: 1, license: None };
    let sha256 = sha256_hex(&bytes);
    let failed = |part, deck_id, reason| Err(unreadable(name, part, Some(deck_id), reason));
    let mut items = Vec::new();
    let mut sink = |event: Event| {
        match event {
            Event::Total(_) | Event::Hashed(_) => {}
            Event::Slide(slide) => items.push(Ok(*slide)),
            Event::Failed(part) => items.push(failed(Some(part.name), part.deck_id, part.reason)),
        }
        true
    };
    if let Err(reason) = read_bytes(&input, &sha256, bytes, &mut Reading::new(limits, None), &mut sink) {
        items.push(failed(None, deck_id_of(&input, &sha256), reason));
    }
    items
}

/// A file, or the part of it that failed.
fn unreadable(origin: &str, part: Option<String>, deck_id: Option<String>, reason: Reason) -> Error {
    let origin = part.as_ref().map_or_else(|| origin.to_owned(), |part| format!("{origin}, {part}"));
    Error::Unreadable { origin, of: Box::new(FilePart { deck_id, part }), reason }
}

/// One thing that reading a file yields.
pub(crate) enum Event {
    /// How many slides the file has, as soon as that is known.
    Total(usize),
    /// A slide.
    Slide(Box<RenderedSlide>),
    /// The SHA-256 of the file, once it is read.
    Hashed(String),
    /// A page or entry that failed.
    Failed(FailedPart),
}

/// A page or entry that failed.
pub(crate) struct FailedPart {
    /// Its name.
    pub(crate) name: String,
    /// The deck that it would have been of.
    pub(crate) deck_id: String,
    /// Why.
    pub(crate) reason: Reason,
}

/// The deck that a file is of, also where nothing of it can be read: an image's is its folder's, every other file is one of its own.
fn deck_id_of(input: &InputFile, sha256: &str) -> String {
    let (_, extension) = name_and_extension(input);
    let is_image = image::ImageFormat::from_extension(&extension).is_some() || extension == "jp2";
    if is_image { input.deck.id() } else { FailedInput::deck_of(sha256).unwrap_or_default() }
}

/// Receives what reading a file yields; returns false to stop.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Event) -> bool;

/// Reads one file. Returns the SHA-256 of the file.
///
/// `scratch` is a folder that the caller clears, even after it had to end this process with all that it started; without one,
/// programs that are started here are watched and cleaned up after here.
pub(crate) fn read_file(
    input: &InputFile,
    limits: &Limits,
    scratch: Option<&Path>,
    sink: Sink<'_>,
) -> std::result::Result<String, Reason> {
    let size = std::fs::metadata(&input.path).map_err(|e| Reason::Io(e.to_string()))?.len();
    if size > limits.max_file_bytes() {
        let what = format!("{} MiB", size >> 20);
        return Err(Reason::TooLarge { what, key: "max_file_mib", limit: limits.max_file_mib });
    }
    let bytes = std::fs::read(&input.path).map_err(|e| Reason::Io(e.to_string()))?;
    let sha256 = sha256_hex(&bytes);
    if sink(Event::Hashed(sha256.clone())) {
        read_bytes(input, &sha256, bytes, &mut Reading::new(limits, scratch), sink)?;
    }
    Ok(sha256)
}

/// What reading one file may cost, and has cost so far.
struct Reading<'a> {
    limits: &'a Limits,
    scratch: Option<&'a Path>,
    /// Archives, or a portfolio, around what is read.
    depth: usize,
    /// Entries of all archives that were opened.
    entries: usize,
    /// Bytes that were unpacked from them.
    unpacked: u64,
}

impl<'a> Reading<'a> {
    fn new(limits: &'a Limits, scratch: Option<&'a Path>) -> Self {
        Self { limits, scratch, depth: 0, entries: 0, unpacked: 0 }
    }

    /// Refuses what lies too deep: a deck in a ZIP in a ZIP is somebody's habit, more of them are an attack.
    fn check_depth(&self) -> std::result::Result<(), Reason> {
        const MAX_DEPTH: usize = 3;
        let what = || format!("is an archive within {MAX_DEPTH} archives; unpack the outer ones");
        if self.depth < MAX_DEPTH { Ok(()) } else { Err(Reason::Malformed(what())) }
    }
}

fn read_bytes(
    input: &InputFile,
    sha256: &str,
    bytes: Vec<u8>,
    reading: &mut Reading<'_>,
    sink: Sink<'_>,
) -> std::result::Result<(), Reason> {
    let document = |kind| identity::Document::new(input, sha256, kind);
    match guarded(|| Ok(sniff(&bytes)))? {
        FileFormat::Image => read_image(input, sha256, &bytes, reading.limits, sink),
        FileFormat::Pdf => pdf::read(input, bytes, &document(SourceKind::Pdf), reading, sink),
        FileFormat::Presentation(extension) => {
            let converted = office::to_pdf(&bytes, extension, reading.limits, reading.scratch)?;
            let asking = guarded(|| Ok(identity::Asking::of(extension, &bytes)))?;
            let document = document(SourceKind::Presentation).asking_for(asking);
            pdf::read(input, converted, &document, reading, sink)
        }
        FileFormat::Zip => match unknown_package(input) {
            Some(reason) => Err(reason),
            None => archive::read(input, sha256, &bytes, reading, sink),
        },
        FileFormat::Protected => Err(Reason::Encrypted),
        FileFormat::Foreign(foreign) => Err(foreign.into()),
        FileFormat::Unknown => Err(unknown(input, &bytes)),
    }
}

/// A file of images: all its pages, of which only a TIFF has several. One with several is a deck of its own.
fn read_image(
    input: &InputFile,
    sha256: &str,
    bytes: &[u8],
    limits: &Limits,
    sink: Sink<'_>,
) -> std::result::Result<(), Reason> {
    let document = identity::Document::new(input, sha256, SourceKind::Image);
    let (mut number, mut refused) = (0, None);
    guarded(|| {
        crate::imaging::decode_pages(bytes, limits, |total, page| {
            if number == 0 && !sink(Event::Total(total)) {
                return false;
            }
            number += 1;
            match page {
                Ok(image) if total == 1 => {
                    sink(Event::Slide(Box::new(identity::image(input, sha256, image))))
                }
                Ok(image) => sink(Event::Slide(Box::new(document.slide(number, image, Lacks::default())))),
                Err(reason) if total == 1 => {
                    refused = Some(reason);
                    false
                }
                Err(reason) => sink(document.failed_page(number, reason)),
            }
        })
    })?;
    refused.map_or(Ok(()), Err)
}

/// The name and the extension of a file, in an archive too; of an address its last part.
fn name_and_extension(input: &InputFile) -> (&str, String) {
    let name = input.origin.split(['?', '#']).next().unwrap_or_default();
    let name = name.rsplit(['/', '!']).next().unwrap_or(name);
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_lowercase()).unwrap_or_default();
    (name, extension)
}

/// Why a file of no known format is set aside.
fn unknown(input: &InputFile, bytes: &[u8]) -> Reason {
    let (name, extension) = name_and_extension(input);
    let head = &bytes[..bytes.len().min(1024)];
    match passed::by_role(name, head) {
        Some(reason) => reason,
        // What is named like slides was meant to be some.
        None if format::EXTENSIONS.contains(&extension.as_str()) && !bytes.is_empty() => Reason::Unknown,
        None => passed::by_kind(name, head, bytes.len() as u64),
    }
}

/// A package of a program that is not known: a ZIP whose name says that it is something else. Its pictures are no slides.
fn unknown_package(input: &InputFile) -> Option<Reason> {
    let (_, extension) = name_and_extension(input);
    let is_archive = ["zip", "cbz", ""].contains(&extension.as_str());
    let is_word = extension.chars().all(|c| c.is_ascii_alphanumeric()) && extension.len() <= 12;
    // "decks v1.2" has no extension.
    let is_number = extension.chars().all(|c| c.is_ascii_digit());
    if is_archive || !is_word || is_number {
        return None;
    }
    let what = format!("a package of another program (`.{extension}`), not an archive of slides");
    let remedy = "export its slides as PDF; if it is an archive of slides, name it `.zip`";
    Some(Reason::Foreign { what: what.into(), remedy: remedy.into() })
}

/// Runs a reader and turns a panic in it into a reason.
pub(crate) fn guarded<T>(
    read: impl FnOnce() -> std::result::Result<T, Reason>,
) -> std::result::Result<T, Reason> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Reason::Crashed(text.unwrap_or_else(|| "a panic".to_owned())))
    })
}
