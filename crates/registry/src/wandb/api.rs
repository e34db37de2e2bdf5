use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_client::{
    Cancel, Client, Credential, Options, Request, Response, Retry, Timeouts, Url, asked_wait, join, segment,
};
use serde_json::{Map, Value, json};

use super::history::{Counts, Outline};
use super::media::panels;
use crate::{Error, Result};

const UPSERT: &str = "mutation UpsertBucket($name: String, $project: String, $entity: String, $displayName: String, \
    $groupName: String, $notes: String, $commit: String, $config: JSONString, $host: String, $program: String, \
    $jobType: String, $state: String, $tags: [String!]) { \
    upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, displayName: $displayName, \
    groupName: $groupName, notes: $notes, commit: $commit, config: $config, host: $host, jobProgram: $program, \
    jobType: $jobType, state: $state, tags: $tags}) { \
    bucket { id name project { name entity { name } } historyLineCount } inserted } }";

const STATUS: &str = "query RunResumeStatus($project: String, $entity: String, $name: String!) { \
    model(name: $project, entityName: $entity) { bucket(name: $name, missingOk: true) { \
    id historyLineCount eventsLineCount logLineCount historyTail config } } }";

const FILES: &str = "mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) { \
    createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) { \
    runID uploadHeaders files { name uploadUrl } } }";

/// The entry of a run's configuration that says which spool it is sent from.
const OURS: &str = "pitchquest";

/// Where a run stands, as the service names it.
#[derive(Debug, Clone)]
pub(super) struct RunAddress {
    pub(super) entity: String,
    pub(super) project: String,
    pub(super) run: String,
}

impl RunAddress {
    /// The run's page.
    pub(super) fn page(&self, base_url: &str) -> String {
        let site = base_url.replace("://api.wandb.ai", "://wandb.ai");
        format!("{}/{}/{}/runs/{}", site.trim_end_matches('/'), self.entity, self.project, self.run)
    }
}

/// A run that the service has already.
#[derive(Debug, Clone, Default)]
pub(super) struct Existing {
    pub(super) counts: Counts,
    /// The names in its last history line.
    pub(super) tail: BTreeSet<String>,
    /// The spool that it is sent from, where a program of ours made it.
    pub(super) spool: String,
    config: Map<String, Value>,
}

#[derive(Debug, Clone)]
pub(super) struct Api {
    client: Client,
    base: Url,
    credential: Credential,
}

impl Api {
    /// An interface that sends each request once, until `cancel` says to stop.
    pub(super) fn new(base_url: &str, api_key: &str, http: &Options, cancel: Cancel) -> Result<Self> {
        let quiet = Options { retry: Retry::NONE, cancel: Some(cancel), notify: None, ..http.clone() };
        Self::with(base_url, api_key, quiet)
    }

    /// An interface for a question that a person waits for.
    pub(super) fn patient(base_url: &str, api_key: &str, http: &Options) -> Result<Self> {
        let retry = Retry { attempts: 4, budget: Duration::from_mins(1), ..http.retry };
        Self::with(base_url, api_key, Options { retry, ..http.clone() })
    }

    fn with(base_url: &str, api_key: &str, options: Options) -> Result<Self> {
        check_key(api_key)?;
        let base = http_client::parse(base_url).map_err(failed)?;
        let credential =
            Credential::new(&base, "Basic", &BASE64.encode(format!("api:{api_key}"))).map_err(failed)?;
        let timeouts = Timeouts { first_byte: Duration::from_secs(30), ..options.timeouts };
        let client = Client::new(Options { timeouts, ..options }).map_err(failed)?;
        Ok(Self { client, base, credential })
    }

    /// What the service has of a run.
    pub(super) fn status(&self, project: &str, entity: &str, id: &str) -> Result<Option<Existing>> {
        let variables = json!({"project": project, "entity": optional(entity), "name": id});
        let data = self.graphql("RunResumeStatus", STATUS, &variables)?;
        let bucket = &data["model"]["bucket"];
        if bucket.is_null() {
            return Ok(None);
        }
        let parse = |text: &Value| text.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let tail = parse(&bucket["historyTail"]).unwrap_or_default();
        let last = tail.as_array().and_then(|lines| parse(lines.last()?)).unwrap_or_default();
        let config = parse(&bucket["config"]).and_then(|config| config.as_object().cloned());
        let config = config.unwrap_or_default();
        Ok(Some(Existing {
            counts: counts(bucket, &last),
            tail: last.as_object().into_iter().flat_map(|line| line.keys().cloned()).collect(),
            spool: config.get(OURS).and_then(|ours| ours["value"]["spool"].as_str()).unwrap_or("").to_owned(),
            config,
        }))
    }

    /// Creates the run, or brings the configuration of one that is there up to date. What people change on its page (name,
    /// notes, tags) stays as they left it. Says whether the run was created.
    pub(super) fn upsert(
        &self,
        outline: &Outline,
        existing: Option<&Existing>,
    ) -> Result<(RunAddress, bool)> {
        let data = self.graphql("UpsertBucket", UPSERT, &described(outline, existing))?;
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
        Ok((address, data["upsertBucket"]["inserted"].as_bool().unwrap_or(false)))
    }

    /// Shows a run that has ended as one that somebody stopped.
    pub(super) fn mark_stopped(&self, address: &RunAddress) -> Result<()> {
        let variables = json!({
            "name": address.run, "project": address.project, "entity": address.entity, "state": "killed"
        });
        self.graphql("UpsertBucket", UPSERT, &variables).map(drop)
    }

