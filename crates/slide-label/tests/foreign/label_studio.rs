//! Exports of Label Studio in their forms.

use serde_json::{Value, json};

use super::{Case, case};

fn rating(name: &str, value: u8) -> Value {
    json!({"id": "abc", "from_name": name, "to_name": "image", "type": "rating", "value": {"rating": value}})
}

fn task(image: &str, annotations: &Value) -> Value {
    json!({"id": 1, "data": {"image": image}, "annotations": annotations, "drafts": [], "predictions": []})
}

fn by(person: &Value, result: &Value) -> Value {
    json!({"id": 3, "completed_by": person, "result": result, "was_cancelled": false, "ground_truth": false,
        "created_at": "2026-03-01T10:00:00.1Z", "updated_at": "2026-03-01T10:05:00.1Z", "lead_time": 12.5})
}

fn export(image: &str, annotations: &Value) -> String {
    json!([task(image, annotations)]).to_string()
}

pub(super) fn cases() -> Vec<Case> {
    [images(), people(), controls(), forms(), ours()].into_iter().flatten().collect()
}

fn images() -> Vec<Case> {
    let one = json!([by(&json!(3), &json!([rating("clarity", 4)]))]);
    let taken = "deck-p001 label-studio 3: clarity=4";
    vec![
        case(
            "ls-local.json",
            export("/data/local-files/?d=slides/deck-p001.png", &one),
            taken,
            &["tasks of Label Studio"],
        ),
        case("ls-upload.json", export("/data/upload/3/1b2c3d4e-deck-p001.png", &one), taken, &[]),
        case("ls-percent.json", export("/data/local-files/?d=my%20slides%2Fdeck-p001.png", &one), taken, &[]),
        case(
            "ls-signed.json",
            export("https://b.s3.example/deck-p001.png?X-Amz-Date=2026&sig=a%2Fb", &one),
            taken,
            &[],
        ),
        case(
            "ls-img.json",
            json!([{"data": {"n": 3, "img": "x/deck-p001.png"}, "annotations": one}]).to_string(),
            taken,
            &[],
        ),
        case(
            "ls-any-key.json",
            json!([{"data": {"caption": "Problem", "shot": "x/deck-p001.png"}, "annotations": one}])
                .to_string(),
            taken,
            &[],
        ),
        case("ls-unknown.json", export("/data/upload/3/1b2c3d4e-other.png", &one), "", &["\"other\":1"]),
        case(
            "ls-no-image.json",
            json!([{"data": {"text": "x"}, "annotations": one}, task("deck-p001.png", &one)]).to_string(),
            taken,
            &["neither `slide_id` nor `image`"],
        ),
    ]
}

fn people() -> Vec<Case> {
    let clear = |value| json!([rating("clarity", value)]);
    let two = json!([
        by(&json!(3), &clear(4)),
        by(&json!({"id": 5, "email": "ben@example.org", "first_name": "Ben"}), &clear(2))
    ]);
    let mut nobody = by(&json!(null), &clear(4));
    nobody.as_object_mut().unwrap().remove("completed_by");
    let mut other = nobody.clone();
    other["result"] = clear(2);
    let mut starred = by(&json!(3), &clear(4));
    starred["ground_truth"] = json!(true);
    starred["unique_id"] = json!("0a1b2c3d-1111-2222-3333-444455556666");
    let mut skipped = by(&json!(3), &json!([]));
    skipped["was_cancelled"] = json!(true);
    vec![
        case(
            "ls-two.json",
            export("deck-p001.png", &two),
            "deck-p001 label-studio 3: clarity=4\ndeck-p001 ben@example.org: clarity=2",
            &[],
        ),
        case(
            "ls-two-named.json",
            export("deck-p001.png", &two),
            "deck-p001 Ana: clarity=4\ndeck-p001 Ben: clarity=2",
            &["\"found\":\"label-studio 3\""],
        )
        .told(&["person 3=Ana", "person 5=Ben"]),
        case(
            "ls-nobody.json",
            export("deck-p001.png", &json!([nobody, other])),
            "deck-p001 imported 1: clarity=4\ndeck-p001 imported 2: clarity=2",
            &["different people's"],
        ),
        case(
            "ls-starred.json",
            export("deck-p001.png", &json!([starred])),
            "deck-p001 label-studio 3: clarity=4\ndeck-p001 label-studio 3 final: clarity=4",
            &["\"final_words\":1"],
        ),
        case(
            "ls-skipped.json",
            export("deck-p001.png", &json!([skipped])),
            "deck-p001 label-studio 3 skipped:",
            &["\"skips\":1"],
        ),
    ]
}

