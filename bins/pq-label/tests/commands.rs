//! The command line: import, export, agreement, verify, rebuild, and what goes wrong.
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

use common::{Client, Server, Site};
use serde_json::{Value, json};
use slide_data::Score;

const TABLE: &str = "slide_id,annotator,clarity,design,data_visualization,readability,content_quality,notes,rated_at\n\
    deck0-001,Ana,4,3,na,5,4,fine,2026-01-01T00:00:00Z\n\
    deck0-001,Ben,4,2,na,5,3,,2026-01-01T00:00:00Z\n\
    deck0-002,Ana,1,1,2,1,1,,2026-01-01T00:00:00Z\n\
    deck1-001,Ben,5,5,5,5,,,2026-01-01T00:00:00Z\n";

fn site() -> Site {
    let site = Site::new(2, 2, "");
    std::fs::write(site.dir.path().join("r.csv"), TABLE).unwrap();
    site
}

#[test]
fn a_table_is_imported_once_and_comes_back_in_every_format() {
    let site = site();
    let (status, out, err) = site.run(&["import", "r.csv"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.ends_with("\n4 ratings added, 0 known already, 0 left out\n"), "{out}");
    assert!(site.run(&["import", "r.csv"]).1.contains("\n0 ratings added, 4 known"));
    assert_eq!(site.labels().slides["deck0-001"].scores["clarity"], Score::new(4));
    assert_eq!(site.labels().slides["deck0-001"].image_path, "data/raw/slides/deck0-001.png");
    for (format, name) in
        [("csv", "o.csv"), ("jsonl", "o.jsonl"), ("labels", "o.json"), ("label-studio", "o-ls.json")]
    {
        assert_eq!(site.run(&["export", "--format", format, "-o", name]).0, 0);
        let other = Site::new(2, 2, "");
        std::fs::copy(site.dir.path().join(name), other.dir.path().join(name)).unwrap();
        let (status, out, err) = other.run(&["import", name]);
        assert_eq!(status, 0, "{format}: {out}{err}");
        assert_eq!(other.labels().slides.len(), 3, "{format}");
        for (slide, label) in &site.labels().slides {
            assert_eq!(label.scores, other.labels().slides[slide].scores, "{format} {slide}");
        }
    }
    let (status, out, _) = site.run(&["agreement", "--json", "--pairs"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (status, &report["pairs"][0]["a"], &report["pairs"][0]["exact"]["value"]),
        (0, &json!("Ana"), &json!(1.0))
    );
    assert!(site.run(&["agreement"]).1.contains("alpha (ordinal)"));
}

#[test]
fn bad_rows_and_unknown_slides_are_listed_and_the_rest_is_taken() {
    let site = site();
    let text = "slide_id,annotator,clarity\ndeck0-001,Ana,7\nnowhere,Ana,3\ndeck0-002,Ana,3\n";
    std::fs::write(site.dir.path().join("bad.csv"), text).unwrap();
    let (status, out, _) = site.run(&["import", "bad.csv"]);
    assert!(status == 1 && out.ends_with("1 ratings added, 0 known already, 2 left out\n"), "{out}");
    assert!(out.contains("line 2") && out.contains("`7`") && out.contains("`nowhere`"), "{out}");
}

#[test]
fn a_dry_run_says_what_becomes_of_a_file_and_writes_nothing() {
    let site = site();
    let text = "Slide ID;Who;Clarity;Overall;Rated at\ndeck0-001;3;4,0;9;02.03.2026 10:11\ndeck0-001;3;2;9;\n\
        deck0-002;5;7;9;3/2/2026\nnowhere;5;3;9;\n";
    std::fs::write(site.dir.path().join("theirs.csv"), text).unwrap();
    std::fs::write(site.dir.path().join("people.csv"), "id,name\n3,Ana\n").unwrap();
    let arguments = ["import", "theirs.csv", "--map", "who=annotator", "--people", "people.csv"];
    let dry: Vec<&str> = arguments.into_iter().chain(["--dry-run"]).collect();
    let (status, out, err) = site.run(&dry);
    assert_eq!((status, err.as_str()), (1, ""), "{out}");
    for words in [
        "a table with semicolons, 4 rows",
        "criterion clarity",
        "no criterion or field has this name",
        "line 3 replaces it",
        "`7` is not 1 to 5",
        "`3/2/2026` may be",
        "slide `nowhere`",
        "1 ratings would be added, 0 are known already, 2 would be left out; nothing was written",
    ] {
        assert!(out.contains(words), "`{words}` in {out}");
    }
    assert!(
        out.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == ["3", "Ana", "1"]),
        "{out}"
    );
    assert!(!site.journal().exists() && !site.data().join("labeled").exists(), "nothing was written");
    let (_, out, _) = site.run(&[&dry[..], &["--json"]].concat());
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&said["dry_run"], &said["added"], &said["left_out"]), (&json!(true), &json!(1), &json!(2)));
    assert_eq!(said["plan"]["columns"][2]["becomes"], json!({"as": "criterion", "key": "clarity"}));
    assert_eq!(said["plan"]["people"][0]["name"], "Ana");
    assert_eq!(site.run(&arguments).0, 1);
    assert_eq!(site.store().current("deck0-001", "Ana").unwrap().scores()["clarity"], Score::new(2));
}

