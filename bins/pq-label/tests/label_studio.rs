//! Ratings that go to a real Label Studio and come back.
//!
//!     pip install label-studio
//!     LABEL_STUDIO_PYTHON=… cargo test -p pq-label --test label_studio -- --ignored
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::Site;
use serde_json::{Value, json};
use slide_data::Score;
use slide_label::Kind;

const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";
const TABLE: &str = "slide_id,annotator,clarity,design,data_visualization,readability,content_quality,notes,rated_at\n\
    deck0-001,Ana,4,3,na,5,4,\"fine, é\",2026-01-01T00:00:00Z\n\
    deck0-001,Ben,4,2,na,5,3,,2026-01-01T00:00:00Z\n\
    deck0-002,Ana,1,1,2,1,1,,2026-01-01T00:00:00Z\n";

/// A Label Studio with data of its own; ended when dropped.
struct Studio {
    child: Child,
    url: String,
    agent: ureq::Agent,
}

impl Studio {
    /// Starts the Label Studio of the Python that `LABEL_STUDIO_PYTHON` names.
    fn start(folder: &Path) -> Self {
        let python = std::env::var("LABEL_STUDIO_PYTHON").expect("LABEL_STUDIO_PYTHON names a Python");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let child = Command::new(python)
            .args([
                "-c",
                "from label_studio.server import main; main()",
                "start",
                "--no-browser",
                "--port",
                &port,
            ])
            .args(["--username", "lead@example.org", "--password", "long-Enough1", "--user-token", TOKEN])
            .env("LABEL_STUDIO_BASE_DATA_DIR", folder)
            .env("LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN", "true")
            .env("COLLECT_ANALYTICS", "false")
            .env("LATEST_VERSION_CHECK", "false")
            .env("SENTRY_DSN", "")
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the Python starts");
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = ureq::Agent::new_with_config(config.timeout_global(Some(Duration::from_mins(1))).build());
        let studio = Self { child, url: format!("http://127.0.0.1:{port}/api"), agent };
        let start = Instant::now();
        while !studio.agent.get(format!("{}/version", studio.url)).call().is_ok_and(|r| r.status() == 200) {
            assert!(start.elapsed() < Duration::from_mins(5), "Label Studio does not answer");
            std::thread::sleep(Duration::from_millis(500));
        }
        studio
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let (url, token) = (format!("{}{path}", self.url), format!("Token {TOKEN}"));
        let request = match method {
            "POST" => self.agent.post(url),
            _ => self.agent.patch(url),
        };
        let mut answer = request.header("authorization", token).send_json(body).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The project's ratings in one of Label Studio's forms.
    fn export(&self, project: &Value, form: &str) -> String {
        let url = format!("{}/projects/{project}/export?exportType={form}&download_all_tasks=true", self.url);
        let mut answer =
            self.agent.get(url).header("authorization", format!("Token {TOKEN}")).call().unwrap();
        assert!(answer.status().is_success(), "{form}: {}", answer.status());
        answer.body_mut().read_to_string().unwrap()
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A site with ratings of Ana and Ben, a skip of Ben's, and the folder `studio` for Label Studio.
fn site() -> Site {
    let site = Site::new(2, 2, "");
    let write = |name: &str, text: &str| std::fs::write(site.dir.path().join(name), text).unwrap();
    write("r.csv", TABLE);
    let skip = json!({"schema_version": 1, "id": "s1", "kind": "skipped", "slide_id": "deck0-002", "annotator": "Ben", "at": "2026-01-01T00:00:00Z"});
    write("s.jsonl", &format!("{skip}\n"));
    write("people.csv", "id,name\n2,Cleo\n");
    assert_eq!(site.run(&["import", "r.csv"]).0, 0);
    assert_eq!(site.run(&["import", "s.jsonl"]).0, 0);
    let (status, _, err) = site.run(&["export", "--format", "label-studio", "--unrated", "-o", "studio"]);
    assert_eq!(status, 0, "{err}");
    site
}

/// Imports what Label Studio gave, and returns the last line of what was said.
fn import(site: &Site, name: &str, text: &str) -> String {
    std::fs::write(site.dir.path().join(name), text).unwrap();
    let (_, out, err) = site.run(&["import", name, "--people", "people.csv"]);
    assert_eq!(err, "", "{out}");
    out.lines().last().unwrap_or_default().to_owned()
}

fn rating(control: &str, stars: u8) -> Value {
    json!({"from_name": control, "to_name": "image", "type": "rating", "value": {"rating": stars}})
}

#[test]
#[ignore = "needs LABEL_STUDIO_PYTHON, a Python with label-studio"]
fn what_goes_to_label_studio_comes_back_with_what_was_done_there() {
    let site = site();
    let read = |name: &str| std::fs::read_to_string(site.dir.path().join("studio").join(name)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let studio = Studio::start(folder.path());
    let project =
        studio.send("POST", "/projects", &json!({"title": "decks", "label_config": read("config.xml")}));
    let project = &project["id"];
    let tasks: Value = serde_json::from_str(&read("tasks.json")).unwrap();
    let taken = studio.send("POST", &format!("/projects/{project}/import"), &tasks);
    assert_eq!((&taken["task_count"], &taken["annotation_count"]), (&json!(4), &json!(4)), "{taken}");

    let exported = studio.export(project, "JSON");
    assert_eq!(import(&site, "back.json", &exported), "0 ratings added, 4 known already, 0 left out");
    for form in ["JSON_MIN", "CSV"] {
        let name = if form == "CSV" { "back.csv" } else { "back-min.json" };
        let said = import(&site, name, &studio.export(project, form));
        assert!(said.starts_with("0 ratings added"), "{form}: {said}");
    }

    // Another person rates and skips there, and Ana's rating is changed.
    let cleo = json!({"email": "cleo@example.org", "username": "cleo", "password": "long-Enough2"});
    assert_eq!(studio.send("POST", "/users", &cleo)["id"], 2);
    let tasks: Value = serde_json::from_str(&exported).unwrap();
    let task = |slide: &str| {
        tasks.as_array().unwrap().iter().find(|task| task["data"]["slide_id"] == slide).unwrap().clone()
    };
    let annotate = |slide: &str, body: &Value| {
        studio.send("POST", &format!("/tasks/{}/annotations", task(slide)["id"]), body);
    };
    annotate(
        "deck1-001",
        &json!({"result": [rating("clarity", 5), rating("design", 2)], "completed_by": 2, "lead_time": 12.5}),
    );
    annotate("deck1-002", &json!({"result": [], "was_cancelled": true, "completed_by": 2}));
    let annotations = task("deck0-001")["annotations"].as_array().unwrap().clone();
    let is_anas = |annotation: &&Value| annotation["result"].to_string().contains("fine, é");
    let mut anas = annotations.iter().find(is_anas).unwrap().clone();
    for answer in anas["result"].as_array_mut().unwrap() {
        if answer["from_name"] == "clarity" {
            answer["value"]["rating"] = json!(2);
        }
    }
    studio.send("PATCH", &format!("/annotations/{}", anas["id"]), &json!({"result": anas["result"]}));

    let exported = studio.export(project, "JSON");
    assert_eq!(import(&site, "more.json", &exported), "3 ratings added, 3 known already, 0 left out");
    assert_eq!(import(&site, "more.json", &exported), "0 ratings added, 6 known already, 0 left out");
    let store = site.store();
    let score =
        |slide: &str, who: &str, key: &str| store.current(slide, who).unwrap().scores().get(key).copied();
    assert_eq!(score("deck0-001", "Ana", "clarity"), Some(Score::new(2)));
    assert_eq!(score("deck0-001", "Ana", "data_visualization"), Some(None), "it did not apply and does not");
    assert_eq!(score("deck0-001", "Ben", "clarity"), Some(Score::new(4)));
    assert_eq!(score("deck1-001", "Cleo", "design"), Some(Score::new(2)));
    assert_eq!(store.current("deck0-001", "Ana").unwrap().notes(), "fine, é");
    for (slide, who) in [("deck0-002", "Ben"), ("deck1-002", "Cleo")] {
        assert_eq!(store.current(slide, who).unwrap().kind(), Kind::Skipped, "{slide} {who}");
    }
    assert!(store.current("deck0-001", "label-studio 1").is_none(), "nobody rated who did not");

    // Tables know people by number, and leave out skips.
    let fresh = self::site();
    let said = import(&fresh, "more.csv", &studio.export(project, "CSV"));
    assert!(said.ends_with("0 left out"), "{said}");
    assert_eq!(fresh.store().current("deck1-001", "Cleo").unwrap().scores()["clarity"], Score::new(5));
}
