//! The list of doubtful ratings.

use super::*;

#[tokio::test]
async fn the_lead_sees_doubtful_ratings_without_the_models_word_until_they_are_decided() {
    let site = Site::new(Access::Local);
    let ana = site.sign_in(json!({"name": "Ana"})).await.unwrap();
    for (id, slide) in [("a", "d0-1"), ("b", "d1-1"), ("c", "d2-1")] {
        site.post("/api/events", &ana, rating(id, slide, "Ana")).await;
    }
    let lead = site.sign_in(json!({"name": "Lead"})).await.unwrap();
    let listed = async || -> Value {
        serde_json::from_slice(&site.get("/api/disputes?state=doubtful&count=20", &lead).await.2).unwrap()
    };
    assert_eq!(
        (&listed().await["total"], &listed().await["doubtful"]),
        (&json!(0), &json!(0)),
        "no list yet"
    );
    let label = |slide: &str, criterion: &str, distance: f64| project_files::DoubtfulLabel {
        slide_id: slide.to_owned(),
        criterion: criterion.to_owned(),
        score: 4,
        distance,
        by: "a run".to_owned(),
    };
    let list = project_files::DoubtfulLabels {
        schema_version: 1,
        created_at: jiff::Timestamp::now(),
        labels: vec![
            label("d1-1", "design", 2.9),
            label("d0-1", "clarity", 2.5),
            label("d1-1", "clarity", 2.1),
            label("d2-1", "clarity", 2.0),
            label("d2-2", "clarity", 1.9),
        ],
        ..project_files::DoubtfulLabels::default()
    };
    let paths = crate::layout_in(site.dir.path());
    let run = paths.latest_run();
    std::fs::create_dir_all(run.dir()).unwrap();
    list.write(&run.doubtful_labels()).unwrap();
    let found = listed().await;
    let slides: Vec<&str> =
        found["slides"].as_array().unwrap().iter().map(|s| s["slide_id"].as_str().unwrap()).collect();
    assert_eq!(slides, ["d1-1", "d0-1", "d2-1"], "the least expected first; nobody rated the last one");
    assert_eq!(found["slides"][0]["doubted"], json!(["design", "clarity"]));
    let text = found.to_string();
    assert!(!text.contains("2.9") && !text.contains("a run"), "not what the model says: {text}");
    let word = json!({"id": "w", "kind": "adjudicated", "slide_id": "d1-1", "annotator": "Lead", "scores": {"design": 2}});
    assert_eq!(site.post("/api/events", &lead, word).await.0, StatusCode::OK);
    assert_eq!(
        (&listed().await["total"], &listed().await["slides"][0]["slide_id"]),
        (&json!(2), &json!("d0-1"))
    );
    std::fs::write(run.doubtful_labels(), "{").unwrap();
    let (status, _, body) = site.get("/api/disputes?state=open&count=1", &lead).await;
    let page: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (status, &page["doubtful"]),
        (StatusCode::OK, &Value::Null),
        "garbage is no reason to stop deciding"
    );
    let (status, ..) = site.get("/api/disputes?state=doubtful&count=1", &lead).await;
    assert!(status.is_client_error() || status.is_server_error(), "{status}");
}
