//! Versions trained again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod release;

use pq_testing::project::{Project, code, stderr, two_bases};
use pq_testing::trials::Tool;
use project_files::{Contract as _, RunFiles, RunRecord};
use release::{register, said, state_pixels, validate};

/// Trains a run of three steps; `more` are further arguments.
fn train(project: &Project, run: &str, more: &[&str]) -> RunFiles {
    let trainer = Tool::trainer().display().to_string();
    let mut command = project.command(&trainer, &["--run", run, "--set", "training.max_steps=3"]);
    let output = command.args(more).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    RunFiles::new(project.path(&format!("outputs/{run}")))
}

/// A project whose only version comes from the run `one`.
fn project() -> Project {
    let project = Project::new(6);
    state_pixels(&project);
    let run = train(&project, "one", &[]);
    validate(&project, &run);
    release::release(&project, run.dir());
    project
}

/// People rate on: other labels, another split, another slide in the manifest.
fn rate_on(project: &Project) {
    let path = project.path("data/labeled/labels.json");
    let mut labels: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (_, label) in labels.as_object_mut().unwrap() {
        label["clarity"] = serde_json::json!(1);
    }
    std::fs::write(&path, labels.to_string()).unwrap();
    std::fs::remove_file(project.path("data/labeled/splits.json")).unwrap();
}

fn a_version_is_trained_again_bit_for_bit_after_people_rated_on() {
    let project = project();
    let record = RunRecord::read(&project.path("outputs/one/run.json")).unwrap();
    let code = record.code.unwrap();
    assert!(code.program_sha256.len() == 64 && record.seed == Some(42), "{code:?}");
    assert!(record.hardware.threads > 0 && !record.hardware.instructions.is_empty());
    let stored: Vec<String> = std::fs::read_dir(project.path("model_registry/versions/v1.0.0"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(stored.iter().all(|name| !name.contains("labels") && name != "data"), "{stored:?}");
    let latest = std::fs::read_link(project.path("outputs/latest")).unwrap();

    rate_on(&project);
    said(&project, &["reproduce", "v1.0.0", "--only-check"], 0);
    assert!(!project.path("outputs/reproductions").exists(), "nothing was trained");
    let text = said(&project, &["reproduce", "v1.0.0"], 0);
    assert!(text.contains("bit for bit"), "{text}");
    let again = project.path("outputs/reproductions/latest/adapter_model.safetensors");
    let before = project.path("outputs/one/adapter_model.safetensors");
    assert_eq!(std::fs::read(again).unwrap(), std::fs::read(before).unwrap());
    assert_eq!(
        std::fs::read_link(project.path("outputs/latest")).unwrap(),
        latest,
        "other runs stay as they are"
    );
    let left = std::fs::read_dir(project.path("outputs/reproductions")).unwrap();
    let left =
        left.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".reproduce"));
    assert_eq!(left.count(), 0);
}

fn data_or_a_base_that_is_gone_is_named() {
    let project = project();
    rate_on(&project);
    let [_, other] = two_bases(&project);
    let base = format!("model.name={}", other.display());
    let text = said(&project, &["reproduce", "v1.0.0", "--set", &base], 2);
    assert!(text.contains("is not the base") && text.contains("base_model was"), "{text}");

    let image = project.path("data/raw/slides/deck0-p001.png");
    std::fs::copy(project.path("data/raw/slides/deck1-p001.png"), &image).unwrap();
    let text = said(&project, &["reproduce", "v1.0.0"], 2);
    assert!(text.contains("1 images") && text.contains("deck0-p001"), "{text}");

    std::fs::remove_file(project.path("outputs/one/data/labels.json")).unwrap();
    std::fs::write(project.path("outputs/one/data/splits.json"), "{}").unwrap();
    let text = said(&project, &["reproduce", "v1.0.0", "--only-check"], 2);
    for words in ["labels.json was", "labels.json` has", "splits.json was", "splits.json` is missing"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!project.path("outputs/reproductions").exists());
}

/// A head alone is learned again, and no adapter trained.
fn a_head_is_learned_again() {
    let project = Project::new(16);
    state_pixels(&project);
    let trainer = Tool::trainer().display().to_string();
    let output = project.command(&trainer, &["--head", "--run", "one"]).output().unwrap();
    assert!(pq_testing::project::trained(&output), "{}", stderr(&output));
    let run = RunFiles::new(project.path("outputs/one"));
    validate(&project, &run);
    release::release(&project, run.dir());
    let text = said(&project, &["reproduce", "v1.0.0"], 0);
    assert!(text.contains("bit for bit"), "{text}");
    let again = RunRecord::read(&project.path("outputs/reproductions/latest/run.json")).unwrap();
    assert_eq!(again.training.unwrap().steps, 0, "no adapter was trained");
}

/// A version whose weights come from another seed than its settings say.
fn other_weights_are_said_with_what_differs() {
    let project = Project::new(6);
    state_pixels(&project);
    let run = train(&project, "one", &[]);
    let other = train(&project, "two", &["--set", "training.seed=7"]);
    std::fs::copy(other.adapter_weights(), run.adapter_weights()).unwrap();
    let mut record = RunRecord::read(&run.record()).unwrap();
    record.hardware.threads += 1;
    record.write(&run.record()).unwrap();
    validate(&project, &run);
    release::release(&project, run.dir());
    let output = register(&project, &["reproduce", "v1.0.0", "--json"]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let comparison = &value["comparison"];
    assert_eq!(comparison["identical"], false);
    assert!(comparison["weights"]["largest_difference"].as_f64().unwrap() > 0.0, "{comparison}");
    let differences = comparison["differences"].to_string();
    assert!(differences.contains("threads"), "{differences}");
}

fn ctrl_c_ends_the_training_and_leaves_no_half_project() {
    let project = project();
    let metrics = |project: &Project| {
        let runs = std::fs::read_dir(project.path("outputs/reproductions")).into_iter().flatten().flatten();
        runs.into_iter().any(|run| run.path().join("run.json").exists())
    };
    let mut command = project.bare_command(release::REGISTER);
    let base = format!("model.name={}", pq_testing::project::base_model().display());
    command.args(["--set", &base, "reproduce", "v1.0.0"]);
    let output = pq_testing::adverse::interrupted_when(command, || metrics(&project));
    assert!([0, 2].contains(&code(&output)), "{}", stderr(&output));
    if code(&output) == 2 {
        assert!(stderr(&output).contains("interrupted"), "{}", stderr(&output));
    }
    let left = std::fs::read_dir(project.path("outputs/reproductions")).into_iter().flatten().flatten();
    for entry in left {
        assert!(!entry.file_name().to_string_lossy().starts_with(".reproduce"), "{entry:?}");
    }
}

pq_testing::tests! {
    a_version_is_trained_again_bit_for_bit_after_people_rated_on: needs Trainer;
    a_head_is_learned_again: needs Trainer;
    data_or_a_base_that_is_gone_is_named: needs Trainer;
    other_weights_are_said_with_what_differs: needs Trainer;
    ctrl_c_ends_the_training_and_leaves_no_half_project: needs Trainer;
}
