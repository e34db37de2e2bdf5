//! The words that are counted on the picture of a slide follow those that were drawn on it.

use sample_decks::{Deck, Item, Scene, render_png};
use slide_data::imaging::decode;
use slide_data::{Limits, image_features};

/// The words that stand on a page.
fn drawn(scene: &Scene) -> f64 {
    let texts = scene.items.iter().filter_map(|item| match item {
        Item::Text { text, .. } => Some(text.as_str()),
        Item::Shape { .. } => None,
    });
    let words = texts.flat_map(str::split_whitespace);
    words.filter(|word| word.chars().any(char::is_alphanumeric)).count() as f64
}

fn seen(scene: &Scene) -> f64 {
    let png = render_png(scene, 1280).expect("the page is drawn");
    image_features(&decode(&png, &Limits::default()).expect("it is an image"))["words"]
}

/// Places in rising order; equal values share theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let place = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let up_to = values.iter().filter(|other| *other <= value).count();
        0.5 * (below + up_to) as f64
    };
    values.iter().map(place).collect()
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (of_a, of_b) = (mean(a), mean(b));
    let product = |x: &[f64], of_x: f64, y: &[f64], of_y: f64| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - of_x) * (y - of_y)).sum()
    };
    product(a, of_a, b, of_b) / (product(a, of_a, a, of_a) * product(b, of_b, b, of_b)).sqrt()
}

#[test]
fn words_seen_follow_words_drawn() {
    let scenes: Vec<Scene> = (0..8).flat_map(|index| Deck::draw(20, index).scenes()).collect();
    let drawn: Vec<f64> = scenes.iter().map(drawn).collect();
    let seen: Vec<f64> = scenes.iter().map(seen).collect();
    let spearman = correlation(&ranks(&drawn), &ranks(&seen));
    assert!(spearman > 0.9, "{spearman:.3} on {} pages", scenes.len());
    let mut ratios: Vec<f64> = seen.iter().zip(&drawn).map(|(seen, drawn)| seen / drawn).collect();
    ratios.sort_by(f64::total_cmp);
    let [low, median, high] = [1, 2, 3].map(|quarter| ratios[quarter * ratios.len() / 4]);
    assert!(low > 0.85 && high < 1.2, "{low:.2} {median:.2} {high:.2}");
}
