use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_client::{Client, Credential, Options, Request, Retry, Timeouts, Url, asked_wait, join, segment};
use serde_json::{Map, Value, json};

use super::{RunInfo, WandbConfig};
use crate::{Error, Result};

const UPSERT: &str = "mutation UpsertBucket($name: String, $project: String, $entity: String, $displayName: String, \
    $config: JSONString, $host: String, $program: String, $jobType: String, $tags: [String!]) { \
    upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, displayName: $displayName, config: $config, \
    host: $host, jobProgram: $program, jobType: $jobType, tags: $tags}) { \
    bucket { id name project { name entity { name } } historyLineCount } inserted } }";

const RESUME: &str = "query RunResumeStatus($project: String, $entity: String, $name: String!) { \
    model(name: $project, entityName: $entity) { bucket(name: $name, missingOk: true) { \
    id historyLineCount historyTail summaryMetrics } } }";

const FILES: &str = "mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) { \
    createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) { \
    runID uploadHeaders files { name uploadUrl } } }";

/// Where a run stands, as the service names it.
#[derive(Debug, Clone)]
pub(super) struct RunAddress {
    pub(super) entity: String,
    pub(super) project: String,
    pub(super) run: String,
}

/// Where the streams of a run carry on.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub(super) history_lines: u64,
    pub(super) last_step: Option<u64>,
    pub(super) runtime: f64,
}

#[derive(Debug, Clone)]
pub(super) struct Api {
    /// Repeats what fails, and may be cancelled: for the start.
    init: Client,
    /// Sends once, and goes on to the end of the run: what is not taken is sent later.
    stream: Client,
    base: Url,
    credential: Credential,
}

impl Api {
    pub(super) fn new(base_url: &str, api_key: &str, http: &Options) -> Result<Self> {
        let base = http_client::parse(base_url).map_err(failed)?;
        let credential =
            Credential::new(&base, "Basic", &BASE64.encode(format!("api:{api_key}"))).map_err(failed)?;
        let timeouts = Timeouts { first_byte: Duration::from_secs(30), ..http.timeouts };
        let retry = Retry { attempts: 4, budget: Duration::from_mins(1), ..http.retry };
        let init = Client::new(Options { timeouts, retry, ..http.clone() }).map_err(failed)?;
        let quiet = Options { timeouts, retry: Retry::NONE, cancel: None, notify: None, ..http.clone() };
        let stream = Client::new(quiet).map_err(failed)?;
        Ok(Self { init, stream, base, credential })
    }

    /// Creates the run, or finds it where it is to be resumed.
    pub(super) fn start(&self, config: &WandbConfig, info: &RunInfo) -> Result<(RunAddress, Start)> {
        let start = if info.resume { self.resume_point(config, info)? } else { Start::default() };
        let mut entries: Map<String, Value> =
            info.config.iter().map(|(key, value)| (key.clone(), json!({"value": value}))).collect();
        entries.insert("_wandb".to_owned(), json!({"value": {"t": {"13": std::env::consts::OS}, "m": []}}));
        let name = if config.name.is_empty() { &info.id } else { &config.name };
        let variables = json!({
            "name": info.id, "project": config.project, "entity": optional(&config.entity), "displayName": name,
            "config": Value::Object(entries).to_string(), "host": info.host, "program": info.program, "jobType": "train",
            "tags": config.tags,
        });
        let data = self.graphql(&self.init, "UpsertBucket", UPSERT, &variables)?;
        let bucket = &data["upsertBucket"]["bucket"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let address = || {
            Some(RunAddress {
                entity: text(&bucket["project"]["entity"]["name"])?,
                project: text(&bucket["project"]["name"])?,
                run: text(&bucket["name"])?,
            })
        };
        let address = address().ok_or_else(|| protocol("no run in the answer"))?;
        Ok((address, start))
    }

    fn resume_point(&self, config: &WandbConfig, info: &RunInfo) -> Result<Start> {
        let variables =
            json!({"project": config.project, "entity": optional(&config.entity), "name": info.id});
        let data = self.graphql(&self.init, "RunResumeStatus", RESUME, &variables)?;
        let bucket = &data["model"]["bucket"];
        let tail: Vec<String> = bucket["historyTail"]
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let last: Value = tail.last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null);
        Ok(Start {
            history_lines: bucket["historyLineCount"].as_u64().unwrap_or(0),
            last_step: last["_step"].as_u64(),
            runtime: last["_runtime"].as_f64().unwrap_or(0.0),
        })
    }

