use tiny_skia::{FillRule, Paint, PathBuilder, Pixmap, Stroke, Transform};

use crate::scene::{Item, Scene, Step};
use crate::{Color, Error, Result};

/// Draws a page `width` pixels wide and encodes it as PNG.
///
/// # Errors
/// When the width is 0 or too large to draw.
pub fn render_png(scene: &Scene, width: u32) -> Result<Vec<u8>> {
    let scale = f64::from(width) / Scene::WIDTH;
    let height = (Scene::HEIGHT * scale).round() as u32;
    let mut pixmap = Pixmap::new(width, height).ok_or(Error::PageSize { width })?;
    let Color(r, g, b) = scene.background;
    pixmap.fill(tiny_skia::Color::from_rgba8(r, g, b, 255));
    let transform = Transform::from_scale(scale as f32, scale as f32);
    for item in &scene.items {
        draw(&mut pixmap, item, transform);
    }
    pixmap.encode_png().map_err(|error| Error::Encode { what: "PNG", reason: error.to_string() })
}

fn draw(pixmap: &mut Pixmap, item: &Item, transform: Transform) {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    match item {
        Item::Shape { path, color: (Color(r, g, b), opacity), stroke } => {
            paint.set_color_rgba8(*r, *g, *b, (opacity * 255.0).round() as u8);
            let Some(path) = outline(path) else { return };
            if let Some(width) = stroke {
                let stroke = Stroke { width: *width as f32, ..Stroke::default() };
                pixmap.stroke_path(&path, &paint, &stroke, transform, None);
            } else {
                pixmap.fill_path(&path, &paint, FillRule::Winding, transform, None);
            }
        }
        Item::Text { at, size, face, color: Color(r, g, b), text } => {
            paint.set_color_rgba8(*r, *g, *b, 255);
            let mut builder = GlyphPath { path: PathBuilder::new(), origin: *at, scale: 1.0 };
            face.each_glyph(text, *size, |font, glyph, x, scale| {
                (builder.origin, builder.scale) = ((at.0 + x, at.1), scale);
                font.outline_glyph(glyph, &mut builder);
            });
            if let Some(path) = builder.path.finish() {
                pixmap.fill_path(&path, &paint, FillRule::Winding, transform, None);
            }
        }
    }
}

fn outline(steps: &[Step]) -> Option<tiny_skia::Path> {
    let mut path = PathBuilder::new();
    for step in steps {
        match *step {
            Step::Move(x, y) => path.move_to(x as f32, y as f32),
            Step::Line(x, y) => path.line_to(x as f32, y as f32),
            Step::Curve(a, b, c, d, x, y) => {
                path.cubic_to(a as f32, b as f32, c as f32, d as f32, x as f32, y as f32);
            }
            Step::Close => path.close(),
        }
    }
    path.finish()
}

struct GlyphPath {
    path: PathBuilder,
    origin: (f64, f64),
    scale: f64,
}

impl GlyphPath {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        let (x, y) = (f64::from(x) * self.scale, f64::from(y) * self.scale);
        ((self.origin.0 + x) as f32, (self.origin.1 - y) as f32) // fonts count upwards
    }
}

impl ttf_parser::OutlineBuilder for GlyphPath {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}
