//! Reading a case, and a table of how far the results are from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use vlm_lora::backend::{Backend, Cpu, Device};
use vlm_lora::{Checkpoint, Model, PeftAdapter, Processor, Sample, Target};

/// The directories of all cases.
pub(crate) fn cases() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity");
    let mut found: Vec<PathBuf> = [Some(own), std::env::var_os("VLM_PARITY_DIR").map(PathBuf::from)]
        .into_iter()
        .flatten()
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expected.json").is_file())
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no parity case found");
    found
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub(crate) fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as usize).collect()
}

/// The five scores of a slide as the answer that is trained on.
pub(crate) fn answer(expected: &Value, case: &Value) -> String {
    let names = expected["criteria"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    let scores = case["scores"].as_array().unwrap();
    let lines: Vec<String> = names.zip(scores).map(|(name, score)| format!("{name}: {score}")).collect();
    lines.join("\n")
}

/// The device that is held against the reference: the CPU in f32, or with `VLM_DEVICE=cuda` the first GPU in f32. Who
/// asks for a GPU that is not there is told so.
#[expect(clippy::panic, reason = "a test that cannot run as it was asked to fails")]
pub(crate) fn device() -> Device {
    match std::env::var("VLM_DEVICE").as_deref() {
        Err(_) | Ok("" | "cpu") => Device::Cpu(Arc::new(Cpu::new())),
        #[cfg(feature = "cuda")]
        Ok("cuda") => {
            use vlm_lora::backend::{Cuda, CudaDtype, CudaOptions, cuda};
            let library_folders = cuda::library_folders(|name| std::env::var_os(name));
            let dtype = Some(CudaDtype::Float32);
            let options = CudaOptions { dtype, library_folders, ..CudaOptions::default() };
            Device::Cuda(Arc::new(Cuda::open(&options).unwrap()))
        }
        Ok(other) => {
            panic!("VLM_DEVICE={other} is not in this build (features: cuda {})", cfg!(feature = "cuda"))
        }
    }
}

/// Calls a function with the backend of [`device`].
macro_rules! on_device {
    ($test:ident) => {
        match $crate::case::device() {
            vlm_lora::backend::Device::Cpu(backend) => $test(&backend),
            #[cfg(feature = "cuda")]
            vlm_lora::backend::Device::Cuda(backend) => $test(&backend),
        }
    };
}
pub(crate) use on_device;

/// A case, opened.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) expected: Value,
    pub(crate) checkpoint: Checkpoint,
    /// One sample a slide; as in the reference, every token behind the prompt is a target.
    pub(crate) samples: Vec<Sample>,
    tensors: BTreeMap<String, Vec<f32>>,
}

impl Case {
    pub(crate) fn open(dir: &Path) -> Self {
        let checkpoint = Checkpoint::open(dir.join("model")).unwrap();
        let processor = Processor::open(dir.join("model"), None).unwrap();
        let expected = json(&dir.join("expected.json"));
        let slides = expected["cases"].as_array().unwrap();
        let samples = slides.iter().map(|slide| sample(&processor, dir, &expected, slide)).collect();
        let bytes = std::fs::read(dir.join("tensors.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = tensors.iter().filter(|(_, tensor)| tensor.dtype() == Dtype::F32);
        let floats =
            |data: &[u8]| data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let tensors = tensors.map(|(name, tensor)| (name.to_owned(), floats(tensor.data()))).collect();
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        Self { name, dir: dir.to_owned(), checkpoint, samples, tensors, expected }
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<&[f32]> {
        self.tensors.get(name).map(Vec::as_slice)
    }

    /// The tensors whose names begin so, by the rest of their names.
    pub(crate) fn tensors<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a [f32])> {
        self.tensors.iter().filter_map(move |(name, values)| Some((name.strip_prefix(prefix)?, &values[..])))
    }

    pub(crate) fn slides(&self) -> &[Value] {
        self.expected["cases"].as_array().unwrap()
    }

    pub(crate) fn adapter(&self, name: &str) -> PeftAdapter {
        let adapter = PeftAdapter::open(self.dir.join(name), self.checkpoint.config()).unwrap();
        adapter.on_base(&self.checkpoint).unwrap()
    }

    /// What peft computes when the adapter is disabled: the base, or with PiSSA what is left of it.
    pub(crate) fn disabled<B: Backend>(&self, backend: &Arc<B>) -> Model<B> {
        let mut model = self.model(backend);
        let mut adapter = self.adapter("adapter");
        if adapter.config.init_lora_weights.is_pissa() {
            adapter.config.use_dora = false;
            for module in &mut adapter.modules {
                module.b.fill(0.0);
                module.magnitude = None;
                module.spec.use_dora = false;
            }
            model.attach_adapter(&adapter).unwrap();
        }
        model
    }

    /// The base model.
    pub(crate) fn model<B: Backend>(&self, backend: &Arc<B>) -> Model<B> {
        Model::load(Arc::clone(backend), &self.checkpoint).unwrap()
    }
}

fn sample(processor: &Processor, dir: &Path, expected: &Value, slide: &Value) -> Sample {
    let image = image::open(dir.join("images").join(slide["image"].as_str().unwrap())).unwrap();
    let tiles = Arc::new(processor.tiles(&image).unwrap());
    let (prompt, answer) = (expected["prompt"].as_str().unwrap(), answer(expected, slide));
    let encoded = processor.encode(&tiles, prompt, Some(&answer)).unwrap();
    let targets = (encoded.prompt_tokens..encoded.input_ids.len()).map(|position| Target {
        position,
        tokens: vec![(encoded.input_ids[position], 1.0)],
        weight: 1.0,
    });
    let targets = targets.collect();
    Sample { input_ids: encoded.input_ids, tiles, targets }
}

/// The worst deviation of each quantity of a case, and whether all are within their limits.
pub(crate) struct Report {
    case: String,
    /// Factor of every limit.
    slack: f64,
    worst: BTreeMap<&'static str, (f64, f64, String)>,
}

impl Report {
    pub(crate) fn new(case: &Case) -> Self {
        // With PiSSA the reference decomposes the weights in f32; its own logits are then off the exact ones by up to 1e-4.
        let config = json(&case.dir.join("adapter/adapter_config.json"));
        let is_pissa = config["init_lora_weights"].as_str().is_some_and(|name| name.starts_with("pissa"));
        Self { case: case.name.clone(), slack: if is_pissa { 4.0 } else { 1.0 }, worst: BTreeMap::new() }
    }

    /// Notes a deviation and what it may be at most; what is not a number is too large.
    pub(crate) fn note(
        &mut self,
        quantity: &'static str,
        deviation: f64,
        limit: f64,
        place: &dyn std::fmt::Display,
    ) {
        let deviation = if deviation.is_nan() { f64::INFINITY } else { deviation };
        let limit = limit * self.slack;
        let worst = self.worst.entry(quantity).or_insert((0.0, limit, String::new()));
        if deviation >= worst.0 {
            *worst = (deviation, limit, place.to_string());
        }
    }

    /// Prints the table and returns the quantities that are too far off.
    pub(crate) fn finish(self) -> Vec<String> {
        assert!(!self.worst.is_empty(), "{}: nothing was compared", self.case);
        let mut failures = Vec::new();
        for (quantity, (deviation, limit, place)) in &self.worst {
            let line = format!("{} {quantity}: {deviation:.1e} of {limit:.0e} ({place})", self.case);
            println!("{line}");
            if deviation > limit {
                failures.push(line);
            }
        }
        failures
    }
}
