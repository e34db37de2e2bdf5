use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use pq_cli::Verdict;
use report_pages::{Image, MediaType, ValidationReport, render_validation_report};
use slide_data::{Criterion, Rubric, write_atomic};
use slide_scorer::{LabelledSlide, thumbnail};
use vlm_eval::{Comparison, Evaluation, Outcome, ValidationResults};

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
    let mut facts = vec![("Test slides".to_owned(), slides.len().to_string())];
    facts.extend(applicability(&evaluation.results, rubric));
    let html = render_validation_report(&ValidationReport {
        evaluation,
        rubric,
        title: &format!("Validation of {}", evaluation.results.model_version),
        facts: &facts,
        images: &images,
        caveats: &[],
        names: &names(slides),
    })?;
    Ok(write_atomic(path, html.as_bytes())?)
}

/// For each criterion that need not apply how well the model tells to which slides it does.
fn applicability(results: &ValidationResults, rubric: &Rubric) -> Vec<(String, String)> {
    let told = |criterion: &Criterion| {
        let of = |measure: &str| results.metrics.get(&format!("{}_applies_{measure}", criterion.key));
        let accuracy = of("accuracy")?;
        let auc = of("auc").map_or_else(|| "unknown".to_owned(), |auc| format!("{auc:.3}"));
        let how_well = format!("right on {:.0} % of slides, AUC {auc}", 100.0 * accuracy);
        Some((format!("Whether {} applies", criterion.name), how_well))
    };
    rubric.criteria.iter().filter_map(told).collect()
}

/// Slides by file and page, and decks by file, as people know them.
fn names(slides: &[LabelledSlide]) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for slide in slides {
        let record = &slide.record;
        let origin = record.source.origin.as_str();
        let file = Path::new(origin).file_name().map_or(origin.into(), |name| name.to_string_lossy());
        if file.is_empty() {
            continue;
        }
        let page = record
            .source
            .page
            .map_or_else(|| format!("slide {}", record.number), |page| format!("page {page}"));
        names.insert(record.slide_id.clone(), format!("{file}, {page}"));
        names.entry(record.group.clone()).or_insert_with(|| file.into_owned());
    }
    names
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

/// The run and all that it is compared with, in the order of the table.
fn raters(results: &ValidationResults) -> Vec<Comparison> {
    let mut raters: Vec<Comparison> = vec![results.comparison(results.model_version.clone())];
    raters.extend(results.rounded.clone());
    raters.extend(results.baseline.as_ref().map(|baseline| Comparison {
        name: "best constant".to_owned(),
        metrics: baseline.metrics.clone(),
        ..Comparison::default()
    }));
    raters.extend(results.before.clone());
    raters.extend(results.champion.clone());
    raters.extend(results.cheap_baselines.iter().filter(|cheap| !cheap.metrics.is_empty()).cloned());
    raters
}

/// Prints the verdict: a table for people, the results for machines.
pub(crate) fn verdict(
    evaluation: &Evaluation,
    rubric: &Rubric,
    report: &Path,
    json: bool,
) -> Result<Verdict> {
    let results = &evaluation.results;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(results)?)?;
    } else {
        writeln!(out, "{}", table(&raters(results)).trim_end())?;
        let remarks = results.reasons.iter().chain(&results.power).chain(&results.warnings);
        for remark in remarks {
            writeln!(out, "  {remark}")?;
        }
        for (what, how_well) in applicability(results, rubric) {
            writeln!(out, "  {what}: {how_well}")?;
        }
        writeln!(out, "{}: {}", outcome(results), report.display())?;
    }
    Ok(match results.outcome {
        Outcome::Pass => Verdict::Pass,
        Outcome::Fail => Verdict::Fail,
        Outcome::Undecided => Verdict::Undecided,
    })
}

/// The outcome in a word, and which version stays in use for it.
fn outcome(results: &ValidationResults) -> String {
    let word = results.outcome.word();
    match &results.champion {
        Some(champion) if results.outcome != Outcome::Pass => format!("{word}, kept {}", champion.name),
        _ => word.to_owned(),
    }
}

/// Appends the verdict to the summary of a GitHub job, where there is one.
pub(crate) fn step_summary(evaluation: &Evaluation) -> Result<()> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
    Ok(file.write_all(markdown(&evaluation.results).as_bytes())?)
}

/// The verdict, its reasons and the metrics with their intervals.
fn markdown(results: &ValidationResults) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let mut text =
        format!("## Validation of {}: {}\n\n", cell(&results.model_version), cell(&outcome(results)));
    for line in results.reasons.iter().chain(&results.warnings) {
        let _ = writeln!(text, "- {}", cell(line));
    }
    text.push_str("\n| | value | 95 % interval |\n| --- | --- | --- |\n");
    for (key, name) in SHOWN {
        let Some(value) = results.metrics.get(key) else { continue };
        let ends = results.intervals.get(key).map(|i| format!("{:.3} to {:.3}", i.low, i.high));
        let _ = writeln!(text, "| {name} | {value:.3} | {} |", ends.unwrap_or_else(|| "–".to_owned()));
    }
    text.push('\n');
    text
}

/// A line a rater.
fn table(raters: &[Comparison]) -> String {
    let width = raters.iter().map(|rater| rater.name.chars().count()).max().unwrap_or_default();
    let mut text = format!("{:width$}", "");
    for (_, name) in SHOWN {
        let _ = write!(text, "  {name:>19}");
    }
    for rater in raters {
        let _ = write!(text, "\n{:width$}", rater.name);
        for (key, _) in SHOWN {
            let value = rater.metrics.get(key).map_or("-".to_owned(), |value| format!("{value:.3}"));
            let _ = write!(text, "  {value:>19}");
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_a_table_that_names_cannot_break() {
        let results = ValidationResults { model_version: "a|b".to_owned(), ..ValidationResults::sample() };
        let text = markdown(&results);
        assert!(text.starts_with("## Validation of a\\|b: passed\n\n- "), "{text}");
        assert!(text.contains("| mean absolute error | 0.400 | 0.350 to 0.450 |"), "{text}");
        assert!(!text.contains("kept"), "{text}");
        assert!(!text.contains("exact agreement"), "what is not known has no row: {text}");
    }
    #[test]
    fn a_version_in_use_that_stays_is_named() {
        let champion = Comparison { name: "v1.1.0".to_owned(), ..Comparison::default() };
        let mut results = ValidationResults { champion: Some(champion), ..ValidationResults::sample() };
        assert_eq!(outcome(&results), "passed", "what is released is in use then");
        results.outcome = Outcome::Fail;
        assert_eq!(outcome(&results), "failed, kept v1.1.0");
        results.outcome = Outcome::Undecided;
        assert_eq!(outcome(&results), "undecided, kept v1.1.0");
        results.champion = None;
        assert_eq!(outcome(&results), "undecided");
    }
}
