//! Exports as a user makes them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod release;

use std::path::PathBuf;

use pq_testing::project::{Project, base_model, fake_run};
use project_files::{
    Applicability, ApplicabilityHead, Contract as _, ExportRecord, RunFiles, RunRecord, hash_file,
};
use release::{register, said, state_pixels, validate, write_record};

/// A project with the version v1.0.0; its adapter is multiplied by `scale`.
fn project(scale: f64) -> Project {
    project_with(scale, |_| ())
}

/// The same; `prepare` gets the run before it is validated and released.
fn project_with(scale: f64, prepare: impl FnOnce(&RunFiles)) -> Project {
    let project = Project::new(6);
    state_pixels(&project);
    fake_run(&project);
    let run = RunFiles::new(project.path("outputs/run-1"));
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.adapter_config()).unwrap()).unwrap();
    config["lora_alpha"] = serde_json::json!(config["lora_alpha"].as_f64().unwrap() * scale);
    std::fs::write(run.adapter_config(), config.to_string()).unwrap();
    write_record(&project, &run);
    prepare(&run);
    validate(&project, &run);
    release::release(&project, run.dir());
    project
}

fn names(dir: &PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn every_form_is_made_and_says_how_near_it_is() {
    let project = project(1.0);
    for (args, name, files, most) in [
        (
            &["--to", "merged"][..],
            "v1.0.0-merged",
            &["config.json", "model.safetensors", "tokenizer.json"][..],
            1e-4,
        ),
        (&["--to", "gguf"], "v1.0.0-gguf-f16", &["mmproj-v1.0.0-f16.gguf", "v1.0.0-f16.gguf"], 0.0032),
        (
            &["--to", "gguf", "--quantization", "q8_0"],
            "v1.0.0-gguf-q8_0",
            &["mmproj-v1.0.0-q8_0.gguf", "v1.0.0-q8_0.gguf"],
            0.08,
        ),
    ] {
        let args = [&["export", "v1.0.0"], args].concat();
        let text = said(&project, &args, 0);
        assert!(text.contains("v1.0.0 exported") && text.contains("6 slides"), "{text}");
        let folder = project.path(&format!("model_registry/exports/{name}"));
        let record = ExportRecord::read(&folder.join("export.json")).unwrap();
        assert_eq!((record.version.as_str(), record.run_id.as_str()), ("v1.0.0", "run-1"));
        assert!(record.release_id.is_some() && record.inputs.contains_key("base_model"));
        assert_eq!((record.check.slides, record.check.scores), (6, 30));
        assert!(record.check.largest_difference <= most, "{name}: {:?}", record.check);
        assert!(name.ends_with("merged") || record.check.largest_difference > 0.0, "{name}: it was rounded");
        for file in files {
            assert!(record.files.contains_key(*file), "{file} is not among {:?}", record.files.keys());
        }
        for (file, hash) in &record.files {
            assert_eq!(hash_file(&folder.join(file)).unwrap(), *hash);
        }
        assert_eq!(names(&folder).len(), record.files.len() + 1, "nothing else lies there");
        let again = said(&project, &args, 0);
        assert!(again.contains("v1.0.0 exists"), "{again}");
        std::fs::write(folder.join(files[0]), "changed").unwrap();
        let refused = said(&project, &args, 2);
        assert!(refused.contains(files[0]) && refused.contains("--out"), "{refused}");
    }
    let exports = names(&project.path("model_registry/exports"));
    let left: Vec<&String> = exports.iter().filter(|name| name.starts_with(".export-")).collect();
    assert!(left.is_empty(), "{left:?}");
    let versions = names(&project.path("model_registry/versions"));
    assert!(versions.iter().all(|name| name.starts_with('.') || name == "v1.0.0"), "{versions:?}");
    said(&project, &["verify"], 0);
    said(&project, &["doctor", "--local"], 0);
}

/// Which criteria apply is told by a file that no export holds, and what was not taught is asked of neither.
fn criteria_that_do_not_apply_or_were_not_taught_are_no_difference() {
    let project = project_with(1.0, |run| {
        let config = std::fs::read(base_model().join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        // Three numbers for each feature, and the nine properties of an image that there were first.
        let width = 3 * config["text_config"]["hidden_size"].as_u64().unwrap() as usize + 9;
        let never =
            ApplicabilityHead { weights: vec![0.0; width], intercept: -2.0, ..ApplicabilityHead::default() };
        let criteria = [("data_visualization".to_owned(), never)].into();
        let told = Applicability { criteria, ..Applicability::default() };
        told.write(&run.applicability()).unwrap();
        let mut record = RunRecord::read(&run.record()).unwrap();
        record.untaught = vec!["content_quality".to_owned()];
        record.write(&run.record()).unwrap();
    });
    said(&project, &["export", "v1.0.0", "--to", "merged"], 0);
    let record = project.path("model_registry/exports/v1.0.0-merged/export.json");
    let check = ExportRecord::read(&record).unwrap().check;
    assert_eq!((check.slides, check.scores, check.compared_scores), (6, 24, 24));
}

/// In f16 nothing is larger than 65,504: the answers are no numbers, and nothing is left of the export.
fn an_export_that_answers_otherwise_is_not_made() {
    let project = project(1e9);
    let text = said(&project, &["export", "v1.0.0", "--to", "gguf"], 1);
    assert!(text.contains("not exported") && text.contains("finite"), "{text}");
    let left = names(&project.path("model_registry/exports"));
    assert!(left.iter().all(|name| name.strip_suffix(".lock").is_some()), "{left:?}");
    let json = String::from_utf8(register(&project, &["export", "v1.0.0", "--to", "gguf", "--json"]).stdout)
        .unwrap();
    let value: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!(value["exported"], false);
    assert!(!value["reasons"].as_array().unwrap().is_empty());
}

fn what_was_not_released_or_was_changed_is_refused() {
    let project = project(1.0);
    let text = said(&project, &["export", "v2.0.0", "--to", "merged"], 2);
    assert!(text.contains("v2.0.0") && text.contains("history"), "{text}");
    let occupied = project.path("elsewhere");
    std::fs::create_dir(&occupied).unwrap();
    std::fs::write(occupied.join("mine.txt"), "mine").unwrap();
    let text = said(&project, &["export", "v1.0.0", "--to", "merged", "--out", "elsewhere"], 2);
    assert!(text.contains("elsewhere") && occupied.join("mine.txt").exists(), "{text}");
    let weights = project.path("model_registry/versions/v1.0.0/adapter_model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let text = said(&project, &["export", "v1.0.0", "--to", "merged"], 2);
    assert!(text.contains("adapter_model.safetensors") && text.contains("doctor"), "{text}");
    assert!(!project.path("model_registry/exports").exists());
}

fn an_export_needs_slides_to_be_scored_on() {
    let project = project(1.0);
    std::fs::rename(project.path("data"), project.path("away")).unwrap();
    let text = said(&project, &["export", "v1.0.0", "--to", "merged"], 2);
    assert!(text.contains("data"), "{text}");
}

pq_testing::tests! {
    every_form_is_made_and_says_how_near_it_is;
    criteria_that_do_not_apply_or_were_not_taught_are_no_difference;
    an_export_that_answers_otherwise_is_not_made;
    what_was_not_released_or_was_changed_is_refused;
    an_export_needs_slides_to_be_scored_on;
}
