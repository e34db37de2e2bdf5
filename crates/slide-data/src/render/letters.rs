//! The letters of a page: what they say, where they stand, and whether the page's edge cuts through them.

use hayro::hayro_interpret::font::{Glyph, GlyphRun, PositionedGlyph};
use hayro::hayro_interpret::hayro_cmap::BfString;
use hayro::hayro_interpret::util::TransformExt;
use hayro::hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps, InterpreterCache,
    InterpreterSettings, SoftMask, interpret_page,
};
use hayro::hayro_syntax::page::Page;
use hayro::kurbo::{Affine, BezPath, Point, Rect, Shape};

use crate::TextPrint;

/// Bytes of text of a page that are read; no slide that people read has more.
const MOST: usize = 50_000;
/// Letters higher than this share of the page are decoration, which may run out of it.
const LARGE: f64 = 0.25;
/// Share of a letter's height by which it has to stand out.
const CUT: f64 = 0.15;

/// A letter on a page, in points from the upper left corner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Letter {
    pub(super) character: char,
    /// Where its line begins to be drawn: the left end of its base line.
    pub(super) x: f64,
    pub(super) y: f64,
    /// The font's size.
    pub(super) size: f64,
    /// Whether its line runs from left to right.
    pub(super) is_level: bool,
}

/// What can be read of a page.
#[derive(Debug, Default)]
pub(super) struct PageText {
    /// The fingerprint of what it says, if its fonts tell which characters its glyphs stand for.
    pub(super) print: Option<TextPrint>,
    /// The letters, in the order in which they are drawn; of those that are filled and outlined the filled ones.
    pub(super) letters: Vec<Letter>,
    /// Lines that run out of the page.
    pub(super) cut_lines: usize,
}

/// Reads a page.
pub(super) fn of_page<'a>(page: &'a Page<'a>, cache: &InterpreterCache<'a>) -> PageText {
    let (width, height) = page.render_dimensions();
    let area = Rect::new(0.0, 0.0, f64::from(width), f64::from(height));
    let settings = InterpreterSettings::default();
    let transform = page.initial_transform(true).to_kurbo();
    let mut context = Context::new(transform, area, cache, page.xref(), settings);
    let mut reader = Reader::on(area);
    interpret_page(page, &mut context, &mut reader);
    PageText { print: TextPrint::of(&reader.text), letters: reader.letters, cut_lines: reader.cut_lines }
}

/// Draws nothing and reads the text, in the order in which it is drawn.
struct Reader {
    page: Rect,
    text: String,
    letters: Vec<Letter>,
    cut_lines: usize,
    /// Where the run that was filled last begins, in the text and among the letters: its outline may be drawn as a run of its own.
    filled: Option<(usize, usize)>,
    /// What is left within each of the clips around what is drawn.
    clips: Vec<Rect>,
}

impl Reader {
    fn on(page: Rect) -> Self {
        let (text, letters) = (String::new(), Vec::new());
        Self { page, text, letters, cut_lines: 0, filled: None, clips: Vec::new() }
    }

    fn take(&mut self, glyph: &PositionedGlyph<'_>, transform: Affine) {
        let mut push = |character| {
            self.text.push(character);
            self.letters.push(letter(character, transform * glyph.transform()));
        };
        match glyph.as_unicode() {
            Some(BfString::Char(character)) => push(character),
            Some(BfString::String(characters)) => characters.chars().for_each(push),
            None => {}
        }
    }

    fn clip(&self) -> Rect {
        self.clips.last().copied().unwrap_or(Rect::new(-1e9, -1e9, 1e9, 1e9))
    }

    /// Whether a line of letters is seen in part, because the page ends in its midst.
    fn is_cut(&self, run: &GlyphRun<'_, '_>, transform: Affine) -> bool {
        let clip = self.clip();
        let (mut is_seen, mut is_lost) = (false, false);
        for glyph in run.glyphs() {
            let place = transform * glyph.transform();
            let letter = letter(' ', place);
            if letter.size > LARGE * self.page.height() {
                return false;
            }
            // Outlines are looked at near the edges alone.
            let around = Rect::from_center_size(
                Point::new(letter.x, letter.y),
                (4.0 * letter.size, 4.0 * letter.size),
            );
            if contains(self.page, around) && contains(clip, around) {
                is_seen = true;
                continue;
            }
            let Glyph::Outline(outline) = &**glyph else { continue };
            let ink = (place * outline.outline()).bounding_box();
            let shown = ink.intersect(clip);
            if ink.area() <= 0.0 || shown.area() <= 0.0 {
                continue;
            }
            let cut = CUT * ink.height().max(ink.width());
            is_lost |= !contains(self.page.inflate(cut, cut), shown);
            is_seen |= shown.intersect(self.page).area() > 0.0;
        }
        is_seen && is_lost
    }
}

fn contains(outer: Rect, inner: Rect) -> bool {
    outer.x0 <= inner.x0 && outer.y0 <= inner.y0 && inner.x1 <= outer.x1 && inner.y1 <= outer.y1
}

/// A letter of a glyph whose thousand units are laid on the page like this.
fn letter(character: char, place: Affine) -> Letter {
    let [a, b, c, d, x, y] = place.as_coeffs();
    let size = 1000.0 * c.hypot(d);
    Letter { character, x, y, size, is_level: b.abs() <= 0.01 * a.abs() && a > 0.0 }
}

impl<'a> Device<'a> for Reader {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, 'a>, props: DrawProps<'a>, mode: &DrawMode) {
        let (start, first) = (self.text.len(), self.letters.len());
        if start > MOST {
            return;
        }
        for glyph in run.glyphs() {
            self.take(glyph, props.transform);
        }
        if !matches!(mode, DrawMode::Stroke(_)) {
            self.filled = Some((start, first));
        } else if let Some((filled, _)) = self.filled.take()
            && self.text[filled..start] == self.text[start..]
        {
            self.text.truncate(start);
            self.letters.truncate(first);
            return;
        }
        let is_shown = !matches!(mode, DrawMode::Invisible);
        self.cut_lines += usize::from(is_shown && self.is_cut(run, props.transform));
    }

    fn push_clip_path(&mut self, clip: &ClipPath) {
        let (area, outer) = (clip.path.bounding_box(), self.clip());
        // Many programs clip a page to itself: what that cuts off is cut off by the page.
        let is_page = contains(area.inflate(1.0, 1.0), self.page);
        self.clips.push(if is_page { outer } else { outer.intersect(area) });
    }

    fn pop_clip(&mut self) {
        self.clips.pop();
    }

    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'a>, _: &DrawMode) {}
    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'a>>, _: BlendMode) {}
    fn draw_image(&mut self, _: Image<'a, '_>, _: ImageDrawProps<'a>) {}
    fn pop_transparency_group(&mut self) {}
}
