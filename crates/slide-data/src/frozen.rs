//! The frozen test set: its slides, what people said of them when it was frozen, and who changed either since.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{Label, Labels, Manifest, Rubric, Splits, TestSetChange, sha256_hex};

/// A slide of the test set of which people say something else than when it was frozen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TestLabelChange<'a> {
    /// The slide.
    pub slide_id: &'a str,
    /// What it is measured against; absent where nobody had rated it.
    pub frozen: Option<&'a Label>,
    /// What people say now; absent where nobody says anything any more.
    pub now: Option<&'a Label>,
}

/// Whether two labels say the same of every criterion: what is measured against, not who noted what.
fn says_the_same(a: Option<&Label>, b: Option<&Label>) -> bool {
    let said = |label: &Label| {
        (
            label.scores.clone(),
            label.distribution.clone(),
            label.not_applicable.clone(),
            label.severity_corrected.clone(),
            label.decided.clone(),
        )
    };
    match (a, b) {
        (Some(a), Some(b)) => said(a) == said(b),
        (None, Some(label)) | (Some(label), None) => label.scores.is_empty(),
        (None, None) => true,
    }
}

pub(crate) fn sha256_of(labels: &Labels) -> String {
    // Labels are maps of strings, which are always JSON.
    sha256_hex(&serde_json::to_vec(labels).unwrap_or_default())
}

impl Splits {
    /// Freezes the test set as it is among the usable slides of `manifest`; one that is frozen already stays as it was.
    pub fn freeze_test(&mut self, manifest: &Manifest) {
        if self.frozen_test.is_none() {
            let test = manifest.usable().filter(|slide| self.of(slide) == Some(crate::Split::Test));
            self.frozen_test = Some(test.map(|slide| slide.slide_id.clone()).collect());
        }
    }

    /// Freezes what people say of the slides of the frozen test set; labels that are frozen already stay as they were. Says whether
    /// anything was frozen.
    pub fn freeze_test_labels(&mut self, labels: &Labels, by: &str, why: &str, at: Timestamp) -> bool {
        let is_new = self.test_labels.is_none() && self.frozen_test.is_some();
        if is_new {
            self.take_over(labels, by, why, at);
        }
        is_new
    }

    /// Takes over what people say now of the slides of the frozen test set, and notes who did so and why. Says of how many slides they
    /// say something else; where of none, nothing is noted.
    pub fn accept_test_labels(&mut self, labels: &Labels, by: &str, why: &str, at: Timestamp) -> usize {
        let changed = self.changed_test_labels(labels).len();
        if changed > 0 {
            self.take_over(labels, by, why, at);
        }
        changed
    }

    fn take_over(&mut self, labels: &Labels, by: &str, why: &str, at: Timestamp) {
        let of_test = |slide: &&String| self.frozen_test.as_ref().is_some_and(|test| test.contains(*slide));
        let own = labels.slides.iter().filter(|(slide, _)| of_test(slide));
        let new = Labels { slides: own.map(|(slide, label)| (slide.clone(), label.clone())).collect() };
        let changed = if self.test_labels.is_some() {
            self.changed_test_labels(labels).len()
        } else {
            new.slides.len()
        };
        self.test_history.push(TestSetChange {
            at,
            by: by.to_owned(),
            why: why.to_owned(),
            changed,
            lost: 0,
            before: self.test_labels.as_ref().map(sha256_of),
            after: sha256_of(&new),
        });
        self.test_labels = Some(new);
    }

    /// The slides of the test set of which people say something else than when their labels were frozen; none where they are not.
    pub fn changed_test_labels<'a>(&'a self, labels: &'a Labels) -> Vec<TestLabelChange<'a>> {
        let (Some(test), Some(frozen)) = (&self.frozen_test, &self.test_labels) else { return Vec::new() };
        let of = |slide: &'a String| TestLabelChange {
            slide_id: slide,
            frozen: frozen.slides.get(slide),
            now: labels.slides.get(slide),
        };
        test.iter().map(of).filter(|change| !says_the_same(change.frozen, change.now)).collect()
    }

    /// Puts the frozen labels of the test set, of the criteria that the rubric has, in place of what people say by now. Says of how
    /// many slides they say something else.
    pub fn hold_test_labels(&self, labels: &mut Labels, rubric: &Rubric) -> usize {
        let (Some(test), Some(frozen)) = (&self.frozen_test, &self.test_labels) else { return 0 };
        let keys: BTreeSet<&str> = rubric.keys().collect();
        let mut changed = 0;
        for slide in test {
            let mut held = frozen.slides.get(slide).cloned();
            if let Some(label) = &mut held {
                label.keep_only(&keys);
            }
            changed += usize::from(!says_the_same(held.as_ref(), labels.slides.get(slide)));
            match held {
                Some(label) => drop(labels.slides.insert(slide.clone(), label)),
                None => drop(labels.slides.remove(slide)),
            }
        }
        changed
    }
}

