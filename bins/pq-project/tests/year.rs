//! The whole circle with a clock that is set by hand, in short: released, scored, corrected, asked for, learned from, promoted, refused, quiet.
//! `make demo-loop` shows the same on drawn decks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod programs;
mod team;

use std::collections::BTreeSet;
use std::path::Path;

use image::{Rgb, RgbImage};
use jiff::{SignedDuration, Timestamp};
use project_files::{Contract as _, VersionFile};
use slide_data::Prediction;
use team::Team;

/// So many corrections are enough here.
const ENOUGH: usize = 8;

/// A slide whose brightness is what people rate: 1 where it is dark, 5 where it is bright.
fn toned(level: usize, seed: u64) -> RgbImage {
    let mut rng = fastrand::Rng::with_seed(seed);
    let ground = if level == 1 { 35 } else { 220 };
    let mut image = RgbImage::from_pixel(640, 360, Rgb([ground; 3]));
    for _ in 0..4 {
        let (left, top, grey) = (rng.u32(0..540), rng.u32(0..320), rng.u8(60..190));
        for (x, y) in (0..rng.u32(30..100)).flat_map(|x| (0..24).map(move |y| (x, y))) {
            image.put_pixel(left + x, top + y, Rgb([grey, grey / 2 + 40, 255 - grey]));
        }
    }
    image
}

/// Level and seed of a slide of a deck.
fn level(deck: usize, number: usize) -> usize {
    if (deck + number + deck * number / 2).is_multiple_of(2) { 1 } else { 5 }
}

impl Team {
    /// Decks that people rated by their brightness.
    fn of_brightness(decks: usize) -> Self {
        let team = Self::empty();
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-smolvlm");
        let training = format!(
            "[model]\nname = '{}'\ndtype = \"float32\"\n\n[lora]\nr = 16\nlora_alpha = 32\n\n[training]\nmax_steps = 80\neval_steps = 20\nsave_steps = 20\nlogging_steps = 10\nper_device_train_batch_size = 8\ngradient_accumulation_steps = 1\nlearning_rate = 2e-3\n",
            base.canonicalize().unwrap().display()
        );
        std::fs::create_dir(team.path("config")).unwrap();
        std::fs::write(team.path("config/training.toml"), training).unwrap();
        let monitoring = format!("[drift]\nmin_slides = 10\n\n[triggers]\nmin_corrections = {ENOUGH}\n");
        std::fs::write(team.path("config/monitoring.toml"), monitoring).unwrap();
        let mut levels = std::collections::BTreeMap::new();
        for deck in 0..decks {
            let own: Vec<usize> = (0..4).map(|number| level(deck, number)).collect();
            let slides: Vec<RgbImage> =
                own.iter().enumerate().map(|(at, level)| toned(*level, (deck * 10 + at) as u64)).collect();
            team.draw("bring", &format!("deck {deck:02}"), &slides);
            levels.insert(format!("deck {deck:02}"), own);
        }
        team.run("pq-collect", &["bring"]);
        for rater in ["Ana", "Bea"] {
            let scores = team.manifest().into_iter().map(|slide| {
                let deck = Path::new(&slide.source.origin).parent().unwrap().file_name().unwrap();
                let level = levels[deck.to_str().unwrap()][slide.number - 1];
                (slide.slide_id, [level; 5])
            });
            let ratings = team.ratings_of(rater, scores);
            team.run("pq-label", &["import", ratings.to_str().unwrap()]);
        }
        team
    }

    fn champion(&self) -> String {
        VersionFile::read(&self.layout().version_file()).unwrap().champion().unwrap().version.clone()
    }

