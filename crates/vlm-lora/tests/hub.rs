//! Fetching from a small local stand-in for the Hub that answers as told, and from a real stand-in at
//! `$VLM_HUB_ENDPOINT` where one is given.

#![expect(clippy::unwrap_used, reason = "a stand-in that cannot answer fails its test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha1::Sha1;
use sha2::{Digest, Sha256};
use vlm_lora::Error;
use vlm_lora::hub::{HubOptions, fetch};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const WEIGHTS: &[u8] = b"these are the weights";
const CONFIG: &[u8] = b"{\"model_type\": \"idefics3\"}";

/// A request as it arrived: path, authorization, range.
type Seen = (String, Option<String>, Option<String>);
type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// Answers by path; the last answer of a path is repeated.
struct Server {
    endpoint: String,
    storage: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: Arc<Mutex<BTreeMap<String, Vec<Answer>>>>,
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn git_blob(content: &[u8]) -> String {
    hex(Sha1::new().chain_update(format!("blob {}\0", content.len())).chain_update(content).finalize())
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, answers) =
            (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<Mutex<BTreeMap<String, Vec<Answer>>>>::default());
        let server = Self {
            endpoint: format!("http://127.0.0.1:{port}"),
            storage: format!("http://localhost:{port}"),
            seen: Arc::clone(&seen),
            answers: Arc::clone(&answers),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &seen, &answers);
            }
        });
        server.answer(
            "/api/models/o/n/revision/main",
            200,
            &[],
            format!("{{\"sha\": \"{COMMIT}\"}}").as_bytes(),
        );
        let listing = serde_json::json!([
            {"type": "file", "path": "config.json", "size": CONFIG.len(), "oid": git_blob(CONFIG)},
            {"type": "file", "path": "model.safetensors", "size": 134, "oid": "0".repeat(40),
                "lfs": {"oid": hex(Sha256::digest(WEIGHTS)), "size": WEIGHTS.len(), "pointerSize": 134}},
            {"type": "directory", "path": "onnx", "oid": "0".repeat(40), "size": 0},
            {"type": "file", "path": "README.md", "size": 3, "oid": "0".repeat(40)},
        ]);
        server.answer(&format!("/api/models/o/n/tree/{COMMIT}"), 200, &[], listing.to_string().as_bytes());
        server.answer(&resolve("config.json"), 200, &[], CONFIG);
        let signed = format!("{}/cdn/model?signature=secret", server.storage);
        server.answer(&resolve("model.safetensors"), 302, &[("location", signed)], b"moved");
        server.answer("/cdn/model?signature=secret", 200, &[], WEIGHTS);
        server
    }

    /// Replaces what a path answers.
    fn answer(&self, path: &str, status: u16, headers: &[(&'static str, String)], body: &[u8]) {
        self.sequence(path, vec![(status, headers.to_vec(), body.to_vec())]);
    }

    fn sequence(&self, path: &str, mut answers: Vec<Answer>) {
        answers.reverse();
        self.answers.lock().unwrap().insert(path.to_owned(), answers);
    }

    fn requests(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    fn options(&self, cache: &Path) -> HubOptions {
        HubOptions {
            endpoint: self.endpoint.clone(),
            token: Some("hf_secret".to_owned()),
            cache_dir: cache.to_owned(),
            offline: false,
        }
    }
}

fn resolve(file: &str) -> String {
    format!("/o/n/resolve/{COMMIT}/{file}")
}

fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Seen>>,
    answers: &Mutex<BTreeMap<String, Vec<Answer>>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let path = lines.next().unwrap()?.split(' ').nth(1).unwrap().to_owned();
    let headers: BTreeMap<String, String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(key, value)| (key.to_lowercase(), value.to_owned())))
        .collect();
    seen.lock().unwrap().push((
        path.clone(),
        headers.get("authorization").cloned(),
        headers.get("range").cloned(),
    ));
    let (status, extra, body) = {
        let mut answers = answers.lock().unwrap();
        match answers.get_mut(&path) {
            Some(list) if list.len() > 1 => list.pop().unwrap(),
            Some(list) => list[0].clone(),
            None => (404, Vec::new(), Vec::new()),
        }
    };
    write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\n")?;
    if !extra.iter().any(|(key, _)| *key == "content-length") {
        write!(stream, "content-length: {}\r\n", body.len())?;
    }
    for (key, value) in extra {
        write!(stream, "{key}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(&body)
}

fn blobs(cache: &Path) -> usize {
    std::fs::read_dir(cache.join("models--o--n/blobs")).map_or(0, Iterator::count)
}

#[test]
fn a_checkpoint_is_fetched_once_checked_and_found_offline() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    let mut options = server.options(cache.path());
    let folder = fetch("o/n", None, &options).unwrap();
    assert!(folder.ends_with(format!("models--o--n/snapshots/{COMMIT}")));
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), WEIGHTS);
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), CONFIG);
    assert!(!folder.join("README.md").exists());
    for (path, authorization, _) in server.requests() {
        let expected = (!path.starts_with("/cdn/")).then_some("Bearer hf_secret");
        assert_eq!(authorization.as_deref(), expected, "{path}");
    }

    assert_eq!(fetch("o/n", None, &options).unwrap(), folder);
    assert!(server.requests().iter().all(|(path, ..)| path.starts_with("/api/")), "nothing is fetched twice");

    options.offline = true;
    assert_eq!(fetch("o/n", None, &options).unwrap(), folder);
    assert_eq!(fetch("o/n", Some(COMMIT), &options).unwrap(), folder);
    assert!(server.requests().is_empty());
    std::fs::write(folder.join("model.safetensors"), b"these are other weigh").unwrap();
    let error = fetch("o/n", None, &options).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");

    options.offline = false;
    let mended = fetch("o/n", None, &options).unwrap();
    assert_eq!(std::fs::read(mended.join("model.safetensors")).unwrap(), WEIGHTS);
}

