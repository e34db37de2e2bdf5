//! The agreement numbers equal those of `krippendorff` and scikit-learn on random ratings with gaps.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

use serde::Deserialize;
use slide_label::agreement::{AgreementOptions, Estimate, RatingMatrix, agreement, pair_agreement};

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    ratings: Vec<Vec<Option<u8>>>,
    krippendorff_alpha: f64,
    within_one: f64,
    exact: f64,
    quadratic_weighted_kappa: f64,
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    a: usize,
    b: usize,
    slides: usize,
    within_one: f64,
    exact: f64,
    quadratic_weighted_kappa: Option<f64>,
    krippendorff_alpha: Option<f64>,
}

fn matrix(case: &Case) -> RatingMatrix {
    let raters = (0..case.ratings.len()).map(|rater| format!("r{rater:02}")).collect();
    let mut matrix = RatingMatrix::new(vec!["clarity".to_owned()], raters);
    for slide in 0..case.ratings[0].len() {
        let given: Vec<(u32, [u8; 1])> =
            (0u32..).zip(&case.ratings).filter_map(|(rater, row)| Some((rater, [row[slide]?]))).collect();
        let cluster = slide as u32 / 4;
        matrix.push(&format!("s{slide}"), cluster, given.iter().map(|(rater, code)| (*rater, &code[..])));
    }
    matrix
}

/// Both sides sum the same products in f64, in another order.
fn assert_equal(found: Estimate, expected: Option<f64>, what: &str) {
    match (found.value, expected) {
        (Some(found), Some(expected)) => {
            assert!((found - expected).abs() < 1e-9, "{what}: {found} for {expected}");
        }
        (found, expected) => assert_eq!(found, expected, "{what}"),
    }
}

#[test]
fn agreement_equals_the_reference() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/agreement.json")).unwrap();
    assert_eq!(fixture.cases.len(), 6);
    for (index, case) in fixture.cases.iter().enumerate() {
        let matrix = matrix(case);
        let all = &agreement(&matrix, AgreementOptions { resamples: 0, seed: 0 }).criteria[0];
        assert_equal(all.krippendorff_alpha, Some(case.krippendorff_alpha), &format!("case {index} alpha"));
        assert_equal(
            all.quadratic_weighted_kappa,
            Some(case.quadratic_weighted_kappa),
            &format!("case {index} kappa"),
        );
        assert_equal(all.within_one, Some(case.within_one), &format!("case {index} within one"));
        assert_equal(all.exact, Some(case.exact), &format!("case {index} exact"));
        let pairs = pair_agreement(&matrix, 0, 0);
        assert_eq!(pairs.len(), case.pairs.len());
        for (found, expected) in pairs.iter().zip(&case.pairs) {
            let what = format!("case {index} pair {} {}", expected.a, expected.b);
            assert_eq!(
                (&found.a, &found.b),
                (&format!("r{:02}", expected.a), &format!("r{:02}", expected.b))
            );
            assert_eq!(found.slides, expected.slides, "{what}");
            assert_equal(found.within_one, Some(expected.within_one), &what);
            assert_equal(found.exact, Some(expected.exact), &what);
            assert_equal(found.quadratic_weighted_kappa, expected.quadratic_weighted_kappa, &what);
            assert_equal(found.krippendorff_alpha, expected.krippendorff_alpha, &what);
        }
    }
}

#[test]
fn intervals_hold_the_value_and_shrink_with_more_decks() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/agreement.json")).unwrap();
    let width = |case: &Case| {
        let all = agreement(&matrix(case), AgreementOptions::default());
        let alpha = all.criteria[0].krippendorff_alpha;
        let (value, low, high) = (alpha.value.unwrap(), alpha.low.unwrap(), alpha.high.unwrap());
        assert!(low < value && value < high, "{low} {value} {high}");
        high - low
    };
    assert!(width(&fixture.cases[5]) < width(&fixture.cases[4]), "200 slides against 12");
}
