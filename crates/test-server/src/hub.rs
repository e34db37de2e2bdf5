//! A strict Hugging Face Hub in memory: repositories with branches, tags and whole trees, LFS at a storage of another origin, and
//! faults before or after any request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use crate::{Answer, Request, Server, json, lock};

/// The token that the fake takes.
pub const TOKEN: &str = "hf_secret";
/// Names ending like this are large files.
const LARGE: &str = ".safetensors";
const ATTRIBUTES: &str = ".gitattributes";

/// The files of a commit.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// One repository.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    /// Whether only its owners see it.
    pub is_private: bool,
    /// Commits by id.
    pub commits: BTreeMap<String, Tree>,
    /// Commits by branch.
    pub branches: BTreeMap<String, String>,
    /// Commits by tag.
    pub tags: BTreeMap<String, String>,
    /// Every tree that `main` got after the first one, and whether a tag stood on an equal one by then.
    pub served: Vec<(Tree, bool)>,
}

impl Repository {
    /// A repository as the Hub makes it: `main` with its attributes alone.
    pub fn new(is_private: bool) -> Self {
        let mut repository = Self { is_private, ..Self::default() };
        let tree = Tree::from([(ATTRIBUTES.to_owned(), b"*.safetensors filter=lfs\n".to_vec())]);
        repository.commit("main", tree);
        repository
    }

    /// The files of a branch, a tag or a commit, without the attributes.
    pub fn tree(&self, revision: &str) -> Option<Tree> {
        let mut tree = self.commits.get(self.resolve(revision)?)?.clone();
        tree.remove(ATTRIBUTES);
        Some(tree)
    }

    fn resolve(&self, revision: &str) -> Option<&String> {
        let named = self.branches.get(revision).or_else(|| self.tags.get(revision));
        named.or_else(|| self.commits.get_key_value(revision).map(|(id, _)| id))
    }

    /// Puts a commit on a branch, as somebody else might.
    pub fn commit(&mut self, branch: &str, tree: Tree) -> String {
        let id = hex(&Sha1::digest(format!("{} {branch} {tree:?}", self.commits.len())));
        if branch == "main" && !self.commits.is_empty() {
            let tagged = self.tags.values().any(|tagged| self.commits[tagged] == tree);
            let mut shown = tree.clone();
            shown.remove(ATTRIBUTES);
            self.served.push((shown, tagged));
        }
        self.commits.insert(id.clone(), tree);
        self.branches.insert(branch.to_owned(), id.clone());
        id
    }
}

/// What the fake holds.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// By `owner/name`.
    pub repositories: BTreeMap<String, Repository>,
    /// Large files by SHA-256.
    pub objects: BTreeMap<String, Vec<u8>>,
}

/// What is to happen to a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is answered as usual.
    None,
    /// This is answered, and nothing is done.
    Instead(Answer),
    /// It is done, and this is answered.
    Afterwards(Answer),
}

type Hook = Box<dyn FnMut(&Request) -> Fault + Send>;
/// What answers the requests of a server.
type Handler = Box<dyn Fn(&Request) -> Answer + Send + Sync>;

/// The fake, with its storage.
pub struct FakeHub {
    /// The Hub's own server.
    pub server: Server,
    /// The server of the storage, another origin.
    pub storage: Server,
    state: Arc<Mutex<State>>,
    hook: Arc<Mutex<Hook>>,
}

impl FakeHub {
    /// Starts it, without any repository.
    pub fn start() -> Self {
        Self::on(|handler| Server::start(handler))
    }

    /// The same at `https` addresses.
    #[cfg(feature = "tls")]
    pub fn start_tls(authority: &crate::Authority) -> Self {
        Self::on(|handler| Server::start_tls(authority, handler))
    }

    /// With servers that `serve` starts.
    fn on(serve: impl Fn(Handler) -> Server) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let hook: Arc<Mutex<Hook>> = Arc::new(Mutex::new(Box::new(|_: &Request| Fault::None)));
        let (objects, faults) = (Arc::clone(&state), Arc::clone(&hook));
        let storage = serve(Box::new(move |request| {
            let fault = (*lock(&faults))(request);
            with_fault(fault, || store(&mut lock(&objects), request))
        }));
        let storage_base = storage.base.clone();
        let (shared, faults) = (Arc::clone(&state), Arc::clone(&hook));
        let server = serve(Box::new(move |request| {
            let fault = (*lock(&faults))(request);
            with_fault(fault, || answer(&mut lock(&shared), &storage_base, request))
        }));
        Self { server, storage, state, hook }
    }

    /// Asks `hook` about every request from now on, at both servers.
    pub fn on_request(&self, hook: impl FnMut(&Request) -> Fault + Send + 'static) {
        *lock(&self.hook) = Box::new(hook);
    }

    /// Answers every request as usual again.
    pub fn heal(&self) {
        self.on_request(|_| Fault::None);
    }

    /// A copy of what it holds.
    pub fn state(&self) -> State {
        lock(&self.state).clone()
    }

    /// Puts back, or changes, what it holds.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
    }

    /// A copy of a repository; an empty one where there is none.
    pub fn repository(&self, id: &str) -> Repository {
        lock(&self.state).repositories.get(id).cloned().unwrap_or_default()
    }
}

