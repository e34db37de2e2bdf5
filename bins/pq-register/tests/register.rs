//! The command as a user runs it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use pq_testing::adverse;
use project_files::{
    Comparison, Contract as _, Gain, Interval, RunFiles, ValidationResults, VersionFile, hash_file,
};
use test_server::hub::{FakeHub, Fault, TOKEN};
use test_server::{Answer, Request, text};

fn project(mae: f64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("config/training.toml", "[registry]\nmax_mae = 0.6\n");
    write("outputs/latest/adapter_config.json", "{}");
    write("outputs/latest/adapter_model.safetensors", "weights");
    write("outputs/latest/config.toml", "[model]");
    write("outputs/latest/test_predictions.jsonl", "{}");
    write(
        "outputs/latest/run.json",
        r#"{"schema_version":2,"run_id":"r","started_at":"2026-01-02T03:04:05Z","base_model":"a/b",
            "training":{"steps":3},"data":{"slides":9},
            "inputs":{"base_model":"sha256-tensors-v1:1","base_processor":"sha256-processor-v1:2","labels.json":"3"}}"#,
    );
    let run = RunFiles::new(dir.path().join("outputs/latest"));
    let mut results = ValidationResults::sample();
    results.metrics.insert("overall_mae".to_owned(), mae);
    results.intervals.insert("overall_mae".to_owned(), Interval { low: mae - 0.1, high: mae + 0.1 });
    results.judge();
    for (name, hash) in [
        ("base_model", "sha256-tensors-v1:1"),
        ("base_processor", "sha256-processor-v1:2"),
        ("labels.json", "3"),
        ("splits.json", "4"),
        ("manifest.jsonl", "5"),
    ] {
        results.inputs.insert(name.to_owned(), hash.to_owned());
    }
    for path in ValidationResults::of_a_run(&run) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        results.inputs.insert(name, hash_file(&path).unwrap().sha256);
    }
    results.write(&run.validation()).unwrap();
    dir
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pq-register"));
    command.args(args).current_dir(dir).env("HOME", dir).env("USER", "ann");
    for name in [
        "HF_TOKEN",
        "HF_HOME",
        "HF_TOKEN_PATH",
        "HUGGING_FACE_HUB_TOKEN",
        "GITHUB_ACTOR",
        "PQ_SIGNING_KEY",
        "PQ_PUBLIC_KEY",
    ] {
        command.env_remove(name);
    }
    command
}

