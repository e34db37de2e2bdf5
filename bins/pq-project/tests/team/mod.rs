//! A small team: decks of drawn slides, rated and trained on, and the commands that it runs.
#![allow(dead_code, reason = "each test needs another part")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use project_files::{Contract as _, Layout, RunRecord, Storage};
use slide_data::{Correction, Manifest, Prediction, Rubric, Score, SlideRecord, Split};
use slide_scorer::{LabelledSlide, NewGroups, Store};

use crate::programs::programs;

const COMMANDS: [&str; 9] = [
    "pq-collect",
    "pq-label",
    "pq-train",
    "pq-validate",
    "pq-register",
    "pq-score",
    "pq-monitor",
    "pq-trigger",
    "pq-project",
];

pub(crate) struct Team {
    dir: tempfile::TempDir,
    programs: PathBuf,
}

pub(crate) fn slide(seed: u64) -> RgbImage {
    let mut rng = fastrand::Rng::with_seed(seed);
    let blocks: Vec<u8> = (0..64).map(|_| rng.u8(..)).collect();
    RgbImage::from_fn(640, 360, |x, y| {
        let block = blocks[(y as usize / 45) * 8 + x as usize / 80];
        Rgb([block, block.wrapping_add((x % 80) as u8), block.wrapping_mul(3)])
    })
}

impl Team {
    /// Eight rated decks, and a first run.
    pub(crate) fn new() -> Self {
        let team = Self::rated();
        team.run("pq-train", &["--run", "one"]);
        team
    }

    /// Eight rated decks.
    pub(crate) fn rated() -> Self {
        Self::of_drawn(8, 2)
    }

    /// So many rated decks of so many slides, and a base that is quick and knows nothing.
    pub(crate) fn of_drawn(decks: u64, slides: u64) -> Self {
        let team = Self::empty();
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/text-all/model");
        let training = format!(
            "[model]\nname = '{}'\n\n[training]\nmax_steps = 2\neval_steps = 2\nsave_steps = 2\nlogging_steps = 1\n",
            base.canonicalize().unwrap().display()
        );
        std::fs::create_dir(team.path("config")).unwrap();
        std::fs::write(team.path("config/training.toml"), training).unwrap();
        std::fs::write(team.path("config/model.toml"), "[processor]\nlongest_edge = 128\n").unwrap();
        for deck in 0..decks {
            let drawn: Vec<RgbImage> = (0..slides).map(|at| slide(deck * 7 + at)).collect();
            team.draw("bring", &format!("deck {deck}"), &drawn);
        }
        team.run("pq-collect", &["bring"]);
        let ratings = team.ratings();
        team.run("pq-label", &["import", ratings.to_str().unwrap()]);
        team
    }

    /// A folder without anything in it.
    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), programs: programs(&COMMANDS) }
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub(crate) fn layout(&self) -> Layout {
        let [data_dir, monitoring_dir, registry_dir] =
            ["data", "monitoring", "model_registry"].map(|name| self.path(name));
        Layout::new(&Storage { data_dir, monitoring_dir, registry_dir }, &self.path("outputs"))
    }

    pub(crate) fn draw(&self, place: &str, deck: &str, slides: &[RgbImage]) -> PathBuf {
        let folder = self.path(place).join(deck);
        std::fs::create_dir_all(&folder).unwrap();
        for (at, slide) in slides.iter().enumerate() {
            slide.save(folder.join(format!("{at}.png"))).unwrap();
        }
        folder
    }

    /// Ratings of all slides by Ana, as a file to import.
    pub(crate) fn ratings(&self) -> PathBuf {
        let scores = |at: usize| std::array::from_fn(|shift| 1 + (at + shift) % 5);
        let all = self.manifest().into_iter().enumerate();
        self.ratings_of("Ana", all.map(|(at, slide)| (slide.slide_id, scores(at))))
    }

    /// Ratings by one person, as a file to import.
    pub(crate) fn ratings_of(
        &self,
        rater: &str,
        ratings: impl IntoIterator<Item = (String, [usize; 5])>,
    ) -> PathBuf {
        let mut csv =
            "slide_id,annotator,clarity,design,data_visualization,readability,content_quality\n".to_owned();
        for (slide, scores) in ratings {
            let _ = writeln!(csv, "{slide},{rater},{}", scores.map(|score| score.to_string()).join(","));
        }
        let path = self.path(&format!("ratings of {rater}.csv"));
        std::fs::write(&path, csv).unwrap();
        path
    }

    pub(crate) fn run(&self, program: &str, args: &[&str]) -> String {
        let output = self.output(program, args);
        let (printed, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // A few steps on a base with random weights teach nothing, which the command says with status 1.
        let is_done = output.status.success() || printed.contains("has not learned");
        assert!(is_done, "{program} {args:?}:\n{printed}{said}");
        printed.into_owned()
    }

    /// Runs a command that may end otherwise than well.
    pub(crate) fn output(&self, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.dir.path()).args(args).env("HOME", self.dir.path());
        for variable in ["WANDB_API_KEY", "HF_TOKEN", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ACTOR"]
        {
            command.env_remove(variable);
        }
        command.output().unwrap()
    }

    pub(crate) fn manifest(&self) -> Vec<SlideRecord> {
        Manifest::read(self.layout().slides().root()).unwrap().slides
    }

    pub(crate) fn record(&self, run: &str) -> RunRecord {
        RunRecord::read(&self.layout().run(run).record()).unwrap()
    }

    /// The slides that a training would learn from and be judged by.
    pub(crate) fn labelled(&self) -> Vec<LabelledSlide> {
        let overrides = [
            format!("storage.data_dir=\"{}\"", self.path("data").display()),
            format!("training.output_dir=\"{}\"", self.path("outputs").display()),
        ];
        let project = pq_cli::ProjectConfig::load(&self.path("config"), true, &overrides).unwrap();
        Store::open(&project).unwrap().labelled(&Rubric::default(), NewGroups::LeaveOut).unwrap()
    }

    /// Scores the folder that a deck's folder lies in and returns the ids of the slides in their order.
    pub(crate) fn score(&self, deck: &Path) -> Vec<String> {
        let folder = deck.parent().unwrap().to_str().unwrap();
        let lines = self.run("pq-score", &["--adapter", "outputs/one", folder]);
        lines.lines().map(|line| serde_json::from_str::<Prediction>(line).unwrap().slide_id).collect()
    }

    pub(crate) fn correct(&self, id: &str, slide: &str, scores: &[(&str, Option<u8>)], at: &str) {
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

/// The slides of a split with their labels.
pub(crate) fn of_split(slides: &[LabelledSlide], split: Split) -> Vec<(String, String)> {
    let own = slides.iter().filter(|slide| slide.split == split);
    own.map(|slide| (slide.record.slide_id.clone(), serde_json::to_string(&slide.label).unwrap())).collect()
}
