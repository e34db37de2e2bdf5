//! From files to slides in memory: images, PDF, ZIP archives, presentations, and folders of them.
//!
//! What a file is, is told by its content. Everything is read under [`Limits`]: sizes by what is declared, time by a watch on the
//! reader, panics caught. A file, page or entry that fails is one `Err` among the results; the rest goes on.

mod archive;
mod deck_name;
mod folder;
mod format;
mod identity;
mod office;
mod page_text;
mod pdf;
mod stream;

use std::path::Path;

use image::RgbImage;

pub use deck_name::DeckName;
pub use folder::{InputFile, find_all_inputs, find_inputs};
pub use format::{FileFormat, sniff};
pub use office::find_libreoffice;
#[cfg(feature = "collect")]
pub(crate) use pdf::STACK_BYTES;
pub use stream::Slides;

use crate::{Error, Limits, Reason, Result, Source, SourceKind, TextPrint, sha256_hex};

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
    let unreadable = |origin: String, reason| Err(Error::Unreadable { origin, reason });
    let mut items = Vec::new();
    let mut sink = |event: Event| {
        match event {
            Event::Total(_) => {}
            Event::Slide(slide) => items.push(Ok(*slide)),
            Event::Failed(part, reason) => items.push(unreadable(format!("{name}, {part}"), reason)),
        }
        true
    };
    let sha256 = sha256_hex(&bytes);
    if let Err(reason) = read_bytes(&input, &sha256, bytes, limits, None, &mut sink) {
        items.push(unreadable(name.to_owned(), reason));
    }
    items
}

/// One thing that reading a file yields.
pub(crate) enum Event {
    /// How many slides the file has, as soon as that is known.
    #[cfg_attr(not(feature = "collect"), expect(dead_code, reason = "only collecting shows progress"))]
    Total(usize),
    /// A slide.
    Slide(Box<RenderedSlide>),
    /// A page or entry that failed: its name and why.
    Failed(String, Reason),
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
    read_bytes(input, &sha256, bytes, limits, scratch, sink)?;
    Ok(sha256)
}

fn read_bytes(
    input: &InputFile,
    sha256: &str,
    bytes: Vec<u8>,
    limits: &Limits,
    scratch: Option<&Path>,
    sink: Sink<'_>,
) -> std::result::Result<(), Reason> {
    let document = |kind| identity::Document::new(input, sha256, kind);
    match guarded(|| Ok(sniff(&bytes)))? {
        FileFormat::Image => {
            sink(Event::Total(1));
            let image = guarded(|| crate::imaging::decode(&bytes, limits))?;
            sink(Event::Slide(Box::new(identity::image(input, sha256, image))));
            Ok(())
        }
        FileFormat::Pdf => pdf::render(bytes, &document(SourceKind::Pdf), limits, sink),
        FileFormat::Presentation(extension) => {
            let converted = office::to_pdf(&bytes, extension, limits, scratch)?;
            pdf::render(converted, &document(SourceKind::Presentation), limits, sink)
        }
        FileFormat::Zip => archive::read(input, sha256, &bytes, limits, sink),
        FileFormat::Protected => Err(Reason::Encrypted),
        FileFormat::Document => Err(Reason::NotSlides),
        FileFormat::Unknown => Err(Reason::Unknown),
    }
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