fn register(dir: &Path, args: &[&str]) -> (i32, String) {
    let output: Output = command(dir, args).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

#[test]
fn a_validated_run_becomes_a_version_once() {
    let dir = project(0.4);
    assert_eq!(register(dir.path(), &["--dry-run"]).0, 0);
    assert!(!dir.path().join("model_registry").exists(), "a dry run writes nothing");
    let (code, text) = register(dir.path(), &[]);
    assert!(code == 0 && text.contains("v1.0.0 released"), "{text}");
    assert!(dir.path().join("model_registry/versions/v1.0.0/README.md").exists());
    let (code, text) = register(dir.path(), &[]);
    assert!(code == 0 && text.contains("nothing to do"), "{text}");
    let (code, text) = register(dir.path(), &["history", "--json"]);
    assert!(code == 0 && text.matches("\"released_at\"").count() == 1, "{text}");
    assert_eq!(register(dir.path(), &["verify"]).0, 0);
}

#[test]
fn the_gate_says_no_in_words() {
    let dir = project(0.6);
    let (code, text) = register(dir.path(), &[]);
    assert!(code == 3 && text.contains("the mean absolute error is 0.600 [0.500, 0.700]"), "{text}");
    assert!(!dir.path().join("model_registry/version.json").exists());
    let dir = project(0.8);
    let (code, text) = register(dir.path(), &[]);
    assert!(code == 1 && text.contains("that is not reached"), "{text}");
    assert!(!dir.path().join("model_registry/version.json").exists());
}

#[test]
fn a_run_that_is_not_what_was_validated_is_refused() {
    for (file, text) in
        [("adapter_config.json", "{\"lora_alpha\":999}"), ("config.toml", "[rubric]"), ("run.json", "{}")]
    {
        let dir = project(0.4);
        std::fs::write(dir.path().join("outputs/latest").join(file), text).unwrap();
        let (code, text) = register(dir.path(), &[]);
        assert!(code == 2 && text.contains(file), "{file}: {text}");
        std::fs::remove_file(dir.path().join("outputs/latest").join(file)).unwrap();
        let (code, text) = register(dir.path(), &[]);
        assert!(code == 2 && text.contains(file), "{file}: {text}");
        assert!(!dir.path().join("model_registry/version.json").exists());
    }
}

#[test]
fn what_is_missing_is_named() {
    let dir = project(0.4);
    let (code, text) = register(dir.path(), &["outputs/other"]);
    assert!(code == 2 && text.contains("outputs/other") && text.contains("pq-validate"), "{text}");
    let (code, text) = register(dir.path(), &["rollback", "v7"]);
    assert!(code == 2 && text.contains("`v7`") && text.contains("history"), "{text}");
    std::fs::write(dir.path().join("model_registry/version.json"), "{").unwrap();
    let (code, text) = register(dir.path(), &["history"]);
    assert!(code == 2 && text.contains("version.json"), "{text}");
}

/// Another run under the same name: other weights, validated anew.
fn train_again(dir: &Path, weights: &str) {
    let run = RunFiles::new(dir.join("outputs/latest"));
    std::fs::write(run.adapter_weights(), weights).unwrap();
    let mut results = ValidationResults::read(&run.validation()).unwrap();
    let hash = hash_file(&run.adapter_weights()).unwrap().sha256;
    results.inputs.insert("adapter_model.safetensors".to_owned(), hash);
    let gain = Gain { value: 0.1, interval: Some(Interval { low: 0.02, high: 0.18 }) };
    let gains = ["overall_mae", "clarity_mae"].map(|name| (name.to_owned(), gain)).into();
    let versions = VersionFile::read_if_present(&dir.join("model_registry/version.json")).unwrap();
    let champion = versions.and_then(|versions| versions.version);
    results.champion = champion.map(|name| Comparison { name, gains, ..Comparison::default() });
    results.judge();
    results.write(&run.validation()).unwrap();
}

#[test]
fn journal_and_manifests_answer_who_when_why_and_what() {
    let dir = project(0.4);
    let run = |args: &[&str]| register(dir.path(), args);
    assert_eq!(run(&["--reason", "the first one"]).0, 0);
    train_again(dir.path(), "better");
    assert_eq!(run(&["--by", "bob"]).0, 0);
    let (code, text) = run(&["rollback", "--reason", "worse on charts"]);
    assert!(code == 0 && text.contains("v1.0.0 is in use"), "{text}");
    let (code, text) = run(&["history"]);
    assert!(code == 0 && text.contains("rolled back to v1.0.0     by ann"), "{text}");
    assert!(text.contains("before: v1.0.1") && text.contains("worse on charts"), "{text}");
    let (code, text) = run(&["show", "v1"]);
    assert!(code == 0 && text.contains("released by ann: the first one"), "{text}");
    let (code, text) = run(&["diff", "v1.0.0", "v1.0.1"]);
    assert!(code == 0 && text.contains("file adapter_model.safetensors"), "{text}");
    assert!(!text.contains("file config.toml"), "{text}");
    let (code, text) = run(&["live"]);
    assert!(code == 0 && text.starts_with("v1.0.0 since"), "{text}");
    let (code, text) = run(&["live", "--on", "2020-01-01"]);
    assert!(code == 0 && text.contains("nothing was in use"), "{text}");
    assert_eq!(run(&["live", "--on", "soon"]).0, 2);
    let (code, text) = run(&["rollback"]);
    assert!(code == 2 && text.contains("no version was in use before v1.0.0"), "{text}");
    let (code, text) = run(&["doctor"]);
    assert!(code == 0 && text.contains("everything fits together"), "{text}");
    assert_eq!(run(&["verify"]).0, 0);
    let journal = dir.path().join("model_registry/journal.jsonl");
    let changed = std::fs::read_to_string(&journal).unwrap().replace("worse on", "better on");
    std::fs::write(&journal, changed).unwrap();
    let (code, text) = run(&["verify"]);
    assert!(code == 1 && text.contains("line 3 was changed"), "{text}");
}

#[test]
fn without_a_token_nothing_is_released_unless_it_shall_stay_here() {
    let dir = project(0.4);
    let set = ["--set", "registry.huggingface_repo=team/rater"];
    let (code, text) = register(dir.path(), &set);
    assert!(code == 2 && text.contains("no token") && text.contains("--local"), "{text}");
    assert!(!dir.path().join("model_registry").exists());
    assert_eq!(register(dir.path(), &[&set[..], &["--local"]].concat()).0, 0);
    train_again(dir.path(), "two");
    assert_eq!(register(dir.path(), &[&set[..], &["--local"]].concat()).0, 0);
    let (code, text) = register(dir.path(), &[&set[..], &["rollback"]].concat());
    assert!(code == 1 && text.contains("v1.0.0 is in use") && text.contains("no token"), "{text}");
    let (code, text) = register(dir.path(), &[&set[..], &["push"]].concat());
    assert!(code == 2 && text.contains("HF_TOKEN"), "{text}");
}

fn with_hub(dir: &Path, args: &[&str], fake: &FakeHub) -> Command {
    let set = ["--set", "registry.huggingface_repo=team/rater", "--set", "registry.license=mit"];
    let mut command = command(dir, &[&set[..], args].concat());
    command.env("HF_TOKEN", TOKEN).env("HF_ENDPOINT", &fake.server.base);
    command
}

#[test]
fn nothing_goes_to_the_hub_without_a_licence() {
    let fake = FakeHub::start();
    let dir = project(0.4);
    let without = |args: &[&str]| {
        let args = [&["--set", "registry.license="], args].concat();
        let output = with_hub(dir.path(), &args, &fake).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = without(&[]);
    assert!(code == Some(2) && text.contains("no licence") && text.contains("registry.license"), "{text}");
    assert_eq!(without(&["--local"]).0, Some(0));
    let card = std::fs::read_to_string(dir.path().join("model_registry/versions/v1.0.0/README.md")).unwrap();
    assert!(card.contains("No licence was given") && !card.contains("license:"), "{card}");
    let (code, text) = without(&["push"]);
    assert!(code == Some(2) && text.contains("no licence"), "{text}");
    let output = with_hub(dir.path(), &["push"], &fake).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "what its card does not say cannot be said later");
    train_again(dir.path(), "two");
    assert_eq!(with_hub(dir.path(), &[], &fake).output().unwrap().status.code(), Some(0));
    let output = with_hub(dir.path(), &["push"], &fake).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "the version in use has one");
    let tree = fake.repository("team/rater");
    let card = String::from_utf8(tree.tree("main").unwrap()["README.md"].clone()).unwrap();
    assert!(card.contains("license: \"mit\""), "{card}");
}

