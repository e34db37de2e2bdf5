//! The command as a user runs it, with an adapter made beforehand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pq_testing::adverse;
use pq_testing::project::{Project, code, fake_run, repository, stderr, two_bases};
use project_files::{
    Applicability, ApplicabilityHead, Contract as _, CriterionDecision, Manifest, RunFiles, ScoreDecision,
    VersionFile, hash_file,
};
use slide_data::{FailedInput, FailureKind, Prediction};

const SCORE: &str = env!("CARGO_BIN_EXE_pq-score");

#[test]
fn each_slide_is_one_line_on_stdout_and_in_the_log() {
    let project = Project::new(6);
    fake_run(&project);
    std::fs::write(project.path("broken.png"), b"not an image").unwrap();
    let slide = "data/raw/slides/deck1-p002.png";
    let output = project.run(SCORE, &["--adapter", "outputs/run-1", slide, "broken.png"]);
    assert_eq!(code(&output), 1, "a part failed: {}", stderr(&output));
    assert!(stderr(&output).contains("broken.png"), "what cannot be read is named: {}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let (failed, scored): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains("\"error\""));
    let failed: serde_json::Value = serde_json::from_str(failed[0]).unwrap();
    assert!(
        failed["input"] == "broken.png" && failed["error"].as_str().unwrap().contains("broken.png"),
        "{failed}"
    );
    let lines: Vec<Prediction> = scored.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1);
    for distribution in lines[0].distributions.values() {
        assert!((distribution.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
    assert_eq!(lines[0].distributions.len(), 5);
    assert_eq!(project.read("monitoring/predictions.jsonl").lines().count(), 1);
    let failed = FailedInput::read_log(&project.path("monitoring/failures.jsonl")).unwrap().entries;
    assert_eq!((failed.len(), failed[0].kind), (1, FailureKind::Refusal));
    assert_eq!(failed[0].model_version, lines[0].model_version);
    let unlogged = project.run(SCORE, &["--adapter", "outputs/run-1", "--no-log", slide, "broken.png"]);
    assert_eq!(code(&unlogged), 1, "{}", stderr(&unlogged));
    assert_eq!(project.read("monitoring/failures.jsonl").lines().count(), 1, "not with --no-log");
}

/// A broken image is one of its folder's, as is an entry of an archive; neither is named.
#[test]
fn what_failed_is_of_the_deck_that_its_slides_would_have_been_of() {
    let project = Project::new(2);
    fake_run(&project);
    let image = std::fs::read(project.path("data/raw/slides/deck1-p002.png")).unwrap();
    let folder = project.path("Acme series B");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("1.png"), &image).unwrap();
    std::fs::write(folder.join("layoffs.png"), &image[..image.len() / 2]).unwrap();
    let mut archive = zip::ZipWriter::new(std::fs::File::create(project.path("deck.zip")).unwrap());
    for (name, bytes) in [("Acme/1.png", &image[..]), ("Acme/layoffs.png", &image[..90])] {
        archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut archive, bytes).unwrap();
    }
    archive.finish().unwrap();
    for input in ["Acme series B", "deck.zip"] {
        let output = project.run(SCORE, &["--adapter", "outputs/run-1", input]);
        assert_eq!(code(&output), 1, "{}", stderr(&output));
    }
    let scored = Prediction::read_log(&project.path("monitoring/predictions.jsonl")).unwrap().entries;
    let failed = FailedInput::read_log(&project.path("monitoring/failures.jsonl")).unwrap().entries;
    let decks = |at: usize| (Some(&scored[at].deck_id), failed[at].deck_id.as_ref());
    assert_eq!((scored.len(), failed.len()), (2, 2));
    for (scored, failed) in [decks(0), decks(1)] {
        assert_eq!(scored, failed);
    }
    let log = project.read("monitoring/failures.jsonl");
    assert!(!log.contains("Acme") && !log.contains("layoffs"), "{log}");
}

