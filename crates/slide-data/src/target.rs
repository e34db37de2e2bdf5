//! From what people said of a slide to what is taught and measured against: the one rule, for each criterion by itself.
//!
//! | what was said | target | point score |
//! |---|---|---|
//! | a correction by a user | all mass on its score | that score |
//! | a correction "not applicable" | not applicable | – |
//! | no correction; a lead's final word | all mass on its score | that score |
//! | no correction; a final word "not applicable" | not applicable | – |
//! | ratings only, more than half of those who said anything say "not applicable" | not applicable | – |
//! | ratings only, median rule | the raters' distribution | the median; between two scores the one nearer the mean, at a tie the even one |
//! | ratings only, severity rule | each rater's score plus their severity, kept within 1 to 5, its mass split linearly between the two neighbouring scores | the mean of that distribution, rounded, halves to the even score |
//! | nothing | nothing is taught and nothing is measured | – |
//!
//! - Of several corrections, or several final words, of one criterion the newest counts, of equally old ones that with the larger id.
//!   The order in which they are told does not matter.
//! - People who left a criterion open said nothing. At a tie between scores and "not applicable" the criterion applies. The share of
//!   those who said "not applicable" is kept with the target.
//! - Splitting keeps the mean: the mean of a severity-corrected target is the mean of the corrected scores, but for those that had to
//!   be kept within 1 to 5. Masses are whole numbers of 1/10,000 of a rater, so that they survive a file and ties are exact.
//! - The point score follows from the target and lies between the lowest and the highest score that has mass. The two cannot disagree.
//!
//! # In `labels.json`
//!
//! A [`Label`](crate::Label) holds what was said, and [`Label::target`](crate::Label::target) is the rule. `distribution` counts the raters' scores, `not_applicable`
//! those who said so, `severity_corrected` holds the masses of the severity rule, `decided` names the criteria whose score is a
//! final word or a correction. Files without the last three are read by the same rule. A score that the raters' distribution does not
//! give (older files name no final word, and a person may have edited the file) was decided by somebody: it has all the mass.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Score;

const LEVELS: usize = Score::LEVELS;

/// What one person says of a criterion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// This score.
    Score(Score),
    /// The criterion does not apply to the slide.
    NotApplicable,
}

impl Answer {
    /// The score, if it is one.
    pub const fn score(self) -> Option<Score> {
        match self {
            Self::Score(score) => Some(score),
            Self::NotApplicable => None,
        }
    }
}

impl From<Option<Score>> for Answer {
    /// As in [`Scores`](crate::Scores): `None` is "not applicable".
    fn from(score: Option<Score>) -> Self {
        score.map_or(Self::NotApplicable, Self::Score)
    }
}

/// What is taught and measured against for one criterion of one slide.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The criterion applies.
    Scored(ScoreTarget),
    /// The criterion does not apply.
    NotApplicable {
        /// The share of people who say so, among those who said anything; 1 where it was decided.
        share: f64,
    },
    /// Nobody said anything.
    Missing,
}

/// A distribution over the scores 1 to 5 and the score that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ScoreTarget {
    score: Score,
    distribution: [f64; LEVELS],
    not_applicable: f64,
}

impl ScoreTarget {
    /// The point score.
    pub const fn score(&self) -> Score {
        self.score
    }

    /// The probabilities of 1 to 5; they sum to 1.
    pub const fn distribution(&self) -> &[f64; LEVELS] {
        &self.distribution
    }

    /// The share of people who hold the criterion not to apply, among those who said anything.
    pub const fn not_applicable(&self) -> f64 {
        self.not_applicable
    }

    fn new(score: Score, masses: [u64; LEVELS], not_applicable: f64) -> Self {
        let total = masses.iter().sum::<u64>() as f64;
        Self { score, distribution: masses.map(|mass| mass as f64 / total), not_applicable }
    }
}

impl Target {
    /// What somebody decided: all mass on one score, or not applicable.
    pub fn decided(answer: Answer) -> Self {
        match answer {
            Answer::NotApplicable => Self::NotApplicable { share: 1.0 },
            Answer::Score(score) => {
                let mut masses = [0; LEVELS];
                masses[score.index()] = 1;
                Self::Scored(ScoreTarget::new(score, masses, 0.0))
            }
        }
    }

    /// The distribution and its score, where the criterion applies.
    pub const fn scored(&self) -> Option<&ScoreTarget> {
        if let Self::Scored(target) = self { Some(target) } else { None }
    }

    /// The point score, where the criterion applies.
    pub fn score(&self) -> Option<Score> {
        self.scored().map(ScoreTarget::score)
    }

    /// The answer in one word; nothing where nobody said anything.
    pub fn answer(&self) -> Option<Answer> {
        match self {
            Self::Scored(target) => Some(Answer::Score(target.score)),
            Self::NotApplicable { .. } => Some(Answer::NotApplicable),
            Self::Missing => None,
        }
    }

    /// The share of people who hold the criterion to apply, among those who said anything.
    pub fn applies(&self) -> Option<f64> {
        match self {
            Self::Scored(target) => Some(1.0 - target.not_applicable),
            Self::NotApplicable { share } => Some(1.0 - share),
            Self::Missing => None,
        }
    }
}

/// How much of the raters lies on each score once their severity is made up for, in whole parts of a rater.
///
/// In JSON five numbers whose unit is one rater, such as `[0, 0.4, 1.6, 0, 0]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masses([u64; LEVELS]);

impl Masses {
    /// Parts of a rater.
    const PARTS: u64 = 10_000;

