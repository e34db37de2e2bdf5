use serde::{Deserialize, Serialize};

use crate::Interval;

/// An answer to "is it good enough?", with the one that honesty needs: the data cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Yes, and other test slides of the same kind would say so too.
    Pass,
    /// The data do not tell, or something that the answer needs is missing. Never a reason to release.
    #[default]
    Undecided,
    /// No.
    Fail,
}

impl Outcome {
    /// The outcome of conditions that must all hold: one failure fails, else one open question leaves it open.
    /// Without any condition nothing is decided.
    pub fn of_all(outcomes: impl IntoIterator<Item = Self>) -> Self {
        outcomes.into_iter().max().unwrap_or(Self::Undecided)
    }

    /// The word for it, as in "passed".
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "passed",
            Self::Undecided => "undecided",
            Self::Fail => "failed",
        }
    }
}

/// What a model must reach to be released; the keys are those of `[registry]` in `training.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gate {
    /// The share of scores at most one point from the people's must be above this.
    pub min_human_agreement: f64,
    /// The mean absolute error must be below this, in points.
    pub max_mae: f64,
    /// The quadratic weighted kappa must be above this, for each criterion.
    pub min_kappa: f64,
    /// The mean absolute error must be smaller than the best constant's by more than this share of the constant's.
    pub min_gain: f64,
    /// The mean absolute error may be larger than the champion's by less than this, in points; 0 asks for a smaller one.
    pub champion_margin: f64,
}

impl Gate {
    /// The bounds that this project publishes. Lower ones need an [`Override`].
    pub const PUBLISHED: Self = Self {
        min_human_agreement: 0.85,
        max_mae: 0.6,
        min_kappa: 0.4,
        min_gain: 0.25,
        champion_margin: 0.0,
    };

    /// The names of the bounds that are easier to meet than the published ones, with both values (this gate's, the published).
    pub fn eased(&self) -> Vec<(&'static str, f64, f64)> {
        let published = Self::PUBLISHED;
        // Written so that a bound that is no number counts as eased.
        let at_least = |name, own: f64, bound: f64| (own >= bound, (name, own, bound));
        let at_most = |name, own: f64, bound: f64| (own <= bound, (name, own, bound));
        [
            at_least("min_human_agreement", self.min_human_agreement, published.min_human_agreement),
            at_most("max_mae", self.max_mae, published.max_mae),
            at_least("min_kappa", self.min_kappa, published.min_kappa),
            at_least("min_gain", self.min_gain, published.min_gain),
            at_most("champion_margin", self.champion_margin, published.champion_margin),
        ]
        .into_iter()
        .filter_map(|(is_kept, bound)| (!is_kept).then_some(bound))
        .collect()
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::PUBLISHED
    }
}

/// A condition that a person set aside or eased, with the reason. Results, report and model card show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// A bound of the gate, as in `max_mae`, or what may be missing, as in `human_ceiling`.
    pub name: String,
    /// Why, in the person's words.
    pub reason: String,
}

impl Override {
    /// The name under which a release is allowed whose numbers could not be made again, because the data were not at hand.
    pub const RECHECK: &str = "recheck";

    /// What a person gave as `NAME=REASON`, where `names` are those that can be set aside.
    ///
    /// # Errors
    /// Says in words that the name is none of them, or that the reason is missing.
    pub fn parse(text: &str, names: &[&str]) -> Result<Self, String> {
        let (name, reason) = text.split_once('=').unwrap_or((text, ""));
        if !names.contains(&name) {
            return Err(format!("`{name}` cannot be set aside, only {}", names.join(", ")));
        }
        if reason.trim().is_empty() {
            return Err(format!("say why, as in `{name}=a first trial in one team`"));
        }
        Ok(Self { name: name.to_owned(), reason: reason.trim().to_owned() })
    }
}

/// One condition of the gate with its outcome.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at, as in `within_1`, `gain_over_constant`, `enough_decks`.
    pub metric: String,
    /// The criterion's key, or `overall`.
    pub criterion: String,
    /// Its value; absent where it is not defined.
    pub value: Option<f64>,
    /// The interval of the value.
    pub interval: Option<Interval>,
    /// The end of the interval, or the value itself, that must clear the threshold.
    pub bound: Option<f64>,
    /// What it was compared with.
    pub threshold: f64,
    /// Whether the condition holds.
    pub outcome: Outcome,
    /// The outcome in words.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_fails_and_one_open_question_leaves_it_open() {
        use Outcome::{Fail, Pass, Undecided};
        assert_eq!(Outcome::of_all([Pass, Pass]), Pass);
        assert_eq!(Outcome::of_all([Pass, Undecided, Pass]), Undecided);
        assert_eq!(Outcome::of_all([Undecided, Fail, Pass]), Fail);
        assert_eq!(Outcome::of_all([]), Undecided, "nothing asked is nothing shown");
    }

    #[test]
    fn an_override_has_a_known_name_and_a_reason() {
        let parse = |text: &str| Override::parse(text, &["max_mae", Override::RECHECK]);
        let given = parse("recheck= the data = elsewhere ").unwrap();
        assert_eq!((given.name.as_str(), given.reason.as_str()), ("recheck", "the data = elsewhere"));
        for (text, word) in
            [("max_mae", "say why"), ("max_mae= ", "say why"), ("mae=x", "max_mae, recheck"), ("", "``")]
        {
            assert!(parse(text).unwrap_err().contains(word), "{text}");
        }
    }

    #[test]
    fn every_bound_that_is_easier_than_the_published_one_is_named() {
        assert!(Gate::default().eased().is_empty());
        let strict =
            Gate { min_human_agreement: 0.9, max_mae: 0.5, min_kappa: 0.6, min_gain: 0.3, ..Gate::PUBLISHED };
        assert!(strict.eased().is_empty());
        let names = |gate: Gate| gate.eased().into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
        for value in [0.1, f64::NAN] {
            let gate =
                Gate { min_human_agreement: value, min_kappa: value, min_gain: value, ..Gate::PUBLISHED };
            assert_eq!(names(gate), ["min_human_agreement", "min_kappa", "min_gain"]);
        }
        for value in [9.0, f64::NAN] {
            let gate = Gate { max_mae: value, champion_margin: value, ..Gate::PUBLISHED };
            assert_eq!(names(gate), ["max_mae", "champion_margin"]);
        }
    }
}
