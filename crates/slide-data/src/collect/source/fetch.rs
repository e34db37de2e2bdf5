use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use super::robots::Robots;
use crate::render::{DeckName, FileFormat, InputFile, sniff};
use crate::{Contract, Limits, Result, sha256_hex, write_atomic};

/// The name in `User-agent` lines of robots.txt.
pub(super) const AGENT: &str = "PitchQuest";
const USER_AGENT: &str = concat!(
    "PitchQuest/",
    env!("CARGO_PKG_VERSION"),
    " (+",
    env!("CARGO_PKG_REPOSITORY"),
    "; slide collector; obeys robots.txt and noai)"
);
const REDIRECTS: usize = 5;

/// A file that was fetched: a line of `downloads/index.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Fetched {
    url: String,
    file: String,
    sha256: String,
    at: Timestamp,
}

impl Contract for Fetched {
    const NAME: &'static str = "line of the index of downloads";
    const VERSION: u32 = 1;
}

/// What an address gave.
pub(super) enum Page {
    /// A web page: its final address and text.
    Html(Url, String),
    /// A file with slides, on disk.
    File(InputFile),
}

/// Fetches politely: robots.txt, opt-out headers, a pause between requests to a host, sizes, redirects checked like requests.
pub(super) struct Fetcher<'a> {
    agent: ureq::Agent,
    folder: &'a Path,
    limits: &'a Limits,
    pause: Duration,
    robots: HashMap<String, Robots>,
    last: HashMap<String, Instant>,
    known: HashMap<String, Fetched>,
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(folder: &'a Path, limits: &'a Limits, pause_s: f64) -> Result<Self> {
        let agent = ureq::Agent::config_builder()
            .user_agent(USER_AGENT)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(limits.time_limit()))
            .build();
        let index = folder.join("index.jsonl");
        let known = Fetched::read_log_if_present(&index)?.entries;
        Ok(Self {
            agent: agent.into(),
            folder,
            limits,
            pause: Duration::from_secs_f64(pause_s.clamp(0.0, 3600.0)),
            robots: HashMap::new(),
            last: HashMap::new(),
            known: known.into_iter().map(|line| (line.url.clone(), line)).collect(),
        })
    }

    /// Gets an address; a file that was fetched before is taken from disk.
    pub(super) fn get(&mut self, url: &Url, license: Option<&str>) -> std::result::Result<Page, String> {
        if let Some(known) = self.known.get(url.as_str()) {
            let path = self.folder.join(&known.file);
            if path.exists() {
                return Ok(Page::File(input(url, path, license)));
            }
        }
        let mut at = url.clone();
        for _ in 0..=REDIRECTS {
            let path = &at[url::Position::BeforePath..url::Position::AfterQuery];
            if !self.rules(&at)?.allows(path) {
                return Err("robots.txt does not allow it".to_owned());
            }
            self.wait(&at);
            let mut response = self.agent.get(at.as_str()).call().map_err(|error| error.to_string())?;
            let status = response.status();
            if status.is_redirection() {
                let target = response.headers().get("location").and_then(|value| value.to_str().ok());
                at = target.and_then(|target| at.join(target).ok()).ok_or("redirects nowhere")?;
                check_scheme(&at)?;
                continue;
            }
            if !status.is_success() {
                return Err(format!("the server answered {status}"));
            }
            refuse_opt_out(response.headers())?;
            let bytes = self.body(response.body_mut())?;
            return self.keep(url, at, &bytes, license);
        }
        Err(format!("redirects more than {REDIRECTS} times"))
    }

    fn body(&self, body: &mut ureq::Body) -> std::result::Result<Vec<u8>, String> {
        let limit = self.limits.max_file_bytes();
        let too_large = || format!("is larger than `limits.max_file_mib` = {}", self.limits.max_file_mib);
        if body.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        body.as_reader().take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
    }

    fn keep(
        &mut self,
        url: &Url,
        at: Url,
        bytes: &[u8],
        license: Option<&str>,
    ) -> std::result::Result<Page, String> {
        if sniff(bytes) == FileFormat::Unknown {
            let text = String::from_utf8_lossy(bytes).into_owned();
            return if text.to_lowercase().contains("<html") || text.to_lowercase().contains("<a ") {
                Ok(Page::Html(at, text))
            } else {
                Err("is neither slides nor a web page".to_owned())
            };
        }
        let name = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
        let plain: String =
            name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
        let file =
            format!("{}-{}", &sha256_hex(url.as_str().as_bytes())[..12], plain.trim_start_matches('.'));
        let path = self.folder.join(&file);
        write_atomic(&path, bytes).map_err(|error| error.to_string())?;
        let line = Fetched { url: url.to_string(), file, sha256: sha256_hex(bytes), at: Timestamp::now() };
        Fetched::append(&self.folder.join("index.jsonl"), &[line]).map_err(|error| error.to_string())?;
        Ok(Page::File(input(url, path, license)))
    }

    /// The site's rules, asked for once: a missing file allows all, an unreachable site nothing (RFC 9309, 2.3.1).
    fn rules(&mut self, url: &Url) -> std::result::Result<Robots, String> {
        check_scheme(url)?;
        let site = url[..url::Position::BeforePath].to_owned();
        if let Some(rules) = self.robots.get(&site) {
            return Ok(rules.clone());
        }
        let mut at = url.join("/robots.txt").map_err(|error| error.to_string())?;
        let mut rules = Robots::closed();
        for _ in 0..=REDIRECTS {
            let Ok(mut response) = self.agent.get(at.as_str()).call() else { break };
            let target = response.headers().get("location").and_then(|value| value.to_str().ok());
            let target = target.and_then(|target| at.join(target).ok());
            match (response.status(), target) {
                (status, Some(target)) if status.is_redirection() => {
                    at = target;
                    continue;
                }
                (status, _) if status.is_success() => {
                    let text = response.body_mut().with_config().limit(512 << 10).read_to_string();
                    rules = text.map_or_else(|_| Robots::closed(), |text| Robots::parse(&text, AGENT));
                }
                (status, _) if status.is_client_error() => rules = Robots::default(),
                _ => {}
            }
            break;
        }
        self.robots.insert(site, rules.clone());
        Ok(rules)
    }

    fn wait(&mut self, url: &Url) {
        let host = url.host_str().unwrap_or_default().to_owned();
        let site = &url[..url::Position::BeforePath];
        let asked = self.robots.get(site).and_then(|rules| rules.crawl_delay_s).unwrap_or(0.0);
        let pause = self.pause.max(Duration::from_secs_f64(asked.min(60.0)));
        if let Some(last) = self.last.get(&host) {
            std::thread::sleep(pause.saturating_sub(last.elapsed()));
        }
        self.last.insert(host, Instant::now());
    }
}

