//! The rule from what people say to targets: its table, its properties, and what files say.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use slide_data::{Answer, Authority, Correction, Decision, Label, Score, Tally, Target, expected_score};

const KEY: &str = "clarity";
/// "Not applicable" in the tables below.
const NA: u8 = 9;

fn answer(code: u8) -> Answer {
    Score::new(code).map_or(Answer::NotApplicable, Answer::Score)
}

fn correction(id: &str, second: i64, code: u8) -> Correction {
    Correction {
        schema_version: 1,
        id: id.to_owned(),
        slide_id: "s".to_owned(),
        model_version: "v1".to_owned(),
        annotator: "Ana".to_owned(),
        corrected_at: Timestamp::from_second(second).unwrap(),
        predicted: BTreeMap::new(),
        scores: [(KEY.to_owned(), answer(code).score())].into(),
        notes: String::new(),
    }
}

fn adjudication(id: &str, second: i64) -> Decision {
    let at = Some(Timestamp::from_second(second).unwrap());
    Decision { by: Authority::Adjudication, at, id: id.to_owned() }
}

/// What was said of a criterion.
#[derive(Debug, Clone, Default)]
struct Said {
    ratings: Vec<u8>,
    /// Each rater's severity, where the severity rule holds.
    severities: Option<Vec<f64>>,
    adjudication: Option<u8>,
    correction: Option<u8>,
}

impl Said {
    fn label(&self) -> Label {
        let answers = self.ratings.iter().map(|&code| answer(code));
        let tally = match &self.severities {
            None => Tally::of(answers),
            Some(severities) => Tally::severity_corrected(answers.zip(severities.iter().copied())),
        };
        let mut label = Label { annotators: self.ratings.len().max(1), ..Label::default() };
        label.rate(KEY, &tally);
        if let Some(code) = self.adjudication {
            label.decide(KEY, answer(code), adjudication("f", 100));
        }
        label.correct("s", &self.correction.map(|code| correction("c", 50, code)));
        label
    }

    fn target(&self) -> Target {
        self.label().target(KEY)
    }
}

/// Score, distribution and share of "not applicable"; a score of 9 is not applicable, of 0 nothing said.
type Expected = (u8, [f64; 5], f64);

fn found(target: &Target) -> Expected {
    match target {
        Target::Scored(target) => (target.score().get(), *target.distribution(), target.not_applicable()),
        Target::NotApplicable { share } => (NA, [0.0; 5], *share),
        Target::Missing => (0, [0.0; 5], 0.0),
    }
}

fn one(code: u8) -> Expected {
    let mut distribution = [0.0; 5];
    match Score::new(code) {
        Some(score) => distribution[score.index()] = 1.0,
        None => return (NA, distribution, 1.0),
    }
    (code, distribution, 0.0)
}

fn assert_near(found: Expected, expected: Expected, of: &dyn std::fmt::Debug) {
    let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
    let is_same = found.0 == expected.0
        && found.1.iter().zip(expected.1).all(|(a, b)| near(*a, b))
        && near(found.2, expected.2);
    assert!(is_same, "{of:?}: {found:?} for {expected:?}");
}

