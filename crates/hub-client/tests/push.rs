//! Pushing against a small in-memory Hub that refuses what the real one refuses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use http_client::{Options, Retry};
use hub_client::{Error, Hub, PushFile};
use project_files::with_causes;
use serde_json::{Value, json};
use test_server::{Answer, Request, Server, json};

#[derive(Default)]
struct State {
    commits: Vec<BTreeMap<String, Vec<u8>>>,
    objects: BTreeMap<String, Vec<u8>>,
    tags: BTreeMap<String, String>,
    /// Answers to coming commits that are lost after the work was done.
    lose_answers: usize,
    /// Commits that are answered with 429 and a wait of a second, or with 500.
    busy: usize,
    is_broken: bool,
    /// Tags are answered with a web page and not made.
    swallow_tags: bool,
    /// Where large files are to be verified.
    verify: Option<String>,
    /// Large files are to be sent in parts of that size, where it is not 0.
    part_size: usize,
    parts: BTreeMap<String, Vec<u8>>,
    /// Whether only its owners see the repository.
    is_private: bool,
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
        if self.busy > 0 {
            self.busy -= 1;
            let wait = vec![("Retry-After", "1".to_owned())];
            return if self.is_broken {
                json(500, &json!({"error": "broken"}))
            } else {
                Answer::Status(429, wait, Vec::new())
            };
        }
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

    /// A whole object, a part of one, or the order to put the parts together.
    fn store(&mut self, name: &str, request: &Request, body: &Value) -> Answer {
        match (request.method.as_str(), name.split_once("/part")) {
            ("PUT", None) => self.objects.insert(name.to_owned(), request.body.clone()),
            ("PUT", Some(_)) => {
                self.parts.insert(name.to_owned(), request.body.clone());
                return Answer::Status(200, vec![("ETag", format!("\"{name}\""))], Vec::new());
            }
            _ => {
                let etags = body["parts"].as_array().unwrap().iter();
                let names = etags.map(|part| part["etag"].as_str().unwrap().trim_matches('"').to_owned());
                let whole = names.flat_map(|name| self.parts[&name].clone()).collect();
                self.objects.insert(name.to_owned(), whole)
            }
        };
        json(200, &json!({}))
    }

    /// What is to be done with an object.
    fn actions(&self, base: &str, object: &Value) -> Value {
        let oid = object["oid"].as_str().unwrap();
        let href = format!("{}/storage/{oid}", base.replace("127.0.0.1", "localhost"));
        let mut header = json!({});
        if self.part_size > 0 {
            header["chunk_size"] = json!(self.part_size.to_string());
            for part in 1..=(object["size"].as_u64().unwrap() as usize).div_ceil(self.part_size) {
                header[part.to_string()] = json!(format!("{href}/part{part}"));
            }
        }
        let mut actions = json!({"upload": {"href": href, "header": header}});
        if let Some(verify) = &self.verify {
            actions["verify"] = json!({"href": verify});
        }
        json!({"oid": oid, "actions": actions})
    }

