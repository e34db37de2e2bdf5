//! Tracking, as a user meets it: whatever the service does, the run is the same.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use pq_testing::adverse;
use pq_testing::project::{Project, code, stderr, trained};
use serde_json::Value;
use test_server::{Answer, Authority, Server, text};

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
    assert!(trained(&plain), "{}", stderr(&plain));
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
        assert!(trained(&output), "{name}: {said}");
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
    assert!(trained(&output), "{}", stderr(&output));
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

/// The key as the service gets it, and only in its header: `api:KEY` in base64.
const SENT: &str = "YXBpOjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc=";

/// Whatever the key comes from, and though the service repeats it, it is in no file, no line and no body.
#[test]
fn a_run_leaves_no_key_behind() {
    let project = Project::new(6);
    let server = Server::start(|request| {
        let sent = request.header("authorization").unwrap_or_default().to_owned();
        text(403, &format!("{{\"errors\": [{{\"message\": \"refused {sent}\"}}]}}"))
    });
    let netrc = format!("machine 127.0.0.1 login user password {KEY}\n");
    let env = format!("WANDB_API_KEY={KEY}\n");
    let sources: [(&str, Option<(&str, &str)>); 3] =
        [("environment", None), ("dotenv", Some((".env", &env))), ("netrc", Some((".netrc", &netrc)))];
    for (name, file) in sources {
        let steps =
            ["-v", "-v", "--run", name, "--set", "training.max_steps=2", "--set", "tensorboard.enabled=true"];
        let limit = ["--set", "wandb.finish_timeout_s=1", "--set", "wandb.pictures=true"];
        let mut outputs = Vec::new();
        for args in [[&steps[..], &limit].concat(), [&["sync", name][..], &limit].concat()] {
            let mut command = with_key(project.command(TRAIN, &args), &server);
            if args[0] == "sync" {
                command = with_key(project.bare_command(TRAIN), &server);
                command.args(&args);
            }
            if let Some((path, content)) = file {
                project.write(path, content);
                command.env_remove("WANDB_API_KEY");
            }
            outputs.push(command.output().unwrap());
        }
        assert!(trained(&outputs[0]) && code(&outputs[1]) == 1, "{name}: {}", stderr(&outputs[0]));
        for output in &outputs {
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(output);
            assert!(!text.contains(KEY) && !text.contains(SENT), "{name}: {text}");
        }
        let own: Vec<&str> = file.iter().map(|(path, _)| *path).collect();
        let leaks = adverse::leaks(&project.path(""), &[KEY, SENT], &own);
        assert!(leaks.is_empty(), "{name}: {leaks:?}");
        let requests = server.take();
        assert!(
            !requests.is_empty()
                && requests
                    .iter()
                    .any(|request| request.header("authorization") == Some(&format!("Basic {SENT}"))),
            "{name}"
        );
        for request in requests {
            let is_free = |text: &str| !text.contains(KEY) && !text.contains(SENT);
            let others = request.headers.iter().filter(|(name, _)| *name != "authorization");
            assert!(is_free(&request.path) && is_free(&String::from_utf8_lossy(&request.body)), "{name}");
            assert!(others.into_iter().all(|(_, value)| is_free(value)), "{name}");
        }
        if let Some((path, _)) = file {
            std::fs::remove_file(project.path(path)).unwrap();
        }
    }
}

/// Files of the page, by their names below `outputs/RUN/wandb/ID.files`.
fn page_files(project: &Project, run: &str) -> Vec<String> {
    let tracking = project.path(&format!("outputs/{run}/wandb"));
    let names = adverse::files_of(&tracking).into_keys().filter_map(|path| {
        let name = path.strip_prefix(&tracking).ok()?.to_string_lossy().into_owned();
        Some(name.split_once(".files/")?.1.to_owned())
    });
    names.collect()
}

