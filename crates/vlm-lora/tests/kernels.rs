//! Every way of computing, forced on in turn, against f64 and against what transformers and peft computed: the instruction
//! sets in f32, each kernel of a base in bf16 or in 8 bits, and each kernel of integers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the differences are read by people")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use pq_testing::{largest, relative_difference};
use serde_json::Value;
use vlm_lora::backend::{Backend, BaseDtype, Bf16Kernel, Cpu, CpuOptions, IntegerKernel, Isa, Kernels as _};
use vlm_lora::{
    Checkpoint, IntegerCheck, Item, Model, PeftAdapter, Processor, Sample, StepMode, Target, safetensors,
};

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
    /// What the check of products in integers said.
    check: Option<IntegerCheck>,
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
        Self { losses, gradients, check: model.integer_check() }
    }

    fn norm(&self) -> f64 {
        self.gradients.iter().flatten().map(|g| g * g).sum::<f64>().sqrt()
    }

    /// `‖ours − theirs‖ / ‖theirs‖` of all gradients together.
    fn distance(&self, other: &Self) -> f64 {
        let pairs = self.gradients.iter().flatten().zip(other.gradients.iter().flatten());
        pairs.map(|(ours, theirs)| (ours - theirs).powi(2)).sum::<f64>().sqrt() / other.norm()
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

/// The cases with outliers: six channels of every norm thirty times as large beside the others, all together as large as before.
fn with_outliers() -> &'static [(Case, Computed)] {
    static CASES: OnceLock<Vec<(Case, Computed)>> = OnceLock::new();
    CASES.get_or_init(|| {
        let planted = |(case, _): &(Case, Computed)| {
            let dir = tempfile::tempdir().unwrap();
            for entry in std::fs::read_dir(case.dir.join("model")).unwrap() {
                let path = entry.unwrap().path();
                std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
            }
            plant(&dir.path().join("model.safetensors"));
            let checkpoint = Checkpoint::open(dir.path()).unwrap();
            let case = Case {
                dir: case.dir.clone(),
                checkpoint,
                samples: case.samples.clone(),
                losses: case.losses.clone(),
            };
            let exact = Computed::new(&case, Cpu::<f64>::new());
            (case, exact)
        };
        cases().iter().map(planted).collect()
    })
}

/// A tensor with outliers.
struct Planted {
    shape: Vec<usize>,
    values: Vec<f32>,
}

