use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::{RunInfo, WandbConfig};
use crate::Result;
use crate::http::{Call, Patience, Service, segment};

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
    init: Service,
    stream: Service,
}

impl Api {
    pub(super) fn new(base_url: &str, api_key: &str) -> Self {
        let authorization = format!("Basic {}", BASE64.encode(format!("api:{api_key}")));
        let init =
            Patience { retries: 3, base_delay: Duration::from_secs(1), budget: Duration::from_mins(1) };
        let service = |patience| {
            Service::new(
                "Weights & Biases",
                base_url,
                authorization.clone(),
                Duration::from_mins(1),
                patience,
            )
        };
        Self { init: service(init), stream: service(Patience::NONE) }
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
        let data = self.graphql("UpsertBucket", UPSERT, &variables)?;
        let bucket = &data["upsertBucket"]["bucket"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let address = || {
            Some(RunAddress {
                entity: text(&bucket["project"]["entity"]["name"])?,
                project: text(&bucket["project"]["name"])?,
                run: text(&bucket["name"])?,
            })
        };
        let address = address().ok_or_else(|| self.init.protocol("/graphql", "no run in the answer"))?;
        Ok((address, start))
    }

    fn resume_point(&self, config: &WandbConfig, info: &RunInfo) -> Result<Start> {
        let variables =
            json!({"project": config.project, "entity": optional(&config.entity), "name": info.id});
        let data = self.graphql("RunResumeStatus", RESUME, &variables)?;
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

    fn graphql(&self, operation: &str, query: &str, variables: &Value) -> Result<Value> {
        let body = json!({"query": query, "variables": variables, "operationName": operation}).to_string();
        let headers = [("Content-Type", "application/json".to_owned())];
        let call = Call {
            method: Method::POST,
            path: "/graphql",
            headers: &headers,
            body: body.as_bytes(),
            repeatable: true,
        };
        let answer = self.init.expect(&call)?;
        let mut parsed: Value = serde_json::from_slice(&answer.body)
            .map_err(|error| self.init.protocol("/graphql", error.to_string()))?;
        if parsed["errors"].as_array().is_some_and(|errors| !errors.is_empty()) {
            return Err(self.init.refusal(&call, &answer));
        }
        Ok(parsed["data"].take())
    }

    /// Sends a `file_stream` body once; the answer says whether somebody pressed Stop.
    pub(super) fn stream(&self, address: &RunAddress, body: &str) -> Result<bool> {
        let path = format!(
            "/files/{}/{}/{}/file_stream",
            segment(&address.entity),
            segment(&address.project),
            segment(&address.run)
        );
        let headers = [("Content-Type", "application/json".to_owned())];
        let call = Call {
            method: Method::POST,
            path: &path,
            headers: &headers,
            body: body.as_bytes(),
            repeatable: false,
        };
        let answer = self.stream.expect(&call)?;
        let parsed: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        Ok(parsed["stopped"].as_bool().unwrap_or(false))
    }

    /// Uploads one file to the address that the service signs for it.
    pub(super) fn upload(&self, address: &RunAddress, name: &str, content: &[u8]) -> Result<()> {
        let variables = json!({"entity": address.entity, "project": address.project, "run": address.run, "files": [name]});
        let data = self.graphql("CreateRunFiles", FILES, &variables)?;
        let created = &data["createRunFiles"];
        let url = created["files"][0]["uploadUrl"].as_str();
        let url = url.ok_or_else(|| self.init.protocol("/graphql", "no upload address"))?;
        let headers: Vec<(&str, String)> = created["uploadHeaders"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|header| header.as_str()?.split_once(':'))
            .map(|(name, value)| (name, value.trim().to_owned()))
            .collect();
        let call =
            Call { method: Method::PUT, path: url, headers: &headers, body: content, repeatable: true };
        self.init.expect(&call).map(drop)
    }
}

fn optional(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
