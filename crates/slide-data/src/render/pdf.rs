use std::sync::mpsc::{Receiver, sync_channel};

use hayro::hayro_interpret::{InterpreterCache, InterpreterSettings};
use hayro::hayro_syntax::page::Page;
use hayro::hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::{PixmapSettings, RenderCache, RenderSettings};
use image::RgbImage;

use super::identity::Document;
use super::{Event, RenderedSlide, Sink, guarded, page_text};
use crate::imaging::check_pixels;
use crate::{Limits, Reason};

/// Deeply nested forms recurse; a thread's usual two megabytes are too few for some real files.
pub(crate) const STACK_BYTES: usize = 64 << 20;

/// Renders pages in parallel and hands them on in order.
pub(super) fn render(
    bytes: Vec<u8>,
    document: &Document<'_>,
    limits: &Limits,
    sink: Sink<'_>,
) -> Result<(), Reason> {
    let pdf = guarded(|| open(bytes))?;
    let total = guarded(|| Ok(pdf.pages().len()))?;
    if total == 0 {
        return Err(Reason::Empty);
    }
    if total > limits.max_pages {
        let limit = limits.max_pages as u64;
        return Err(Reason::TooLarge { what: format!("{total} pages"), key: "max_pages", limit });
    }
    if !sink(Event::Total(total)) {
        return Ok(());
    }
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if limits.threads == 0 { cores() } else { limits.threads }.min(total);
    std::thread::scope(|scope| {
        let receivers = (0..threads).map(|lane| {
            let (sender, receiver) = sync_channel(1);
            let (pdf, lane_pages) = (&pdf, (lane..total).step_by(threads));
            let work = move || {
                let (cache, fonts) = (RenderCache::new(), InterpreterCache::new());
                for index in lane_pages {
                    let page = guarded(|| draw(&pdf.pages()[index], &cache, limits));
                    // Text that cannot be read is no reason to lose the page.
                    let text = || Ok(page_text::of_page(&pdf.pages()[index], &fonts));
                    let page = page.map(|image| (image, guarded(text).ok().flatten()));
                    if sender.send(page).is_err() {
                        break; // nobody wants the rest
                    }
                }
            };
            std::thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, work)
                .map(|_| receiver)
                .map_err(|error| Reason::Io(error.to_string()))
        });
        let receivers: Vec<Receiver<_>> = receivers.collect::<Result<_, _>>()?;
        for index in 0..total {
            let received = receivers[index % threads].recv();
            let page =
                received.unwrap_or_else(|_| Err(Reason::Crashed("the renderer's thread ended".to_owned())));
            let event = match page {
                Ok((image, text)) => {
                    Event::Slide(Box::new(RenderedSlide { text, ..document.slide(index + 1, image) }))
                }
                Err(reason) => Event::Failed(format!("page {}", index + 1), reason),
            };
            if !sink(event) {
                break;
            }
        }
        Ok(())
    })
}

fn open(bytes: Vec<u8>) -> Result<Pdf, Reason> {
    Pdf::new(bytes).map_err(|error| match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => Reason::Encrypted,
        LoadPdfError::Decryption(error) => {
            Reason::Malformed(format!("the encryption is not usable ({error:?})"))
        }
        LoadPdfError::Invalid => Reason::Malformed("the PDF's structure is broken".to_owned()),
    })
}

fn draw<'a>(page: &'a Page<'a>, cache: &RenderCache<'a>, limits: &Limits) -> Result<RgbImage, Reason> {
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
    let pixmap = hayro::render(
        page,
        cache,
        &InterpreterSettings::default(),
        &RenderSettings::default(),
        &pixmap_settings,
    );
    let (width, height) = (u32::from(pixmap.width()), u32::from(pixmap.height()));
    let rgb = pixmap.data_as_u8_slice().chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect();
    RgbImage::from_raw(width, height, rgb)
        .ok_or_else(|| Reason::Malformed("the page has no pixels".to_owned()))
}
