//! Intervals of agreement and the order of the queue are, to the bit, those of earlier versions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use slide_data::{Manifest, Rubric, SlideRecord};
use slide_label::agreement::{RatingMatrix, pair_agreement};
use slide_label::{Calibration, LabelConfig, Queue, Store};

#[test]
fn intervals_of_pairs_are_those_of_earlier_versions() {
    let raters = ["Ana", "Ben"].map(str::to_owned).to_vec();
    let mut matrix = RatingMatrix::new(vec!["clarity".to_owned()], raters);
    for slide in 0..40u32 {
        let codes = [[1 + (slide * 7 % 5) as u8], [1 + ((slide * 7 + slide % 3) % 5) as u8]];
        matrix.push(&slide.to_string(), slide / 4, (0..2).zip(codes.iter().map(|code| &code[..])));
    }
    let pair = &pair_agreement(&matrix, 400, 3)[0];
    let found =
        [pair.within_one, pair.exact].map(|estimate| [estimate.low, estimate.high].map(Option::unwrap));
    let bits = found.map(|ends| ends.map(f64::to_bits));
    assert_eq!(bits, [[0.45, 0.725], [0.225, 0.5]].map(|ends: [f64; 2]| ends.map(f64::to_bits)), "{found:?}");
}

#[test]
fn people_meet_slides_in_the_order_of_earlier_versions() {
    let record = |index: usize| SlideRecord::sample(&format!("d{}", index % 6), index);
    let manifest = Manifest { slides: (0..24).map(record).collect() };
    let config = LabelConfig { calibration_slides: 2, random_share: 0.3, ..LabelConfig::default() };
    let store = Store::new(Rubric::default());
    let calibration = Calibration::of("nowhere".as_ref(), &manifest, &store, &config).unwrap();
    let mut queue = Queue::new(&manifest, &store, &config, &calibration);
    let found = ["Ana", "Bénédicte"].map(|name| queue.next(name, &[], &[], 12, Instant::now()).join(" "));
    let expected = [
        "d0-18 d0-6 d1-13 d4-10 d2-2 d5-5 d1-19 d4-16 d2-14 d5-17 d1-1 d4-4",
        "d0-18 d0-6 d4-10 d3-3 d5-5 d0-12 d4-22 d2-20 d3-9 d5-17 d4-16 d1-7",
    ];
    assert_eq!(found, expected);
}