    #[allow(clippy::too_many_lines, reason = "one arm an address")]
    fn answer(&mut self, base: &str, request: &Request) -> Answer {
        let path = request.path.as_str();
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        if path.starts_with("/storage/") {
            assert!(!request.headers.contains_key("authorization"), "the token must not reach the storage");
            return self.store(path.trim_start_matches("/storage/"), request, &body);
        }
        if request.headers.get("authorization").map(String::as_str) != Some("Bearer hf_secret") {
            return json(401, &json!({"error": "Invalid credentials in Authorization header"}));
        }
        match path {
            "/api/models/team/m" => json(200, &json!({"id": "team/m", "private": self.is_private})),
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
                let objects = body["objects"].as_array().unwrap().iter();
                let objects: Vec<Value> = objects.map(|object| self.actions(base, object)).collect();
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
                if self.swallow_tags {
                    return test_server::text(200, "<html>Sign in</html>");
                }
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
    let server = start(0, &state).unwrap();
    let hub = connect(&server, "hf_secret");
    (server, state, hub)
}

fn start(port: u16, state: &Arc<Mutex<State>>) -> Option<Server> {
    let (shared, base) = (Arc::clone(state), Arc::new(Mutex::new(String::new())));
    let known = Arc::clone(&base);
    let server = Server::start_at(port, move |request| {
        let base = known.lock().unwrap().clone();
        shared.lock().unwrap().answer(&base, request)
    });
    let server = server.ok()?;
    base.lock().unwrap().clone_from(&server.base);
    Some(server)
}

fn connect(server: &Server, token: &str) -> Hub {
    let retry = Retry { attempts: 4, base: Duration::from_millis(20), ..Retry::default() };
    Hub::new(&server.base, Some(token), Options { retry, ..Options::default() }).unwrap()
}

fn files() -> Vec<PushFile> {
    let file = |path: &str, content: Vec<u8>| PushFile { path: path.to_owned(), content };
    vec![file("README.md", b"card".to_vec()), file("adapter_model.safetensors", vec![7; 5000])]
}

#[test]
fn a_push_is_one_commit_whose_files_were_read_back() {
    let (server, state, hub) = hub(State { is_private: true, ..State::default() });
    hub.create_repository("team/m", true).unwrap();
    let pushed = hub.push("team/m", &files(), "v1").unwrap();
    assert_eq!(pushed.commit, "c1");
    assert_eq!(state.lock().unwrap().commits.len(), 1);
    assert_eq!(state.lock().unwrap().commits[0]["adapter_model.safetensors"], vec![7; 5000]);
    assert_eq!(server.asked("GET", "/resolve/c1/").len(), 2, "both files are read back");
}

#[test]
fn a_public_repository_is_not_taken_for_a_private_one() {
    let (server, _state, hub) = hub(State::default());
    hub.create_repository("team/m", false).unwrap();
    assert!(matches!(hub.create_repository("team/m", true), Err(Error::Public { .. })));
    assert!(server.asked("POST", "").is_empty(), "nothing was changed");
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
    let error = connect(&server, "hf_wrong").push("team/m", &files(), "v1").unwrap_err();
    let words = with_causes(&error);
    assert!(
        words.contains("401") && words.contains("Invalid credentials") && !words.contains("hf_wrong"),
        "{words}"
    );
    assert_eq!(server.asked("POST", "/preupload/").len(), 1, "it is not tried again");
}

#[test]
fn a_busy_service_at_the_commit_is_waited_for_and_named_in_the_end() {
    let (server, state, hub) = hub(State { busy: 1, ..State::default() });
    let begun = std::time::Instant::now();
    assert_eq!(hub.push("team/m", &files(), "v1").unwrap().commit, "c1");
    assert!(begun.elapsed() >= Duration::from_secs(1), "the wait that it asked for");
    assert_eq!(state.lock().unwrap().commits.len(), 1);
    assert_eq!(server.asked("POST", "/commit/").len(), 2);

    let (_server, state, hub) = self::hub(State { busy: usize::MAX, is_broken: true, ..State::default() });
    let error = hub.push("team/m", &files(), "v1").unwrap_err();
    assert_eq!(error.status(), Some(500), "{}", with_causes(&error));
    assert!(state.lock().unwrap().commits.is_empty());
}

#[test]
fn a_tag_that_a_proxy_swallowed_is_no_tag() {
    let (_server, _state, hub) = hub(State { swallow_tags: true, ..State::default() });
    let error = hub.tag("team/m", "v1", "c1", "m").unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{}", with_causes(&error));
}

#[test]
fn an_lfs_address_at_another_port_never_gets_the_token() {
    for port in 1870..6500u16 {
        let Ok(other) = Server::start_at(port * 10, |_| json(200, &json!({}))) else { continue };
        let verify = format!("{}/verify?X-Signature=secret", other.base);
        let state = Arc::new(Mutex::new(State { verify: Some(verify), ..State::default() }));
        let Some(server) = start(port, &state) else { continue };
        assert!(other.base.starts_with(&server.base));
        connect(&server, "hf_secret").push("team/m", &files(), "v1").unwrap();
        assert_eq!(other.asked("POST", "/verify").len(), 1);
        assert!(other.requests().iter().all(|request| !request.headers.contains_key("authorization")));
        return;
    }
    unreachable!("no pair of free ports");
}

#[test]
fn parts_are_put_together_in_order() {
    let (_server, state, hub) = hub(State { part_size: 2000, ..State::default() });
    let content: Vec<u8> = (0..5000u32).map(|n| (n % 251) as u8).collect();
    let file = PushFile { path: "adapter_model.safetensors".to_owned(), content: content.clone() };
    hub.push("team/m", &[file], "v1").unwrap();
    assert_eq!(state.lock().unwrap().commits[0]["adapter_model.safetensors"], content);
}
