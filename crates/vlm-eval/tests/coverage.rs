//! The intervals hold what they promise: the short form of `benches/coverage.rs`.

#[path = "simulation/coverage.rs"]
mod coverage;
mod simulation;

use coverage::{MEASURES, cover};

/// In 300 draws a share of 95 % varies by 1.3 points (standard deviation); five of them are 88.7 %.
#[test]
fn intervals_of_eight_decks_hold_the_truth() {
    let covered = cover(0.45, 0.2, 8, 300);
    for (name, share) in MEASURES.iter().zip(covered) {
        assert!(share > 0.887, "{name}: {share}");
    }
}

#[test]
#[ignore = "minutes: the figures of docs/decisions/0015-gate.md"]
fn intervals_hold_the_truth_at_every_size() {
    for decks in [5, 8, 12, 20, 50] {
        for (name, share) in MEASURES.iter().zip(cover(0.45, 0.2, decks, 2000)).take(6) {
            assert!((0.93..=0.975).contains(&share), "{decks} decks, {name}: {share}");
        }
    }
}