fn with_fault(fault: Fault, work: impl FnOnce() -> Answer) -> Answer {
    match fault {
        Fault::None => work(),
        Fault::Instead(answer) => answer,
        Fault::Afterwards(answer) => {
            work();
            answer
        }
    }
}

fn store(state: &mut State, request: &Request) -> Answer {
    if request.header("authorization").is_some() {
        return refusal(400, "", "only one proof is taken");
    }
    let oid = request.plain_path().trim_start_matches('/').to_owned();
    match request.method.as_str() {
        "PUT" if hex(&Sha256::digest(&request.body)) == oid => {
            state.objects.insert(oid, request.body.clone());
            json(200, &json!({}))
        }
        "GET" => match state.objects.get(&oid) {
            Some(content) => Answer::Status(200, vec![], content.clone()),
            None => refusal(404, "", "no such object"),
        },
        _ => refusal(400, "", "the content does not have this name"),
    }
}

fn refusal(status: u16, code: &'static str, error: &str) -> Answer {
    let headers = vec![("X-Error-Code", code.to_owned())];
    Answer::Status(status, headers, json!({"error": error}).to_string().into_bytes())
}

fn missing(what: &'static str) -> Answer {
    refusal(404, what, "not found")
}

fn answer(state: &mut State, storage: &str, request: &Request) -> Answer {
    if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return refusal(401, "", "Invalid credentials in Authorization header");
    }
    let path: Vec<String> = request
        .plain_path()
        .trim_start_matches('/')
        .split('/')
        .map(|part| part.replace("%2F", "/"))
        .collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match (request.method.as_str(), path.as_slice()) {
        ("POST", ["api", "repos", "create"]) => create(state, &request.json()),
        (_, ["api", "models", owner, name, rest @ ..]) => {
            let State { repositories, objects } = state;
            match repositories.get_mut(&format!("{owner}/{name}")) {
                Some(repository) => of_repository(repository, objects, request, rest),
                None => missing("RepoNotFound"),
            }
        }
        ("POST", [owner, name, "info", "lfs", "objects", "batch"]) => {
            let id = format!("{owner}/{}", name.trim_end_matches(".git"));
            if state.repositories.contains_key(&id) {
                batch(&state.objects, storage, request)
            } else {
                missing("RepoNotFound")
            }
        }
        ("GET", [owner, name, "resolve", revision, file @ ..]) => {
            let Some(repository) = state.repositories.get(&format!("{owner}/{name}")) else {
                return missing("RepoNotFound");
            };
            let Some(commit) = repository.resolve(revision) else { return missing("RevisionNotFound") };
            match repository.commits[commit].get(&file.join("/")) {
                Some(content) if file.join("/").ends_with(LARGE) => {
                    crate::redirect(302, format!("{storage}/{}", hex(&Sha256::digest(content))))
                }
                Some(content) => Answer::Status(200, vec![], content.clone()),
                None => missing("EntryNotFound"),
            }
        }
        _ => refusal(404, "", "no such address"),
    }
}

fn create(state: &mut State, body: &Value) -> Answer {
    let text = |key: &str| body[key].as_str().unwrap_or_default();
    let id = format!("{}/{}", text("organization"), text("name"));
    if state.repositories.contains_key(&id) {
        return refusal(409, "", "You already created this model repo");
    }
    let is_private = body["private"] == json!(true);
    state.repositories.insert(id.clone(), Repository::new(is_private));
    json(200, &json!({"url": format!("https://hub/{id}")}))
}

