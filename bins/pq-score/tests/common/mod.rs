//! A project with an adapter, and the service on it.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pq_testing::project::{Project, fake_run, repository};
use serde_json::Value;
use slide_data::{Contract as _, Prediction};

pub const SCORE: &str = env!("CARGO_BIN_EXE_pq-score");

/// A project of six decks with a run that was made beforehand.
pub fn project() -> Project {
    let project = Project::new(6);
    fake_run(&project);
    project
}

/// A drawn deck.
pub fn deck() -> PathBuf {
    repository().join("fixtures/decks/001-oriflow.pdf")
}

pub fn slide(project: &Project, deck: usize, number: usize) -> Vec<u8> {
    std::fs::read(project.path(&format!("data/raw/slides/deck{deck}-p{number:03}.png"))).unwrap()
}

/// A slide that no other seed has.
pub fn drawn(seed: usize) -> Vec<u8> {
    use slide_data::image::{ImageFormat, Rgb, RgbImage};
    let image = RgbImage::from_fn(160, 90, |x, y| {
        let is_dark = (x as usize / (5 + seed % 23) + y as usize / 10).is_multiple_of(2);
        Rgb([if is_dark { (seed % 251) as u8 } else { 240 }, (seed / 251) as u8, 200])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A ZIP archive of images.
pub fn zipped(slides: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (number, slide) in slides.iter().enumerate() {
        archive.start_file(format!("{:02}.png", number + 1), stored).unwrap();
        archive.write_all(slide).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// What the log of a project holds, as its readers see it.
pub fn logged(project: &Project) -> Vec<Prediction> {
    Prediction::read_log_if_present(&project.path("monitoring/predictions.jsonl")).unwrap().entries
}

/// The program while it serves; killed when dropped.
pub struct Service {
    child: Child,
    pub url: String,
    pub said: Arc<Mutex<String>>,
    pub token: Option<String>,
    agent: ureq::Agent,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<u64>,
    pub is_replayed: bool,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{} {}", self.status, self.body))
    }
}

/// The command that serves on a free port.
pub fn command(project: &Project, settings: &[&str]) -> Command {
    let mut args = vec!["serve", "--port", "0", "--adapter", "outputs/run-1"];
    for setting in settings {
        args.extend(["--set", setting]);
    }
    let mut command = project.command(SCORE, &args);
    command.env_remove("PQ_SCORE_TOKEN").env_remove("PQ_SCORE_TOKEN_PATH").env("RUST_LOG", "debug");
    command
}

impl Service {
    /// Starts it and waits until it takes work.
    pub fn start(project: &Project, settings: &[&str]) -> Self {
        let service = Self::launch(command(project, settings), None);
        service.wait_ready();
        service
    }

    /// Starts it and waits until it listens.
    pub fn launch(mut command: Command, token: Option<&str>) -> Self {
        if let Some(token) = token {
            command.env("PQ_SCORE_TOKEN", token);
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = Arc::new(Mutex::new(String::new()));
        let url = loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("it does not start: {}", said.lock().unwrap()))
                .unwrap();
            said.lock().unwrap().extend([line.as_str(), "\n"]);
            if let Some((_, url)) = line.split_once("listening on ") {
                break url.trim().to_owned();
            }
        };
        let heard = said.clone();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| heard.lock().unwrap().extend([line.as_str(), "\n"]));
        });
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_mins(2)))
            .build();
        let agent = ureq::Agent::new_with_config(config);
        Self { child, url, said, token: token.map(str::to_owned), agent }
    }

    pub fn wait_ready(&self) {
        // A request that was refused unread may have cost the connection.
        wait_until("it is ready", || self.try_get("/ready").is_some_and(|answer| answer.status == 200));
    }

    pub fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap_or_else(|| panic!("{path}: no answer: {}", self.said.lock().unwrap()))
    }

    pub fn try_get(&self, path: &str) -> Option<Answer> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Some(read(request.call().ok()?))
    }

    /// Sends a body, under a key where there is one; `None` where no whole answer came.
    pub fn try_post(&self, path: &str, body: &[u8], key: Option<&str>) -> Option<Answer> {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        Some(read(request.send(body).ok()?)).filter(|answer| answer.status > 0)
    }

    pub fn post(&self, path: &str, body: &[u8], key: Option<&str>) -> Answer {
        self.try_post(path, body, key)
            .unwrap_or_else(|| panic!("{path}: no answer: {}", self.said.lock().unwrap()))
    }

    /// Hands a deck in and waits for its end.
    pub fn deck(&self, name: &str, bytes: &[u8]) -> Value {
        let taken = self.post(&format!("/decks?name={name}"), bytes, None);
        assert_eq!(taken.status, 202, "{}", taken.body);
        self.wait_for_deck(taken.json()["id"].as_str().unwrap())
    }

    pub fn wait_for_deck(&self, id: &str) -> Value {
        let mut state = Value::Null;
        wait_until("the deck is rated", || {
            // A request before that was refused unread may have cost the connection.
            let Some(answer) = self.try_get(&format!("/decks/{id}")) else { return false };
            state = answer.json();
            state["state"] == "done" || state["state"] == "failed"
        });
        state
    }

    /// The value of a metric's line.
    pub fn metric(&self, line: &str) -> f64 {
        let text = self.get("/metrics").body;
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
        value.unwrap_or(0.0)
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Answer {
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let retry_after = header("retry-after").map(|seconds| seconds.parse().unwrap());
    let is_replayed = header("idempotent-replayed").is_some();
    let status = response.status().as_u16();
    match response.body_mut().with_config().limit(64 << 20).read_to_string() {
        Ok(body) => Answer { status, retry_after, is_replayed, body },
        Err(_) => Answer { status: 0, retry_after, is_replayed, body: String::new() },
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the service answers to these bytes, and after which time it closes the connection.
pub fn raw(service: &Service, text: &[u8]) -> (String, Duration) {
    let address = service.url.trim_start_matches("http://");
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let start = Instant::now();
    client.write_all(text).unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    (String::from_utf8_lossy(&answer).into_owned(), start.elapsed())
}

/// Waits until `check` holds.
#[track_caller]
pub fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < Duration::from_mins(5), "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}