#[test]
fn a_release_is_signed_with_a_key_that_is_in_no_argument_and_checked_before_it_is_used() {
    let dir = project(0.4);
    let (code, text) = register(dir.path(), &["keygen", "keys/release"]);
    assert!(code == 0 && text.contains("keys/release.pub"), "{text}");
    let (code, text) = register(dir.path(), &["keygen", "keys/release"]);
    assert!(code == 2 && text.contains("not overwritten"), "{text}");
    let signed = |args: &[&str]| {
        let mut command = command(dir.path(), args);
        command.env("PQ_SIGNING_KEY", "keys/release").env("PQ_PUBLIC_KEY", "keys/release.pub");
        let output = command.output().unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), text)
    };
    assert_eq!(signed(&["-vv"]).0, 0);
    assert_eq!(signed(&["verify"]).0, 0);
    train_again(dir.path(), "two");
    assert_eq!(register(dir.path(), &[]).0, 0, "unsigned");
    let (code, text) = signed(&["verify"]);
    assert!(code == 1 && text.contains("model.sig"), "{text}");
    let (code, text) = signed(&["promote", "v1.0.1"]);
    assert!(code == 2 && text.contains("model.sig"), "{text}");
    assert_eq!(signed(&["promote", "v1.0.0"]).0, 0);
    let secret = std::fs::read_to_string(dir.path().join("keys/release")).unwrap();
    let secret = secret.lines().nth(1).unwrap().as_bytes().to_owned();
    let holds = adverse::files_of(dir.path())
        .into_iter()
        .filter(|(_, bytes)| bytes.windows(secret.len()).any(|part| part == secret))
        .count();
    assert_eq!(holds, 1, "the key is in its own file alone");
    std::fs::write(dir.path().join("bad"), "x").unwrap();
    let output = command(dir.path(), &["verify"]).env("PQ_PUBLIC_KEY", "bad").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a key that cannot be read is no key that is not asked for");
}

