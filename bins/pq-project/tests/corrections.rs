//! A correction of a deck that nobody collected, from its scores to the next training: scored, corrected, brought in, taught.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod programs;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::{Rgb, RgbImage};
use programs::programs;
use project_files::{Contract as _, Layout, RunRecord, Storage};
use slide_data::{
    Answer, Correction, Manifest, Prediction, Rubric, Score, SlideRecord, Split, Splits, Target,
};
use slide_scorer::{LabelledSlide, NewGroups, Store};

const COMMANDS: [&str; 6] = ["pq-collect", "pq-label", "pq-train", "pq-score", "pq-trigger", "pq-project"];

struct Team {
    dir: tempfile::TempDir,
    programs: PathBuf,
}

fn slide(seed: u64) -> RgbImage {
    let mut rng = fastrand::Rng::with_seed(seed);
    let blocks: Vec<u8> = (0..64).map(|_| rng.u8(..)).collect();
    RgbImage::from_fn(640, 360, |x, y| {
        let block = blocks[(y as usize / 45) * 8 + x as usize / 80];
        Rgb([block, block.wrapping_add((x % 80) as u8), block.wrapping_mul(3)])
    })
}

impl Team {
    /// Eight rated decks, and a first run.
    fn new() -> Self {
        let team = Self { dir: tempfile::tempdir().unwrap(), programs: programs(&COMMANDS) };
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/text-all/model");
        let training = format!(
            "[model]\nname = '{}'\n\n[training]\nmax_steps = 2\neval_steps = 2\nsave_steps = 2\nlogging_steps = 1\n",
            base.canonicalize().unwrap().display()
        );
        std::fs::create_dir(team.path("config")).unwrap();
        std::fs::write(team.path("config/training.toml"), training).unwrap();
        std::fs::write(team.path("config/model.toml"), "[processor]\nlongest_edge = 128\n").unwrap();
        for deck in 0..8 {
            team.draw("bring", &format!("deck {deck}"), &[slide(deck * 7), slide(deck * 7 + 1)]);
        }
        team.run("pq-collect", &["bring"]);
        let ratings = team.ratings();
        team.run("pq-label", &["import", ratings.to_str().unwrap()]);
        team.run("pq-train", &["--run", "one"]);
        team
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    fn layout(&self) -> Layout {
        let [data_dir, monitoring_dir, registry_dir] =
            ["data", "monitoring", "model_registry"].map(|name| self.path(name));
        Layout::new(&Storage { data_dir, monitoring_dir, registry_dir }, &self.path("outputs"))
    }

    fn draw(&self, place: &str, deck: &str, slides: &[RgbImage]) -> PathBuf {
        let folder = self.path(place).join(deck);
        std::fs::create_dir_all(&folder).unwrap();
        for (at, slide) in slides.iter().enumerate() {
            slide.save(folder.join(format!("{at}.png"))).unwrap();
        }
        folder
    }

    fn ratings(&self) -> PathBuf {
        let mut csv =
            "slide_id,annotator,clarity,design,data_visualization,readability,content_quality\n".to_owned();
        for (at, slide) in self.manifest().iter().enumerate() {
            let scores: Vec<String> = (0..5).map(|shift| (1 + (at + shift) % 5).to_string()).collect();
            let _ = writeln!(csv, "{},Ana,{}", slide.slide_id, scores.join(","));
        }
        let path = self.path("ratings.csv");
        std::fs::write(&path, csv).unwrap();
        path
    }

    fn run(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.dir.path()).args(args).env("HOME", self.dir.path());
        for variable in ["WANDB_API_KEY", "HF_TOKEN", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"] {
            command.env_remove(variable);
        }
        let output = command.output().unwrap();
        let (printed, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // A few steps on a base with random weights teach nothing, which the command says with status 1.
        let is_done = output.status.success() || printed.contains("has not learned");
        assert!(is_done, "{program} {args:?}:\n{printed}{said}");
        printed.into_owned()
    }

    fn manifest(&self) -> Vec<SlideRecord> {
        Manifest::read(self.layout().slides().root()).unwrap().slides
    }

    fn record(&self, run: &str) -> RunRecord {
        RunRecord::read(&self.layout().run(run).record()).unwrap()
    }

    /// The slides that a training would learn from and be judged by.
    fn labelled(&self) -> Vec<LabelledSlide> {
        let overrides = [
            format!("storage.data_dir=\"{}\"", self.path("data").display()),
            format!("training.output_dir=\"{}\"", self.path("outputs").display()),
        ];
        let project = pq_cli::ProjectConfig::load(&self.path("config"), true, &overrides).unwrap();
        Store::open(&project).unwrap().labelled(&Rubric::default(), NewGroups::LeaveOut).unwrap()
    }

    /// Scores the folder that a deck's folder lies in and returns the ids of the slides in their order.
    fn score(&self, deck: &Path) -> Vec<String> {
        let folder = deck.parent().unwrap().to_str().unwrap();
        let lines = self.run("pq-score", &["--adapter", "outputs/one", folder]);
        lines.lines().map(|line| serde_json::from_str::<Prediction>(line).unwrap().slide_id).collect()
    }

    fn correct(&self, id: &str, slide: &str, scores: &[(&str, Option<u8>)], at: &str) {
        let correction = Correction {
            schema_version: Correction::VERSION,
            id: id.to_owned(),
            slide_id: slide.to_owned(),
            model_version: "one".to_owned(),
            annotator: "user".to_owned(),
            corrected_at: at.parse().unwrap(),
            predicted: [].into(),
            scores: scores
                .iter()
                .map(|(key, score)| ((*key).to_owned(), score.and_then(Score::new)))
                .collect(),
            notes: String::new(),
        };
        Correction::append(&self.layout().corrections(), &[correction]).unwrap();
    }
}

fn of_split(slides: &[LabelledSlide], split: Split) -> Vec<(String, String)> {
    let own = slides.iter().filter(|slide| slide.split == split);
    own.map(|slide| (slide.record.slide_id.clone(), serde_json::to_string(&slide.label).unwrap())).collect()
}

#[test]
fn a_corrected_stranger_is_in_the_next_training_and_no_test_set_moves() {
    let team = Team::new();
    let before = team.labelled();
    let splits = Splits::read(&team.layout().splits()).unwrap();
    let test = team.manifest().into_iter().find(|slide| splits.of(slide) == Some(Split::Test)).unwrap();

    // Two strangers: one new, and one that holds a cropped copy of a slide of the test.
    let stored = image::open(Manifest::image_path(team.layout().slides().root(), &test.slide_id)).unwrap();
    let copy = stored.crop_imm(4, 4, 632, 352).into_rgb8();
    let stranger =
        team.score(&team.draw("production/one", "stranger", &[slide(900), slide(901), slide(902)]));
    let like_test = team.score(&team.draw("production/two", "like test", &[copy, slide(910)]));
    let all = [("clarity", Some(5)), ("design", Some(1)), ("data_visualization", None)];
    team.correct("c0", &stranger[0], &[("clarity", Some(1))], "2026-01-01T00:00:00Z");
    team.correct("c1", &stranger[0], &all, "2026-01-02T00:00:00Z");
    team.correct(
        "c2",
        &stranger[2],
        &[("readability", Some(2)), ("unknown", Some(4))],
        "2026-01-01T00:00:00Z",
    );
    team.correct("c3", &like_test[0], &all, "2026-01-01T00:00:00Z");
    team.correct("c4", &like_test[1], &all, "2026-01-01T00:00:00Z");
    team.correct("c5", &test.slide_id, &all, "2026-01-01T00:00:00Z");
    team.correct("c6", &stranger[1], &[("unknown", Some(4))], "2026-01-01T00:00:00Z");
    let waits = team.run("pq-trigger", &["--dry-run"]);
    assert!(waits.contains("of kept slides, which `pq-collect production` brings in"), "{waits}");
    team.run("pq-collect", &["production"]);

    // The targets of the next training: what was corrected is obeyed, and nothing else is taught of these slides.
    let after = team.labelled();
    for split in [Split::Test, Split::Val] {
        assert_eq!(of_split(&after, split), of_split(&before, split), "{split:?}");
    }
    let (old, new): (Vec<&LabelledSlide>, Vec<&LabelledSlide>) = after
        .iter()
        .filter(|slide| slide.split == Split::Train)
        .partition(|slide| before.iter().any(|known| known.record.slide_id == slide.record.slide_id));
    assert_eq!(old.len(), of_split(&before, Split::Train).len());
    let ids: BTreeSet<&str> = new.iter().map(|slide| slide.record.slide_id.as_str()).collect();
    assert_eq!(ids, BTreeSet::from([stranger[0].as_str(), stranger[2].as_str()]));
    let target = |slide: &str, key: &str| {
        let found = new.iter().find(|known| known.record.slide_id == slide).unwrap();
        found.label.target(key)
    };
    let sure = |score: u8| Target::decided(Answer::Score(Score::new(score).unwrap()));
    assert_eq!(target(&stranger[0], "clarity"), sure(5), "the newest correction counts");
    assert_eq!(target(&stranger[0], "data_visualization"), Target::decided(Answer::NotApplicable));
    assert_eq!(target(&stranger[0], "readability"), Target::Missing);
    assert_eq!(target(&stranger[2], "readability"), sure(2));

    // The run says so itself.
    team.run("pq-train", &["--run", "two"]);
    let (one, two) = (team.record("one"), team.record("two"));
    let listed = [("c1", &stranger[0]), ("c2", &stranger[2])];
    assert_eq!(two.corrections, listed.map(|(id, slide)| (id.to_owned(), slide.clone())).into());
    assert!(one.corrections.is_empty() && one.test_set.as_ref().is_some_and(|test| test.slides > 0));
    assert_eq!(one.test_set, two.test_set, "slides and labels of the test are what they were");
    assert_eq!(two.data.train_slides, one.data.train_slides + 2);
    assert_eq!((two.data.val_slides, two.data.test_slides), (one.data.val_slides, one.data.test_slides));
    let again = team.run("pq-collect", &["production"]);
    assert!(again.contains("0 of 0 decks are new"), "{again}");
}
