use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use pq_cli::Verdict;
use report_pages::{Image, MediaType, ValidationReport, render_validation_report};
use slide_data::{Rubric, write_atomic};
use slide_scorer::{LabelledSlide, thumbnail};
use vlm_eval::{Comparison, Evaluation};

const SHOWN: [(&str, &str); 4] = [
    ("overall_within_1", "within one point"),
    ("overall_mae", "mean absolute error"),
    ("overall_qwk", "weighted kappa"),
    ("overall_exact", "exact agreement"),
];

/// Writes the report with the worst misses as images.
pub(crate) fn write_report(
    path: &Path,
    evaluation: &Evaluation,
    rubric: &Rubric,
    slides: &[LabelledSlide],
) -> Result<()> {
    let images = worst_images(evaluation, slides)?;
    let facts = [("Test slides".to_owned(), slides.len().to_string())];
    let html = render_validation_report(&ValidationReport {
        evaluation,
        rubric,
        title: &format!("Validation of {}", evaluation.results.model_version),
        facts: &facts,
        images: &images,
        caveats: &[],
    })?;
    Ok(write_atomic(path, html.as_bytes())?)
}

/// The slides that were rated worst, by their ids.
fn worst_images(evaluation: &Evaluation, slides: &[LabelledSlide]) -> Result<BTreeMap<String, Image>> {
    let mut images = BTreeMap::new();
    for worst in evaluation.worst_slides(12) {
        let Some(slide) = slides.iter().find(|slide| slide.record.slide_id == worst) else { continue };
        let bytes = thumbnail(&slide.image()?.image, 640)?;
        images.insert(worst.to_owned(), Image { media_type: MediaType::Jpeg, bytes });
    }
    Ok(images)
}

/// Prints the verdict: a table for people, the results for machines.
pub(crate) fn verdict(evaluation: &Evaluation, report: &Path, json: bool) -> Result<Verdict> {
    let results = &evaluation.results;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(results)?)?;
    } else {
        let mut columns: Vec<Comparison> = vec![results.comparison(results.model_version.clone())];
        columns.extend(results.baseline.as_ref().map(|baseline| Comparison {
            name: "best constant".to_owned(),
            metrics: baseline.metrics.clone(),
        }));
        columns.extend(results.before.clone());
        columns.extend(results.champion.clone());
        writeln!(out, "{}", table(&columns).trim_end())?;
        for reason in &results.reasons {
            writeln!(out, "  {reason}")?;
        }
        let word = if results.passes_threshold { "passed" } else { "did not pass" };
        writeln!(out, "{word}: {}", report.display())?;
    }
    Ok(if results.passes_threshold { Verdict::Pass } else { Verdict::Fail })
}

fn table(columns: &[Comparison]) -> String {
    let mut text = format!("{:22}", "");
    for column in columns {
        let _ = write!(text, " {:>22}", column.name);
    }
    for (key, name) in SHOWN {
        let _ = write!(text, "\n{name:22}");
        for column in columns {
            let value = column.metrics.get(key).map_or("-".to_owned(), |value| format!("{value:.3}"));
            let _ = write!(text, " {value:>22}");
        }
    }
    text.push('\n');
    text
}
