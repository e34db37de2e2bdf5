//! Two versions of a deck: what is said of their slides, by hand and over many draws (the short form of `benches/versions.rs`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "simulation/coverage.rs"]
mod coverage;
mod simulation;
#[path = "simulation/versions.rs"]
mod versions;

use std::collections::BTreeMap;

use project_files::ErrorSpread;
use slide_data::{PageMatch, Prediction, Rubric, Target, Tendency};
use versions::{Setting, Work, count, numbered};
use vlm_eval::{VersionSlide, compare_versions, least_telling};

const GOOD: Setting = Setting { noise: 0.45, of_deck: 0.2, decks: 8 };

#[test]
fn a_planted_change_is_found_and_seldom_more_than_it() {
    let said = count(GOOD, Work { redrawn: 4, improved: 4, by: 2.0 }, 200, 3);
    assert!(said.found * 100 >= 90 * said.pairs, "{said:?}");
    assert!(said.wrong_better * 100 <= 5 * said.pairs, "{said:?}");
    let idle = count(GOOD, Work { redrawn: 12, improved: 0, by: 0.0 }, 200, 4);
    assert!((idle.wrong_better + idle.wrong_worse) * 100 <= 10 * idle.pairs, "{idle:?}");
}

fn scored(means: &[(&str, f64)]) -> Prediction {
    let mut prediction = Prediction::sample("slide");
    prediction.expected = means.iter().map(|(key, mean)| ((*key).to_owned(), *mean)).collect();
    prediction
}

fn spreads() -> BTreeMap<String, ErrorSpread> {
    let spread = ErrorSpread { deviation: 0.5, slope: 0.8, degrees: 40.0 };
    ["clarity", "design"].map(|key| (key.to_owned(), spread)).into()
}

#[test]
fn what_is_clear_is_said_and_the_rest_is_not() {
    let before =
        [scored(&[("clarity", 1.4), ("design", 3.0), ("readability", 2.0)]), scored(&[("design", 3.0)])];
    let after =
        [scored(&[("clarity", 4.4), ("design", 3.6), ("readability", 5.0)]), scored(&[("clarity", 2.0)])];
    let matches = [PageMatch::Changed(0, 0), PageMatch::Added(1), PageMatch::Removed(1)];
    let (rubric, old, new) = (Rubric::default(), numbered(&before), numbered(&after));
    let found = compare_versions(&rubric, &matches, &old, &new, &spreads());
    assert_eq!((found.added.as_slice(), found.removed.as_slice()), ([2].as_slice(), [2].as_slice()));
    let said: Vec<(&str, Tendency)> =
        found.changed[0].differences.iter().map(|d| (d.criterion.as_str(), d.tendency)).collect();
    assert_eq!(
        said,
        [("clarity", Tendency::Better), ("design", Tendency::Unclear), ("readability", Tendency::Unclear)]
    );
    // The 97.5 % quantile of t with 40 degrees is 2.0210754 (tables), times 0.5 times the root of 2.
    let [low, high] = found.changed[0].differences[0].interval.unwrap();
    assert!(
        (high - 3.0 - 1.429_116_1).abs() < 1e-6 && (low - 3.0 + 1.429_116_1).abs() < 1e-6,
        "{low} {high}"
    );
    assert_eq!(found.changed[0].differences[2].interval, None, "nobody measured how far it errs there");
    assert_eq!(found.criteria.len(), 3);
    let back = compare_versions(&rubric, &matches[..1], &new, &old, &spreads());
    assert_eq!(back.changed[0].differences[0].tendency, Tendency::Worse);
    let unmeasured = compare_versions(&rubric, &matches, &old, &new, &BTreeMap::new());
    assert!(unmeasured.criteria.iter().all(|found| found.tendency == Tendency::Unclear));
    let bare: Vec<VersionSlide<'_>> =
        old.iter().map(|slide| VersionSlide { scores: None, ..*slide }).collect();
    let unscored = compare_versions(&rubric, &matches, &bare, &new, &spreads());
    assert!(unscored.changed[0].differences.is_empty() && unscored.criteria.is_empty());
}

/// By alternating least squares over slope and decks' levels, which is another way to the same regression.
#[test]
fn the_spread_is_that_of_a_regression_within_decks() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut world = simulation::World::draw(&simulation::Design::new(6, 8..=12), &mut rng);
    world.rate(&mut simulation::model(0.45, 0.8), &mut rng);
    let spread = coverage::results(&world).error_spread["clarity"];
    let mut rows: Vec<(&str, f64, f64)> = Vec::new();
    for item in &world.items {
        let Target::Scored(target) = item.label.target("clarity") else { continue };
        let mean = |p: &[f64; 5]| {
            p.iter().zip(1..).map(|(p, s)| p * f64::from(s)).sum::<f64>() / p.iter().sum::<f64>()
        };
        rows.push((
            &item.group,
            mean(target.distribution()),
            mean(&item.prediction.distributions["clarity"]),
        ));
    }
    let (mut slope, mut decks) = (0.0, BTreeMap::<&str, f64>::new());
    for _ in 0..3000 {
        let names: Vec<&str> = rows.iter().map(|row| row.0).collect();
        for name in names {
            let own = rows.iter().filter(|row| row.0 == name).map(|row| row.2 - slope * row.1);
            let (sum, count) = own.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
            decks.insert(name, sum / count);
        }
        let products: f64 = rows.iter().map(|row| row.1 * (row.2 - decks[row.0])).sum();
        slope = products / rows.iter().map(|row| row.1 * row.1).sum::<f64>();
    }
    let squares: f64 = rows.iter().map(|row| (row.2 - slope * row.1 - decks[row.0]).powi(2)).sum();
    let degrees = rows.len() as f64 - decks.len() as f64 - 1.0;
    assert!((spread.degrees - degrees).abs() < 1e-12);
    assert!((spread.slope - slope).abs() < 1e-9, "{} {slope}", spread.slope);
    assert!((spread.deviation - (squares / degrees).sqrt()).abs() < 1e-9);
    // A change must be larger than what two errors make.
    let telling = least_telling(&spread).unwrap();
    assert!(telling > 2.7 * spread.deviation / spread.slope, "{telling}");
    assert_eq!(least_telling(&ErrorSpread { slope: 0.05, ..spread }), None);
}
