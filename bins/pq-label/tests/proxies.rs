//! The recipes of docs/proxies.md, with the real nginx and Caddy: people get in, strangers do not, at the root and below a path.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Server, Site, wait_until};
use serde_json::{Value, json};

pq_testing::tests! {
    the_recipes_of_nginx_let_in_who_is_invited_and_nobody_else: needs Nginx;
    the_recipes_of_caddy_let_in_who_is_invited_and_nobody_else: needs Caddy;
    the_plainest_proxy_before_a_server_of_this_machine_hands_out_nothing: needs Nginx;
}

const PLAINEST: &str = "server { listen 443 ssl; location / { proxy_pass http://127.0.0.1:7860; } }";

/// The recipes of a kind in the documentation: at the root, and below a path.
fn recipes(language: &str) -> [String; 2] {
    let text = include_str!("../../../docs/proxies.md");
    let blocks: Vec<&str> = text.split(&format!("```{language}\n")).skip(1).collect();
    let ends = |block: &&str| block.split("```").next().unwrap().to_owned();
    let found: Vec<String> = blocks.iter().map(ends).collect();
    found.try_into().expect("two recipes")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A proxy while it runs; ended when dropped.
struct Proxy {
    child: Child,
    url: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status(); // it ends its own children
        let _ = self.child.wait();
    }
}

fn started(mut command: Command, port: u16) -> Proxy {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the proxy listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    Proxy { child, url: format!("http://127.0.0.1:{port}") }
}

/// Only what a test must change is: ports, and that there is no certificate.
fn nginx(recipe: &str, port: u16, server_port: &str, folder: &Path) -> Proxy {
    let kept = recipe.lines().filter(|line| !line.trim_start().starts_with("ssl_certificate"));
    let recipe: Vec<String> = kept
        .map(|line| {
            line.replace("listen 443 ssl", &format!("listen 127.0.0.1:{port}")).replace("7860", server_port)
        })
        .collect();
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: Vec<String> =
        paths.iter().map(|name| format!("{name}_temp_path {}/{name};", folder.display())).collect();
    let paths = paths.join("\n");
    let text = format!(
        "daemon off;\npid {0}/pid;\nerror_log {0}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{1}\n}}\n",
        folder.display(),
        recipe.join("\n")
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&file).arg("-p").arg(folder).arg("-e").arg(folder.join("error.log"));
    started(command, port)
}

fn caddy(recipe: &str, port: u16, server_port: &str, folder: &Path) -> Proxy {
    let names = ["label.example.org {", "example.org {"];
    let recipe = names.iter().fold(recipe.replace("7860", server_port), |text, name| {
        if text.trim_start().starts_with(name) {
            text.replacen(name, &format!("http://:{port} {{"), 1)
        } else {
            text
        }
    });
    let file = folder.join("Caddyfile");
    std::fs::write(&file, format!("{{\n    admin off\n}}\n{recipe}")).unwrap();
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file).env("HOME", folder);
    started(command, port)
}

/// A person on the other side of the proxy.
struct Outside {
    agent: ureq::Agent,
    /// Where the page is, as the browser has it.
    url: String,
    origin: String,
    cookie: String,
}

impl Outside {
    fn at(url: &str, origin: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        let (url, origin) = (url.to_owned(), origin.to_owned());
        Self { agent: ureq::Agent::new_with_config(config), url, origin, cookie: String::new() }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let request = self.agent.get(format!("{}{path}", self.url)).header("cookie", &self.cookie);
        let mut response = request.call().unwrap();
        let bytes = response.body_mut().read_to_vec().unwrap();
        (response.status().as_u16(), String::from_utf8_lossy(&bytes).into_owned())
    }

    fn post(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.agent.post(format!("{}{path}", self.url));
        let request = request.header("cookie", &self.cookie).header("origin", &self.origin);
        let mut response = request.send_json(body).unwrap();
        if let Some(cookie) = response.headers().get("set-cookie") {
            cookie.to_str().unwrap().split(';').next().unwrap().clone_into(&mut self.cookie);
        }
        (response.status().as_u16(), response.body_mut().read_json().unwrap_or(Value::Null))
    }
}

