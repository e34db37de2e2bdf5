//! A small `WebDriver` client: what these tests need of the protocol, spoken to chromedriver.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::wait_until;

pub const ENTER: &str = "\u{e007}";
pub const SHIFT: &str = "\u{e008}";
pub const ESCAPE: &str = "\u{e00c}";
pub const DOWN: &str = "\u{e015}";
pub const TAB: &str = "\u{e004}";

/// A running chromedriver; ended when dropped.
pub struct Driver {
    child: Child,
    url: String,
    agent: ureq::Agent,
}

impl Driver {
    /// Starts chromedriver.
    pub fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it has an address").port();
        drop(free);
        let child = Command::new("chromedriver")
            .args([format!("--port={port}"), "--log-level=OFF".to_owned()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed");
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_mins(1)))
            .build();
        let driver = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            agent: ureq::Agent::new_with_config(config),
        };
        wait_until("chromedriver answers", || {
            driver.agent.get(format!("{}/status", driver.url)).call().is_ok()
        });
        driver
    }

    /// Opens a browser window of this size.
    pub fn browser(&self, width: u32, height: u32) -> Browser<'_> {
        let options = json!({"args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-device-scale-factor=1",
            format!("--window-size={width},{height}"),
        ]});
        let capabilities = json!({"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}});
        let answer = self.call("POST", "/session", &capabilities);
        let id = answer["sessionId"].as_str().expect("a session").to_owned();
        Browser { driver: self, id }
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.url);
        let response = match method {
            "GET" => self.agent.get(url).call(),
            "DELETE" => self.agent.delete(url).call(),
            _ => self.agent.post(url).send_json(body),
        };
        let mut response = response.expect("chromedriver answers");
        let status = response.status();
        let mut answer: Value =
            response.body_mut().with_config().limit(64 << 20).read_json().expect("chromedriver speaks JSON");
        assert!(status.is_success(), "{method} {path}: {answer:#}");
        answer["value"].take()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A browser window with a profile of its own.
pub struct Browser<'a> {
    driver: &'a Driver,
    id: String,
}

impl Browser<'_> {
    fn call(&self, path: &str, body: &Value) -> Value {
        self.driver.call("POST", &format!("/session/{}{path}", self.id), body)
    }

    pub fn open(&self, url: &str) {
        self.call("/url", &json!({"url": url}));
    }

    pub fn reload(&self) {
        self.call("/refresh", &json!({}));
    }

    /// Runs JavaScript in the page and returns what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.call("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Runs JavaScript that gives its result to a callback, its last argument.
    pub fn run_async(&self, script: &str) -> Value {
        self.call("/execute/async", &json!({"script": script, "args": []}))
    }

    /// Presses keys, one after another, on whatever has the focus.
    pub fn press(&self, keys: &str) {
        let mut actions = Vec::new();
        for key in keys.chars() {
            actions.push(json!({"type": "keyDown", "value": key.to_string()}));
            actions.push(json!({"type": "keyUp", "value": key.to_string()}));
        }
        self.act(&actions);
    }

    pub fn press_with_shift(&self, key: &str) {
        self.act(&[
            json!({"type": "keyDown", "value": SHIFT}),
            json!({"type": "keyDown", "value": key}),
            json!({"type": "keyUp", "value": key}),
            json!({"type": "keyUp", "value": SHIFT}),
        ]);
    }

    fn act(&self, actions: &[Value]) {
        self.call("/actions", &json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}));
    }

    pub fn click(&self, selector: &str) {
        let element = self.call("/element", &json!({"using": "css selector", "value": selector}));
        let id =
            element.as_object().and_then(|map| map.values().next()?.as_str()).expect("an element").to_owned();
        self.call(&format!("/element/{id}/click"), &json!({}));
    }

    pub fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.textContent ?? ''");
        self.run(&script).as_str().unwrap_or_default().to_owned()
    }

    /// Cuts or restores the network, as the page sees it.
    pub fn set_offline(&self, is_offline: bool) {
        let conditions =
            json!({"offline": is_offline, "latency": 0, "download_throughput": -1, "upload_throughput": -1});
        self.call("/chromium/network_conditions", &json!({"network_conditions": conditions}));
    }

    pub fn new_tab(&self) -> String {
        self.call("/window/new", &json!({"type": "tab"}))["handle"].as_str().expect("a window").to_owned()
    }

    pub fn switch_to(&self, handle: &str) {
        self.call("/window", &json!({"handle": handle}));
    }

    pub fn handle(&self) -> String {
        self.driver
            .call("GET", &format!("/session/{}/window", self.id), &Value::Null)
            .as_str()
            .expect("a window")
            .to_owned()
    }

    /// A key as a keyboard of another layout sends it: what it gives, and its place. `repeats` so many times while it is held.
    pub fn press_placed(&self, key: &str, code: &str, repeats: usize) {
        let send = |kind: &str, is_repeat: bool| {
            let mut params = json!({"type": kind, "key": key, "code": code, "autoRepeat": is_repeat});
            if kind == "keyDown" && (key.chars().count() == 1 || key == "Enter") {
                params["text"] = json!(if key == "Enter" { "\r" } else { key });
            }
            self.cdp("Input.dispatchKeyEvent", &params);
        };
        send("keyDown", false);
        (0..repeats).for_each(|_| send("keyDown", true));
        send("keyUp", false);
    }

    fn cdp(&self, command: &str, params: &Value) {
        self.call("/goog/cdp/execute", &json!({"cmd": command, "params": params}));
    }

    /// A window of this size in CSS pixels, as a phone or zooming gives it.
    pub fn emulate_size(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.cdp("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Lets every answer take this long, in milliseconds.
    pub fn set_latency(&self, latency: u64) {
        let conditions =
            json!({"offline": false, "latency": latency, "download_throughput": -1, "upload_throughput": -1});
        self.call("/chromium/network_conditions", &json!({"network_conditions": conditions}));
    }

    /// A phone: its size in CSS pixels, its density, touch.
    pub fn emulate_phone(&self) {
        let metrics = json!({"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true});
        self.call(
            "/goog/cdp/execute",
            &json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}),
        );
    }

    pub fn emulate_dark(&self) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
        self.call("/goog/cdp/execute", &json!({"cmd": "Emulation.setEmulatedMedia", "params": features}));
    }

    /// Paper in place of a screen.
    pub fn emulate_print(&self) {
        self.cdp("Emulation.setEmulatedMedia", &json!({"media": "print"}));
    }

    /// Puts what pages give to download into a folder.
    pub fn download_to(&self, folder: &Path) {
        let path = folder.to_str().expect("a plain path");
        self.cdp("Browser.setDownloadBehavior", &json!({"behavior": "allow", "downloadPath": path}));
    }

    /// Runs JavaScript in every page that is opened from now on, before its own.
    pub fn run_before_pages(&self, script: &str) {
        self.cdp("Page.addScriptToEvaluateOnNewDocument", &json!({"source": script}));
    }

    /// The window as PNG, in base64.
    pub fn screenshot(&self) -> String {
        let shot = self.driver.call("GET", &format!("/session/{}/screenshot", self.id), &Value::Null);
        shot.as_str().expect("an image").to_owned()
    }

    /// What the browser's console said of errors.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.call("/se/log", &json!({"type": "browser"}));
        let entries = log.as_array().cloned().unwrap_or_default();
        let severe = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        let url = format!("{}/session/{}", self.driver.url, self.id);
        let _ = self.driver.agent.delete(url).call();
    }
}
