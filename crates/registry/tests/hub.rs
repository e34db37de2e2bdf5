//! Pushing against a small in-memory Hub that refuses what the real one refuses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use registry::Error;
use registry::hub::{Hub, HubOptions, PushFile};
use serde_json::{Value, json};
use support::{Answer, Request, Server, json};

#[derive(Default)]
struct State {
    commits: Vec<BTreeMap<String, Vec<u8>>>,
    objects: BTreeMap<String, Vec<u8>>,
    tags: BTreeMap<String, String>,
    /// Answers to coming commits that are lost after the work was done.
    lose_answers: usize,
    /// Commits by somebody else that come between preupload and commit.
    intruders: usize,
}

impl State {
    fn head(&self) -> String {
        format!("c{}", self.commits.len())
    }

    fn commit(&mut self, request: &Request) -> Answer {
        let lines: Vec<Value> =
            request.body.split(|b| *b == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
        if self.intruders > 0 {
            self.intruders -= 1;
            self.commits.push(BTreeMap::new());
        }
        if lines[0]["value"]["parentCommit"] != json!(self.head()) {
            return json(
                412,
                &json!({"error": "A commit has happened since. Please refresh and try again."}),
            );
        }
        let mut files = BTreeMap::new();
        for line in &lines[1..] {
            let value = &line["value"];
            let path = value["path"].as_str().unwrap().to_owned();
            let content = match line["key"].as_str().unwrap() {
                "file" => base64::engine::general_purpose::STANDARD
                    .decode(value["content"].as_str().unwrap())
                    .unwrap(),
                _ => match self.objects.get(value["oid"].as_str().unwrap()) {
                    Some(content) => content.clone(),
                    None => {
                        return json(
                            400,
                            &json!({"error": "an LFS pointer pointed to a file that does not exist"}),
                        );
                    }
                },
            };
            files.insert(path, content);
        }
        self.commits.push(files);
        if self.lose_answers > 0 {
            self.lose_answers -= 1;
            return Answer::Lost;
        }
        json(200, &json!({"success": true, "commitOid": self.head()}))
    }

    #[allow(clippy::too_many_lines, reason = "one arm an address")]
    fn answer(&mut self, base: &str, request: &Request) -> Answer {
        let path = request.path.as_str();
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        if path.starts_with("/storage/") {
            assert!(!request.headers.contains_key("authorization"), "the token must not reach the storage");
            if request.method == "PUT" {
                self.objects.insert(path.trim_start_matches("/storage/").to_owned(), request.body.clone());
            }
            return json(200, &json!({}));
        }
        if request.headers.get("authorization").map(String::as_str) != Some("Bearer hf_secret") {
            return json(401, &json!({"error": "Invalid credentials in Authorization header"}));
        }
        match path {
            "/api/repos/create" => json(409, &json!({"error": "You already created this model repo"})),
            "/api/models/team/m/preupload/main" => {
                let mode = |file: &Value| if file["size"].as_u64() > Some(1000) { "lfs" } else { "regular" };
                let files: Vec<Value> = body["files"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|file| json!({"path": file["path"], "uploadMode": mode(file)}))
                    .collect();
                json(200, &json!({"commitOid": self.head(), "files": files}))
            }
            "/team/m.git/info/lfs/objects/batch" => {
                let objects: Vec<Value> = body["objects"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|object| {
                        let href = format!(
                            "{}/storage/{}",
                            base.replace("127.0.0.1", "localhost"),
                            object["oid"].as_str().unwrap()
                        );
                        json!({"oid": object["oid"], "actions": {"upload": {"href": href, "header": {}}}})
                    })
                    .collect();
                json(200, &json!({"transfer": "basic", "objects": objects}))
            }
            "/api/models/team/m/commit/main" => self.commit(request),
            "/api/models/team/m/refs" => {
                let tags: Vec<Value> =
                    self.tags.iter().map(|(n, c)| json!({"name": n, "targetCommit": c})).collect();
                json(200, &json!({"branches": [{"name": "main", "targetCommit": self.head()}], "tags": tags}))
            }
            _ if path.starts_with("/api/models/team/m/tag/") => {
                let tag = body["tag"].as_str().unwrap().to_owned();
                if self.tags.contains_key(&tag) {
                    return json(409, &json!({"error": "Tag exists"}));
                }
                self.tags.insert(tag, path.rsplit('/').next().unwrap().to_owned());
                json(200, &json!({}))
            }
            _ => match path.strip_prefix("/team/m/resolve/c").and_then(|rest| rest.split_once('/')) {
                Some((commit, name)) => {
                    let files = &self.commits[commit.parse::<usize>().unwrap() - 1];
                    files.get(name).map_or_else(
                        || json(404, &json!({"error": "Entry not found"})),
                        |content| Answer::Status(200, vec![], content.clone()),
                    )
                }
                None => json(404, &json!({"error": "not found"})),
            },
        }
    }
}

fn hub(state: State) -> (Server, Arc<Mutex<State>>, Hub) {
    let state = Arc::new(Mutex::new(state));
    let shared = Arc::clone(&state);
    let base = Arc::new(Mutex::new(String::new()));
    let base_for_handler = Arc::clone(&base);
    let server = Server::start(move |request| {
        let base = base_for_handler.lock().unwrap().clone();
        shared.lock().unwrap().answer(&base, request)
    });
    base.lock().unwrap().clone_from(&server.base);
    let options = HubOptions {
        endpoint: server.base.clone(),
        token: "hf_secret".to_owned(),
        patience: Duration::from_secs(5),
    };
    (server, state, Hub::new(&options))
}

fn files() -> Vec<PushFile> {
    let file = |path: &str, content: Vec<u8>| PushFile { path: path.to_owned(), content };
    vec![file("README.md", b"card".to_vec()), file("adapter_model.safetensors", vec![7; 5000])]
}

#[test]
fn a_push_is_one_commit_whose_files_were_read_back() {
    let (server, state, hub) = hub(State::default());
    hub.create_repository("team/m", true).unwrap();
    let pushed = hub.push("team/m", &files(), "v1").unwrap();
    assert_eq!(pushed.commit, "c1");
    assert_eq!(state.lock().unwrap().commits.len(), 1);
    assert_eq!(state.lock().unwrap().commits[0]["adapter_model.safetensors"], vec![7; 5000]);
    assert_eq!(server.asked("GET", "/resolve/c1/").len(), 2, "both files are read back");
}

#[test]
fn a_lost_answer_does_not_make_a_second_commit() {
    let (_server, state, hub) = hub(State { lose_answers: 1, ..State::default() });
    assert_eq!(hub.push("team/m", &files(), "v1").unwrap().commit, "c1");
    assert_eq!(state.lock().unwrap().commits.len(), 1);
}

#[test]
fn a_commit_from_elsewhere_is_built_upon() {
    let (_server, state, hub) = hub(State { intruders: 1, ..State::default() });
    assert_eq!(hub.push("team/m", &files(), "v1").unwrap().commit, "c2");
    assert_eq!(state.lock().unwrap().commits.len(), 2);
}

#[test]
fn a_tag_is_not_moved() {
    let (_server, _state, hub) = hub(State::default());
    hub.tag("team/m", "v1", "c1", "m").unwrap();
    hub.tag("team/m", "v1", "c1", "m").unwrap();
    assert!(matches!(hub.tag("team/m", "v1", "c2", "m"), Err(Error::Exists { .. })));
}

#[test]
fn a_refused_token_is_one_clear_message_without_the_token() {
    let (server, _state, _) = hub(State::default());
    let options = HubOptions {
        endpoint: server.base.clone(),
        token: "hf_wrong".to_owned(),
        patience: Duration::from_secs(5),
    };
    let error = Hub::new(&options).push("team/m", &files(), "v1").unwrap_err().to_string();
    assert!(
        error.contains("401") && error.contains("Invalid credentials") && !error.contains("hf_wrong"),
        "{error}"
    );
    assert_eq!(server.asked("POST", "/preupload/").len(), 1, "it is not tried again");
}
