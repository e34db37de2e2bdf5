//! The command as a user runs it, on a tiny base with random weights.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pq_testing::adverse;
use pq_testing::project::{Project, base_model, code, stderr, trained, two_bases};

const TRAIN: &str = env!("CARGO_BIN_EXE_pq-train");

#[test]
fn a_run_leaves_what_the_next_stages_need() {
    let project = Project::new(6);
    let output = project.run(TRAIN, &["--run", "one", "--set", "training.max_steps=4"]);
    assert!(trained(&output), "{}", stderr(&output));
    for file in [
        "adapter_config.json",
        "adapter_model.safetensors",
        "config.toml",
        "metrics.jsonl",
        "run.json",
        "reference_predictions.jsonl",
    ] {
        assert!(project.path("outputs/latest").join(file).exists(), "{file} is missing");
    }
    let run: serde_json::Value = serde_json::from_str(&project.read("outputs/one/run.json")).unwrap();
    assert_eq!(run["training"]["steps"], 4);
    assert!(run["inputs"]["labels.json"].as_str().unwrap().len() == 64);
    let base = slide_scorer::processor_files(&base_model()).unwrap();
    assert!(
        base.contains_key("tokenizer.json") && run["processor_files"] == serde_json::json!(base),
        "{run}"
    );
    assert!(project.read("outputs/one/metrics.jsonl").lines().any(|line| line.contains("eval_mae")));
    let splits = project.read("data/labeled/splits.json");
    let again = project.run(TRAIN, &["--run", "two", "--set", "training.max_steps=2"]);
    assert!(trained(&again), "{}", stderr(&again));
    assert_eq!(project.read("data/labeled/splits.json"), splits, "an assigned deck never moves");
    let taken = project.run(TRAIN, &["--run", "one"]);
    assert!(code(&taken) == 2 && stderr(&taken).contains("--resume"), "{}", stderr(&taken));
}

