use hayro::hayro_interpret::font::GlyphRun;
use hayro::hayro_interpret::hayro_cmap::BfString;
use hayro::hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps, InterpreterCache,
    InterpreterSettings, SoftMask, interpret_page,
};
use hayro::hayro_syntax::page::Page;
use hayro::kurbo::{Affine, BezPath, Rect};

use crate::TextPrint;

/// Characters of a page that are read; no slide that people read has more.
const MOST: usize = 50_000;

/// The fingerprint of what a page says, if its fonts tell which characters its glyphs stand for.
pub(super) fn of_page<'a>(page: &'a Page<'a>, cache: &InterpreterCache<'a>) -> Option<TextPrint> {
    let (width, height) = page.render_dimensions();
    let area = Rect::new(0.0, 0.0, f64::from(width), f64::from(height));
    let settings = InterpreterSettings::default();
    let mut context = Context::new(Affine::IDENTITY, area, cache, page.xref(), settings);
    let mut reader = Reader::default();
    interpret_page(page, &mut context, &mut reader);
    TextPrint::of(&reader.text)
}

/// Draws nothing and reads the text, in the order in which it is drawn.
#[derive(Default)]
struct Reader {
    text: String,
    /// Where the run that was filled last begins: its outline may be drawn as a run of its own.
    filled: Option<usize>,
}

impl<'a> Device<'a> for Reader {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, 'a>, _: DrawProps<'a>, mode: &DrawMode) {
        let start = self.text.len();
        if start > MOST {
            return;
        }
        for glyph in run.glyphs() {
            match glyph.as_unicode() {
                Some(BfString::Char(character)) => self.text.push(character),
                Some(BfString::String(characters)) => self.text.push_str(&characters),
                None => {}
            }
        }
        if !matches!(mode, DrawMode::Stroke(_)) {
            self.filled = Some(start);
        } else if let Some(filled) = self.filled.take()
            && self.text[filled..start] == self.text[start..]
        {
            self.text.truncate(start);
        }
    }

    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'a>, _: &DrawMode) {}
    fn push_clip_path(&mut self, _: &ClipPath) {}
    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'a>>, _: BlendMode) {}
    fn draw_image(&mut self, _: Image<'a, '_>, _: ImageDrawProps<'a>) {}
    fn pop_clip(&mut self) {}
    fn pop_transparency_group(&mut self) {}
}
