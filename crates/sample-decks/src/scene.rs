use serde::Serialize;

use crate::{Color, Face};

/// A rectangle in page units.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rect {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

impl Rect {
    /// A rectangle from its upper left corner and size.
    pub fn new(x: f64, y: f64, w: f64, h: f64) -> Self {
        Self { x, y, w, h }
    }

    /// Right edge.
    pub fn right(&self) -> f64 {
        self.x + self.w
    }

    /// Lower edge.
    pub fn bottom(&self) -> f64 {
        self.y + self.h
    }

    /// The rectangle without a margin on all four sides.
    pub fn inset(&self, margin: f64) -> Self {
        Self::new(self.x + margin, self.y + margin, self.w - 2.0 * margin, self.h - 2.0 * margin)
    }

    /// The rectangle moved.
    pub fn moved(&self, dx: f64, dy: f64) -> Self {
        Self::new(self.x + dx, self.y + dy, self.w, self.h)
    }
}

/// One step of an outline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// Starts an outline.
    Move(f64, f64),
    /// A straight line.
    Line(f64, f64),
    /// A cubic curve with two control points.
    Curve(f64, f64, f64, f64, f64, f64),
    /// Back to the outline's start.
    Close,
}

/// What is drawn, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A filled or stroked outline.
    Shape {
        /// The outline.
        path: Vec<Step>,
        /// Its colour and opacity.
        color: (Color, f64),
        /// The stroke's width; filled where there is none.
        stroke: Option<f64>,
    },
    /// A line of text.
    Text {
        /// Start of the baseline.
        at: (f64, f64),
        /// Size in page units.
        size: f64,
        /// The face.
        face: Face,
        /// The colour.
        color: Color,
        /// The characters.
        text: String,
    },
}

/// What kind of thing stands in a part of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Headline,
    Heading,
    Body,
    Chart,
    Table,
    Figure,
    Pill,
    Source,
    Image,
    Sticker,
    Ornament,
}

/// A part of the page and what stands there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Element {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub area: Rect,
    /// Size of its text, 0 if it has none.
    pub size: f64,
    /// Contrast of its text, 0 if it has none.
    pub contrast: f64,
}

/// One page: 1280 × 720 units.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The paper.
    pub background: Color,
    /// What is drawn on it.
    pub items: Vec<Item>,
    /// What stands where.
    pub elements: Vec<Element>,
}

impl Scene {
    /// Width of a page.
    pub const WIDTH: f64 = 1280.0;
    /// Height of a page.
    pub const HEIGHT: f64 = 720.0;

    /// An empty page.
    pub fn new(background: Color) -> Self {
        Self { background, items: Vec::new(), elements: Vec::new() }
    }

    /// Notes what stands in an area.
    pub fn note(&mut self, kind: Kind, area: Rect, size: f64, contrast: f64) {
        self.elements.push(Element { kind, area, size, contrast });
    }

    /// A filled outline.
    pub fn fill(&mut self, path: Vec<Step>, color: Color, opacity: f64) {
        self.items.push(Item::Shape { path, color: (color, opacity), stroke: None });
    }

    /// A stroked outline.
    pub fn stroke(&mut self, path: Vec<Step>, color: Color, width: f64) {
        self.items.push(Item::Shape { path, color: (color, 1.0), stroke: Some(width) });
    }

    /// A filled rectangle.
    pub fn rect(&mut self, area: Rect, color: Color) {
        self.fill(rect_path(area), color, 1.0);
    }

