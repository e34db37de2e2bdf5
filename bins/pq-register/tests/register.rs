//! The command as a user runs it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use pq_testing::adverse;
use project_files::{Contract as _, RunFiles, ValidationResults, hash_file};
use test_server::hub::{FakeHub, Fault, TOKEN};
use test_server::{Answer, Authority};

mod validated;

use validated::{command, project, register, train_again, with_hub};

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

/// A Hub of one's own with an authority of one's own.
#[test]
fn a_hub_behind_the_companys_own_authority_is_reached_by_its_file() {
    let authority = Authority::new();
    let fake = FakeHub::start_tls(&authority);
    let dir = project(0.4);
    let run = |variable: Option<&str>| {
        let mut command = with_hub(dir.path(), &[], &fake);
        command.env_remove("SSL_CERT_FILE").env_remove("REQUESTS_CA_BUNDLE");
        command.envs(variable.map(|name| (name, authority.write(dir.path()))));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let begun = std::time::Instant::now();
    let (code, text) = run(None);
    assert!(code == Some(2) && text.contains("not trusted") && text.contains("SSL_CERT_FILE"), "{text}");
    assert!(text.contains("hint: ") && begun.elapsed() < std::time::Duration::from_secs(10), "{text}");
    assert!(fake.server.requests().is_empty(), "the token was not sent");
    for variable in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"] {
        train_again(dir.path(), variable);
        let (code, text) = run(Some(variable));
        assert_eq!(code, Some(0), "{variable}: {text}");
    }
    assert_eq!(fake.repository("team/rater").tags.len(), 2);
}
