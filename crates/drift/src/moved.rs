//! Which recent decks differ, where something changed.

use slide_data::Prediction;

use crate::decks::Decks;
use crate::features::{Column, Table};
use crate::report::{FeatureDrift, MovedDeck};

/// So many decks are named.
const NAMED: usize = 5;
/// A deviation between decks of training below this share of all slides is taken for it.
const LEAST_DEVIATION: f64 = 0.02;

/// How far a deck lies from those of training in a changed feature.
struct Away {
    column: usize,
    deviations: f64,
}

/// The recent decks that lie farthest from those of training in the changed features, the farthest first.
pub(crate) fn moved_decks(
    table: &Table,
    decks: &Decks,
    features: &[FeatureDrift],
    slides: &[&Prediction],
) -> Vec<MovedDeck> {
    let changed: Vec<usize> = (0..features.len())
        .filter(|index| features[*index].drifted && !features[*index].is_of_failures())
        .collect();
    let scales: Vec<(f64, f64)> = changed.iter().map(|index| scale(table, decks, *index)).collect();
    let mut moved: Vec<MovedDeck> = (table.reference_decks..table.decks.len())
        .filter_map(|deck| {
            let away = |(column, (mean, deviation)): (&usize, &(f64, f64))| {
                let has = table.columns[*column].has[deck];
                let rank = decks.columns[*column].means[deck][0];
                has.then(|| Away { column: *column, deviations: (rank - mean) / deviation })
            };
            let all: Vec<Away> = changed.iter().zip(&scales).filter_map(away).collect();
            describe(table, slides, deck, all)
        })
        .collect();
    moved.sort_by(|a, b| b.distance.total_cmp(&a.distance).then(a.deck_id.cmp(&b.deck_id)));
    moved.truncate(NAMED);
    moved
}

/// Mean and deviation of the ranks of training's decks.
fn scale(table: &Table, decks: &Decks, column: usize) -> (f64, f64) {
    let has = &table.columns[column].has;
    let own = (0..table.reference_decks).filter(|deck| has[*deck]);
    let ranks: Vec<f64> = own.map(|deck| decks.columns[column].means[deck][0]).collect();
    let deviation = statistics::standard_deviation(&ranks).unwrap_or(0.0);
    (statistics::mean(&ranks).unwrap_or(0.0), deviation.max(LEAST_DEVIATION))
}

fn describe(table: &Table, slides: &[&Prediction], deck: usize, mut all: Vec<Away>) -> Option<MovedDeck> {
    all.sort_by(|a, b| b.deviations.abs().total_cmp(&a.deviations.abs()));
    let first = all.first()?;
    let squares: f64 = all.iter().map(|away| away.deviations.powi(2)).sum();
    let far = all.iter().filter(|away| away.deviations.abs() > 2.0);
    let name = &table.decks[deck];
    Some(MovedDeck {
        deck_id: name.clone(),
        slides: slides.iter().filter(|slide| slide.deck_id == *name).count(),
        distance: (squares / all.len() as f64).sqrt(),
        features: far.map(|away| table.columns[away.column].name.clone()).collect(),
        example_slide: example(&table.columns[first.column], slides, deck, first.deviations > 0.0),
    })
}

/// The deck's slide with the largest value of a feature, or the smallest.
fn example(column: &Column, slides: &[&Prediction], deck: usize, is_high: bool) -> String {
    let mut own = column.cells.iter().filter(|cell| cell.deck == deck);
    let cell = if is_high { own.next_back() } else { own.next() };
    cell.and_then(|cell| slides.get(cell.slide)).map(|slide| slide.slide_id.clone()).unwrap_or_default()
}
