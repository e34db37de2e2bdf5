use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use hayro::hayro_interpret::{InterpreterCache, InterpreterSettings, InterpreterWarning};
use hayro::hayro_syntax::object::Stream;
use hayro::hayro_syntax::page::Page;
use hayro::hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::{PixmapSettings, RenderCache, RenderSettings};
use image::RgbImage;

use super::attached::Attached;
use super::fonts::{self, FontBook};
use super::format::EXTENSIONS;
use super::identity::{Asking, Document};
use super::letters::PageText;
use super::{
    DeckName, Event, InputFile, Lacks, Reading, RenderedSlide, Sink, archive, guarded, letters, page_box,
};
use crate::imaging::check_pixels;
use crate::{Limits, Reason};

/// Deeply nested forms recurse; a thread's usual two megabytes are too few for some real files.
pub(crate) const STACK_BYTES: usize = 64 << 20;

/// Reads the pages of a document; of a portfolio the files in it, whose cover is no slide.
pub(super) fn read(
    input: &InputFile,
    bytes: Vec<u8>,
    document: &Document<'_>,
    reading: &mut Reading<'_>,
    sink: Sink<'_>,
) -> Result<(), Reason> {
    let pdf = guarded(|| open(bytes))?;
    let attached = guarded(|| Ok(Attached::of(&pdf)))?;
    if attached.is_portfolio {
        return read_attached(input, document, &attached, reading, sink);
    }
    let may_hold_slides = |name: &&String| {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_lowercase());
        extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
    };
    for name in attached.files.iter().map(|(name, _)| name).filter(may_hold_slides) {
        let remedy = "save it as a file of its own to collect its slides";
        let reason = Reason::foreign("a file attached to the PDF", remedy);
        if !sink(document.failed(name.clone(), reason)) {
            return Ok(());
        }
    }
    render(&pdf, document, reading.limits, sink)
}

fn read_attached(
    input: &InputFile,
    document: &Document<'_>,
    attached: &Attached<'_>,
    reading: &mut Reading<'_>,
    sink: Sink<'_>,
) -> Result<(), Reason> {
    reading.check_depth()?;
    for (at, (name, stream)) in attached.files.iter().enumerate() {
        let goes_on = match unpacked(stream, reading) {
            Ok(bytes) => {
                reading.unpacked += bytes.len() as u64;
                let deck = DeckName(format!("pdf:{}!", document.short_hash()));
                let origin = format!("{}!{name}", input.origin);
                let part = InputFile { origin, deck, number: at + 1, ..input.clone() };
                archive::read_member(&part, name, bytes, reading, sink)
            }
            Err(reason) => sink(document.failed(name.clone(), reason)),
        };
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// A file of a portfolio, unless it is broken or too large.
fn unpacked(stream: &Stream<'_>, reading: &Reading<'_>) -> Result<Vec<u8>, Reason> {
    let bytes = guarded(|| {
        stream.decoded_data().map_err(|_| Reason::Malformed("the file in the portfolio is broken".to_owned()))
    })?;
    let limit = reading.limits.max_unpacked_mib;
    let left = (limit << 20).saturating_sub(reading.unpacked);
    if bytes.len() as u64 <= left.min(reading.limits.max_file_bytes()) {
        Ok(bytes.into_owned())
    } else {
        let what = format!("{} MiB unpacked", bytes.len() >> 20);
        Err(Reason::TooLarge { what, key: "max_unpacked_mib", limit })
    }
}

/// Renders pages in parallel and hands them on in order.
fn render(pdf: &Pdf, document: &Document<'_>, limits: &Limits, sink: Sink<'_>) -> Result<(), Reason> {
    let total = guarded(|| Ok(pdf.pages().len()))?;
    check_pages(total, limits)?;
    if !sink(Event::Total(total)) {
        return Ok(());
    }
    let asked = document.asking.as_ref();
    let used = guarded(|| Ok(asked.map(|_| fonts::names_used(pdf))))?.unwrap_or_default();
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if limits.threads == 0 { cores() } else { limits.threads }.min(total);
    std::thread::scope(|scope| {
        let receivers = (0..threads).map(|lane| {
            let (sender, receiver) = sync_channel(1);
            let lane_pages = (lane..total).step_by(threads);
            std::thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, move || draw_lane(pdf, lane_pages, limits, &sender))
                .map(|_| receiver)
                .map_err(|error| Reason::Io(error.to_string()))
        });
        let receivers: Vec<Receiver<_>> = receivers.collect::<Result<_, _>>()?;
        for index in 0..total {
            let received = receivers[index % threads].recv();
            let page =
                received.unwrap_or_else(|_| Err(Reason::Crashed("the renderer's thread ended".to_owned())));
            let event = match page {
                Ok(mut page) => {
                    if let Some(asked) = asked {
                        page.compare(asked, index, total, &used);
                    }
                    let slide = document.slide(index + 1, page.image, page.lacks);
                    Event::Slide(Box::new(RenderedSlide { text: page.text.print, ..slide }))
                }
                Err(reason) => document.failed_page(index + 1, reason),
            };
            if !sink(event) {
                break;
            }
        }
        Ok(())
    })
}

fn check_pages(total: usize, limits: &Limits) -> Result<(), Reason> {
    if total == 0 {
        return Err(Reason::Empty);
    }
    if total > limits.max_pages {
        let limit = limits.max_pages as u64;
        return Err(Reason::TooLarge { what: format!("{total} pages"), key: "max_pages", limit });
    }
    Ok(())
}

/// A page, and what of it could be read as text.
struct Drawn {
    image: RgbImage,
    lacks: Lacks,
    text: PageText,
    /// The fonts in which it shows text.
    fonts: BTreeSet<String>,
}

impl Drawn {
    /// Compares what was drawn with what the presentation asked for, on a page (from 0) of `pages`.
    fn compare(&mut self, asked: &Asking, index: usize, pages: usize, used: &BTreeSet<String>) {
        let drawn = fonts::Drawn { document: used, page: &self.fonts };
        self.lacks.fonts.extend(asked.typefaces.missing(index, pages, drawn, FontBook::installed()));
        self.lacks.are_fonts_unknown = !asked.typefaces.are_known(index, pages);
        let leaving = asked.boxes.leaving(index, pages, &self.text.letters);
        self.lacks.moved = leaving.moved;
        self.lacks.overflowing += leaving.overflowing;
    }
}

/// Draws the pages of one thread, as fast as they are taken.
fn draw_lane(
    pdf: &Pdf,
    pages: impl Iterator<Item = usize>,
    limits: &Limits,
    sender: &SyncSender<Result<Drawn, Reason>>,
) {
    let (cache, fonts) = (RenderCache::new(), InterpreterCache::new());
    for index in pages {
        let page = guarded(|| draw(&pdf.pages()[index], &cache, limits));
        // Text that cannot be read is no reason to lose the page.
        let text =
            || Ok((letters::of_page(&pdf.pages()[index], &fonts), fonts::names_shown(&pdf.pages()[index])));
        let page = page.map(|(image, lacks)| {
            let (text, fonts) = guarded(text).unwrap_or_default();
            let lacks = Lacks { overflowing: text.cut_lines, ..lacks };
            Drawn { image, lacks, text, fonts }
        });
        if sender.send(page).is_err() {
            break; // nobody wants the rest
        }
    }
}

fn open(bytes: Vec<u8>) -> Result<Pdf, Reason> {
    let pdf = load(bytes)?;
    let mended = page_box::mended(&pdf).and_then(|bytes| load(bytes).ok());
    Ok(mended.filter(|mended| mended.pages().len() == pdf.pages().len()).unwrap_or(pdf))
}

fn load(bytes: Vec<u8>) -> Result<Pdf, Reason> {
    Pdf::new(bytes).map_err(|error| match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => Reason::Encrypted,
        LoadPdfError::Decryption(error) => {
            Reason::Malformed(format!("the encryption is not usable ({error:?})"))
        }
        LoadPdfError::Invalid => Reason::Malformed("the PDF's structure is broken".to_owned()),
    })
}

