//! Scores as people read them on a terminal.

use std::fmt::Write as _;

use slide_data::{DeckVersions, Prediction, Rubric, ScoreDifference, Tendency};

/// Characters of a slide's name that are shown.
const NAME: usize = 32;

/// The line above the scores.
pub(crate) fn header(rubric: &Rubric) -> String {
    let mut line = format!("{:NAME$}", "mean, score (8 in 10 raters)");
    for criterion in &rubric.criteria {
        let _ = write!(line, "  {:>width$}", criterion.name, width = column(&criterion.name));
    }
    line
}

/// The scores of a slide: the mean, the score that was chosen, and between which scores eight in ten raters lie; a dash where a criterion does not apply.
pub(crate) fn row(rubric: &Rubric, name: &str, prediction: &Prediction) -> String {
    let length = name.chars().count();
    // The end of a name tells slides of one deck apart.
    let shown: String = if length > NAME {
        std::iter::once('…').chain(name.chars().skip(length - NAME + 1)).collect()
    } else {
        name.to_owned()
    };
    let mut line = format!("{shown:NAME$}");
    for criterion in &rubric.criteria {
        let score = cell(prediction, &criterion.key).unwrap_or_else(|| "–".to_owned());
        let _ = write!(line, "  {score:>width$}", width = column(&criterion.name));
    }
    line
}

/// What became of the slides of an older version.
pub(crate) fn versions(rubric: &Rubric, versions: &DeckVersions) -> String {
    let DeckVersions { kept, moved, changed, added, removed, criteria } = versions;
    let mut text = format!(
        "\nagainst the older version: {} kept, {} moved, {} changed, {} new, {} left out\n",
        kept.len(),
        moved.len(),
        changed.len(),
        added.len(),
        removed.len()
    );
    let name = |found: &ScoreDifference| {
        let known = rubric.criteria.iter().find(|criterion| criterion.key == found.criterion);
        known.map_or_else(|| found.criterion.clone(), |criterion| criterion.name.clone())
    };
    let mut line = |what: &str, found: &ScoreDifference| {
        let (said, name) = (said(found.tendency), name(found));
        let _ = writeln!(text, "{what:NAME$}  {name:20} {:.1} → {:.1}  {said}", found.before, found.after);
    };
    for slide in changed {
        for found in &slide.differences {
            line(&format!("slide {} (was {})", slide.after, slide.before), found);
        }
    }
    for found in criteria {
        line("all changed slides", found);
    }
    text
}

fn said(tendency: Tendency) -> &'static str {
    match tendency {
        Tendency::Better => "better",
        Tendency::Worse => "worse",
        Tendency::Unclear => "cannot tell",
    }
}

fn cell(prediction: &Prediction, key: &str) -> Option<String> {
    let mut cell = format!("{:.1}", prediction.expected.get(key)?);
    if let Some(score) = prediction.score(key) {
        let _ = write!(cell, ", {}", score.get());
    }
    if let Some([low, high]) = prediction.interval.get(key) {
        let _ = write!(cell, " ({}–{})", low.get(), high.get());
    }
    Some(cell)
}

/// As wide as its name and `3.2, 3 (2–4)`.
fn column(name: &str) -> usize {
    name.chars().count().max(12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_names_and_a_long_name_keeps_its_end() {
        let rubric = Rubric::default();
        let distribution = [0.05, 0.15, 0.4, 0.35, 0.05];
        let mut prediction = Prediction {
            distributions: rubric.keys().skip(1).map(|key| (key.to_owned(), distribution)).collect(),
            ..Prediction::sample("s")
        };
        prediction.decide(None);
        let long = format!("{}, slide 12", "é".repeat(60));
        let (header, row) = (header(&rubric), row(&rubric, &long, &prediction));
        assert_eq!(header.chars().count(), row.chars().count());
        assert!(row.starts_with('…') && row.contains(", slide 12"), "{row}");
        assert!(row.contains("  –  ") && row.matches("3.2, 3 (2–4)").count() == 4, "{row}");
    }
}
