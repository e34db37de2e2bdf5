//! Raters of every kind and what the gate says of them: the short form of `benches/gate.rs`.

#[path = "simulation/raters.rs"]
mod raters;
mod simulation;

use raters::{RATERS, Release, count};

fn try_all(draws: usize) {
    for rater in RATERS {
        let [pass, undecided, fail] = count(rater, draws);
        let outcomes = format!("{}: {pass} passed, {undecided} undecided, {fail} failed", rater.name);
        match rater.release {
            Release::Never => assert!(pass * 100 <= draws, "{outcomes}"),
            Release::Mostly => assert!(pass * 10 >= draws * 8 && fail * 100 <= draws, "{outcomes}"),
            Release::Sometimes => {}
        }
    }
}

#[test]
fn no_bad_rater_is_released_and_good_ones_are() {
    try_all(20);
}

#[test]
#[ignore = "minutes: 1,000 draws of each rater"]
fn at_most_one_release_of_a_hundred_is_wrong() {
    try_all(1000);
}
