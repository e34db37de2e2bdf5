//! What goes wrong around rating: bad labels, a damaged journal, Ctrl-C in the middle.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

mod common;

use common::{Client, Server, Site, wait_until};
use serde_json::{Value, json};
use slide_data::Score;

fn rating(id: &str, slide: &str, who: &str) -> Value {
    json!({"id": id, "kind": "rated", "slide_id": slide, "annotator": who, "scores": {"clarity": 4, "design": 2}})
}

#[test]
fn labels_of_missing_slides_and_scores_of_seven_are_named_and_the_rest_is_taken() {
    let site = Site::new(1, 3, "");
    let labels = json!({
        "deck0-001": {"clarity": 4}, "deck0-002": {"clarity": 7}, "deck0-003": {"clarity": 2.5}, "gone-004": {"clarity": 3},
        "deck0-003.png": {"clarity": 5, "design": null},
    });
    std::fs::write(site.dir.path().join("labels.json"), labels.to_string()).unwrap();
    let (status, out, _) = site.run(&["import", "labels.json"]);
    assert!(status == 1 && out.ends_with("2 ratings added, 0 known already, 3 left out\n"), "{out}");
    for word in ["deck0-002", "`7`", "deck0-003", "slide `gone-004`: it is not in the manifest"] {
        assert!(out.contains(word), "{word} in {out}");
    }
    assert_eq!(site.labels().slides["deck0-003"].scores["clarity"], Score::new(5));
    assert_eq!(site.run(&["verify"]).0, 0);
}

#[test]
fn ratings_of_slides_that_have_gone_are_told_and_kept() {
    let site = Site::new(1, 2, "");
    std::fs::write(site.dir.path().join("r.csv"), "slide_id,clarity\ndeck0-001,4\ndeck0-002,3\n").unwrap();
    assert_eq!(site.run(&["import", "r.csv"]).0, 0);
    let manifest = site.data().join("raw/manifest.jsonl");
    let first = std::fs::read_to_string(&manifest).unwrap().lines().next().unwrap().to_owned();
    std::fs::write(&manifest, first + "\n").unwrap();
    let (status, out, _) = site.run(&["verify"]);
    assert!(status == 0 && out.contains("slide `deck0-002` is rated but not in the manifest"), "{out}");
    assert_eq!(site.labels().slides.len(), 2);
}

#[test]
fn a_line_of_garbage_in_the_journal_costs_itself_alone_and_stays_where_it_is() {
    let site = Site::new(1, 1, "");
    std::fs::create_dir_all(site.data().join("labeled")).unwrap();
    let good = json!({"schema_version": 1, "id": "a", "kind": "rated", "slide_id": "deck0-001", "annotator": "Ana",
        "at": "2026-01-01T00:00:00Z", "scores": {"clarity": 3}});
    let binary: Vec<u8> =
        (0..=255u8).cycle().take(2000).filter(|byte| *byte != b'\n').chain([b'\n']).collect();
    for garbage in [binary, b"[]\n".to_vec(), b"{\"id\": 3}\n".to_vec(), b"\0\0\0\n".to_vec()] {
        let bytes = [format!("{good}\n").into_bytes(), garbage].concat();
        std::fs::write(site.journal(), &bytes).unwrap();
        let (status, out, _) = site.run(&["verify"]);
        assert!(status == 1 && out.contains("line 2 cannot be read and does not count"), "{out}");
        for arguments in [&["rebuild"][..], &["export"]] {
            let (status, _, err) = site.run(arguments);
            assert!(
                status == 0 && err.contains("1 lines of") && err.contains("line 2"),
                "{arguments:?}: {err}"
            );
        }
        assert_eq!(site.labels().slides.len(), 1, "the line before it counts");
        assert_eq!(std::fs::read(site.journal()).unwrap(), bytes, "nothing was changed");
    }
}

#[test]
fn what_is_no_journal_is_refused_and_left_as_it_is() {
    let site = Site::new(1, 1, "");
    std::fs::create_dir_all(site.data().join("labeled")).unwrap();
    for garbage in ["{\"id\": 3}\n", "\0\0\0\n"] {
        std::fs::write(site.journal(), garbage).unwrap();
        for arguments in [&["verify"][..], &["rebuild"], &["export"], &["--port", "0"]] {
            let (status, _, err) = site.run(arguments);
            assert!(
                status == 2 && err.contains("line 1 is not a valid rating event"),
                "{arguments:?}: {err}"
            );
            assert_eq!(std::fs::read_to_string(site.journal()).unwrap(), garbage, "nothing was changed");
        }
    }
}

#[test]
fn a_torn_last_line_is_set_aside_and_told() {
    let site = Site::new(1, 1, "");
    std::fs::create_dir_all(site.data().join("labeled")).unwrap();
    std::fs::write(site.journal(), b"{\"schema_version\":1,\"id\":\"x\",\"ki").unwrap();
    let server = Server::start(&site, &["--port", "0"]);
    let ana = Client::sign_in(&server.url, "Ana").unwrap();
    assert_eq!(ana.post("/events", &rating("e1", "deck0-001", "Ana")).unwrap().0, 200);
    assert_eq!(site.events().len(), 1);
    let aside = std::fs::read(site.data().join("labeled/ratings.jsonl.torn")).unwrap();
    assert!(aside.starts_with(b"{\"schema_version\":1,\"id\":\"x\""));
}

#[test]
fn ctrl_c_in_the_middle_keeps_what_was_acknowledged_and_the_labels_follow() {
    let site = Site::new(4, 10, "");
    let mut server = Server::start(&site, &["--port", "0"]);
    let url = server.url.clone();
    let acknowledged: usize = std::thread::scope(|scope| {
        let people: Vec<_> = ["Ana", "Ben", "Cleo"]
            .map(|name| {
                let url = &url;
                scope.spawn(move || {
                    let client = Client::sign_in(url, name).unwrap();
                    let rate = |index: usize| {
                        let slide = format!("deck{}-{:03}", index / 10, index % 10 + 1);
                        client.post("/events", &rating(&format!("{name}-{index}"), &slide, name))
                    };
                    (0..40).map_while(rate).filter(|(status, _)| *status == 200).count()
                })
            })
            .into_iter()
            .collect();
        wait_until("the work has begun", || site.journal().exists() && site.events().len() > 10);
        assert_eq!(server.stop(), 0, "a clean end");
        people.into_iter().map(|person| person.join().unwrap()).sum()
    });
    let held = site.events().len();
    assert!(held >= acknowledged && acknowledged > 10, "{held} of {acknowledged}");
    let (status, out, _) = site.run(&["verify"]);
    assert_eq!(status, 0, "{out}");
}

#[test]
fn a_server_that_cannot_listen_says_so() {
    let site = Site::new(1, 1, "");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (status, _, err) = site.run(&["--port", &port]);
    assert!(status == 2 && err.contains("cannot listen") && err.contains("--port"), "{err}");
}
