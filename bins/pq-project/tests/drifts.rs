//! Drift from end to end, by commands alone and with the settings that come with the program: decks of a new look are scored, seen, asked
//! for and written down; decks like those of training are not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod programs;
mod team;

use std::path::Path;

use drift::{Decision, DriftReport, DriftStatus, Trigger, TriggerName, TriggerState};
use image::{Rgb, RgbImage};
use jiff::{SignedDuration, Timestamp};
use project_files::{Contract as _, ValidationResults};
use slide_data::Prediction;
use team::{Team, slide};

/// Slides of a deck.
const SLIDES: u64 = 4;

/// A slide of a house style that training has not seen: pale, and almost without colour.
fn pale(seed: u64) -> RgbImage {
    let mut image = slide(seed);
    for Rgb([red, green, blue]) in image.pixels_mut() {
        (*red, *green, *blue) = (200 + *red / 5, 200 + *red / 6, 200 + *red / 7);
    }
    image
}

impl Team {
    /// A released model, whose numbers are none that it earned: what is tested is what the commands see and decide.
    fn with_release(decks: u64) -> Self {
        let team = Self::of_drawn(decks, SLIDES);
        team.run("pq-train", &["--run", "one"]);
        team.output("pq-validate", &["outputs/one"]);
        let path = team.layout().run("one").validation();
        let ValidationResults { inputs, model_version, .. } = ValidationResults::read(&path).unwrap();
        let mut results = ValidationResults { inputs, model_version, ..ValidationResults::sample() };
        results.judge();
        results.write(&path).unwrap();
        // Nobody can make the numbers again where the labels are away.
        let copies = team.layout().run("one").data();
        let away = team.path("away");
        std::fs::rename(&copies, &away).unwrap();
        let set_aside = ["--override", "recheck=what is tested is the way from stage to stage"];
        let elsewhere = ["outputs/one", "--set", "storage.data_dir=not-here"];
        team.run("pq-register", &[elsewhere.as_slice(), &set_aside].concat());
        std::fs::rename(&away, &copies).unwrap();
        team
    }

    fn hand_in(&self, name: &str, decks: u64, drawn: fn(u64) -> RgbImage) {
        for deck in 0..decks {
            let slides: Vec<RgbImage> = (0..SLIDES).map(|at| drawn(90_000 + deck * 10 + at)).collect();
            self.draw(name, &format!("{name} {deck}"), &slides);
        }
    }

    /// Scores decks as of a later day.
    fn score_on(&self, day: i64, name: &str) {
        let (data, parts) = (format!("storage.data_dir={name}-data"), format!("{name}-parts"));
        self.run("pq-collect", &["--set", &data, name]);
        let manifest = format!("{name}-data/raw/manifest.jsonl");
        let shard = ["--shard", "0/1", "--parts", &parts, "--scored-at", &on(day)];
        self.run("pq-score", &[&[manifest.as_str()], shard.as_slice()].concat());
        self.run("pq-score", &["merge", &parts]);
    }

    fn look(&self, day: i64) -> (DriftReport, Decision) {
        self.run("pq-monitor", &["--at", &on(day)]);
        self.decide(day)
    }

    fn decide(&self, day: i64) -> (DriftReport, Decision) {
        let output = self.output("pq-trigger", &["--at", &on(day), "--by", "the weekly look", "--exit-code"]);
        let report = DriftReport::read(&self.layout().latest_drift()).unwrap();
        let decision = Decision::read_log(&self.layout().decisions()).unwrap().entries.pop().unwrap();
        let status = Some(i32::from(!decision.should_retrain));
        assert_eq!(output.status.code(), status, "{}", String::from_utf8_lossy(&output.stderr));
        (report, decision)
    }
}

/// So many days from now.
fn on(day: i64) -> String {
    (Timestamp::now() + SignedDuration::from_hours(24 * day)).to_string()
}

fn drift_of(decision: &Decision) -> &Trigger {
    decision.triggers.iter().find(|trigger| trigger.name == TriggerName::Drift).unwrap()
}

fn names_the_report(decision: &Decision) -> bool {
    decision.inputs.keys().any(|path| Path::new(path).ends_with("drift_reports/latest_drift.json"))
}

#[test]
fn a_new_look_is_seen_and_asked_for_and_the_usual_one_is_not() {
    let team = Team::with_release(64);
    team.hand_in("pale", 24, pale);
    team.run("pq-score", &["pale"]);
    let logged = Prediction::read_log(&team.layout().predictions()).unwrap().entries;
    assert_eq!(logged.len() as u64, 24 * SLIDES);
    assert!(logged.iter().all(|slide| slide.vision.is_some()), "vision features are in the log");

    // Everybody uses a new look: it is seen by name and by the vision features, beyond what a look may spend of the year's budget.
    let (report, decision) = team.look(8);
    let vision = report.vision.as_ref().unwrap();
    assert_eq!((vision.recent_decks, vision.recent_slides), (24, logged.len()), "{:?}", report.reasons);
    assert!(vision.drifted && vision.auc > 0.9, "{vision:?}");
    assert_eq!(report.status, DriftStatus::Drifted, "{:?}", report.reasons);
    let trigger = drift_of(&decision);
    assert_eq!(trigger.state, TriggerState::Fired, "{trigger:?}");
    assert!(trigger.value > Some(trigger.threshold) && trigger.p_value <= trigger.spent, "{trigger:?}");
    assert!(names_the_report(&decision) && decision.asked_by == "the weekly look", "{decision:?}");
    // There is nothing to learn the new look from yet.
    assert!(!decision.should_retrain && decision.held[0].contains("nothing is new"), "{:?}", decision.held);

    // Somebody corrects slides of it, and a week later the same report, which is not too old, asks once.
    for (at, slide) in logged.iter().take(5).enumerate() {
        team.correct(&format!("c{at}"), &slide.slide_id, &[("design", Some(2))], &on(9));
    }
    team.run("pq-collect", &["production"]);
    let (_, decision) = team.decide(15);
    assert!(decision.should_retrain && decision.held.is_empty(), "{:?}", decision.held);
    assert_eq!(drift_of(&decision).state, TriggerState::Fired);
    assert!(decision.reason().contains("the drift score is"), "{}", decision.reason());
    assert!(!team.decide(15).1.should_retrain, "one runs already");
    team.run("pq-trigger", &["--done"]);

    // A month later decks look as those of training do.
    team.hand_in("usual", 24, slide);
    team.score_on(43, "usual");
    let (report, decision) = team.look(45);
    assert_eq!(report.vision.map(|vision| vision.recent_decks), Some(24), "{:?}", report.reasons);
    // A flag may come by chance, in one report of twenty; what asks for a retraining may not.
    assert_ne!(drift_of(&decision).state, TriggerState::Fired, "{decision:?}");
    assert!(!decision.should_retrain && names_the_report(&decision));
}
