//! The programs that a model card shows, run as a stranger runs them: offline, on what the Hub would serve, against `pq-score`.
//!
//! They need a demo (`make demo`), release builds, and a Python with `torch`, `torchvision`, `transformers`, `peft` and `pillow`:
//! `CARD_PYTHON=… cargo test -p pq-register --test usage -- --ignored`. `CARD_DEMO` and `CARD_RELEASE` name the folders of demo
//! and binaries where they are not those of this checkout.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use project_files::{Contract as _, RELEASED_FILES, RunFiles, ValidationResults, hash_file};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SLIDES: usize = 4;
/// How far probabilities of two implementations may differ.
const TOLERANCE: f64 = 1e-3;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn folder(variable: &str, usual: &str) -> PathBuf {
    let dir = std::env::var_os(variable).map_or_else(|| root().join(usual), PathBuf::from);
    assert!(dir.is_dir(), "`{}` is no folder: set {variable}", dir.display());
    dir
}

/// A released version whose base is an id of the Hub, with a cache that holds the base and what the Hub would serve.
struct Scene {
    dir: tempfile::TempDir,
    version: RunFiles,
    slides: Vec<PathBuf>,
}

/// Puts files into the Hub's cache as a download of `id` would.
fn cache(cache: &Path, id: &str, revision: &str, files: &[PathBuf]) {
    let root = cache.join(format!("models--{}", id.replace('/', "--")));
    let snapshot = root.join("snapshots").join(COMMIT);
    for dir in [&snapshot, &root.join("refs")] {
        std::fs::create_dir_all(dir).unwrap();
    }
    for file in files {
        std::fs::copy(file, snapshot.join(file.file_name().unwrap())).unwrap();
    }
    for revision in ["main", revision] {
        std::fs::write(root.join("refs").join(revision), COMMIT).unwrap();
    }
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

impl Scene {
    fn new() -> Self {
        let demo = folder("CARD_DEMO", "demo");
        let dir = tempfile::tempdir().unwrap();
        let run = RunFiles::new(dir.path().join("outputs/run"));
        std::fs::create_dir_all(run.dir()).unwrap();
        let trained = RunFiles::new(demo.join("outputs/latest"));
        for file in RELEASED_FILES.iter().filter(|file| trained.dir().join(file.name).exists()) {
            std::fs::copy(trained.dir().join(file.name), run.dir().join(file.name)).unwrap();
        }
        let mut record: serde_json::Value =
            serde_json::from_slice(&std::fs::read(run.record()).unwrap()).unwrap();
        record["base_model"] = "team/tiny".into();
        record["base_is_hub_id"] = true.into();
        std::fs::write(run.record(), record.to_string()).unwrap();
        let config = std::fs::read_to_string(run.config()).unwrap();
        let name = |line: &str| line.starts_with("name = \"") && line.contains("tiny-smolvlm");
        let config: Vec<&str> =
            config.lines().map(|line| if name(line) { "name = \"team/tiny\"" } else { line }).collect();
        std::fs::write(run.config(), config.join("\n")).unwrap();
        if !run.test_predictions().exists() {
            std::fs::write(run.test_predictions(), "").unwrap(); // a demo of an earlier program
        }
        let mut results = ValidationResults::sample();
        for (name, hash) in record["inputs"].as_object().unwrap() {
            results.inputs.insert(name.clone(), hash.as_str().unwrap().to_owned());
        }
        for path in ValidationResults::of_a_run(&run) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            results.inputs.insert(name, hash_file(&path).unwrap().sha256);
        }
        results.write(&run.validation()).unwrap();
        cache(&dir.path().join("hub"), "team/tiny", "main", &files_of(&root().join("fixtures/tiny-smolvlm")));
        let slides: Vec<PathBuf> = files_of(&demo.join("data/raw/slides")).into_iter().take(SLIDES).collect();
        let version = RunFiles::new(dir.path().join("model_registry/versions/v1.0.0"));
        let scene = Self { dir, version, slides };
        let output = scene
            .command(Path::new(env!("CARGO_BIN_EXE_pq-register")))
            .args(["outputs/run", "--local", "--set", "registry.license=mit"])
            .args(["--override", "recheck=the numbers are made up, what is tested is the card's programs"])
            .args(["--set", "registry.huggingface_repo=team/rater"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let stays =
            |path: &&PathBuf| RELEASED_FILES.iter().any(|file| path.ends_with(file.name) && !file.is_public);
        let served: Vec<PathBuf> =
            files_of(scene.version.dir()).iter().filter(|path| !stays(path)).cloned().collect();
        assert!(served.iter().any(|path| path.ends_with("tokenizer.json")), "the processor is served");
        cache(&scene.dir.path().join("hub"), "team/rater", "v1.0.0", &served);
        scene
    }

    /// A command that finds the Hub's cache and nothing of the network.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env("HF_HUB_CACHE", self.dir.path().join("hub"))
            .env("HF_HUB_OFFLINE", "1")
            .env("CUDA_VISIBLE_DEVICES", "");
        for name in ["HF_TOKEN", "HF_HOME", "HF_TOKEN_PATH", "PQ_SIGNING_KEY", "PQ_PUBLIC_KEY"] {
            command.env_remove(name);
        }
        command
    }

    /// A program of the card.
    fn snippet(&self, language: &str) -> String {
        let card = std::fs::read_to_string(self.version.card()).unwrap();
        let begun = card.split_once(&format!("```{language}\n")).expect("the card shows one").1;
        begun.split_once("```").unwrap().0.to_owned()
    }

    /// What `pq-score` says of each slide.
    fn scored(&self) -> Vec<BTreeMap<String, Vec<f64>>> {
        let pq_score = folder("CARD_RELEASE", "target/release").join("pq-score");
        let output = self
            .command(&pq_score)
            .args(["--no-log", "--adapter"])
            .arg(self.version.dir())
            .args(&self.slides)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let distributions = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            serde_json::from_value(line["distributions"].clone()).unwrap()
        };
        let scored: Vec<_> = lines.lines().map(distributions).collect();
        assert_eq!(scored.len(), SLIDES);
        scored
    }
}

