//! A strict stand-in of the service for tests: keeps runs, checks what arrives, and fails as it is told.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::assigning_clones,
    reason = "each test program uses a part of it"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use http_client::Retry;
use registry::wandb::{RunInfo, WandbOptions};
use serde_json::{Value, json};
use test_server::{Answer, Request, Server, json, text};

pub const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

/// A run at the service.
#[derive(Debug, Clone, Default)]
pub struct Run {
    pub history: Vec<String>,
    pub events: Vec<String>,
    pub console: Vec<String>,
    pub summary: String,
    pub config: Value,
    pub fields: BTreeMap<String, Value>,
    pub files: BTreeMap<String, Vec<u8>>,
    pub uploaded: BTreeSet<String>,
    pub state: String,
    pub exit_code: Option<i64>,
    /// Lines that were written a second time with other content.
    pub overwritten: usize,
    pub is_stopped: bool,
    /// Whether its machine was about to end it.
    pub is_preempting: bool,
}

impl Run {
    pub fn lines(&self) -> Vec<Value> {
        // A bare NaN, which the service takes, is no JSON.
        self.history
            .iter()
            .map(|line| serde_json::from_str(&line.replace(":NaN", ":null")).unwrap())
            .collect()
    }

    pub fn steps(&self) -> Vec<u64> {
        self.lines().iter().map(|line| line["_step"].as_u64().unwrap()).collect()
    }
}

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answered in place of the work.
    Instead(Answer),
    /// The work is done, and this is the answer.
    Afterwards(Answer),
}

/// What is asked for: an operation's name, `file_stream` or `put`.
pub fn endpoint(request: &Request) -> String {
    match request.plain_path() {
        "/graphql" => request.json()["operationName"].as_str().unwrap_or_default().to_owned(),
        path if path.ends_with("/file_stream") => "file_stream".to_owned(),
        _ => "put".to_owned(),
    }
}

#[derive(Default)]
struct State {
    runs: BTreeMap<String, Run>,
    is_revoked: bool,
    /// What the service refused as ill-formed: there must be none.
    complaints: Vec<String>,
}

/// The service.
pub struct Service {
    pub server: Server,
    state: Arc<Mutex<State>>,
}

impl Service {
    pub fn start() -> Self {
        Self::with_faults(|_| None)
    }

    pub fn with_faults(fault: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let kept = Arc::clone(&state);
        let server = Server::start(move |request| match fault(request) {
            Some(Fault::Instead(answer)) => answer,
            Some(Fault::Afterwards(answer)) => {
                handle(&mut lock(&kept), request);
                answer
            }
            None => handle(&mut lock(&kept), request),
        });
        Self { server, state }
    }

    pub fn run(&self, id: &str) -> Run {
        lock(&self.state).runs.get(id).cloned().unwrap_or_default()
    }

    pub fn ids(&self) -> Vec<String> {
        lock(&self.state).runs.keys().cloned().collect()
    }

    pub fn change(&self, id: &str, change: impl FnOnce(&mut Run)) {
        change(lock(&self.state).runs.entry(id.to_owned()).or_default());
    }

    pub fn revoke(&self, is_revoked: bool) {
        lock(&self.state).is_revoked = is_revoked;
    }

    /// What was ill-formed.
    pub fn complaints(&self) -> Vec<String> {
        lock(&self.state).complaints.clone()
    }

    pub fn options(&self, folder: &Path) -> WandbOptions {
        options(&self.server.base, folder)
    }
}

pub fn options(base: &str, folder: &Path) -> WandbOptions {
    let retry = Retry { base: Duration::from_millis(5), max: Duration::from_millis(40), ..Retry::default() };
    WandbOptions {
        base_url: base.to_owned(),
        api_key: Some(KEY.to_owned()),
        folder: folder.to_owned(),
        flush_interval: Duration::from_millis(15),
        finish_timeout: Duration::from_secs(20),
        http: http_client::Options { retry, ..http_client::Options::default() },
    }
}

