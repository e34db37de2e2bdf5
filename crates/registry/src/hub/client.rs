use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::http::{Call, Patience, Response, Service, segment};
use crate::{Error, Result};

/// Where the Hub is and how a client is known there.
#[derive(Clone)]
pub struct HubOptions {
    /// Address, as in `https://huggingface.co`.
    pub endpoint: String,
    /// A token that may write.
    pub token: String,
    /// How long requests are repeated while the service is busy or away.
    pub patience: Duration,
}

/// A client for model repositories.
#[derive(Debug, Clone)]
pub struct Hub {
    pub(super) service: Service,
    endpoint: String,
}

#[derive(Deserialize)]
struct Refs {
    branches: Vec<Ref>,
    tags: Vec<Ref>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ref {
    name: String,
    target_commit: String,
}

impl Hub {
    /// A client; nothing is sent yet.
    pub fn new(options: &HubOptions) -> Self {
        let patience = Patience { retries: 8, base_delay: Duration::from_secs(1), budget: options.patience };
        let authorization = format!("Bearer {}", options.token);
        let service =
            Service::new("the Hub", &options.endpoint, authorization, Duration::from_mins(10), patience);
        Self { service, endpoint: options.endpoint.trim_end_matches('/').to_owned() }
    }

    /// The page of a repository.
    pub fn page(&self, repo: &str) -> String {
        format!("{}/{repo}", self.endpoint)
    }

    /// Creates the repository unless it exists.
    ///
    /// # Errors
    /// When the token may not, or the service cannot be reached.
    pub fn create_repository(&self, repo: &str, private: bool) -> Result<()> {
        let (owner, name) = split_id(repo)?;
        let body = json!({"name": name, "organization": owner, "type": "model", "private": private});
        let answer = self.post("/api/repos/create", &body, true)?;
        match answer.status {
            200..300 | 409 => Ok(()),
            403 if self.head(repo, "main").is_ok() => Ok(()), // it exists in a namespace where we may not create
            _ => Err(self.refused("/api/repos/create", &answer)),
        }
    }

    /// The commit that a branch stands at.
    ///
    /// # Errors
    /// When the repository or the branch does not exist.
    pub fn head(&self, repo: &str, branch: &str) -> Result<String> {
        let refs = self.refs(repo)?;
        let found = refs.branches.into_iter().find(|entry| entry.name == branch);
        found
            .map(|entry| entry.target_commit)
            .ok_or_else(|| self.service.protocol(repo, format!("no branch `{branch}`")))
    }

    /// Names `commit` by a tag. A tag of that name on the same commit is success.
    ///
    /// # Errors
    /// [`Error::Exists`] when the tag stands on another commit: versions are not overwritten.
    pub fn tag(&self, repo: &str, tag: &str, commit: &str, message: &str) -> Result<()> {
        let path = format!("/api/models/{repo}/tag/{}", segment(commit));
        let answer = self.post(&path, &json!({"tag": tag, "message": message}), true)?;
        if answer.is_success() {
            return Ok(());
        }
        if answer.status != 409 {
            return Err(self.refused(&path, &answer));
        }
        let existing = self.refs(repo)?.tags.into_iter().find(|entry| entry.name == tag);
        match existing {
            Some(entry) if entry.target_commit == commit => Ok(()),
            _ => Err(Error::Exists { what: format!("tag `{tag}` of {repo}") }),
        }
    }

    /// The content of a file at a revision. Signed storage addresses are fetched without the token.
    ///
    /// # Errors
    /// When the file does not exist or the download breaks off.
    pub fn download(&self, repo: &str, revision: &str, path: &str) -> Result<Vec<u8>> {
        let encoded: Vec<String> = path.split('/').map(segment).collect();
        let mut address = format!("/{repo}/resolve/{}/{}", segment(revision), encoded.join("/"));
        for _ in 0..5 {
            let call =
                Call { method: Method::GET, path: &address, headers: &[], body: &[], repeatable: true };
            let answer = self.service.send(&call)?;
            if answer.is_success() {
                return Ok(answer.body);
            }
            if !(300..400).contains(&answer.status) {
                return Err(self.service.refusal(&call, &answer));
            }
            let location = answer.header("location").map(str::to_owned);
            address =
                location.ok_or_else(|| self.service.protocol(&address, "a redirect without a target"))?;
            if let Some(relative) = address.strip_prefix(&self.endpoint) {
                address = relative.to_owned();
            }
        }
        Err(self.service.protocol(&address, "too many redirects"))
    }

    fn refs(&self, repo: &str) -> Result<Refs> {
        let path = format!("/api/models/{repo}/refs");
        let call = Call { method: Method::GET, path: &path, headers: &[], body: &[], repeatable: true };
        let answer = self.service.expect(&call)?;
        serde_json::from_slice(&answer.body).map_err(|error| self.service.protocol(&path, error.to_string()))
    }

    pub(super) fn post(&self, path: &str, body: &Value, repeatable: bool) -> Result<Response> {
        let headers = [("Content-Type", "application/json".to_owned())];
        let body = body.to_string();
        self.service.send(&Call {
            method: Method::POST,
            path,
            headers: &headers,
            body: body.as_bytes(),
            repeatable,
        })
    }

    pub(super) fn refused(&self, path: &str, answer: &Response) -> Error {
        self.service
            .refusal(&Call { method: Method::POST, path, headers: &[], body: &[], repeatable: false }, answer)
    }
}

fn split_id(repo: &str) -> Result<(&str, &str)> {
    let plain =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    repo.split_once('/').filter(|(owner, name)| plain(owner) && plain(name)).ok_or_else(|| Error::Domain {
        key: "registry.huggingface_repo",
        expected: "owner/name",
        actual: repo.to_owned(),
    })
}
