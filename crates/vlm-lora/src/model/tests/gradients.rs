//! Gradients against central differences in f64.

use super::fixture::{EVERYTHING, Noise, adapter, checkpoint, exact, gradients, items, sample};
use crate::backend::{Backend, Cpu};
use crate::model::{Item, Model, StepMode};
use crate::{OneOrMany, PeftAdapter, Sample};

/// Truncation (~h²) and cancellation (~1e-16/h) both stay below 1e-9.
const STEP: f64 = 1e-5;

fn loss(model: &mut Model<Cpu<f64>>, batch: &[Item<'_>], mode: StepMode) -> f64 {
    model.loss_and_gradients(batch, 3.0, mode).unwrap().loss
}

/// Compares the slope along a direction in one tensor with the gradient.
fn check_direction(
    model: &mut Model<Cpu<f64>>,
    index: usize,
    batch: &[Item<'_>],
    mode: StepMode,
    (direction, gradient): (&[f64], &[f64]),
) {
    let point = model.backend().download_f64(&model.params()[index].value).unwrap();
    let mut at = |step: f64| {
        let moved: Vec<f64> = point.iter().zip(direction).map(|(p, d)| p + step * d).collect();
        let moved = model.backend().upload_f64(&moved).unwrap();
        // Not through `params_mut`, which would make DoRA's norms follow: they count as constants.
        model.params[index].value = moved;
        loss(model, batch, mode)
    };
    let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
    at(0.0);
    let analytic: f64 = gradient.iter().zip(direction).map(|(g, d)| g * d).sum();
    let size = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    let name = &model.params()[index].name;
    assert!(
        (numeric - analytic).abs() < 1e-6 * (size + 1e-3),
        "{name}: analytic {analytic}, numeric {numeric}"
    );
}

/// A random direction and two single elements of every tensor.
fn assert_gradients(adapter: &PeftAdapter, samples: &[Sample], mode: StepMode) {
    let mut model = exact(&checkpoint(false), adapter);
    let batch = items(samples);
    loss(&mut model, &batch, mode);
    let analytic: Vec<Vec<f64>> = gradients(&model).into_values().collect();
    let mut noise = Noise(77);
    for (index, gradient) in analytic.iter().enumerate() {
        assert!(gradient.iter().any(|g| g.abs() > 1e-9), "{} gets no gradient", model.params()[index].name);
        let random: Vec<f64> = gradient.iter().map(|_| noise.next()).collect();
        check_direction(&mut model, index, &batch, mode, (&random, gradient));
        for place in [0, gradient.len() * 2 / 3] {
            let mut unit = vec![0.0; gradient.len()];
            unit[place] = 1.0;
            check_direction(&mut model, index, &batch, mode, (&unit, gradient));
        }
    }
}

#[test]
fn lora_on_every_linear() {
    let adapter = adapter(&checkpoint(false), &EVERYTHING, false, 0.0);
    assert_eq!(adapter.modules.len(), 2 * 6 + 1 + 2 * 7 + 1);
    assert_gradients(&adapter, &[sample(1), sample(2)], StepMode::default());
}

#[test]
fn dora_on_every_linear() {
    let adapter = adapter(&checkpoint(false), &EVERYTHING, true, 0.0);
    assert_gradients(&adapter, &[sample(1)], StepMode::default());
}

#[test]
fn lora_with_dropout_on_every_linear() {
    let adapter = adapter(&checkpoint(false), &EVERYTHING, false, 0.3);
    assert_gradients(&adapter, &[sample(2)], StepMode { dropout: Some(9), gradient_checkpointing: false });
}

#[test]
fn dora_with_dropout_on_every_linear_recomputed() {
    let adapter = adapter(&checkpoint(false), &EVERYTHING, true, 0.3);
    assert_gradients(&adapter, &[sample(1)], StepMode { dropout: Some(9), gradient_checkpointing: true });
}

/// The trained biases; that of keys is left out, whose gradient is zero because the softmax does not see it.
fn assert_bias_gradients(bias: &str, targets: &[&str], count: usize) {
    let checkpoint = checkpoint(false);
    let mut config = adapter(&checkpoint, targets, false, 0.0).config;
    config.bias = bias.to_owned();
    config.init_lora_weights = crate::InitLoraWeights::Default(false);
    let adapter = PeftAdapter::init(&config, &checkpoint, 1).unwrap();
    let mut model = exact(&checkpoint, &adapter);
    let (samples, mode) = ([sample(1), sample(2)], StepMode { dropout: None, gradient_checkpointing: true });
    let batch = items(&samples);
    loss(&mut model, &batch, mode);
    let analytic: Vec<Vec<f64>> = gradients(&model).into_values().collect();
    let (mut noise, mut seen) = (Noise(77), 0);
    for (index, gradient) in analytic.iter().enumerate() {
        let name = &model.params()[index].name;
        seen += usize::from(name.ends_with("bias"));
        if name.ends_with("k_proj.bias") || name.ends_with("k_proj.base_layer.bias") {
            assert!(gradient.iter().all(|g| g.abs() < 1e-12), "{name}");
            continue;
        }
        assert!(gradient.iter().any(|g| g.abs() > 1e-9), "{name} gets no gradient");
        let random: Vec<f64> = gradient.iter().map(|_| noise.next()).collect();
        check_direction(&mut model, index, &batch, mode, (&random, gradient));
    }
    assert_eq!((seen, adapter.biases.len()), (count, count));
}

#[test]
fn biases_of_adapted_linears() {
    assert_bias_gradients("lora_only", &["k_proj", "fc1", "fc2", "down_proj"], 2 * 3);
}

#[test]
fn every_bias() {
    // six linears and two norms a layer, the norm behind them, the patch embedding
    assert_bias_gradients("all", &["o_proj"], 2 * 8 + 2);
    assert_bias_gradients("all", &EVERYTHING, 2 * 8 + 2);
}

#[test]
fn a_start_from_principal_components() {
    let checkpoint = checkpoint(false);
    let mut adapter = adapter(&checkpoint, &EVERYTHING, false, 0.3);
    adapter.config.init_lora_weights = crate::InitLoraWeights::Named("pissa".to_owned());
    let adapter = adapter.on_base(&checkpoint).unwrap();
    assert_gradients(&adapter, &[sample(1)], StepMode { dropout: Some(9), gradient_checkpointing: false });
}

#[test]
fn a_decomposed_start_from_principal_components() {
    let checkpoint = checkpoint(false);
    let mut adapter = adapter(&checkpoint, &EVERYTHING, true, 0.3);
    adapter.config.init_lora_weights = crate::InitLoraWeights::Named("pissa".to_owned());
    let adapter = adapter.on_base(&checkpoint).unwrap();
    assert_gradients(&adapter, &[sample(2)], StepMode { dropout: Some(9), gradient_checkpointing: true });
}

#[test]
fn different_ranks_and_scales() {
    let checkpoint = checkpoint(false);
    let mut config = adapter(&checkpoint, &EVERYTHING, false, 0.0).config;
    config.use_rslora = true;
    config.rank_pattern.insert("down_proj".to_owned(), 3);
    config.alpha_pattern.insert(r"layers\.1\..*_proj".to_owned(), 7.0);
    config.init_lora_weights = crate::InitLoraWeights::Default(false);
    config.exclude_modules = Some(OneOrMany::One(".*vision_model.*".to_owned()));
    let adapter = PeftAdapter::init(&config, &checkpoint, 1).unwrap();
    assert_gradients(&adapter, &[sample(1)], StepMode::default());
}