fn worst(one: &BTreeMap<String, Vec<f64>>, other: &BTreeMap<String, Vec<f64>>) -> f64 {
    assert!(!one.is_empty() && one.keys().eq(other.keys()), "{:?} {:?}", one.keys(), other.keys());
    let pairs = one.values().zip(other.values());
    let pairs = pairs.flat_map(|(one, other)| {
        assert_eq!((one.len(), other.len()), (5, 5));
        one.iter().zip(other)
    });
    pairs
        .map(|(one, other)| (one - other).abs())
        .fold(0.0, |worst, next| if next <= worst { worst } else { next })
}

#[test]
#[ignore = "CARD_PYTHON must name a Python that has torch, transformers and peft; it needs a demo and release builds"]
fn the_python_program_gives_the_probabilities_of_pq_score() {
    let python = std::env::var_os("CARD_PYTHON").expect("CARD_PYTHON names no Python");
    let scene = Scene::new();
    // Both of the other ways that people open a repository, beside the card's own.
    let more = "from transformers import AutoModelForImageTextToText\nfrom peft import PeftModel\n\
        AutoModelForImageTextToText.from_pretrained(\"team/rater\")\n\
        PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(\"team/tiny\"), \"team/rater\")\n";
    let program = scene.dir.path().join("rate.py");
    std::fs::write(&program, scene.snippet("python") + more).unwrap();
    let output = scene.command(Path::new(&python)).arg(&program).args(&scene.slides).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let rated: Vec<BTreeMap<String, Vec<f64>>> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let scored = scene.scored();
    assert_eq!(rated.len(), scored.len());
    for (rated, scored) in rated.iter().zip(&scored) {
        let worst = worst(rated, scored);
        println!("largest difference: {worst:.1e}");
        assert!(worst < TOLERANCE, "{worst}");
    }
}

#[test]
#[ignore = "it needs a demo and release builds, whose libraries it links"]
fn the_rust_program_gives_the_probabilities_of_pq_score() {
    let scene = Scene::new();
    let deps = folder("CARD_RELEASE", "target/release").join("deps");
    let source = scene.dir.path().join("rate.rs");
    std::fs::write(&source, scene.snippet("rust")).unwrap();
    let libraries = |name: &str| -> Vec<PathBuf> {
        let is_it = |path: &PathBuf| {
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            file.starts_with(&format!("lib{name}-")) && file.strip_suffix(".rlib").is_some()
        };
        files_of(&deps).into_iter().filter(is_it).collect()
    };
    // Several builds of a crate, with other features, may lie there; one pair fits together.
    let program = scene.dir.path().join("rate");
    let mut messages = String::new();
    let is_built = libraries("vlm_lora").iter().any(|vlm_lora| {
        libraries("image").iter().any(|image| {
            let output = Command::new("rustc")
                .args(["--edition", "2024", "-L"])
                .arg(format!("dependency={}", deps.display()))
                .arg("--extern")
                .arg(format!("vlm_lora={}", vlm_lora.display()))
                .arg("--extern")
                .arg(format!("image={}", image.display()))
                .arg("-o")
                .args([&program, &source])
                .output()
                .unwrap();
            messages = String::from_utf8_lossy(&output.stderr).into_owned();
            output.status.success()
        })
    });
    assert!(is_built, "{messages}");
    let base = root().join("fixtures/tiny-smolvlm");
    for (slide, scored) in scene.slides.iter().zip(scene.scored()) {
        let output =
            scene.command(&program).current_dir(scene.version.dir()).args([&base, slide]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let mut rated: Vec<Vec<f64>> = Vec::new();
        for line in text.lines() {
            rated.push(serde_json::from_str(line.split_once(": ").unwrap().1).unwrap());
        }
        let mut expected: Vec<Vec<f64>> = scored.into_values().collect();
        rated.sort_by(|a, b| a.partial_cmp(b).unwrap());
        expected.sort_by(|a, b| a.partial_cmp(b).unwrap());
        let named =
            |all: Vec<Vec<f64>>| all.into_iter().enumerate().map(|(i, p)| (i.to_string(), p)).collect();
        let worst = worst(&named(rated), &named(expected));
        println!("largest difference: {worst:.1e}");
        assert!(worst < 1e-6, "{worst}");
    }
}
