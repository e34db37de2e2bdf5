//! The released geometry of SmolVLM-500M-Instruct on random weights, against what transformers and peft computed:
//! `fixtures/parity/real_geometry.py` writes the directory that `$VLM_REAL_DIR` names. Needs about 10 GB of memory.

#![expect(clippy::unwrap_used, reason = "a directory that cannot be read fails its test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use pq_testing::{largest, relative_difference};
use safetensors::SafeTensors;
use serde_json::Value;
use vlm_lora::backend::{Cpu, Kernels as _};
use vlm_lora::{Checkpoint, Item, Model, PeftAdapter, Sample, StepMode, Target, Tiles};

struct Reference {
    dir: PathBuf,
    facts: Value,
}

impl Reference {
    fn open() -> Self {
        let dir = std::env::var_os("VLM_REAL_DIR").expect("VLM_REAL_DIR names what real_geometry.py wrote");
        let dir = PathBuf::from(dir);
        let facts = serde_json::from_slice(&std::fs::read(dir.join("sample.json")).unwrap()).unwrap();
        Self { dir, facts }
    }

    fn sample(&self) -> Sample {
        let ids = self.facts["input_ids"].as_array().unwrap();
        let input_ids: Vec<u32> = ids.iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let count = self.facts["tiles"].as_u64().unwrap() as usize;
        let bytes = std::fs::read(self.dir.join("tiles.safetensors")).unwrap();
        let data = SafeTensors::deserialize(&bytes).unwrap().tensor("tiles").unwrap().data().to_vec();
        let tiles = Arc::new(Tiles { rows: 1, cols: count - 1, side: 512, data });
        let answer = self.facts["answer_tokens"].as_u64().unwrap() as usize;
        let target = |position| Target { position, tokens: vec![(input_ids[position], 1.0)], weight: 1.0 };
        let targets = (input_ids.len() - answer..input_ids.len()).map(target).collect();
        Sample { input_ids, tiles, targets }
    }
}

fn peak_gib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(f64::NAN)
        / 1_048_576.0
}

/// Deviation of all gradients together, and of the worst tensor relative to its largest value.
fn gradient_deviation(model: &Model<Cpu<f32>>, file: &Path) -> (f64, f64) {
    let bytes = std::fs::read(file).unwrap();
    let theirs = SafeTensors::deserialize(&bytes).unwrap();
    let (mut squares, mut difference, mut worst) = (0.0, 0.0, Vec::new());
    assert_eq!(model.params().len(), theirs.len());
    for param in model.params() {
        let ours = model.backend().download(&param.grad).unwrap();
        let theirs = theirs.tensor(&param.name).unwrap();
        let theirs: Vec<f32> =
            theirs.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        worst.push(relative_difference(&ours, &theirs));
        for (ours, theirs) in ours.iter().zip(&theirs).map(|(a, b)| (f64::from(*a), f64::from(*b))) {
            squares += theirs * theirs;
            difference += (ours - theirs).powi(2);
        }
    }
    ((difference / squares).sqrt(), largest(worst))
}

#[test]
#[ignore = "needs a directory of 2 GB that Python makes"]
fn loss_and_gradients_agree_in_the_released_geometry() {
    let reference = Reference::open();
    let checkpoint = Checkpoint::open(reference.dir.join("model")).unwrap();
    let adapter = PeftAdapter::open(reference.dir.join("adapter"), checkpoint.config()).unwrap();
    let mut model = Model::load(Arc::new(Cpu::<f32>::new()), &checkpoint).unwrap();
    model.attach_adapter(&adapter).unwrap();
    assert_eq!((model.base_parameters(), model.trainable_parameters()), (507_482_304, 8_683_520));
    let sample = reference.sample();
    let (item, count) = (Item { sample: &sample, features: None }, sample.targets.len() as f64);
    let expected = reference.facts["loss"].as_f64().unwrap();
    for gradient_checkpointing in [true, false] {
        model.clear_gradients().unwrap();
        let started = Instant::now();
        let mode = StepMode { dropout: None, gradient_checkpointing };
        let loss = model.loss_and_gradients(&[item], count, mode).unwrap().loss;
        let seconds = started.elapsed().as_secs_f64();
        let (whole, worst) = gradient_deviation(&model, &reference.dir.join("gradients.safetensors"));
        println!(
            "gradient_checkpointing {gradient_checkpointing}: loss {loss:.7}, reference {expected:.7}, off by {:.1e}; gradients off by {whole:.1e} (worst tensor {worst:.1e}); {seconds:.1} s; peak {:.2} GiB",
            (loss - expected).abs(),
            peak_gib()
        );
        assert!((loss - expected).abs() < 1e-3, "{loss} {expected}");
        assert!(whole < 1e-3, "{whole}");
    }
}