/// What raters say and what follows from it, where nobody decides.
fn rated() -> Vec<(Vec<u8>, Option<Vec<f64>>, Expected)> {
    let third = 1.0 / 3.0;
    vec![
        (vec![], None, (0, [0.0; 5], 0.0)),
        (vec![4], None, (4, [0.0, 0.0, 0.0, 1.0, 0.0], 0.0)),
        (vec![5, 5, 5], None, (5, [0.0, 0.0, 0.0, 0.0, 1.0], 0.0)),
        (vec![2, 3], None, (2, [0.0, 0.5, 0.5, 0.0, 0.0], 0.0)),
        (vec![3, 4], None, (4, [0.0, 0.0, 0.5, 0.5, 0.0], 0.0)),
        (vec![1, 5, 2], None, (2, [third, third, 0.0, 0.0, third], 0.0)),
        (vec![1, 5], None, (3, [0.5, 0.0, 0.0, 0.0, 0.5], 0.0)),
        (vec![1, 3, 4, 4], None, (3, [0.25, 0.0, 0.25, 0.5, 0.0], 0.0)),
        (vec![3, 3, 4, 5], None, (4, [0.0, 0.0, 0.5, 0.25, 0.25], 0.0)),
        (vec![NA], None, one(NA)),
        (vec![NA, 3], None, (3, [0.0, 0.0, 1.0, 0.0, 0.0], 0.5)),
        (vec![NA, 3, 4], None, (4, [0.0, 0.0, 0.5, 0.5, 0.0], third)),
        (vec![NA, NA, 3], None, (NA, [0.0; 5], 2.0 * third)),
        (vec![], Some(vec![]), (0, [0.0; 5], 0.0)),
        (vec![2], Some(vec![0.4]), (2, [0.0, 0.6, 0.4, 0.0, 0.0], 0.0)),
        (vec![1, 3], Some(vec![1.0, -1.0]), (2, [0.0, 1.0, 0.0, 0.0, 0.0], 0.0)),
        (vec![3, 4], Some(vec![-0.25, 0.5]), (4, [0.0, 0.125, 0.375, 0.25, 0.25], 0.0)),
        (vec![5, 3], Some(vec![1.0, 0.0]), (4, [0.0, 0.0, 0.5, 0.0, 0.5], 0.0)),
        (vec![1, 1], Some(vec![-0.5, 0.0]), (1, [1.0, 0.0, 0.0, 0.0, 0.0], 0.0)),
        (vec![1, 5, 2], Some(vec![0.0; 3]), (3, [third, third, 0.0, 0.0, third], 0.0)),
        (vec![2, 3], Some(vec![f64::NAN, 0.0]), (2, [0.0, 0.5, 0.5, 0.0, 0.0], 0.0)),
        (vec![NA, 3], Some(vec![0.7, 0.5]), (4, [0.0, 0.0, 0.5, 0.5, 0.0], 0.5)),
        (vec![NA, NA, 3], Some(vec![0.0, 0.0, 0.5]), (NA, [0.0; 5], 2.0 * third)),
    ]
}

#[test]
fn the_table_of_the_rule() {
    let decided = [None, Some(1), Some(4), Some(NA)];
    for (ratings, severities, expected) in rated() {
        for adjudication in decided {
            for correction in decided {
                let said = Said {
                    ratings: ratings.clone(),
                    severities: severities.clone(),
                    adjudication,
                    correction,
                };
                let expected = correction.or(adjudication).map_or(expected, one);
                assert_near(found(&said.target()), expected, &said);
            }
        }
    }
}

#[test]
fn the_newest_correction_of_each_criterion_counts_and_of_equals_the_larger_id() {
    let mut all = vec![
        correction("b", 7, 2),
        correction("a", 9, 3),
        correction("c", 9, 4),
        correction("d", 8, 5),
        Correction { slide_id: "another".to_owned(), ..correction("z", 99, 1) },
    ];
    all[0].scores.insert("design".to_owned(), None);
    for turn in 0..all.len() {
        all.rotate_left(turn);
        let mut label = Said { ratings: vec![5, 5, 5], adjudication: Some(1), ..Said::default() }.label();
        label.correct("s", &all);
        assert_eq!(label.target(KEY), Target::decided(answer(4)));
        assert_eq!(label.target("design"), Target::decided(Answer::NotApplicable));
        assert_eq!((label.decided[KEY].id.as_str(), label.decided["design"].id.as_str()), ("c", "b"));
    }
}

#[test]
fn a_final_word_told_late_does_not_undo_a_correction_but_a_newer_one_an_older_one() {
    let mut label = Said { ratings: vec![5, 5], correction: Some(1), ..Said::default() }.label();
    label.decide(KEY, answer(3), adjudication("f", 9_999));
    assert_eq!(label.target(KEY), Target::decided(answer(1)));
    let mut label = Said { ratings: vec![5, 5], adjudication: Some(2), ..Said::default() }.label();
    label.decide(KEY, answer(3), adjudication("older", 99));
    assert_eq!(label.score(KEY), Score::new(2));
    label.decide(KEY, answer(3), adjudication("newer", 101));
    assert_eq!(label.score(KEY), Score::new(3));
    label.rate(KEY, &Tally::of([answer(5)]));
    assert_eq!(label.score(KEY), Score::new(3), "a rating that is told later does not undo it");
}

