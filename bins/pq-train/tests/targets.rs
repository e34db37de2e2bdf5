//! What people say reaches training: final words, corrections and distributions, on a tiny base with random weights.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::float_cmp, reason = "equal inputs give equal losses, to the bit")]

use std::collections::BTreeMap;

use pq_testing::project::{Project, base_model, stderr, trained};
use slide_data::{
    Answer, Authority, Contract, Correction, Decision, Label, Labels, Manifest, Rubric, Score, Split, Tally,
};
use slide_scorer::{LabelledSlide, RatingPrompt, Settings, SlideImage, SlideSamples, SlideScorer, open_base};
use vlm_lora::{BaseModelConfig, Dataset as _};

const TRAIN: &str = env!("CARGO_BIN_EXE_pq-train");
/// The only slide that is trained on.
const SLIDE: &str = "deck0-p001";

fn score(value: u8) -> Score {
    Score::new(value).unwrap()
}

/// Every criterion rated by three people.
fn rated(values: [u8; 3]) -> Label {
    let mut label = Label { annotators: 3, ..Label::default() };
    let tally = Tally::of(values.map(|value| Answer::Score(score(value))));
    Rubric::default().keys().for_each(|key| label.rate(key, &tally));
    label
}

fn with_adjudication(mut label: Label, value: u8) -> Label {
    let decision = Decision { by: Authority::Adjudication, at: None, id: "f".to_owned() };
    Rubric::default().keys().for_each(|key| label.decide(key, Answer::Score(score(value)), decision.clone()));
    label
}

fn correction(slide_id: &str, value: u8) -> Correction {
    Correction {
        schema_version: 1,
        id: format!("c-{slide_id}"),
        slide_id: slide_id.to_owned(),
        model_version: "v1".to_owned(),
        annotator: "Ana".to_owned(),
        corrected_at: jiff::Timestamp::UNIX_EPOCH,
        predicted: BTreeMap::new(),
        scores: Rubric::default().keys().map(|key| (key.to_owned(), Some(score(value)))).collect(),
        notes: String::new(),
    }
}

/// One slide to train on, one to choose by, one to test.
fn project(label: &Label, corrections: &[Correction]) -> Project {
    let project = Project::new(3);
    let others = ["deck1-p001", "deck2-p001"].map(|slide| (slide.to_owned(), rated([2, 3, 4])));
    let slides = others.into_iter().chain([(SLIDE.to_owned(), label.clone())]).collect();
    Contract::write(&Labels { slides }, &project.path("data/labeled/labels.json")).unwrap();
    let groups = serde_json::json!({"deck0": "train", "deck1": "val", "deck2": "test"});
    let splits = serde_json::json!({"schema_version": 1, "groups": groups});
    project.write("data/labeled/splits.json", &splits.to_string());
    let lines = corrections.iter().map(|correction| serde_json::to_string(correction).unwrap() + "\n");
    project.write("data/user_feedback/corrections.jsonl", &lines.collect::<String>());
    project
}

fn train(project: &Project, steps: usize) {
    let base = format!("model.name={}", base_model().display());
    let mut command = project.bare_command(TRAIN);
    command.args(["--run", "one", "--set", &base, "--set", "processor.longest_edge=128"]);
    command.args(["--set", "lora.lora_dropout=0", "--set", "training.gradient_accumulation_steps=1"]);
    command.args(["--set", "training.learning_rate=0.02"]);
    for key in ["max_steps", "eval_steps", "save_steps", "logging_steps"] {
        command.args(["--set", &format!("training.{key}={steps}")]);
    }
    let output = command.output().unwrap();
    assert!(trained(&output), "{}", stderr(&output));
}

/// Training loss and validation loss of a run.
fn losses(project: &Project) -> [f64; 2] {
    let metrics = project.read("outputs/one/metrics.jsonl");
    let lines: Vec<serde_json::Value> =
        metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    ["loss", "eval_loss"].map(|key| lines.iter().find_map(|line| line[key].as_f64()).unwrap())
}

