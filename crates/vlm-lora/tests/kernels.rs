//! Every way of computing, forced on in turn, against f64 and against what transformers and peft computed: the instruction
//! sets in f32, and each kernel of a base in bf16 or in 8 bits.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the differences are read by people")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use pq_testing::{largest, relative_difference};
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
        assert_eq!(self.gradients.len(), other.gradients.len());
        let pairs = self.gradients.iter().zip(&other.gradients);
        largest(pairs.map(|(ours, theirs)| relative_difference(ours, theirs)))
    }

    /// Largest difference of a loss from those given, relative.
    fn loss_difference(&self, losses: &[f64]) -> f64 {
        assert_eq!(self.losses.len(), losses.len());
        largest(self.losses.iter().zip(losses).map(|(a, b)| (a - b) / b))
    }
}

/// Every case with what it is in f64, which agrees with the reference.
fn cases() -> &'static [(Case, Computed)] {
    static CASES: OnceLock<Vec<(Case, Computed)>> = OnceLock::new();
    CASES.get_or_init(|| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity");
        let mut cases: Vec<PathBuf> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        cases.retain(|path| path.join("expected.json").is_file());
        cases.sort();
        assert!(!cases.is_empty());
        let exact = |dir: PathBuf| {
            let case = open(&dir);
            let exact = Computed::new(&case, Cpu::<f64>::new());
            assert!(exact.loss_difference(&case.losses) < 1e-5, "f64 and the reference differ");
            (case, exact)
        };
        cases.into_iter().map(exact).collect()
    })
}

fn options(isa: Isa, base: BaseDtype, kernel: Option<Bf16Kernel>) -> Cpu<f32> {
    Cpu::with_options(CpuOptions { base, kernel, isa: Some(isa) }).unwrap()
}

/// An instruction set in f32, and with the kernel of a base in bf16 or 8 bits that needs no more.
fn check_isa(isa: Isa) {
    for (case, exact) in cases() {
        let full = Computed::new(case, options(isa, BaseDtype::Full, None));
        let (loss, gradient) = (full.loss_difference(&case.losses), full.gradient_difference(exact));
        println!("{} f32 {}: loss {loss:.1e}, gradients {gradient:.1e}", case.dir.display(), isa.name());
        assert!(loss < 1e-5 && gradient < 1e-4);
    }
    check_kernel(isa, Bf16Kernel::Upcast);
}

/// A kernel with a base in bf16 and in 8 bits.
fn check_kernel(isa: Isa, kernel: Bf16Kernel) {
    for (case, exact) in cases() {
        assert!(Bf16Kernel::available_with(isa).contains(&kernel), "{kernel:?}");
        for (base, of_loss, of_norm) in [(BaseDtype::Bf16, 1e-2, 2e-2), (BaseDtype::Int8, 2e-2, 5e-2)] {
            let rounded = Computed::new(case, options(isa, base, Some(kernel)));
            let loss = rounded.loss_difference(&exact.losses);
            let norm = (rounded.norm() - exact.norm()).abs() / exact.norm();
            let (dir, isa) = (case.dir.display(), isa.name());
            println!("{dir} {base:?} {kernel:?} {isa}: loss {loss:.1e}, norm {norm:.1e}");
            assert!(loss < of_loss && norm < of_norm);
        }
    }
}

fn plain() {
    check_isa(Isa::Plain);
}

fn avx2() {
    check_isa(Isa::Avx2);
}

fn avx512() {
    check_isa(Isa::Avx512);
}

fn bf16_in_avx512() {
    check_kernel(Isa::Avx512, Bf16Kernel::Avx512);
}

fn bf16_in_amx() {
    check_kernel(Isa::Avx512, Bf16Kernel::Amx);
}

pq_testing::tests! {
    plain;
    avx2: needs Avx2;
    avx512: needs Avx512;
    bf16_in_avx512: needs Avx512, Avx512Bf16;
    bf16_in_amx: needs Avx512, Avx512Bf16, Amx;
}
