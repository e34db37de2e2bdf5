//! Two versions of a deck: whether the slides that changed became better, by what the model errs.

use std::collections::BTreeMap;

use project_files::ErrorSpread;
use slide_data::{DeckVersions, PageMatch, Prediction, Rubric, ScoreDifference, SlideVersions, Tendency};
use statistics::{student_quantile, student_tail};

/// How often, at most, a report says "better" of anything that is not, and how often "worse": one half of it for the slides, one half
/// for the criteria.
const ERROR: f64 = 0.05;
const CONFIDENCE: f64 = 0.95;

/// A slide of a version of a deck.
#[derive(Debug, Clone, Copy)]
pub struct VersionSlide<'a> {
    /// Its place in the deck, from 1, as it is shown.
    pub number: usize,
    /// Its scores; where there are none it is matched and not compared.
    pub scores: Option<&'a Prediction>,
}

/// Compares the slides of two versions that belong together.
///
/// The error of a difference is that of two of the model's scores in one deck ([`ErrorSpread`]), smaller for the mean over several
/// slides. Of all that is compared, on slides and for criteria, no more is called better or worse than keeps the chance of one wrong
/// "better" at one in twenty (S. Holm, 1979). What has no spread is unclear.
pub fn compare_versions(
    rubric: &Rubric,
    matches: &[PageMatch],
    before: &[VersionSlide<'_>],
    after: &[VersionSlide<'_>],
    spreads: &BTreeMap<String, ErrorSpread>,
) -> DeckVersions {
    let mut versions = DeckVersions::default();
    for matched in matches {
        match *matched {
            PageMatch::Kept(old, new) => versions.kept.push([before[old].number, after[new].number]),
            PageMatch::Moved(old, new) => versions.moved.push([before[old].number, after[new].number]),
            PageMatch::Added(new) => versions.added.push(after[new].number),
            PageMatch::Removed(old) => versions.removed.push(before[old].number),
            PageMatch::Changed(old, new) => {
                let (old, new) = (before[old], after[new]);
                let pair = old.scores.zip(new.scores);
                let differences = pair.map_or_else(Vec::new, |(old, new)| differences(rubric, old, new));
                versions.changed.push(SlideVersions { before: old.number, after: new.number, differences });
            }
        }
    }
    versions.criteria = rubric.keys().filter_map(|key| together(&versions.changed, key)).collect();
    let slides = versions.changed.iter_mut().flat_map(|slide| &mut slide.differences);
    judge(slides.collect(), spreads);
    judge(versions.criteria.iter_mut().collect(), spreads);
    versions
}

/// The criteria that have a score in both versions of a slide.
fn differences(rubric: &Rubric, old: &Prediction, new: &Prediction) -> Vec<ScoreDifference> {
    let of = |key: &str| Some(difference(key, *old.expected.get(key)?, *new.expected.get(key)?, 1));
    rubric.keys().filter_map(of).filter(|found| (found.after - found.before).is_finite()).collect()
}

fn difference(criterion: &str, before: f64, after: f64, slides: usize) -> ScoreDifference {
    let criterion = criterion.to_owned();
    ScoreDifference { criterion, before, after, interval: None, tendency: Tendency::Unclear, slides }
}

/// The means over the changed slides.
fn together(changed: &[SlideVersions], key: &str) -> Option<ScoreDifference> {
    let all = changed.iter().flat_map(|slide| &slide.differences).filter(|found| found.criterion == key);
    let (before, after): (Vec<f64>, Vec<f64>) = all.map(|found| (found.before, found.after)).unzip();
    let (old, new) = statistics::mean(&before).zip(statistics::mean(&after))?;
    Some(difference(key, old, new, before.len()))
}

/// Gives all differences of a family their intervals, and a tendency to those that are clear together.
fn judge(family: Vec<&mut ScoreDifference>, spreads: &BTreeMap<String, ErrorSpread>) {
    let mut told: Vec<(f64, &mut ScoreDifference)> = Vec::new();
    for found in family {
        let Some((error, degrees)) = error_of(found, spreads) else { continue };
        let Some(reach) = student_quantile(f64::midpoint(1.0, CONFIDENCE), degrees) else { continue };
        let change = found.after - found.before;
        found.interval = Some([change - reach * error, change + reach * error]);
        told.extend(student_tail((change / error).abs(), degrees).map(|chance| (chance, found)));
    }
    told.sort_by(|a, b| a.0.total_cmp(&b.0));
    let open = told.len();
    for (at, (chance, found)) in told.into_iter().enumerate() {
        if chance > ERROR / 2.0 / (open - at) as f64 {
            break;
        }
        found.tendency = if found.after > found.before { Tendency::Better } else { Tendency::Worse };
    }
}

/// The standard error of a difference and its degrees of freedom.
fn error_of(found: &ScoreDifference, spreads: &BTreeMap<String, ErrorSpread>) -> Option<(f64, f64)> {
    let spread = spreads.get(&found.criterion)?;
    let error = spread.deviation * (2.0 / found.slides.max(1) as f64).sqrt();
    error.is_finite().then_some((error, spread.degrees))
}
