use std::fmt::Write;

use slide_label::agreement::{Agreement, Ceiling, Estimate, PairAgreement};

/// The tables of `pq-label agreement`.
pub(crate) fn agreement(found: &Agreement, ceilings: &[Ceiling], pairs: &[PairAgreement]) -> String {
    let mut text = format!("{} ratings; brackets hold 95 % intervals over decks\n\n", found.ratings);
    let mut line = |cells: [&str; 6]| {
        let [first, rest @ ..] = cells;
        let _ = write!(text, "{first:<28}");
        for cell in rest {
            let _ = write!(text, "{cell:>20}");
        }
        text.push('\n');
    };
    line(["criterion", "slides", "within one", "exact", "weighted kappa", "alpha (ordinal)"]);
    for criterion in &found.criteria {
        let values = [
            criterion.within_one,
            criterion.exact,
            criterion.quadratic_weighted_kappa,
            criterion.krippendorff_alpha,
        ];
        let [near, equal, kappa, alpha] = values.map(estimate);
        line([&criterion.criterion, &criterion.slides.to_string(), &near, &equal, &kappa, &alpha]);
    }
    if !ceilings.is_empty() {
        line([""; 6]);
        line(["human ceiling", "noise (points)", "within one", "exact", "mean error", "person to others"]);
    }
    for ceiling in ceilings {
        let values =
            [ceiling.noise, ceiling.within_one, ceiling.exact, ceiling.mae, ceiling.person_within_one];
        let [noise, near, equal, error, person] = values.map(|value| format!("{value:.3}"));
        line([&ceiling.criterion, &noise, &near, &equal, &error, &person]);
    }
    line([""; 6]);
    line(["rater", "ratings", "severity", "", "", ""]);
    for rater in &found.raters {
        line([&rater.annotator, &rater.ratings.to_string(), &format!("{:+.3}", rater.severity), "", "", ""]);
    }
    if !pairs.is_empty() {
        line([""; 6]);
        line(["pair", "slides", "within one", "exact", "weighted kappa", "alpha (ordinal)"]);
    }
    for pair in pairs {
        let values = [pair.within_one, pair.exact, pair.quadratic_weighted_kappa, pair.krippendorff_alpha];
        let [near, equal, kappa, alpha] = values.map(estimate);
        let name = format!("{} & {}: {}", pair.a, pair.b, pair.criterion);
        line([&name, &pair.slides.to_string(), &near, &equal, &kappa, &alpha]);
    }
    text
}

fn estimate(estimate: Estimate) -> String {
    match (estimate.value, estimate.low, estimate.high) {
        (None, ..) => "-".to_owned(),
        (Some(value), Some(low), Some(high)) => format!("{value:.2} [{low:.2}, {high:.2}]"),
        (Some(value), ..) => format!("{value:.2}"),
    }
}