    /// Adds a rater who gave `score` and is this many points more severe than the others.
    fn add(&mut self, score: Score, severity: f64) {
        let severity = if severity.is_finite() { severity } else { 0.0 };
        let corrected = (f64::from(score.get()) + severity).clamp(1.0, LEVELS as f64);
        let parts = (corrected * Self::PARTS as f64).round() as u64;
        let (below, above) = (parts / Self::PARTS, parts % Self::PARTS);
        self.0[below as usize - 1] += Self::PARTS - above;
        if above > 0 {
            self.0[below as usize] += above;
        }
    }

    /// The mean, rounded to a score, halves to the even one.
    fn rounded_mean(&self) -> Option<Score> {
        let total: u64 = self.0.iter().sum();
        let sum: u64 = (1..).zip(self.0).map(|(score, mass)| score * mass).sum();
        let below = sum.checked_div(total)?;
        let is_above = match (2 * (sum % total)).cmp(&total) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => below % 2 == 1,
        };
        Score::new((below + u64::from(is_above)) as u8)
    }
}

impl Serialize for Masses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.map(|parts| parts as f64 / Self::PARTS as f64).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Masses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raters = <[f64; LEVELS]>::deserialize(deserializer)?;
        let is_valid = |mass: &f64| (0.0..=f64::from(u32::MAX)).contains(mass);
        let masses = Self(raters.map(|mass| (mass * Self::PARTS as f64).round() as u64));
        if raters.iter().all(is_valid) && masses.0.iter().any(|parts| *parts > 0) {
            Ok(masses)
        } else {
            Err(D::Error::custom(format!(
                "five masses of raters must be at least 0 and not all 0, got {raters:?}"
            )))
        }
    }
}

/// What the raters of a slide said of one criterion, added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub(crate) counts: [u32; LEVELS],
    pub(crate) not_applicable: u32,
    /// By the severity rule.
    pub(crate) corrected: Option<Masses>,
}

impl Tally {
    /// What the raters said, each counting as they said it (the median rule).
    pub fn of(answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut tally = Self::default();
        answers.into_iter().for_each(|answer| tally.add(answer));
        tally
    }

    /// What the raters said, each with by how many points they are more severe than the others (the severity rule).
    pub fn severity_corrected(answers: impl IntoIterator<Item = (Answer, f64)>) -> Self {
        let mut tally = Self::default();
        let mut masses = Masses([0; LEVELS]);
        for (answer, severity) in answers {
            tally.add(answer);
            if let Answer::Score(score) = answer {
                masses.add(score, severity);
            }
        }
        tally.corrected = tally.counts.iter().any(|&count| count > 0).then_some(masses);
        tally
    }

    fn add(&mut self, answer: Answer) {
        match answer {
            Answer::Score(score) => self.counts[score.index()] += 1,
            Answer::NotApplicable => self.not_applicable += 1,
        }
    }

    /// How many gave 1, 2, 3, 4, 5.
    pub const fn counts(&self) -> &[u32; LEVELS] {
        &self.counts
    }

    /// How many said that the criterion does not apply.
    pub const fn not_applicable(&self) -> u32 {
        self.not_applicable
    }

    /// What follows where nobody decided.
    pub fn target(&self) -> Target {
        let scored: u64 = self.counts.iter().map(|&count| u64::from(count)).sum();
        let said = scored + u64::from(self.not_applicable);
        if said == 0 {
            return Target::Missing;
        }
        let share = f64::from(self.not_applicable) / said as f64;
        let ruled = match self.corrected {
            Some(masses) => masses.rounded_mean().map(|score| (score, masses.0)),
            None => median(&self.counts).map(|score| (score, self.counts.map(u64::from))),
        };
        match ruled {
            Some((score, masses)) if 2 * scored >= said => {
                Target::Scored(ScoreTarget::new(score, masses, share))
            }
            _ => Target::NotApplicable { share },
        }
    }
}

/// The median; between two scores the one nearer the mean, at a tie the even one (so that ties lean to neither side).
fn median(counts: &[u32; LEVELS]) -> Option<Score> {
    let counts = counts.map(u64::from);
    let given: u64 = counts.iter().sum();
    let sum: u64 = (1..).zip(counts).map(|(score, count)| score * count).sum();
    let doubled: u64 = score_at(counts, given.checked_sub(1)? / 2)? + score_at(counts, given / 2)?;
    let below = doubled / 2;
    if doubled.is_multiple_of(2) {
        return Score::new(below as u8);
    }
    let is_above = match (2 * sum).cmp(&(doubled * given)) {
        Ordering::Less => false,
        Ordering::Greater => true,
        Ordering::Equal => below % 2 == 1,
    };
    Score::new((below + u64::from(is_above)) as u8)
}

/// The score at this place of all scores in ascending order, from 0.
fn score_at(counts: [u64; LEVELS], place: u64) -> Option<u64> {
    let mut seen = 0;
    (1..).zip(counts).find_map(|(score, count)| {
        seen += count;
        (seen > place).then_some(score)
    })
}

/// Whose word counts more than the raters'; of two the later one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authority {
    /// A lead who settled a dispute between raters.
    #[serde(rename = "final_word")]
    Adjudication,
    /// A user who corrected the model.
    Correction,
}

/// Who decided a criterion. Of two decisions the greater one counts: by authority, then by time, then by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Decision {
    /// Whose word it is.
    pub by: Authority,
    /// When it was said, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The id of the journal's event or of the correction.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
}
