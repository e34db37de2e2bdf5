//! The cheap models equal scikit-learn's (`reference/make_cheap.py`), and what they are asked does not depend on what they should not
//! know.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use serde::Deserialize;
use slide_data::{Answer, Label, Rubric, Score, Tally, expected_score};
use vlm_eval::{CheapModels, ImageNumbers, KnownSlide, fit_applicability, fit_head};

#[derive(Deserialize)]
struct Reference {
    known: Vec<Slide>,
    asked: Vec<Slide>,
    /// By model and criterion the distributions of the slides that are asked about.
    forecasts: BTreeMap<String, Vec<Vec<[f64; 5]>>>,
    /// Of five people so many say "not applicable", by known slide.
    nays: Vec<usize>,
    applies: Applies,
}

#[derive(Deserialize)]
struct Applies {
    auc: f64,
    probabilities: Vec<f64>,
}

#[derive(Deserialize)]
struct Slide {
    #[serde(rename = "slide_id")]
    id: String,
    group: String,
    mean: Vec<f32>,
    spread: Vec<f32>,
    properties: Vec<f32>,
    counts: Vec<[u32; 5]>,
}

impl Slide {
    fn numbers(&self) -> ImageNumbers {
        ImageNumbers {
            mean: self.mean.clone(),
            spread: self.spread.clone(),
            properties: named(&self.properties),
        }
    }

    fn known(&self, keys: &[String]) -> KnownSlide {
        let mut label = Label::default();
        for (key, counts) in keys.iter().zip(&self.counts) {
            let answers = (1..).zip(counts).flat_map(|(score, count)| {
                std::iter::repeat_n(Answer::from(Score::new(score)), *count as usize)
            });
            label.rate(key, &Tally::of(answers));
        }
        KnownSlide { slide_id: self.id.clone(), group: self.group.clone(), label, numbers: self.numbers() }
    }
}

fn named(properties: &[f32]) -> BTreeMap<String, f64> {
    (0..).zip(properties).map(|(at, value): (usize, _)| (format!("p{at}"), f64::from(*value))).collect()
}

fn reference() -> (Reference, Rubric, Vec<KnownSlide>) {
    let reference: Reference = serde_json::from_str(include_str!("reference/cheap.json")).unwrap();
    let mut rubric = Rubric::default();
    rubric.criteria.truncate(2);
    let keys: Vec<String> = rubric.keys().map(str::to_owned).collect();
    let known = reference.known.iter().map(|slide| slide.known(&keys)).collect();
    (reference, rubric, known)
}

#[test]
fn every_forecast_equals_the_reference() {
    let (reference, rubric, mut known) = reference();
    known.reverse(); // the order of the slides does not matter
    let models = CheapModels::fit(&rubric, &known).unwrap();
    let keys: Vec<&str> = rubric.keys().collect();
    assert_eq!(reference.forecasts.len(), CheapModels::NAMES.len());
    for (at, slide) in reference.asked.iter().enumerate() {
        let answers = models.rate(&slide.numbers());
        for (name, criteria) in &reference.forecasts {
            for (key, expected) in keys.iter().zip(criteria) {
                let actual = answers[name.as_str()][*key];
                for (a, e) in actual.iter().zip(&expected[at]) {
                    assert!((a - e).abs() < 1e-5, "{name}, {key}, {at}: {actual:?} {:?}", expected[at]);
                }
            }
        }
    }
}

#[test]
fn a_head_says_what_the_linear_probe_says() {
    let (reference, rubric, known) = reference();
    let head = fit_head(&rubric, &known).unwrap();
    assert!(head.is_alone() && head.slides == known.len() && head.criteria.len() == 2);
    for (at, slide) in reference.asked.iter().enumerate() {
        let features = [slide.mean.as_slice(), &slide.spread].concat();
        for (key, expected) in rubric.keys().zip(&reference.forecasts[CheapModels::LINEAR_PROBE]) {
            let actual = head.criteria[key].rate(&features).unwrap();
            for (a, e) in actual.iter().zip(&expected[at]) {
                assert!((a - e).abs() < 1e-5, "{key}, {at}: {actual:?} {:?}", expected[at]);
            }
        }
    }
    assert!(fit_head(&rubric, &known[..1]).is_none(), "one deck teaches nothing");
}

