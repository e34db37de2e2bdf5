//! A linear head on what the vision tower sees: alone it is a run that others read like any, beside an adapter it has as much say as
//! validation decks bear out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use pq_testing::project::{Project, base_model, code, stderr, trained};
use project_files::{Contract as _, RunFiles, RunRecord, ScoreHead};
use slide_data::{Manifest, Prediction};
use slide_scorer::{Settings, SlideImage, SlideScorer};

const TRAIN: &str = env!("CARGO_BIN_EXE_pq-train");

/// What the run says of all slides, by their ids.
fn rated(project: &Project, run: &RunFiles) -> BTreeMap<String, Prediction> {
    let mut settings = Settings::of_run(run).unwrap();
    settings.model.name = base_model().display().to_string();
    let scorer = SlideScorer::open(&settings, Some(run), "one").unwrap();
    let raw = project.path("data/raw");
    let slide = |record: slide_data::SlideRecord| {
        let path = Manifest::image_path(&raw, &record.slide_id);
        let image = slide_data::image::open(path).unwrap().into_rgb8();
        SlideImage { slide_id: record.slide_id, deck_id: record.deck_id, image }
    };
    let slides: Vec<SlideImage> = Manifest::read(&raw).unwrap().slides.into_iter().map(slide).collect();
    let said = scorer.rate(&slides).unwrap();
    // The head by itself, from the features that it was given.
    let head = ScoreHead::read_if_present(&run.score_head()).unwrap();
    let pooled = scorer.pooled_features(&slides).unwrap();
    if let Some(head) = head.filter(ScoreHead::is_alone) {
        for (said, pooled) in said.iter().zip(pooled) {
            for (key, distribution) in &said.distributions {
                assert_eq!(head.criteria[key].rate(&pooled.concatenated()), Some(*distribution));
            }
        }
    }
    said.into_iter().map(|said| (said.slide_id.clone(), said)).collect()
}

/// Slides that were not trained on are in the run as it says them now.
fn assert_kept_as_said(run: &RunFiles, now: &BTreeMap<String, Prediction>) {
    let kept: Vec<Prediction> = Prediction::read_log(&run.reference_predictions()).unwrap().entries;
    let validated: Vec<&Prediction> = kept.iter().filter(|said| !said.distributions.is_empty()).collect();
    assert!(!validated.is_empty());
    for said in validated {
        let again = &now[&said.slide_id];
        for (key, distribution) in &said.distributions {
            pq_testing::assert_close(distribution, &again.distributions[key], 1e-9);
        }
        assert_eq!(said.chosen, again.chosen);
    }
}

#[test]
fn a_head_alone_is_learned_without_a_step_and_read_like_any_run() {
    let project = Project::new(16);
    let output = project.run(TRAIN, &["--head", "--run", "one"]);
    assert!(trained(&output), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(
        said.contains("a head on what the vision tower sees") && said.contains("best constant"),
        "{said}"
    );
    let run = RunFiles::new(project.path("outputs/one"));
    let head = ScoreHead::read(&run.score_head()).unwrap();
    assert!(head.is_alone() && head.criteria.len() == 5 && head.gain.is_none());
    let record = RunRecord::read(&run.record()).unwrap();
    let training = record.training.unwrap();
    assert_eq!((training.steps, training.trainable_parameters), (0, 0));
    assert_eq!(code(&output), i32::from(!training.verdict.unwrap().learned));
    assert!(run.data().is_dir() && run.config().is_file());
    assert_kept_as_said(&run, &rated(&project, &run));
    assert!(project.path("outputs/latest").exists());
    // The adapter beside it changes nothing: with another it is refused.
    std::fs::write(run.adapter_weights(), b"another").unwrap();
    let settings = Settings { model: with_base(&run), ..Settings::of_run(&run).unwrap() };
    let error = SlideScorer::open(&settings, Some(&run), "one").err().unwrap().to_string();
    assert!(error.contains("another adapter"), "{error}");
}

fn with_base(run: &RunFiles) -> vlm_lora::BaseModelConfig {
    let model = Settings::of_run(run).unwrap().model;
    vlm_lora::BaseModelConfig { name: base_model().display().to_string(), ..model }
}

#[test]
fn beside_an_adapter_it_says_as_much_as_validation_bears_out() {
    let project = Project::new(16);
    let args = ["--head=beside", "--run", "two", "--set", "training.max_steps=2"];
    let output = project.run(TRAIN, &args);
    assert!(trained(&output), "{}", stderr(&output));
    let run = RunFiles::new(project.path("outputs/two"));
    let said = stderr(&output);
    match ScoreHead::read_if_present(&run.score_head()).unwrap() {
        Some(head) => {
            assert!(said.contains("of each probability beside the adapter"), "{said}");
            assert!(head.share > 0.0 && head.gain.unwrap().interval.unwrap().low > 0.0);
        }
        None => assert!(said.contains("not shown to be better with the head"), "{said}"),
    }
    assert_kept_as_said(&run, &rated(&project, &run));
    // Whoever goes on without it keeps none.
    std::fs::write(run.score_head(), "{}").unwrap();
    let output = project.run(TRAIN, &["--resume", "--run", "two", "--set", "training.max_steps=4"]);
    assert!(trained(&output), "{}", stderr(&output));
    assert!(!run.score_head().exists());
}

#[test]
fn what_is_about_an_adapter_is_refused_with_a_head_alone() {
    let project = Project::new(6);
    for useless in [&["--resume"][..], &["--from", "champion"], &["--plan"]] {
        let output = project.run(TRAIN, &[&["--head"], useless].concat());
        assert_eq!(code(&output), 2, "{}", stderr(&output));
        assert!(stderr(&output).contains(useless[0]), "{}", stderr(&output));
    }
    assert!(
        !project.path("outputs").exists() || std::fs::read_dir(project.path("outputs")).unwrap().count() == 0
    );
}
