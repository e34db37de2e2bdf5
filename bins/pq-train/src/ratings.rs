//! What the model says of the validation slides at an evaluation, beside what people say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use registry::tracking::{Cell, Confusion, Picture, Table};
use slide_data::{Score, expected_score};
use slide_scorer::LabelledSlide;

/// Slides that a table shows at most; confusion matrices count all.
const MOST_ROWS: usize = 64;

/// A rating: five probabilities for each criterion.
type Rating = BTreeMap<String, [f64; Score::LEVELS]>;

/// The ratings of the newest evaluation, from who evaluates to who tracks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ratings(Arc<Mutex<Vec<Rating>>>);

impl Ratings {
    /// Keeps the ratings of all slides, in their order.
    pub(crate) fn put(&self, ratings: Vec<Rating>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ratings;
    }

    /// Takes them away: nothing is left until the next evaluation.
    pub(crate) fn take(&self) -> Vec<Rating> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Makes a table and confusion matrices of ratings.
pub(crate) struct Evaluated {
    ratings: Ratings,
    slides: Vec<LabelledSlide>,
    criteria: Vec<String>,
    pictures: Vec<Cell>,
}

impl Evaluated {
    /// Of these slides, by these criteria.
    pub(crate) fn new(ratings: Ratings, slides: &[LabelledSlide], criteria: Vec<String>) -> Self {
        Self { ratings, slides: slides.to_vec(), criteria, pictures: Vec::new() }
    }

    /// The names of the confusion matrices.
    pub(crate) fn charts(&self) -> Vec<String> {
        self.criteria.iter().map(|key| chart(key)).collect()
    }

    /// The table and the confusion matrices of the newest evaluation, by their names; nothing where there was none.
    pub(crate) fn take(&mut self) -> Option<(Table, Vec<(String, Confusion)>)> {
        let ratings = self.ratings.take();
        if ratings.is_empty() {
            return None;
        }
        if self.pictures.is_empty() {
            self.pictures = self.slides.iter().take(MOST_ROWS).map(picture).collect();
        }
        let shown = self.slides.iter().zip(&ratings).zip(&self.pictures);
        let rows = shown.map(|((slide, rating), picture)| self.row(slide, rating, picture)).collect();
        let matrices = self.criteria.iter().map(|key| (chart(key), self.confusion(key, &ratings))).collect();
        Some((Table { columns: self.columns(), rows }, matrices))
    }

    fn columns(&self) -> Vec<String> {
        let of_each =
            |key: &String| [format!("{key}: people"), format!("{key}: votes"), format!("{key}: model")];
        let fixed = ["picture", "slide", "deck"].map(str::to_owned);
        fixed.into_iter().chain(self.criteria.iter().flat_map(of_each)).collect()
    }

    fn row(&self, slide: &LabelledSlide, rating: &Rating, picture: &Cell) -> Vec<Cell> {
        let text = |text: &str| Cell::Text(text.to_owned());
        let mut row = vec![picture.clone(), text(&slide.record.slide_id), text(&slide.record.deck_id)];
        for key in &self.criteria {
            let people = slide.label.score(key).map(|score| Cell::Number(f64::from(score.get())));
            row.push(people.unwrap_or(Cell::Missing));
            row.push(votes(slide, key));
            let expected = rating.get(key).map(expected_score);
            // Two digits are as much as anybody reads.
            row.push(expected.map_or(Cell::Missing, |score| Cell::Number((score * 100.0).round() / 100.0)));
        }
        row
    }

    fn confusion(&self, key: &str, ratings: &[Rating]) -> Confusion {
        let mut confusion = Confusion::new((1..=Score::LEVELS).map(|score| score.to_string()).collect());
        for (slide, rating) in self.slides.iter().zip(ratings) {
            if let (Some(people), Some(distribution)) = (slide.label.score(key), rating.get(key)) {
                let model = (expected_score(distribution) + 0.5).floor();
                confusion.count(usize::from(people.get()) - 1, model as usize - 1);
            }
        }
        confusion
    }
}

fn chart(criterion: &str) -> String {
    format!("eval/confusion/{criterion}")
}

fn picture(slide: &LabelledSlide) -> Cell {
    let png = std::fs::read(&slide.path).ok();
    png.and_then(|png| Picture::of_png(&png)).map_or(Cell::Missing, Cell::Picture)
}

/// What each of the raters gave, the lowest first.
fn votes(slide: &LabelledSlide, key: &str) -> Cell {
    let Some(counts) = slide.label.distribution.get(key) else { return Cell::Missing };
    let each = (1..).zip(counts).flat_map(|(score, count)| (0..*count).map(move |_| score.to_string()));
    Cell::Text(each.collect::<Vec<String>>().join(" "))
}
