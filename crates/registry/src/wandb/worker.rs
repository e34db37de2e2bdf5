use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use project_files::with_causes;

use super::Finished;
use super::api::{Api, RunAddress};
use super::offline::{Line, OfflineFile};
use crate::Error;

/// What the training thread hands over.
#[derive(Debug)]
pub(super) enum Message {
    History { step: u64, runtime: f64, timestamp: f64, values: BTreeMap<String, f64> },
    Console(String),
    File { name: String, content: Vec<u8> },
    Finish { exit_code: i32, until: Instant },
}

struct Online {
    api: Api,
    address: RunAddress,
    history_sent: u64,
    console_sent: u64,
    failures: u32,
    not_before: Instant,
}

/// The thread behind a run: gathers, sends, and writes to disk what cannot be sent.
pub(super) struct Worker {
    online: Option<Online>,
    offline: OfflineFile,
    interval: Duration,
    stop_asked: Arc<AtomicBool>,
    /// The line of the newest step: the service has one line a step, so it waits until the next step begins.
    newest: Option<(u64, Line)>,
    history: Vec<Line>,
    console: Vec<String>,
    uploaded: Vec<String>,
    summary: BTreeMap<String, String>,
    problem: Option<String>,
    last_contact: Instant,
}

const HEARTBEAT: Duration = Duration::from_secs(30);
/// A request stays below what the service takes (10 MiB).
const MAX_LINES: usize = 4096;

impl Worker {
    pub(super) fn new(
        online: Option<(Api, RunAddress, u64)>,
        offline: OfflineFile,
        interval: Duration,
        stop_asked: Arc<AtomicBool>,
    ) -> Self {
        let now = Instant::now();
        let online = online.map(|(api, address, history_sent)| Online {
            api,
            address,
            history_sent,
            console_sent: 0,
            failures: 0,
            not_before: now,
        });
        Self {
            online,
            offline,
            interval,
            stop_asked,
            newest: None,
            history: Vec::new(),
            console: Vec::new(),
            uploaded: Vec::new(),
            summary: BTreeMap::new(),
            problem: None,
            last_contact: now,
        }
    }

