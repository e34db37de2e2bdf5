//! A project whose folders lie anywhere: each command finds what the others wrote, and a misspelt folder is an error to all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod programs;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use programs::programs;
use project_files::{Contract as _, Layout, Storage, ValidationResults, VersionFile};
use slide_data::{Correction, Manifest, Prediction, Score, SlideRecord, Split, Splits};

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

/// Made when somebody is invited, when the page is opened, when a day is over, when a file cannot be scored, by a run that begins after people have corrected, where
/// people say "not applicable", where three decks are for validation, by `pq-train --head`, and where days of a large log are over.
const LATER: [&str; 12] = [
    "forgotten.jsonl",
    "slide_decisions.jsonl",
    "people.json",
    "calibration.json",
    "audits.jsonl",
    "failures.jsonl",
    "latest/data/corrections.jsonl",
    "latest/applicability.json",
    "latest/decision.json",
    "latest/score_head.json",
    "predictions/segments.json",
    "predictions",
];

struct Project {
    dir: tempfile::TempDir,
    programs: PathBuf,
    folders: [String; 4],
    /// The setting that is misspelt, if any.
    misspelt: Option<&'static str>,
}

const SETTINGS: [&str; 4] =
    ["storage.data_dir", "storage.monitoring_dir", "storage.registry_dir", "training.output_dir"];

impl Project {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut name = |kind: &str| {
            let words = ["deep", "with space", "ünï", "a.b", "UPPER", "x-1"];
            let depth = rng.usize(0..3);
            let parents: Vec<&str> = (0..depth).map(|_| words[rng.usize(0..words.len())]).collect();
            [parents.join("/"), format!("{kind}-{}", rng.u16(..))]
                .join("/")
                .trim_start_matches('/')
                .to_owned()
        };
        let folders = [name("d"), name("m"), name("r"), name("o")];
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("settings");
        std::fs::create_dir_all(&config).unwrap();
        let [data, monitoring, registry, outputs] = &folders;
        let storage = format!(
            "[storage]\ndata_dir = {data:?}\nmonitoring_dir = {monitoring:?}\nregistry_dir = {registry:?}\n\n[label]\nraters_per_slide = 1\n"
        );
        std::fs::write(config.join("data.toml"), storage).unwrap();
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/text-all/model");
        let training = format!(
            "[model]\nname = '{}'\n\n[training]\noutput_dir = {outputs:?}\nmax_steps = 2\neval_steps = 2\nsave_steps = 2\nlogging_steps = 1\n",
            base.canonicalize().unwrap().display()
        );
        std::fs::write(config.join("training.toml"), training).unwrap();
        std::fs::write(config.join("model.toml"), "[processor]\nlongest_edge = 128\n").unwrap();
        std::fs::write(config.join("monitoring.toml"), "[triggers]\nmin_corrections = 3\n").unwrap();
        Self { dir, programs: programs(&COMMANDS), folders, misspelt: None }
    }

    fn layout(&self) -> Layout {
        let [data_dir, monitoring_dir, registry_dir, outputs] =
            [0, 1, 2, 3].map(|at| self.dir.path().join(&self.folders[at]));
        Layout::new(&Storage { data_dir, monitoring_dir, registry_dir }, &outputs)
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.dir.path()).args(["--config", "settings"]).args(args);
        if let Some(setting) = self.misspelt {
            command.args(["--set", &format!("{setting}=no-such-folder")]);
        }
        for variable in ["WANDB_API_KEY", "HF_TOKEN", "GITHUB_OUTPUT"] {
            command.env_remove(variable);
        }
        command.env("HOME", self.dir.path()).output().unwrap()
    }

    /// Runs a command that must end with `status`; returns what it printed.
    fn expect(&self, program: &str, args: &[&str], status: i32) -> String {
        let output = self.run(program, args);
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            output.status.code(),
            Some(status),
            "{program} {args:?} in {:?}:\n{printed}{said}",
            self.folders
        );
        printed
    }

    /// Decks of images, each a folder of its own.
    fn draw_decks(&self, decks: usize) -> PathBuf {
        let decks_dir = self.dir.path().join("bring");
        for deck in 0..decks {
            let folder = decks_dir.join(format!("deck {deck}"));
            std::fs::create_dir_all(&folder).unwrap();
            for slide in 0..2_usize {
                let mut rng = fastrand::Rng::with_seed((deck * 7 + slide) as u64);
                let blocks: Vec<u8> = (0..64).map(|_| rng.u8(..)).collect();
                let image = image::RgbImage::from_fn(640, 360, |x, y| {
                    let block = blocks[(y as usize / 45) * 8 + x as usize / 80];
                    image::Rgb([block, block.wrapping_add((x % 80) as u8), block.wrapping_mul(3)])
                });
                image.save(folder.join(format!("{slide}.png"))).unwrap();
            }
        }
        decks_dir
    }

    fn rate(&self) -> PathBuf {
        let manifest = Manifest::read(self.layout().slides().root()).unwrap();
        let mut csv =
            "slide_id,annotator,clarity,design,data_visualization,readability,content_quality\n".to_owned();
        for (at, slide) in manifest.slides.iter().enumerate() {
            let score = |shift: usize| 1 + (at + shift) % 5;
            let _ = writeln!(
                csv,
                "{},Ana,{},{},{},{},{}",
                slide.slide_id,
                score(0),
                score(1),
                score(2),
                score(3),
                score(4)
            );
        }
        let path = self.dir.path().join("ratings.csv");
        std::fs::write(&path, csv).unwrap();
        path
    }

    fn correct(&self) {
        let layout = self.layout();
        let splits = Splits::read(&layout.splits()).unwrap();
        let is_trained_on = |slide: &&SlideRecord| {
            splits.groups.get(&slide.group) == Some(&Split::Train) && slide.duplicate_of.is_none()
        };
        let manifest = Manifest::read(layout.slides().root()).unwrap();
        let slide = manifest.slides.iter().find(is_trained_on).unwrap().slide_id.clone();
        let corrections: Vec<Correction> = ["clarity", "design", "readability"]
            .into_iter()
            .map(|criterion| Correction {
                schema_version: Correction::VERSION,
                id: format!("of {criterion}"),
                slide_id: slide.clone(),
                model_version: "v1.0.0".to_owned(),
                annotator: "user".to_owned(),
                corrected_at: "2025-01-01T00:00:00Z".parse().unwrap(),
                predicted: [(criterion.to_owned(), 3.0)].into(),
                scores: [(criterion.to_owned(), Score::new(5))].into(),
                notes: String::new(),
            })
            .collect();
        Correction::append(&layout.corrections(), &corrections).unwrap();
    }
}

