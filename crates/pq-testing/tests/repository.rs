//! What the repository's own scripts promise: targets, workflows, skipped tests.
#![cfg(unix)]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(path)).expect("a file of the repository")
}

/// What `make` prints; without what an outer `make`, which may have started this test, tells an inner one.
fn make(arguments: &[&str]) -> String {
    let mut make = Command::new("make");
    make.current_dir(root()).args(arguments).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let output = make.output().expect("make is installed");
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn help_lists_every_target() {
    let makefile = read("Makefile");
    let phony = makefile.lines().find_map(|line| line.strip_prefix(".PHONY:")).expect("the targets");
    let phony: BTreeSet<&str> = phony.split_whitespace().collect();
    let help = make(&["help"]);
    let listed: BTreeSet<&str> = help.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(listed, phony);
    assert!(help.lines().all(|line| line.split_whitespace().count() > 2), "each says what it does:\n{help}");
}

#[test]
fn every_fuzz_target_is_fuzzed() {
    let mut targets = BTreeSet::new();
    for krate in std::fs::read_dir(root().join("crates")).expect("crates").map(|entry| entry.expect("one")) {
        let manifest = krate.path().join("fuzz/Cargo.toml");
        let Ok(manifest) = std::fs::read_to_string(manifest) else { continue };
        let manifest: toml::Table = manifest.parse().expect("a manifest");
        for bin in manifest["bin"].as_array().expect("targets") {
            targets.insert(bin["name"].as_str().expect("a name").to_owned());
        }
    }
    assert_eq!(targets.len(), 9, "{targets:?}");
    let said = make(&["-s", "fuzz", "CARGO=echo"]);
    let fuzzed: BTreeSet<String> =
        said.lines().filter_map(|line| Some(line.split_whitespace().nth(3)?.to_owned())).collect();
    assert_eq!(fuzzed, targets, "{said}");
}

#[test]
fn fuzzing_goes_by_time_or_by_inputs() {
    let seconds = make(&["-s", "fuzz", "CARGO=echo", "FUZZ_SECONDS=7"]);
    assert!(seconds.lines().all(|line| line.contains("-max_total_time=7 ")), "{seconds}");
    let runs = make(&["-s", "fuzz", "CARGO=echo", "FUZZ_RUNS=9"]);
    assert!(runs.lines().all(|line| line.contains("-runs=9 ") && !line.contains("max_total_time")), "{runs}");
}

#[test]
fn every_member_has_a_readme_and_an_owner() {
    let owners = read(".github/CODEOWNERS");
    for folder in ["crates", "bins"] {
        for member in
            std::fs::read_dir(root().join(folder)).expect("members").map(|entry| entry.expect("one"))
        {
            let path = member.path();
            let Ok(manifest) = std::fs::read_to_string(path.join("Cargo.toml")) else { continue };
            assert!(path.join("README.md").is_file(), "{}", path.display());
            assert!(manifest.contains("readme = \"README.md\""), "{}", path.display());
            let name = member.file_name().into_string().expect("a name");
            // A line for all commands stands for those without one of their own.
            let (own, all) = (format!("/{folder}/{name}/ "), format!("/{folder}/ "));
            let owned = |line: &str| line.starts_with(&own) || line.starts_with(&all);
            assert!(owners.lines().any(owned), "{folder}/{name} has no owner");
        }
    }
}

/// Jobs of a workflow by name: the lines below `jobs:` that are indented by more than two.
fn jobs(workflow: &str) -> Vec<(String, String)> {
    let mut jobs: Vec<(String, String)> = Vec::new();
    for line in workflow.lines().skip_while(|line| *line != "jobs:").skip(1) {
        match line.strip_prefix("  ").filter(|rest| !rest.starts_with([' ', '#'])) {
            Some(name) => jobs.push((name.trim_end_matches(':').to_owned(), String::new())),
            None => {
                if let Some((_, body)) = jobs.last_mut() {
                    body.push_str(line);
                    body.push('\n');
                }
            }
        }
    }
    jobs
}

/// What is wrong with the jobs that run on a GPU: they build without CUDA, or do not look for the GPU before they train.
fn faults_of_gpu_jobs(workflow: &str) -> Vec<String> {
    let on_gpu = |body: &str| body.lines().any(|line| line.contains("runs-on:") && line.contains("gpu"));
    let mut faults = Vec::new();
    let (mut seen, mut say) = (0, |name: &str, what: &str| faults.push(format!("{name}: {what}")));
    for (name, body) in jobs(workflow).iter().filter(|(_, body)| on_gpu(body)) {
        seen += 1;
        let steps: Vec<&str> = body.lines().filter_map(|line| line.trim().strip_prefix("run: ")).collect();
        let at = |step: &str| {
            steps.iter().position(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") == step)
        };
        let first = |program: &str| steps.iter().position(|line| line.contains(program));
        if steps.iter().any(|step| step.contains("cargo") || *step == "make build") {
            say(name, "builds without CUDA");
        }
        // Built here, or by another job with the same recipe and unpacked here.
        let is_built_before = jobs(workflow).iter().any(|(_, body)| body.contains("run: make build-cuda"));
        let unpacked = at(".github/loop/unpack").filter(|_| is_built_before);
        let build = at("make build-cuda").or(unpacked);
        let (check, train) = (at(".github/check-gpu"), first("target/release/pq-"));
        if build.is_none() || build > train {
            say(name, "does not build with CUDA before it runs");
        }
        if check.is_none() || check < build || check > first("pq-train") {
            say(name, "does not look for the GPU before it trains");
        }
    }
    if seen == 0 {
        say("workflow", "no job runs on a GPU");
    }
    faults
}

#[test]
fn the_retraining_workflow_builds_with_cuda_where_the_gpu_is() {
    let workflow = read(".github/workflows/retrain.yml");
    assert_eq!(faults_of_gpu_jobs(&workflow), [""; 0]);
    let recipe = make(&["-n", "build-cuda"]);
    assert!(
        recipe
            .contains("--release --workspace --bins --features pq-collect/cuda,pq-train/cuda,pq-score/cuda,pq-validate/cuda"),
        "{recipe}"
    );
    for program in ["pq-train", "pq-score", "pq-validate"] {
        let manifest: toml::Table = read(format!("bins/{program}/Cargo.toml")).parse().expect("a manifest");
        assert!(manifest["features"].get("cuda").is_some(), "{program}");
    }
    // The test sees what it is for.
    for (right, wrong) in [
        ("make build-cuda", "make build"),
        ("make build-cuda", "cargo build --release --workspace --bins"),
        ("make build-cuda", "make help"),
        (".github/check-gpu", "true"),
        ("[self-hosted, gpu, pitchquest]", "[self-hosted, pitchquest]"),
    ] {
        assert!(workflow.contains(right));
        assert_ne!(faults_of_gpu_jobs(&workflow.replace(right, wrong)), [""; 0], "{right} -> {wrong}");
    }
}

/// Runs the check with a `pq-train` that plans so.
fn check_gpu(script: &str) -> (bool, String) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("target/release/pq-train");
    std::fs::create_dir_all(program.parent().expect("a parent")).expect("a folder");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a file");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let check = root().join(".github/check-gpu").canonicalize().expect("the check");
    let output = Command::new(check).current_dir(folder.path()).output().expect("bash is installed");
    (output.status.success(), text(&output))
}

#[test]
fn a_build_that_sees_no_gpu_ends_the_job_early() {
    let plan = |here: bool| format!(r#"echo '{{"device":"NVIDIA X","device_is_here":{here},"slides":9}}'"#);
    let (passed, said) = check_gpu(&plan(true));
    assert!(passed && said.contains("computes on NVIDIA X"), "{said}");
    for script in
        [plan(false), "exit 2".to_owned(), "echo '{}'".to_owned(), format!("{}; exit 2", plan(true))]
    {
        let (passed, said) = check_gpu(&script);
        assert!(!passed && said.contains("::error::"), "{script}: {said}");
    }
}

/// Without the usual harness a `#[test]` is compiled away: every test of such a program stands in its list.
#[test]
fn no_test_hides_in_a_program_with_a_harness_of_its_own() {
    let mut seen = 0;
    for folder in ["crates", "bins"] {
        for krate in std::fs::read_dir(root().join(folder)).expect("members").map(|entry| entry.expect("one"))
        {
            let Ok(manifest) = std::fs::read_to_string(krate.path().join("Cargo.toml")) else { continue };
            let manifest: toml::Table = manifest.parse().expect("a manifest");
            let targets = manifest.get("test").and_then(toml::Value::as_array).into_iter().flatten();
            for target in targets.filter(|target| target.get("harness") == Some(&toml::Value::Boolean(false)))
            {
                let name = target["name"].as_str().expect("a name");
                let tests = krate.path().join("tests");
                for file in sources(&tests.join(format!("{name}.rs"))).chain(sources(&tests.join(name))) {
                    seen += 1;
                    let source = std::fs::read_to_string(&file).expect("a source");
                    assert!(!source.lines().any(|line| line.trim() == "#[test]"), "{}", file.display());
                }
            }
        }
    }
    assert!(seen > 5, "{seen} files");
}

fn sources(path: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = std::fs::read_dir(path).into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let own = path.is_file().then(|| path.to_owned());
    own.into_iter().chain(folder).filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
}

#[test]
fn skipped_tests_are_listed_with_their_reasons() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let lists = |content: &str| {
        std::fs::write(&log, content).expect("a file");
        text(&Command::new(root().join(".ci/skipped")).arg(&log).output().expect("sh is installed"))
    };
    let said = lists(
        "test a::b ... ok\ntest rating::keys      ... ignored (needs browser: chromium is missing)\n\
         test on_a_gpu ... ignored, needs an NVIDIA GPU\ntest bare ... ignored\ntest c ... FAILED\n",
    );
    assert_eq!(
        said,
        "3 tests were skipped:\n  bare  \n  on_a_gpu  needs an NVIDIA GPU\n  \
         rating::keys  (needs browser: chromium is missing)\n"
    );
    assert_eq!(
        lists("test a ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n"),
        "no test was skipped\n"
    );
}

fn rust_sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if entry.is_dir() && name != "target" {
            rust_sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

#[test]
fn sources_stay_short_and_commands_thin() {
    let mut found = Vec::new();
    for folder in ["crates", "bins"] {
        rust_sources(&root().join(folder), &mut found);
    }
    assert!(found.len() > 300, "{} sources", found.len());
    let lines = |path: &PathBuf| std::fs::read_to_string(path).expect("a source").lines().count();
    let is_command =
        |path: &PathBuf| path.ends_with("src/main.rs") && path.to_string_lossy().contains("bins/");
    let long: Vec<String> = found
        .iter()
        .map(|path| (path, lines(path), if is_command(path) { 150 } else { 400 }))
        .filter(|(_, lines, most)| lines > most)
        .map(|(path, lines, most)| format!("{}: {lines} lines, at most {most}", path.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}