#[test]
fn what_a_stranger_could_not_rely_on_is_refused_before_anything_is_written() {
    let dir = project(0.4);
    let run = RunFiles::new(dir.path().join("outputs/latest"));
    std::fs::write(run.config(), "[lora]\ntarget_modules = \"/home/ann/modules\"\n").unwrap();
    let mut results = ValidationResults::read(&run.validation()).unwrap();
    results.inputs.insert("config.toml".to_owned(), hash_file(&run.config()).unwrap().sha256);
    results.write(&run.validation()).unwrap();
    let (code, text) = register(dir.path(), &[]);
    assert!(code == 2 && text.contains("README.md:") && text.contains("/home/ann/modules"), "{text}");
    assert!(!dir.path().join("model_registry/versions/v1.0.0").exists());
}

#[test]
fn a_command_that_is_killed_is_finished_by_the_same_command() {
    let fake = FakeHub::start();
    let dir = project(0.4);
    for (part, version) in [("/commit/release", "v1.0.0"), ("/tag/", "v1.0.1"), ("/commit/main", "v1.0.2")] {
        train_again(dir.path(), version);
        let child = Arc::new(Mutex::new(
            with_hub(dir.path(), &[], &fake).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap(),
        ));
        let victim = Arc::clone(&child);
        fake.on_request(move |request| {
            if request.path.contains(part) {
                victim.lock().unwrap().kill().unwrap();
                return Fault::Afterwards(Answer::Lost);
            }
            Fault::None
        });
        while child.lock().unwrap().try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        fake.heal();
        let output = with_hub(dir.path(), &[], &fake).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let repository = fake.repository("team/rater");
        assert!(repository.tree("main") == repository.tree(version), "{part}: {:?}", repository.tags);
        assert!(repository.served.iter().all(|(_, is_tagged)| *is_tagged), "{part}");
        assert_eq!(repository.branches.len(), 1, "{part}");
        let output = with_hub(dir.path(), &["doctor"], &fake).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(fake.repository("team/rater").tags.len(), 3);
    let secret = adverse::files_of(dir.path())
        .into_values()
        .any(|bytes| bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()));
    assert!(!secret, "the token is in no file");
}

