//! Tracking, as a user meets it: whatever the service does, the run is the same.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use pq_testing::project::{Project, code, stderr};
use serde_json::Value;
use test_server::{Answer, Server, text};

/// What a service does, and its name.
type Case = (&'static str, fn() -> Answer);

const TRAIN: &str = env!("CARGO_BIN_EXE_pq-train");
const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

fn tracked(project: &Project, server: &Server, args: &[&str]) -> Output {
    let steps = [&["--run", "one", "--set", "training.max_steps=4"], args].concat();
    with_key(project.command(TRAIN, &steps), server).output().unwrap()
}

fn with_key(mut command: Command, server: &Server) -> Command {
    command.env("WANDB_API_KEY", KEY).env("WANDB_BASE_URL", &server.base);
    for name in ["WANDB_MODE", "WANDB_DISABLED", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_RUN_ID"] {
        command.env_remove(name);
    }
    command
}

/// The names and texts of what lies in the folder of tracking.
fn spools(project: &Project) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = std::fs::read_dir(project.path("outputs/one/wandb"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "spool"))
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn a_service_that_is_busy_or_hangs_neither_stops_nor_changes_a_run() {
    let project = Project::new(6);
    let plain = project.run(TRAIN, &["--run", "plain", "--set", "training.max_steps=4"]);
    assert_eq!(code(&plain), 0, "{}", stderr(&plain));
    let adapter =
        |run: &str| std::fs::read(project.path(&format!("outputs/{run}/adapter_model.safetensors"))).unwrap();
    let answers: [Case; 3] = [
        ("busy", || Answer::Status(429, vec![("Retry-After", "60".to_owned())], Vec::new())),
        ("hanging", || Answer::Hang(Duration::from_hours(1))),
        ("revoked", || text(401, r#"{"errors": [{"message": "user is not logged in"}]}"#)),
    ];
    for (name, answer) in answers {
        let server = Server::start(move |_| answer());
        let begun = Instant::now();
        let events = ["--set", "wandb.finish_timeout_s=1", "--set", "tensorboard.enabled=true"];
        let output = tracked(&project, &server, &events);
        let said = stderr(&output);
        assert_eq!(code(&output), 0, "{name}: {said}");
        assert!(said.contains("pq-train sync one") && !said.contains(KEY), "{name}: {said}");
        assert!(begun.elapsed() < Duration::from_mins(5), "{name}");
        assert!(adapter("one") == adapter("plain"), "{name}");
        let (_, spool) = &spools(&project)[0];
        assert!(spool.contains("train/loss") && spool.contains("eval/mae") && spool.contains("labels.json"));
        assert!(spool.contains("\"end\":{\"exit_code\":0") && !spool.contains(KEY), "{spool}");
        assert!(std::fs::read_dir(project.path("outputs/one/tensorboard")).unwrap().count() == 1);
        let mut sync = with_key(project.bare_command(TRAIN), &server);
        let sync = sync.args(["sync", "one", "--set", "wandb.finish_timeout_s=1"]).output().unwrap();
        assert_eq!(code(&sync), 1, "{name}: {}", stderr(&sync));
        std::fs::remove_dir_all(project.path("outputs/one")).unwrap();
    }
    let server = Server::start(|_| text(401, r#"{"errors": [{"message": "user is not logged in"}]}"#));
    let required = ["--run", "required", "--set", "wandb.required=true"];
    let refused = with_key(project.command(TRAIN, &required), &server).output().unwrap();
    assert!(code(&refused) == 2 && stderr(&refused).contains("not logged in"), "{}", stderr(&refused));
    assert!(!project.path("outputs/required").exists());
}

#[test]
fn a_refused_resume_leaves_the_run_as_it_was_and_offline_runs_are_files() {
    let project = Project::new(6);
    let server = Server::start(|_| text(500, ""));
    let offline = ["--set", "wandb.mode=offline"];
    let output = tracked(&project, &server, &offline);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let (record, spools_before) = (project.read("outputs/one/run.json"), spools(&project));
    let refused =
        tracked(&project, &server, &[&offline[..], &["--resume", "--set", "training.seed=7"]].concat());
    assert_eq!(code(&refused), 2, "{}", stderr(&refused));
    assert_eq!((project.read("outputs/one/run.json"), spools(&project)), (record, spools_before));
    let mut sync = with_key(project.bare_command(TRAIN), &server);
    let sync = sync.args(["sync", "--json"]).env("WANDB_MODE", "offline").output().unwrap();
    assert_eq!(code(&sync), 0, "{}", stderr(&sync));
    let line: Value = serde_json::from_slice(&sync.stdout).unwrap();
    let folder = line["offline"].as_str().unwrap();
    let id = line["id"].as_str().unwrap();
    assert!(id.starts_with("one-"), "{id}");
    assert!(project.path(folder).join(format!("run-{id}.wandb")).exists(), "{line}");
    assert!(server.requests().is_empty(), "offline is offline");
}
