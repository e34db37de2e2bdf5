use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http_client::{Client, HeaderMap, Options, Request, Response, Retry};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use super::export_link::{file_behind, remedy};
use super::robots::Robots;
use crate::render::{DeckName, FileFormat, InputFile, sniff};
use crate::{Contract, Error, Limits, Result, sha256_hex, write_atomic};

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
const MAX_ROBOTS: u64 = 512 << 10;

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
    client: Client,
    is_interrupted: &'a dyn Fn() -> bool,
    folder: &'a Path,
    limits: &'a Limits,
    pause: Duration,
    robots: HashMap<String, Robots>,
    last: HashMap<String, Instant>,
    known: HashMap<String, Fetched>,
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(
        folder: &'a Path,
        limits: &'a Limits,
        pause_s: f64,
        http: &Options,
        is_interrupted: &'a dyn Fn() -> bool,
    ) -> Result<Self> {
        let pause = Duration::from_secs_f64(pause_s.clamp(0.0, 3600.0));
        // A busy site is asked three times, never sooner than our own pause.
        let base = pause.max(Duration::from_secs(1));
        let retry = Retry { attempts: 3, base, max: base * 4, budget: limits.time_limit(), jitter: 0.0 };
        let options = Options { user_agent: USER_AGENT.to_owned(), retry, ..http.clone() };
        let client = Client::new(options).map_err(|source| Error::Http { source })?;
        let index = folder.join("index.jsonl");
        let known = Fetched::read_log_if_present(&index)?.entries;
        Ok(Self {
            client,
            is_interrupted,
            folder,
            limits,
            pause,
            robots: HashMap::new(),
            last: HashMap::new(),
            known: known.into_iter().map(|line| (line.url.clone(), line)).collect(),
        })
    }

    /// Gets an address, or the file that the page there shows; a file that was fetched before is taken from disk.
    pub(super) fn get(&mut self, url: &Url, license: Option<&str>) -> std::result::Result<Page, String> {
        if let Some(known) = self.known.get(url.as_str()) {
            let path = self.folder.join(&known.file);
            if path.exists() {
                return Ok(Page::File(input(url, path, license)));
            }
        }
        let mut at = file_behind(url).unwrap_or_else(|| url.clone());
        for _ in 0..=REDIRECTS {
            let path = &at[url::Position::BeforePath..url::Position::AfterQuery];
            if !self.rules(&at)?.allows(path) {
                return Err(match file_behind(url) {
                    Some(_) => format!("robots.txt does not allow it; {}", remedy(url)),
                    None => "robots.txt does not allow it".to_owned(),
                });
            }
            self.wait(&at);
            let response = self.ask(Request::get(at.clone()).limit(self.limits.max_file_bytes()))?;
            if let Some(target) = redirect(&at, &response) {
                at = target.ok_or("redirects nowhere")?;
                check_scheme(&at)?;
                continue;
            }
            if !response.is_success() {
                return Err(format!("the server answered {}", response.status));
            }
            refuse_opt_out(&response.headers)?;
            return self.keep(url, at, &response.body, license);
        }
        Err(format!("redirects more than {REDIRECTS} times"))
    }

    /// One request; redirects come back as they are.
    fn ask(&self, request: Request) -> std::result::Result<Response, String> {
        let request = request.redirects(0).total(self.limits.time_limit());
        self.client.send_unless(&request, self.is_interrupted).map_err(|error| match error {
            http_client::Error::TooLarge { .. } => {
                format!("is larger than `limits.max_file_mib` = {}", self.limits.max_file_mib)
            }
            error => project_files::with_causes(&error),
        })
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
            let request = Request::get(at.clone()).limit(MAX_ROBOTS).retry(Retry::NONE);
            let Ok(response) = self.ask(request) else { break };
            match response.status {
                300..400 => {
                    if let Some(target) = redirect(&at, &response).flatten() {
                        at = target;
                        continue;
                    }
                }
                200..300 => {
                    let text = String::from_utf8(response.body);
                    rules = text.map_or_else(|_| Robots::closed(), |text| Robots::parse(&text, AGENT));
                }
                400..500 => rules = Robots::default(),
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
            while last.elapsed() < pause && !(self.is_interrupted)() {
                std::thread::sleep(pause.saturating_sub(last.elapsed()).min(Duration::from_millis(50)));
            }
        }
        self.last.insert(host, Instant::now());
    }
}

/// The target of a redirect; `Some(None)` for one that names none.
#[expect(clippy::option_option, reason = "no redirect, or one with or without a target")]
fn redirect(at: &Url, response: &Response) -> Option<Option<Url>> {
    let is_redirect = (300..400).contains(&response.status);
    is_redirect.then(|| response.header("location").and_then(|target| at.join(target).ok()))
}

fn check_scheme(url: &Url) -> std::result::Result<(), String> {
    match url.scheme() {
        "http" | "https" => Ok(()),
        scheme => Err(format!("`{scheme}:` is not fetched, only http and https")),
    }
}

/// Refuses what its owner withholds from machines: `X-Robots-Tag: noai` and the like, and a TDM reservation.
fn refuse_opt_out(headers: &HeaderMap) -> std::result::Result<(), String> {
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