    /// Whether the run may be released.
    fn passes(&self, run: &str, more: &[&str]) -> (bool, String) {
        let folder = format!("outputs/{run}");
        let output = self.output("pq-validate", &[&[folder.as_str()], more].concat());
        let said =
            [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{said}");
        (output.status.success(), said)
    }

    /// Whether a retraining is asked for so many days from now, and what was said.
    fn look(&self, day: i64, more: &[&str]) -> (bool, String) {
        let at = (Timestamp::now() + SignedDuration::from_hours(24 * day)).to_string();
        self.run("pq-monitor", &["--at", &at]);
        let output = self.output("pq-trigger", &[&["--at", at.as_str(), "--exit-code"], more].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, from the first release to the end of a year")]
fn the_loop_learns_from_corrections_keeps_the_better_model_and_then_rests() {
    let team = Team::of_brightness(90);
    team.run("pq-train", &["--run", "first"]);
    let (passes, said) = team.passes("first", &[]);
    assert!(passes, "the first model can be released: {said}");
    team.run("pq-register", &["outputs/first"]);
    let version = team.champion();

    // Decks of strangers are scored, and users correct some slides.
    for deck in 0..4 {
        let slides: Vec<RgbImage> =
            (0..3).map(|at| toned(level(deck, at), 9000 + (deck * 10 + at) as u64)).collect();
        team.draw("production", &format!("stranger {deck}"), &slides);
    }
    let scored: Vec<Prediction> = team
        .run("pq-score", &["production"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let reference =
        Prediction::read_log(&team.layout().run("first").reference_predictions()).unwrap().entries;
    let bases: BTreeSet<Option<&str>> = scored
        .iter()
        .chain(&reference)
        .map(|slide| slide.vision.as_ref().map(|sketch| sketch.base.as_str()))
        .collect();
    assert!(bases.len() == 1 && !bases.contains(&None), "{bases:?}");
    assert!(scored.iter().all(|slide| slide.model_version == version));
    for (at, slide) in scored.iter().take(ENOUGH).enumerate() {
        let (now, said) = (Timestamp::now().to_string(), if slide.expected["clarity"] > 3.0 { 5 } else { 1 });
        team.correct(
            &format!("c{at}"),
            &slide.slide_id,
            &[("clarity", Some(said)), ("design", Some(said))],
            &now,
        );
    }

    // They are counted once they are in the store, and asked for once.
    assert!(!team.look(7, &[]).0, "nothing to learn from yet: the slides are in no store");
    let drift = drift::DriftReport::read(&team.layout().latest_drift()).unwrap();
    assert_eq!(drift.vision.map(|vision| vision.recent_slides), Some(scored.len()), "{:?}", drift.reasons);
    team.run("pq-collect", &["production"]);
    let (asks, said) = team.look(8, &[]);
    assert!(asks && said.contains(&format!("{ENOUGH} corrections to learn from")), "{said}");
    assert!(!team.look(8, &[]).0, "one runs already");

    // The next run lists them, and is measured against the same.
    team.run("pq-train", &["--run", "second", "--set", "training.max_steps=160"]);
    let (first, second) = (team.record("first"), team.record("second"));
    let corrected: BTreeSet<&str> = scored.iter().take(ENOUGH).map(|slide| slide.slide_id.as_str()).collect();
    assert_eq!(second.corrections.values().map(String::as_str).collect::<BTreeSet<_>>(), corrected);
    assert_eq!(second.corrections.len(), ENOUGH);
    assert!(first.corrections.is_empty() && first.test_set.is_some());
    assert_eq!(first.test_set, second.test_set);
    let margin = ["--champion-margin", "0.15", "--override", "champion_margin=corrections ask for a release"];
    let (passes, said) = team.passes("second", &margin);
    assert!(passes, "no worse than the version in use: {said}");
    team.run("pq-register", &["outputs/second"]);
    team.run("pq-trigger", &["--done"]);
    assert_ne!(team.champion(), version);
    let version = team.champion();

    // A worse one is not released, and that is no failure.
    assert!(team.look(15, &["--manual", "a training of one step"]).0);
    team.run("pq-train", &["--run", "third", "--set", "training.max_steps=1"]);
    let (passes, said) = team.passes("third", &margin);
    assert!(!passes, "a worse challenger: {said}");
    team.run("pq-trigger", &["--done"]);
    assert_eq!(team.champion(), version);

    // The counters have begun again, and the rest of the year asks for nothing.
    for week in 3..=52 {
        // The year's first looks each week, then one a month.
        if week > 8 && week % 4 != 0 {
            continue;
        }
        let (asks, said) = team.look(7 * week + 1, &[]);
        assert!(!asks && said.contains("0 corrections to learn from"), "week {week}: {said}");
    }
}
