use std::fmt::Write;

use project_files::signed;
use slide_label::agreement::{Agreement, Ceiling, CriterionAgreement, Estimate, PairAgreement, RaterSummary};

/// A table in plain text: a wide first column and five more.
struct Table(String);

impl Table {
    fn line(&mut self, [first, rest @ ..]: [&str; 6]) {
        let _ = write!(self.0, "{first:<28}");
        for cell in rest {
            let _ = write!(self.0, "{cell:>20}");
        }
        self.0.push('\n');
    }

    /// A head for measures of agreement, after an empty line.
    fn head(&mut self, first: &str) {
        self.0.push('\n');
        self.line([first, "slides", "within one", "exact", "weighted kappa", "alpha (ordinal)"]);
    }

    fn agreement(&mut self, name: &str, slides: usize, measures: [Estimate; 4]) {
        let [near, equal, kappa, alpha] = measures.map(estimate);
        self.line([name, &slides.to_string(), &near, &equal, &kappa, &alpha]);
    }

    fn criteria(&mut self, head: &str, criteria: &[CriterionAgreement]) {
        if criteria.is_empty() {
            return;
        }
        self.head(head);
        for found in criteria {
            let kappa = found.quadratic_weighted_kappa;
            let measures = [found.within_one, found.exact, kappa, found.krippendorff_alpha];
            self.agreement(&found.criterion, found.slides, measures);
        }
    }

    fn ceilings(&mut self, ceilings: &[Ceiling]) {
        if ceilings.is_empty() {
            return;
        }
        self.0.push('\n');
        self.line([
            "human ceiling",
            "noise (points)",
            "within one",
            "exact",
            "mean error",
            "person to others",
        ]);
        for ceiling in ceilings {
            let values = [ceiling.noise, ceiling.within_one, ceiling.exact, ceiling.mae];
            let [noise, near, equal, error] = values.map(estimate);
            let person = format!("{:.2}", ceiling.person_within_one);
            self.line([&ceiling.criterion, &noise, &near, &equal, &error, &person]);
        }
        ceilings.iter().filter(|ceiling| ceiling.is_too_few).for_each(|few| self.too_few(few));
    }

    fn too_few(&mut self, ceiling: &Ceiling) {
        let Ceiling { criterion, slides, .. } = ceiling;
        let _ = writeln!(self.0, "{criterion}: too few to go by: {slides} slides rated by two or more");
    }

    fn raters(&mut self, raters: &[RaterSummary], groups: &[Vec<String>]) {
        self.0.push('\n');
        self.line(["rater", "ratings", "severity", "", "", ""]);
        for rater in raters {
            let severity = signed(rater.severity, 3);
            self.line([&rater.annotator, &rater.ratings.to_string(), &severity, "", "", ""]);
        }
        if groups.len() > 1 {
            let named: Vec<String> = groups.iter().map(|group| group.join(", ")).collect();
            let _ = writeln!(
                self.0,
                "these groups share no slide, so nobody can say which is more severe: {}",
                named.join(" | ")
            );
        }
    }
}

/// The tables of `pq-label agreement`.
pub(crate) fn agreement(found: &Agreement, ceilings: &[Ceiling], pairs: &[PairAgreement]) -> String {
    let mut table = Table(format!("{} ratings; brackets hold 95 % intervals over decks\n", found.ratings));
    table.criteria("criterion", &found.criteria);
    table.criteria("on calibration slides", &found.calibration);
    table.ceilings(ceilings);
    table.raters(&found.raters, &found.groups);
    if !pairs.is_empty() {
        table.head("pair");
    }
    for pair in pairs {
        let measures = [pair.within_one, pair.exact, pair.quadratic_weighted_kappa, pair.krippendorff_alpha];
        table.agreement(&format!("{} & {}: {}", pair.a, pair.b, pair.criterion), pair.slides, measures);
    }
    table.0
}

fn estimate(estimate: Estimate) -> String {
    match (estimate.value, estimate.low, estimate.high) {
        (None, ..) => "-".to_owned(),
        (Some(value), Some(low), Some(high)) => format!("{value:.2} [{low:.2}, {high:.2}]"),
        (Some(value), ..) => format!("{value:.2}"),
    }
}