#[test]
fn a_table_on_another_scale_is_taken_when_the_scale_is_said() {
    let site = site();
    std::fs::write(
        site.dir.path().join("ten.csv"),
        "slide_id,impact\ndeck0-001,10\ndeck0-002,3\ndeck1-001,7\n",
    )
    .unwrap();
    let (status, out, _) = site.run(&["import", "ten.csv", "--map", "impact=clarity"]);
    assert!(status == 1 && out.contains("refused") && out.contains("--scale 1-10"), "{out}");
    assert_eq!(site.run(&["import", "ten.csv", "--map", "impact=clarity", "--scale", "1-10"]).0, 0);
    assert_eq!(site.labels().slides["deck0-001"].scores["clarity"], Score::new(5));
    assert_eq!(site.labels().slides["deck0-002"].scores["clarity"], Score::new(2));
    let (status, _, err) = site.run(&["import", "ten.csv", "--map", "impact=clearness"]);
    assert!(status == 2 && err.contains("`clearness`") && err.contains("clarity"), "{err}");
    let (status, _, err) = site.run(&["import", "ten.csv"]);
    assert!(status == 2 && err.contains("--map") && err.contains("slide_id,annotator,clarity"), "{err}");
}

#[test]
fn label_studio_gets_a_folder_with_its_configuration_and_tasks_for_slides_without_ratings() {
    let site = site();
    site.run(&["import", "r.csv"]);
    let arguments = [
        "export",
        "--format",
        "label-studio",
        "--unrated",
        "--image-url",
        "/data/local-files/?d=slides/",
        "-o",
        "studio",
    ];
    assert_eq!(site.run(&arguments).0, 0);
    let read = |name: &str| std::fs::read_to_string(site.dir.path().join("studio").join(name)).unwrap();
    let tasks: Value = serde_json::from_str(&read("tasks.json")).unwrap();
    assert_eq!(tasks.as_array().unwrap().len(), 4, "three rated slides and one more");
    assert_eq!(tasks[0]["data"]["image"], "/data/local-files/?d=slides/deck0-001.png");
    assert!(
        tasks[0]["annotations"][0].get("completed_by").is_none(),
        "people are no accounts of Label Studio"
    );
    assert!(read("config.xml").contains("<Rating name=\"clarity\""));
    let (_, out, _) = site.run(&["import", "studio/tasks.json"]);
    assert!(out.ends_with("0 ratings added, 4 known already, 0 left out\n"), "{out}");
}

