//! A small Hub: one repository `o/n` with a regular and a large file, the large one at a storage with another origin.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its part, and fails by panicking"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use durable_files::{hex, sha256_hex};
use http_client::{Options, Retry};
use hub_client::HubOptions;
use serde_json::json;
use sha1::{Digest, Sha1};
use test_server::{Answer, Request, Server, ranged};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const CONFIG: &[u8] = b"{\"model_type\": \"idefics3\"}";
pub const MODEL: &str = "/o/n/resolve/0123456789abcdef0123456789abcdef01234567/model.safetensors";
pub const CDN: &str = "/cdn/model?X-Signature=secret";

/// Large enough to be cut.
pub fn weights() -> Vec<u8> {
    (0..400_000u32).map(|n| (n * 31 % 251) as u8).collect()
}

pub fn git_blob(content: &[u8]) -> String {
    hex(&Sha1::new().chain_update(format!("blob {}\0", content.len())).chain_update(content).finalize())
}

pub struct FakeHub {
    pub server: Server,
    pub storage: Arc<Server>,
}

/// How a fake Hub differs from a good one.
#[derive(Clone, Copy, Default)]
pub struct Kind {
    pub is_private: bool,
}

impl FakeHub {
    /// Both servers ask `hook` first.
    pub fn start(kind: Kind, hook: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let hook = Arc::new(hook);
        let storage_hook = Arc::clone(&hook);
        let storage = Arc::new(Server::start(move |request| {
            if request.header("authorization").is_some() {
                return test_server::text(400, "only one proof is taken");
            }
            storage_hook(request).unwrap_or_else(|| match request.path.as_str() {
                CDN => ranged(request, vec![("ETag", "\"storage\"".to_owned())], &weights()),
                _ => test_server::text(404, ""),
            })
        }));
        let location = format!("{}{CDN}", storage.base);
        let server = Server::start(move |request| {
            if kind.is_private && request.header("authorization") != Some("Bearer hf_secret") {
                return Answer::Status(401, vec![("X-Error-Code", "RepoNotFound".to_owned())], Vec::new());
            }
            hook(request).unwrap_or_else(|| answer(request, kind, &location))
        });
        Self { server, storage }
    }

    pub fn good() -> Self {
        Self::start(Kind::default(), |_| None)
    }

    pub fn options(&self, cache: &Path) -> HubOptions {
        HubOptions {
            endpoint: self.server.base.clone(),
            token: Some("hf_secret".to_owned()),
            cache_dir: cache.to_owned(),
            offline: false,
        }
    }

    /// The requests for the content of the large file, at both places.
    pub fn content_requests(&self) -> Vec<Request> {
        let mut requests = self.server.asked("GET", "/resolve/");
        requests.extend(self.storage.requests());
        requests
    }
}

fn answer(request: &Request, kind: Kind, location: &str) -> Answer {
    let weights = weights();
    let commit = ("X-Repo-Commit", COMMIT.to_owned());
    let path = request.plain_path();
    if path == "/api/models/o/n/revision/main" || path == format!("/api/models/o/n/revision/{COMMIT}") {
        return test_server::json(
            200,
            &json!({"id": "o/n", "sha": COMMIT, "private": kind.is_private, "gated": false,
            "siblings": [{"rfilename": "config.json"}, {"rfilename": "model.safetensors"}]}),
        );
    }
    if path == format!("/api/models/o/n/tree/{COMMIT}") {
        return test_server::json(
            200,
            &json!([
                {"type": "file", "path": "config.json", "size": CONFIG.len(), "oid": git_blob(CONFIG)},
                {"type": "file", "path": "model.safetensors", "size": 134, "oid": "0".repeat(40),
                    "lfs": {"oid": sha256_hex(&weights), "size": weights.len(), "pointerSize": 134}},
                {"type": "directory", "path": "onnx", "oid": "0".repeat(40), "size": 0},
                {"type": "file", "path": "README.md", "size": 3, "oid": "0".repeat(40)},
            ]),
        );
    }
    let file = path.strip_prefix("/o/n/resolve/").and_then(|rest| rest.split_once('/')).map(|(_, file)| file);
    match file {
        Some("config.json") => {
            ranged(request, vec![commit, ("ETag", format!("\"{}\"", git_blob(CONFIG)))], CONFIG)
        }
        Some("model.safetensors") => {
            let headers = vec![
                commit,
                ("Location", location.to_owned()),
                ("X-Linked-ETag", format!("\"{}\"", sha256_hex(&weights))),
                ("X-Linked-Size", weights.len().to_string()),
            ];
            Answer::Status(302, headers, b"moved".to_vec())
        }
        _ => Answer::Status(404, vec![("X-Error-Code", "EntryNotFound".to_owned())], Vec::new()),
    }
}

/// Quick repetitions.
pub fn quick() -> Options {
    let retry = Retry { attempts: 4, base: Duration::from_millis(10), ..Retry::default() };
    Options { retry, ..Options::default() }
}
