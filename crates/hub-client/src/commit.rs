use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_client::{Method, Pace, Retry, asked_wait, is_transient};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::protocol;
use crate::listing::check_id;
use crate::{Error, Hub, Result};

/// The most files that one preupload may name.
const PREUPLOAD: usize = 256;

/// A file of a push.
#[derive(Debug, Clone)]
pub struct PushFile {
    /// Its path in the repository.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
}

impl PushFile {
    pub(crate) fn sha256(&self) -> String {
        durable_files::sha256_hex(&self.content)
    }
}

/// What a push left on the Hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The commit that holds the files.
    pub commit: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preupload {
    #[serde(default)]
    commit_oid: Option<String>,
    files: Vec<PreuploadFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PreuploadFile {
    path: String,
    upload_mode: String,
}

/// How a commit ended.
enum Outcome {
    Done(String),
    /// It may have been made, or was refused because the branch moved on.
    Open(Error, Option<std::time::Duration>),
}

impl Hub {
    /// Puts `files` on `main` in one commit and reads them back.
    ///
    /// When somebody else commits in between, the push is repeated on top of that. When the answer to the commit is lost, the
    /// branch is read: if it holds the files, that is the commit.
    ///
    /// # Errors
    /// When the service refuses, cannot be reached, or what it holds afterwards is not what was sent.
    pub fn push(&self, id: &str, files: &[PushFile], summary: &str) -> Result<Pushed> {
        check_id(id)?;
        let watch = self.client.watch();
        let mut pace = Pace::new(self.client.options().retry, &watch, format!("the commit to {id}"));
        loop {
            let (parent, modes) = self.preupload(id, files)?;
            let large: Vec<&PushFile> = files.iter().filter(|file| modes[&file.path] == "lfs").collect();
            if !large.is_empty() {
                self.upload_large(id, &large)?;
            }
            match self.commit(id, files, &modes, &parent, summary)? {
                Outcome::Done(commit) if self.holds(id, &commit, files)? => return Ok(Pushed { commit }),
                Outcome::Done(_) => return Err(protocol(id, "the files read back differ from those sent")),
                Outcome::Open(error, asked) => {
                    let goes_on = pace.pause("the commit is not certain", asked)?;
                    let head = self.head(id, "main")?;
                    if head != parent && self.holds(id, &head, files)? {
                        return Ok(Pushed { commit: head });
                    }
                    if !goes_on {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn preupload(&self, id: &str, files: &[PushFile]) -> Result<(String, BTreeMap<String, String>)> {
        let path = format!("/api/models/{id}/preupload/main");
        let (mut parent, mut modes) = (None, BTreeMap::new());
        for some in files.chunks(PREUPLOAD) {
            let entries: Vec<Value> = some
                .iter()
                .map(|file| {
                    let sample = BASE64.encode(&file.content[..file.content.len().min(512)]);
                    json!({"path": file.path, "size": file.content.len(), "sample": sample})
                })
                .collect();
            let answer: Preupload = self.post(&path, &json!({"files": entries}))?.success()?.json()?;
            parent = parent.or(answer.commit_oid);
            modes.extend(answer.files.into_iter().map(|file| (file.path, file.upload_mode)));
        }
        let parent = match parent {
            Some(parent) => parent,
            None => self.head(id, "main")?,
        };
        match files.iter().find(|file| !modes.contains_key(&file.path)) {
            Some(file) => Err(protocol(id, format!("no upload mode for `{}`", file.path))),
            None => Ok((parent, modes)),
        }
    }

    /// Sent once: what became of it is read from the branch, never found out by sending it again.
    fn commit(
        &self,
        id: &str,
        files: &[PushFile],
        modes: &BTreeMap<String, String>,
        parent: &str,
        summary: &str,
    ) -> Result<Outcome> {
        let header = json!({"summary": summary, "description": "", "parentCommit": parent});
        let mut body = json!({"key": "header", "value": header}).to_string();
        for file in files {
            let value = if modes[&file.path] == "lfs" {
                json!({"path": file.path, "algo": "sha256", "oid": file.sha256(), "size": file.content.len()})
            } else {
                json!({"path": file.path, "encoding": "base64", "content": BASE64.encode(&file.content)})
            };
            let key = if modes[&file.path] == "lfs" { "lfsFile" } else { "file" };
            body.push('\n');
            body.push_str(&json!({"key": key, "value": value}).to_string());
        }
        let request = self
            .request(Method::POST, &format!("/api/models/{id}/commit/main"))?
            .header("Content-Type", "application/x-ndjson")?
            .body(body.into_bytes())
            .retry(Retry::NONE);
        let answer = match self.client.send(&request) {
            Ok(answer) => answer,
            Err(error) if error.is_transient() => return Ok(Outcome::Open(error.into(), None)),
            Err(error) => return Err(error.into()),
        };
        if answer.status == 412 || is_transient(answer.status) {
            let asked = asked_wait(&answer.headers, SystemTime::now());
            return Ok(Outcome::Open(answer.refusal().into(), asked));
        }
        let answer = answer.success()?;
        let parsed: Value = match answer.json() {
            Ok(parsed) => parsed,
            Err(error) => return Ok(Outcome::Open(error.into(), None)),
        };
        Ok(match parsed.get("commitOid").and_then(Value::as_str) {
            Some(commit) => Outcome::Done(commit.to_owned()),
            None => Outcome::Open(protocol(id, "the answer to the commit has no `commitOid`"), None),
        })
    }

    fn holds(&self, id: &str, revision: &str, files: &[PushFile]) -> Result<bool> {
        for file in files {
            match self.download(id, revision, &file.path) {
                Ok(content) if content == file.content => {}
                Ok(_) => return Ok(false),
                Err(error) if error.status() == Some(404) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
