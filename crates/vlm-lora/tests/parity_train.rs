//! Training, generation and scoring against transformers and PEFT on every case of `fixtures/parity` and `$VLM_PARITY_DIR`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use vlm_lora::backend::Cpu;
use vlm_lora::{
    Checkpoint, ChoiceAnswer, Generation, Item, Model, Observer, PeftAdapter, Processor, Prompt, Sample,
    SamplingStrategy, Scorer, StepReport, Target, Trainer, TrainingConfig, choice_probabilities, generate,
};

fn cases() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity");
    let more = std::env::var_os("VLM_PARITY_DIR").map(PathBuf::from);
    let mut found: Vec<PathBuf> = [Some(own), more]
        .into_iter()
        .flatten()
        .flat_map(|dir| std::fs::read_dir(dir).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expected.json").exists())
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers<T: TryFrom<u64>>(value: &Value) -> Vec<T> {
    value.as_array().unwrap().iter().map(|n| T::try_from(n.as_u64().unwrap()).ok().unwrap()).collect()
}

struct Case {
    dir: PathBuf,
    model: Model<Cpu<f32>>,
    processor: Processor,
    expected: Value,
}

impl Case {
    fn open(dir: &Path) -> Self {
        let checkpoint = Checkpoint::open(dir.join("model")).unwrap();
        let mut model = Model::load(Arc::new(Cpu::<f32>::new()), &checkpoint).unwrap();
        let adapter = PeftAdapter::open(dir.join("adapter"), model.config()).unwrap();
        model.attach_adapter(&adapter).unwrap();
        let processor = Processor::open(dir.join("model"), None).unwrap();
        Self { dir: dir.to_owned(), model, processor, expected: json(dir.join("expected.json")) }
    }

    fn pictures(&self) -> &[Value] {
        self.expected["cases"].as_array().unwrap()
    }

    fn prompt(&self) -> &str {
        self.expected["prompt"].as_str().unwrap()
    }

    fn answer(&self, picture: &Value) -> String {
        let criteria = self.expected["criteria"].as_array().unwrap();
        let scores = numbers::<u32>(&picture["scores"]);
        let lines = criteria.iter().zip(scores).map(|(name, score)| format!("{}: {score}", name.as_str().unwrap()));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn sample(&self, picture: &Value, answer: Option<&str>) -> Sample {
        let image = image::open(self.dir.join("images").join(picture["image"].as_str().unwrap())).unwrap();
        let tiles = Arc::new(self.processor.tiles(&image).unwrap());
        self.processor.sample(&tiles, self.prompt(), answer).unwrap()
    }

    /// As the reference supervises it: the newline after the end of the turn too.
    fn training_sample(&self, picture: &Value) -> Sample {
        let mut sample = self.sample(picture, Some(&self.answer(picture)));
        assert_eq!(sample.input_ids, numbers::<u32>(&picture["input_ids"]));
        let prompt = picture["prompt_tokens"].as_u64().unwrap() as usize;
        let hard = |position| Target { position, tokens: vec![(sample.input_ids[position], 1.0)], weight: 1.0 };
        sample.targets = (prompt..sample.input_ids.len()).map(hard).collect();
        sample
    }
}

struct Steps<'a>(&'a mut Vec<StepReport>);

impl Observer for Steps<'_> {
    fn on_step(&mut self, step: &StepReport) {
        self.0.push(*step);
    }
}

#[test]
fn the_steps_of_the_reference_trainer_are_reproduced() {
    for dir in cases() {
        let (mut case, run) = (Case::open(&dir), tempfile::tempdir().unwrap());
        let reference = json(dir.join("training.json"));
        let data: Vec<Sample> = case.pictures().iter().map(|picture| case.training_sample(picture)).collect();
        let own = TrainingConfig {
            output_dir: run.path().to_owned(),
            train_sampling_strategy: SamplingStrategy::Sequential,
            ..TrainingConfig::default()
        };
        let mut config = serde_json::to_value(own).unwrap();
        for (key, value) in reference["hyperparameters"].as_object().unwrap() {
            config[key] = value.clone();
        }
        let config: TrainingConfig = serde_json::from_value(config).unwrap();
        let mut steps = Vec::new();
        Trainer::new(&mut case.model, config).unwrap().observer(Steps(&mut steps)).run(&data).unwrap();

        let log = reference["log"].as_array().unwrap();
        assert_eq!(steps.len(), log.len());
        for (step, log) in steps.iter().zip(log) {
            let expected = |key: &str| log[key].as_f64().unwrap();
            let name = format!("{} step {}", dir.display(), step.step);
            assert!((step.loss - expected("loss")).abs() <= 1e-4, "{name}: loss {}", step.loss);
            let norm = (step.grad_norm / expected("grad_norm") - 1.0).abs();
            assert!(norm <= 1e-3, "{name}: gradient norm {}", step.grad_norm);
            let rate = (step.learning_rate - expected("learning_rate")).abs();
            assert!(rate <= 1e-12, "{name}: learning rate {}", step.learning_rate);
        }
        assert_adapters_close(&case.model.adapter().unwrap(), &dir, &case.model);
    }
}