#[test]
fn what_cannot_run_says_why_and_what_to_do() {
    let site = site();
    let refused = |arguments: &[&str], words: [&str; 2]| {
        let (status, out, err) = site.run(arguments);
        assert_eq!((status, out.as_str()), (2, ""), "{err}");
        assert!(words.iter().all(|word| err.contains(word)) && err.contains("hint:"), "{err}");
    };
    refused(&["import", "missing.csv"], ["missing.csv", "cannot read"]);
    std::fs::write(site.dir.path().join("r.txt.csv"), "a,b\n1,2\n").unwrap();
    refused(&["import", "r.txt.csv"], ["slide_id", "r.txt.csv"]);
    std::fs::create_dir_all(site.data().join("labeled")).unwrap();
    std::fs::write(site.journal(), "{broken}\n").unwrap();
    refused(&["verify"], ["line 1", "ratings.jsonl"]);
    let empty = Site::new(0, 0, "");
    let (status, _, err) = empty.run(&[]);
    assert!(status == 2 && err.contains("no slides") && err.contains("pq-collect"), "{err}");
    let wrong = Site::new(1, 1, "raters_per_slid = 3");
    let (status, _, err) = wrong.run(&["verify"]);
    assert!(status == 2 && err.contains("raters_per_slid") && err.contains("`raters_per_slide`"), "{err}");
    let wrong = Site::new(1, 1, "raters_per_slide = 0");
    let (status, _, err) = wrong.run(&["verify"]);
    assert!(status == 2 && err.contains("label.raters_per_slide"), "{err}");
}

#[test]
fn a_torn_line_is_told_labels_that_do_not_follow_are_found_and_rebuilt() {
    let site = site();
    site.run(&["import", "r.csv"]);
    assert_eq!(site.run(&["verify"]).0, 0);
    let labels = site.data().join("labeled/labels.json");
    std::fs::write(&labels, "{}").unwrap();
    let (status, out, _) = site.run(&["verify"]);
    assert!(status == 1 && out.contains("pq-label rebuild"), "{out}");
    assert_eq!(site.run(&["rebuild"]).0, 0);
    let mut journal = std::fs::read(site.journal()).unwrap();
    journal.extend(b"{\"schema_version\":1,\"id\":\"x");
    std::fs::write(site.journal(), journal).unwrap();
    let (status, out, _) = site.run(&["verify"]);
    assert!(status == 0 && out.contains("unfinished (27 bytes)"), "{out}");
}

#[test]
fn a_second_server_and_an_import_are_refused_while_one_serves() {
    let site = site();
    let mut server = Server::start(&site, &["--port", "0"]);
    for arguments in [&["--port", "0"][..], &["import", "r.csv"]] {
        let (status, _, err) = site.run(arguments);
        assert!(status == 2 && err.contains("in use") && err.contains("hint: stop"), "{err}");
    }
    let ana = Client::sign_in(&server.url, "Ana").unwrap();
    let event = json!({"id": "e1", "kind": "rated", "slide_id": "deck0-001", "annotator": "Ana", "scores": {"clarity": 2}});
    assert_eq!(ana.post("/events", &event).unwrap().0, 200);
    assert_eq!(server.stop(), 0, "Ctrl-C ends it cleanly");
    assert_eq!(site.labels().slides["deck0-001"].scores["clarity"], Score::new(2));
    assert_eq!(site.run(&["import", "r.csv"]).0, 0);
}

#[test]
fn an_annotation_that_label_studio_has_changed_since_counts_as_it_is_now() {
    let site = site();
    let import = |time: &str, clarity: u8| {
        let annotation = json!({"unique_id": "0a1b2c3d-1111-2222-3333-444455556666", "completed_by": 3, "updated_at": time,
            "result": [{"from_name": "clarity", "value": {"rating": clarity}}]});
        let task = json!([{"data": {"image": "deck0-001.png"}, "annotations": [annotation]}]);
        std::fs::write(site.dir.path().join("ls.json"), task.to_string()).unwrap();
        site.run(&["import", "ls.json"]).1.lines().last().unwrap().to_owned()
    };
    assert!(import("2026-01-01T00:00:00Z", 4).starts_with("1 ratings added"));
    assert!(import("2026-01-02T00:00:00Z", 2).starts_with("1 ratings added"));
    assert!(import("2026-01-02T00:00:00Z", 2).starts_with("0 ratings added, 1 known already, 0 left out"));
    let store = site.store();
    assert_eq!(store.current("deck0-001", "label-studio 3").unwrap().scores()["clarity"], Score::new(2));
}