#[test]
fn a_slide_that_is_known_is_its_own_neighbour_and_similarity_falls() {
    let (_, rubric, known) = reference();
    let models = CheapModels::fit(&rubric, &known).unwrap();
    let found = models.nearest(&known[7].numbers, 10);
    assert_eq!((found.len(), &found[0].slide_id), (10, &known[7].slide_id));
    assert!((found[0].similarity - 1.0).abs() < 1e-6);
    assert!(found.windows(2).all(|pair| pair[0].similarity >= pair[1].similarity));
}

#[test]
fn one_deck_teaches_nothing_and_a_criterion_that_nobody_rated_stays_open() {
    let (_, rubric, mut known) = reference();
    for slide in &mut known {
        slide.label.scores.remove("design");
        slide.label.distribution.remove("design");
    }
    let models = CheapModels::fit(&rubric, &known).unwrap();
    for answers in models.rate(&known[0].numbers).values() {
        assert!((expected_score(&answers["design"]) - 3.0).abs() < 1e-12);
        assert!(answers["design"].iter().all(|p| (p - 0.2).abs() < 1e-12));
        assert!((answers["clarity"].iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
    known.retain(|slide| slide.group == "d03");
    assert!(known.len() >= 4 && CheapModels::fit(&rubric, &known).is_none());
    assert!(CheapModels::fit(&rubric, &[]).is_none());
}

/// Each column the same, or a number that is not finite, must not make a probability of what is none.
#[test]
fn odd_numbers_give_probabilities() {
    let (_, rubric, mut known) = reference();
    for slide in &mut known {
        slide.numbers =
            ImageNumbers { mean: vec![2.0; 16], spread: vec![0.0; 8], properties: named(&[1.0; 4]) };
    }
    let models = CheapModels::fit(&rubric, &known).unwrap();
    for odd in [2.0, f32::NAN, f32::INFINITY, 1e30] {
        let image = ImageNumbers { mean: vec![odd; 16], spread: vec![odd; 8], properties: named(&[odd; 4]) };
        for answers in models.rate(&image).values() {
            for distribution in answers.values() {
                assert!((distribution.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{odd}: {distribution:?}");
                assert!(distribution.iter().all(|p| (0.0..=1.0).contains(p)), "{odd}: {distribution:?}");
            }
        }
    }
}

#[test]
fn what_applies_equals_the_reference() {
    let (reference, _, mut known) = reference();
    let rubric = Rubric::default();
    for (slide, nays) in known.iter_mut().zip(&reference.nays) {
        let no = std::iter::repeat_n(Answer::NotApplicable, *nays);
        let yes = std::iter::repeat_n(Answer::from(Score::new(3)), 5 - nays);
        slide.label.rate("data_visualization", &Tally::of(no.chain(yes)));
    }
    let fitted = fit_applicability(&rubric, &known);
    assert_eq!(fitted.criteria.keys().collect::<Vec<_>>(), ["data_visualization"], "the others always apply");
    assert!(fitted.properties.iter().eq(known[0].numbers.properties.keys()));
    let head = &fitted.criteria["data_visualization"];
    assert_eq!(
        (head.slides, head.not_applicable),
        (63, reference.nays.iter().filter(|nays| **nays > 2).count())
    );
    assert!((head.auc.unwrap() - reference.applies.auc).abs() < 1e-9, "{:?}", head.auc);
    for (slide, expected) in reference.asked.iter().zip(&reference.applies.probabilities) {
        let features = [slide.mean.as_slice(), &slide.spread, &slide.properties].concat();
        let actual = head.probability(&features).unwrap();
        assert!((actual - expected).abs() < 1e-4, "{actual} {expected}");
    }
    let few: Vec<KnownSlide> = known.iter().filter(|slide| slide.group.as_str() < "d03").cloned().collect();
    let fitted = fit_applicability(&rubric, &few);
    assert!(fitted.criteria.values().all(|head| head.not_applicable >= 5), "too few of a kind teach nothing");
}