/// Runs that begin together: unnamed ones get a folder each, whose configuration is that of its weights; of two with one name
/// the second is refused.
#[test]
fn runs_that_begin_in_the_same_second_share_nothing() {
    let project = Project::new(4);
    let start = |seed: u64, run: Option<&str>| {
        let seed = format!("training.seed={seed}");
        let mut command = project.command(TRAIN, &["--set", "training.max_steps=2", "--set", &seed]);
        command.args(run.iter().flat_map(|name| ["--run", name]));
        command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let unnamed: Vec<_> = [1, 2, 3].map(|seed| start(seed, None)).into();
    for child in unnamed {
        let output = child.wait_with_output().unwrap();
        assert!(trained(&output), "{}", stderr(&output));
    }
    let mut runs: Vec<_> = std::fs::read_dir(project.path("outputs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && !path.is_symlink())
        .collect();
    runs.sort();
    assert_eq!(runs.len(), 3, "{runs:?}");
    let mut seeds: Vec<i64> = Vec::new();
    for run in &runs {
        let config: toml::Table = std::fs::read_to_string(run.join("config.toml")).unwrap().parse().unwrap();
        seeds.push(config["training"]["seed"].as_integer().unwrap());
        let lines = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let steps: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            steps.iter().filter(|line| line["loss"].is_number()).count(),
            2,
            "one run's steps:\n{lines}"
        );
    }
    seeds.sort_unstable();
    assert_eq!(seeds, [1, 2, 3]);

    let named: Vec<_> = [1, 2].map(|seed| start(seed, Some("one"))).into();
    let mut codes: Vec<i32> =
        named.into_iter().map(|child| code(&child.wait_with_output().unwrap())).collect();
    codes.sort_unstable();
    assert!(codes[0] < 2 && codes[1] == 2, "{codes:?}");
}

#[test]
fn a_resumed_run_ends_with_the_same_adapter() {
    let project = Project::new(6);
    let adapter =
        |run: &str| std::fs::read(project.path(&format!("outputs/{run}/adapter_model.safetensors"))).unwrap();
    let whole = project.run(TRAIN, &["--run", "whole", "--set", "training.max_steps=4"]);
    assert!(trained(&whole), "{}", stderr(&whole));
    let copy = project.path("outputs/cut/checkpoints");
    std::fs::create_dir_all(&copy).unwrap();
    let status = std::process::Command::new("cp")
        .arg("-r")
        .arg(project.path("outputs/whole/checkpoints/step-2"))
        .arg(copy.join("step-2"))
        .status()
        .unwrap();
    assert!(status.success());
    let resumed = project.run(TRAIN, &["--run", "cut", "--resume", "--set", "training.max_steps=4"]);
    assert!(trained(&resumed), "{}", stderr(&resumed));
    assert_eq!(adapter("whole"), adapter("cut"));
}

/// Two bases that differ deep in one file, in the vision tower alone: each must train on its own image features.
#[test]
fn a_base_never_meets_the_features_or_the_run_of_another() {
    let project = Project::new(6);
    let [a, b] = two_bases(&project);
    let train = |run: &str, base: &std::path::Path, more: &[&str]| {
        let base = format!("model.name={}", base.display());
        let mut command = project.command(TRAIN, &["--run", run, "--set", "training.max_steps=2"]);
        command.args(["--set", &base]).args(more).output().unwrap()
    };
    let losses = |run: &str| -> Vec<f64> {
        let metrics = project.read(&format!("outputs/{run}/metrics.jsonl"));
        let lines = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter_map(|line| line["loss"].as_f64().or_else(|| line["eval_loss"].as_f64())).collect()
    };
    let named = |run: &str| {
        let run: serde_json::Value =
            serde_json::from_str(&project.read(&format!("outputs/{run}/run.json"))).unwrap();
        run["inputs"]["base_model"].as_str().unwrap().to_owned()
    };
    let train_on = |run: &str, base: &std::path::Path| {
        let output = train(run, base, &[]);
        assert!(trained(&output), "{}", stderr(&output));
        (losses(run), named(run))
    };
    let (losses_of_a, name_of_a) = train_on("a", &a);
    let (warm, name_of_b) = train_on("b-warm", &b);
    std::fs::rename(project.path("data/cache"), project.path("data/cache-away")).unwrap();
    let (cold, again) = train_on("b-cold", &b);
    assert_eq!(losses_of_a.len(), 3, "two steps and an evaluation");
    assert_eq!(warm, cold, "the features that A left were not used");
    assert!(warm.iter().zip(&losses_of_a).all(|(b, a)| (b - a).abs() > 1e-3), "{warm:?} {losses_of_a:?}");
    assert_eq!(name_of_b, again);
    assert_ne!(name_of_a, name_of_b);
    assert!(name_of_a.starts_with("sha256-tensors-v1:"), "{name_of_a}");

    for (more, base, words) in [
        (&["--resume"][..], &b, "the run began on the base model"),
        (&["--resume", "--set", "model.load_in_8bit=true"], &a, "is now held as"),
    ] {
        let output = train("a", base, more);
        assert!(code(&output) == 2 && stderr(&output).contains(words), "{}", stderr(&output));
    }
    let moved = project.path("elsewhere");
    std::fs::rename(&a, &moved).unwrap();
    let output = train("a", &moved, &["--resume"]);
    assert!(trained(&output), "the same weights in another folder: {}", stderr(&output));
}

#[test]
fn what_cannot_be_trained_on_is_said_with_a_remedy() {
    type Case<'a> = (&'a str, usize, &'a dyn Fn(&Project), &'a [&'a str]);
    let cases: [Case<'_>; 6] = [
        ("two decks only", 2, &|_| {}, &["too few to split", "hint:"]),
        (
            "no slides",
            0,
            &|p| std::fs::remove_dir_all(p.path("data")).unwrap(),
            &["no data", "`data`", "storage.data_dir"],
        ),
        (
            "a label of 7",
            4,
            &|p| p.write("data/labeled/labels.json", r#"{"deck0-p001":{"clarity":7}}"#),
            &["labels.json", "got 7", "hint:"],
        ),
        (
            "labels of other slides",
            4,
            &|p| p.write("data/labeled/labels.json", r#"{"elsewhere-p001":{"clarity":3}}"#),
            &["elsewhere-p001", "no labelled slide", "hint:"],
        ),
        (
            "an unknown key",
            4,
            &|p| p.write("config/training.toml", "[training]\nlerning_rate = 1.0\n"),
            &["training.lerning_rate", "`learning_rate`?"],
        ),
        (
            "a value outside its domain",
            4,
            &|p| p.write("config/training.toml", "[training]\nlearning_rate = -1.0\n"),
            &["learning_rate", "positive"],
        ),
    ];
    for (name, decks, spoil, words) in cases {
        let project = Project::new(decks);
        spoil(&project);
        let output = project.run(TRAIN, &["--run", "x"]);
        assert_eq!(code(&output), 2, "{name}: {}", stderr(&output));
        for word in words {
            assert!(stderr(&output).contains(word), "{name}: `{word}` is not in\n{}", stderr(&output));
        }
    }
}

#[test]
fn a_base_with_a_missing_tensor_a_wrong_shape_or_no_folder_is_named() {
    let project = Project::new(4);
    let model = project.path("model");
    std::fs::create_dir_all(&model).unwrap();
    for entry in std::fs::read_dir(base_model()).unwrap().flatten() {
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    let config = std::fs::read_to_string(model.join("config.json")).unwrap();
    let change = |from: &str, to: &str| {
        assert!(config.contains(from), "{from}");
        std::fs::write(model.join("config.json"), config.replace(from, to)).unwrap();
    };
    let train_on = |base: &str| {
        let base = format!("model.name={base}");
        let mut command = std::process::Command::new(TRAIN);
        command.args(["--run", "x", "--set", &base]).current_dir(project.path(".")).output().unwrap()
    };
    let missing = train_on("nowhere");
    assert!(code(&missing) == 2 && stderr(&missing).contains("`nowhere`"), "{}", stderr(&missing));
    for (from, to, word) in [
        ("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4", "layers.3."),
        ("\"intermediate_size\": 128", "\"intermediate_size\": 112", "shape"),
    ] {
        change(from, to);
        let output = train_on(&model.display().to_string());
        assert!(code(&output) == 2 && stderr(&output).contains(word), "{}", stderr(&output));
    }
}

#[test]
fn neither_a_full_disk_nor_ctrl_c_loses_a_step() {
    let project = Project::new(6);
    let command = |run: &str, resume: &[&str]| {
        let args = [&["--run", run, "--set", "training.max_steps=10"], resume].concat();
        project.command(TRAIN, &args)
    };
    let whole = command("whole", &[]).output().unwrap();
    assert!(trained(&whole), "{}", stderr(&whole));
    let adapter =
        |run: &str| std::fs::read(project.path(&format!("outputs/{run}/adapter_model.safetensors"))).unwrap();
    let before = adverse::files_of(&project.path("outputs/whole"));
    adverse::assert_refused(
        &adverse::without_permission(&command("guest", &[]), &project.path(".")),
        "outputs",
    );

    for blocks in [0, 1, 8, 40] {
        let has_begun = project.path("outputs/full").exists();
        let full = adverse::with_full_disk(&command("full", &["--resume"][..usize::from(has_begun)]), blocks);
        adverse::assert_refused(&full, "outputs/full");
        adverse::assert_whole(&project.path("."));
    }
    let metrics = project.path("outputs/cut/metrics.jsonl");
    let cut = adverse::interrupted_when(command("cut", &[]), || metrics.exists());
    assert!(code(&cut) == 4 && stderr(&cut).contains("--resume --run cut"), "{}", stderr(&cut));
    adverse::assert_whole(&project.path("."));
    for run in ["full", "cut"] {
        let output = command(run, &["--resume"]).output().unwrap();
        assert!(trained(&output), "{run}: {}", stderr(&output));
        assert!(adapter(run) == adapter("whole"), "{run} differs from a run without trouble");
    }
    assert_eq!(before, adverse::files_of(&project.path("outputs/whole")), "other runs stay as they were");
}

#[test]
fn a_plan_says_what_a_run_takes_and_trains_nothing() {
    let project = Project::new(6);
    let output = project.run(TRAIN, &["--plan", "--json"]);
    assert!(trained(&output), "{}", stderr(&output));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let parts = ["weights", "adapter", "activations", "working", "images", "process"];
    let sum: u64 = parts.iter().map(|part| plan["memory"][part].as_u64().unwrap()).sum();
    assert!(plan["memory_total"].as_u64().unwrap() >= sum);
    assert!(plan["seconds"]["step"].as_f64().unwrap() > 0.0);
    assert!(plan["seconds"]["run"].as_f64() >= plan["seconds"]["first_epoch"].as_f64());
    assert!(!project.path("outputs").exists(), "nothing was trained");
    assert!(!project.path("data/labeled/splits.json").exists(), "nothing was split");
    assert!(
        plan["device_is_here"] == true && plan["memory_of_device"].as_u64() > plan["memory_total"].as_u64()
    );
    let text = project.run(TRAIN, &["--plan"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("memory, at its highest"));
    let absent = project.run(TRAIN, &["--plan", "--json", "--set", "model.device=\"cuda:999\""]);
    let (plan, said) =
        (serde_json::from_slice::<serde_json::Value>(&absent.stdout).unwrap(), stderr(&absent));
    assert!(code(&absent) == 0 && said.contains("`cuda:999` is not in this machine"), "{said}");
    assert!(
        plan["device_is_here"] == false && plan["seconds"].is_null() && plan["memory_available"].is_null()
    );
}