    pub(super) fn run(mut self, messages: &Receiver<Message>) -> Finished {
        let mut next_flush = Instant::now();
        loop {
            let wait = next_flush.saturating_duration_since(Instant::now());
            match messages.recv_timeout(wait) {
                Ok(Message::Finish { exit_code, until }) => return self.finish(exit_code, until),
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {
                    self.flush();
                    next_flush = Instant::now() + self.interval;
                }
                Err(RecvTimeoutError::Disconnected) => return self.finish(1, Instant::now()),
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::History { step, runtime, timestamp, values } => {
                let mut line: Line = vec![
                    ("_step".to_owned(), step.to_string()),
                    ("_runtime".to_owned(), number(runtime)),
                    ("_timestamp".to_owned(), number(timestamp)),
                ];
                line.extend(values.into_iter().map(|(key, value)| (key, number(value))));
                self.summary.extend(line.iter().cloned());
                match self.newest.take() {
                    Some((at, earlier)) if at == step => {
                        let is_new =
                            |(key, _): &(String, String)| !line.iter().any(|(other, _)| other == key);
                        let kept: Line = earlier.into_iter().filter(is_new).collect();
                        line.extend(kept);
                    }
                    earlier => self.history.extend(earlier.map(|(_, line)| line)),
                }
                self.newest = Some((step, line));
            }
            Message::Console(line) => self.console.push(line),
            Message::File { name, content } => self.upload(&name, &content),
            Message::Finish { .. } => {}
        }
    }

    fn upload(&mut self, name: &str, content: &[u8]) {
        let sent = self.online.as_ref().map(|online| online.api.upload(&online.address, name, content));
        match sent {
            Some(Ok(())) => return self.uploaded.push(name.to_owned()),
            Some(Err(error)) => {
                self.problem = Some(format!("`{name}` was not uploaded: {}", with_causes(&error)));
            }
            None => {}
        }
        let written = self.offline.file(name, content);
        self.note(written);
    }

    fn flush(&mut self) {
        if self.online.is_none() {
            return self.write_offline();
        }
        let idle = self.history.is_empty() && self.console.is_empty() && self.uploaded.is_empty();
        if !idle || self.last_contact.elapsed() >= HEARTBEAT {
            while self.send(None) && self.history.len() > MAX_LINES {}
        }
    }

    /// Sends what has gathered; `false` when nothing more can be sent now.
    fn send(&mut self, exit_code: Option<i32>) -> bool {
        let lines = self.history.len().min(MAX_LINES);
        let Some(online) = &mut self.online else { return false };
        if Instant::now() < online.not_before {
            return false;
        }
        let body = stream_body(
            online,
            &self.history[..lines],
            &self.console,
            &self.uploaded,
            &self.summary,
            exit_code,
        );
        match online.api.stream(&online.address, &body) {
            Ok(stopped) => {
                online.history_sent += lines as u64;
                online.console_sent += self.console.len() as u64;
                online.failures = 0;
                self.history.drain(..lines);
                self.console.clear();
                self.uploaded.clear();
                self.last_contact = Instant::now();
                self.stop_asked.fetch_or(stopped, Ordering::Relaxed);
                true
            }
            Err(error) if is_final(&error) => {
                self.problem = Some(with_causes(&error));
                self.online = None;
                self.write_offline();
                false
            }
            Err(error) => {
                self.problem = Some(with_causes(&error));
                online.failures += 1;
                let delay = Duration::from_secs(1 << online.failures.min(6))
                    .min(self.interval.max(Duration::from_secs(1)) * 4);
                let delay = asked_wait(&error).unwrap_or(delay);
                online.not_before = Instant::now() + delay;
                false
            }
        }
    }

    fn finish(mut self, exit_code: i32, until: Instant) -> Finished {
        self.history.extend(self.newest.take().map(|(_, line)| line));
        loop {
            let more = self.history.len() > MAX_LINES;
            if self.send(if more { None } else { Some(exit_code) }) {
                if !more {
                    let uploads_failed = self.offline.path().is_some();
                    let problem = self.problem.filter(|_| uploads_failed);
                    return Finished { complete: !uploads_failed, offline: self.offline.path(), problem };
                }
            } else if let Some(online) = &self.online {
                let wait = online.not_before.saturating_duration_since(Instant::now());
                if Instant::now() + wait > until {
                    self.online = None;
                } else {
                    std::thread::sleep(wait);
                }
            } else {
                break;
            }
        }
        self.write_offline();
        let ended = self.offline.exit(exit_code);
        self.note(ended);
        Finished { complete: false, offline: self.offline.path(), problem: self.problem }
    }

    fn write_offline(&mut self) {
        for line in std::mem::take(&mut self.history) {
            let written = self.offline.history(&line);
            self.note(written);
        }
        for line in std::mem::take(&mut self.console) {
            let written = self.offline.console(&line);
            self.note(written);
        }
        let flushed = self.offline.flush();
        self.note(flushed);
    }

    fn note(&mut self, written: std::io::Result<()>) {
        if let Err(error) = written {
            self.problem = Some(format!("the offline file cannot be written: {error}"));
        }
    }
}

fn is_final(error: &Error) -> bool {
    match error {
        Error::Refused { status, .. } => !http_client::is_transient(*status),
        Error::Unreachable { .. } => false,
        _ => true,
    }
}

/// The wait that the service asks for.
fn asked_wait(error: &Error) -> Option<Duration> {
    match error {
        Error::Refused { wait, .. } => *wait,
        _ => None,
    }
}

fn stream_body(
    online: &Online,
    history: &[Line],
    console: &[String],
    uploaded: &[String],
    summary: &BTreeMap<String, String>,
    exit_code: Option<i32>,
) -> String {
    let mut files = Map::new();
    if !history.is_empty() {
        let content: Vec<String> =
            history.iter().map(|line| object(line.iter().map(|(k, v)| (k, v)))).collect();
        files.insert(
            "wandb-history.jsonl".to_owned(),
            json!({"offset": online.history_sent, "content": content}),
        );
        files.insert(
            "wandb-summary.json".to_owned(),
            json!({"offset": 0, "content": [object(summary.iter())]}),
        );
    }
    if !console.is_empty() {
        files.insert("output.log".to_owned(), json!({"offset": online.console_sent, "content": console}));
    }
    let mut body = Map::new();
    if !files.is_empty() {
        body.insert("files".to_owned(), Value::Object(files));
    }
    if !uploaded.is_empty() {
        body.insert("uploaded".to_owned(), json!(uploaded));
    }
    if let Some(code) = exit_code {
        body.insert("complete".to_owned(), json!(true));
        body.insert("exitcode".to_owned(), json!(code));
    }
    Value::Object(body).to_string()
}

fn object<'a>(items: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let mut text = String::from("{");
    for (index, (key, value)) in items.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{}:{value}", Value::String(key.clone()));
    }
    text.push('}');
    text
}

/// A number as the service takes it: `NaN` and `Infinity` are written bare.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else if value.fract() == 0.0 && value.abs() < 9e15 {
        format!("{value:.0}")
    } else {
        format!("{value:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_service_takes_them() {
        assert_eq!(number(f64::NAN), "NaN");
        assert_eq!(number(f64::NEG_INFINITY), "-Infinity");
        assert_eq!(number(1_048_576.0), "1048576");
        for value in [1e-7, 1e300, -0.1, 123.456] {
            assert_eq!(number(value).parse::<f64>().map(f64::to_bits), Ok(value.to_bits()));
        }
    }

    #[test]
    fn keys_are_escaped() {
        let items = [("train/\"loss\"".to_owned(), "1".to_owned())];
        assert_eq!(object(items.iter().map(|(k, v)| (k, v))), r#"{"train/\"loss\"":1}"#);
    }
}