fn check_scheme(url: &Url) -> std::result::Result<(), String> {
    match url.scheme() {
        "http" | "https" => Ok(()),
        scheme => Err(format!("`{scheme}:` is not fetched, only http and https")),
    }
}

/// Refuses what its owner withholds from machines: `X-Robots-Tag: noai` and the like, and a TDM reservation.
fn refuse_opt_out(headers: &ureq::http::HeaderMap) -> std::result::Result<(), String> {
    for value in headers.get_all("x-robots-tag").iter().filter_map(|value| value.to_str().ok()) {
        if let Some(tag) = opt_out(value) {
            return Err(format!("its owner opts out (`X-Robots-Tag: {tag}`)"));
        }
    }
    if headers.get("tdm-reservation").is_some_and(|value| value.as_bytes().trim_ascii() == b"1") {
        return Err("its owner opts out (`TDM-Reservation: 1`)".to_owned());
    }
    Ok(())
}

/// The first directive of a robots tag that forbids our use. A directive may be addressed (`agent: noai`).
pub(super) fn opt_out(value: &str) -> Option<&str> {
    let ours = |part: &&str| match part.split_once(':') {
        Some((agent, _)) => agent.trim().eq_ignore_ascii_case(AGENT),
        None => true,
    };
    let words = value.split(',').filter(ours).map(|part| part.rsplit(':').next().unwrap_or(part).trim());
    words
        .into_iter()
        .find(|word| ["noai", "noimageai", "none"].iter().any(|no| word.eq_ignore_ascii_case(no)))
}

fn input(url: &Url, path: PathBuf, license: Option<&str>) -> InputFile {
    let folder = url.as_str().rsplit_once('/').map_or(url.as_str(), |(folder, _)| folder);
    InputFile {
        path,
        origin: url.to_string(),
        deck: DeckName(folder.to_owned()),
        number: 1,
        license: license.map(str::to_owned),
    }
}
