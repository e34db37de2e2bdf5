use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use slide_data::Score;

use crate::Store;

/// The current ratings of all slides, packed: for each slide its raters, for each rating one byte per criterion.
#[derive(Debug, Clone, Default)]
pub struct RatingMatrix {
    criteria: Vec<String>,
    raters: Vec<String>,
    slides: Vec<Arc<str>>,
    /// The ratings of slide `i` are `offsets[i]..offsets[i + 1]`.
    offsets: Vec<u32>,
    rater_of: Vec<u32>,
    codes: Vec<u8>,
    cluster_of: Vec<u32>,
    clusters: usize,
    /// Beside the slides.
    is_calibration: Vec<bool>,
}

impl RatingMatrix {
    /// An empty matrix over these criteria and raters.
    pub fn new(criteria: Vec<String>, raters: Vec<String>) -> Self {
        Self { criteria, raters, offsets: vec![0], ..Self::default() }
    }

    /// All current ratings of a store; `cluster` names what is resampled as a whole for intervals, such as the slide's deck.
    pub fn from_store(store: &Store, cluster: impl Fn(&str) -> Arc<str>) -> Self {
        let criteria = store.rubric().keys().map(str::to_owned).collect();
        let raters: Vec<String> = store.annotators().map(str::to_owned).collect();
        let by_name: HashMap<&str, u32> =
            raters.iter().enumerate().map(|(index, name)| (name.as_str(), index as u32)).collect();
        let mut matrix = Self::new(criteria, raters.clone());
        let mut clusters = HashMap::new();
        for (slide, ratings) in store.rated_slides() {
            if ratings.is_empty() {
                continue;
            }
            let next = clusters.len() as u32;
            let cluster = *clusters.entry(cluster(slide)).or_insert(next);
            let ratings = ratings.iter().map(|rating| (by_name[rating.annotator], rating.codes));
            matrix.push(slide, cluster, ratings);
        }
        matrix
    }

    /// Adds a slide with its ratings: the rater's index and one code per criterion.
    pub fn push<'a>(&mut self, slide: &str, cluster: u32, ratings: impl Iterator<Item = (u32, &'a [u8])>) {
        self.slides.push(slide.into());
        self.is_calibration.push(false);
        self.cluster_of.push(cluster);
        self.clusters = self.clusters.max(cluster as usize + 1);
        for (rater, codes) in ratings {
            self.rater_of.push(rater);
            self.codes.extend_from_slice(codes);
        }
        self.offsets.push(self.rater_of.len() as u32);
    }

    /// Says which slides everybody rates: how people agree on them is told by itself.
    pub fn mark_calibration(&mut self, is_calibration: impl Fn(&str) -> bool) {
        self.is_calibration = self.slides.iter().map(|slide| is_calibration(slide)).collect();
    }

    /// Whether everybody rates this slide.
    pub(crate) fn is_calibration(&self, slide: usize) -> bool {
        self.is_calibration[slide]
    }

    /// The criteria's keys.
    pub fn criteria(&self) -> &[String] {
        &self.criteria
    }

    /// The raters' names.
    pub fn raters(&self) -> &[String] {
        &self.raters
    }

    /// The slides' ids.
    pub fn slides(&self) -> &[Arc<str>] {
        &self.slides
    }

    /// How many ratings there are.
    pub fn len(&self) -> usize {
        self.rater_of.len()
    }

    /// Whether there is no rating.
    pub fn is_empty(&self) -> bool {
        self.rater_of.is_empty()
    }

    /// The cluster of a slide, and how many clusters there are.
    pub(crate) fn cluster_of(&self, slide: usize) -> usize {
        self.cluster_of[slide] as usize
    }

    pub(crate) fn clusters(&self) -> usize {
        self.clusters
    }

    /// The ratings of a slide, as places for [`Self::rater`] and [`Self::code`].
    pub(crate) fn ratings(&self, slide: usize) -> Range<usize> {
        self.offsets[slide] as usize..self.offsets[slide + 1] as usize
    }

    /// Who gave a rating.
    pub(crate) fn rater(&self, rating: usize) -> usize {
        self.rater_of[rating] as usize
    }

    /// The code of one criterion in a rating.
    pub(crate) fn code(&self, rating: usize, criterion: usize) -> u8 {
        self.codes[rating * self.criteria.len() + criterion]
    }

    /// How often each score was given to a slide; unset and not applicable are left out.
    pub(crate) fn counts(&self, slide: usize, criterion: usize) -> [u32; Score::LEVELS] {
        // One place per possible nibble, so that no code needs a branch.
        let mut counts = [0u32; 16];
        for rating in self.ratings(slide) {
            counts[usize::from(self.code(rating, criterion) & 15)] += 1;
        }
        std::array::from_fn(|level| counts[level + 1])
    }

    /// The scores of one criterion on one slide, with their raters; unset and not applicable are left out.
    pub(crate) fn scores(
        &self,
        slide: usize,
        criterion: usize,
    ) -> impl Iterator<Item = (usize, usize)> + Clone {
        self.ratings(slide).filter_map(move |rating| {
            let score = Score::new(self.code(rating, criterion))?;
            Some((self.rater(rating), score.index()))
        })
    }

    /// How many ratings each rater gave.
    pub(crate) fn ratings_by_rater(&self) -> Vec<usize> {
        let mut counts = vec![0; self.raters.len()];
        self.rater_of.iter().for_each(|&rater| counts[rater as usize] += 1);
        counts
    }
}
