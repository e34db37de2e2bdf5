use serde::Serialize;

use crate::quality::along;
use crate::{Quality, Rng};

/// What can be seen of a slide's quality: everything the drawing takes from it, and what a viewer could measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Look {
    /// Words of running text; fewer if they do not fit.
    pub words: usize,
    /// Blocks that the text is divided into, each with a heading of its own where there are several.
    pub blocks: usize,
    /// Size of the headline in page units.
    pub headline_size: f64,
    /// Whether the headline states a message and not only a topic.
    pub is_message: bool,
    /// Size of running text in page units.
    pub body_size: f64,
    /// Contrast ratio between text and paper.
    pub contrast: f64,
    /// How far blocks stand off the grid, in page units.
    pub jitter: f64,
    /// Stickers that belong to nothing.
    pub stickers: usize,
    /// How many parts take a loud colour outside the theme, as a share.
    pub clash: f64,
    /// Whether parts are set in other families than the deck's.
    pub is_font_mixed: bool,
    /// Whether the theme's ornaments (accent panel, cards, mark, page number) are drawn, from 0 to 1.
    pub polish: f64,
    /// Figures shown large.
    pub figures: usize,
    /// Buzzword tags.
    pub pills: usize,
    /// Whether sources are named below.
    pub has_source: bool,
    /// Share of sentences that carry evidence.
    pub evidence_share: f64,
    /// The chart's or table's form, if there is one.
    pub chart: Option<ChartLook>,
}

/// What can be seen of a chart or table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that is there or not")]
pub struct ChartLook {
    /// Whether the form fits the numbers (bars or a line, not a pie in perspective).
    pub is_fitting: bool,
    /// Number of bars, points, slices or rows.
    pub categories: usize,
    /// Whether values stand at the marks.
    pub has_values: bool,
    /// Whether categories are named.
    pub has_names: bool,
    /// Strength of the grid, 0 to 1.
    pub grid: f64,
    /// Whether every mark has another colour.
    pub is_rainbow: bool,
    /// Whether the mark that matters is set off and the rest is quiet.
    pub has_highlight: bool,
    /// Whether a note says what to see.
    pub has_callout: bool,
}

impl Look {
    /// Derives the look from a quality, with some chance in each part.
    pub(crate) fn draw(quality: &Quality, rng: &mut Rng) -> Self {
        let mut noisy = |value: f64, spread: f64| quality_step(value + spread * rng.normal());
        let clarity = noisy(quality.clarity, 0.12);
        let clarity_blocks = noisy(quality.clarity, 0.12);
        let readability = noisy(quality.readability, 0.08);
        let contrast = noisy(quality.readability, 0.08);
        let design = noisy(quality.design, 0.12);
        let design_stickers = noisy(quality.design, 0.12);
        let content = noisy(quality.content_quality, 0.12);
        let blocks = along(clarity_blocks, [6.4, 4.4, 3.0, 2.0, 0.8]).round();
        let blocks = if (4.6..5.5).contains(&blocks) { 4.0 } else { blocks };
        let chart = quality.data_visualization.map(|value| ChartLook::draw(value, rng));
        Self {
            words: along(clarity, [92.0, 70.0, 48.0, 28.0, 13.0]).round() as usize,
            blocks: blocks.clamp(1.0, 6.0) as usize,
            headline_size: along(clarity, [26.0, 31.0, 37.0, 45.0, 54.0]),
            is_message: clarity > 2.4,
            body_size: along(readability, [11.0, 15.0, 20.0, 26.0, 33.0]),
            contrast: along(contrast, [1.5, 2.4, 4.2, 7.5, 14.0]),
            jitter: along(design, [62.0, 36.0, 15.0, 4.0, 0.0]),
            stickers: along(design_stickers, [8.5, 5.2, 2.2, 0.2, 0.0]).round() as usize,
            clash: along(design, [1.0, 0.65, 0.25, 0.0, 0.0]),
            is_font_mixed: design < 2.3,
            polish: along(design, [0.0, 0.0, 0.15, 0.75, 1.0]),
            figures: along(content, [-0.4, 0.2, 1.3, 2.6, 4.2]).round().max(0.0) as usize,
            pills: along(content, [5.4, 3.6, 1.4, -0.3, -1.0]).round().max(0.0) as usize,
            has_source: content > 3.4,
            evidence_share: along(content, [0.0, 0.2, 0.5, 0.85, 1.0]),
            chart,
        }
    }
}

impl ChartLook {
    fn draw(quality: f64, rng: &mut Rng) -> Self {
        let mut noisy = || quality_step(quality + 0.12 * rng.normal());
        let form = noisy();
        Self {
            is_fitting: form > 2.3,
            categories: along(noisy(), [13.0, 10.0, 7.4, 5.6, 4.4]).round() as usize,
            has_values: noisy() > 3.4,
            has_names: noisy() > 1.8,
            grid: along(noisy(), [1.0, 1.0, 0.7, 0.25, 0.0]),
            is_rainbow: form < 2.9,
            has_highlight: noisy() > 3.8,
            has_callout: noisy() > 4.3,
        }
    }
}

fn quality_step(value: f64) -> f64 {
    value.clamp(1.0, 5.0)
}