fn plant(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let planted = tensors.iter().map(|(name, view)| {
        assert_eq!(view.dtype(), safetensors::Dtype::F32);
        let mut values: Vec<f32> =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        if name.contains("norm") && name.ends_with(".weight") && !name.contains("text_model.norm") {
            let size = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
            let before = size(&values);
            for value in values.iter_mut().skip(5).step_by(7).take(6) {
                *value *= 30.0;
            }
            let factor = before / size(&values);
            for value in &mut values {
                *value *= factor;
            }
        }
        (name.to_owned(), Planted { shape: view.shape().to_vec(), values })
    });
    let planted: Vec<(String, Planted)> = planted.collect();
    let views = planted.iter().map(|(name, Planted { shape, values })| {
        let bytes = bytemuck::cast_slice(values);
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// A backend with these options.
fn backend(options: CpuOptions) -> Cpu<f32> {
    Cpu::with_options(options).unwrap()
}

fn in_bf16(isa: Isa, kernel: Bf16Kernel) -> CpuOptions {
    CpuOptions { base: BaseDtype::Bf16, kernel: Some(kernel), isa: Some(isa), ..CpuOptions::default() }
}

/// An instruction set in f32, and with a base in bf16 or 8 bits by the kernels that need no more.
fn check_isa(isa: Isa) {
    for (case, exact) in cases() {
        let full = CpuOptions { isa: Some(isa), ..CpuOptions::default() };
        let full = Computed::new(case, backend(full));
        let (loss, gradient) = (full.loss_difference(&case.losses), full.gradient_difference(exact));
        println!("{} f32 {}: loss {loss:.1e}, gradients {gradient:.1e}", case.dir.display(), isa.name());
        assert!(loss < 1e-5 && gradient < 1e-4);
    }
    check_kernel(isa, Bf16Kernel::Upcast);
    for integers in IntegerKernel::available_with(isa) {
        check_integers(isa, integers);
    }
}

/// A kernel with a base in bf16, and with one in 8 bits whose activations stay as they are.
fn check_kernel(isa: Isa, kernel: Bf16Kernel) {
    for (case, exact) in cases() {
        assert!(Bf16Kernel::available_with(isa).contains(&kernel), "{kernel:?}");
        for (base, of_loss, of_norm) in [(BaseDtype::Bf16, 1e-2, 2e-2), (BaseDtype::Int8, 2e-2, 5e-2)] {
            let cpu = backend(CpuOptions { base, ..in_bf16(isa, kernel) });
            cpu.set_integers(false);
            let rounded = Computed::new(case, cpu);
            let loss = rounded.loss_difference(&exact.losses);
            let norm = (rounded.norm() - exact.norm()).abs() / exact.norm();
            let (dir, isa) = (case.dir.display(), isa.name());
            println!("{dir} {base:?} {kernel:?} {isa}: loss {loss:.1e}, norm {norm:.1e}");
            assert!(loss < of_loss && norm < of_norm);
        }
    }
}

/// Integers of 8 bits beside bf16, and of 16 bits beside f64, on the cases as they are and with outliers planted.
fn check_integers(isa: Isa, integers: IntegerKernel) {
    for (case, exact) in cases().iter().chain(with_outliers()) {
        let (dir, isa_name) = (case.dir.display(), isa.name());
        let bf16 = Computed::new(case, backend(in_bf16(isa, Bf16Kernel::Upcast)));
        let eight = CpuOptions {
            base: BaseDtype::Int8,
            integers: Some(integers),
            ..in_bf16(isa, Bf16Kernel::Upcast)
        };
        let eight = Computed::new(case, backend(eight));
        println!("{dir}: {:?}", eight.check);
        assert!(eight.check.is_none_or(|check| check.is_kept));
        let loss = eight.loss_difference(&bf16.losses);
        let norm = (eight.norm() - bf16.norm()).abs() / bf16.norm();
        let off = eight.distance(exact);
        println!(
            "{dir} int8 {integers:?} {isa_name}: loss {loss:.1e}, norm {norm:.1e}, gradients off by {off:.1e}"
        );
        assert!(loss < 5e-3 && norm < 3e-2, "loss {loss:.1e}, norm {norm:.1e}");
        let sixteen = CpuOptions { integers: Some(integers), ..in_bf16(isa, Bf16Kernel::Int16) };
        let sixteen = Computed::new(case, backend(sixteen));
        assert!(sixteen.check.is_none_or(|check| check.is_kept));
        let (loss, off) = (sixteen.loss_difference(&exact.losses), sixteen.distance(exact));
        println!("{dir} int16 {integers:?} {isa_name}: loss {loss:.1e}, gradients off by {off:.1e}");
        assert!(loss < 1e-3 && off < 3e-2, "loss {loss:.1e}, gradients off by {off:.1e}");
    }
}

/// All losses of 16-bit integers are off by no more than those of bf16, and so are all gradients.
fn int16_beside_bf16() {
    for (what, cases) in [("as they are", cases()), ("with outliers", with_outliers())] {
        let errors = |kernel| {
            let of = |(case, exact): &(Case, Computed)| {
                let rounded = Computed::new(case, backend(in_bf16(Isa::Avx512, kernel)));
                let losses =
                    rounded.losses.iter().zip(&exact.losses).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
                (losses, rounded.distance(exact).powi(2))
            };
            let (losses, gradients): (Vec<f64>, Vec<f64>) = cases.iter().map(of).unzip();
            (losses.iter().sum::<f64>().sqrt(), gradients.iter().sum::<f64>().sqrt())
        };
        let (ours, theirs) = (errors(Bf16Kernel::Int16), errors(Bf16Kernel::Avx512));
        println!("cases {what}: losses and gradients off by {ours:?} in int16, {theirs:?} in bf16");
        assert!(ours.0 <= theirs.0 && ours.1 <= theirs.1, "{ours:?} and {theirs:?}");
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

fn neon() {
    check_isa(Isa::Neon);
}

fn bf16_in_neon() {
    check_kernel(Isa::Neon, Bf16Kernel::Neon);
}

fn bf16_in_avx512() {
    check_kernel(Isa::Avx512, Bf16Kernel::Avx512);
}

/// Products in integers are left where features deviate, and the backend's name then says so.
fn integers_are_checked_and_left() {
    let (case, _) = &cases()[0];
    let images: Vec<_> = case.samples.iter().map(|sample| &*sample.tiles).collect();
    let load = |base, kernel| {
        let options = CpuOptions { base, kernel: Some(kernel), ..CpuOptions::default() };
        Model::load(Arc::new(backend(options)), &case.checkpoint).unwrap()
    };
    for (base, bound) in [(BaseDtype::Int8, 0.03), (BaseDtype::Bf16, 0.01)] {
        let model = load(base, Bf16Kernel::Int16);
        assert!(model.integer_check().is_none());
        let name = model.backend().name();
        model.image_features(&images).unwrap();
        let check = model.integer_check().unwrap();
        println!("{base:?}: {check:?}");
        assert!(check.is_kept && check.deviation > 0.0 && check.deviation < bound);
        assert_eq!((check.bound, model.backend().name()), (bound, name));
    }
    let model = load(BaseDtype::Bf16, Bf16Kernel::Upcast);
    assert!(model.check_integers(&images).unwrap().is_none());
}

fn bf16_in_amx() {
    check_kernel(Isa::Avx512, Bf16Kernel::Amx);
}

pq_testing::tests! {
    plain;
    integers_are_checked_and_left;
    int16_beside_bf16: needs Avx512, Avx512Bf16;
    avx2: needs Avx2;
    avx512: needs Avx512;
    bf16_in_avx512: needs Avx512, Avx512Bf16;
    bf16_in_amx: needs Avx512, Avx512Bf16, Amx;
    neon: needs Neon;
    bf16_in_neon: needs Neon, NeonBf16;
}
