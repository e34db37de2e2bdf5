//! Scores as people read them on a terminal.

use std::fmt::Write as _;

use slide_data::{Prediction, Rubric};

/// Characters of a slide's name that are shown.
const NAME: usize = 32;

/// The line above the scores.
pub(crate) fn header(rubric: &Rubric) -> String {
    let mut line = format!("{:NAME$}", "");
    for criterion in &rubric.criteria {
        let _ = write!(line, "  {:>width$}", criterion.name, width = column(&criterion.name));
    }
    line
}

/// The expected scores of a slide; a dash where a criterion does not apply.
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
        let score = prediction.expected.get(&criterion.key);
        let score = score.map_or_else(|| "–".to_owned(), |score| format!("{score:.1}"));
        let _ = write!(line, "  {score:>width$}", width = column(&criterion.name));
    }
    line
}

fn column(name: &str) -> usize {
    name.chars().count().max(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_names_and_a_long_name_keeps_its_end() {
        let rubric = Rubric::default();
        let prediction = Prediction {
            expected: rubric.keys().skip(1).map(|key| (key.to_owned(), 3.25)).collect(),
            ..Prediction::sample("s")
        };
        let long = format!("{}, slide 12", "é".repeat(60));
        let (header, row) = (header(&rubric), row(&rubric, &long, &prediction));
        assert_eq!(header.chars().count(), row.chars().count());
        assert!(row.starts_with('…') && row.contains(", slide 12"), "{row}");
        assert!(row.contains("–") && row.matches("3.2").count() == 4, "{row}");
    }
}