#[test]
fn what_is_wrong_never_becomes_a_file() {
    let cdn = "/cdn/model?signature=secret";
    let cases: [(&str, u16, &[u8], &str); 4] = [
        (cdn, 200, b"these are the wEights", "hash"),
        (cdn, 200, b"these are the weights and more", "longer"),
        (cdn, 403, b"<Error>expired</Error>", "403"),
        (&resolve("config.json"), 401, b"{\"error\": \"no\"}", "token"),
    ];
    for (path, status, body, named) in cases {
        let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
        server.answer(path, status, &[], body);
        let error = fetch("o/n", None, &server.options(cache.path())).unwrap_err();
        assert!(matches!(error, Error::Hub { .. }) && error.to_string().contains(named), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(blobs(cache.path()) <= 1 && !cache.path().join("models--o--n/refs/main").exists());
    }
}

#[test]
fn a_body_that_breaks_off_is_taken_up_where_it_ended() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    let whole = ("content-length", WEIGHTS.len().to_string());
    server.sequence(
        "/cdn/model?signature=secret",
        vec![
            (200, vec![whole], WEIGHTS[..9].to_vec()),
            (503, vec![("retry-after", "0".to_owned())], Vec::new()),
            (206, Vec::new(), WEIGHTS[9..].to_vec()),
        ],
    );
    let folder = fetch("o/n", None, &server.options(cache.path())).unwrap();
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), WEIGHTS);
    let ranges: Vec<Option<String>> = server
        .requests()
        .into_iter()
        .filter(|(path, ..)| path.starts_with("/cdn/"))
        .map(|(_, _, range)| range)
        .collect();
    assert_eq!(ranges, [None, Some("bytes=9-".to_owned()), Some("bytes=9-".to_owned())]);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    for id in ["", "name", "../..", "a/b/c", "a/..", "a/b?c", ".a/b"] {
        assert!(fetch(id, None, &server.options(cache.path())).is_err(), "{id}");
    }
    assert!(fetch("o/n", Some("../../x"), &server.options(cache.path())).is_err());
    assert!(server.requests().is_empty());
    let listing =
        serde_json::json!([{"type": "file", "path": "../evil.json", "size": 1, "oid": git_blob(b"x")}]);
    server.answer(&format!("/api/models/o/n/tree/{COMMIT}"), 200, &[], listing.to_string().as_bytes());
    let error = fetch("o/n", None, &server.options(cache.path())).unwrap_err().to_string();
    assert!(error.contains("no safetensors"), "{error}");
}

/// With `VLM_HUB_ENDPOINT`, `VLM_HUB_REPO` and `VLM_HUB_TOKEN` set: the repository is fetched twice, then found offline.
#[test]
#[ignore = "needs a server: VLM_HUB_ENDPOINT, VLM_HUB_REPO"]
fn a_stand_in_of_the_hub_serves_a_repository() {
    let variable = |name| std::env::var(name).ok();
    let (endpoint, id) = (variable("VLM_HUB_ENDPOINT").unwrap(), variable("VLM_HUB_REPO").unwrap());
    let cache = tempfile::tempdir().unwrap();
    let token = variable("VLM_HUB_TOKEN");
    let mut options = HubOptions { endpoint, token, cache_dir: cache.path().to_owned(), offline: false };
    let folder = fetch(&id, None, &options).unwrap();
    assert!(vlm_lora::Checkpoint::open(&folder).is_ok());
    assert_eq!(fetch(&id, None, &options).unwrap(), folder);
    options.offline = true;
    assert_eq!(fetch(&id, None, &options).unwrap(), folder);
}