fn controls() -> Vec<Case> {
    let file = |result: &Value| export("deck-p001.png", &json!([by(&json!(3), result)]));
    let item =
        |name: &str, kind: &str, value: Value| json!({"from_name": name, "type": kind, "value": value});
    vec![
        case(
            "ls-number.json",
            file(&json!([rating("clarity", 4), item("design", "number", json!({"number": 3}))])),
            "deck-p001 label-studio 3: clarity=4 design=3",
            &[],
        ),
        case(
            "ls-choices.json",
            file(&json!([
                item("clarity", "choices", json!({"choices": ["4"]})),
                item("design_na", "choices", json!({"choices": ["Not applicable"]}))
            ])),
            "deck-p001 label-studio 3: clarity=4 design=na",
            &["not_applicable"],
        ),
        case(
            "ls-names.json",
            file(&json!([rating("Clarity", 4), rating("Data visualization", 2)])),
            "deck-p001 label-studio 3: clarity=4 data_visualization=2",
            &[],
        ),
        case(
            "ls-unknown-control.json",
            file(&json!([rating("clarity", 4), rating("overall", 2)])),
            "deck-p001 label-studio 3: clarity=4",
            &["\"name\":\"overall\"", "no criterion or field"],
        ),
        case(
            "ls-mapped-control.json",
            file(&json!([rating("overall", 2)])),
            "deck-p001 label-studio 3: clarity=2",
            &[],
        )
        .told(&["map overall=clarity"]),
        case(
            "ls-boxes.json",
            file(&json!([
                rating("clarity", 4),
                item("box", "rectanglelabels", json!({"x": 1, "rectanglelabels": ["Logo"]}))
            ])),
            "deck-p001 label-studio 3: clarity=4",
            &["\"name\":\"box\""],
        ),
        case(
            "ls-both.json",
            file(&json!([
                rating("clarity", 4),
                item("clarity_na", "choices", json!({"choices": ["Not applicable"]})),
                rating("design", 2)
            ])),
            "deck-p001 label-studio 3: clarity=4 design=2",
            &["another answer for this criterion"],
        ),
        case(
            "ls-several-choices.json",
            file(&json!([rating("design", 2), item("clarity", "choices", json!({"choices": ["4", "5"]}))])),
            "deck-p001 label-studio 3: design=2",
            &["2 values where one is expected"],
        ),
        case(
            "ls-notes.json",
            file(&json!([rating("clarity", 4), item("why", "textarea", json!({"text": ["a", "b"]}))])),
            "deck-p001 label-studio 3: clarity=4",
            &["\"as\":\"notes\""],
        ),
        case(
            "ls-seven.json",
            file(&json!([rating("clarity", 7), rating("design", 2)])),
            "deck-p001 label-studio 3: design=2",
            &["`7` is not 1 to 5"],
        ),
    ]
}

fn forms() -> Vec<Case> {
    let one = json!([by(&json!(3), &json!([rating("clarity", 4)]))]);
    let taken = "deck-p001 label-studio 3: clarity=4";
    let min = json!([{"image": "/data/upload/3/1b2c3d4e-deck-p001.png", "id": 1, "clarity": [{"rating": 4}], "design_na": "Not applicable",
        "notes": "fine", "annotator": 3, "annotation_id": 9, "created_at": "2026-03-01T10:00:00Z", "updated_at": "2026-03-01T10:00:00Z", "lead_time": 3.2}]);
    let csv = "annotation_id,annotator,clarity,created_at,design_na,id,image,lead_time,notes,updated_at\n\
        9,3,\"[{\"\"rating\"\":4}]\",2026-03-01T10:00:00Z,Not applicable,1,/data/upload/3/1b2c3d4e-deck-p001.png,3.2,fine,2026-03-01T10:00:00Z\n";
    let old = json!([{"data": {"image": "deck-p001.png"}, "completions": [{"id": 1, "completed_by": 3, "created_at": 1_772_359_200, "lead_time": 3.0,
        "result": [rating("clarity", 4)]}]}]);
    let drafts = json!([{"data": {"image": "deck-p001.png"}, "annotations": one,
        "drafts": [{"result": []}], "predictions": [{"result": [], "score": 0.4}, {"result": []}]}]);
    let both = "deck-p001 label-studio 3: clarity=4 design=na";
    vec![
        case("ls-single.json", task("deck-p001.png", &one).to_string(), taken, &["tasks of Label Studio"]),
        case("ls-min.json", min.to_string(), both, &["JSON-MIN", "annotation_id"]),
        case("ls.csv", csv, both, &["annotation_id"]),
        case("ls-completions.json", old.to_string(), taken, &[]),
        case("ls-drafts.json", drafts.to_string(), taken, &["\"drafts\":1", "\"predictions\":2"]),
        case(
            "ls-mixed.json",
            json!([5, task("deck-p001.png", &one)]).to_string(),
            taken,
            &["`5` is not an object"],
        ),
        case(
            "ls-tasks-alone.json",
            json!([{"data": {"image": "deck-p001.png"}, "annotations": []}]).to_string(),
            "",
            &["\"rows\":1"],
        ),
    ]
}