#[test]
fn an_evaluation_is_a_table_with_pictures_where_they_are_asked_for() {
    let project = Project::new(6);
    let server = Server::start(|_| text(500, ""));
    for (run, pictures) in [("with", "wandb.pictures=true"), ("without", "wandb.pictures=false")] {
        let args =
            ["--run", run, "--set", "training.max_steps=2", "--set", "wandb.mode=offline", "--set", pictures];
        let args = [&args[..], &["--set", "tensorboard.enabled=true"]].concat();
        let output = with_key(project.command(TRAIN, &args), &server).output().unwrap();
        assert!(trained(&output), "{}", stderr(&output));
        let files = page_files(&project, run);
        let count = |part: &str| files.iter().filter(|name| name.contains(part)).count();
        for name in ["config.yaml", "requirements.txt", "wandb-metadata.json"] {
            assert_eq!(count(name), 1, "{name}: {files:?}");
        }
        assert_eq!(count("media/table/eval/slides_2_"), 1, "{files:?}");
        assert!(count("media/table/eval/confusion/") > 1, "one a criterion: {files:?}");
        assert_eq!(count("media/images/") > 0, run == "with", "{files:?}");
        let events = adverse::files_of(&project.path(&format!("outputs/{run}/tensorboard")));
        let holds =
            |part: &[u8]| events.values().any(|bytes| bytes.windows(part.len()).any(|window| window == part));
        assert!(
            holds(b"eval/slides/0") && holds(b"\x89PNG") && holds(b": model |"),
            "on this machine always"
        );
    }
    let requirements = adverse::files_of(&project.path("outputs/with/wandb"));
    let (_, versions) = requirements.iter().find(|(path, _)| path.ends_with("requirements.txt")).unwrap();
    let versions = String::from_utf8_lossy(versions);
    assert!(versions.contains("\nvlm-lora==") && versions.lines().count() > 100, "{versions}");
}

/// What schedulers send before they end a process.
#[cfg(unix)]
#[test]
fn a_signal_that_announces_the_end_leaves_a_run_to_carry_on() {
    let project = Project::new(6);
    let server = Server::start(|_| text(500, ""));
    for signal in ["USR1", "TERM"] {
        let args = ["--run", signal, "--set", "training.max_steps=5000", "--set", "wandb.mode=offline"];
        let mut command = with_key(project.command(TRAIN, &args), &server);
        let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        let metrics = project.path(&format!("outputs/{signal}/metrics.jsonl"));
        let until = Instant::now() + Duration::from_mins(2);
        while !metrics.exists() {
            assert!(Instant::now() < until && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(20));
        }
        let sent =
            Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(child.wait().unwrap().code(), Some(4), "{signal}");
        let spool = adverse::files_of(&project.path(&format!("outputs/{signal}/wandb")));
        let (_, spool) =
            spool.iter().find(|(path, _)| path.extension().is_some_and(|suffix| suffix == "spool")).unwrap();
        let spool = String::from_utf8_lossy(spool);
        assert_eq!(spool.matches("\"preempting\"").count(), 1, "{signal}");
        assert!(spool.contains("{\"end\":{\"exit_code\":1,\"was_stopped\":false}}"), "{signal}");
        assert!(project.path(&format!("outputs/{signal}/checkpoints")).is_dir(), "{signal}");
    }
}

/// A service of one's own with an authority of one's own: reached where `SSL_CERT_FILE` names it, else said to be not trusted.
#[test]
fn a_service_behind_the_companys_own_authority_is_reached_by_its_file() {
    let project = Project::new(6);
    let authority = Authority::new();
    let server =
        Server::start_tls(&authority, |_| text(401, r#"{"errors": [{"message": "user is not logged in"}]}"#));
    let required = ["--run", "required", "--set", "wandb.required=true"];
    let run = |variable: Option<&str>| {
        let mut command = with_key(project.command(TRAIN, &required), &server);
        command.env_remove("SSL_CERT_FILE").env_remove("REQUESTS_CA_BUNDLE");
        command.envs(variable.map(|name| (name, authority.write(&project.path(".")))));
        let output = command.output().unwrap();
        assert_eq!(code(&output), 2, "{}", stderr(&output));
        stderr(&output)
    };
    let said = run(None);
    assert!(said.contains("not trusted") && said.contains("SSL_CERT_FILE"), "{said}");
    assert!(server.requests().is_empty(), "the key was not sent");
    for variable in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"] {
        let said = run(Some(variable));
        assert!(said.contains("not logged in"), "{variable}: {said}");
    }
    assert!(!server.requests().is_empty());
}
