//! Scores that are asked for again, reports, and corrections.

use pq_testing::project::Project;
use serde_json::{Value, json};
use slide_data::{Contract as _, Correction};

use crate::common::{SCORE, Service, command, deck, logged, project, raw, slide};
use crate::prediction;

fn corrections(project: &Project) -> Vec<Correction> {
    Correction::read_log_if_present(&project.path("data/user_feedback/corrections.jsonl")).unwrap().entries
}

/// A score that the model did not give.
fn other(scores: &Value, key: &str) -> u8 {
    if prediction(scores).score(key).unwrap().get() == 5 { 1 } else { 5 }
}

#[test]
fn a_correction_is_noted_once_in_the_form_of_the_other_doors() {
    let project = project();
    let service = Service::start(&project, &[]);
    let rated = service.post("/slides", &slide(&project, 0, 1), None).json();
    let scores = &rated["slides"][0]["scores"];
    let said = json!({
        "id": "c-1", "slide_id": scores["slide_id"], "annotator": " Ana ", "notes": "no message",
        "scores": {"clarity": other(scores, "clarity"), "data_visualization": null, "design": prediction(scores).score("design").unwrap().get()},
    });
    let taken = service.post("/corrections", said.to_string().as_bytes(), None);
    assert_eq!(taken.status, 200, "{}", taken.body);
    assert_eq!(taken.json()["is_new"], true);
    let again = service.post("/corrections", said.to_string().as_bytes(), None);
    assert_eq!((again.status, &again.json()["is_new"]), (200, &false.into()));
    assert_eq!(again.json()["scores"], taken.json()["scores"]);
    // Under the same id something else is said: nothing of it is kept, and the answer does not sound as if it were.
    let mut others = [said.clone(), said.clone(), said.clone()];
    others[0]["scores"]["clarity"] = if said["scores"]["clarity"] == 5 { 2 } else { 4 }.into();
    others[1]["scores"]["readability"] = other(scores, "readability").into();
    others[2]["annotator"] = "Ben".into();
    for other in others {
        let refused = service.post("/corrections", other.to_string().as_bytes(), None);
        assert_eq!((refused.status, &refused.json()["error"]), (409, &"known_id".into()), "{}", refused.body);
    }
    let noted = corrections(&project);
    assert_eq!(noted.len(), 1);
    let Correction { id, slide_id, model_version, annotator, predicted, scores: kept, notes, .. } = &noted[0];
    assert_eq!(
        (id.as_str(), annotator.as_str(), notes.as_str(), model_version.as_str()),
        ("c-1", "Ana", "no message", "run-1")
    );
    assert_eq!(slide_id.as_str(), scores["slide_id"]);
    assert_eq!(
        kept.keys().collect::<Vec<_>>(),
        ["clarity", "data_visualization"],
        "what the model said too is no correction"
    );
    assert_eq!(*predicted, prediction(scores).expected);
}

