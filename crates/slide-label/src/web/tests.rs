use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use serde_json::{Value, json};
use slide_data::{Contract as _, Rubric};
use tower::ServiceExt;

use super::{Access, App, AppSettings, app};
use crate::{Event, LabelConfig, Role};

pub(crate) struct Site {
    dir: tempfile::TempDir,
    pub(crate) state: Arc<App>,
    router: Router,
}

impl Site {
    pub(crate) fn new(access: Access) -> Self {
        Self::at(access, None)
    }

    fn at(access: Access, public_url: Option<&str>) -> Self {
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
        let settings = AppSettings {
            paths,
            rubric: Rubric::default(),
            config,
            access,
            public_url: public_url.map(|url| url.parse().unwrap()),
            trusted_proxies: Vec::new(),
            audit_days: 14.0,
        };
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

    /// By name with the secret of this machine's link, where no token is given.
    async fn sign_in(&self, mut body: Value) -> Option<String> {
        if self.state.access() == Access::Local && body["token"].is_null() {
            body["token"] = json!(self.state.local_key());
        }
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
    let site = Site::at(Access::Invited, Some("https://label.example.org"));
    assert!(site.sign_in(json!({"name": "Ana"})).await.is_none());
    let token = site.state.invite("Ana", Role::Annotator, None).unwrap();
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
    assert_eq!(
        site.post("/api/session", "", json!({"token": token})).await.0,
        StatusCode::OK,
        "a right link lets in"
    );
    assert_eq!(site.get("/api/mine", &cookie).await.0, StatusCode::OK, "who is in stays in");
}

#[tokio::test]
async fn pages_images_and_exports_are_served_with_strict_headers() {
    let site = Site::new(Access::Local);
    let (status, headers, body) = site.get("/", "").await;
    assert!(status == StatusCode::OK && String::from_utf8(body).unwrap().contains("\"assets/app.js\""));
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
    assert_eq!(before["disputes"], json!({"open": 1, "decided": 0}));
    let listed = async |state: &str| -> Value {
        let path = format!("/api/disputes?state={state}&count=20");
        serde_json::from_slice(&site.get(&path, &cookie).await.2).unwrap()
    };
    assert_eq!(listed("open").await["slides"][0]["slide_id"], "d0-1");
    assert_eq!(listed("open").await["slides"][0]["median"]["clarity"], json!(3));
    assert_eq!(before["agreement"]["criteria"][0]["within_one"]["value"], json!(0.0));
    let word = json!({"id": "f", "kind": "adjudicated", "slide_id": "d0-1", "annotator": "Lead", "scores": {"clarity": 4}, "notes": "clear"});
    assert_eq!(site.post("/api/events", &cookie, word).await.0, StatusCode::OK);
    assert_eq!(
        (listed("open").await["total"].clone(), listed("decided").await["total"].clone()),
        (json!(0), json!(1))
    );
    assert_eq!(listed("decided").await["slides"][0]["adjudication"]["scores"]["clarity"], json!(4));
    let change = json!({"id": "f2", "kind": "adjudicated", "slide_id": "d0-1", "annotator": "Lead", "base": "f", "scores": {"clarity": 2}});
    assert_eq!(site.post("/api/events", &cookie, change).await.0, StatusCode::OK);
    assert_eq!(listed("decided").await["slides"][0]["adjudication"]["scores"]["clarity"], json!(2));
    let back = json!({"id": "f3", "kind": "undone", "slide_id": "d0-1", "annotator": "Lead", "base": "f2", "undoes": "f2"});
    assert_eq!(site.post("/api/events", &cookie, back).await.0, StatusCode::OK);
    assert_eq!(
        listed("decided").await["slides"][0]["adjudication"]["scores"]["clarity"],
        json!(4),
        "as before"
    );
    let history = report(site.get("/api/slides/d0-1/history", &cookie).await.2);
    assert_eq!(history["events"].as_array().unwrap().len(), 5);
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

#[tokio::test]
async fn without_the_secret_of_the_link_nobody_gets_in_on_this_machine_either() {
    let site = Site::new(Access::Local);
    let ana = site.sign_in(json!({"name": "Ana"})).await.unwrap();
    site.post("/api/events", &ana, rating("e1", "d0-1", "Ana")).await;
    for body in [
        json!({"name": "Eve"}),
        json!({"name": "Eve", "token": ""}),
        json!({"name": "Eve", "token": "guess"}),
    ] {
        assert_eq!(site.post("/api/session", "", body).await.0, StatusCode::UNAUTHORIZED);
    }
    let session: Value = serde_json::from_slice(&site.get("/api/session", "").await.2).unwrap();
    assert_eq!(session, json!({"person": null, "access": "local"}), "not even names");
    for path in [
        "/api/export.jsonl",
        "/api/export.csv",
        "/api/lead",
        "/api/mine",
        "/api/slides/d0-1/image",
        "/api/disputes?count=1",
    ] {
        assert_eq!(site.get(path, "").await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    // Who has the link is asked for a name, and offered those that are known.
    let (status, asked) = site.post("/api/session", "", json!({"token": site.state.local_key()})).await;
    assert_eq!(
        (status, &asked["known_names"], &asked["person"]),
        (StatusCode::OK, &json!(["Ana"]), &Value::Null)
    );
    let other = Site::new(Access::Local);
    assert_ne!(site.state.local_key(), other.state.local_key());
    // What came through a proxy is told what to do.
    for header in ["x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "via", "cf-connecting-ip"]
    {
        let request =
            request("GET", "/api/session", &ana).header(header, "1.2.3.4").body(Body::empty()).unwrap();
        let (status, _, body) = site.send(request).await;
        assert!(
            status == StatusCode::FORBIDDEN && String::from_utf8_lossy(&body).contains("--public-url"),
            "{header}"
        );
    }
}

#[tokio::test]
async fn behind_a_public_address_the_proxy_may_rewrite_host_and_leave_or_take_the_path() {
    let site = Site::at(Access::Invited, Some("https://example.org/label"));
    let token = site.state.invite("Ana", Role::Lead, None).unwrap();
    let send = async |path: &str, host: &str, origin: &str| {
        let request = Request::builder()
            .method("POST")
            .uri(path)
            .header(header::HOST, host)
            .header(header::ORIGIN, origin)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(json!({"token": token}).to_string()))
            .unwrap();
        site.send(request).await
    };
    for path in ["/api/session", "/label/api/session"] {
        for host in ["127.0.0.1:7860", "example.org"] {
            let (status, headers, _) = send(path, host, "https://example.org").await;
            assert_eq!(status, StatusCode::OK, "{path} {host}");
            let cookie = headers[header::SET_COOKIE].to_str().unwrap();
            assert!(cookie.contains("Path=/label/;") && cookie.contains("Secure"), "{cookie}");
        }
    }
    let (status, _, body) = send("/api/session", "127.0.0.1:7860", "https://evil.example").await;
    let said = String::from_utf8_lossy(&body).into_owned();
    assert!(status == StatusCode::FORBIDDEN && said.contains("https://example.org/label"), "{said}");
    for (path, status) in
        [("/label/", 200), ("/label/assets/app.js", 200), ("/", 200), ("/labels", 404), ("/label", 308)]
    {
        assert_eq!(site.get(path, "").await.0.as_u16(), status, "{path}");
    }
}

#[path = "doubt_tests.rs"]
mod doubt;