#[test]
fn an_older_file_means_what_it_meant() {
    let cases: [(&str, Expected); 9] = [
        (r#"{"clarity":5,"distribution":{"clarity":[0,2,0,0,0]}}"#, one(5)),
        (r#"{"clarity":2,"distribution":{"clarity":[0,2,0,0,0]}}"#, one(2)),
        (r#"{"clarity":2,"distribution":{"clarity":[0,1,1,0,0]}}"#, (2, [0.0, 0.5, 0.5, 0.0, 0.0], 0.0)),
        // What the severity rule made of it.
        (r#"{"clarity":3,"distribution":{"clarity":[0,1,1,0,0]}}"#, one(3)),
        (r#"{"clarity":null,"distribution":{"clarity":[0,0,1,0,0]}}"#, one(NA)),
        (r#"{"clarity":null,"distribution":{}}"#, one(NA)),
        // The original pipeline's file knows no distributions.
        (r#"{"clarity":4}"#, one(4)),
        (r#"{"clarity":4,"distribution":{"clarity":[0,0,0,0,0]}}"#, one(4)),
        (r#"{"design":4,"distribution":{"clarity":[0,0,0,0,3]}}"#, (0, [0.0; 5], 0.0)),
    ];
    for (text, expected) in cases {
        let label: Label = serde_json::from_str(text).unwrap();
        assert_near(found(&label.target(KEY)), expected, &text);
    }
}

#[test]
fn a_label_without_decisions_is_written_as_ever_and_what_is_new_has_names() {
    let plain = Said { ratings: vec![2, 3], ..Said::default() }.label();
    assert_eq!(
        serde_json::to_string(&plain).unwrap(),
        r#"{"schema_version":1,"clarity":2,"notes":"","image_path":"","annotators":2,"distribution":{"clarity":[0,1,1,0,0]}}"#
    );
    let full = Said {
        ratings: vec![2, 3, NA],
        severities: Some(vec![0.4, 0.0, 0.0]),
        adjudication: Some(5),
        correction: None,
    };
    let written: serde_json::Value = serde_json::to_value(full.label()).unwrap();
    assert_eq!(written["severity_corrected"]["clarity"], serde_json::json!([0.0, 0.6, 1.4, 0.0, 0.0]));
    assert_eq!(written["not_applicable"]["clarity"], 1);
    let decided = serde_json::json!({"by": "final_word", "at": "1970-01-01T00:01:40Z", "id": "f"});
    assert_eq!(written["decided"]["clarity"], decided);
}

#[test]
fn what_no_label_can_hold_is_refused_by_name() {
    for (text, word) in [
        (r#"{"severity_corrected":{"clarity":[0,0,0,0,0]}}"#, "not all 0"),
        (r#"{"severity_corrected":{"clarity":[0,0,-1,2,0]}}"#, "at least 0"),
        (r#"{"severity_corrected":{"clarity":[0,0,1e300,2,0]}}"#, "masses"),
        (r#"{"not_applicable":{"clarity":-1}}"#, "-1"),
        (r#"{"decided":{"clarity":{"by":"somebody"}}}"#, "somebody"),
    ] {
        let error = serde_json::from_str::<Label>(text).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
    let by_hand: Label = serde_json::from_str(
        r#"{"clarity":4,"distribution":{"clarity":[0,0,1,1,1]},"decided":{"clarity":{"by":"final_word"}}}"#,
    )
    .unwrap();
    assert_eq!(by_hand.target(KEY), Target::decided(answer(4)));
}

prop_compose! {
    fn anything_said()(
        ratings in proptest::collection::vec(prop_oneof![1u8..=5, Just(NA)], 0..8),
        severities in proptest::collection::vec(-3.0..3.0f64, 8),
        is_corrected: bool,
        adjudication in proptest::option::of(prop_oneof![1u8..=5, Just(NA)]),
        correction in proptest::option::of(prop_oneof![1u8..=5, Just(NA)]),
    ) -> Said {
        let severities = is_corrected.then(|| severities[..ratings.len()].to_vec());
        Said { ratings, severities, adjudication, correction }
    }
}

proptest! {
    #[test]
    fn a_target_is_a_distribution_around_its_score(said in anything_said()) {
        let label = said.label();
        let target = label.target(KEY);
        prop_assert_eq!(target.score(), label.scores.get(KEY).copied().flatten(), "the field is the target's score");
        prop_assert_eq!(label.score(KEY), target.score());
        prop_assert_eq!(label.scored().next().map(|(_, score)| score), target.score());
        prop_assert_eq!(target.answer().is_some(), label.scores.contains_key(KEY));
        if let Some(scored) = target.scored() {
            let p = scored.distribution();
            prop_assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            prop_assert!(p.iter().all(|p| *p >= 0.0));
            let low = p.iter().position(|p| *p > 0.0).unwrap();
            let high = p.iter().rposition(|p| *p > 0.0).unwrap();
            prop_assert!((low..=high).contains(&scored.score().index()));
            prop_assert!((0.0..=0.5).contains(&scored.not_applicable()));
        }
        if let Some(code) = said.correction.or(said.adjudication) {
            assert_near(found(&target), one(code), &said);
        } else {
            let not_applicable = said.ratings.iter().map(|&code| usize::from(code == NA)).sum::<usize>();
            let share = not_applicable as f64 / said.ratings.len() as f64;
            prop_assert!(target.applies().is_none_or(|applies| (1.0 - applies - share).abs() < 1e-12));
            prop_assert_eq!(matches!(target, Target::NotApplicable { .. }), share > 0.5);
            prop_assert_eq!(target == Target::Missing, said.ratings.is_empty());
        }
    }

    #[test]
    fn the_mean_of_a_corrected_target_is_the_corrected_mean(
        (ratings, severities) in proptest::collection::vec((1u8..=5, -2.0..2.0f64), 1..8)
            .prop_map(|rows| rows.into_iter().unzip::<u8, f64, Vec<_>, Vec<_>>())
    ) {
        let pairs = || ratings.iter().zip(&severities);
        let kept = |(score, severity): (&u8, &f64)| (f64::from(*score) + severity).clamp(1.0, 5.0);
        let mean = pairs().map(kept).sum::<f64>() / ratings.len() as f64;
        let is_kept = pairs().all(|(score, severity)| (1.0..=5.0).contains(&(f64::from(*score) + severity)));
        let plain = pairs().map(|(score, severity)| f64::from(*score) + severity).sum::<f64>() / ratings.len() as f64;
        let target = Said { ratings, severities: Some(severities), ..Said::default() }.target();
        let scored = target.scored().unwrap();
        let found = expected_score(scored.distribution());
        prop_assert!((found - mean).abs() < 1e-4, "{} for {}", found, mean);
        prop_assert!(!is_kept || (found - plain).abs() < 1e-4);
        prop_assert!((f64::from(scored.score().get()) - found).abs() <= 0.5 + 1e-9);
    }

    #[test]
    fn a_label_says_the_same_once_written(said in anything_said()) {
        let label = said.label();
        let text = serde_json::to_string(&label).unwrap();
        let again: Label = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(label.target(KEY), again.target(KEY));
        prop_assert_eq!(&label, &again);
        prop_assert_eq!(text, serde_json::to_string(&again).unwrap());
    }

    #[test]
    fn a_file_that_names_no_decision_is_obeyed_by_its_score(said in anything_said()) {
        let label = said.label();
        let (decided, not_applicable, severity_corrected) = Default::default();
        let older = Label { decided, not_applicable, severity_corrected, ..label.clone() };
        let answer_of = label.target(KEY).answer();
        let by_raters = Tally::of(said.ratings.iter().filter(|&&code| code != NA).map(|&code| answer(code))).target();
        let fits = by_raters.answer() == answer_of;
        let expected = if fits { by_raters } else { answer_of.map_or(Target::Missing, Target::decided) };
        prop_assert_eq!(older.target(KEY), expected);
    }
}

#[test]
fn what_a_tally_holds_is_what_was_said() {
    let tally = Tally::of([answer(2), answer(2), answer(5), answer(NA)]);
    assert_eq!((tally.counts(), tally.not_applicable()), (&[0, 2, 0, 0, 1], 1));
    assert_eq!(tally.target().applies(), Some(0.75));
    assert_eq!(Tally::of([answer(NA), answer(NA), answer(3), answer(NA)]).target().applies(), Some(0.25));
    assert_eq!(Tally::of([]).target().applies(), None);

    // What nobody said leaves no trace in a label: an empty count would be read as "somebody said so".
    let mut label = Label::default();
    label.rate(KEY, &Tally::of([answer(4)]));
    assert!(label.not_applicable.is_empty() && label.distribution.contains_key(KEY));
    label.rate(KEY, &Tally::of([answer(NA)]));
    assert!(label.not_applicable.contains_key(KEY) && !label.distribution.contains_key(KEY));
}
