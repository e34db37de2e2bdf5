//! After the last step no picture is read again, and what is said of slides is what reading them would give.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use pq_testing::project::{Project, base_model, stderr, trained};
use project_files::{Applicability, ApplicabilityHead, Contract as _};
use slide_data::{Manifest, Prediction, Rubric};
use slide_scorer::{Base, Glance, RatingContext, RatingPrompt, SlideImage, open_base, predict};
use vlm_lora::backend::{Backend, OnDevice};
use vlm_lora::{BaseModelConfig, FeatureCache, FeaturePrecision, Model};

const TRAIN: &str = env!("CARGO_BIN_EXE_pq-train");

/// The pictures are gone as soon as the adapter is there, which has seen all slides. A machine that is done before they are proves
/// nothing, and fails nothing.
#[test]
fn a_run_ends_without_its_pictures() {
    let project = Project::new(30);
    let mut command = project.command(TRAIN, &["--run", "one", "--set", "training.max_steps=12"]);
    command.args(["--set", "training.per_device_train_batch_size=8"]);
    command.args(["--set", "training.gradient_accumulation_steps=1"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = std::thread::spawn(move || child.wait_with_output().unwrap());
    while !output.is_finished() && !project.path("outputs/one/adapter_model.safetensors").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::fs::rename(project.path("data/raw/slides"), project.path("data/raw/gone")).unwrap();
    let output = output.join().unwrap();
    assert!(trained(&output), "{}", stderr(&output));
    let predictions = project.read("outputs/one/reference_predictions.jsonl");
    let predictions: Vec<Prediction> =
        predictions.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(predictions.iter().any(|said| said.distributions.is_empty()), "those that were trained on");
    assert!(predictions.iter().any(|said| said.distributions.len() == 5), "those that were not");
    assert!(predictions.iter().all(|said| !said.features.is_empty() && said.vision.is_some()));
}

struct Ask<'a> {
    base: &'a Base,
    slides: &'a [SlideImage],
}

impl Ask<'_> {
    /// What is said of slides that were looked at is what is said of their images.
    fn compare<B: Backend>(&self, context: &RatingContext<'_>, model: &Model<B>) {
        let glances: Vec<Glance> = self.slides.iter().map(|slide| context.glance(slide).unwrap()).collect();
        let plain = |predictions: Vec<Prediction>| -> Vec<Prediction> {
            let same = |said| Prediction { latency_ms: 0.0, scored_at: jiff::Timestamp::UNIX_EPOCH, ..said };
            predictions.into_iter().map(same).collect()
        };
        let mut read = plain(predict(context, model, self.slides, "v1").unwrap());
        assert_eq!(plain(context.rate_seen(model, &glances, "v1").unwrap().unwrap()), read);
        let seen = glances.iter().map(|glance| context.seen(model, glance, "v1").unwrap().unwrap()).collect();
        for said in &mut read {
            said.distributions.clear();
            said.undecide();
        }
        assert_eq!(plain(seen), read);
    }
}

impl OnDevice for Ask<'_> {
    type Output = ();

    fn run<B: Backend>(self, backend: &Arc<B>) {
        let model = self.base.model(backend).unwrap();
        let prompt = RatingPrompt::new(Rubric::default(), self.base.processor(Some(128)).unwrap()).unwrap();
        let cache = FeatureCache::new(self.base.identity().unwrap().fingerprint(), FeaturePrecision::Float32);
        let context = RatingContext {
            rating_prompt: &prompt,
            cache: &cache,
            applicability: None,
            head: None,
            decision: None,
        };
        let glance = context.glance(&self.slides[0]).unwrap();
        assert!(context.kept_features(&model, &glance).is_none(), "nothing is kept yet");
        assert!(context.seen(&model, &glance, "v1").unwrap().is_none());
        assert!(context.rate_seen(&model, std::slice::from_ref(&glance), "v1").unwrap().is_none());
        predict(&context, &model, self.slides, "v1").unwrap();
        self.compare(&context, &model);
        let width = context.kept_features(&model, &glance).unwrap().width;
        let head = ApplicabilityHead {
            weights: vec![0.0; 3 * width + glance.properties.len()],
            intercept: -2.0,
            ..ApplicabilityHead::default()
        };
        let criteria = BTreeMap::from([("design".to_owned(), head)]);
        let properties = glance.properties.keys().cloned().collect();
        let applicability = Applicability { schema_version: Applicability::VERSION, criteria, properties };
        self.compare(&RatingContext { applicability: Some(&applicability), ..context }, &model);
    }
}

#[test]
fn slides_that_were_looked_at_are_rated_as_if_they_were_read() {
    let project = Project::new(1);
    let raw = project.path("data/raw");
    let slide = |record: slide_data::SlideRecord| {
        let path = Manifest::image_path(&raw, &record.slide_id);
        let image = slide_data::image::open(path).unwrap().into_rgb8();
        SlideImage { slide_id: record.slide_id, deck_id: record.deck_id, image }
    };
    let slides: Vec<SlideImage> = Manifest::read(&raw).unwrap().slides.into_iter().map(slide).collect();
    let config = BaseModelConfig { name: base_model().display().to_string(), ..BaseModelConfig::default() };
    let base = open_base(&config).unwrap();
    base.device.run(Ask { base: &base, slides: &slides });
}
