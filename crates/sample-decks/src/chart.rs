use std::f64::consts::TAU;

use crate::look::ChartLook;
use crate::scene::{Kind, Rect, Scene, Step, slice_path};
use crate::theme::Theme;
use crate::words::CATEGORIES;
use crate::{Color, Rng};

/// The forms that charts take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Bars,
    Rows,
    Line,
    Donut,
    PerspectivePie,
    PerspectiveBars,
}

impl Form {
    pub(crate) fn draw(rng: &mut Rng, is_fitting: bool) -> Self {
        if is_fitting {
            [Self::Bars, Self::Bars, Self::Rows, Self::Line, Self::Donut][rng.below(5)]
        } else {
            [Self::PerspectivePie, Self::PerspectivePie, Self::PerspectiveBars][rng.below(3)]
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bars => "bars",
            Self::Rows => "rows",
            Self::Line => "line",
            Self::Donut => "donut",
            Self::PerspectivePie => "perspective pie",
            Self::PerspectiveBars => "perspective bars",
        }
    }
}

/// What all marks of a chart need.
pub(crate) struct Chart<'a> {
    pub(crate) theme: &'a Theme,
    pub(crate) look: &'a ChartLook,
    pub(crate) size: f64,
    pub(crate) ink: Color,
    values: Vec<f64>,
    names: Vec<&'static str>,
    colors: Vec<Color>,
    focus: usize,
}

impl<'a> Chart<'a> {
    pub(crate) fn new(theme: &'a Theme, look: &'a ChartLook, size: f64, ink: Color, rng: &mut Rng) -> Self {
        let count = look.categories;
        let mut names = CATEGORIES;
        rng.shuffle(&mut names);
        let growth = rng.range(1.05, 1.35);
        let values: Vec<f64> =
            (0..count).map(|i| 20.0 * growth.powi(i as i32) * rng.range(0.75, 1.25)).collect();
        let focus = count - 1;
        let quiet = theme.background.mix(theme.ink(), 0.28);
        let colors = (0..count)
            .map(|i| {
                if look.is_rainbow {
                    Color::hsl(360.0 * i as f64 / count as f64 + rng.range(0.0, 30.0), 0.9, 0.5)
                } else if look.has_highlight {
                    if i == focus { theme.accent } else { quiet }
                } else {
                    theme.accent
                }
            })
            .collect();
        Self { theme, look, size, ink, values, names: names[..count].to_vec(), colors, focus }
    }

    /// Draws the chart into an area and notes it.
    pub(crate) fn draw(&self, scene: &mut Scene, area: Rect, form: Form) {
        let note_height = if self.look.has_callout { self.size * 2.6 } else { 0.0 };
        let inner = Rect::new(area.x, area.y + note_height, area.w, area.h - note_height);
        match form {
            Form::Bars => self.bars(scene, inner),
            Form::Rows => self.rows(scene, inner),
            Form::Line => self.line(scene, inner),
            Form::Donut => self.donut(scene, inner),
            Form::PerspectivePie => self.perspective_pie(scene, inner),
            Form::PerspectiveBars => self.perspective_bars(scene, inner),
        }
        if self.look.has_callout {
            self.callout(scene, area);
        }
        scene.note(Kind::Chart, area, self.size, self.ink.contrast(self.theme.background));
    }

    fn label(&self, scene: &mut Scene, at: (f64, f64), is_bold: bool, text: &str) {
        let color = if is_bold { self.theme.accent } else { self.ink };
        scene.text_centered(at, self.size, self.theme.face(is_bold), color, text);
    }

    fn highest(&self) -> f64 {
        self.values.iter().copied().fold(1.0, f64::max)
    }

    fn grid(&self, scene: &mut Scene, plot: Rect) {
        let color = self.theme.background.mix(self.theme.ink(), 0.12 + 0.5 * self.look.grid);
        if self.look.grid > 0.12 {
            let lines = 3 + (self.look.grid * 7.0).round() as usize;
            for i in 0..=lines {
                let y = plot.y + plot.h * i as f64 / lines as f64;
                scene.line((plot.x, y), (plot.right(), y), color, 0.8 + 1.6 * self.look.grid);
            }
        }
        let base = self.theme.background.mix(self.theme.ink(), 0.6);
        scene.line((plot.x, plot.bottom()), (plot.right(), plot.bottom()), base, 2.0);
    }