fn of_repository(
    repository: &mut Repository,
    objects: &BTreeMap<String, Vec<u8>>,
    request: &Request,
    rest: &[&str],
) -> Answer {
    let body = request.json();
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            json(200, &json!({"private": repository.is_private, "sha": repository.branches.get("main")}))
        }
        ("GET", ["refs"]) => {
            let list = |refs: &BTreeMap<String, String>| -> Vec<Value> {
                refs.iter().map(|(name, commit)| json!({"name": name, "targetCommit": commit})).collect()
            };
            json(200, &json!({"branches": list(&repository.branches), "tags": list(&repository.tags)}))
        }
        ("GET", ["tree", revision]) => match repository.resolve(revision) {
            Some(commit) => json(200, &json!(listing(&repository.commits[commit]))),
            None => missing("RevisionNotFound"),
        },
        ("POST", ["preupload", branch]) => preupload(repository, branch, &body),
        ("POST", ["commit", branch]) => commit(repository, objects, branch, request),
        ("POST", ["tag", revision]) => match repository.resolve(revision).cloned() {
            _ if repository.tags.contains_key(&text("tag")) => refusal(409, "", "Tag exists"),
            Some(commit) => {
                repository.tags.insert(text("tag"), commit);
                json(200, &json!({}))
            }
            None => missing("RevisionNotFound"),
        },
        ("POST", ["branch", branch]) => match repository.resolve(&text("startingPoint")).cloned() {
            _ if repository.branches.contains_key(*branch) => refusal(409, "", "Branch exists"),
            Some(commit) => {
                repository.branches.insert((*branch).to_owned(), commit);
                json(200, &json!({}))
            }
            None => missing("RevisionNotFound"),
        },
        ("DELETE", ["branch", branch]) if *branch != "main" => match repository.branches.remove(*branch) {
            Some(_) => json(200, &json!({})),
            None => missing("RevisionNotFound"),
        },
        _ => refusal(404, "", "no such address"),
    }
}

fn listing(tree: &Tree) -> Vec<Value> {
    tree.iter()
        .map(|(path, content)| {
            let blob = Sha1::new().chain_update(format!("blob {}\0", content.len()));
            let oid = hex(&blob.chain_update(content).finalize());
            let mut entry = json!({"type": "file", "path": path, "size": content.len(), "oid": oid});
            if path.ends_with(LARGE) {
                entry["lfs"] = json!({"oid": hex(&Sha256::digest(content)), "size": content.len()});
            }
            entry
        })
        .collect()
}

fn preupload(repository: &Repository, branch: &str, body: &Value) -> Answer {
    let Some(head) = repository.branches.get(branch) else { return missing("RevisionNotFound") };
    let files = body["files"].as_array().cloned().unwrap_or_default();
    let files: Vec<Value> = files
        .iter()
        .map(|file| {
            let is_large = file["path"].as_str().unwrap_or_default().ends_with(LARGE);
            json!({"path": file["path"], "uploadMode": if is_large { "lfs" } else { "regular" }})
        })
        .collect();
    json(200, &json!({"commitOid": head, "files": files}))
}

fn batch(objects: &BTreeMap<String, Vec<u8>>, storage: &str, request: &Request) -> Answer {
    let asked = request.json()["objects"].as_array().cloned().unwrap_or_default();
    let answers: Vec<Value> = asked
        .iter()
        .map(|object| {
            let oid = object["oid"].as_str().unwrap_or_default();
            if objects.contains_key(oid) {
                json!({"oid": oid})
            } else {
                json!({"oid": oid, "actions": {"upload": {"href": format!("{storage}/{oid}"), "header": {}}}})
            }
        })
        .collect();
    json(200, &json!({"transfer": "basic", "objects": answers}))
}

fn commit(
    repository: &mut Repository,
    objects: &BTreeMap<String, Vec<u8>>,
    branch: &str,
    request: &Request,
) -> Answer {
    let Some(head) = repository.branches.get(branch).cloned() else { return missing("RevisionNotFound") };
    let lines: Option<Vec<Value>> =
        request.body.split(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).ok()).collect();
    let Some((header, lines)) = lines.as_deref().and_then(<[Value]>::split_first) else {
        return refusal(400, "", "not a commit");
    };
    if header["value"]["summary"].as_str().unwrap_or_default().is_empty() {
        return refusal(400, "", "a commit needs a summary");
    }
    if header["value"]["parentCommit"] != json!(head) {
        return refusal(412, "", "A commit has happened since. Please refresh and try again.");
    }
    let mut tree = repository.commits[&head].clone();
    let mut touched = BTreeSet::new();
    for line in lines {
        let value = &line["value"];
        let path = value["path"].as_str().unwrap_or_default().to_owned();
        if path.is_empty() || !touched.insert(path.clone()) {
            return refusal(400, "", "a path is missing or named twice");
        }
        let content = match line["key"].as_str() {
            Some("file") if !path.ends_with(LARGE) => {
                BASE64.decode(value["content"].as_str().unwrap_or_default()).ok()
            }
            Some("lfsFile") => objects.get(value["oid"].as_str().unwrap_or_default()).cloned(),
            Some("deletedFile") if tree.remove(&path).is_some() => continue,
            _ => None,
        };
        match content {
            Some(content) => tree.insert(path, content),
            None => return refusal(400, "", "a file that is not stored, or may not come this way"),
        };
    }
    let id = repository.commit(branch, tree);
    json(200, &json!({"success": true, "commitOid": id}))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
