//! Whatever redirects and LFS answers say, the token is seen by the Hub's own origin alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_client::{Options, Retry, Timeouts};
use hub_client::{Hub, PushFile};
use serde_json::json;
use test_server::{Answer, Request, Server, json, redirect, text};

const TOKEN: &str = "Bearer hf_secret";

/// Addresses of two servers, spelt in all the ways that a parser may stumble over.
fn address(random: &mut fastrand::Rng, own: u16, other: u16) -> String {
    let port = if random.bool() { own } else { other };
    let host = *random
        .choice(&[
            "127.0.0.1",
            "localhost",
            "LOCALHOST",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "127.0.0.1.",
            "[::1]",
            "localhost.",
        ])
        .unwrap();
    let scheme = *random.choice(&["http", "HTTP", "http", "http", "http", "http", "https", "ftp"]).unwrap();
    let path =
        *random.choice(&["/x", "/x?y=1", "/%2e%2e/x", "//x", "/x#f", "", "/team/m/resolve/main/x"]).unwrap();
    match random.u8(..10) {
        0 => format!("//{host}:{port}{path}"),
        1 => path.to_owned(),
        2 => format!("{scheme}://127.0.0.1:{own}@{host}:{other}{path}"),
        3 => format!("{scheme}://127.0.0.1:{own}\\@{host}:{other}{path}"),
        4 => format!("{scheme}:{host}:{port}{path}"),
        5 => format!("{scheme}://{host}:{port}0{path}"),
        6 => format!(" \t{scheme}://{host}:{port}{path}"),
        7 => format!("{scheme}:\\\\{host}:{port}{path}"),
        _ => format!("{scheme}://{host}:{port}{path}"),
    }
}

struct Answers {
    random: fastrand::Rng,
    own: u16,
    other: u16,
}

impl Answers {
    fn address(&mut self) -> String {
        address(&mut self.random, self.own, self.other)
    }

    /// A redirect somewhere, or an end.
    fn elsewhere(&mut self) -> Answer {
        let status = *self.random.choice(&[301, 302, 303, 307, 308]).unwrap();
        if self.random.u8(..4) == 0 { text(200, "content") } else { redirect(status, self.address()) }
    }

    fn batch(&mut self, request: &Request) -> Answer {
        let oid = request.json()["objects"][0]["oid"].clone();
        let mut header = json!({});
        if self.random.bool() {
            header = json!({"chunk_size": "2", "1": self.address(), "2": self.address()});
        }
        let verify = self.random.bool().then(|| json!({"href": self.address()}));
        let upload = json!({"href": self.address(), "header": header});
        let actions = match verify {
            Some(verify) => json!({"upload": upload, "verify": verify}),
            None => json!({"upload": upload}),
        };
        json(200, &json!({"objects": [{"oid": oid, "actions": actions}]}))
    }

    fn answer(&mut self, request: &Request) -> Answer {
        match request.plain_path() {
            "/api/models/team/m/preupload/main" => json(
                200,
                &json!({"commitOid": "c", "files": [{"path": "a.safetensors", "uploadMode": "lfs"}]}),
            ),
            "/team/m.git/info/lfs/objects/batch" => self.batch(request),
            "/api/models/team/m/commit/main" => text(400, "enough"),
            _ => self.elsewhere(),
        }
    }
}

/// Every request that shows the token names the Hub's own origin as its host.
fn leaks(requests: &[Request], own: &str) -> Vec<String> {
    let shows = |request: &&Request| request.headers.values().any(|value| value.contains("hf_secret"));
    let is_foreign = |request: &&Request| request.header("host") != Some(own);
    let leaks = requests.iter().filter(shows).filter(is_foreign);
    leaks
        .map(|request| format!("{} {} at {:?}", request.method, request.path, request.header("host")))
        .collect()
}

fn fuzz(count: usize, seed: u64) {
    let other_answers: Arc<Mutex<Option<Answers>>> = Arc::new(Mutex::new(None));
    let answers = |shared: &Arc<Mutex<Option<Answers>>>| {
        let shared = Arc::clone(shared);
        move |request: &Request| match shared.lock().unwrap().as_mut() {
            Some(answers) => answers.answer(request),
            None => text(404, ""),
        }
    };
    let own = Server::start(answers(&other_answers));
    let other = Server::start(answers(&other_answers));
    *other_answers.lock().unwrap() =
        Some(Answers { random: fastrand::Rng::with_seed(seed), own: own.port(), other: other.port() });
    let second = Duration::from_secs(2);
    let timeouts = Timeouts { connect: second, first_byte: second, idle: second };
    let options = Options { retry: Retry::NONE, timeouts, ..Options::default() };
    let hub = Hub::new(&own.base, Some("hf_secret"), options).unwrap();
    let own_host = own.base.trim_start_matches("http://").to_owned();
    let (mut shown, mut foreign) = (0, 0);
    for at in 0..count {
        if at % 2 == 0 {
            let _ = hub.download("team/m", "main", "x");
        } else {
            let file = PushFile { path: "a.safetensors".to_owned(), content: b"abc".to_vec() };
            let _ = hub.push("team/m", &[file], "v1");
        }
        let (at_home, abroad) = (own.take(), other.take());
        shown += at_home.iter().filter(|request| request.header("authorization") == Some(TOKEN)).count();
        foreign +=
            abroad.len() + at_home.iter().filter(|request| request.header("host") != Some(&own_host)).count();
        assert_eq!(leaks(&at_home, &own_host), [""; 0], "seed {seed}, {at}");
        assert_eq!(leaks(&abroad, &own_host), [""; 0], "seed {seed}, {at}");
    }
    assert!(shown > count / 2 && foreign > count / 8, "{shown} with the token, {foreign} at another origin");
}

#[test]
fn no_redirect_and_no_lfs_answer_leads_the_token_astray() {
    fuzz(1000, 1);
}

#[test]
#[ignore = "endurance: 100,000 answers"]
fn no_answer_of_100000_leads_the_token_astray() {
    fuzz(100_000, 2);
}

#[test]
fn the_test_would_see_a_leak() {
    let request = |host: &str| Request {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        headers: [("host".to_owned(), host.to_owned()), ("authorization".to_owned(), TOKEN.to_owned())]
            .into(),
        body: Vec::new(),
        at: std::time::Instant::now(),
    };
    assert_eq!(leaks(&[request("127.0.0.1:1"), request("127.0.0.1:10")], "127.0.0.1:1").len(), 1);
}