    fn plot(&self, area: Rect) -> Rect {
        let below = if self.look.has_names { self.size * 1.7 } else { 4.0 };
        let above = if self.look.has_values { self.size * 1.5 } else { 4.0 };
        Rect::new(area.x, area.y + above, area.w, area.h - below - above)
    }

    fn bars(&self, scene: &mut Scene, area: Rect) {
        let plot = self.plot(area);
        self.grid(scene, plot);
        let (step, highest) = (plot.w / self.values.len() as f64, self.highest());
        for (i, value) in self.values.iter().enumerate() {
            let height = plot.h * value / highest;
            let x = plot.x + step * (i as f64 + 0.18);
            scene.rect(Rect::new(x, plot.bottom() - height, step * 0.64, height), self.colors[i]);
            let middle = x + step * 0.32;
            if self.look.has_values {
                let y = plot.bottom() - height - self.size * 0.4;
                self.label(scene, (middle, y), i == self.focus, &format!("{value:.0}"));
            }
            if self.look.has_names && (step > self.size * 2.6 || i % 2 == 0) {
                self.label(scene, (middle, plot.bottom() + self.size * 1.3), false, self.names[i]);
            }
        }
    }

    fn rows(&self, scene: &mut Scene, area: Rect) {
        let left = if self.look.has_names { self.size * 5.2 } else { 4.0 };
        let right = if self.look.has_values { self.size * 3.0 } else { 4.0 };
        let plot = Rect::new(area.x + left, area.y, area.w - left - right, area.h);
        let (step, highest) = (plot.h / self.values.len() as f64, self.highest());
        for (i, value) in self.values.iter().rev().enumerate() {
            let index = self.values.len() - 1 - i;
            let bar =
                Rect::new(plot.x, plot.y + step * (i as f64 + 0.2), plot.w * value / highest, step * 0.6);
            scene.rect(bar, self.colors[index]);
            let baseline = bar.y + bar.h / 2.0 + self.size * 0.35;
            if self.look.has_names {
                scene.text(
                    (area.x, baseline),
                    self.size,
                    self.theme.face(false),
                    self.ink,
                    self.names[index],
                );
            }
            if self.look.has_values {
                let at = (bar.right() + self.size * 1.4, baseline);
                self.label(scene, at, index == self.focus, &format!("{value:.0}"));
            }
        }
        let base = self.theme.background.mix(self.theme.ink(), 0.6);
        scene.line((plot.x, plot.y), (plot.x, plot.bottom()), base, 2.0);
    }

    fn line(&self, scene: &mut Scene, area: Rect) {
        let plot = self.plot(area);
        self.grid(scene, plot);
        let (last, highest) = (self.values.len() - 1, self.highest());
        let at = |i: usize| {
            let x = plot.x + plot.w * (0.04 + 0.92 * i as f64 / last.max(1) as f64);
            (x, plot.bottom() - plot.h * self.values[i] / highest)
        };
        let path = (0..=last)
            .map(|i| if i == 0 { Step::Move(at(0).0, at(0).1) } else { Step::Line(at(i).0, at(i).1) });
        let color = if self.look.is_rainbow { self.colors[0] } else { self.theme.accent };
        scene.stroke(path.collect(), color, 5.0);
        for i in 0..=last {
            let is_marked = !self.look.has_highlight || i == self.focus;
            if is_marked {
                scene.disc(at(i), if i == self.focus { 9.0 } else { 6.0 }, color, 1.0);
            }
            if self.look.has_values && (is_marked || i == 0) {
                self.label(
                    scene,
                    (at(i).0, at(i).1 - self.size * 0.8),
                    i == self.focus,
                    &format!("{:.0}", self.values[i]),
                );
            }
            if self.look.has_names {
                let name = format!("{}", 2021 + i);
                let is_shown = plot.w / self.values.len() as f64 > self.size * 2.4 || i % 2 == 0;
                if is_shown {
                    self.label(scene, (at(i).0, plot.bottom() + self.size * 1.3), false, &name);
                }
            }
        }
    }

