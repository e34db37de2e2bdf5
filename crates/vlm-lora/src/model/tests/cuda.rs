//! Whole training steps with the CUDA backend on the device that the CPU emulates.

use std::collections::BTreeMap;

use super::fixture::{EVERYTHING, adapter, checkpoint, exact, gradients, items, model, sample};
use crate::Error;
use crate::backend::Backend;
use crate::backend::cuda::{Cuda, CudaDtype, Device, emulated, of_this_machine};
use crate::model::{Model, StepMode};

/// The loss of a step over three samples, with dropout, and every gradient.
fn step<B: Backend>(model: &mut Model<B>, checkpointing: bool) -> (f64, BTreeMap<String, Vec<f64>>) {
    let samples = [sample(1), sample(2), sample(5)];
    let mode = StepMode { dropout: Some(4), gradient_checkpointing: checkpointing };
    let loss = model.loss_and_gradients(&items(&samples), 2.0, mode).unwrap().loss;
    (loss, gradients(model))
}

fn norm<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

fn check(dtype: CudaDtype, dora: bool, bounds: (f64, f64)) {
    check_on(emulated(dtype, false, false), dora, bounds);
}

/// The loss within `loss` and the gradient of all tensors together within `gradient`, both relative.
fn check_on<D: Device>(cuda: Cuda<D>, dora: bool, (loss_bound, gradient_bound): (f64, f64)) {
    let dtype = cuda.dtype();
    let checkpoint = checkpoint(false);
    let adapter = adapter(&checkpoint, &EVERYTHING, dora, 0.2);
    let (loss, expected) = step(&mut exact(&checkpoint, &adapter), false);
    let mut model = model(cuda, &checkpoint, &adapter);
    let (ours, gradients) = step(&mut model, false);
    assert!((ours - loss).abs() <= loss_bound * loss, "{dtype:?}: loss {ours}, expected {loss}");
    assert!(gradients.keys().eq(expected.keys()));
    let pairs = gradients.values().flatten().zip(expected.values().flatten());
    let differences: Vec<f64> = pairs.map(|(ours, theirs)| ours - theirs).collect();
    let error = norm(differences.iter()) / norm(expected.values().flatten());
    eprintln!(
        "{dtype:?}, DoRA {dora}: loss off by {:.1e}, gradient by {error:.1e}",
        (ours - loss).abs() / loss
    );
    assert!(error <= gradient_bound, "{dtype:?}: the gradient is off by {error}");
}

/// Adapters are multiplied in TF32 where the base is narrow.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_step_on_a_real_device_agrees_with_f64() {
    for (dtype, bounds) in [
        (CudaDtype::Float32, (2e-6, 1e-5)),
        (CudaDtype::Float16, (2e-3, 1e-2)),
        (CudaDtype::Bfloat16, (1e-2, 4e-2)),
    ] {
        match Cuda::open(&of_this_machine(Some(dtype))) {
            Err(Error::Unsupported { what }) if dtype == CudaDtype::Bfloat16 => eprintln!("left out: {what}"),
            opened => check_on(opened.unwrap(), true, bounds),
        }
    }
}

#[test]
fn a_step_in_f32_agrees_with_f64() {
    for dora in [false, true] {
        check(CudaDtype::Float32, dora, (2e-6, 1e-5));
    }
}

#[test]
fn a_step_in_f16_is_within_one_percent() {
    check(CudaDtype::Float16, false, (2e-3, 1e-2));
}

#[test]
fn a_step_in_bf16_is_within_bf16() {
    for dora in [false, true] {
        check(CudaDtype::Bfloat16, dora, (1e-2, 4e-2));
    }
}

/// With a base in 8 bits adapters are added by kernels of their own.
#[test]
fn a_step_over_an_8_bit_base_is_within_bf16() {
    let checkpoint = checkpoint(false);
    let adapter = adapter(&checkpoint, &EVERYTHING, false, 0.2);
    let run = |dtype| step(&mut model(emulated(dtype, true, false), &checkpoint, &adapter), false);
    let ((loss, expected), (ours, gradients)) = (run(CudaDtype::Float32), run(CudaDtype::Bfloat16));
    assert!((ours - loss).abs() <= 1e-2 * loss, "loss {ours}, expected {loss}");
    let pairs = gradients.values().flatten().zip(expected.values().flatten());
    let differences: Vec<f64> = pairs.map(|(ours, theirs)| ours - theirs).collect();
    let error = norm(differences.iter()) / norm(expected.values().flatten());
    assert!(error <= 4e-2, "the gradient is off by {error}");
}

#[test]
fn recomputation_changes_no_bit() {
    let checkpoint = checkpoint(false);
    let adapter = adapter(&checkpoint, &EVERYTHING, false, 0.2);
    let run = |checkpointing| {
        let cuda = emulated(CudaDtype::Float16, false, false);
        let (loss, gradients) = step(&mut model(cuda, &checkpoint, &adapter), checkpointing);
        (loss.to_bits(), gradients)
    };
    assert_eq!(run(false), run(true));
}

/// Gradients as small as those of a batch of many tokens do not vanish in f16: they are scaled before they are rounded.
#[test]
fn small_gradients_survive_f16() {
    let cuda = emulated(CudaDtype::Float16, false, false);
    let checkpoint = checkpoint(false);
    let adapter = adapter(&checkpoint, &EVERYTHING, false, 0.0);
    let mut model = model(cuda, &checkpoint, &adapter);
    let mut run = |normalizer: f64| {
        model.clear_gradients().unwrap();
        model.loss_and_gradients(&items(&[sample(1)]), normalizer, StepMode::default()).unwrap();
        gradients(&model)
    };
    let (large, small) = (run(1.0), run(1e9));
    for ((name, large), small) in large.iter().zip(small.values()) {
        let error = norm(large.iter().zip(small).map(|(l, s)| l - s * 1e9).collect::<Vec<_>>().iter());
        assert!(error <= 1e-2 * norm(large.iter()), "{name}");
    }
}

/// A loss scale, which other trainers raise and lower until nothing overflows (2^16 at first) and for which they skip steps,
/// has nothing left to do: it multiplies every gradient by itself to the bit, however large or small it is.
#[test]
fn a_loss_scale_cancels_to_the_bit_in_f16() {
    let cuda = emulated(CudaDtype::Float16, false, false);
    let checkpoint = checkpoint(false);
    let adapter = adapter(&checkpoint, &EVERYTHING, false, 0.2);
    let mut model = model(cuda, &checkpoint, &adapter);
    let mut run = |scale: f64| {
        model.clear_gradients().unwrap();
        let mode = StepMode { dropout: Some(4), gradient_checkpointing: false };
        model.loss_and_gradients(&items(&[sample(1), sample(2)]), 1.0 / scale, mode).unwrap();
        gradients(&model)
    };
    let plain = run(1.0);
    assert!(plain.values().flatten().any(|&value| value != 0.0));
    for scale in [2_f64.powi(16), 2_f64.powi(40), 2_f64.powi(-30)] {
        for (name, scaled) in run(scale) {
            let unscaled: Vec<u64> = scaled.iter().map(|value| (value / scale).to_bits()).collect();
            let expected: Vec<u64> = plain[&name].iter().map(|value| value.to_bits()).collect();
            assert_eq!(unscaled, expected, "{name} at {scale:e}");
        }
    }
}
