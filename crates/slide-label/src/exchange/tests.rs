use super::*;
use crate::{ConsensusRule, Kind, labels as consensus};
use proptest::prelude::*;
use slide_data::Score;

fn read_path(path: &Path, format: Option<Format>) -> Result<Imported> {
    let (rubric, rules) = (Rubric::default(), Rules::default());
    let now = "2026-11-01T00:00:00Z".parse().unwrap();
    read(path, format, Context { rubric: &rubric, annotator: None, now, slides: None, rules: &rules })
}

fn read_text(text: &str, format: Format) -> Imported {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ratings");
    std::fs::write(&path, text).unwrap();
    read_path(&path, Some(format)).unwrap()
}

fn store_of(events: Vec<Event>) -> Store {
    let (store, refused) = Store::from_events(Rubric::default(), events);
    assert!(refused.is_empty(), "{refused:?}");
    store
}

fn image(id: &str) -> String {
    format!("data/raw/slides/{id}.png")
}

#[test]
fn a_table_is_read_with_unset_and_not_applicable_cells() {
    let text = "\u{feff}slide_id,annotator,Clarity,data_visualization,notes,rated_at\n\
        s1,Ana,4,na,\"fine, really\",2026-01-31T09:30:00Z\n\
        slides/s2.png,,,5,,\n\
        s3,Ana,7,,,\n\
        s4,Ana,3,,,yesterday\n\
        s5,Ana,,,,\n";
    let imported = read_text(text, Format::Csv);
    assert_eq!(imported.events.len(), 3);
    assert_eq!(imported.events[0].scores["data_visualization"], None);
    assert_eq!(imported.events[0].notes, "fine, really");
    assert_eq!(
        (imported.events[1].slide_id.as_str(), imported.events[1].annotator.as_str()),
        ("s2", "imported")
    );
    assert!(!imported.events[1].scores.contains_key("clarity"));
    let problems: Vec<_> =
        imported.plan.left_out.iter().map(|p| format!("{}: {}", p.place, p.reason)).collect();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("line 4") && problems[0].contains("`7` is not 1 to 5"), "{problems:?}");
    assert!(
        imported.plan.notices.iter().any(|n| n.what.contains("`yesterday`")),
        "{:?}",
        imported.plan.notices
    );
    assert_eq!(imported.plan.empty_rows, 1);
    assert_eq!(imported, read_text(text, Format::Csv), "the same file gives the same ids");
}

#[test]
fn a_table_without_a_criterion_or_a_slide_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.csv");
    std::fs::write(&path, "slide_id,clearness\ns1,3\n").unwrap();
    let message = read_path(&path, None).unwrap_err().to_string();
    assert!(message.contains("`clearness`") && message.contains("clarity"), "{message}");
    std::fs::write(&path, "id,clarity\ns1,3\n").unwrap();
    assert!(read_path(&path, None).unwrap_err().to_string().contains("`slide_id`"));
    std::fs::write(&path, b"\xff\xfe\x00").unwrap();
    assert!(read_path(&path, None).unwrap_err().to_string().contains("UTF-8"));
}

#[test]
fn simple_json_lines_are_read_nested_or_flat() {
    let text = r#"{"slide_id":"s1","annotator":"Ana","scores":{"clarity":4,"design":null},"rated_at":"2026-01-01T00:00:00Z"}
{"slide_id":"s1","annotator":"Ben","clarity":2,"design":null,"notes":"n"}
{"slide_id":"s1","annotator":"Cleo","scores":{"clarity":9}}
[1]
"#;
    let imported = read_text(text, Format::Jsonl);
    assert_eq!(imported.events.len(), 2);
    assert_eq!(imported.events[1].scores.len(), 2);
    let places: Vec<_> = imported.plan.left_out.iter().map(|p| p.place.as_str()).collect();
    assert_eq!(places, ["line 4", "line 3"]);
}

#[test]
fn the_original_label_file_is_read_and_its_bad_labels_are_named() {
    let text = r#"{"deck_1.png":{"clarity":4,"design":3,"data_visualization":null,"readability":5,"content_quality":4,
        "notes":"ok","image_path":"data/raw/slides/deck_1.png"},"deck_2":{"clarity":7}}"#;
    let imported = read_text(text, Format::Labels);
    assert_eq!(imported.events.len(), 1);
    assert_eq!(imported.events[0].slide_id, "deck_1");
    assert_eq!(imported.plan.left_out[0].place, "deck_2");
    assert!(imported.plan.left_out[0].reason.contains("`7`"));
    let store = store_of(imported.events);
    let label = &consensus(&store, ConsensusRule::Median, &image).slides["deck_1"];
    assert_eq!(label.scores["clarity"], Score::new(4));
    assert_eq!((label.scores["data_visualization"], label.notes.as_str()), (None, "ok"));
}