#[test]
fn a_correction_that_cannot_be_right_is_refused_and_nothing_is_noted() {
    let project = project();
    let service = Service::start(&project, &[]);
    let rated = service.post("/slides", &slide(&project, 0, 1), None).json();
    let id = rated["slides"][0]["scores"]["slide_id"].as_str().unwrap();
    let right = json!({"slide_id": id, "annotator": "Ana", "scores": {"clarity": 1}});
    let with = |key: &str, value: Value| {
        let mut said = right.clone();
        said[key] = value;
        said
    };
    for (said, status) in [
        (with("scores", json!({"clarity": 6})), 422),
        (with("scores", json!({"clarity": 0})), 422),
        (with("scores", json!({"clarity": 2.5})), 422),
        (with("scores", json!({"beauty": 3})), 422),
        (with("scores", json!({})), 422),
        (with("annotator", json!("")), 422),
        (with("notes", json!("x".repeat(5000))), 422),
        (with("slide_id", json!("no-such-slide")), 404),
        (with("surprise", json!(1)), 422),
        (json!([]), 422),
    ] {
        let refused = service.post("/corrections", said.to_string().as_bytes(), None);
        assert_eq!(refused.status, status, "{said}: {}", refused.body);
    }
    assert_eq!(service.post("/corrections", b"{", None).status, 422);
    let huge = "POST /corrections HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n";
    let (answer, _) = raw(&service, huge.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(corrections(&project).is_empty());
}

#[test]
fn scores_are_found_by_slide_and_by_line_also_by_a_service_that_did_not_make_them() {
    let project = project();
    let mut first = Service::start(&project, &[]);
    let rated = first.post("/slides", &slide(&project, 0, 1), None).json();
    let scores = rated["slides"][0]["scores"].clone();
    let (slide_id, line) = (scores["slide_id"].as_str().unwrap(), scores["id"].as_str().unwrap());
    let assert_found = |service: &Service| {
        for id in [slide_id, line] {
            assert_eq!(service.get(&format!("/scores/{id}")).json(), scores);
        }
        assert_eq!(service.get("/scores/none").status, 404);
    };
    assert_found(&first);
    first.kill();
    let second = Service::start(&project, &[]);
    assert_found(&second);
    let said =
        json!({"slide_id": slide_id, "annotator": "Ana", "scores": {"clarity": other(&scores, "clarity")}});
    assert_eq!(second.post("/corrections", said.to_string().as_bytes(), None).status, 200);
    assert_eq!(corrections(&project).len(), 1);
}

#[test]
fn where_nothing_is_logged_a_report_has_no_form() {
    let project = project();
    let mut unlogged = command(&project, &[]);
    unlogged.arg("--no-log");
    let service = Service::launch(unlogged, None);
    service.wait_ready();
    let state = service.deck("deck.pdf", &std::fs::read(deck()).unwrap());
    let report = service.get(&format!("/decks/{}/report", state["id"].as_str().unwrap()));
    assert_eq!(report.status, 200);
    assert!(!report.body.contains("<script") && !report.body.contains("<button"));
    assert_eq!(logged(&project), []);
}

#[test]
fn a_deck_has_a_report_to_correct_and_one_to_keep() {
    let project = project();
    let service = Service::start(&project, &[]);
    let state = service.deck("My%20%3Cdeck%3E.pdf", &std::fs::read(deck()).unwrap());
    assert_eq!(state["name"], "My <deck>.pdf");
    let id = state["id"].as_str().unwrap();
    let served = service.get(&format!("/decks/{id}/report"));
    assert!(served.status == 200 && served.body.contains("<h1>My &lt;deck&gt;</h1>"));
    assert!(served.body.contains("/assets/report.js") && served.body.contains("data-slide-id="));
    let kept = service.get(&format!("/decks/{id}/report?plain=true"));
    assert!(!kept.body.contains("<script") && !kept.body.contains("<button"));
    let pages = state["scored"].as_u64().unwrap() as usize;
    assert_eq!(kept.body.matches("data:image/jpeg;base64,").count(), pages);
    assert!(served.body.contains("<textarea"), "a correction can be explained");
    for path in ["/decks/none", "/decks/none/report", "/decks/none/result"] {
        assert_eq!(service.get(path).status, 404, "{path}");
    }
}

#[test]
fn what_a_newer_program_noted_or_kept_stops_no_service() {
    let project = project();
    for log in [
        "data/user_feedback/corrections.jsonl",
        "monitoring/kept/kept_slides.jsonl",
        "monitoring/predictions.jsonl",
    ] {
        project.write(log, "{\"schema_version\":9,\"id\":\"n\"}\n");
    }
    let service = Service::start(&project, &[]);
    let rated = service.post("/slides", &slide(&project, 0, 1), None).json();
    let scores = &rated["slides"][0]["scores"];
    let said = json!({"slide_id": scores["slide_id"], "annotator": "Ana", "scores": {"clarity": other(scores, "clarity")}});
    assert_eq!(service.post("/corrections", said.to_string().as_bytes(), None).status, 200);
    assert_eq!(project.read("data/user_feedback/corrections.jsonl").lines().count(), 2);
}

#[test]
fn corrections_from_a_file_come_into_the_same_log_while_the_service_runs() {
    let project = project();
    let service = Service::start(&project, &[]);
    let rated = service.post("/slides", &slide(&project, 0, 1), None).json();
    let scores = &rated["slides"][0]["scores"];
    let clarity = other(scores, "clarity");
    let short = json!({"slide_id": scores["slide_id"], "annotator": "Ana", "scores": {"clarity": clarity}});
    let whole = json!({
        "schema_version": 1, "id": "crm-1", "slide_id": "deck1-p001", "model_version": "v0", "annotator": "Ben",
        "corrected_at": "2026-01-02T03:04:05Z", "predicted": {"clarity": 3.4}, "scores": {"clarity": 2},
    });
    let stranger = json!({"id": "crm-2", "slide_id": "nowhere", "model_version": "v0", "annotator": "Ben", "scores": {"clarity": 2}});
    project.write("in.jsonl", &format!("{short}\n{whole}\n{stranger}\n"));
    let run = |more: &[&str]| {
        let output = project.run(SCORE, &[&["corrections", "in.jsonl"], more].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = run(&["--dry-run"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.starts_with("line 3: no slide `nowhere`") && said.contains("2 corrections would be added"),
        "{said}"
    );
    assert!(corrections(&project).is_empty());
    let (code, said) = run(&[]);
    assert!(
        code == Some(1) && said.contains("2 corrections added, 0 known already, 1 lines not taken"),
        "{said}"
    );
    let noted = corrections(&project);
    assert_eq!(noted.len(), 2);
    assert_eq!(serde_json::to_value(&noted[1].predicted).unwrap(), whole["predicted"], "as it was sent");
    assert_eq!(
        (noted[0].model_version.as_str(), &noted[0].predicted),
        ("run-1", &prediction(scores).expected)
    );
    let (code, said) = run(&["--keep-unknown", "--json"]);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &report["added"], &report["known"]), (Some(0), &1.into(), &2.into()), "{said}");
    assert_eq!(project.run(SCORE, &["corrections", "none.jsonl"]).status.code(), Some(2));
    let before = project.run(SCORE, &["--json", "--config", "config", "corrections", "in.jsonl"]);
    let report: Value = serde_json::from_slice(&before.stdout).unwrap_or_else(|_| panic!("{before:?}"));
    assert_eq!(report["known"], 2, "options of every subcommand may stand before it");
    let misplaced = project.run(SCORE, &["--no-log", "corrections", "in.jsonl"]);
    let said = String::from_utf8_lossy(&misplaced.stderr).into_owned();
    assert!(misplaced.status.code() == Some(2) && said.contains("`--no-log` stands before"), "{said}");
    let file = project.run(SCORE, &["--adapter", "outputs/run-1", "--no-log", "./corrections"]);
    let said = String::from_utf8_lossy(&file.stderr).into_owned();
    assert!(said.contains("there is no `./corrections`"), "{said}");
}