/// For each criterion what the trained model holds the probability of a score to be.
fn probabilities(project: &Project, of: Score) -> Vec<f64> {
    let run = project_files::RunFiles::new(project.path("outputs/one"));
    let scorer = SlideScorer::open(&Settings::of_run(&run).unwrap(), Some(&run), "one").unwrap();
    let path = Manifest::image_path(&project.path("data/raw"), SLIDE);
    let image = slide_data::image::open(path).unwrap().into_rgb8();
    let (slide_id, deck_id) = (SLIDE.to_owned(), "deck0".to_owned());
    let predictions = scorer.rate(&[SlideImage { slide_id, deck_id, image }]).unwrap();
    predictions[0].distributions.values().map(|p| p[of.index()]).collect()
}

#[test]
fn one_correction_of_three_ratings_is_learned() {
    let project = project(&rated([5, 5, 5]), &[correction(SLIDE, 1)]);
    train(&project, 60);
    let found = probabilities(&project, score(1));
    assert!(found.len() == 5 && found.iter().all(|p| *p > 0.95), "{found:?}");
}

#[test]
fn a_final_word_and_a_correction_move_the_loss_and_nothing_moves_what_is_measured_on() {
    let loss = |label: &Label, corrections: &[Correction]| {
        let project = project(label, corrections);
        train(&project, 1);
        losses(&project)
    };
    let [plain, eval] = loss(&rated([2, 3, 3]), &[]);
    let elsewhere = [correction("deck1-p001", 1), correction("deck2-p001", 1)];
    assert_eq!(loss(&rated([2, 3, 3]), &elsewhere), [plain, eval], "only what is trained on is corrected");
    let [five, eval_of_five] = loss(&with_adjudication(rated([2, 3, 3]), 5), &[]);
    assert!((five - plain).abs() > 1e-3, "{five} and {plain}");
    assert!(eval_of_five.is_finite());
    // The median by a final word: another target, though the score stays.
    let [three, _] = loss(&with_adjudication(rated([2, 3, 3]), 3), &[]);
    assert!((three - plain).abs() > 1e-4, "{three} and {plain}");
    // A file without the field that names decisions: the score contradicts the ratings.
    let older = Label { decided: BTreeMap::new(), ..with_adjudication(rated([2, 3, 3]), 5) };
    assert_eq!(loss(&older, &[])[0], five);
    assert_eq!(loss(&rated([2, 3, 3]), &[correction(SLIDE, 5)])[0], five);
}

fn rating_prompt() -> RatingPrompt {
    let config = BaseModelConfig { name: base_model().display().to_string(), ..BaseModelConfig::default() };
    let processor = open_base(&config).unwrap().processor(Some(128)).unwrap();
    RatingPrompt::new(Rubric::default(), processor).unwrap()
}

fn samples<'a>(rating_prompt: &'a RatingPrompt, project: &Project, label: Label) -> SlideSamples<'a> {
    let raw = project.path("data/raw");
    let record = Manifest::read(&raw).unwrap().slides.remove(0);
    let path = Manifest::image_path(&raw, &record.slide_id);
    SlideSamples::new(rating_prompt, vec![LabelledSlide { record, label, split: Split::Train, path }], 2.0)
}

#[test]
fn the_answers_text_has_the_point_score_and_its_target_the_distribution() {
    let (rating_prompt, project) = (rating_prompt(), Project::new(1));
    let sample = |label: Label| samples(&rating_prompt, &project, label).sample(0).unwrap();
    // Two people as far apart as can be: the median is a score that nobody gave.
    let mut apart = rated([1, 1, 1]);
    let tally = Tally::of([1, 5].map(|value| Answer::Score(score(value))));
    Rubric::default().keys().for_each(|key| apart.rate(key, &tally));
    let (apart, three) = (sample(apart), sample(with_adjudication(rated([1, 1, 1]), 3)));
    assert_eq!(apart.input_ids, three.input_ids);
    let soft: Vec<_> = apart.targets.iter().filter(|target| target.tokens.len() == 2).collect();
    assert_eq!(soft.len(), 5);
    for target in soft {
        let in_text = apart.input_ids[target.position];
        let sure = three.targets.iter().find(|other| other.position == target.position).unwrap();
        assert_eq!(sure.tokens, [(in_text, 1.0)]);
        assert!(target.tokens.iter().all(|(id, p)| *id != in_text && *p == 0.5), "{target:?}");
    }
}

