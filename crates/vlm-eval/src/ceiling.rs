//! What people who disagree leave to reach: by one more person, and by a model that knows every slide's quality.

use std::collections::BTreeMap;

use project_files::HumanCeiling;
use slide_data::ceiling::{Ceiling, reachable, reachable_near};
use slide_data::{Answer, Score, Tally};
use statistics::{Jackknife, delete_one};

use crate::interval::{Extent, of_measure};
use crate::table::{Frame, forecast};
use crate::{Confusion, EvaluationOptions, Interval, Measures, Result};

/// What is said of people.
const NAMES: [&str; 3] = ["mae", "within_1", "exact"];

type Counts = [u32; Score::LEVELS];

/// One person, and the model, against the label that the others give, group by group.
#[derive(Clone)]
struct Sides {
    person: Vec<Confusion>,
    model: Vec<Confusion>,
    extent: Extent,
}

/// The ceiling from the ratings of slides with at least two raters; nothing where there are none. A score that somebody decided is
/// no label of raters and is left out.
pub(crate) fn human_ceiling(frame: &Frame<'_>, options: &EvaluationOptions) -> Result<Option<HumanCeiling>> {
    let confidence = options.confidence;
    let groups: Vec<&str> = frame.group_names().collect();
    let empty = Sides {
        person: vec![Confusion::default(); groups.len()],
        model: vec![Confusion::default(); groups.len()],
        extent: Extent { ratings: 0.0, slides: 0.0 },
    };
    let mut overall = empty.clone();
    let mut ceiling = HumanCeiling::default();
    for key in &frame.keys {
        let mut sides = empty.clone();
        let mut counted: Vec<Vec<Counts>> = vec![Vec::new(); groups.len()];
        for item in &frame.items {
            let Some(counts) = of_raters(item, key) else { continue };
            let group = groups.binary_search(&item.group.as_str()).unwrap_or_default();
            let model = forecast(&item.prediction, item, key)?.score;
            sides.add(group, &counts, model);
            overall.add(group, &counts, model);
            counted[group].push(counts);
            ceiling.ratings += 1;
        }
        if options.reachable {
            reach(key, &counted, sides.extent, confidence, &mut ceiling);
        }
        sides.tell(key, confidence, &mut ceiling);
    }
    overall.tell("overall", confidence, &mut ceiling);
    Ok((ceiling.ratings > 0).then_some(ceiling))
}

/// What a model that knows every slide's quality would reach on a criterion, with the noise of the raters.
fn reach(key: &str, groups: &[Vec<Counts>], extent: Extent, confidence: f64, ceiling: &mut HumanCeiling) {
    let groups: Vec<&Vec<Counts>> = groups.iter().filter(|counts| !counts.is_empty()).collect();
    let Some(found) = reachable(groups.iter().copied().flatten().copied()) else { return };
    let values = |ceiling: &Ceiling| vec![Some(ceiling.mae), Some(ceiling.within_one), Some(ceiling.exact)];
    ceiling.noise.insert(key.to_owned(), found.noise);
    let measured = delete_one(groups.len(), |weights| {
        if weights.iter().all(|weight| *weight > 0.0) {
            return values(&found);
        }
        let kept =
            groups.iter().zip(weights).filter(|(_, weight)| **weight > 0.0).flat_map(|(counts, _)| *counts);
        reachable_near(found.noise, kept.copied())
            .map_or_else(|| vec![None; NAMES.len()], |near| values(&near))
    });
    ceiling.metrics.extend(
        NAMES
            .into_iter()
            .zip(values(&found))
            .filter_map(|(name, value)| Some((format!("{key}_{name}"), value?))),
    );
    insert(key, &measured, extent, confidence, &mut ceiling.metrics, &mut ceiling.intervals);
}

/// The scores that raters gave, where two or more did and the criterion applies by their word.
fn of_raters(item: &crate::Item, key: &str) -> Option<Counts> {
    let counts = *item.label.distribution.get(key)?;
    let is_decided = item.label.decided.contains_key(key) || item.label.score(key).is_none();
    (!is_decided && counts.iter().sum::<u32>() >= 2).then_some(counts)
}

/// The label that these raters give, by the median rule.
fn label_of(counts: &Counts) -> Option<Score> {
    let answers = (1..=5u8).zip(counts).flat_map(|(score, &count)| {
        let answer = Score::new(score).map_or(Answer::NotApplicable, Answer::Score);
        std::iter::repeat_n(answer, count as usize)
    });
    Tally::of(answers).target().score()
}

impl Sides {
    /// Each rater once against the others, with weight 1 in all.
    fn add(&mut self, group: usize, counts: &Counts, model: Score) {
        let raters = f64::from(counts.iter().sum::<u32>());
        for (score, &count) in (1..=5u8).zip(counts).filter(|(_, count)| **count > 0) {
            let mut others = *counts;
            others[usize::from(score) - 1] -= 1;
            let (Some(label), Some(person)) = (label_of(&others), Score::new(score)) else { continue };
            let weight = f64::from(count) / raters;
            self.person[group].add(label, person, weight);
            self.model[group].add(label, model, weight);
        }
        self.extent.ratings += 1.0;
        self.extent.slides += 1.0;
    }

    fn tell(&self, key: &str, confidence: f64, ceiling: &mut HumanCeiling) {
        let HumanCeiling { person, person_intervals, model, model_intervals, .. } = ceiling;
        for (confusions, metrics, intervals) in
            [(&self.person, person, person_intervals), (&self.model, model, model_intervals)]
        {
            let rated: Vec<&Confusion> = confusions.iter().filter(|groups| groups.total() > 0.0).collect();
            insert(key, &of_groups(&rated), self.extent, confidence, metrics, intervals);
            let mut all = Confusion::default();
            for confusion in &rated {
                all.merge(confusion, 1.0);
            }
            metrics.extend(named(key, &Measures::of_confusion(&all)));
        }
    }
}

fn named(key: &str, measures: &Measures) -> impl Iterator<Item = (String, f64)> {
    let values = NAMES.into_iter().zip([measures.mae, measures.within_1, measures.exact]);
    values
        .filter_map(move |(name, value)| Some((format!("{key}_{name}"), value?)))
        .collect::<Vec<_>>()
        .into_iter()
}

fn of_groups(confusions: &[&Confusion]) -> Vec<Option<Jackknife>> {
    delete_one(confusions.len(), |weights| {
        let mut sum = Confusion::default();
        confusions.iter().zip(weights).for_each(|(confusion, weight)| sum.merge(confusion, *weight));
        let measures = Measures::of_confusion(&sum);
        vec![measures.mae, measures.within_1, measures.exact]
    })
}

/// Puts values that are defined without each group into maps by name, with their intervals.
fn insert(
    key: &str,
    found: &[Option<Jackknife>],
    extent: Extent,
    confidence: f64,
    metrics: &mut BTreeMap<String, f64>,
    intervals: &mut BTreeMap<String, Interval>,
) {
    for (name, jackknife) in NAMES.into_iter().zip(found) {
        let Some(jackknife) = jackknife else { continue };
        let full = format!("{key}_{name}");
        metrics.insert(full.clone(), jackknife.estimate);
        intervals.extend(of_measure(name, jackknife, extent, confidence).map(|interval| (full, interval)));
    }
}
