use crate::look::ChartLook;
use crate::scene::{Kind, Rect, Scene};
use crate::theme::Theme;
use crate::words::CATEGORIES;
use crate::{Color, Rng};

/// A table: rows of categories, columns of numbers.
pub(crate) struct Table<'a> {
    pub(crate) theme: &'a Theme,
    pub(crate) look: &'a ChartLook,
    pub(crate) size: f64,
    pub(crate) ink: Color,
}

impl Table<'_> {
    /// Draws the table into an area and notes it: a bad one has many narrow columns, a heavy grid and no order.
    pub(crate) fn draw(&self, scene: &mut Scene, area: Rect, rng: &mut Rng) {
        let rows = self.look.categories;
        let columns = (rows * 2 / 3).clamp(3, 8);
        let mut names = CATEGORIES;
        rng.shuffle(&mut names);
        let note = if self.look.has_callout { self.size * 2.6 } else { 0.0 };
        let height = ((area.h - note) / (rows + 1) as f64).min(self.size * 3.2);
        let width = area.w / (columns + 1) as f64;
        let cell = |row: usize, column: usize| {
            Rect::new(area.x + width * column as f64, area.y + note + height * row as f64, width, height)
        };
        self.ground(scene, rows, columns, &cell, rng);
        let size = self.size.min(height * 0.7).min(width * 0.24);
        let years = (0..columns).map(|i| format!("{}", 2027 - columns + i));
        let baseline = |r: &Rect| r.y + r.h / 2.0 + size * 0.35;
        for (column, year) in years.enumerate() {
            let r = cell(0, column + 1);
            let color = if self.look.grid > 0.5 { self.ink } else { self.theme.accent.on() };
            scene.text_centered((r.x + r.w / 2.0, baseline(&r)), size, self.theme.face(true), color, &year);
        }
        for row in 1..=rows {
            let is_focus = self.look.has_highlight && row == 1;
            let r = cell(row, 0);
            let name = if self.look.has_names { names[row - 1] } else { "-" };
            scene.text((r.x + 8.0, baseline(&r)), size, self.theme.face(is_focus), self.ink, name);
            for column in 1..=columns {
                let r = cell(row, column);
                let value = 10 + rng.below(900);
                let text = if self.look.has_values {
                    format!("{value}")
                } else {
                    format!("{value}.{:03}", rng.below(1000))
                };
                scene.text_centered(
                    (r.x + r.w / 2.0, baseline(&r)),
                    size,
                    self.theme.face(is_focus),
                    self.ink,
                    &text,
                );
            }
        }
        if self.look.has_callout {
            let text = "We lead in every year";
            let (size, face) = (self.size * 1.25, self.theme.face(true));
            let tag = Rect::new(area.x, area.y, face.width(text, size) + size * 1.6, size * 1.8);
            scene.card(tag, size * 0.9, self.theme.accent);
            scene.text((tag.x + size * 0.8, tag.y + size * 1.25), size, face, self.theme.accent.on(), text);
        }
        scene.note(Kind::Table, area, size, self.ink.contrast(self.theme.background));
    }

    fn ground(
        &self,
        scene: &mut Scene,
        rows: usize,
        columns: usize,
        cell: &dyn Fn(usize, usize) -> Rect,
        rng: &mut Rng,
    ) {
        let (first, last) = (cell(0, 0), cell(rows, columns));
        let whole = Rect::new(first.x, first.y, last.right() - first.x, last.bottom() - first.y);
        if self.look.is_rainbow {
            for row in 0..=rows {
                for column in 0..=columns {
                    let tint = Color::hsl(rng.range(0.0, 360.0), 0.9, 0.5).mix(self.theme.background, 0.55);
                    scene.rect(cell(row, column), tint);
                }
            }
        } else if self.look.grid <= 0.5 {
            scene.rect(Rect::new(whole.x, whole.y, whole.w, first.h), self.theme.accent);
        }
        if self.look.has_highlight {
            let focus = cell(1, 0);
            scene.rect(
                Rect::new(whole.x, focus.y, whole.w, focus.h),
                self.theme.background.mix(self.theme.accent, 0.25),
            );
        }
        let strength = self.look.grid;
        let color = self.theme.background.mix(self.theme.ink(), 0.18 + 0.7 * strength);
        for row in 1..=rows {
            let y = cell(row, 0).bottom();
            scene.line((whole.x, y), (whole.right(), y), color, 0.8 + 1.8 * strength);
        }
        if strength > 0.5 {
            for column in 0..=columns + 1 {
                let x = whole.x + first.w * column as f64;
                scene.line((x, whole.y), (x, whole.bottom()), color, 0.8 + 1.8 * strength);
            }
        }
    }
}
