//! JSON that people and other tools write.

use serde_json::json;

use super::{Case, case, refused};

pub(super) fn cases() -> Vec<Case> {
    [lines(), labels(), tools()].into_iter().flatten().collect()
}

fn lines() -> Vec<Case> {
    let flat = r#"{"slide_id":"deck-p001","annotator":"Ana","clarity":4,"design":null}"#;
    vec![
        case("flat.jsonl", format!("{flat}\n"), "deck-p001 Ana: clarity=4 design=na", &["JSON lines"]),
        case(
            "nested.jsonl",
            r#"{"slide_id":"deck-p001","annotator":"Ana","scores":{"Clarity":"4","x":3}}"#,
            "deck-p001 Ana: clarity=4",
            &["\"name\":\"x\""],
        ),
        case(
            "lines-bad.jsonl",
            format!(
                "{flat}\n[1]\n{{\"slide_id\":\"deck-p002\",\"annotator\":\"Ana\",\"clarity\":9,\"design\":2}}\n{{\"clarity\":3}}\n"
            ),
            "deck-p001 Ana: clarity=4 design=na\ndeck-p002 Ana: design=2",
            &["line 2", "`9` is not 1 to 5", "it names no `slide_id`"],
        ),
        case(
            "lines.json",
            format!("{flat}\n{flat}\n"),
            "deck-p001 Ana: clarity=4 design=na",
            &["says the same"],
        ),
        case("list.json", format!("[{flat}]"), "deck-p001 Ana: clarity=4 design=na", &["a list of ratings"]),
        case(
            "pandas.json",
            r#"[{"Slide ID":"deck-p001","Rater":"Ana","Clarity":4.0,"Rated at":1772446260000}]"#,
            "deck-p001 Ana: clarity=4",
            &[],
        ),
        case(
            "any-key.json",
            r#"[{"page":"deck-p001.png","clarity":4}]"#,
            "deck-p001 imported: clarity=4",
            &["its values are slides of the manifest"],
        ),
        case("one.json", flat, "deck-p001 Ana: clarity=4 design=na", &[]),
        case(
            "value-bad.json",
            r#"[{"slide_id":"deck-p001","clarity":{"a":1},"design":true,"readability":[4,5],"content_quality":2}]"#,
            "deck-p001 imported: content_quality=2",
            &["`clarity`: an object", "`true` is no score", "2 values"],
        ),
        case(
            "journal.jsonl",
            r#"{"schema_version":1,"id":"a","kind":"rated","slide_id":"deck-p001","annotator":"Ana","at":"2026-01-01T00:00:00Z","scores":{"clarity":3}}
{"schema_version":1,"id":"b","kind":"undone","slide_id":"deck-p001","annotator":"Ana","at":"2026-01-02T00:00:00Z","undoes":"a"}"#,
            "deck-p001 Ana: clarity=3\ndeck-p001 Ana:",
            &["events of a journal", "\"other_events\":1"],
        ),
        refused("broken.json", "[{", &["EOF"]),
        refused("number.json", "[1", &["EOF"]),
    ]
}

fn labels() -> Vec<Case> {
    vec![
        case(
            "labels.json",
            r#"{"deck-p001.png":{"clarity":4,"design":null,"notes":"n"}}"#,
            "deck-p001 imported: clarity=4 design=na",
            &["labels by slide"],
        ),
        case(
            "labels-bad.json",
            r#"{"deck-p001":{"clarity":7,"design":3},"deck-p002":{"clarity":2.5},"deck-p003":{"clarity":3}}"#,
            "deck-p001 imported: design=3\ndeck-p003 imported: clarity=3",
            &["`7` is not 1 to 5", "`2.5`"],
        ),
        case(
            "labels-many.json",
            r#"{"deck-p001":{"clarity":4,"annotators":2,"distribution":{"clarity":[0,0,0,1,1]}}}"#,
            "deck-p001 imported 1: clarity=4\ndeck-p001 imported 2: clarity=5",
            &[],
        ),
        case(
            "labels-evil.json",
            r#"{"deck-p001":{"clarity":null,"annotators":3000000},"deck-p002":{"clarity":4,"annotators":2,"distribution":{"clarity":[4000000000,0,0,0,0]}},"deck-p003":{"clarity":3}}"#,
            "deck-p003 imported: clarity=3",
            &["3000000 people", "4000000000 people"],
        ),
    ]
}

fn tools() -> Vec<Case> {
    let argilla = json!([{"id": "r1", "fields": {"image": "https://h/deck-p001.png"}, "metadata": {}, "suggestions": {"clarity": {"value": 3}},
        "responses": {"clarity": [{"value": 4, "user_id": "u1"}, {"value": 2, "user_id": "u2"}], "design": [{"value": 5, "user_id": "u1"}]}}]);
    let earlier = json!([{"fields": {"slide": "x"}, "metadata": {"slide_id": "deck-p001"}, "suggestions": [],
        "responses": [{"user_id": "u1", "status": "submitted", "values": {"clarity": {"value": 4}}}, {"user_id": "u2", "status": "draft", "values": {}},
            {"user_id": "u3", "status": "discarded", "values": {}}]}]);
    vec![
        case(
            "argilla.json",
            argilla.to_string(),
            "deck-p001 Ana: clarity=4 design=5\ndeck-p001 argilla u2: clarity=2",
            &["records of Argilla", "\"predictions\":1"],
        )
        .told(&["person u1=Ana"]),
        case(
            "argilla-1.json",
            earlier.to_string(),
            "deck-p001 argilla u1: clarity=4\ndeck-p001 argilla u3 skipped:",
            &["\"drafts\":1"],
        ),
        refused(
            "prodigy.jsonl",
            r#"{"image":"deck-p001.png","_input_hash":1,"_task_hash":2,"accept":["4"],"answer":"accept"}"#,
            &["Prodigy", "`slide_id`"],
        ),
        refused(
            "doccano.jsonl",
            r#"{"id":1,"filename":"deck-p001.png","label":["4"],"Comments":[]}"#,
            &["doccano", "`slide_id`"],
        ),
        refused("doccano.json", r#"[{"id":1,"text":"x","label":[]}]"#, &["doccano"]),
        refused("coco.json", r#"{"images":[],"annotations":[],"categories":[]}"#, &["COCO"]),
    ]
}