    fn donut(&self, scene: &mut Scene, area: Rect) {
        let radius = (area.h * 0.46).min(area.w * 0.3);
        let center = (area.x + radius * 1.1, area.y + area.h / 2.0);
        let total: f64 = self.values.iter().sum();
        let mut from = 0.0;
        for (i, value) in self.values.iter().enumerate().rev() {
            let to = from + TAU * value / total;
            let color = if self.look.is_rainbow || self.look.has_highlight {
                self.colors[i]
            } else {
                self.theme
                    .accent
                    .mix(self.theme.background, 0.8 * (1.0 - (i + 1) as f64 / self.values.len() as f64))
            };
            scene.fill(slice_path(center, (radius, radius), 0.58, from, to - 0.02), color, 1.0);
            let row = center.1 + (self.values.len() as f64 / 2.0 - 0.7 - i as f64) * self.size * 1.6;
            let x = center.0 + radius * 1.25;
            if self.look.has_names {
                scene.rect(Rect::new(x, row - self.size * 0.7, self.size * 0.8, self.size * 0.8), color);
                scene.text(
                    (x + self.size * 1.2, row),
                    self.size,
                    self.theme.face(false),
                    self.ink,
                    self.names[i],
                );
            }
            if self.look.has_values {
                let text = format!("{:.0}%", 100.0 * value / total);
                let color = if i == self.focus { self.theme.accent } else { self.ink };
                scene.text((x + self.size * 7.0, row), self.size, self.theme.face(true), color, &text);
            }
            from = to;
        }
    }

    /// The chart that hides its numbers: slices in perspective, with a thick rim.
    fn perspective_pie(&self, scene: &mut Scene, area: Rect) {
        let radii = (area.w * 0.38, area.h * 0.27);
        let center = (area.x + area.w * 0.42, area.y + area.h * 0.42);
        let (total, depth): (f64, f64) = (self.values.iter().sum(), area.h * 0.16);
        let mut from = 0.4;
        let slices: Vec<(f64, f64)> = self
            .values
            .iter()
            .map(|value| {
                let start = from;
                from += TAU * value / total;
                (start, from)
            })
            .collect();
        for layer in (0..8).rev() {
            let lower = (center.0, center.1 + depth * f64::from(layer) / 7.0);
            for (i, &(from, to)) in slices.iter().enumerate() {
                let shade = if layer == 0 { 0.0 } else { 0.35 };
                let color = self.colors[i].mix(Color(0, 0, 0), shade);
                scene.fill(slice_path(lower, radii, 0.0, from, to), color, 1.0);
            }
        }
        if self.look.has_names {
            for (i, name) in self.names.iter().enumerate() {
                let at = (area.x + area.w * 0.84, area.y + self.size * (1.0 + 1.25 * i as f64));
                if at.1 < area.bottom() {
                    scene.rect(Rect::new(at.0 - 12.0, at.1 - 8.0, 8.0, 8.0), self.colors[i]);
                    scene.text(at, self.size * 0.8, self.theme.face(false), self.ink, name);
                }
            }
        }
    }

    /// Bars as boxes in perspective, which no value can be read from.
    fn perspective_bars(&self, scene: &mut Scene, area: Rect) {
        let plot = self.plot(area);
        self.grid(scene, plot);
        let (step, highest) = (plot.w / self.values.len() as f64, self.highest());
        let depth = step * 0.45;
        for (i, value) in self.values.iter().enumerate() {
            let height = (plot.h - depth) * value / highest;
            let (x, y, w) = (plot.x + step * (i as f64 + 0.1), plot.bottom() - height, step * 0.5);
            let dark = self.colors[i].mix(Color(0, 0, 0), 0.35);
            let light = self.colors[i].mix(Color::WHITE, 0.35);
            scene.polygon(
                &[
                    (x + w, y),
                    (x + w + depth, y - depth),
                    (x + w + depth, plot.bottom() - depth),
                    (x + w, plot.bottom()),
                ],
                dark,
                1.0,
            );
            scene.polygon(
                &[(x, y), (x + depth, y - depth), (x + w + depth, y - depth), (x + w, y)],
                light,
                1.0,
            );
            scene.rect(Rect::new(x, y, w, height), self.colors[i]);
            if self.look.has_names && i % 2 == 0 {
                self.label(scene, (x + w / 2.0, plot.bottom() + self.size * 1.2), false, self.names[i]);
            }
        }
    }

    fn callout(&self, scene: &mut Scene, area: Rect) {
        let (first, last) = (self.values[0], self.values[self.focus]);
        let text = format!("{:.1}x since the start", last / first);
        let size = self.size * 1.25;
        let face = self.theme.face(true);
        let width = face.width(&text, size) + size * 1.6;
        let tag = Rect::new(area.x, area.y, width.min(area.w), size * 1.8);
        scene.card(tag, size * 0.9, self.theme.accent);
        scene.text((tag.x + size * 0.8, tag.y + size * 1.25), size, face, self.theme.accent.on(), &text);
    }
}
