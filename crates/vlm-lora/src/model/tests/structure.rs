//! What must not change the result: packing, recomputation, adapters that are not there, features computed before.

use pq_testing::{assert_close, relative_difference};

use super::fixture::{EVERYTHING, IMAGE, adapter, checkpoint, exact, gradients, items, model, sample};
use crate::backend::{Backend, BaseDtype, Cpu, CpuOptions, Kernels as _};
use crate::model::{Features, Item, Model, StepMode};
use crate::{Error, FeatureCache, FeaturePrecision, Fingerprint, Sample, Tiles};

const TEXT: [&str; 2] = ["o_proj", "gate_proj"];

fn step<B: Backend>(model: &mut Model<B>, samples: &[Sample], mode: StepMode) -> f64 {
    model.loss_and_gradients(&items(samples), 2.0, mode).unwrap().loss
}

#[test]
fn packed_samples_equal_one_by_one() {
    let checkpoint = checkpoint(false);
    let adapter = adapter(&checkpoint, &EVERYTHING, true, 0.0);
    let samples = [sample(1), sample(2), sample(5)];
    let mut packed = exact(&checkpoint, &adapter);
    let together = step(&mut packed, &samples, StepMode::default());
    let mut single = exact(&checkpoint, &adapter);
    let mut sum = 0.0;
    for sample in &samples {
        sum += step(&mut single, std::slice::from_ref(sample), StepMode::default());
    }
    assert!((together - sum).abs() < 1e-12 * sum);
    for ((name, packed), single) in gradients(&packed).into_iter().zip(gradients(&single).into_values()) {
        assert!(relative_difference(&packed, &single) < 1e-11, "{name}");
    }
    let mut alone = exact(&checkpoint, &adapter);
    alone.clear_gradients().unwrap();
    let loss = alone.loss(&items(&samples), 2.0).unwrap();
    assert!((loss.loss - sum).abs() < 1e-6 * sum, "features pass through f32: {} {sum}", loss.loss);
    assert!((loss.weight - 10.5).abs() < 1e-12);
}

#[test]
fn recomputation_changes_no_bit() {
    let checkpoint = checkpoint(false);
    for (dora, dropout) in [(false, 0.0), (false, 0.2), (true, 0.2)] {
        let adapter = adapter(&checkpoint, &EVERYTHING, dora, dropout);
        let run = |gradient_checkpointing| {
            let mut model = model(Cpu::<f32>::new(), &checkpoint, &adapter);
            let mode = StepMode { dropout: Some(4), gradient_checkpointing };
            (step(&mut model, &[sample(1), sample(2)], mode).to_bits(), gradients(&model))
        };
        assert_eq!(run(false), run(true));
    }
}

#[test]
fn masks_depend_on_the_key() {
    let checkpoint = checkpoint(false);
    let mut model = exact(&checkpoint, &adapter(&checkpoint, &TEXT, false, 0.5));
    let mut run =
        |dropout| step(&mut model, &[sample(1)], StepMode { dropout, gradient_checkpointing: false });
    assert_eq!(run(Some(1)).to_bits(), run(Some(1)).to_bits());
    assert_ne!(run(Some(1)).to_bits(), run(Some(2)).to_bits());
    assert_ne!(run(Some(1)).to_bits(), run(None).to_bits());
}