fn assert_rates(kind: &str, recipe: &str, path: &str, start: impl Fn(&str, u16, &str, &Path) -> Proxy) {
    let site = Site::new(2, 2, "calibration_slides = 0");
    let port = free_port();
    let public = format!("http://127.0.0.1:{port}{path}");
    let server = Server::start(&site, &["--port", "0", "--public-url", &public]);
    let listening = server.listening.clone();
    let proxy = start(recipe, port, &listening, site.dir.path());
    let origin = proxy.url.clone();
    let mut stranger = Outside::at(&public, &origin);
    let (status, page) = stranger.get("/");
    assert!(status == 200 && page.contains("\"assets/app.js\""), "{kind}{path}: {status} {page}");
    for asset in ["/assets/app.js", "/assets/style.css", "/sw.js", "/lead", "/join"] {
        assert_eq!(stranger.get(asset).0, 200, "{kind}{path}: {asset}");
    }
    for closed in ["/api/export.jsonl", "/api/mine", "/api/lead", "/api/slides/deck0-001/image"] {
        assert_eq!(stranger.get(closed).0, 401, "{kind}{path}: {closed}");
    }
    assert_eq!(stranger.post("/api/session", &json!({"name": "Stranger"})).0, 401, "{kind}{path}");
    let link = server.lead_link.clone().unwrap();
    let token =
        link.strip_prefix(&format!("{public}/join#")).expect("the printed link is the public one").to_owned();
    let mut lead = Outside::at(&public, &origin);
    let (status, session) = lead.post("/api/session", &json!({"token": token}));
    assert_eq!((status, &session["person"]["role"]), (200, &json!("lead")), "{kind}{path}");
    let event = json!({"id": "e1", "kind": "rated", "slide_id": "deck0-001", "annotator": "Lead", "scores": {"clarity": 4}});
    assert_eq!(lead.post("/api/events", &event).0, 200, "{kind}{path}");
    assert_eq!(lead.get("/api/slides/deck0-001/image").0, 200, "{kind}{path}");
    let mut elsewhere = Outside::at(&public, "https://evil.example");
    elsewhere.cookie.clone_from(&lead.cookie);
    let (status, refused) = elsewhere.post("/api/events", &event);
    assert!(status == 403 && refused["message"].as_str().unwrap().contains(&public), "{refused}");
    if !path.is_empty() {
        let bare = Outside::at(&origin, &origin).get(path);
        assert!((300..400).contains(&bare.0), "{kind}{path}: without its slash it leads there: {bare:?}");
    }
    // Wrong invitations of one client do not keep another one out: the proxy says who is who.
    let guess = |address: &str| {
        let request = stranger.agent.post(format!("{public}/api/session")).header("x-forwarded-for", address);
        request.send_json(json!({"token": "guess"})).unwrap().status().as_u16()
    };
    let last = (0..12).fold(None, |_, _| Some(guess("203.0.113.1")));
    assert_eq!(last, Some(429), "what a client writes before the proxy's own word is not believed");
    assert_eq!(lead.post("/api/session", &json!({"token": token})).0, 200, "a right link always lets in");
}

fn the_recipes_of_nginx_let_in_who_is_invited_and_nobody_else() {
    let [root, below] = recipes("nginx");
    assert_rates("nginx", &root, "", nginx);
    assert_rates("nginx", &below, "/label", nginx);
    // A proxy that rewrites Host, and one that leaves the path.
    assert_rates("nginx, Host rewritten", &root.replace("proxy_set_header Host $http_host;", ""), "", nginx);
    let left = below.replace("proxy_pass http://127.0.0.1:7860/;", "proxy_pass http://127.0.0.1:7860;");
    assert_rates("nginx, path left", &left, "/label", nginx);
}

fn the_recipes_of_caddy_let_in_who_is_invited_and_nobody_else() {
    let [root, below] = recipes("caddy");
    assert_rates("caddy", &root, "", caddy);
    assert_rates("caddy", &below, "/label", caddy);
}

/// A server for this machine alone, and a proxy that says nothing of being one: `Host` is this machine's, no header tells of it.
fn the_plainest_proxy_before_a_server_of_this_machine_hands_out_nothing() {
    let site = Site::new(2, 2, "calibration_slides = 0");
    let server = Server::start(&site, &["--port", "0"]);
    let proxy = nginx(PLAINEST, free_port(), &server.listening, site.dir.path());
    let mut stranger = Outside::at(&proxy.url, &proxy.url);
    let (status, session) = stranger.get("/api/session");
    assert!(
        status == 200 && !session.contains("known_names") && session.contains("\"person\":null"),
        "{session}"
    );
    for closed in ["/api/export.jsonl", "/api/mine", "/api/lead", "/api/slides/deck0-001/image"] {
        assert_eq!(stranger.get(closed).0, 401, "{closed}");
    }
    // As a program sends it: no Origin at all.
    let request = stranger.agent.post(format!("{}/api/session", proxy.url));
    assert_eq!(request.send_json(json!({"name": "Stranger"})).unwrap().status().as_u16(), 401);
    assert!(stranger.post("/api/session", &json!({"name": "Stranger", "token": "0000"})).0 >= 400);
}
