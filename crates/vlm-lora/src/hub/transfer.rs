use std::io::{Read, Write};
use std::time::Duration;

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::cache::{Cache, Hasher};
use super::{Hash, HubOptions, RemoteFile, failed, remote_file};
use crate::files::io_error;
use crate::{Error, Result};

const ATTEMPTS: u32 = 5;
const MAX_LISTING_BYTES: u64 = 64 << 20;
const MAX_REDIRECTS: usize = 5;

/// One request's outcome: an error that is final, or one after which it may be tried again.
enum Failure {
    Final(Error),
    Passing { reason: String, wait: Option<Duration> },
}

pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(options: &HubOptions) -> Self {
        let agent = Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_mins(1)))
            .timeout_recv_body(Some(Duration::from_hours(1)))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("vlm-lora/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let endpoint = options.endpoint.trim_end_matches('/').to_owned();
        Self { agent, endpoint, token: options.token.clone() }
    }

    /// The commit that a revision stands for.
    pub(super) fn commit(&self, id: &str, revision: &str) -> Result<String> {
        let url = format!("{}/api/models/{id}/revision/{}", self.endpoint, segment(revision));
        let (answer, _) = self.json(id, &url)?;
        let sha = answer.get("sha").and_then(Value::as_str);
        let commit = sha.filter(|sha| matches!(Hash::parse(sha), Some(Hash::GitBlob(_))));
        commit.map(str::to_owned).ok_or_else(|| failed(id, "the answer names no commit"))
    }

    /// The wanted files of a commit.
    pub(super) fn files(&self, id: &str, commit: &str) -> Result<Vec<RemoteFile>> {
        let mut next = Some(format!("{}/api/models/{id}/tree/{commit}", self.endpoint));
        let mut files = Vec::new();
        while let Some(url) = next {
            let (page, following) = self.json(id, &url)?;
            let entries = page.as_array().ok_or_else(|| failed(id, "the listing of files is no list"))?;
            for entry in entries {
                files.extend(remote_file(id, entry)?);
            }
            if files.len() > 1000 {
                return Err(failed(id, "more than 1000 files at the top of the repository"));
            }
            next = following;
        }
        Ok(files)
    }

    fn json(&self, id: &str, url: &str) -> Result<(Value, Option<String>)> {
        patiently(id, || {
            let mut answer = self.get(url, 0)?;
            let following = next_page(&answer);
            let mut bytes = Vec::new();
            let mut body = answer.body_mut().as_reader().take(MAX_LISTING_BYTES);
            body.read_to_end(&mut bytes).map_err(|error| passing(&error))?;
            let value = serde_json::from_slice(&bytes).map_err(|error| passing(&error))?;
            Ok((value, following))
        })
    }

    /// Fetches a file into the cache; it gets its name there when size and hash are right.
    pub(super) fn download(&self, id: &str, commit: &str, file: &RemoteFile, cache: &Cache) -> Result<()> {
        let folder = cache.blobs();
        std::fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
        let mut part = tempfile::NamedTempFile::new_in(&folder).map_err(io_error("write", &folder))?;
        let mut received = 0;
        let mut hasher = Hasher::new(&file.hash, file.size);
        let url = format!("{}/{id}/resolve/{commit}/{}", self.endpoint, segment(&file.path));
        patiently(id, || self.append(&url, file, &mut part, &mut received, &mut hasher))?;
        let actual = std::mem::replace(&mut hasher, Hasher::new(&file.hash, 0)).finish();
        if actual != file.hash.hex() {
            let reason = format!("`{}` arrived with the hash {actual}, not {}", file.path, file.hash.hex());
            return Err(failed(id, reason));
        }
        let target = cache.blob(&file.hash);
        part.as_file().sync_all().map_err(io_error("write", &target))?;
        part.persist(&target).map_err(|error| io_error("write", &target)(error.error))?;
        Ok(())
    }

    /// Receives what is still lacking of a file; a body that breaks off is taken up where it ended.
    fn append(
        &self,
        url: &str,
        file: &RemoteFile,
        part: &mut tempfile::NamedTempFile,
        received: &mut u64,
        hasher: &mut Hasher,
    ) -> std::result::Result<(), Failure> {
        let mut answer = self.get(url, *received)?;
        if *received > 0 && answer.status().as_u16() != 206 {
            part.as_file().set_len(0).map_err(|error| passing(&error))?;
            std::io::Seek::rewind(part).map_err(|error| passing(&error))?;
            (*received, *hasher) = (0, Hasher::new(&file.hash, file.size));
        }
        let mut body = answer.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = body.read(&mut buffer).map_err(|error| passing(&error))?;
            if count == 0 {
                break;
            }
            *received += count as u64;
            if *received > file.size {
                let reason =
                    format!("`{}` is longer than the {} bytes that were announced", file.path, file.size);
                return Err(Failure::Final(failed(url, reason)));
            }
            let path = part.path().to_owned();
            part.write_all(&buffer[..count])
                .map_err(|error| Failure::Final(io_error("write", &path)(error)))?;
            hasher.update(&buffer[..count]);
        }
        if *received == file.size {
            return Ok(());
        }
        Err(Failure::Passing {
            reason: format!("`{}` ended after {received} of {} bytes", file.path, file.size),
            wait: None,
        })
    }

    /// A successful answer; redirects are followed by hand, because the token may go to the endpoint only.
    fn get(&self, url: &str, from: u64) -> std::result::Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(&url).header("accept-encoding", "identity");
            let is_own = url.strip_prefix(&self.endpoint).is_some_and(|rest| rest.starts_with('/'));
            if let Some(token) = self.token.as_ref().filter(|_| is_own) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
            }
            let answer = request.call().map_err(|error| passing(&error))?;
            match answer.status().as_u16() {
                200..=299 => return Ok(answer),
                301 | 302 | 303 | 307 | 308 => {
                    let to = header(&answer, "location").unwrap_or_default();
                    url = match to {
                        absolute if absolute.starts_with("http://") || absolute.starts_with("https://") => {
                            absolute
                        }
                        path if path.starts_with('/') => format!("{}{path}", self.endpoint),
                        other => return Err(refused(&url, &format!("a redirect to `{other}`"))),
                    };
                }
                status @ (408 | 429 | 500..=599) => {
                    let wait = header(&answer, "retry-after").and_then(|text| text.parse().ok());
                    let wait = wait.map(|seconds: u64| Duration::from_secs(seconds.min(60)));
                    return Err(Failure::Passing { reason: format!("status {status}"), wait });
                }
                status => return Err(refused(&url, &explained(status, &answer))),
            }
        }
        Err(refused(&url, "too many redirects"))
    }
}

