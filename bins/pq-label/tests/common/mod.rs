//! A project with drawn slides, and the program serving it.
#![allow(dead_code, reason = "each test program uses its own part")]

pub mod wire;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use serde_json::{Value, json};
use slide_data::{Labels, Rubric};
use slide_label::{Event, Journal, Store};

/// A folder with a configuration, a manifest and images. Its rubric is the default: what ships may ask more.
pub struct Site {
    pub dir: tempfile::TempDir,
}

impl Site {
    pub fn new(decks: usize, slides: usize, label_table: &str) -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap() };
        let raw = site.data().join("raw");
        std::fs::create_dir_all(raw.join("slides")).unwrap();
        let mut lines = String::new();
        for deck in 0..decks {
            for number in 1..=slides {
                let id = format!("deck{deck}-{number:03}");
                draw(deck, number).save(raw.join("slides").join(format!("{id}.png"))).unwrap();
                lines.push_str(&record(&id, deck, number).to_string());
                lines.push('\n');
            }
        }
        std::fs::write(raw.join("manifest.jsonl"), lines).unwrap();
        let config = site.dir.path().join("config");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(config.join("data.toml"), format!("[label]\n{label_table}\n")).unwrap();
        site
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn journal(&self) -> PathBuf {
        self.data().join("labeled/ratings.jsonl")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pq-label"));
        command.current_dir(self.dir.path()).args(arguments).env("RUST_LOG", "info");
        command
    }

    /// Runs the program to its end: its exit status, standard output and standard error.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    pub fn events(&self) -> Vec<Event> {
        Journal::read(&self.journal()).unwrap().0
    }

    pub fn store(&self) -> Store {
        let (store, refused) = Store::from_events(Rubric::default(), self.events());
        assert!(refused.is_empty(), "{refused:?}");
        store
    }

    pub fn labels(&self) -> Labels {
        Labels::read_for(&self.data().join("labeled/labels.json"), &Rubric::default()).unwrap()
    }

    /// Writes predictions that say 2 on each criterion of every slide.
    pub fn predict(&self, decks: usize, slides: usize) {
        let keys: Vec<String> = Rubric::default().keys().map(str::to_owned).collect();
        let all = |value: Value| -> BTreeMap<&str, Value> {
            keys.iter().map(|k| (k.as_str(), value.clone())).collect()
        };
        let line = |id: String| {
            json!({"schema_version": 1, "slide_id": id, "deck_id": "d", "sha256": "", "scored_at": "2026-01-01T00:00:00Z",
                "model_version": "v1", "distributions": all(json!([0.1, 0.8, 0.1, 0.0, 0.0])), "expected": all(json!(2.0)), "latency_ms": 1.0})
            .to_string()
        };
        let ids =
            (0..decks).flat_map(|deck| (1..=slides).map(move |number| format!("deck{deck}-{number:03}")));
        let text: Vec<String> = ids.map(line).collect();
        std::fs::create_dir_all(self.dir.path().join("monitoring")).unwrap();
        std::fs::write(self.dir.path().join("monitoring/predictions.jsonl"), text.join("\n") + "\n").unwrap();
    }
}

pub fn record(id: &str, deck: usize, number: usize) -> Value {
    json!({
        "schema_version": 1, "slide_id": id, "deck_id": format!("deck{deck}"), "number": number,
        "source": {"kind": "pdf", "origin": format!("spring/deck {deck}.pdf"), "sha256": ""}, "sha256": slide_data::sha256_hex(id.as_bytes()),
        "phash": "0", "width": 320, "height": 180, "group": format!("deck{deck}"), "collected_at": "2026-01-01T00:00:00Z",
    })
}

fn draw(deck: usize, number: usize) -> RgbImage {
    let title = Rgb([(40 + 40 * deck) as u8, 80, 200]);
    RgbImage::from_fn(320, 180, |x, y| match (x, y) {
        (_, 0..30) => title,
        _ if x > 40 && (x as usize / 20) <= number + 2 && y > 150 - 10 * (x / 20) && y < 160 => {
            Rgb([60, 120, 90])
        }
        _ => Rgb([245, 245, 245]),
    })
}

