//! Image features and logits against SigLIP, Idefics3's connector and Llama of candle.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use pq_testing::max_difference;
use vlm_lora::backend::Cpu;
use vlm_lora::{Checkpoint, Item, Model, ModelConfig, Sample};

use crate::geometry::{Dice, config, sample, write_checkpoint};
use crate::smolvlm::SmolVlm;

/// Image features, and the logits of these rows, as candle computes them.
fn oracle(
    dir: &Path,
    config: &ModelConfig,
    sample: &Sample,
    rows: &[usize],
) -> candle_core::Result<[Vec<f32>; 2]> {
    let mut model = SmolVlm::open(dir, config, 512)?;
    let features = model.features(&sample.tiles.to_tensor(&Device::Cpu).unwrap())?;
    let mut logits = Vec::new();
    for &row in rows {
        logits.extend(model.logits(&sample.input_ids[..=row], &features)?);
    }
    Ok([features.flatten_all()?.to_vec1()?, logits])
}

/// The largest differences of features and logits.
fn differences(dir: &Path, sample: &Sample, rows: &[usize]) -> [f64; 2] {
    let checkpoint = Checkpoint::open(dir).unwrap();
    let model = Model::load(Arc::new(Cpu::<f32>::new()), &checkpoint).unwrap();
    let features = model.image_features(&[&sample.tiles]).unwrap().remove(0);
    let logits = model.logits(Item { sample, features: None }, rows).unwrap();
    let [their_features, their_logits] = oracle(dir, checkpoint.config(), sample, rows).unwrap();
    let given = vlm_lora::Features::from_tensor(&features.to_tensor(&Device::Cpu).unwrap()).unwrap();
    assert_eq!(given, features);
    let from_given = model.logits(Item { sample, features: Some(&given) }, rows).unwrap();
    assert!(max_difference(&from_given, &logits) < 1e-5, "features from a tensor give the same logits");
    [max_difference(features.values.iter(), &their_features), max_difference(&logits, &their_logits)]
}

#[test]
fn fifty_random_geometries_agree_with_candle_transformers() {
    let mut largest = [0.0_f64; 2];
    for seed in 0..50 {
        let (dir, mut dice) = (tempfile::tempdir().unwrap(), Dice::new(seed));
        let drawn = config(&mut dice);
        write_checkpoint(dir.path(), &drawn, &mut dice);
        let geometry = ModelConfig::open(dir.path()).unwrap();
        let sample = sample(&geometry, &mut dice);
        let last = sample.input_ids.len() - 1;
        let found = differences(dir.path(), &sample, &[0, 2, last / 2, last - 3, last]);
        assert!(found.iter().all(|difference| *difference < 1e-4), "{found:?} with seed {seed}: {drawn}");
        largest = [largest[0].max(found[0]), largest[1].max(found[1])];
    }
    println!("largest differences of features and logits: {largest:?}");
}

#[test]
#[ignore = "needs VLM_CHECKPOINT, the folder of the released checkpoint in one file"]
fn the_released_checkpoint_agrees_with_candle_transformers() {
    let dir = std::env::var_os("VLM_CHECKPOINT").expect("VLM_CHECKPOINT names a folder");
    let geometry = ModelConfig::open(dir.as_ref()).unwrap();
    let sample = sample(&geometry, &mut Dice::new(1));
    let last = sample.input_ids.len() - 1;
    let found = differences(dir.as_ref(), &sample, &[0, last]);
    println!("differences of features and logits: {found:?}");
    assert!(found.iter().all(|difference| *difference < 1e-3), "{found:?}");
}
