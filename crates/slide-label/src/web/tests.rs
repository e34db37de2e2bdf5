use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use serde_json::{Value, json};
use slide_data::{Contract as _, Rubric};
use tower::ServiceExt;

use super::{Access, App, AppSettings, app};
use crate::{Event, LabelConfig, Role};

struct Site {
    dir: tempfile::TempDir,
    state: Arc<App>,
    router: Router,
}

impl Site {
    fn new(access: Access) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = crate::layout_in(dir.path());
        std::fs::create_dir_all(paths.slides().images()).unwrap();
        let line = |deck: usize, number: usize| {
            json!({"schema_version": 1, "slide_id": format!("d{deck}-{number}"), "deck_id": format!("d{deck}"), "number": number,
                "source": {"kind": "image", "origin": "x", "sha256": ""}, "sha256": format!("{deck}{number}"), "phash": "0",
                "width": 4, "height": 3, "group": "g", "collected_at": "2026-01-01T00:00:00Z"})
            .to_string()
        };
        let lines: Vec<String> = (0..6).map(|index| line(index / 2, index % 2 + 1)).collect();
        std::fs::write(paths.slides().manifest(), lines.join("\n") + "\n").unwrap();
        std::fs::write(paths.slides().image("d0-1"), b"\x89PNG").unwrap();
        let config = LabelConfig { calibration_slides: 0, ..LabelConfig::default() };
        let settings = AppSettings { paths, rubric: Rubric::default(), config, access, audit_days: 14.0 };
        let state = Arc::new(App::open(settings).unwrap().0);
        Self { dir, router: app(state.clone()), state }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, to_bytes(body, 1 << 20).await.unwrap().to_vec())
    }

    async fn post(&self, path: &str, cookie: &str, body: Value) -> (StatusCode, Value) {
        let request = request("POST", path, cookie).body(Body::from(body.to_string())).unwrap();
        let (status, _, bytes) = self.send(request).await;
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str, cookie: &str) -> (StatusCode, HeaderMap, Vec<u8>) {
        self.send(request("GET", path, cookie).body(Body::empty()).unwrap()).await
    }

    async fn sign_in(&self, body: Value) -> Option<String> {
        let request = request("POST", "/api/session", "").body(Body::from(body.to_string())).unwrap();
        let (_, headers, _) = self.send(request).await;
        Some(headers.get(header::SET_COOKIE)?.to_str().unwrap().to_owned())
    }

    fn events(&self) -> Vec<Event> {
        let path = self.dir.path().join("data/labeled/ratings.jsonl");
        Event::read_log_if_present(&path).unwrap().entries
    }
}

fn request(method: &str, path: &str, cookie: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost:7860")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::COOKIE, cookie)
}

fn rating(id: &str, slide: &str, who: &str) -> Value {
    json!({"id": id, "kind": "rated", "slide_id": slide, "annotator": who, "scores": {"clarity": 4}})
}

