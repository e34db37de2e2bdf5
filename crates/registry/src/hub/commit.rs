use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use ureq::http::Method;

use super::Hub;
use crate::http::{Call, segment};
use crate::{Error, Result};
use durable_files::hash_bytes;

/// A file of a push.
#[derive(Debug, Clone)]
pub struct PushFile {
    /// Its path in the repository.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
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

#[derive(Deserialize)]
struct Batch {
    objects: Vec<BatchObject>,
}

#[derive(Deserialize)]
struct BatchObject {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Actions {
    upload: Action,
    #[serde(default)]
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, Value>,
}

const LFS: &str = "application/vnd.git-lfs+json";
/// A branch that others push to as well is tried again this often.
const ROUNDS: usize = 4;

impl Hub {
    /// Puts `files` on `main` in one commit and reads them back.
    ///
    /// When somebody else commits in between, the push is repeated on top of that. When the answer to the commit is lost, the
    /// branch is read: if it holds the files, that is the commit.
    ///
    /// # Errors
    /// When the service refuses, cannot be reached, or what it holds afterwards is not what was sent.
    pub fn push(&self, repo: &str, files: &[PushFile], summary: &str) -> Result<Pushed> {
        for _ in 0..ROUNDS {
            let (parent, modes) = self.preupload(repo, files)?;
            let large: Vec<&PushFile> = files.iter().filter(|file| modes[&file.path] == "lfs").collect();
            if !large.is_empty() {
                self.upload_large(repo, &large)?;
            }
            let commit = match self.commit(repo, files, &modes, &parent, summary)? {
                Some(commit) => commit,
                None => match self.head(repo, "main")? {
                    head if head != parent && self.holds(repo, &head, files)? => head,
                    _ => continue,
                },
            };
            if !self.holds(repo, &commit, files)? {
                return Err(self.service.protocol(repo, "the files read back differ from those sent"));
            }
            return Ok(Pushed { commit });
        }
        Err(self.service.protocol(repo, "the branch kept moving while pushing"))
    }

    fn preupload(&self, repo: &str, files: &[PushFile]) -> Result<(String, BTreeMap<String, String>)> {
        let path = format!("/api/models/{repo}/preupload/main");
        let entries: Vec<Value> = files
            .iter()
            .map(|file| {
                let sample = BASE64.encode(&file.content[..file.content.len().min(512)]);
                json!({"path": file.path, "size": file.content.len(), "sample": sample})
            })
            .collect();
        let answer = self.post(&path, &json!({"files": entries}), true)?;
        if !answer.is_success() {
            return Err(self.refused(&path, &answer));
        }
        let parsed: Preupload = serde_json::from_slice(&answer.body)
            .map_err(|error| self.service.protocol(&path, error.to_string()))?;
        let parent = match parsed.commit_oid {
            Some(parent) => parent,
            None => self.head(repo, "main")?,
        };
        let modes: BTreeMap<String, String> =
            parsed.files.into_iter().map(|file| (file.path, file.upload_mode)).collect();
        match files.iter().find(|file| !modes.contains_key(&file.path)) {
            Some(file) => Err(self.service.protocol(&path, format!("no upload mode for `{}`", file.path))),
            None => Ok((parent, modes)),
        }
    }