/// What an earlier version of this program wrote, and what comes back from a tool that gives ids and people of its own.
fn ours() -> Vec<Case> {
    let old = json!([{"id": 1, "data": {"image": "data/raw/slides/deck-p001.png", "slide_id": "deck-p001"}, "annotations": [
        {"unique_id": "e-1", "completed_by": {"email": "Ana"}, "result": [rating("clarity", 4)], "was_cancelled": false, "ground_truth": false, "kind": "changed",
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "lead_time": null, "model_version": "v1"},
        {"unique_id": "e-2", "completed_by": {"email": "Lea"}, "result": [rating("clarity", 5)], "was_cancelled": false, "ground_truth": true, "kind": "adjudicated",
            "created_at": "2026-01-02T00:00:00Z", "updated_at": "2026-01-02T00:00:00Z"}]}]);
    let exported = json!([{"id": "e-1", "annotator": "Ana", "kind": "rated", "rated_at": "2026-01-01T00:00:00Z", "scores": {"clarity": 4}},
        {"id": "e-2", "annotator": "Ben", "kind": "rated", "rated_at": "2026-01-01T00:00:00Z", "scores": {"clarity": 4, "design": null}},
        {"id": "e-3", "annotator": "Cleo", "kind": "skipped", "rated_at": "2026-01-01T00:00:00Z"}]);
    let back = |mut first: Value| {
        first["unique_id"] = json!("0a1b2c3d-1111-2222-3333-444455556666");
        let mut second = by(
            &json!(1),
            &json!([rating("clarity", 4), {"from_name": "design_na", "value": {"choices": ["Not applicable"]}}]),
        );
        second["unique_id"] = json!("0a1b2c3d-1111-2222-3333-444455557777");
        let mut third = by(&json!(1), &json!([]));
        third["was_cancelled"] = json!(true);
        json!([{"data": {"slide_id": "deck-p001", "image": "x.png", "pitchquest": exported}, "annotations": [second, third, first]}]).to_string()
    };
    let mut changed = rating("clarity", 2);
    changed["id"] = json!("e-1~clarity");
    let min = json!([{"slide_id": "deck-p001", "pitchquest": exported, "clarity": [{"rating": 4}], "annotator": 1, "annotation_id": 4},
        {"slide_id": "deck-p001", "pitchquest": exported, "clarity": [{"rating": 4}], "design_na": "Not applicable", "annotator": 1, "annotation_id": 5}]);
    vec![
        case(
            "ls-ours-earlier.json",
            old.to_string(),
            "deck-p001 Ana: clarity=4\ndeck-p001 Lea final: clarity=5",
            &[],
        ),
        case(
            "ls-ours-back.json",
            back(by(&json!(1), &json!([rating("clarity", 4)]))),
            "deck-p001 Ana: clarity=4\ndeck-p001 Ben: clarity=4 design=na\ndeck-p001 Cleo skipped:",
            &[],
        ),
        case(
            "ls-ours-changed.json",
            back(by(&json!(1), &json!([changed]))),
            "deck-p001 Ana: clarity=2\ndeck-p001 Ben: clarity=4 design=na\ndeck-p001 Cleo skipped:",
            &["changed since it was exported"],
        ),
        case(
            "ls-ours-new.json",
            back(by(&json!(1), &json!([rating("clarity", 1)]))),
            "deck-p001 label-studio 1: clarity=1\ndeck-p001 Ben: clarity=4 design=na\ndeck-p001 Cleo skipped:",
            &["taken as a new one"],
        ),
        case(
            "ls-ours-min.json",
            min.to_string(),
            "deck-p001 Ana: clarity=4\ndeck-p001 Ben: clarity=4 design=na",
            &["our_ratings"],
        ),
    ]
}
