//! No secret is left behind by a release.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use pq_testing::adverse;
use test_server::hub::{FakeHub, Fault, TOKEN};
use test_server::{Request, text};

mod validated;

use validated::{no_data, project, train_again};

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
    command.args([
        "-v",
        "-v",
        "--set",
        "registry.huggingface_repo=team/rater",
        "--set",
        "registry.license=mit",
    ]);
    command.args(no_data(args)).args(args);
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
