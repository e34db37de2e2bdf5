use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_client::{Method, Pace, Retry, asked_wait, is_transient, segment};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::protocol;
use crate::listing::check_id;
use crate::{Error, Hub, RemoteFile, Result};

/// Where the Hub keeps how files are stored; it belongs to the repository, not to what is pushed.
const ATTRIBUTES: &str = ".gitattributes";
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

/// A commit that is to be made.
struct Put<'a> {
    id: &'a str,
    branch: &'a str,
    files: &'a [PushFile],
    summary: &'a str,
    /// Whether the branch shall hold nothing else afterwards.
    is_exact: bool,
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
        self.bring_about(&Put { id, branch: "main", files, summary, is_exact: false }, &|_| Ok(()))
    }

    /// Makes a branch hold exactly `files` (and the repository's own `.gitattributes`) by one commit; where it does already,
    /// there is no commit. The listing of what came about is compared by hashes.
    ///
    /// `check` looks at the head that the commit would be put on, each time that it is another one; the commit is made on that
    /// head or not at all.
    ///
    /// # Errors
    /// As [`push`](Self::push), and whatever `check` returns.
    pub fn replace<E: From<Error>>(
        &self,
        id: &str,
        branch: &str,
        files: &[PushFile],
        summary: &str,
        check: &dyn Fn(&str) -> std::result::Result<(), E>,
    ) -> std::result::Result<Pushed, E> {
        self.bring_about(&Put { id, branch, files, summary, is_exact: true }, check)
    }

    /// Whether a revision holds exactly `files`, beside the repository's own `.gitattributes`, by the hashes of its listing.
    ///
    /// # Errors
    /// When the listing cannot be read.
    pub fn is_exactly(&self, id: &str, revision: &str, files: &[PushFile]) -> Result<bool> {
        Ok(same(&self.files(id, revision, true)?, files))
    }

    /// Whether a revision holds these files, read back byte by byte.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn holds(&self, id: &str, revision: &str, files: &[PushFile]) -> Result<bool> {
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

    fn bring_about<E: From<Error>>(
        &self,
        put: &Put<'_>,
        check: &dyn Fn(&str) -> std::result::Result<(), E>,
    ) -> std::result::Result<Pushed, E> {
        check_id(put.id)?;
        let watch = self.client.watch();
        let mut pace = Pace::new(self.client.options().retry, &watch, format!("the commit to {}", put.id));
        loop {
            let (parent, modes) = self.preupload(put)?;
            check(&parent)?;
            let there = if put.is_exact { self.files(put.id, &parent, true)? } else { Vec::new() };
            if put.is_exact && same(&there, put.files) {
                return Ok(Pushed { commit: parent });
            }
            let large: Vec<&PushFile> = put.files.iter().filter(|file| modes[&file.path] == "lfs").collect();
            if !large.is_empty() {
                self.upload_large(put.id, put.branch, &large)?;
            }
            match self.commit(put, &others(&there, put.files), &modes, &parent)? {
                Outcome::Done(commit) if self.came_about(put, &commit)? => return Ok(Pushed { commit }),
                Outcome::Done(_) => {
                    return Err(protocol(put.id, "the files read back differ from those sent").into());
                }
                Outcome::Open(error, asked) => {
                    let goes_on = pace.pause("the commit is not certain", asked).map_err(Error::from)?;
                    let head = self.head(put.id, put.branch)?;
                    if head != parent && self.came_about(put, &head)? {
                        return Ok(Pushed { commit: head });
                    }
                    if !goes_on {
                        return Err(error.into());
                    }
                }
            }
        }
    }

    fn came_about(&self, put: &Put<'_>, commit: &str) -> Result<bool> {
        if put.is_exact {
            self.is_exactly(put.id, commit, put.files)
        } else {
            self.holds(put.id, commit, put.files)
        }
    }

    fn preupload(&self, put: &Put<'_>) -> Result<(String, BTreeMap<String, String>)> {
        let &Put { id, branch, files, .. } = put;
        let path = format!("/api/models/{id}/preupload/{}", segment(branch));
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
            None => self.head(id, branch)?,
        };
        match files.iter().find(|file| !modes.contains_key(&file.path)) {
            Some(file) => Err(protocol(id, format!("no upload mode for `{}`", file.path))),
            None => Ok((parent, modes)),
        }
    }

    /// Sent once: what became of it is read from the branch, never found out by sending it again.
    fn commit(
        &self,
        put: &Put<'_>,
        removed: &[&str],
        modes: &BTreeMap<String, String>,
        parent: &str,
    ) -> Result<Outcome> {
        let &Put { id, branch, files, summary, .. } = put;
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
        for path in removed {
            body.push('\n');
            body.push_str(&json!({"key": "deletedFile", "value": {"path": path}}).to_string());
        }
        let request = self
            .request(Method::POST, &format!("/api/models/{id}/commit/{}", segment(branch)))?
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
}

fn same(there: &[RemoteFile], files: &[PushFile]) -> bool {
    let there: Vec<&RemoteFile> = there.iter().filter(|file| file.path != ATTRIBUTES).collect();
    let is_there = |file: &PushFile| there.iter().any(|one| one.path == file.path && one.is(&file.content));
    there.len() == files.len() && files.iter().all(is_there)
}

/// What is there and shall not stay.
fn others<'a>(there: &'a [RemoteFile], files: &[PushFile]) -> Vec<&'a str> {
    let stays = |path: &str| path == ATTRIBUTES || files.iter().any(|file| file.path == path);
    there.iter().map(|file| file.path.as_str()).filter(|path| !stays(path)).collect()
}