/// The secrets of the links that servers on this machine have printed, by port.
static KEYS: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

fn port_of(url: &str) -> &str {
    url.rsplit(':').next().unwrap()
}

/// Notes the secret that lets in at an address.
pub fn remember_key(url: &str, key: &str) {
    KEYS.lock().unwrap().insert(port_of(url).to_owned(), key.to_owned());
}

/// The secret that lets in at an address.
pub fn key_of(url: &str) -> String {
    KEYS.lock().unwrap().get(port_of(url)).cloned().unwrap_or_default()
}

/// The program while it serves; killed when dropped.
pub struct Server {
    child: Child,
    pub url: String,
    pub lead_link: Option<String>,
    /// The port it listens on.
    pub listening: String,
}

impl Server {
    /// Starts it and waits until it says where it listens.
    pub fn start(site: &Site, arguments: &[&str]) -> Self {
        let mut child = site.command(arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (mut url, mut lead_link, mut listening) = (None, None, String::new());
        let is_local = !arguments.iter().any(|argument| ["--host", "--public-url"].contains(argument));
        while url.is_none() || (lead_link.is_none() && !is_local) {
            let line = lines.next().expect("the server starts").unwrap();
            if let Some((_, address)) = line.split_once("slides to rate at ") {
                port_of(address.trim_end_matches(')').split("/join#").next().unwrap())
                    .clone_into(&mut listening);
                let address = address.split(" (").next().unwrap_or_default().trim();
                let (base, key) = address.split_once("/join#").unwrap_or((address, ""));
                remember_key(base, key);
                url = Some(base.to_owned());
            }
            if let Some((_, link)) = line.split_once("for 7 days: ") {
                lead_link = Some(link.trim().to_owned());
            }
        }
        // The rest of what it says must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, url: url.unwrap(), lead_link, listening }
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as Ctrl-C would.
    pub fn stop(&mut self) -> i32 {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// The most memory it has held, in megabytes (Linux).
    pub fn peak_memory_mb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
    }

    pub fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `check` holds.
#[track_caller]
pub fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// A person who talks to the server as the page does: signed in, by JSON.
pub struct Client {
    agent: ureq::Agent,
    url: String,
    cookie: String,
    pub name: String,
}

impl Client {
    pub fn sign_in(url: &str, name: &str) -> Option<Self> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        let agent = ureq::Agent::new_with_config(config);
        let response = agent
            .post(format!("{url}/api/session"))
            .send_json(json!({"name": name, "token": key_of(url)}))
            .ok()?;
        let cookie = response.headers().get("set-cookie")?.to_str().ok()?.split(';').next()?.to_owned();
        Some(Self { agent, url: url.to_owned(), cookie, name: name.to_owned() })
    }

    /// The same person at a server that was started anew (the session is still known).
    pub fn moved_to(&self, url: &str) -> Self {
        Self {
            agent: self.agent.clone(),
            url: url.to_owned(),
            cookie: self.cookie.clone(),
            name: self.name.clone(),
        }
    }

    /// The answer's status and body; `None` where the server was not reached or its answer was cut off.
    pub fn post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let request = self.agent.post(format!("{}/api{path}", self.url)).header("cookie", &self.cookie);
        let mut response = request.send_json(body).ok()?;
        Some((response.status().as_u16(), response.body_mut().read_json().ok()?))
    }

    pub fn get(&self, path: &str) -> Option<(u16, Vec<u8>)> {
        let request = self.agent.get(format!("{}/api{path}", self.url)).header("cookie", &self.cookie);
        let mut response = request.call().ok()?;
        Some((response.status().as_u16(), response.body_mut().read_to_vec().ok()?))
    }
}
