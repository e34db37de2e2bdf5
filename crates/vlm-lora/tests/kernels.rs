//! Every way of computing, forced on in turn, against f64 and against what transformers and peft computed: the instruction
//! sets in f32, and each kernel of a narrow base. The limit of the instruction set is the whole process's, so this is one test
//! in a program of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use vlm_lora::backend::{Backend, BaseDtype, Bf16Kernel, Cpu, CpuOptions, Isa};
use vlm_lora::{Checkpoint, Item, Model, PeftAdapter, Processor, Sample, StepMode, Target};

/// Slides of each case.
const SLIDES: usize = 2;

struct Case {
    dir: PathBuf,
    checkpoint: Checkpoint,
    samples: Vec<Sample>,
    /// The reference's losses.
    losses: Vec<f64>,
}

fn open(dir: &Path) -> Case {
    let expected: Value = serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
    let processor = Processor::open(dir.join("model"), None).unwrap();
    let slides = &expected["cases"].as_array().unwrap()[..SLIDES];
    let names = expected["criteria"].as_array().unwrap();
    let sample = |slide: &Value| {
        let image = image::open(dir.join("images").join(slide["image"].as_str().unwrap())).unwrap();
        let scores = slide["scores"].as_array().unwrap();
        let lines: Vec<String> =
            names.iter().zip(scores).map(|(name, s)| format!("{}: {s}", name.as_str().unwrap())).collect();
        let tiles = Arc::new(processor.tiles(&image).unwrap());
        let prompt = expected["prompt"].as_str().unwrap();
        let encoded = processor.encode(&tiles, prompt, Some(&lines.join("\n"))).unwrap();
        let target =
            |position| Target { position, tokens: vec![(encoded.input_ids[position], 1.0)], weight: 1.0 };
        let targets = (encoded.prompt_tokens..encoded.input_ids.len()).map(target).collect();
        Sample { input_ids: encoded.input_ids, tiles, targets }
    };
    Case {
        dir: dir.to_owned(),
        checkpoint: Checkpoint::open(dir.join("model")).unwrap(),
        samples: slides.iter().map(sample).collect(),
        losses: slides.iter().map(|slide| slide["loss"].as_f64().unwrap()).collect(),
    }
}

/// Losses of the slides one by one, and the gradients of their sum.
struct Computed {
    losses: Vec<f64>,
    gradients: Vec<Vec<f64>>,
}

impl Computed {
    fn new<B: Backend>(case: &Case, backend: B) -> Self {
        let mut model = Model::load(Arc::new(backend), &case.checkpoint).unwrap();
        let adapter = PeftAdapter::open(case.dir.join("adapter"), case.checkpoint.config()).unwrap();
        model.attach_adapter(&adapter).unwrap();
        let step = |sample: &Sample| {
            let item = Item { sample, features: None };
            model.loss_and_gradients(&[item], sample.targets.len() as f64, StepMode::default()).unwrap().loss
        };
        let losses = case.samples.iter().map(step).collect();
        let gradients =
            model.params().iter().map(|p| model.backend().download_f64(&p.grad).unwrap()).collect();
        Self { losses, gradients }
    }

    fn norm(&self) -> f64 {
        self.gradients.iter().flatten().map(|g| g * g).sum::<f64>().sqrt()
    }

    /// Largest difference of a gradient relative to its largest element.
    fn gradient_difference(&self, other: &Self) -> f64 {
        let each = self.gradients.iter().zip(&other.gradients).map(|(a, b)| {
            let largest = b.iter().fold(f64::MIN_POSITIVE, |most, g| most.max(g.abs()));
            a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest
        });
        each.fold(0.0, f64::max)
    }

    /// Largest difference of a loss from those given, relative.
    fn loss_difference(&self, losses: &[f64]) -> f64 {
        self.losses.iter().zip(losses).map(|(a, b)| (a - b).abs() / b).fold(0.0, f64::max)
    }
}

fn options(isa: Isa, base: BaseDtype, kernel: Option<Bf16Kernel>) -> Cpu<f32> {
    Cpu::with_options(CpuOptions { base, kernel, isa: Some(isa) }).unwrap()
}

#[test]
fn every_path_computes_the_same_step() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.join("expected.json").is_file());
    cases.sort();
    assert!(!cases.is_empty());
    for dir in cases {
        let case = open(&dir);
        Isa::Avx512.limit();
        let exact = Computed::new(&case, Cpu::<f64>::new());
        assert!(exact.loss_difference(&case.losses) < 1e-5, "f64 and the reference differ");
        for isa in [Isa::Plain, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| *isa <= Isa::detected()) {
            let full = Computed::new(&case, options(isa, BaseDtype::Full, None));
            let (loss, gradient) = (full.loss_difference(&case.losses), full.gradient_difference(&exact));
            println!("{} f32 {}: loss {loss:.1e}, gradients {gradient:.1e}", dir.display(), isa.name());
            assert!(loss < 1e-5 && gradient < 1e-4);
            isa.limit();
            for (base, kernel) in Bf16Kernel::available()
                .into_iter()
                .flat_map(|kernel| [(BaseDtype::Bf16, kernel), (BaseDtype::Int8, kernel)])
            {
                let narrow = Computed::new(&case, options(isa, base, Some(kernel)));
                let loss = narrow.loss_difference(&exact.losses);
                let norm = (narrow.norm() - exact.norm()).abs() / exact.norm();
                println!(
                    "{} {base:?} {kernel:?} {}: loss {loss:.1e}, norm {norm:.1e}",
                    dir.display(),
                    isa.name()
                );
                let (of_loss, of_norm) = if base == BaseDtype::Bf16 { (1e-2, 2e-2) } else { (2e-2, 5e-2) };
                assert!(loss < of_loss && norm < of_norm);
            }
        }
    }
}