#[test]
fn the_batch_does_not_change_a_score() {
    let project = Project::new(6);
    fake_run(&project);
    let scores = |batch: &str| {
        let args = ["--adapter", "outputs/run-1", "--no-log", "--batch", batch, "data/raw/slides"];
        let output = project.run(SCORE, &args);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str::<Prediction>(line).unwrap().expected)
            .collect::<Vec<_>>()
    };
    let (one, many) = (scores("1"), scores("5"));
    assert_eq!(one.len(), 18);
    assert_eq!(one, many, "to the bit");
}

/// What tells that `key` applies with these log-odds, whatever the image.
fn write_applicability(project: &Project, key: &str, intercept: f64, width: usize) {
    let head = ApplicabilityHead { weights: vec![0.0; width], intercept, ..ApplicabilityHead::default() };
    let told = Applicability { criteria: [(key.to_owned(), head)].into(), ..Applicability::default() };
    told.write(&RunFiles::new(project.path("outputs/run-1")).applicability()).unwrap();
}

#[test]
fn a_criterion_that_does_not_apply_has_no_score() {
    let project = Project::new(3);
    fake_run(&project);
    let config: serde_json::Value = serde_json::from_slice(
        &std::fs::read(pq_testing::project::base_model().join("config.json")).unwrap(),
    )
    .unwrap();
    // Three numbers for each feature, and the nine properties of an image that there were first.
    let width = 3 * config["text_config"]["hidden_size"].as_u64().unwrap() as usize + 9;
    let score = || {
        let args = ["--adapter", "outputs/run-1", "--no-log", "data/raw/slides/deck1-p002.png"];
        project.run(SCORE, &args)
    };
    let read = |output: &std::process::Output| -> Prediction {
        assert_eq!(code(output), 0, "{}", stderr(output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let all = read(&score());
    assert!(all.applies.is_empty() && all.distributions.len() == 5);
    write_applicability(&project, "data_visualization", 2.0, width);
    let applies = read(&score());
    assert_eq!(applies.distributions, all.distributions);
    assert!((applies.applies["data_visualization"] - 1.0 / (1.0 + (-2.0_f64).exp())).abs() < 1e-12);
    write_applicability(&project, "data_visualization", -2.0, width);
    let lacks = read(&score());
    assert_eq!(lacks.applies.len(), 1);
    assert!(!lacks.distributions.contains_key("data_visualization"));
    assert_eq!((lacks.distributions.len(), lacks.expected.len()), (4, 4));
    for key in ["clarity", "design"] {
        let (a, b) = (lacks.expected[key], all.expected[key]);
        assert!((a - b).abs() < 1e-5, "what stands before it in the answer is the same: {key} {a} {b}");
    }
    write_applicability(&project, "data_visualization", 0.0, width - 1);
    let output = score();
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("applicability.json"), "{}", stderr(&output));
}

#[test]
fn scores_follow_the_decision_beside_the_adapter_and_that_of_another_adapter_is_refused() {
    let project = Project::new(1);
    fake_run(&project);
    let run = RunFiles::new(project.path("outputs/run-1"));
    let score = || {
        let args = ["--adapter", "outputs/run-1", "--no-log", "data/raw/slides/deck0-p001.png"];
        project.run(SCORE, &args)
    };
    let read = |output: &std::process::Output| -> Prediction {
        assert_eq!(code(output), 0, "{}", stderr(output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let plain = read(&score());
    for (key, distribution) in &plain.distributions {
        let rounded = (plain.expected[key] + 0.5).floor() as u8;
        assert_eq!(plain.chosen[key].get(), rounded, "without a decision means are rounded");
        let [low, high] = plain.interval[key].map(slide_data::Score::index);
        assert!(distribution[low..=high].iter().sum::<f64>() >= 0.8 - 1e-6, "{distribution:?}");
        assert!((0.0..=5.0_f64.ln()).contains(&plain.entropy[key]));
    }
    let mut decision = ScoreDecision { schema_version: ScoreDecision::VERSION, ..ScoreDecision::default() };
    let always_five = CriterionDecision { cut_points: [0.5; 4], temperature: 0.05, ratings: 9 };
    decision.criteria.insert("clarity".to_owned(), always_five);
    let sha256 = hash_file(&run.adapter_weights()).unwrap().sha256;
    decision.made_from.insert("adapter_model.safetensors".to_owned(), sha256);
    decision.write(&run.decision()).unwrap();
    let decided = read(&score());
    assert_eq!((&decided.distributions, &decided.expected), (&plain.distributions, &plain.expected));
    assert_eq!(decided.chosen["clarity"].get(), 5);
    assert!(decided.entropy["clarity"] < plain.entropy["clarity"], "the temperature makes it surer");
    assert_eq!(decided.chosen["design"], plain.chosen["design"], "nothing was fitted for it");

    decision.made_from.insert("adapter_model.safetensors".to_owned(), "of another".to_owned());
    decision.write(&run.decision()).unwrap();
    let output = score();
    assert_eq!(code(&output), 2);
    let message = stderr(&output);
    assert!(message.contains("decision.json") && message.contains("another adapter"), "{message}");
    std::fs::write(run.decision(), "{\"schema_version\": 2}").unwrap();
    assert_eq!(code(&score()), 2, "a newer version is refused");
}

#[test]
fn another_base_than_that_of_the_run_is_refused() {
    let project = Project::new(1);
    fake_run(&project);
    let [own, other] = two_bases(&project);
    let score = |base: &std::path::Path| {
        let args = ["--adapter", "outputs/run-1", "--no-log", "data/raw/slides/deck0-p001.png"];
        let base = format!("model.name={}", base.display());
        project.command(SCORE, &args).args(["--set", &base]).output().unwrap()
    };
    let unknown = score(&own);
    assert!(code(&unknown) == 0 && stderr(&unknown).contains("cannot be told"), "{}", stderr(&unknown));

    let run = RunFiles::new(project.path("outputs/run-1"));
    let settings = slide_scorer::Settings::of_run(&run).unwrap();
    let base = slide_scorer::fingerprint_of_base(&settings.model).unwrap();
    let record = |version: u32, inputs: serde_json::Value| {
        let record = serde_json::json!({
            "schema_version": version, "run_id": "run-1", "started_at": "2026-01-02T03:04:05Z", "base_model": "base",
            "inputs": inputs,
        });
        std::fs::write(run.record(), record.to_string()).unwrap();
    };
    record(2, serde_json::json!(slide_scorer::base_inputs(&base)));
    let moved = score(&own);
    assert!(code(&moved) == 0 && !stderr(&moved).contains("cannot be told"), "{}", stderr(&moved));
    assert_eq!(String::from_utf8_lossy(&moved.stdout).lines().count(), 1);
    let refused = score(&other);
    let text = stderr(&refused);
    assert!(code(&refused) == 2 && refused.stdout.is_empty(), "{text}");
    let name = |dir: &std::path::Path| {
        let model =
            slide_scorer::BaseModelConfig { name: dir.display().to_string(), ..settings.model.clone() };
        slide_scorer::fingerprint_of_base(&model).unwrap().weights.short()
    };
    for word in [&*name(&own), &*name(&other), "another base model", "--set model.name=DIR"] {
        assert!(text.contains(word), "`{word}` is not in\n{text}");
    }

    record(1, serde_json::json!({"base_model": "cfa5939579cd463e"}));
    let old = score(&other);
    assert!(code(&old) == 0 && stderr(&old).contains("cannot be told"), "{}", stderr(&old));
}

#[test]
fn weights_that_are_no_numbers_are_named_and_nothing_is_loaded_for_inputs_that_hold_no_slide() {
    let project = Project::new(3);
    fake_run(&project);
    std::fs::write(project.path("broken.png"), b"not an image").unwrap();
    let weights = project.path("outputs/run-1/adapter_model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&weights, bytes).unwrap();
    let run = |input: &str| project.run(SCORE, &["--adapter", "outputs/run-1", input]);
    let output = run("data/raw/slides/deck1-p002.png");
    assert_eq!((code(&output), output.stdout.len()), (2, 0));
    assert!(stderr(&output).contains("not finite everywhere"), "{}", stderr(&output));
    let output = run("broken.png");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((code(&output), &told["input"]), (2, &"broken.png".into()), "{}", stderr(&output));
    assert!(!stderr(&output).contains("finite"), "the adapter was not looked at: {}", stderr(&output));
    assert!(!project.path("monitoring/predictions.jsonl").exists(), "nothing was scored");
    assert_eq!(project.read("monitoring/failures.jsonl").lines().count(), 1, "that it failed is noted");
}

#[test]
fn nothing_to_rate_with_and_nothing_to_rate_are_said() {
    let project = Project::new(1);
    let none = project.run(SCORE, &["data/raw/slides"]);
    assert!(code(&none) == 2 && stderr(&none).contains("pq-train"), "{}", stderr(&none));
    fake_run(&project);
    let missing = project.run(SCORE, &["--adapter", "outputs/run-1", "nowhere.pdf"]);
    assert!(code(&missing) == 2 && stderr(&missing).contains("nowhere.pdf"), "{}", stderr(&missing));
}

#[test]
fn neither_a_full_disk_nor_ctrl_c_leaves_half_a_line() {
    let project = Project::new(6);
    fake_run(&project);
    let args = ["--adapter", "outputs/run-1", "--batch", "1", "--html", "report.html", "data/raw/slides"];
    let command = || project.command(SCORE, &args);
    adverse::assert_keeps_what_is_there(command, &project.path("."), "monitoring");
    let log = project.path("monitoring/predictions.jsonl");
    let cut = adverse::interrupted_when(command(), || std::fs::metadata(&log).is_ok_and(|log| log.len() > 0));
    adverse::assert_whole(&project.path("."));
    assert!(!project.path("report.html").exists(), "half a deck is no report");
    adverse::assert_refused(&cut, "interrupted after");
}

/// The fake run as the released version in use; returns its files.
fn release(project: &Project, stored: &RunFiles) -> Vec<String> {
    std::fs::create_dir_all(stored.dir()).unwrap();
    let mut files = std::collections::BTreeMap::new();
    let card = "# Rater".to_owned();
    std::fs::write(stored.card(), &card).unwrap();
    for entry in std::fs::read_dir(project.path("outputs/run-1")).unwrap().flatten() {
        std::fs::copy(entry.path(), stored.dir().join(entry.file_name())).unwrap();
    }
    for entry in std::fs::read_dir(stored.dir()).unwrap().flatten() {
        files.insert(entry.file_name().to_string_lossy().into_owned(), hash_file(&entry.path()).unwrap());
    }
    let mut names: Vec<String> = files.keys().cloned().collect();
    names.push(Manifest::FILE.to_owned());
    let version = "v1.0.0".to_owned();
    let mut manifest = Manifest { schema_version: 1, version, files, card, ..Manifest::default() };
    std::fs::write(stored.manifest(), manifest.seal().unwrap()).unwrap();
    let mut versions = VersionFile { history: vec![manifest.release(None)], ..VersionFile::default() };
    versions.promote("v1.0.0");
    versions.write(&project.path("model_registry/version.json")).unwrap();
    names
}

#[test]
fn a_version_that_is_not_what_was_released_is_not_used() {
    let project = Project::new(1);
    fake_run(&project);
    let folder = "model_registry/versions/v1.0.0";
    let stored = RunFiles::new(project.path(folder));
    let names = release(&project, &stored);
    let slide = "data/raw/slides/deck0-p001.png";
    let champion = project.run(SCORE, &["--no-log", slide]);
    assert_eq!(code(&champion), 0, "{}", stderr(&champion));
    assert!(String::from_utf8_lossy(&champion.stdout).contains("\"v1.0.0\""));
    let assert_refused = |what: &str| {
        for args in [vec!["--no-log", slide], vec!["--no-log", "--adapter", folder, slide]] {
            let output = project.run(SCORE, &args);
            assert_eq!(code(&output), 2, "{what}: {}", stderr(&output));
            assert!(stderr(&output).contains("pq-register doctor"), "{what}: {}", stderr(&output));
            assert!(output.stdout.is_empty(), "{what}");
        }
    };
    for name in names {
        let path = stored.dir().join(&name);
        let before = std::fs::read(&path).unwrap();
        let mut changed = before.clone();
        changed[before.len() / 2] ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert_refused(&format!("{name} changed"));
        std::fs::remove_file(&path).unwrap();
        assert_refused(&format!("{name} is missing"));
        std::fs::write(&path, before).unwrap();
    }
    std::fs::write(stored.dir().join("pytorch_model.bin"), "x").unwrap();
    assert_refused("a file was added");
}

/// An adapter that somebody trained in Python: no settings and no record beside it.
#[test]
fn a_folder_that_peft_wrote_is_scored_with_the_projects_settings() {
    let project = Project::new(2);
    let adapter = project.path("from-python");
    std::fs::create_dir_all(&adapter).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(repository().join("fixtures/parity/text-all/adapter").join(file), adapter.join(file))
            .unwrap();
    }
    let slide = project.path("data/raw/slides/deck0-p001.png");
    let slide = slide.to_str().unwrap();
    let output = project.run(SCORE, &["--adapter", "from-python", "--json", slide]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("without `config.toml`"), "{}", stderr(&output));
    fake_run(&project);
    let same = project.run(SCORE, &["--adapter", "outputs/run-1", "--json", slide]);
    let expected = |output: &std::process::Output| {
        let line: serde_json::Value =
            serde_json::from_slice(output.stdout.split(|b| *b == b'\n').next().unwrap()).unwrap();
        line["expected"].clone()
    };
    assert!(expected(&output).as_object().is_some_and(|scores| scores.len() == 5));
    assert_eq!(expected(&output), expected(&same));
}

#[test]
fn a_manifest_names_the_slides_and_each_line_of_the_log_has_an_id() {
    let project = Project::new(2);
    fake_run(&project);
    let manifest = project.read("data/raw/manifest.jsonl");
    let left_out = manifest.lines().nth(1).unwrap().replace("\"excluded\":false", "\"excluded\":true");
    let lines: Vec<&str> =
        manifest.lines().enumerate().map(|(at, line)| if at == 1 { &*left_out } else { line }).collect();
    project.write("data/raw/manifest.jsonl", &(lines.join("\n") + "\n"));
    let output = project.run(SCORE, &["--adapter", "outputs/run-1", "--json", "data/raw/manifest.jsonl"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let scored: Vec<Prediction> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<&str> = scored.iter().map(|slide| slide.slide_id.as_str()).collect();
    assert_eq!(ids, ["deck0-p001", "deck0-p003", "deck1-p001", "deck1-p002", "deck1-p003"]);
    assert!(scored.is_sorted_by(|a, b| a.id.is_some() && a.id < b.id), "ids sort by time");
    let log = Prediction::read_log(&project.path("monitoring/predictions.jsonl")).unwrap().entries;
    assert_eq!(log, scored);
    std::fs::remove_file(project.path("data/raw/slides/deck1-p001.png")).unwrap();
    let gap = project.run(SCORE, &["--adapter", "outputs/run-1", "--no-log", "data/raw/manifest.jsonl"]);
    assert_eq!(
        (code(&gap), String::from_utf8_lossy(&gap.stdout).lines().count()),
        (1, 5),
        "{}",
        stderr(&gap)
    );
    project.write("data/other.jsonl", "{\"a\":1}\n");
    let other = project.run(SCORE, &["--adapter", "outputs/run-1", "--no-log", "data/other.jsonl"]);
    assert!(code(&other) == 2 && stderr(&other).contains("other.jsonl"), "{}", stderr(&other));
}