#[test]
fn a_change_of_a_target_changes_the_fingerprint_and_a_note_does_not() {
    let (rating_prompt, project) = (rating_prompt(), Project::new(1));
    let of = |label: &Label| samples(&rating_prompt, &project, label.clone()).fingerprint();
    let plain = rated([2, 3, 3]);
    let corrected = |value| {
        let mut label = plain.clone();
        label.correct(SLIDE, &[correction(SLIDE, value)]);
        label
    };
    let mut severe = plain.clone();
    let answers = [2, 3, 3].map(|value| (Answer::Score(score(value)), 0.1));
    severe.rate("design", &Tally::severity_corrected(answers));
    let mut without = plain.clone();
    without.rate("design", &Tally::of([Answer::NotApplicable]));
    let labels =
        [plain.clone(), rated([3, 3, 3]), with_adjudication(plain.clone(), 4), corrected(1), severe, without];
    let found: std::collections::BTreeSet<String> = labels.iter().map(of).collect();
    assert_eq!(found.len(), labels.len());
    assert_eq!(
        of(&with_adjudication(plain.clone(), 4)),
        of(&corrected(4)),
        "the same target, whoever decided"
    );
    assert_eq!(of(&Label { notes: "seen twice".to_owned(), ..plain.clone() }), of(&plain));
}

#[test]
fn a_correction_that_a_newer_program_noted_stops_no_training() {
    let project = project(&rated([5, 5, 5]), &[correction(SLIDE, 1)]);
    let path = "data/user_feedback/corrections.jsonl";
    project.write(path, &format!("{{\"schema_version\":9,\"id\":\"n\"}}\n{}", project.read(path)));
    assert_eq!(taught(&project), slide_data::Target::decided(Answer::Score(score(1))));
}

#[test]
fn a_correction_that_is_dated_ahead_is_set_aside_until_it_is_not() {
    let ahead = Correction {
        id: "ahead".to_owned(),
        corrected_at: jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 365),
        ..correction(SLIDE, 5)
    };
    let project = project(&rated([3, 3, 3]), &[ahead, correction(SLIDE, 1)]);
    assert_eq!(
        taught(&project),
        slide_data::Target::decided(Answer::Score(score(1))),
        "it does not beat those that come before its date"
    );
    train(&project, 1);
    let obeyed = |project: &Project| -> Vec<String> {
        let record: serde_json::Value = serde_json::from_str(&project.read("outputs/one/run.json")).unwrap();
        record["corrections"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(obeyed(&project), [format!("c-{SLIDE}")]);
    let output = project.run(TRAIN, &["--plan", "--as-of", "1970-01-01T00:00:00Z"]);
    assert!(
        stderr(&output).contains("1 corrections are dated ahead of 1970-01-01T00:00:00Z"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn splits_that_are_gone_are_not_drawn_anew_without_a_word() {
    let project = project(&rated([2, 3, 3]), &[]);
    train(&project, 1);
    let path = project.path("data/labeled/splits.json");
    let frozen = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    for how in [&["--run", "two"][..], &["--plan"]] {
        let refused = project.run(TRAIN, how);
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(
            said.contains("the run `one` was trained and tested") && said.contains("pq-collect splits"),
            "{said}"
        );
        assert!(!path.exists() && !project.path("outputs/two/run.json").exists());
    }
    let copy = project.path("outputs/one/data/splits.json");
    std::fs::copy(copy, &path).unwrap();
    assert!(project.run(TRAIN, &["--plan"]).status.success());
    assert_eq!(std::fs::read(&path).unwrap(), frozen, "the copy that the run kept is what was frozen");
}

/// What the newest correction of the training slide teaches, as the training reads it.
fn taught(project: &Project) -> slide_data::Target {
    let overrides = [format!("storage.data_dir=\"{}\"", project.path("data").display())];
    let config = pq_cli::ProjectConfig::load(&project.path("config"), false, &overrides).unwrap();
    let slides = slide_scorer::Store::open(&config)
        .unwrap()
        .labelled(&Rubric::default(), slide_scorer::NewGroups::LeaveOut);
    let slide = slides.unwrap().into_iter().find(|slide| slide.record.slide_id == SLIDE).unwrap();
    slide.label.target("clarity")
}