/// Goes once around; every stage must meet what the stages before it left.
fn round(project: &Project) {
    let layout = project.layout();
    let decks = project.draw_decks(4);
    project.expect("pq-collect", &[decks.to_str().unwrap()], 0);
    assert!(layout.slides().manifest().exists());
    let ratings = project.rate();
    project.expect("pq-label", &["import", ratings.to_str().unwrap()], 0);
    project.expect("pq-label", &["verify"], 0);
    let trained = project.run("pq-train", &["--run", "one"]); // two steps may teach nothing, which is status 1
    assert!(matches!(trained.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&trained.stderr));
    assert!(layout.latest_run().record().exists() && layout.splits().exists());
    let refused = project.run("pq-validate", &[]).status.code();
    assert!(matches!(refused, Some(1 | 3)), "a tiny model with random weights does not pass: {refused:?}");
    let refused = project.run("pq-register", &[]).status.code();
    assert!(matches!(refused, Some(1 | 3)), "and is not released: {refused:?}");
    pass(&layout);
    project.expect("pq-register", &[], 1); // the numbers do not follow from the predictions
    let elsewhere = ["--set", "storage.data_dir=not-here"];
    project.expect("pq-register", &elsewhere, 1); // by the run's copies they do not either
    let (copies, away) = (layout.latest_run().data(), project.dir.path().join("away"));
    std::fs::rename(&copies, &away).unwrap();
    project.expect("pq-register", &elsewhere, 1); // nobody can tell
    let set_aside = ["--override", "recheck=what is tested is the way from stage to stage"];
    let released = project.expect("pq-register", &[elsewhere, set_aside].concat(), 0);
    std::fs::rename(&away, &copies).unwrap();
    assert!(released.contains("v1.0.0 released"), "{released}");
    assert_eq!(VersionFile::read(&layout.version_file()).unwrap().champion().unwrap().version, "v1.0.0");
    let slide = decks.join("deck 0/0.png");
    project.expect("pq-score", &[slide.to_str().unwrap()], 0);
    let predictions = Prediction::read_log(&layout.predictions()).unwrap().entries;
    assert_eq!(
        (predictions.len(), predictions[0].model_version.as_str()),
        (1, "v1.0.0"),
        "the champion scored"
    );
    project.correct();
    let monitored = project.expect("pq-monitor", &["--json"], 0);
    let monitored: serde_json::Value = serde_json::from_str(&monitored).unwrap();
    let inputs: Vec<&String> = monitored["drift"]["inputs"].as_object().unwrap().keys().collect();
    for name in ["predictions.jsonl", "reference_predictions", "validation_results", "labels", "splits"] {
        assert!(inputs.iter().any(|path| path.contains(name)), "pq-monitor read no {name}: {inputs:?}");
    }
    let decided = project.expect("pq-trigger", &["--exit-code", "--set", "triggers.cooldown_days=0"], 0);
    assert!(
        decided.contains("RETRAIN") && decided.contains("3 corrections to learn from since"),
        "{decided}"
    );
    assert!(layout.decisions().exists() && layout.latest_drift().exists());
    let overview = project.run("pq-project", &["check"]);
    let overview = String::from_utf8_lossy(&overview.stdout).into_owned();
    let missing: Vec<&str> = overview.lines().filter(|line| line.contains("not there")).collect();
    let is_later = |line: &&str| LATER.iter().any(|name| line.contains(name));
    assert!(missing.iter().all(is_later), "everything else was written by now:\n{overview}");
    for folder in ["data", "monitoring", "model_registry", "outputs"] {
        assert!(!project.dir.path().join(folder).exists(), "`{folder}` is not the configured folder");
    }
}