#[tokio::test]
async fn a_rating_is_in_the_journal_before_it_is_acknowledged() {
    let site = Site::new(Access::Local);
    let cookie = site.sign_in(json!({"name": "Ana"})).await.unwrap();
    let (status, answer) = site.post("/api/events", &cookie, rating("e1", "d0-1", "Ana")).await;
    assert_eq!((status, site.events().len()), (StatusCode::OK, 1));
    assert_eq!((&answer["head"], &answer["progress"]["rated"]), (&json!("e1"), &json!(1)));
    let (_, again) = site.post("/api/events", &cookie, rating("e1", "d0-1", "Ana")).await;
    assert_eq!((&again["was_known"], site.events().len()), (&json!(true), 1));
    let (status, stale) = site.post("/api/events", &cookie, rating("e2", "d0-1", "Ana")).await;
    assert_eq!((status, &stale["current"]["head"]), (StatusCode::CONFLICT, &json!("e1")));
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_and_not_written() {
    let site = Site::new(Access::Local);
    let cookie = site.sign_in(json!({"name": "Ana"})).await.unwrap();
    for (body, expected) in [
        (rating("e1", "d0-1", "Ben"), StatusCode::FORBIDDEN),
        (rating("e1", "nowhere", "Ana"), StatusCode::NOT_FOUND),
        (rating("e 1", "d0-1", "Ana"), StatusCode::UNPROCESSABLE_ENTITY),
        (
            json!({"id": "e1", "kind": "rated", "slide_id": "d0-1", "annotator": "Ana", "scores": {"clarity": 7}}),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            json!({"id": "e1", "kind": "rated", "slide_id": "d0-1", "annotator": "Ana"}),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (json!([1, 2]), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        assert_eq!(site.post("/api/events", &cookie, body.clone()).await.0, expected, "{body}");
    }
    assert_eq!(site.post("/api/events", "", rating("e1", "d0-1", "Ana")).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(site.events().len(), 0);
}

#[tokio::test]
async fn other_sites_and_other_names_of_this_machine_are_refused() {
    let site = Site::new(Access::Local);
    let cookie = site.sign_in(json!({"name": "Ana"})).await.unwrap();
    let body = rating("e1", "d0-1", "Ana").to_string();
    let refused = async |name: &str, value: &str| {
        let mut request = request("POST", "/api/events", &cookie).body(Body::from(body.clone())).unwrap();
        request
            .headers_mut()
            .insert(header::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        site.send(request).await.0
    };
    assert_eq!(refused("origin", "https://evil.example").await, StatusCode::FORBIDDEN);
    assert_eq!(refused("sec-fetch-site", "cross-site").await, StatusCode::FORBIDDEN);
    assert_eq!(refused("host", "evil.example").await, StatusCode::FORBIDDEN);
    assert_eq!(refused("x-forwarded-for", "1.2.3.4").await, StatusCode::FORBIDDEN);
    assert_eq!(refused("content-type", "text/plain").await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(site.events().len(), 0);
    assert_eq!(refused("origin", "http://localhost:7860").await, StatusCode::OK);
}

#[tokio::test]
async fn elsewhere_only_invited_people_get_in_and_guessing_is_slowed() {
    let site = Site::new(Access::Invited { is_https: true });
    assert!(site.sign_in(json!({"name": "Ana"})).await.is_none());
    let token = site.state.invite("Ana", Role::Annotator).unwrap();
    let cookie = site.sign_in(json!({"token": token.clone()})).await.unwrap();
    for attribute in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert_eq!(site.get("/api/mine", &cookie).await.0, StatusCode::OK);
    assert_eq!(site.get("/api/lead", &cookie).await.0, StatusCode::FORBIDDEN, "annotators do not lead");
    let (status, _) = site.post("/api/invitations", &cookie, json!({"name": "Eve", "role": "lead"})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let mut last = StatusCode::OK;
    for _ in 0..11 {
        last = site.post("/api/session", "", json!({"token": "guess"})).await.0;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(site.post("/api/session", "", json!({"token": token})).await.0, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(site.get("/api/mine", &cookie).await.0, StatusCode::OK, "who is in stays in");
}

#[tokio::test]
async fn pages_images_and_exports_are_served_with_strict_headers() {
    let site = Site::new(Access::Local);
    let (status, headers, body) = site.get("/", "").await;
    assert!(status == StatusCode::OK && String::from_utf8(body).unwrap().contains("/assets/app.js"));
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for name in ["app.js", "style.css", "lead.js", "icon.svg"] {
        let (status, headers, _) = site.get(&format!("/assets/{name}"), "").await;
        assert_eq!(
            (status, &headers["x-content-type-options"]),
            (StatusCode::OK, &"nosniff".parse().unwrap()),
            "{name}"
        );
    }
    assert_eq!(site.get("/assets/..%2Fapp.js", "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(site.get("/api/slides/d0-1/image", "").await.0, StatusCode::UNAUTHORIZED);
    let cookie = site.sign_in(json!({"name": "=Ana"})).await.unwrap();
    assert_eq!(site.get("/api/slides/d0-1/image", &cookie).await.2, b"\x89PNG");
    assert_eq!(site.get("/api/slides/d0-2/image", &cookie).await.0, StatusCode::NOT_FOUND, "no such file");
    assert_eq!(site.get("/api/slides/..%2F..%2Fmanifest/image", &cookie).await.0, StatusCode::NOT_FOUND);
    site.post("/api/events", &cookie, rating("e1", "d0-1", "=Ana")).await;
    let (_, headers, body) = site.get("/api/export.csv", &cookie).await;
    let text = String::from_utf8(body).unwrap();
    assert!(
        headers["content-type"].to_str().unwrap().starts_with("text/csv") && text.contains("d0-1,'=Ana,4,"),
        "{text}"
    );
}

#[tokio::test]
async fn the_lead_sees_disputes_decides_them_and_everything_is_kept() {
    let site = Site::new(Access::Local);
    for (who, score) in [("Ana", 1), ("Ben", 5)] {
        let cookie = site.sign_in(json!({"name": who})).await.unwrap();
        let event = json!({"id": who, "kind": "rated", "slide_id": "d0-1", "annotator": who, "scores": {"clarity": score}});
        assert_eq!(site.post("/api/events", &cookie, event).await.0, StatusCode::OK);
    }
    let cookie = site.sign_in(json!({"name": "Lead"})).await.unwrap();
    let report = |body: Vec<u8>| -> Value { serde_json::from_slice(&body).unwrap() };
    let before = report(site.get("/api/lead", &cookie).await.2);
    assert_eq!(before["disputed"][0]["slide_id"], "d0-1");
    assert_eq!(before["agreement"]["criteria"][0]["within_one"]["value"], json!(0.0));
    let word = json!({"id": "f", "kind": "adjudicated", "slide_id": "d0-1", "annotator": "Lead", "scores": {"clarity": 4}, "notes": "clear"});
    assert_eq!(site.post("/api/events", &cookie, word).await.0, StatusCode::OK);
    let history = report(site.get("/api/slides/d0-1/history", &cookie).await.2);
    assert_eq!(history["events"].as_array().unwrap().len(), 3);
    let path = site.dir.path().join("data/labeled/labels.json");
    drop(site.router);
    drop(site.state); // waits for what is derived
    let labels: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(labels["d0-1"]["clarity"], json!(4));
    assert_eq!(labels["d0-1"]["distribution"]["clarity"], json!([1, 0, 0, 0, 1]));
}

#[tokio::test]
async fn the_queue_hands_out_every_open_slide_without_scores() {
    let site = Site::new(Access::Local);
    let cookie = site.sign_in(json!({"name": "Ana"})).await.unwrap();
    let (_, queue) = site.post("/api/queue", &cookie, json!({"assigned": [], "count": 20})).await;
    assert_eq!((queue["slides"].as_array().unwrap().len(), &queue["progress"]["open"]), (6, &json!(6)));
    assert!(queue["slides"][0]["mine"]["scores"].is_null(), "nothing is preselected");
}
