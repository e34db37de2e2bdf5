use crate::chart::{Chart, Form};
use crate::look::Look;
use crate::scene::{Kind, Rect, Scene};
use crate::table::Table;
use crate::text::{LEADING, Style, plain};
use crate::theme::Theme;
use crate::topic::Topic;
use crate::words::{Company, Word, buzzwords};
use crate::{Color, Face, Family, Rng, decoration, illustration};

/// Draws one slide; `look.words` becomes the number of words that found room.
pub(crate) struct Painter<'a> {
    pub(crate) theme: &'a Theme,
    pub(crate) company: &'a Company,
    pub(crate) topic: Topic,
    pub(crate) look: &'a mut Look,
    pub(crate) rng: Rng,
    pub(crate) scene: Scene,
    /// The form of the chart or table, if one is drawn.
    pub(crate) form: Option<&'static str>,
}

impl Painter<'_> {
    /// Draws everything.
    pub(crate) fn paint(&mut self, number: usize) {
        let area = decoration::frame(&mut self.scene, self.theme, self.look.polish);
        let below = self.headline(area);
        let mut rest = Rect::new(area.x, below, area.w, area.bottom() - below);
        if self.look.figures + self.look.pills > 0 {
            let height = 104.0;
            let strip = if self.theme.evidence_on_top {
                Rect::new(rest.x, rest.y, rest.w, height)
            } else {
                Rect::new(rest.x, rest.bottom() - height, rest.w, height)
            };
            rest.h -= height + 18.0;
            if self.theme.evidence_on_top {
                rest.y += height + 18.0;
            }
            self.evidence(strip);
        }
        self.middle(rest);
        self.footer(area, number);
        decoration::stickers(&mut self.scene, self.look, &mut self.rng);
    }

    fn jitter(&mut self, scale: f64) -> (f64, f64) {
        let reach = self.look.jitter * scale;
        (self.rng.range(-reach, reach), self.rng.range(-reach * 0.5, reach * 0.5))
    }

    fn family(&mut self) -> Family {
        if self.look.is_font_mixed { Family::ALL[self.rng.below(3)] } else { self.theme.family }
    }

    /// The colour of something that should take the theme's, but may clash.
    fn accent(&mut self) -> Color {
        if self.rng.chance(self.look.clash) { Color::loud(&mut self.rng) } else { self.theme.accent }
    }

    /// Text on `paper` in the slide's contrast.
    fn ink(&self, paper: Color) -> Color {
        paper.on().mix(self.theme.accent, 0.06).faded(paper, self.look.contrast)
    }

    /// A colour for emphasis on `paper`, no stronger than the slide's contrast allows.
    fn strong(&self, color: Color, paper: Color) -> Color {
        let enough = self.look.contrast.min(4.5) * 0.7;
        if color.contrast(paper) < enough {
            self.ink(paper)
        } else {
            color.faded(paper, self.look.contrast.max(1.7))
        }
    }

    fn headline(&mut self, area: Rect) -> f64 {
        let is_specific = self.rng.chance(self.look.evidence_share.max(0.15));
        let text = self.company.headline(&mut self.rng, self.topic, self.look.is_message, is_specific);
        let mut letters = text.chars();
        let text: String =
            letters.next().map_or(String::new(), |c| c.to_uppercase().chain(letters).collect());
        let (family, paper) = (self.family(), self.theme.background);
        let color = self.ink(paper);
        let size = self.look.headline_size * if self.topic == Topic::Title { 1.25 } else { 1.0 };
        let style = Style { family, is_bold: true, size, color, strong: color, paper };
        let (dx, dy) = self.jitter(0.8);
        let at = (area.x + dx.abs(), (area.y + dy).max(30.0));
        let height = style.draw(&mut self.scene, Kind::Headline, at, area.w - 40.0, &plain(&text));
        area.y + height + 20.0
    }

    fn middle(&mut self, area: Rect) {
        let has_chart = self.look.chart.is_some();
        let has_image = !has_chart && self.look.blocks <= 2 && self.look.words <= 60;
        if !has_chart && !has_image {
            self.text(area, 3);
            return;
        }
        let share = if has_chart { 0.56 } else { 0.42 };
        let wide = area.w * share;
        let gap = 44.0;
        let (left, right) = if self.theme.chart_on_left {
            (area.x, area.x + wide + gap)
        } else {
            (area.right() - wide, area.x)
        };
        let (dx, dy) = self.jitter(0.7);
        let visual = Rect::new(left, area.y, wide, area.h).moved(dx, dy);
        let beside = Rect::new(right, area.y, area.w - wide - gap, area.h);
        if has_chart {
            self.chart(visual);
        } else if self.look.figures == 0 && self.rng.chance(0.8) {
            illustration::stock(&mut self.scene, self.theme, visual, &mut self.rng);
        } else {
            illustration::illustrate(&mut self.scene, self.theme, visual, self.topic, &mut self.rng);
        }
        self.text(beside, if self.look.blocks >= 4 { 2 } else { 1 });
    }

    fn chart(&mut self, area: Rect) {
        let ink = self.ink(self.theme.background);
        let size = (self.look.body_size * 0.8).clamp(9.0, 20.0);
        let Some(look) = self.look.chart.clone() else { return };
        let is_table = matches!(self.topic, Topic::Competition | Topic::Financials) && self.rng.chance(0.7);
        if is_table {
            Table { theme: self.theme, look: &look, size, ink }.draw(&mut self.scene, area, &mut self.rng);
            self.form = Some("table");
        } else {
            let form = Form::draw(&mut self.rng, look.is_fitting);
            Chart::new(self.theme, &look, size, ink, &mut self.rng).draw(&mut self.scene, area, form);
            self.form = Some(form.name());
        }
    }

    /// Divides an area into at most `columns` columns of blocks and fills them with sentences.
    fn text(&mut self, area: Rect, columns: usize) {
        let blocks = self.look.blocks;
        let columns = if blocks == 4 { columns.min(2) } else { columns.min(blocks) };
        let rows = blocks.div_ceil(columns);
        let gap = 26.0;
        let (w, h) = (
            (area.w - gap * (columns - 1) as f64) / columns as f64,
            (area.h - gap * (rows - 1) as f64) / rows as f64,
        );
        let mut drawn = 0;
        for block in 0..blocks {
            let (column, row) = (block % columns, block / columns);
            let (dx, dy) = self.jitter(1.0);
            let cell = Rect::new(area.x + (w + gap) * column as f64, area.y + (h + gap) * row as f64, w, h);
            let wanted = (self.look.words * (block + 1)) / blocks - (self.look.words * block) / blocks;
            drawn += self.block(cell.moved(dx, dy), wanted.max(3));
        }
        self.look.words = drawn;
    }

    fn block(&mut self, cell: Rect, wanted: usize) -> usize {
        let is_one_of_many = self.look.blocks > 1;
        let is_clashing = is_one_of_many && self.rng.chance(self.look.clash * 0.8);
        let has_card = is_clashing || (is_one_of_many && self.look.polish > 0.5);
        let paper = self.paper(is_clashing, has_card);
        if has_card {
            scene_card(&mut self.scene, cell, self.theme.corner, paper);
        }
        let inner = if has_card { cell.inset(14.0) } else { cell };
        let mut y = inner.y;
        if is_one_of_many {
            let (heading, family, color) = (Company::heading(&mut self.rng), self.family(), self.accent());
            let size = (self.look.body_size * 1.3).max(16.0);
            let color = self.strong(color, paper);
            let style = Style { family, is_bold: true, size, color, strong: color, paper };
            y += style.draw(&mut self.scene, Kind::Heading, (inner.x, y), inner.w, &plain(&heading)) + 4.0;
        }
        self.sentences(Rect::new(inner.x, y, inner.w, inner.bottom() - y), wanted, paper)
    }

    /// What a block's text stands on.
    fn paper(&mut self, is_clashing: bool, has_card: bool) -> Color {
        match (is_clashing, has_card) {
            (true, _) => Color::loud(&mut self.rng).mix(Color::WHITE, 0.25),
            (_, true) => self.theme.surface(),
            _ => self.theme.background,
        }
    }

    fn sentences(&mut self, area: Rect, wanted: usize, paper: Color) -> usize {
        let (family, size, color) = (self.family(), self.look.body_size, self.ink(paper));
        let strong = self.strong(self.theme.accent, paper);
        let style = Style { family, is_bold: false, size, color, strong, paper };
        let indent = size * 0.9;
        let (mut y, mut drawn) = (area.y, 0);
        while drawn == 0 || drawn + 3 < wanted {
            let words: Vec<Word> = self.company.sentence(&mut self.rng, self.look.evidence_share);
            let height = style.height(&words, area.w - indent);
            if y + height > area.bottom() && drawn > 0 {
                break;
            }
            let dot = (area.x + size * 0.25, y + size * 0.62);
            self.scene.disc(dot, size * 0.16, strong, 1.0);
            y += style.draw(&mut self.scene, Kind::Body, (area.x + indent, y), area.w - indent, &words);
            y += size * 0.45;
            drawn += words.len();
        }
        drawn
    }

    fn evidence(&mut self, strip: Rect) {
        let figures = self.look.figures;
        let slots = (figures + self.look.pills.div_ceil(2)).max(3);
        let gap = 22.0;
        let w = (strip.w - gap * (slots - 1) as f64) / slots as f64;
        let shown = Company::figures(&mut self.rng, figures);
        for (slot, (value, label)) in shown.iter().enumerate() {
            let (dx, dy) = self.jitter(0.5);
            let tile = Rect::new(strip.x + (w + gap) * slot as f64, strip.y, w, strip.h).moved(dx, dy);
            self.figure(tile, value, label);
        }
        for (i, word) in buzzwords(&mut self.rng, self.look.pills).into_iter().enumerate() {
            let slot = figures + i / 2;
            let (dx, dy) = self.jitter(0.5);
            let y = strip.y + if i % 2 == 0 { 0.0 } else { strip.h * 0.52 };
            let pill = Rect::new(strip.x + (w + gap) * slot as f64, y, w, strip.h * 0.44).moved(dx, dy);
            self.pill(pill, word);
        }
    }

    /// A tile with a large figure and what it counts.
    fn figure(&mut self, tile: Rect, value: &str, label: &str) {
        let paper = self.theme.surface();
        scene_card(&mut self.scene, tile, self.theme.corner, paper);
        self.scene.rect(Rect::new(tile.x, tile.y, 7.0, tile.h), self.theme.accent);
        let face = self.theme.face(true);
        let color = self.strong(self.theme.accent, paper);
        let size = 46.0_f64.min(tile.w / face.width(value, 1.0) * 0.8);
        self.scene.text((tile.x + 24.0, tile.y + 54.0), size, face, color, value);
        let size = (self.look.body_size * 0.85).clamp(10.0, 20.0);
        let ink = self.ink(paper);
        self.scene.text((tile.x + 24.0, tile.y + 86.0), size, self.theme.face(false), ink, label);
        self.scene.note(Kind::Figure, tile, size, ink.contrast(paper));
    }

    /// A buzzword in an outlined tag.
    fn pill(&mut self, area: Rect, word: &str) {
        let color = self.accent();
        let width = area.w.min(250.0);
        let area = Rect::new(area.x, area.y, width, area.h);
        self.scene.stroke(crate::scene::round_path(area, area.h / 2.0), color, 3.0);
        let face = Face { family: self.theme.family, is_bold: false };
        let size = 19.0_f64.min(width / face.width(word, 1.0) * 0.8);
        let ink = self.ink(self.theme.background);
        let at = (area.x + area.w / 2.0, area.y + area.h / 2.0 + size * 0.35);
        self.scene.text_centered(at, size, face, ink, word);
        self.scene.note(Kind::Pill, area, size, ink.contrast(self.theme.background));
    }

    fn footer(&mut self, area: Rect, number: usize) {
        let ink = self.ink(self.theme.background);
        if self.look.has_source {
            let text = Company::source(&mut self.rng);
            let size = (self.look.body_size * 0.62).clamp(9.0, 15.0);
            let at = (area.x, 680.0 + size);
            let width = self.scene.text(at, size, self.theme.face(false), ink, &text);
            let line = Rect::new(at.0, at.1 - size, width, size * LEADING);
            self.scene.note(Kind::Source, line, size, ink.contrast(self.theme.background));
        }
        if self.look.polish > 0.6 {
            let name = format!("{}  {number}", self.company.name);
            let width = self.theme.face(false).width(&name, 14.0);
            self.scene.text((1176.0 - width, 695.0), 14.0, self.theme.face(false), ink, &name);
        }
    }
}

fn scene_card(scene: &mut Scene, area: Rect, corner: f64, color: Color) {
    if area.w > 0.0 && area.h > 0.0 {
        scene.card(area, corner, color);
    }
}