pub fn info(run: &str) -> RunInfo {
    let config = BTreeMap::from([("training".to_owned(), json!({"learning_rate": 1e-4}))]);
    RunInfo { run: run.to_owned(), id: Some(run.to_owned()), config, ..RunInfo::default() }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refusal(status: u16, message: &str) -> Answer {
    json(status, &json!({"errors": [{"message": message}], "error": message}))
}

fn handle(state: &mut State, request: &Request) -> Answer {
    let expected = base64::engine::general_purpose::STANDARD.encode(format!("api:{KEY}"));
    let given = request.header("authorization");
    let path = request.plain_path();
    if let Some(rest) = path.strip_prefix("/storage/") {
        return put(state, request, rest);
    }
    if given != Some(&format!("Basic {expected}")) || state.is_revoked {
        return refusal(401, "user is not logged in");
    }
    let answer = if path == "/graphql" { graphql(state, request) } else { stream(state, request) };
    answer.unwrap_or_else(|complaint| {
        state.complaints.push(complaint.clone());
        refusal(400, &complaint)
    })
}

fn put(state: &mut State, request: &Request, rest: &str) -> Answer {
    let (id, name) = rest.split_once('/').unwrap();
    if request.header("authorization").is_some() || !request.path.ends_with("?signature=1") {
        state.complaints.push("a PUT with a key".to_owned());
        return text(400, "only one way to sign");
    }
    state.runs.entry(id.to_owned()).or_default().files.insert(name.to_owned(), request.body.clone());
    text(200, "")
}

fn graphql(state: &mut State, request: &Request) -> Result<Answer, String> {
    let body = request.json();
    let variables = &body["variables"];
    let text = |name: &str| variables[name].as_str().map(str::to_owned);
    let data = match body["operationName"].as_str().unwrap_or_default() {
        "RunResumeStatus" => {
            if text("entity").as_deref() == Some("someone-else") {
                return Ok(refusal(403, "permission denied"));
            }
            let id = text("name").ok_or("no name")?;
            let bucket = state.runs.get(&id).map(|run| {
                let tail: Vec<&String> = run.history.iter().rev().take(1).collect();
                json!({"id": "x", "historyLineCount": run.history.len(), "eventsLineCount": run.events.len(),
                    "logLineCount": run.console.len(), "historyTail": json!(tail).to_string(),
                    "config": run.config.to_string()})
            });
            json!({"model": {"bucket": bucket}})
        }
        "UpsertBucket" => upsert(state, variables)?,
        "CreateRunFiles" => {
            let id = text("run").ok_or("no run")?;
            let host = request.header("host").unwrap_or_default();
            let files = variables["files"].as_array().ok_or("no files")?.iter();
            let files: Vec<Value> = files
                .map(|name| {
                    let url = format!("http://{host}/storage/{id}/{}?signature=1", name.as_str().unwrap());
                    json!({"name": name, "uploadUrl": url})
                })
                .collect();
            json!({"createRunFiles": {"runID": "x", "uploadHeaders": ["X-Header:value"], "files": files}})
        }
        other => return Err(format!("unknown {other}")),
    };
    Ok(json(200, &json!({"data": data})))
}

fn upsert(state: &mut State, variables: &Value) -> Result<Value, String> {
    let id = variables["name"].as_str().ok_or("no name")?.to_owned();
    let is_new = !state.runs.contains_key(&id);
    let run = state.runs.entry(id.clone()).or_default();
    if let Some(config) = variables["config"].as_str() {
        let config: Value = serde_json::from_str(config).map_err(|error| error.to_string())?;
        if config.as_object().ok_or("no object")?.values().any(|entry| entry.get("value").is_none()) {
            return Err("a config entry without value".to_owned());
        }
        run.config = config;
    }
    for (name, value) in variables.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        run.fields.insert(name.clone(), value.clone());
    }
    run.state = variables["state"].as_str().unwrap_or("running").to_owned();
    let bucket = json!({"id": "x", "name": id, "historyLineCount": run.history.len(),
        "project": {"name": variables["project"], "entity": {"name": "team"}}});
    Ok(json!({"upsertBucket": {"inserted": is_new, "bucket": bucket}}))
}

fn stream(state: &mut State, request: &Request) -> Result<Answer, String> {
    let id = request.plain_path().split('/').nth(4).unwrap_or_default().to_owned();
    let Some(run) = state.runs.get_mut(&id) else { return Ok(refusal(404, "run not found")) };
    let body = request.json();
    let body = body.as_object().ok_or("no object")?;
    for (name, chunk) in body.get("files").and_then(Value::as_object).into_iter().flatten() {
        let offset = chunk["offset"].as_u64().ok_or("no offset")? as usize;
        let content: Vec<String> =
            serde_json::from_value(chunk["content"].clone()).map_err(|error| error.to_string())?;
        let stored = match name.as_str() {
            "wandb-history.jsonl" => &mut run.history,
            "wandb-events.jsonl" => &mut run.events,
            "output.log" => &mut run.console,
            "wandb-summary.json" => {
                run.summary.clone_from(&content[0]);
                continue;
            }
            other => return Err(format!("unknown stream {other}")),
        };
        if offset > stored.len() || content.is_empty() {
            return Err(format!("{name}: {offset} leaves a gap after {}", stored.len()));
        }
        for (index, line) in content.into_iter().enumerate() {
            match stored.get_mut(offset + index) {
                Some(old) => {
                    run.overwritten += usize::from(*old != line);
                    *old = line;
                }
                None => stored.push(line),
            }
        }
    }
    let steps = run.steps();
    if !steps.is_sorted_by(|a, b| a < b) {
        return Err(format!("steps that do not rise: {steps:?}"));
    }
    for name in body.get("uploaded").and_then(Value::as_array).into_iter().flatten() {
        run.uploaded.insert(name.as_str().ok_or("no name")?.to_owned());
    }
    if body.contains_key("complete") != body.contains_key("exitcode") {
        return Err("complete and exitcode go together".to_owned());
    }
    run.exit_code = body.get("exitcode").and_then(Value::as_i64);
    run.is_preempting |= body.get("preempting").is_some_and(|preempting| *preempting == true);
    run.state = match run.exit_code {
        None if run.is_preempting => "preempting",
        None => "running",
        Some(0) => "finished",
        Some(_) if run.is_preempting => "preempted",
        Some(_) => "failed",
    }
    .to_owned();
    let answer = json!({"exitcode": null, "limits": {}, "stopped": run.is_stopped});
    Ok(json(200, &answer))
}

/// The service has the steps, once each, with both values; nothing that it was sent was ill-formed.
pub fn assert_has(service: &Service, id: &str, steps: std::ops::RangeInclusive<u32>) {
    let run = service.run(id);
    assert_eq!(run.steps(), steps.map(u64::from).collect::<Vec<_>>());
    for line in run.lines() {
        let step = line["_step"].as_f64().unwrap();
        assert_eq!((line["train/loss"].as_f64(), line["eval/mae"].as_f64()), (Some(step / 4.0), Some(step)));
    }
    assert_eq!((run.overwritten, service.complaints()), (0, Vec::new()));
}

pub fn html(status: u16) -> Answer {
    let page = b"<!DOCTYPE html><html>please log in</html>".to_vec();
    Answer::Status(status, vec![("Content-Type", "text/html".to_owned())], page)
}