/// Repeats what failed in passing, with growing waits or those that the service asks for.
fn patiently<T>(id: &str, mut once: impl FnMut() -> std::result::Result<T, Failure>) -> Result<T> {
    let mut attempt = 0;
    loop {
        match once() {
            Ok(value) => return Ok(value),
            Err(Failure::Final(Error::Hub { reason, .. })) => return Err(failed(id, reason)),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Passing { reason, .. }) if attempt + 1 >= ATTEMPTS => {
                return Err(failed(id, format!("given up after {ATTEMPTS} attempts: {reason}")));
            }
            Err(Failure::Passing { wait, .. }) => {
                std::thread::sleep(wait.unwrap_or(Duration::from_millis(300 << (2 * attempt))));
                attempt += 1;
            }
        }
    }
}

fn header(answer: &Response<Body>, name: &str) -> Option<String> {
    answer.headers().get(name)?.to_str().ok().map(str::to_owned)
}

fn next_page(answer: &Response<Body>) -> Option<String> {
    let link = header(answer, "link")?;
    let (url, rest) = link.split_once('<')?.1.split_once('>')?;
    rest.contains("rel=\"next\"").then(|| url.to_owned())
}

fn passing(error: &dyn std::fmt::Display) -> Failure {
    Failure::Passing { reason: error.to_string(), wait: None }
}

/// Signed addresses carry a secret in their query, which no message repeats.
fn refused(url: &str, reason: &str) -> Failure {
    let public = url.split('?').next().unwrap_or_default();
    Failure::Final(failed(public, format!("{reason} from `{public}`")))
}

fn explained(status: u16, answer: &Response<Body>) -> String {
    let code = header(answer, "x-error-code").unwrap_or_default();
    match (status, code.as_str()) {
        (401, "RepoNotFound") => {
            "no such repository, or it is private and needs a token (status 401)".to_owned()
        }
        (401 | 403, "GatedRepo") => {
            format!("access has to be granted to your account first (status {status})")
        }
        (401, _) => "the token is not valid (status 401)".to_owned(),
        (404, "RevisionNotFound") => "no such revision (status 404)".to_owned(),
        (404, "RepoNotFound") => "no such repository (status 404)".to_owned(),
        _ => format!("status {status} {code}").trim_end().to_owned(),
    }
}

/// One percent-encoded segment of a path.
fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
