use std::collections::BTreeMap;

use http_client::{Client, Credential, Method, Options, Request, Response, Url, join, segment};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::protocol;
use crate::listing::{check_id, remote_file};
use crate::{Error, Hash, RemoteFile, Result};

/// The most bytes of one file that is read into memory.
const MAX_CONTENT: u64 = 1 << 32;
/// The most files that a listing may have.
const MAX_FILES: usize = 100_000;

/// A client for model repositories.
#[derive(Debug, Clone)]
pub struct Hub {
    pub(crate) client: Client,
    pub(crate) base: Url,
    pub(crate) credential: Option<Credential>,
}

/// What the Hub says of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryInfo {
    /// The commit at the head of its main branch, where it has one.
    pub commit: Option<String>,
    /// Whether only its owners see it.
    pub is_private: bool,
}

/// What the Hub says of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionInfo {
    /// The commit that it stands for.
    pub commit: String,
    /// Whether anybody may download it without a token; `false` where the Hub does not say.
    pub is_public: bool,
}

/// What the branches and tags of a repository stand at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refs {
    /// Commits by branch.
    pub branches: BTreeMap<String, String>,
    /// Commits by tag.
    pub tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RefLists {
    #[serde(default)]
    branches: Vec<Ref>,
    #[serde(default)]
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
    ///
    /// # Errors
    /// When the endpoint is no address or the token cannot be sent in a header, as one with a line break.
    pub fn new(endpoint: &str, token: Option<&str>, http: Options) -> Result<Self> {
        let base = http_client::parse(endpoint)?;
        let credential = token.map(|token| Credential::bearer(&base, token)).transpose()?;
        Ok(Self { client: Client::new(http)?, base, credential })
    }

    /// The page of a repository.
    pub fn page(&self, id: &str) -> String {
        format!("{}/{id}", self.base.as_str().trim_end_matches('/'))
    }

    /// The account that the token belongs to.
    ///
    /// # Errors
    /// When there is no token or it is not valid.
    pub fn whoami(&self) -> Result<String> {
        let answer: Value = self.get("/api/whoami-v2")?.json()?;
        let name = answer.get("name").and_then(Value::as_str);
        name.map(str::to_owned).ok_or_else(|| protocol("the account", "it has no name"))
    }

    /// Creates the repository unless it exists.
    ///
    /// # Errors
    /// [`Error::Public`] when it shall be private and is not; when the token may not, or the service cannot be reached.
    pub fn create_repository(&self, id: &str, private: bool) -> Result<()> {
        check_id(id)?;
        if self.repository(id)?.is_none() {
            let (owner, name) = id.split_once('/').unwrap_or_default();
            let body = json!({"name": name, "organization": owner, "type": "model", "private": private});
            let answer = self.post("/api/repos/create", &body)?;
            if !answer.is_success() && answer.status != 409 {
                return Err(answer.refusal().into());
            }
        }
        match self.repository(id)? {
            Some(repository) if private && !repository.is_private => Err(Error::Public { id: id.to_owned() }),
            Some(_) => Ok(()),
            None => Err(protocol(id, "it was created and is not there")),
        }
    }

    /// What the Hub says of a repository; `None` where there is none that the token may see.
    ///
    /// # Errors
    /// When the service refuses or cannot be reached.
    pub fn repository(&self, id: &str) -> Result<Option<RepositoryInfo>> {
        check_id(id)?;
        let answer = match self.get(&format!("/api/models/{id}")) {
            Ok(answer) => answer,
            Err(error) if error.status() == Some(404) => return Ok(None),
            Err(error) => return Err(error),
        };
        let answer: Value = answer.json()?;
        let is_private = answer.get("private").and_then(Value::as_bool);
        let is_private = is_private.ok_or_else(|| protocol(id, "it does not say whether it is private"))?;
        let commit = answer.get("sha").and_then(Value::as_str).map(str::to_owned);
        Ok(Some(RepositoryInfo { commit, is_private }))
    }

    /// The commit that a branch stands at.
    ///
    /// # Errors
    /// When the repository or the branch does not exist.
    pub fn head(&self, id: &str, branch: &str) -> Result<String> {
        let found = self.refs(id)?.branches.remove(branch);
        found.ok_or_else(|| Error::Missing { what: format!("the branch `{branch}` of {id}") })
    }

    /// The commit that a tag stands at, if there is such a tag.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn tagged(&self, id: &str, tag: &str) -> Result<Option<String>> {
        Ok(self.refs(id)?.tags.remove(tag))
    }

    /// Names `commit` by a tag, and sees that it is there. A tag of that name on the same commit is success.
    ///
    /// # Errors
    /// [`Error::Exists`] when the tag stands on another commit: versions are not overwritten.
    pub fn tag(&self, id: &str, tag: &str, commit: &str, message: &str) -> Result<()> {
        check_id(id)?;
        let path = format!("/api/models/{id}/tag/{}", segment(commit));
        let answer = self.post(&path, &json!({"tag": tag, "message": message}))?;
        if !answer.is_success() && answer.status != 409 {
            return Err(answer.refusal().into());
        }
        match self.tagged(id, tag)? {
            Some(target) if target == commit => Ok(()),
            Some(_) => Err(Error::Exists { what: format!("tag `{tag}` of {id}") }),
            None => Err(protocol(id, format!("the tag `{tag}` was accepted and is not there"))),
        }
    }

    /// The commit that a revision stands for, and whether it is public.
    ///
    /// # Errors
    /// When there is no such revision, or the token may not see it.
    pub fn revision(&self, id: &str, revision: &str) -> Result<RevisionInfo> {
        check_id(id)?;
        let path = format!("/api/models/{id}/revision/{}", segment(revision));
        let answer: Value = self.get(&path)?.json()?;
        let commit = answer.get("sha").and_then(Value::as_str);
        let commit = commit.filter(|sha| matches!(Hash::parse(sha), Some(Hash::GitBlob(_))));
        let commit = commit.map(str::to_owned).ok_or_else(|| protocol(id, "the answer names no commit"))?;
        let is_false = |key: &str| answer.get(key) == Some(&Value::Bool(false));
        Ok(RevisionInfo { commit, is_public: is_false("private") && is_false("gated") })
    }

    /// Whether a revision exists.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn has_revision(&self, id: &str, revision: &str) -> Result<bool> {
        check_id(id)?;
        match self.get(&format!("/api/models/{id}/revision/{}", segment(revision))) {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The files of a commit, with size and hash; those in folders too where `recursive`.
    ///
    /// # Errors
    /// When the listing cannot be read, or lacks a size or a hash.
    pub fn files(&self, id: &str, commit: &str, recursive: bool) -> Result<Vec<RemoteFile>> {
        check_id(id)?;
        let query = if recursive { "?recursive=true" } else { "" };
        let first = join(&self.base, &format!("/api/models/{id}/tree/{}{query}", segment(commit)))?;
        let (mut next, mut files) = (Some(first), Vec::new());
        while let Some(url) = next {
            let request = Request::get(url).credential(self.credential.as_ref());
            let answer = self.client.send(&request)?.success()?;
            let page: Vec<Value> = answer.json()?;
            for entry in &page {
                files.extend(remote_file(id, entry)?);
            }
            if files.len() > MAX_FILES {
                return Err(protocol(id, format!("more than {MAX_FILES} files are listed")));
            }
            next = next_page(&answer).filter(|_| !page.is_empty());
        }
        Ok(files)
    }

    /// The content of a file at a revision. Signed storage addresses are asked without the token.
    ///
    /// # Errors
    /// When the file does not exist or the download breaks off.
    pub fn download(&self, id: &str, revision: &str, path: &str) -> Result<Vec<u8>> {
        Ok(self.client.send(&self.content(id, revision, path)?.limit(MAX_CONTENT))?.success()?.body)
    }

    /// The request for a file's content.
    pub(crate) fn content(&self, id: &str, revision: &str, path: &str) -> Result<Request> {
        check_id(id)?;
        let encoded: Vec<String> = path.split('/').map(segment).collect();
        let address = format!("/{id}/resolve/{}/{}", segment(revision), encoded.join("/"));
        Ok(Request::get(join(&self.base, &address)?).credential(self.credential.as_ref()))
    }

    /// The branches and tags of a repository.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn refs(&self, id: &str) -> Result<Refs> {
        check_id(id)?;
        let lists: RefLists = self.get(&format!("/api/models/{id}/refs"))?.json()?;
        let map = |list: Vec<Ref>| list.into_iter().map(|entry| (entry.name, entry.target_commit)).collect();
        Ok(Refs { branches: map(lists.branches), tags: map(lists.tags) })
    }

    /// Creates a branch at a commit; one that is there stays where it is.
    ///
    /// # Errors
    /// When the token may not, the commit does not exist, or the service cannot be reached.
    pub fn create_branch(&self, id: &str, branch: &str, commit: &str) -> Result<()> {
        check_id(id)?;
        let path = format!("/api/models/{id}/branch/{}", segment(branch));
        let answer = self.post(&path, &json!({"startingPoint": commit}))?;
        if answer.is_success() || answer.status == 409 { Ok(()) } else { Err(answer.refusal().into()) }
    }

    /// Removes a branch; one that is not there is none.
    ///
    /// # Errors
    /// When the token may not, or the service cannot be reached.
    pub fn delete_branch(&self, id: &str, branch: &str) -> Result<()> {
        check_id(id)?;
        let path = format!("/api/models/{id}/branch/{}", segment(branch));
        let answer = self.client.send(&self.request(Method::DELETE, &path)?)?;
        if answer.is_success() || answer.status == 404 { Ok(()) } else { Err(answer.refusal().into()) }
    }

    fn get(&self, path: &str) -> Result<Response> {
        Ok(self.client.send(&self.request(Method::GET, path)?)?.success()?)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> Result<Request> {
        Ok(Request::new(method, join(&self.base, path)?).credential(self.credential.as_ref()))
    }

    /// The answer, whatever its status.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Response> {
        Ok(self.client.send(&self.request(Method::POST, path)?.json(body)?)?)
    }
}

fn next_page(answer: &Response) -> Option<Url> {
    let (url, rest) = answer.header("link")?.split_once('<')?.1.split_once('>')?;
    if rest.contains("rel=\"next\"") { answer.url.join(url).ok() } else { None }
}