impl Label {
    /// Forgets what was said of other criteria.
    fn keep_only(&mut self, keys: &BTreeSet<&str>) {
        self.scores.retain(|key, _| keys.contains(key.as_str()));
        self.distribution.retain(|key, _| keys.contains(key.as_str()));
        self.not_applicable.retain(|key, _| keys.contains(key.as_str()));
        self.severity_corrected.retain(|key, _| keys.contains(key.as_str()));
        self.decided.retain(|key, _| keys.contains(key.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Score, SlideRecord, Split};

    fn label(score: u8) -> Label {
        let mut label = Label::default();
        label.scores.insert("clarity".to_owned(), Score::new(score));
        label.scores.insert("gone".to_owned(), Score::new(score));
        label
    }

    fn labels(scores: &[(&str, u8)]) -> Labels {
        Labels { slides: scores.iter().map(|(slide, score)| ((*slide).to_owned(), label(*score))).collect() }
    }

    /// Deck `d` is the test, with two slides; the second has no label.
    fn frozen() -> Splits {
        let slides = vec![SlideRecord::sample("d", 1), SlideRecord::sample("d", 2)];
        let mut splits = Splits { groups: [("d".to_owned(), Split::Test)].into(), ..Splits::default() };
        splits.freeze_test(&Manifest { slides });
        let first = &SlideRecord::sample("d", 1).slide_id;
        assert!(splits.freeze_test_labels(&labels(&[(first, 2), ("other", 5)]), "a run", "why", at()));
        splits
    }

    fn at() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn what_is_measured_against_changes_only_where_somebody_takes_it_over() {
        let mut splits = frozen();
        let [first, second] = [1, 2].map(|number| SlideRecord::sample("d", number).slide_id);
        let now = labels(&[(&first, 4), (&second, 3), ("other", 1)]);
        assert!(!splits.freeze_test_labels(&now, "another run", "why", at()), "frozen once");

        let rubric = Rubric::default();
        let mut held = now.clone();
        assert_eq!(splits.hold_test_labels(&mut held, &rubric), 2);
        assert_eq!(held.slides[&first].scores, [("clarity".to_owned(), Score::new(2))].into());
        assert!(!held.slides.contains_key(&second), "it was no part of the measure");
        assert_eq!(held.slides["other"], now.slides["other"], "other slides are as people say now");

        let changed: Vec<&str> =
            splits.changed_test_labels(&now).iter().map(|change| change.slide_id).collect();
        assert_eq!(changed, [first.as_str(), second.as_str()]);
        assert_eq!(splits.accept_test_labels(&now, "Ana", "a new rubric", at()), 2);
        assert_eq!(splits.accept_test_labels(&now, "Ana", "again", at()), 0);
        let [begun, taken] = splits.test_history.as_slice() else { panic!("{:?}", splits.test_history) };
        assert_eq!((begun.before.as_ref(), begun.changed), (None, 1));
        assert_eq!((taken.by.as_str(), taken.why.as_str(), taken.changed), ("Ana", "a new rubric", 2));
        assert_eq!(taken.before.as_ref(), Some(&begun.after));
        assert_ne!(taken.before.as_ref(), Some(&taken.after));
        let mut held = now.clone();
        splits.hold_test_labels(&mut held, &rubric);
        assert_eq!(held.slides[&first].scores["clarity"], Score::new(4));
    }

    #[test]
    fn a_withdrawn_label_stays_and_a_note_is_no_change() {
        let splits = frozen();
        let first = SlideRecord::sample("d", 1).slide_id;
        let mut none = Labels::default();
        assert_eq!(splits.hold_test_labels(&mut none, &Rubric::default()), 1);
        assert_eq!(none.slides[&first].scores["clarity"], Score::new(2));
        let mut noted = labels(&[(&first, 2)]);
        noted.slides.get_mut(&first).unwrap().notes = "nice".to_owned();
        assert!(splits.changed_test_labels(&noted).is_empty());
    }

    #[test]
    fn without_frozen_labels_all_are_as_people_say() {
        let splits = Splits { test_labels: None, ..frozen() };
        let mut now = labels(&[("d-p1", 4)]);
        let before = now.clone();
        assert_eq!(splits.hold_test_labels(&mut now, &Rubric::default()), 0);
        assert_eq!(now, before);
    }
}
