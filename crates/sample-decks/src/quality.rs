use serde::{Deserialize, Serialize};

use crate::Rng;

/// How good a slide is on each criterion, from 1 (poor) to 5 (excellent), before anyone has rated it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// One message, seen at a glance.
    pub clarity: f64,
    /// Layout, colour and alignment look intended.
    pub design: f64,
    /// The chart or table makes its point; `None` where the slide has neither.
    pub data_visualization: Option<f64>,
    /// Large text with strong contrast.
    pub readability: f64,
    /// Specific and backed by evidence.
    pub content_quality: f64,
}

/// The lowest and the highest quality.
const RANGE: (f64, f64) = (1.0, 5.0);

impl Quality {
    /// The criteria's keys, in the order of [`Quality::values`].
    pub const KEYS: [&str; 5] = ["clarity", "design", "data_visualization", "readability", "content_quality"];

    /// The values in the order of [`Quality::KEYS`].
    pub fn values(&self) -> [Option<f64>; 5] {
        [
            Some(self.clarity),
            Some(self.design),
            self.data_visualization,
            Some(self.readability),
            Some(self.content_quality),
        ]
    }
}

/// What a deck's author is good at; each slide varies around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habit([f64; 5]);

impl Habit {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let overall = rng.range(-0.5, 0.5);
        Self([(); 5].map(|()| 3.0 + overall + rng.range(-1.0, 1.0)))
    }

    /// Wide enough that a deck shows good and bad slides, and that every score is about equally frequent over many decks.
    pub(crate) fn slide(&self, rng: &mut Rng, has_chart: bool) -> Quality {
        let [clarity, design, data_visualization, readability, content_quality] =
            self.0.map(|habit| fold(habit + rng.range(-2.1, 2.1)));
        Quality {
            clarity,
            design,
            data_visualization: has_chart.then_some(data_visualization),
            readability,
            content_quality,
        }
    }
}

/// Reflects a value that lies outside the range back into it.
fn fold(value: f64) -> f64 {
    let (low, high) = RANGE;
    let value = if value < low { 2.0 * low - value } else { value };
    let value = if value > high { 2.0 * high - value } else { value };
    value.clamp(low, high)
}

/// Linear interpolation through the values that belong to the qualities 1, 2, 3, 4 and 5.
pub(crate) fn along(quality: f64, values: [f64; 5]) -> f64 {
    let position = (quality.clamp(RANGE.0, RANGE.1) - 1.0).min(3.999_999);
    let index = position as usize;
    let share = position - index as f64;
    values[index] + (values[index + 1] - values[index]) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolation_meets_its_values() {
        let values = [10.0, 8.0, 7.0, 3.0, 0.0];
        for (index, value) in values.into_iter().enumerate() {
            assert!((along(index as f64 + 1.0, values) - value).abs() < 1e-4);
        }
        assert!((along(1.5, values) - 9.0).abs() < 1e-9);
    }

    #[test]
    fn every_score_occurs_often() {
        let mut counts = [0_usize; 5];
        for deck in 0..400 {
            let mut rng = Rng::new(deck);
            let habit = Habit::draw(&mut rng);
            for _ in 0..10 {
                counts[habit.slide(&mut rng, true).design.round() as usize - 1] += 1;
            }
        }
        assert!(counts.iter().all(|&n| n > 350), "{counts:?}");
    }
}
