//! A project with a run that can be released, on the tiny base.
#![allow(dead_code, reason = "each test program uses a part")]

use std::path::Path;
use std::process::Output;

use pq_testing::project::{Project, base_model, code, stderr};
use project_files::{Contract as _, Layout, RunFiles, RunRecord, Storage, ValidationResults, hash_file};
use registry::{By, Candidate, CardFacts, Lineage, Registry, validated};
use slide_data::{SlideRecord, pixels_sha256};
use slide_scorer::{BaseModelConfig, base_inputs, fingerprint_of_base};

pub(crate) const REGISTER: &str = env!("CARGO_BIN_EXE_pq-register");

/// Runs pq-register in the project's folder.
pub(crate) fn register(project: &Project, args: &[&str]) -> Output {
    let mut command = project.bare_command(REGISTER);
    // A version does not say where its base lies; what an argument says after this counts.
    let base = format!("model.name={}", base_model().display());
    command.env("USER", "ann").env_remove("GITHUB_ACTOR").args(["--set", &base]).args(args).output().unwrap()
}

/// What it printed, after it ended with this status.
pub(crate) fn said(project: &Project, args: &[&str], status: i32) -> String {
    let output = register(project, args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
    assert_eq!(code(&output), status, "{args:?}: {text}");
    text
}

/// Gives the manifest the hashes that the drawn images have.
pub(crate) fn state_pixels(project: &Project) {
    let path = project.path("data/raw/manifest.jsonl");
    let mut slides = SlideRecord::read_log(&path).unwrap().entries;
    for slide in &mut slides {
        let image = project.path(&format!("data/raw/slides/{}.png", slide.slide_id));
        slide.sha256 = pixels_sha256(&slide_data::image::open(&image).unwrap().to_rgb8());
    }
    SlideRecord::replace_log(&path, &slides).unwrap();
}

/// The run record that `fake_run` leaves out.
pub(crate) fn write_record(project: &Project, run: &RunFiles) {
    let name = base_model().display().to_string();
    let base = BaseModelConfig { name: name.clone(), ..BaseModelConfig::default() };
    let inputs = base_inputs(&fingerprint_of_base(&base).unwrap());
    let record = serde_json::json!({
        "schema_version": RunRecord::VERSION, "run_id": "run-1", "started_at": "2026-01-02T03:04:05Z",
        "base_model": name, "inputs": inputs,
    });
    project.write("outputs/run-1/run.json", &record.to_string());
    assert!(RunRecord::read(&run.record()).is_ok());
}

/// Results that pass the gate, of the run as it is.
pub(crate) fn validate(project: &Project, run: &RunFiles) {
    let record = RunRecord::read(&run.record()).unwrap();
    let mut results = ValidationResults::sample();
    results.inputs.extend(record.inputs);
    std::fs::write(run.test_predictions(), "{}\n").unwrap();
    let data = ["data/raw/manifest.jsonl", "data/labeled/labels.json", "data/labeled/splits.json"];
    for path in data.map(|path| project.path(path)).into_iter().chain(ValidationResults::of_a_run(run)) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        results.inputs.insert(name, hash_file(&path).unwrap().sha256);
    }
    results.write(&run.validation()).unwrap();
}

/// Releases the run through the library: the command would find out that its numbers were not measured.
pub(crate) fn release(project: &Project, run: &Path) {
    let run = RunFiles::new(run);
    let results = validated(&run).unwrap();
    let record = RunRecord::read(&run.record()).unwrap();
    let lineage = Lineage { base_model: record.base_model, inputs: record.inputs, parent: None };
    let by = By { who: "ann".to_owned(), reason: None };
    let (facts, now) = (CardFacts::default(), jiff::Timestamp::now());
    let candidate = Candidate { run: &run, results: &results, lineage, facts: &facts, by: &by, now };
    let storage = Storage { registry_dir: project.path("model_registry"), ..Storage::default() };
    let layout = Layout::new(&storage, &project.path("outputs"));
    let mut writer = Registry::new(&layout).write(by.clone()).unwrap();
    let plan = writer.plan(&candidate, None).unwrap();
    writer.release(&plan, None, true).unwrap();
}
