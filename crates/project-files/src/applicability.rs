use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Contract;

/// `applicability.json`: tells from what the vision tower sees whether a criterion applies to a slide, as the team's people said it does.
///
/// Learned from the training slides beside the adapter, by a logistic regression on the pooled features and the properties of the image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Applicability {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// The criteria of which people said "not applicable" often enough to learn when; any other applies to every slide.
    pub criteria: BTreeMap<String, ApplicabilityHead>,
    /// The properties of the image that it was learned with, in the order of their weights; the nine that there were first where the file
    /// does not say. Others that a later program measures are no part of it.
    #[serde(default = "first_properties")]
    pub properties: Vec<String>,
}

fn first_properties() -> Vec<String> {
    FIRST_PROPERTIES.map(str::to_owned).to_vec()
}

/// What programs measured of an image before a file named its properties.
const FIRST_PROPERTIES: [&str; 9] = [
    "aspect_ratio",
    "background_brightness",
    "brightness",
    "colourfulness",
    "contrast",
    "edge_density",
    "entropy",
    "ink_share",
    "whitespace_share",
];

/// As a file that says nothing.
impl Default for Applicability {
    fn default() -> Self {
        Self { schema_version: Self::VERSION, criteria: BTreeMap::new(), properties: first_properties() }
    }
}

/// Tells whether one criterion applies.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ApplicabilityHead {
    /// A weight for each pooled feature (means over the image, maxima, standard deviations), then for each property of the image, such
    /// as brightness, that the file names.
    pub weights: Vec<f32>,
    /// The log-odds where all features are 0.
    pub intercept: f64,
    /// Slides that it was learned from.
    pub slides: usize,
    /// Those of them to which the criterion does not apply.
    pub not_applicable: usize,
    /// Area under the ROC curve on decks that were left out of the learning, by cross-validation.
    #[serde(default)]
    pub auc: Option<f64>,
}

impl ApplicabilityHead {
    /// The probability that the criterion applies to an image with these features and properties; `None` where they are not as many as the
    /// weights, or not finite.
    pub fn probability(&self, features: &[f32]) -> Option<f64> {
        if features.len() != self.weights.len() {
            return None;
        }
        let products = self.weights.iter().zip(features).map(|(w, x)| f64::from(*w) * f64::from(*x));
        let odds = self.intercept + products.sum::<f64>();
        odds.is_finite().then(|| 1.0 / (1.0 + (-odds).exp()))
    }
}

impl Contract for Applicability {
    const NAME: &'static str = "applicability of the criteria";
    const VERSION: u32 = 1;

    fn check(&self) -> std::result::Result<(), String> {
        for (key, head) in &self.criteria {
            let is_finite =
                head.intercept.is_finite() && head.weights.iter().all(|weight| weight.is_finite());
            if !is_finite || head.weights.is_empty() {
                return Err(format!("the weights of `{key}` are not all numbers, or there are none"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probability_follows_the_log_odds_and_other_features_have_none() {
        let head = ApplicabilityHead { weights: vec![1.0, -2.0], intercept: 0.5, ..Default::default() };
        let p = head.probability(&[0.5, 0.25]).unwrap();
        assert!((p - 1.0 / (1.0 + (-0.5_f64).exp())).abs() < 1e-12);
        assert_eq!(head.probability(&[1.0]), None);
        assert_eq!(head.probability(&[f32::NAN, 0.0]), None);
        assert_eq!(head.probability(&[3e38, -3e38]), Some(1.0));
    }

    #[test]
    fn a_file_that_names_no_properties_was_learned_with_the_first_nine() {
        let stored = br#"{"schema_version": 1, "criteria": {}}"#;
        let read = Applicability::parse(std::path::Path::new("applicability.json"), None, stored).unwrap();
        assert_eq!(read, Applicability::default());
        assert_eq!((read.properties.len(), read.properties[8].as_str()), (9, "whitespace_share"));
        assert!(read.properties.is_sorted());
    }

    #[test]
    fn weights_that_are_no_numbers_are_refused() {
        let of = |weights: Vec<f32>, intercept| Applicability {
            criteria: [("a".to_owned(), ApplicabilityHead { weights, intercept, ..Default::default() })]
                .into(),
            ..Default::default()
        };
        assert!(of(vec![1.0], 0.0).check().is_ok());
        for bad in [of(vec![], 0.0), of(vec![f32::NAN], 0.0), of(vec![1.0], f64::INFINITY)] {
            assert!(bad.check().unwrap_err().contains("`a`"));
        }
    }
}