/// The gradient of an adapter does not depend on whether others, which change nothing, make the pass go on below it.
#[test]
fn the_pass_stops_below_the_lowest_adapter() {
    let checkpoint = checkpoint(false);
    let whole = adapter(&checkpoint, &EVERYTHING, false, 0.0);
    for target in [
        "lm_head",
        "model.text_model.layers.1.mlp.down_proj",
        "model.text_model.layers.1.mlp.up_proj",
        "model.text_model.layers.1.self_attn.o_proj",
        "model.text_model.layers.1.self_attn.v_proj",
        "model.text_model.layers.0.self_attn.k_proj",
        "proj",
        "model.vision_model.encoder.layers.1.mlp.fc2",
        "model.vision_model.encoder.layers.1.mlp.fc1",
        "model.vision_model.encoder.layers.1.self_attn.out_proj",
        "model.vision_model.encoder.layers.0.self_attn.q_proj",
    ] {
        let only = adapter(&checkpoint, &[target], false, 0.0);
        let mut rest = whole.clone();
        for module in &mut rest.modules {
            match only.modules.iter().find(|only| only.spec.module == module.spec.module) {
                Some(only) => *module = only.clone(),
                None => module.b.fill(0.0),
            }
        }
        let (mut small, mut large) = (exact(&checkpoint, &only), exact(&checkpoint, &rest));
        let losses =
            [&mut small, &mut large].map(|model| step(model, &[sample(1), sample(2)], StepMode::default()));
        assert!((losses[0] - losses[1]).abs() < 1e-6, "{target}: {losses:?}");
        let all = gradients(&large);
        for (name, gradient) in gradients(&small) {
            // Frozen image rows pass through f32.
            assert!(relative_difference(&gradient, &all[&name]) < 1e-5, "{name}");
        }
    }
}

#[test]
fn features_computed_before_give_the_same() {
    let checkpoint = checkpoint(true);
    let mut model = model(Cpu::<f32>::new(), &checkpoint, &adapter(&checkpoint, &TEXT, false, 0.0));
    assert!(!model.trains_vision());
    let samples = [sample(1), sample(2)];
    let tiles: Vec<_> = samples.iter().map(|sample| &*sample.tiles).collect();
    let features = model.image_features(&tiles).unwrap();
    assert_eq!(features.iter().map(|f| f.values.len() / f.width).collect::<Vec<_>>(), [4, 8]);
    let items: Vec<_> = samples
        .iter()
        .zip(&features)
        .map(|(sample, features)| Item { sample, features: Some(features) })
        .collect();
    let with = model.loss_and_gradients(&items, 2.0, StepMode::default()).unwrap();
    let gradient = gradients(&model);
    model.clear_gradients().unwrap();
    let without = step(&mut model, &samples, StepMode::default());
    assert_eq!(with.loss.to_bits(), without.to_bits());
    assert_eq!(gradient, gradients(&model));
}

#[test]
fn tiles_that_images_share_give_the_bits_of_each_image_alone() {
    let checkpoint = checkpoint(true);
    let (one, two) = (sample(1), sample(2));
    let data = [two.tiles.tile(1), one.tiles.tile(0), two.tiles.tile(1)].concat();
    let shared = Tiles { rows: 1, cols: 2, side: one.tiles.side, data };
    let images = [&*one.tiles, &shared, &*two.tiles, &shared];
    for base in [BaseDtype::Full, BaseDtype::Bf16, BaseDtype::Int8] {
        let backend = || Cpu::<f32>::with_options(CpuOptions { base, ..CpuOptions::default() }).unwrap();
        let model = || model(backend(), &checkpoint, &adapter(&checkpoint, &TEXT, false, 0.0));
        let alone = images.map(|image| model().image_features(&[image]).unwrap().remove(0));
        let cache = FeatureCache::new(Fingerprint::of_bytes(b"base"), FeaturePrecision::Float32);
        let model = model();
        cache.features(&model, &images[..1]).unwrap();
        for _ in 0..2 {
            assert_eq!(cache.features(&model, &images).unwrap(), alone, "{base:?}");
        }
    }
}

#[test]
fn gradients_add_up_and_clear() {
    let checkpoint = checkpoint(false);
    let mut model = exact(&checkpoint, &adapter(&checkpoint, &TEXT, false, 0.0));
    step(&mut model, &[sample(1)], StepMode::default());
    let once = gradients(&model);
    step(&mut model, &[sample(1)], StepMode::default());
    for ((name, twice), once) in gradients(&model).into_iter().zip(once.into_values()) {
        let doubled: Vec<f64> = once.iter().map(|g| 2.0 * g).collect();
        assert!(relative_difference(&twice, &doubled) < 1e-12, "{name}");
    }
    model.clear_gradients().unwrap();
    assert!(gradients(&model).values().flatten().all(|g| *g == 0.0));
}

