use krilla::Document;
use krilla::color::rgb;
use krilla::geom::{Path, PathBuilder, Point};
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule, Stroke};
use krilla::surface::Surface;
use krilla::text::{Font, TextDirection};

use crate::scene::{Item, Scene, Step, rect_path};
use crate::{Color, Error, Face, Rect, Result};

/// Points (1/72 inch) of a page's width: 13⅓ inches, as presentation programs use.
const PAGE_WIDTH_PT: f64 = 960.0;

/// Writes pages as a PDF with vector shapes and real text.
///
/// # Errors
/// When the PDF cannot be encoded.
pub fn render_pdf(scenes: &[Scene]) -> Result<Vec<u8>> {
    let encode = |reason: String| Error::Encode { what: "PDF", reason };
    let fonts: Vec<Font> =
        (0..Face::COUNT).filter_map(|index| Font::new(Face::data(index).into(), 0)).collect();
    if fonts.len() != Face::COUNT {
        return Err(encode("a font cannot be read".to_owned()));
    }
    let scale = PAGE_WIDTH_PT / Scene::WIDTH;
    let mut document = Document::new();
    for scene in scenes {
        let size = PageSettings::from_wh(PAGE_WIDTH_PT as f32, (Scene::HEIGHT * scale) as f32)
            .ok_or_else(|| encode("the page has no size".to_owned()))?;
        let mut page = document.start_page_with(size);
        let mut surface = page.surface();
        surface.push_transform(&krilla::geom::Transform::from_scale(scale as f32, scale as f32));
        let paper = rect_path(Rect::new(0.0, 0.0, Scene::WIDTH, Scene::HEIGHT));
        let paper = Item::Shape { path: paper, color: (scene.background, 1.0), stroke: None };
        for item in std::iter::once(&paper).chain(&scene.items) {
            draw(&mut surface, item, &fonts);
        }
        surface.pop();
        surface.finish();
        page.finish();
    }
    document.finish().map_err(|error| encode(format!("{error:?}")))
}

fn draw(surface: &mut Surface<'_>, item: &Item, fonts: &[Font]) {
    match item {
        Item::Shape { path, color: (color, opacity), stroke } => {
            let Some(path) = outline(path) else { return };
            let opacity = NormalizedF32::new(*opacity as f32).unwrap_or(NormalizedF32::ONE);
            let paint = rgb::Color::new(color.0, color.1, color.2);
            if let Some(width) = stroke {
                let stroke =
                    Stroke { paint: paint.into(), width: *width as f32, opacity, ..Stroke::default() };
                surface.set_fill(None);
                surface.set_stroke(Some(stroke));
            } else {
                surface.set_stroke(None);
                surface.set_fill(Some(Fill { paint: paint.into(), opacity, rule: FillRule::NonZero }));
            }
            surface.draw_path(&path);
        }
        Item::Text { at, size, face, color: Color(r, g, b), text } => {
            let paint = rgb::Color::new(*r, *g, *b).into();
            surface.set_stroke(None);
            surface.set_fill(Some(Fill { paint, opacity: NormalizedF32::ONE, rule: FillRule::NonZero }));
            let start = Point::from_xy(at.0 as f32, at.1 as f32);
            let font = fonts[face.index()].clone();
            surface.draw_text(start, font, *size as f32, text, false, TextDirection::LeftToRight);
        }
    }
}

fn outline(steps: &[Step]) -> Option<Path> {
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