    fn graphql(&self, client: &Client, operation: &str, query: &str, variables: &Value) -> Result<Value> {
        let body = json!({"query": query, "variables": variables, "operationName": operation});
        let answer = self.post(client, "/graphql", body.to_string())?;
        let mut parsed: Value = answer.json().map_err(failed)?;
        if parsed["errors"].as_array().is_some_and(|errors| !errors.is_empty()) {
            return Err(failed(answer.refusal()));
        }
        Ok(parsed["data"].take())
    }

    /// A successful answer.
    fn post(&self, client: &Client, path: &str, body: String) -> Result<http_client::Response> {
        let request = Request::post(join(&self.base, path).map_err(failed)?)
            .credential(Some(&self.credential))
            .header("Content-Type", "application/json")
            .map_err(failed)?
            .body(body.into_bytes());
        let answer = client.send(&request).map_err(failed)?;
        if answer.is_success() {
            return Ok(answer);
        }
        let (status, source) = (answer.status, answer.refusal());
        Err(Error::Refused { status, wait: asked_wait(&answer.headers, SystemTime::now()), source })
    }

    /// Sends a `file_stream` body once; the answer says whether somebody pressed Stop.
    pub(super) fn stream(&self, address: &RunAddress, body: &str) -> Result<bool> {
        let names = [&address.entity, &address.project, &address.run].map(|name| segment(name)).join("/");
        let answer = self.post(&self.stream, &format!("/files/{names}/file_stream"), body.to_owned())?;
        let parsed: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        Ok(parsed["stopped"].as_bool().unwrap_or(false))
    }

    /// Uploads one file to the address that the service signs for it.
    pub(super) fn upload(&self, address: &RunAddress, name: &str, content: &[u8]) -> Result<()> {
        let variables = json!({"entity": address.entity, "project": address.project, "run": address.run, "files": [name]});
        let data = self.graphql(&self.stream, "CreateRunFiles", FILES, &variables)?;
        let created = &data["createRunFiles"];
        let url = created["files"][0]["uploadUrl"].as_str().and_then(|url| self.base.join(url).ok());
        let url = url.ok_or_else(|| protocol("no upload address"))?;
        let retry = Retry { attempts: 4, budget: Duration::from_mins(1), ..Retry::default() };
        let mut request = Request::put(url).body(content.to_vec()).retry(retry);
        for header in created["uploadHeaders"].as_array().into_iter().flatten() {
            if let Some((name, value)) = header.as_str().and_then(|header| header.split_once(':')) {
                request = request.header(name, value.trim()).map_err(failed)?;
            }
        }
        let answer = self.stream.send(&request).map_err(failed)?;
        answer.success().map(drop).map_err(failed)
    }
}

/// What a failure of the way there means to a run.
fn failed(source: http_client::Error) -> Error {
    match source {
        http_client::Error::Refused { status, .. } => Error::Refused { status, wait: None, source },
        http_client::Error::Address { .. }
        | http_client::Error::Header { .. }
        | http_client::Error::Form { .. } => {
            Error::Protocol { reason: source.to_string(), source: Some(source) }
        }
        source => Error::Unreachable { source },
    }
}

fn protocol(reason: &str) -> Error {
    Error::Protocol { reason: reason.to_owned(), source: None }
}

fn optional(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