#[test]
fn an_export_of_label_studio_is_read() {
    let text = r#"[{"id":7,"data":{"image":"/data/local-files/?d=slides/s1.png"},"annotations":[
        {"completed_by":3,"result":[{"from_name":"clarity","type":"rating","value":{"rating":4}},
        {"from_name":"design","type":"choices","value":{"choices":["2"]}}],"created_at":"2026-01-01T00:00:00.5Z"}]},
        {"data":{}}, 5]"#;
    let imported = read_text(text, Format::LabelStudio);
    assert_eq!(imported.events.len(), 1);
    assert_eq!(imported.events[0].annotator, "label-studio 3");
    assert_eq!((imported.events[0].slide_id.as_str(), imported.events[0].scores.len()), ("s1", 2));
    assert_eq!(imported.plan.left_out.len(), 2);
}

prop_compose! {
    fn ratings()(
        rows in proptest::collection::vec(
            (0usize..4, 0usize..3, proptest::collection::vec(0u8..7, 5), "[ -~\n'=äé\"]{0,12}", 0u8..8), 0..12)
    ) -> Vec<Event> {
        let rubric = Rubric::default();
        rows.into_iter().enumerate().map(|(index, (slide, who, codes, notes, kind))| {
            let kind = match kind { 0 => Kind::Skipped, 1 => Kind::Adjudicated, 2 => Kind::Changed, _ => Kind::Rated };
            let at = Timestamp::from_second(index as i64 + 1).unwrap();
            let mut event = Event::new(format!("e{index}"), kind, &format!("s{slide}"), ["Ana", "Ben", "=Cleo"][who], at);
            event.notes = notes;
            event.seconds = (index % 2 == 0).then_some((13 * index) as f64 / 10.0);
            event.model_version = (index % 3 == 0).then(|| "v1.0".to_owned());
            for (key, code) in rubric.keys().zip(codes) {
                if code > 0 {
                    event.scores.insert(key.to_owned(), Score::new(code));
                }
            }
            if event.scores.is_empty() {
                event.scores.insert("clarity".to_owned(), None);
            }
            event
        }).collect()
    }
}

proptest! {
    #[test]
    fn a_round_trip_loses_no_current_rating(events in ratings()) {
        let store = store_of(events);
        let now: Vec<Event> = store.current_events().map(|event| event.to_event()).collect();
        for format in [Format::Csv, Format::LabelStudio, Format::Jsonl] {
            let labels = consensus(&store, ConsensusRule::Median, &image);
            let text = write(&store, format, &labels).unwrap();
            let imported = read_text(&text, format);
            prop_assert_eq!(&imported.plan.left_out, &[]);
            prop_assert_eq!(&imported.plan.replaced, &[]);
            let again = store_of(imported.events);
            prop_assert_eq!(&now, &again.current_events().map(|event| event.to_event()).collect::<Vec<_>>(), "{:?}", format);
            prop_assert_eq!(&labels, &consensus(&again, ConsensusRule::Median, &image));
        }
    }

    /// As Label Studio gives them back: ids, times and people of its own, in another order; the data of tasks as they were.
    #[test]
    fn a_tool_that_keeps_the_data_of_tasks_gives_back_every_rating(events in ratings(), keeps_answers in proptest::bool::ANY) {
        let store = store_of(events);
        let now: Vec<Event> = store.current_events().map(|event| event.to_event()).collect();
        let mut tasks: Value = serde_json::from_str(&label_studio_tasks(&store, &[], &image).unwrap()).unwrap();
        for (number, annotation) in tasks.as_array_mut().unwrap().iter_mut().flat_map(|task| {
            let annotations = task["annotations"].as_array_mut().unwrap();
            annotations.reverse();
            annotations.iter_mut().enumerate()
        }) {
            annotation["unique_id"] = format!("00000000-0000-0000-0000-{number:012}").into();
            annotation["completed_by"] = 1.into();
            annotation["updated_at"] = "2026-10-01T00:00:00Z".into();
            if !keeps_answers {
                annotation["result"].as_array_mut().unwrap().iter_mut().for_each(|item| item["id"] = "x".into());
            }
        }
        let imported = read_text(&tasks.to_string(), Format::LabelStudio);
        prop_assert_eq!(&imported.plan.left_out, &[]);
        let again = store_of(imported.events);
        let back: Vec<Event> = again.current_events().map(|event| event.to_event()).collect();
        prop_assert_eq!(&now, &back);
    }

    #[test]
    fn a_label_file_comes_back_as_it_was(events in ratings()) {
        let labels = consensus(&store_of(events), ConsensusRule::Median, &image);
        let text = serde_json::to_string(&labels).unwrap();
        let again = consensus(&store_of(read_text(&text, Format::Labels).events), ConsensusRule::Median, &image);
        for (slide, label) in &labels.slides {
            prop_assert_eq!(&label.scores, &again.slides[slide].scores);
            prop_assert_eq!(&label.notes, &again.slides[slide].notes);
            for key in label.scores.keys() {
                prop_assert_eq!(label.target(key), again.slides[slide].target(key), "{} {}", slide, key);
            }
            let spread = |label: &slide_data::Label| label.distribution.clone();
            if !spread(label).is_empty() {
                prop_assert_eq!(spread(label), spread(&again.slides[slide]));
            }
        }
    }

    #[test]
    fn garbage_is_survived(text in "[\\PC\n,\"{}\\[\\]:]{0,200}") {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, &text).unwrap();
        for format in [Format::Csv, Format::Jsonl, Format::Labels, Format::LabelStudio] {
            let _ = read_path(&path, Some(format));
        }
    }
}
