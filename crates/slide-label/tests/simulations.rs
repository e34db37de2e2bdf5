//! The numbers that a lead acts on, against simulated raters whose truth is known. `benches/simulations.rs` is the long form.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking, and is no library")]

mod simulation;

use simulation::{DESIGNS, RatersOf, ceilings, consensus, shown_agreement};

/// Sampling leaves this much between two shares of the same simulated ratings.
const TOLERANCE: f64 = 0.012;

#[test]
fn labels_are_as_good_as_those_of_the_better_of_median_and_whole_correction() {
    for design in &DESIGNS {
        let [median, whole, shrunk] = consensus(design, 60, 5);
        assert!(shrunk >= median.max(whole) - TOLERANCE, "{}: {median} {whole} {shrunk}", design.name);
    }
}

#[test]
fn agreement_shown_for_the_other_slides_is_theirs_and_not_that_of_calibration() {
    for noises in [(0.4, 0.9), (0.9, 0.4), (0.6, 0.6)] {
        let (shown, truth) = shown_agreement(noises, 60, 3);
        assert!((shown - truth).abs() < 0.02, "{noises:?}: {shown} for {truth}");
    }
}

#[test]
fn the_ceiling_is_that_of_the_real_numbers_of_raters() {
    let plans: [(RatersOf, &str); 3] = [
        (|slide| if slide % 10 == 0 { 6 } else { 1 }, "20 by six, 180 by one"),
        (|slide| if slide % 3 == 0 { 6 } else { 1 }, "67 by six, 133 by one"),
        (|_| 2, "all by two"),
    ];
    for (raters_of, what) in plans {
        let found = ceilings(0.6, 200, raters_of, 60, 9);
        assert!((found.exact.0 - found.truth).abs() < 0.035, "{what}: {:?} for {}", found.exact, found.truth);
        // Twenty slides that two people scored are too few to have an interval.
        assert!(found.covered >= 0.85 || found.intervals == 0, "{what}: {}", found.covered);
    }
}
