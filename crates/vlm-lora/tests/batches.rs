//! The scores of a slide are the same to the bit whatever slides it is scored with, in every way of computing on a CPU.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use vlm_lora::backend::{Backend, BaseDtype, Bf16Kernel, Cpu, CpuOptions, IntegerKernel, Isa};
use vlm_lora::{Checkpoint, ChoiceAnswer, Item, Model, PeftAdapter, Processor, Sample, Scorer};

/// Cases, and slides of each.
const CASES: usize = 2;
const SLIDES: usize = 3;

/// A checkpoint with an adapter and questions about some slides.
struct Case {
    dir: PathBuf,
    checkpoint: Checkpoint,
    processor: Processor,
    questions: Vec<Sample>,
    names: Vec<String>,
}

impl Case {
    fn open(dir: &Path) -> Self {
        let expected: Value =
            serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
        let processor = Processor::open(dir.join("model"), None).unwrap();
        let prompt = expected["prompt"].as_str().unwrap();
        let question = |slide: &Value| {
            let image = image::open(dir.join("images").join(slide["image"].as_str().unwrap())).unwrap();
            processor.sample(&Arc::new(processor.tiles(&image).unwrap()), prompt, None).unwrap()
        };
        let names = expected["criteria"].as_array().unwrap().iter();
        Self {
            dir: dir.to_owned(),
            checkpoint: Checkpoint::open(dir.join("model")).unwrap(),
            questions: expected["cases"].as_array().unwrap().iter().take(SLIDES).map(question).collect(),
            names: names.map(|name| name.as_str().unwrap().to_owned()).collect(),
            processor,
        }
    }

    /// The first cases.
    fn some() -> Vec<Self> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity");
        let mut cases: Vec<PathBuf> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        cases.retain(|path| path.join("expected.json").is_file());
        cases.sort();
        assert!(!cases.is_empty());
        cases.iter().take(CASES).map(|dir| Self::open(dir)).collect()
    }

    /// Scores each question alone, and beside each number of those that follow it.
    fn check<B: Backend>(&self, backend: B) {
        let mut model = Model::load(Arc::new(backend), &self.checkpoint).unwrap();
        model.attach_adapter(&PeftAdapter::open(self.dir.join("adapter"), model.config()).unwrap()).unwrap();
        let answer = ChoiceAnswer::lines(&self.names, &["1", "2", "3", "4", "5"]).unwrap();
        let asked = vec![true; self.names.len()];
        let tokens = answer.tokens(&asked, |text| self.processor.answer_ids(text)).unwrap();
        let scorer = Scorer::new(&model, &tokens);
        let items: Vec<Item<'_>> =
            self.questions.iter().map(|sample| Item { sample, features: None }).collect();
        let alone: Vec<_> = items.iter().map(|item| scorer.score(&[*item]).unwrap().remove(0)).collect();
        for length in 2..=items.len() {
            for (place, together) in items.windows(length).enumerate() {
                let scores = scorer.score(together).unwrap();
                let (name, case) = (model.backend().name(), self.dir.display());
                assert!(scores == alone[place..place + length], "{case}, {name}: {length} from {place}");
            }
        }
    }
}

#[test]
fn scores_do_not_depend_on_the_batch() {
    for case in Case::some() {
        assert_eq!(case.questions.len(), SLIDES);
        for isa in Isa::available() {
            let isa = Some(isa);
            case.check(Cpu::<f32>::with_options(CpuOptions { isa, ..CpuOptions::default() }).unwrap());
        }
        for kernel in Bf16Kernel::available_with(Isa::detected()) {
            let options = CpuOptions { base: BaseDtype::Bf16, kernel: Some(kernel), ..CpuOptions::default() };
            case.check(Cpu::<f32>::with_options(options).unwrap());
        }
        for kernel in IntegerKernel::available() {
            let options =
                CpuOptions { base: BaseDtype::Int8, integers: Some(kernel), ..CpuOptions::default() };
            case.check(Cpu::<f32>::with_options(options).unwrap());
        }
    }
}