#[test]
fn an_adapter_comes_back_as_it_went_in() {
    let checkpoint = checkpoint(false);
    let adapter = adapter(&checkpoint, &EVERYTHING, true, 0.1);
    let mut model = model(Cpu::<f32>::new(), &checkpoint, &adapter);
    assert_eq!(model.adapter().unwrap(), adapter);
    assert_eq!(model.trainable_parameters(), adapter.trainable_parameters());
    assert!(model.params().is_sorted_by(|a, b| a.name < b.name));
    assert_eq!(model.modules(), checkpoint.config().linears());
    model.detach();
    assert!(model.adapter().is_err() && model.params().is_empty());
}

#[test]
fn a_fresh_adapter_changes_nothing() {
    let checkpoint = checkpoint(false);
    let mut model = model(Cpu::<f32>::new(), &checkpoint, &adapter(&checkpoint, &EVERYTHING, true, 0.0));
    let (sample, config) = (sample(2), model.adapter().unwrap().config);
    let item = Item { sample: &sample, features: None };
    let changed = model.logits(item, &[3]).unwrap();
    model.detach();
    let base = model.logits(item, &[3]).unwrap();
    assert_ne!(base, changed);
    model.attach(&config, &checkpoint, 8).unwrap();
    let fresh = model.logits(item, &[3]).unwrap();
    assert_close(&fresh, &base, 1e-5);
}

#[test]
fn dora_follows_its_parameters() {
    let checkpoint = checkpoint(false);
    let mut adapter = adapter(&checkpoint, &["q_proj", "up_proj"], true, 0.0);
    let mut saved = model(Cpu::<f32>::new(), &checkpoint, &adapter);
    let sample = sample(1);
    let item = Item { sample: &sample, features: None };
    saved.logits(item, &[5]).unwrap();
    adapter.modules.iter_mut().flat_map(|module| &mut module.a).for_each(|value| *value *= -1.5);
    for param in saved.params_mut().iter_mut().filter(|param| param.name.contains("lora_A")) {
        let backend = Cpu::<f32>::new();
        let values: Vec<f32> =
            backend.download(&param.value).unwrap().iter().map(|value| value * -1.5).collect();
        param.value = backend.upload(&values).unwrap();
    }
    let fresh = model(Cpu::<f32>::new(), &checkpoint, &adapter);
    assert_eq!(saved.logits(item, &[5]).unwrap(), fresh.logits(item, &[5]).unwrap());
}

#[test]
fn samples_that_do_not_fit_are_refused() {
    let checkpoint = checkpoint(false);
    let mut model = exact(&checkpoint, &adapter(&checkpoint, &["q_proj"], false, 0.0));
    let features = Features { width: 12, values: vec![0.0; 48].into() };
    let good = sample(1);
    let mut refused = |change: &dyn Fn(&mut Sample)| {
        let mut sample = good.clone();
        change(&mut sample);
        let result = model.loss_and_gradients(&items(&[sample]), 1.0, StepMode::default());
        assert!(matches!(result, Err(Error::Text { .. } | Error::Image { .. })), "{result:?}");
    };
    refused(&|sample| sample.input_ids.push(IMAGE));
    refused(&|sample| sample.input_ids[0] = 20);
    refused(&|sample| sample.input_ids.clear());
    refused(&|sample| sample.targets[0].position = 0);
    refused(&|sample| sample.targets.swap(0, 1));
    refused(&|sample| sample.targets[2].position = sample.input_ids.len());
    refused(&|sample| sample.targets[0].tokens.clear());
    refused(&|sample| sample.targets[0].tokens[0].0 = 99);
    refused(&|sample| sample.targets[0].weight = f32::NAN);
    refused(&|sample| sample.tiles = std::sync::Arc::new(crate::Tiles { side: 6, ..(*good.tiles).clone() }));
    let stale = [Item { sample: &good, features: Some(&features) }];
    assert!(matches!(
        model.loss_and_gradients(&stale, 1.0, StepMode::default()),
        Err(Error::Unsupported { .. })
    ));
    assert!(model.loss(&items(std::slice::from_ref(&good)), 0.0).is_err());
    let narrow = Features { width: 11, ..features };
    let item = Item { sample: &good, features: Some(&narrow) };
    assert!(model.logits(item, &[0]).is_err());
    assert!(model.logits(Item { features: None, ..item }, &[99]).is_err());
}