fn assert_adapters_close(actual: &PeftAdapter, dir: &Path, model: &Model<Cpu<f32>>) {
    let expected = PeftAdapter::open(dir.join("adapter_trained"), model.config()).unwrap();
    for (actual, expected) in actual.modules.iter().zip(&expected.modules) {
        assert_eq!(actual.spec.module, expected.spec.module);
        let values = |module: &vlm_lora::AdapterWeights| {
            [&module.a[..], &module.b[..], module.magnitude.as_deref().unwrap_or_default()].concat()
        };
        for (a, e) in values(actual).iter().zip(values(expected)) {
            assert!((a - e).abs() <= 1e-3, "{}: {}: {a} is not {e}", dir.display(), actual.spec.module);
        }
    }
}

#[test]
fn greedy_text_equals_the_reference_alone_and_in_a_batch() {
    for dir in cases() {
        let case = Case::open(&dir);
        let samples: Vec<Sample> = case.pictures().iter().map(|picture| case.sample(picture, None)).collect();
        let prompts: Vec<Prompt<'_>> = samples
            .iter()
            .map(|sample| Prompt { input_ids: &sample.input_ids, tiles: Some(&sample.tiles), features: None })
            .collect();
        let limits = Generation { eos_token_id: case.processor.eos_token_id(), max_new_tokens: 24 };
        let together = generate(&case.model, &prompts, limits).unwrap();
        for ((picture, prompt), together) in case.pictures().iter().zip(&prompts).zip(together) {
            let alone = generate(&case.model, &[*prompt], limits).unwrap();
            assert_eq!(together, numbers::<u32>(&picture["greedy_ids"]), "{}", dir.display());
            assert_eq!(alone[0], together);
        }
    }
}

#[test]
fn digit_probabilities_equal_the_reference() {
    for dir in cases() {
        let case = Case::open(&dir);
        let digits = numbers::<u32>(&case.expected["digit_token_ids"]);
        for picture in case.pictures() {
            let sample = case.sample(picture, Some(&case.answer(picture)));
            let positions = numbers::<usize>(&picture["rating_positions"]);
            let item = Item { sample: &sample, features: None };
            let choices = vec![digits.clone(); positions.len()];
            let actual = choice_probabilities(&case.model, item, &positions, &choices).unwrap();
            let expected = picture["digit_probs"].as_array().unwrap();
            assert_eq!(actual.len(), expected.len());
            for (actual, expected) in actual.iter().flatten().zip(expected.iter().flat_map(|p| p.as_array().unwrap())) {
                let difference = (actual - expected.as_f64().unwrap()).abs();
                assert!(difference <= 1e-5, "{}: off by {difference}", dir.display());
            }
        }
    }
}

#[test]
fn scores_from_the_cache_equal_teacher_forcing_in_any_batch_and_with_any_lines() {
    for dir in cases() {
        let case = Case::open(&dir);
        let names: Vec<&str> =
            case.expected["criteria"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let answer = ChoiceAnswer::lines(&names, &["1", "2", "3", "4", "5"]).unwrap();
        let samples: Vec<Sample> = case.pictures().iter().map(|picture| case.sample(picture, None)).collect();
        let items: Vec<Item<'_>> = samples.iter().map(|sample| Item { sample, features: None }).collect();
        for asked in [[true; 5], [true, false, true, false, true]] {
            let tokens = answer.tokens(&asked, |text| case.processor.answer_ids(text)).unwrap();
            assert!(tokens.choices().iter().all(|ids| *ids == numbers::<u32>(&case.expected["digit_token_ids"])));
            let scorer = Scorer::new(&case.model, &tokens);
            let together = scorer.score(&items).unwrap();
            for ((picture, item), scores) in case.pictures().iter().zip(&items).zip(&together) {
                assert_eq!(&scorer.score(&[*item]).unwrap()[0], scores, "a batch changes nothing");
                let best = |scores: &Vec<f64>| scores.iter().enumerate().fold(0, |b, (i, p)| if *p > scores[b] { i } else { b });
                let mut best = scores.iter().map(best);
                let picks: Vec<Option<usize>> = asked.iter().map(|asked| if *asked { best.next() } else { None }).collect();
                let forced = case.sample(picture, Some(&answer.text(&picks)));
                let start = forced.targets[0].position;
                let positions: Vec<usize> = tokens.positions().iter().map(|position| start + position).collect();
                let item = Item { sample: &forced, features: None };
                let expected = choice_probabilities(&case.model, item, &positions, tokens.choices()).unwrap();
                for (actual, expected) in scores.iter().flatten().zip(expected.iter().flatten()) {
                    assert!((actual - expected).abs() <= 1e-5, "{}: {actual} is not {expected}", dir.display());
                }
            }
        }
    }
}