    /// The commit's id; `None` when the branch moved on or the answer was lost.
    fn commit(
        &self,
        repo: &str,
        files: &[PushFile],
        modes: &BTreeMap<String, String>,
        parent: &str,
        summary: &str,
    ) -> Result<Option<String>> {
        let path = format!("/api/models/{repo}/commit/main");
        let mut body =
            json!({"key": "header", "value": {"summary": summary, "description": "", "parentCommit": parent}}).to_string();
        for file in files {
            let line = if modes[&file.path] == "lfs" {
                let hash = hash_bytes(&file.content);
                json!({"key": "lfsFile", "value": {"path": file.path, "algo": "sha256", "oid": hash.sha256, "size": hash.size}})
            } else {
                let content = BASE64.encode(&file.content);
                json!({"key": "file", "value": {"path": file.path, "encoding": "base64", "content": content}})
            };
            body.push('\n');
            body.push_str(&line.to_string());
        }
        let headers = [("Content-Type", "application/x-ndjson".to_owned())];
        let call = Call {
            method: Method::POST,
            path: &path,
            headers: &headers,
            body: body.as_bytes(),
            repeatable: false,
        };
        let answer = match self.service.send(&call) {
            Ok(answer) => answer,
            Err(Error::Unreachable { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match answer.status {
            200..300 => {}
            412 | 429 | 500..600 => {
                std::thread::sleep(std::time::Duration::from_secs(1));
                return Ok(None);
            }
            _ => return Err(self.service.refusal(&call, &answer)),
        }
        let parsed: Value = serde_json::from_slice(&answer.body)
            .map_err(|error| self.service.protocol(&path, error.to_string()))?;
        let commit = parsed.get("commitOid").and_then(Value::as_str).map(str::to_owned);
        commit.map(Some).ok_or_else(|| self.service.protocol(&path, "no `commitOid`"))
    }

    fn holds(&self, repo: &str, revision: &str, files: &[PushFile]) -> Result<bool> {
        for file in files {
            match self.download(repo, revision, &file.path) {
                Ok(content) if content == file.content => {}
                Ok(_) | Err(Error::Refused { status: 404, .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn upload_large(&self, repo: &str, files: &[&PushFile]) -> Result<()> {
        let path = format!("/{repo}.git/info/lfs/objects/batch");
        let objects: Vec<Value> = files
            .iter()
            .map(|file| {
                let hash = hash_bytes(&file.content);
                json!({"oid": hash.sha256, "size": hash.size})
            })
            .collect();
        let body = json!({"operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256",
            "ref": {"name": "main"}, "objects": objects})
        .to_string();
        let headers = [("Content-Type", LFS.to_owned()), ("Accept", LFS.to_owned())];
        let call = Call {
            method: Method::POST,
            path: &path,
            headers: &headers,
            body: body.as_bytes(),
            repeatable: true,
        };
        let answer = self.service.expect(&call)?;
        let batch: Batch = serde_json::from_slice(&answer.body)
            .map_err(|error| self.service.protocol(&path, error.to_string()))?;
        for file in files {
            let hash = hash_bytes(&file.content);
            let object = batch.objects.iter().find(|object| object.oid == hash.sha256);
            let object = object
                .ok_or_else(|| self.service.protocol(&path, format!("nothing about `{}`", file.path)))?;
            if let Some(error) = &object.error {
                return Err(self.service.protocol(&path, format!("`{}` is refused: {error}", file.path)));
            }
            if let Some(actions) = &object.actions {
                self.upload_object(file, &hash.sha256, actions)?;
            }
        }
        Ok(())
    }

    fn upload_object(&self, file: &PushFile, oid: &str, actions: &Actions) -> Result<()> {
        match actions.upload.header.get("chunk_size").and_then(chunk_size) {
            Some(chunk_size) => self.upload_parts(file, oid, &actions.upload, chunk_size)?,
            None => {
                self.put(&actions.upload.href, &file.content)?;
            }
        }
        if let Some(verify) = &actions.verify {
            let body = json!({"oid": oid, "size": file.content.len()}).to_string();
            self.lfs_post(&verify.href, &body)?;
        }
        Ok(())
    }

    fn upload_parts(&self, file: &PushFile, oid: &str, upload: &Action, chunk_size: usize) -> Result<()> {
        let mut parts = Vec::new();
        for (number, chunk) in (1..).zip(file.content.chunks(chunk_size)) {
            let address = upload.header.get(&number.to_string()).and_then(Value::as_str);
            let address = address.ok_or_else(|| {
                self.service.protocol(&upload.href, format!("no address for part {number}"))
            })?;
            let etag = self.put(address, chunk)?;
            let etag = etag.ok_or_else(|| self.service.protocol(address, "no ETag"))?;
            parts.push(json!({"partNumber": number, "etag": etag}));
        }
        self.lfs_post(&upload.href, &json!({"oid": oid, "parts": parts}).to_string())
    }

    fn put(&self, address: &str, body: &[u8]) -> Result<Option<String>> {
        let call = Call { method: Method::PUT, path: address, headers: &[], body, repeatable: true };
        Ok(self.service.expect(&call)?.header("etag").map(str::to_owned))
    }

    /// Posts to an LFS address; one of the service itself gets the token, a signed one does not.
    fn lfs_post(&self, href: &str, body: &str) -> Result<()> {
        let page = self.page("");
        let path = href.strip_prefix(page.trim_end_matches('/')).unwrap_or(href);
        let headers = [("Content-Type", LFS.to_owned()), ("Accept", LFS.to_owned())];
        let call =
            Call { method: Method::POST, path, headers: &headers, body: body.as_bytes(), repeatable: true };
        self.service.expect(&call).map(drop)
    }

    /// Whether a revision exists.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn has_revision(&self, repo: &str, revision: &str) -> Result<bool> {
        let path = format!("/api/models/{repo}/revision/{}", segment(revision));
        let call = Call { method: Method::GET, path: &path, headers: &[], body: &[], repeatable: true };
        match self.service.expect(&call) {
            Ok(_) => Ok(true),
            Err(Error::Refused { status: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn chunk_size(value: &Value) -> Option<usize> {
    let size = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    usize::try_from(size).ok().filter(|size| *size > 0)
}