    /// A filled rectangle with round corners.
    pub fn card(&mut self, area: Rect, radius: f64, color: Color) {
        self.fill(round_path(area, radius), color, 1.0);
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), color: Color, width: f64) {
        self.stroke(vec![Step::Move(from.0, from.1), Step::Line(to.0, to.1)], color, width);
    }

    /// A disc.
    pub fn disc(&mut self, center: (f64, f64), radius: f64, color: Color, opacity: f64) {
        self.fill(ellipse_path(center, radius, radius), color, opacity);
    }

    /// A closed polygon.
    pub fn polygon(&mut self, points: &[(f64, f64)], color: Color, opacity: f64) {
        self.fill(polygon_path(points), color, opacity);
    }

    /// A line of text that starts at `at` (baseline); returns its width.
    pub fn text(&mut self, at: (f64, f64), size: f64, face: Face, color: Color, text: &str) -> f64 {
        self.items.push(Item::Text { at, size, face, color, text: text.to_owned() });
        face.width(text, size)
    }

    /// A line of text centred on `at.0`.
    pub fn text_centered(&mut self, at: (f64, f64), size: f64, face: Face, color: Color, text: &str) {
        let width = face.width(text, size);
        self.text((at.0 - width / 2.0, at.1), size, face, color, text);
    }
}

/// The outline of a rectangle.
pub(crate) fn rect_path(r: Rect) -> Vec<Step> {
    polygon_path(&[(r.x, r.y), (r.right(), r.y), (r.right(), r.bottom()), (r.x, r.bottom())])
}

/// The outline of a polygon.
pub(crate) fn polygon_path(points: &[(f64, f64)]) -> Vec<Step> {
    let mut path: Vec<Step> = points
        .iter()
        .enumerate()
        .map(|(i, &(x, y))| if i == 0 { Step::Move(x, y) } else { Step::Line(x, y) })
        .collect();
    path.push(Step::Close);
    path
}

/// How far a control point lies along the tangent of a quarter circle of radius 1.
const QUARTER: f64 = 0.552_284_75;

/// The outline of a rectangle with round corners.
pub(crate) fn round_path(r: Rect, radius: f64) -> Vec<Step> {
    let q = radius.min(r.w / 2.0).min(r.h / 2.0).max(0.0);
    let k = q * (1.0 - QUARTER);
    let (x, y, e, b) = (r.x, r.y, r.right(), r.bottom());
    vec![
        Step::Move(x + q, y),
        Step::Line(e - q, y),
        Step::Curve(e - k, y, e, y + k, e, y + q),
        Step::Line(e, b - q),
        Step::Curve(e, b - k, e - k, b, e - q, b),
        Step::Line(x + q, b),
        Step::Curve(x + k, b, x, b - k, x, b - q),
        Step::Line(x, y + q),
        Step::Curve(x, y + k, x + k, y, x + q, y),
        Step::Close,
    ]
}

/// The outline of an ellipse.
pub(crate) fn ellipse_path((cx, cy): (f64, f64), rx: f64, ry: f64) -> Vec<Step> {
    let (kx, ky) = (rx * QUARTER, ry * QUARTER);
    vec![
        Step::Move(cx + rx, cy),
        Step::Curve(cx + rx, cy + ky, cx + kx, cy + ry, cx, cy + ry),
        Step::Curve(cx - kx, cy + ry, cx - rx, cy + ky, cx - rx, cy),
        Step::Curve(cx - rx, cy - ky, cx - kx, cy - ry, cx, cy - ry),
        Step::Curve(cx + kx, cy - ry, cx + rx, cy - ky, cx + rx, cy),
        Step::Close,
    ]
}

/// A slice of a pie between two angles (radians, clockwise from twelve o'clock), as many short lines; `inner` leaves a hole.
pub(crate) fn slice_path(center: (f64, f64), radii: (f64, f64), inner: f64, from: f64, to: f64) -> Vec<Step> {
    let steps = (((to - from).abs() / 0.06).ceil() as usize).max(1);
    let at = |angle: f64, share: f64| {
        (center.0 + radii.0 * share * angle.sin(), center.1 - radii.1 * share * angle.cos())
    };
    let arc = |i: usize| from + (to - from) * i as f64 / steps as f64;
    let mut points: Vec<(f64, f64)> = (0..=steps).map(|i| at(arc(i), 1.0)).collect();
    if inner > 0.0 {
        points.extend((0..=steps).rev().map(|i| at(arc(i), inner)));
    } else {
        points.push(center);
    }
    polygon_path(&points)
}