#[test]
fn going_back_is_done_here_while_the_hub_hangs_and_ctrl_c_ends_the_wait() {
    let fake = FakeHub::start();
    let dir = project(0.4);
    for weights in ["one", "two"] {
        train_again(dir.path(), weights);
        assert_eq!(with_hub(dir.path(), &[], &fake).status().unwrap().code(), Some(0));
    }
    fake.on_request(|_| Fault::Instead(Answer::Hang(std::time::Duration::from_mins(1))));
    let is_flipped = || {
        let versions = std::fs::read_to_string(dir.path().join("model_registry/version.json")).unwrap();
        versions.contains("\"champion\": \"v1.0.0\"")
    };
    let begun = std::time::Instant::now();
    let output = adverse::interrupted_when(with_hub(dir.path(), &["rollback"], &fake), is_flipped);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(is_flipped() && output.status.code() == Some(1), "{text}");
    assert!(text.contains("`pq-register push` finishes that"), "{text}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    fake.heal();
    assert_eq!(with_hub(dir.path(), &["doctor"], &fake).status().unwrap().code(), Some(1));
    assert_eq!(with_hub(dir.path(), &["push"], &fake).status().unwrap().code(), Some(0));
    assert_eq!(with_hub(dir.path(), &["doctor"], &fake).status().unwrap().code(), Some(0));
    let repository = fake.repository("team/rater");
    assert!(repository.tree("main") == repository.tree("v1.0.0"), "{:?}", repository.tags);
}

#[test]
fn neither_a_full_disk_nor_ctrl_c_leaves_half_a_version() {
    let dir = project(0.4);
    adverse::assert_keeps_what_is_there(|| command(dir.path(), &[]), dir.path(), "model_registry");
    adverse::assert_survives_interrupts(|| command(dir.path(), &[]), dir.path());
    assert_eq!(register(dir.path(), &["verify"]).0, 0);
    let (_, text) = register(dir.path(), &["history", "--json"]);
    assert_eq!(text.matches("\"released_at\"").count(), 1, "{text}");
}

/// Where a token is, and how the command comes to know: variables, and files below its folder.
struct Source {
    name: &'static str,
    variables: &'static [(&'static str, &'static str)],
    files: &'static [(&'static str, &'static str)],
}

const SOURCES: [Source; 6] = [
    Source { name: "the environment", variables: &[("HF_TOKEN", TOKEN)], files: &[] },
    Source { name: "a variable with a line break", variables: &[("HF_TOKEN", "hf_secret\n")], files: &[] },
    Source { name: "the older variable", variables: &[("HUGGING_FACE_HUB_TOKEN", TOKEN)], files: &[] },
    Source { name: ".env", variables: &[], files: &[(".env", "HF_TOKEN=hf_secret  # for releases\n")] },
    Source {
        name: "a token file",
        variables: &[("HF_TOKEN_PATH", "token.txt")],
        files: &[("token.txt", "hf_secret\n")],
    },
    Source { name: "the client's file", variables: &[], files: &[(".cache/huggingface/token", "hf_secret")] },
];

/// Another service's secrets, which lie around and have no business here.
const OTHERS: [(&str, &str); 3] = [
    ("WANDB_API_KEY", "wandb-secret-0123456789abcdef0123456789abcdef"),
    ("AWS_SECRET_ACCESS_KEY", "aws-secret-0123456789"),
    ("AWS_SESSION_TOKEN", "aws-session-0123456789"),
];

fn with_source(dir: &Path, source: &Source, fake: &FakeHub, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pq-register"));
    command.args(["-v", "-v", "--set", "registry.huggingface_repo=team/rater"]).args(args);
    command.current_dir(dir).env("HOME", dir).env("USER", "ann").env("HF_ENDPOINT", &fake.server.base);
    for name in
        ["HF_TOKEN", "HF_HOME", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN", "XDG_CACHE_HOME", "RUST_LOG"]
    {
        command.env_remove(name);
    }
    command.envs(OTHERS).envs(source.variables.iter().copied());
    command
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A refusal that repeats what it was sent, as some proxies do.
fn echo(request: &Request) -> Fault {
    let sent = request.header("authorization").unwrap_or_default();
    Fault::Instead(text(403, &format!("{{\"error\": \"refused {sent}\"}}")))
}

#[test]
fn a_release_leaves_no_secret_behind() {
    let secrets: Vec<&str> = std::iter::once(TOKEN).chain(OTHERS.map(|(_, secret)| secret)).collect();
    for source in &SOURCES {
        let fake = FakeHub::start();
        let dir = project(0.4);
        for (name, content) in source.files {
            adverse::write_file(dir.path(), name, content);
        }
        let own: Vec<&str> = source.files.iter().map(|(name, _)| *name).collect();
        let mut outputs = Vec::new();
        // Refused at each of some steps, then released, looked at, released again, gone back.
        for part in ["/api/repos/create", "/preupload/", "/commit/release", "/tag/", "/commit/main"] {
            fake.on_request(
                move |request| {
                    if request.path.contains(part) { echo(request) } else { Fault::None }
                },
            );
            outputs.push(with_source(dir.path(), source, &fake, &[]).output().unwrap());
        }
        fake.heal();
        for args in [&[][..], &["show", "v1.0.0"], &["--json", "history"], &["doctor"], &["--dry-run"]] {
            outputs.push(with_source(dir.path(), source, &fake, args).output().unwrap());
        }
        train_again(dir.path(), "other weights");
        for args in [&[][..], &["rollback"], &["push"], &["fetch", "v1.0.1"]] {
            outputs.push(with_source(dir.path(), source, &fake, args).output().unwrap());
        }
        assert_eq!(fake.repository("team/rater").tags.len(), 2, "{}: {}", source.name, printed(&outputs[5]));
        for output in &outputs {
            let text = printed(output);
            let told = secrets.iter().find(|secret| text.contains(**secret));
            assert!(told.is_none(), "{}: {text}", source.name);
        }
        let leaks = adverse::leaks(dir.path(), &secrets, &own);
        assert!(leaks.is_empty(), "{}: {leaks:?}", source.name);
        for request in fake.server.requests() {
            let headers = request.headers.iter().filter(|(name, _)| *name != "authorization");
            assert!(
                is_clean(&request, headers, &secrets),
                "{}: {} {}",
                source.name,
                request.method,
                request.path
            );
            let token = request.header("authorization").unwrap_or_default();
            assert!(token.is_empty() || token == format!("Bearer {TOKEN}"), "{}", source.name);
        }
        for request in fake.storage.requests() {
            assert!(is_clean(&request, request.headers.iter(), &secrets), "{}: to the storage", source.name);
        }
        for tree in fake.repository("team/rater").commits.values() {
            let holds = |bytes: &Vec<u8>| {
                secrets.iter().any(|secret| String::from_utf8_lossy(bytes).contains(secret))
            };
            assert!(!tree.values().any(holds), "{}: published", source.name);
        }
    }
}

fn is_clean<'a>(
    request: &Request,
    mut headers: impl Iterator<Item = (&'a String, &'a String)>,
    secrets: &[&str],
) -> bool {
    let is_free = |text: &str| !secrets.iter().any(|secret| text.contains(secret));
    is_free(&request.path)
        && is_free(&String::from_utf8_lossy(&request.body))
        && headers.all(|(_, value)| is_free(value))
}

#[test]
fn a_run_that_was_not_compared_with_the_version_in_use_is_refused() {
    let dir = project(0.4);
    assert_eq!(register(dir.path(), &[]).0, 0);
    train_again(dir.path(), "better");
    let run = RunFiles::new(dir.path().join("outputs/latest"));
    let mut results = ValidationResults::read(&run.validation()).unwrap();
    results.champion = None;
    results.judge();
    results.write(&run.validation()).unwrap();
    let (code, text) = register(dir.path(), &[]);
    assert!(code == 1 && text.contains("v1.0.0 is in use, and the run was not compared with it"), "{text}");
}
