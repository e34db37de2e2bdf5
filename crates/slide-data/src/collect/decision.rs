use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Contract;

/// What a person decided about slides: a line of `data/labeled/slide_decisions.jsonl`. Every run applies them over what it finds by
/// itself; of several decisions on one thing the last one holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlideDecision {
    /// Version of this contract, now 1.
    pub schema_version: u32,
    /// What was decided.
    pub kind: DecisionKind,
    /// The slides; two of them for `same` and `different`.
    pub slides: Vec<String>,
    /// Licence or consent, for `licence`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Who decided.
    pub by: String,
    /// Why.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// What a person decides about slides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// They are not used.
    Exclude,
    /// They are used, whatever the rules say of them.
    Include,
    /// The rules decide again whether they are used.
    Automatic,
    /// The two are one slide.
    Same,
    /// The two are different slides.
    Different,
    /// They are used under this licence or consent.
    Licence,
}

impl Contract for SlideDecision {
    const NAME: &'static str = "decision about slides";
    const VERSION: u32 = 1;

    fn check(&self) -> std::result::Result<(), String> {
        let is_pair = matches!(self.kind, DecisionKind::Same | DecisionKind::Different);
        let is_two = self.slides.len() == 2 && self.slides[0] != self.slides[1];
        let has_license = self.license.as_deref().is_some_and(|license| !license.trim().is_empty());
        match () {
            () if self.slides.is_empty() => Err("`slides` names none".to_owned()),
            () if is_pair && !is_two => Err("`slides` must name two".to_owned()),
            () if (self.kind == DecisionKind::Licence) != has_license => {
                Err("`license` belongs to `licence` and must say something there".to_owned())
            }
            () if self.by.trim().is_empty() => Err("`by` is empty".to_owned()),
            () => Ok(()),
        }
    }
}

/// What holds of all decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decisions {
    used: BTreeMap<String, bool>,
    licences: BTreeMap<String, String>,
    same: BTreeSet<(String, String)>,
    different: BTreeSet<(String, String)>,
}

impl Decisions {
    /// The last decision on each thing.
    pub fn of(decisions: &[SlideDecision]) -> Self {
        let mut all = Self::default();
        for decision in decisions {
            all.add(decision);
        }
        all
    }

    fn add(&mut self, decision: &SlideDecision) {
        let slides = decision.slides.iter().cloned();
        match decision.kind {
            DecisionKind::Exclude => self.used.extend(slides.map(|slide| (slide, false))),
            DecisionKind::Include => self.used.extend(slides.map(|slide| (slide, true))),
            DecisionKind::Automatic => decision.slides.iter().for_each(|slide| {
                self.used.remove(slide);
            }),
            DecisionKind::Licence => {
                let license = decision.license.clone().unwrap_or_default();
                self.licences.extend(slides.map(|slide| (slide, license.clone())));
            }
            DecisionKind::Same | DecisionKind::Different => {
                let [a, b] = decision.slides.as_slice() else { return };
                let pair = ordered(a, b);
                let is_same = decision.kind == DecisionKind::Same;
                self.same.remove(&pair);
                self.different.remove(&pair);
                if is_same { &mut self.same } else { &mut self.different }.insert(pair);
            }
        }
    }

    /// Whether a person decided that a slide is used or not.
    pub fn used(&self, slide_id: &str) -> Option<bool> {
        self.used.get(slide_id).copied()
    }

    /// The licence that a person stated for a slide.
    pub fn license(&self, slide_id: &str) -> Option<&str> {
        self.licences.get(slide_id).map(String::as_str)
    }

    /// Whether a person decided that two slides are different ones.
    pub fn are_different(&self, a: &str, b: &str) -> bool {
        !self.different.is_empty() && self.different.contains(&ordered(a, b))
    }

    /// The pairs of slides that are one.
    pub fn same(&self) -> impl Iterator<Item = (&str, &str)> {
        self.same.iter().map(|(a, b)| (a.as_str(), b.as_str()))
    }
}

fn ordered(a: &str, b: &str) -> (String, String) {
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    (first.to_owned(), second.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(kind: DecisionKind, slides: &[&str]) -> SlideDecision {
        SlideDecision {
            schema_version: 1,
            kind,
            slides: slides.iter().map(|slide| (*slide).to_owned()).collect(),
            license: (kind == DecisionKind::Licence).then(|| "CC0".to_owned()),
            by: "Ana".to_owned(),
            why: String::new(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn of_several_decisions_on_one_thing_the_last_one_holds() {
        use DecisionKind::{Automatic, Different, Exclude, Include, Licence, Same};
        let all = Decisions::of(&[
            decision(Exclude, &["a", "b", "c"]),
            decision(Include, &["b"]),
            decision(Automatic, &["c"]),
            decision(Same, &["x", "y"]),
            decision(Different, &["y", "x"]),
            decision(Different, &["p", "q"]),
            decision(Same, &["q", "p"]),
            decision(Licence, &["a"]),
        ]);
        assert_eq!(["a", "b", "c", "d"].map(|slide| all.used(slide)), [Some(false), Some(true), None, None]);
        assert!(all.are_different("x", "y") && all.are_different("y", "x") && !all.are_different("p", "q"));
        assert_eq!(all.same().collect::<Vec<_>>(), [("p", "q")]);
        assert_eq!((all.license("a"), all.license("b")), (Some("CC0"), None));
    }

    #[test]
    fn a_decision_that_says_too_little_is_refused() {
        use DecisionKind::{Exclude, Licence, Same};
        assert_eq!(decision(Same, &["a", "b"]).check(), Ok(()));
        for broken in [
            decision(Exclude, &[]),
            decision(Same, &["a"]),
            decision(Same, &["a", "a"]),
            SlideDecision { license: None, ..decision(Licence, &["a"]) },
            SlideDecision { by: " ".to_owned(), ..decision(Exclude, &["a"]) },
        ] {
            assert!(broken.check().is_err(), "{broken:?}");
        }
    }
}