    fn graphql(&self, operation: &str, query: &str, variables: &Value) -> Result<Value> {
        let body = json!({"query": query, "variables": variables, "operationName": operation});
        let answer = self.post("/graphql", body.to_string())?;
        let mut parsed: Value = answer.json().map_err(failed)?;
        if parsed["errors"].as_array().is_some_and(|errors| !errors.is_empty()) {
            return Err(failed(answer.refusal()));
        }
        if parsed["data"].is_object() { Ok(parsed["data"].take()) } else { Err(protocol("no data")) }
    }

    /// A successful answer. A refusal that is not in the service's form comes from something on the way there.
    fn post(&self, path: &str, body: String) -> Result<Response> {
        let request = Request::post(join(&self.base, path).map_err(failed)?)
            .credential(Some(&self.credential))
            .header("Content-Type", "application/json")
            .map_err(failed)?
            .body(body.into_bytes());
        let answer = self.client.send(&request).map_err(failed)?;
        if answer.is_success() {
            return Ok(answer);
        }
        let (status, source) = (answer.status, answer.refusal());
        if !http_client::is_transient(status) && answer.json::<Map<String, Value>>().is_err() {
            let reason = format!("status {status} without a reason, as a proxy gives it");
            return Err(Error::Protocol { reason, source: Some(source) });
        }
        Err(Error::Refused { status, wait: asked_wait(&answer.headers, SystemTime::now()), source })
    }

    /// Sends a `file_stream` body once; the answer says whether somebody pressed Stop.
    pub(super) fn stream(&self, address: &RunAddress, body: &str) -> Result<bool> {
        let names = [&address.entity, &address.project, &address.run].map(|name| segment(name)).join("/");
        let answer = self.post(&format!("/files/{names}/file_stream"), body.to_owned())?;
        let parsed: Map<String, Value> = answer.json().map_err(failed)?;
        Ok(parsed.get("stopped").and_then(Value::as_bool).unwrap_or(false))
    }

    /// Uploads one file to the address that the service signs for it.
    pub(super) fn upload(&self, address: &RunAddress, name: &str, content: Vec<u8>) -> Result<()> {
        let variables = json!({"entity": address.entity, "project": address.project, "run": address.run, "files": [name]});
        let data = self.graphql("CreateRunFiles", FILES, &variables)?;
        let created = &data["createRunFiles"];
        let url = created["files"][0]["uploadUrl"].as_str().and_then(|url| self.base.join(url).ok());
        let url = url.ok_or_else(|| protocol("no upload address"))?;
        let mut request = Request::put(url).body(content);
        for header in created["uploadHeaders"].as_array().into_iter().flatten() {
            if let Some((name, value)) = header.as_str().and_then(|header| header.split_once(':')) {
                request = request.header(name, value.trim()).map_err(failed)?;
            }
        }
        let answer = self.client.send(&request).map_err(failed)?;
        answer.success().map(drop).map_err(failed)
    }
}

/// The configuration as the service takes it: each entry as the value of an object.
pub(super) fn entries(outline: &Outline) -> Map<String, Value> {
    let run = &outline.last;
    let mut entries: Map<String, Value> =
        run.config.iter().map(|(key, value)| (key.clone(), json!({"value": value}))).collect();
    let ours = json!({"spool": outline.first.spool, "attempts": outline.attempts(),
        "resumed_at_step": run.completed_steps});
    entries.insert(OURS.to_owned(), json!({"value": ours}));
    let own = json!({"t": {"13": std::env::consts::OS}, "m": [], "visualize": panels(&run.charts)});
    entries.insert("_wandb".to_owned(), json!({"value": own}));
    entries
}

/// Where several threads share the question whether to stop.
pub(super) fn cancel_when(quit: impl Fn() -> bool + Send + Sync + 'static) -> Cancel {
    Arc::new(quit)
}

/// How many lines the service has, the last of its history being `last`.
fn counts(bucket: &Value, last: &Value) -> Counts {
    let count = |name: &str| bucket[name].as_u64().unwrap_or(0);
    Counts {
        history: count("historyLineCount"),
        last_step: last["_step"].as_u64(),
        events: count("eventsLineCount"),
        console: count("logLineCount"),
    }
}

/// What the service is told of a run. Of one that it knows only the configuration.
fn described(outline: &Outline, existing: Option<&Existing>) -> Value {
    let run = &outline.last;
    let mut config = existing.map(|existing| existing.config.clone()).unwrap_or_default();
    config.extend(entries(outline));
    let mut variables = json!({
        "name": outline.id, "project": run.project, "entity": optional(&run.entity),
        "config": Value::Object(config).to_string(),
    });
    if existing.is_none() {
        let described = json!({
            "displayName": run.name, "groupName": optional(&run.group), "notes": optional(&run.notes),
            "host": optional(&run.host), "program": run.program, "commit": optional(&run.commit), "jobType": "train",
            "tags": run.tags,
        });
        if let (Some(all), Value::Object(described)) = (variables.as_object_mut(), described) {
            all.extend(described);
        }
    }
    variables
}

fn check_key(key: &str) -> Result<()> {
    let plain = key.chars().all(|c| c.is_ascii_graphic());
    if key.len() >= 40 && plain {
        return Ok(());
    }
    let actual = format!("{} characters", key.chars().count()); // never the key itself
    Err(Error::Domain { key: "WANDB_API_KEY", expected: "40 or more characters without spaces", actual })
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
