use crate::font::Family;
use crate::{Color, Face, Rng};

/// How the top of a slide is set off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderStyle {
    Plain,
    Bar,
    Rule,
    Side,
}

/// A deck's colours, type and manners.
#[derive(Debug, Clone)]
pub(crate) struct Theme {
    pub(crate) background: Color,
    pub(crate) accent: Color,
    pub(crate) second: Color,
    pub(crate) family: Family,
    pub(crate) header: HeaderStyle,
    pub(crate) evidence_on_top: bool,
    pub(crate) chart_on_left: bool,
    pub(crate) corner: f64,
}

impl Theme {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let hue = rng.range(0.0, 360.0);
        let is_dark = rng.chance(0.3);
        let background = if is_dark {
            Color::hsl(hue + rng.range(-30.0, 30.0), rng.range(0.2, 0.5), rng.range(0.06, 0.13))
        } else if rng.chance(0.5) {
            Color::WHITE
        } else {
            Color::hsl(hue + rng.range(-40.0, 40.0), rng.range(0.1, 0.5), rng.range(0.95, 0.98))
        };
        let lightness = if is_dark { rng.range(0.55, 0.68) } else { rng.range(0.32, 0.46) };
        let accent = Color::hsl(hue, rng.range(0.55, 0.85), lightness);
        let turn = [25.0, -25.0, 180.0][rng.below(3)];
        let second = Color::hsl(hue + turn, rng.range(0.4, 0.7), lightness + 0.06);
        let headers = [HeaderStyle::Plain, HeaderStyle::Bar, HeaderStyle::Rule, HeaderStyle::Side];
        Self {
            background,
            accent,
            second,
            family: Family::ALL[rng.below(3)],
            header: headers[rng.below(4)],
            evidence_on_top: rng.chance(0.25),
            chart_on_left: rng.chance(0.4),
            corner: [0.0, 6.0, 16.0][rng.below(3)],
        }
    }

    pub(crate) fn is_dark(&self) -> bool {
        self.background.luminance() < 0.2
    }

    pub(crate) fn face(&self, is_bold: bool) -> Face {
        Face { family: self.family, is_bold }
    }

    /// The strongest text colour of the theme.
    pub(crate) fn ink(&self) -> Color {
        self.background.on().mix(self.accent, 0.06)
    }

    /// A quiet surface that sets off what stands on it.
    pub(crate) fn surface(&self) -> Color {
        self.background.mix(self.accent, if self.is_dark() { 0.16 } else { 0.08 })
    }
}