fn draw<'a>(
    page: &'a Page<'a>,
    cache: &RenderCache<'a>,
    limits: &Limits,
) -> Result<(RgbImage, Lacks), Reason> {
    let (width, height) = page.render_dimensions();
    let longest = width.max(height);
    if !(width.is_finite() && height.is_finite() && width > 0.0 && height > 0.0) {
        return Err(Reason::Malformed(format!("the page measures {width} × {height}")));
    }
    // The renderer cuts off fractions of a pixel; a little more than the wanted edge keeps it from losing one to rounding.
    let scale = (limits.longest_edge as f32 + 0.01) / longest;
    if width.min(height) * scale < 1.0 {
        return Err(Reason::Malformed(format!("the page measures {width} × {height}")));
    }
    check_pixels((width * scale) as u32, (height * scale) as u32, limits)?;
    let pixmap_settings = PixmapSettings { x_scale: scale, y_scale: scale, bg_color: WHITE };
    let warnings = Arc::new(Warnings::default());
    let pixmap =
        hayro::render(page, cache, &warnings.settings(), &RenderSettings::default(), &pixmap_settings);
    let (width, height) = (u32::from(pixmap.width()), u32::from(pixmap.height()));
    let rgb = pixmap.data_as_u8_slice().chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
    let image = RgbImage::from_raw(width, height, rgb)
        .ok_or_else(|| Reason::Malformed("the page has no pixels".to_owned()))?;
    Ok((image, warnings.lacks(page)))
}

/// What the renderer warned of while it drew a page.
#[derive(Debug, Default)]
struct Warnings {
    fonts: AtomicUsize,
    images: AtomicUsize,
}

impl Warnings {
    /// Settings that listen to the renderer, and find fonts that are not embedded among the installed ones.
    fn settings(self: &Arc<Self>) -> InterpreterSettings {
        let warnings = Arc::clone(self);
        InterpreterSettings {
            // The fonts of the machine are not looked for before a document asks.
            font_resolver: fonts::resolver(),
            warning_sink: Arc::new(move |warning| {
                let count = match warning {
                    InterpreterWarning::UnsupportedFont => &warnings.fonts,
                    InterpreterWarning::ImageDecodeFailure => &warnings.images,
                    _ => return,
                };
                count.fetch_add(1, Ordering::Relaxed);
            }),
            ..InterpreterSettings::default()
        }
    }

    /// What the drawn page lacks.
    fn lacks(&self, page: &Page<'_>) -> Lacks {
        let mut lacks = Lacks { images: self.images.load(Ordering::Relaxed), ..Lacks::default() };
        for (name, is_lost) in fonts::not_embedded(page) {
            if is_lost {
                lacks.fonts.insert(name)
            } else {
                lacks.substituted.insert(name)
            };
        }
        if self.fonts.load(Ordering::Relaxed) > 0 {
            lacks.fonts.insert("a font that cannot be read".to_owned());
        }
        lacks
    }
}