/// Lets the run pass, which was validated, by numbers that it did not earn: what is tested is the way from stage to stage.
fn pass(layout: &Layout) {
    let path = layout.latest_run().validation();
    let found = ValidationResults::read(&path).unwrap();
    let (inputs, model_version) = (found.inputs, found.model_version);
    let mut results = ValidationResults { inputs, model_version, ..ValidationResults::sample() };
    results.judge();
    results.write(&path).unwrap();
}

/// A command with its arguments.
type Reader<'a> = (&'a str, Vec<&'a str>);

/// Which commands must refuse which misspelt folder: all that only read from it.
fn misspelt(project: &mut Project) {
    let decks = project.dir.path().join("bring/deck 0/0.png");
    let slide = decks.to_str().unwrap().to_owned();
    let readers: [(&'static str, Vec<Reader<'_>>); 4] = [
        (
            SETTINGS[0],
            vec![
                ("pq-label", vec!["verify"]),
                ("pq-train", vec![]),
                ("pq-validate", vec![]),
                ("pq-monitor", vec![]),
                ("pq-trigger", vec![]),
            ],
        ),
        (SETTINGS[1], vec![("pq-label", vec!["verify"]), ("pq-monitor", vec![]), ("pq-trigger", vec![])]),
        (
            SETTINGS[2],
            vec![
                ("pq-validate", vec![]),
                ("pq-register", vec!["history"]),
                ("pq-score", vec![&slide]),
                ("pq-monitor", vec![]),
                ("pq-trigger", vec![]),
            ],
        ),
        (SETTINGS[3], vec![("pq-validate", vec![]), ("pq-register", vec![]), ("pq-train", vec!["--resume"])]),
    ];
    for (setting, commands) in readers {
        project.misspelt = Some(setting);
        for (program, args) in commands {
            let output = project.run(program, &args);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{program} with {setting} misspelt: {said}");
            assert!(said.contains("no-such-folder") && said.contains("hint: "), "{program}: {said}");
        }
        assert_eq!(project.run("pq-project", &["check"]).status.code() == Some(0), setting == SETTINGS[3]);
    }
    assert!(!project.dir.path().join("no-such-folder").exists(), "nothing was begun there");
}

#[test]
fn folders_at_random_are_found_by_all_and_misspelt_ones_by_none() {
    let rounds: u64 = std::env::var("PQ_MOVED_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    for seed in 0..rounds {
        let mut project = Project::new(seed);
        round(&project);
        if seed == 0 {
            misspelt(&mut project);
        }
    }
}
