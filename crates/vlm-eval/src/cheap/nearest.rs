//! The mean of what people said of the most similar slides.

use slide_data::expected_score;

use super::gram::dot;
use super::{Forecast, ImageNumbers, KnownSlide, Rated, UNIFORM};
use crate::table::Distribution;

/// Numbers of neighbours that are tried.
const COUNTS: [usize; 6] = [1, 3, 5, 9, 15, 25];

/// A slide that was learned from, seen from another.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbour {
    /// The slide.
    pub slide_id: String,
    /// Cosine of the angle between both slides' mean features, after the mean of all slides was taken off: 1 for the same image.
    pub similarity: f64,
}

/// Rated slides, found by their mean features.
#[derive(Debug, Clone)]
pub(super) struct Nearest {
    centre: Vec<f64>,
    slide_ids: Vec<String>,
    /// Of length 1.
    directions: Vec<Vec<f32>>,
    criteria: Vec<Neighbourhood>,
}

/// The slides that are rated on a criterion, and how many of them are asked.
#[derive(Debug, Clone)]
struct Neighbourhood {
    slides: Vec<usize>,
    targets: Vec<Distribution>,
    count: usize,
}

impl Nearest {
    pub(super) fn fit(rated: &Rated, known: &[&KnownSlide]) -> Self {
        let width = known.first().map_or(0, |slide| slide.numbers.mean.len());
        let mut centre = vec![0.0; width];
        for slide in known {
            let n = known.len() as f64;
            centre.iter_mut().zip(&slide.numbers.mean).for_each(|(sum, value)| *sum += f64::from(*value) / n);
        }
        let directions: Vec<Vec<f32>> =
            known.iter().map(|slide| direction(&slide.numbers.mean, &centre)).collect();
        let neighbourhood = |(slides, targets): &(Vec<usize>, Vec<Distribution>)| {
            let mut found = Neighbourhood { slides: slides.clone(), targets: targets.clone(), count: 1 };
            found.choose_count(&directions, &rated.group_of);
            found
        };
        let criteria = rated.criteria.iter().map(neighbourhood).collect();
        let slide_ids = known.iter().map(|slide| slide.slide_id.clone()).collect();
        Self { centre, slide_ids, directions, criteria }
    }

    pub(super) fn rate(&self, image: &ImageNumbers) -> Forecast {
        let similarities = self.similarities(image);
        let forecast = |criterion: &Neighbourhood| {
            let nearest = criterion.nearest(|slide| Some(similarities[slide]));
            criterion.mean_of(&nearest, criterion.count)
        };
        self.criteria.iter().map(forecast).collect()
    }

    pub(super) fn of(&self, image: &ImageNumbers, count: usize) -> Vec<Neighbour> {
        let named = self.slide_ids.iter().zip(self.similarities(image));
        let mut all: Vec<Neighbour> =
            named.map(|(id, similarity)| Neighbour { slide_id: id.clone(), similarity }).collect();
        all.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        all.truncate(count);
        all
    }

    fn similarities(&self, image: &ImageNumbers) -> Vec<f64> {
        let own = direction(&image.mean, &self.centre);
        self.directions.iter().map(|other| dot(&own, other)).collect()
    }
}

impl Neighbourhood {
    /// Takes the count whose expected scores err least, squared, where each slide asks those of other groups.
    fn choose_count(&mut self, directions: &[Vec<f32>], group_of: &[usize]) {
        let mut errors = [0.0; COUNTS.len()];
        for (slide, target) in self.slides.iter().zip(&self.targets) {
            let of_another_group = |other: usize| {
                (group_of[other] != group_of[*slide]).then(|| dot(&directions[*slide], &directions[other]))
            };
            let nearest = self.nearest(of_another_group);
            for (count, error) in COUNTS.iter().zip(&mut errors) {
                let said = expected_score(&self.mean_of(&nearest, *count));
                *error += (said - expected_score(target)).powi(2);
            }
        }
        let best = COUNTS.iter().zip(errors).min_by(|(_, a), (_, b)| a.total_cmp(b));
        self.count = best.map_or(1, |(count, _)| *count);
    }

    /// Places of the rated slides that have a similarity, the most similar first.
    fn nearest(&self, similarity: impl Fn(usize) -> Option<f64>) -> Vec<usize> {
        let places = self.slides.iter().enumerate();
        let mut found: Vec<(f64, usize)> =
            places.filter_map(|(place, slide)| Some((similarity(*slide)?, place))).collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        found.into_iter().map(|(_, place)| place).collect()
    }

    fn mean_of(&self, nearest: &[usize], count: usize) -> Distribution {
        let asked = &nearest[..count.min(nearest.len())];
        if asked.is_empty() {
            return UNIFORM;
        }
        std::array::from_fn(|level| {
            asked.iter().map(|place| self.targets[*place][level]).sum::<f64>() / asked.len() as f64
        })
    }
}

/// The direction from the centre, of length 1; zeros at the centre.
fn direction(mean: &[f32], centre: &[f64]) -> Vec<f32> {
    let off: Vec<f64> = mean.iter().zip(centre).map(|(value, centre)| f64::from(*value) - centre).collect();
    let length = off.iter().map(|value| value * value).sum::<f64>().sqrt();
    off.iter().map(|value| if length > 0.0 { (value / length) as f32 } else { 0.0 }).collect()
}
