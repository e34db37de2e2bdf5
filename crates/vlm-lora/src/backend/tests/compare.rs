//! Backends against each other.

use candle_core::{DType, Device};
use pq_testing::{largest, max_difference};

use super::scenarios::{ATTENTION, Output, every_operation};
use crate::Result;
use crate::backend::{Backend as _, BaseDtype, Bf16Kernel, Candle, Cpu, CpuOptions};

/// Asserts that outputs agree within `tolerance` of each output's largest value (of 1, where that is less).
pub(crate) fn assert_close(actual: &[Output], expected: &[Output], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    let mut wrong = Vec::new();
    for (a, e) in actual.iter().zip(expected) {
        assert_eq!(a.name, e.name);
        if a.values.is_empty() && e.values.is_empty() {
            continue; // a scenario without values, such as a parameter of no elements
        }
        let largest = largest(&e.values).max(1.0);
        let error = max_difference(&a.values, &e.values);
        let is_close = error.is_finite() && error <= tolerance * largest;
        if !is_close {
            wrong.push(format!("{}: off by {error:e}, largest {largest}", a.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), actual.len(), wrong.join("\n"));
}

/// The largest difference, as [`assert_close`] measures it.
#[cfg(feature = "cuda")]
pub(crate) fn worst(actual: &[Output], expected: &[Output]) -> f64 {
    let pairs = actual.iter().zip(expected).filter(|(_, e)| !e.values.is_empty());
    let errors: Vec<f64> =
        pairs.map(|(a, e)| max_difference(&a.values, &e.values) / largest(&e.values).max(1.0)).collect();
    largest(&errors)
}

#[test]
fn f32_agrees_with_f64() -> Result<()> {
    // Sums of up to a thousand terms below 1, each rounded to 6e-8.
    assert_close(&every_operation(&Cpu::<f32>::new())?, &every_operation(&Cpu::<f64>::new())?, 2e-6);
    Ok(())
}

/// Candle's formulas are differentiated by candle, so that this also holds our backward passes against its autograd.
#[test]
fn candle_and_its_autograd_agree_in_f64() -> Result<()> {
    let reference = Candle::new(Device::Cpu, DType::F64)?;
    assert_close(&every_operation(&Cpu::<f64>::new())?, &every_operation(&reference)?, 1e-12);
    Ok(())
}

#[test]
fn candle_agrees_in_f32() -> Result<()> {
    let reference = Candle::new(Device::Cpu, DType::F32)?;
    assert_close(&every_operation(&Cpu::<f32>::new())?, &every_operation(&reference)?, 4e-6);
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
    for base in [BaseDtype::Full, BaseDtype::Bf16, BaseDtype::Int8] {
        let one = bits_on(1, base)?;
        for threads in [2, 3] {
            for (one, many) in one.iter().zip(bits_on(threads, base)?) {
                assert!(*one == many, "{} differs on {threads} threads, {base:?}", one.0);
            }
        }
    }
    Ok(())
}

fn bits_on(threads: usize, base: BaseDtype) -> Result<Vec<(String, Vec<u64>)>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of a few threads");
    let outputs = pool.install(|| {
        every_operation(&Cpu::<f32>::with_options(CpuOptions { base, ..CpuOptions::default() })?)
    })?;
    Ok(outputs.into_iter().map(|o| (o.name, o.values.into_iter().map(f64::to_bits).collect())).collect())
}

/// Splits off what is a product of operands that a narrow backend rounds: attention's
/// probabilities, activations, and what lies between the products of a layer.
pub(crate) fn rounded_apart(outputs: Vec<Output>) -> (Vec<Output>, Vec<Output>) {
    let of_attention =
        |output: &Output| ATTENTION.iter().any(|case| output.name.ends_with(&format!("{case:?}")));
    let is_rounded = |name: &str| ["linear of gelu", "joined"].iter().any(|begin| name.starts_with(begin));
    outputs.into_iter().partition(|output| of_attention(output) || is_rounded(&output.name))
}

/// The operands of the products are exact in bf16, so that only the order of their sums differs; attention rounds its
/// probabilities to one part in 512.
#[test]
fn every_bf16_kernel_agrees_with_f64() -> Result<()> {
    let exact = Cpu::<f64>::with_options(CpuOptions { base: BaseDtype::Bf16, ..CpuOptions::default() })?;
    let (exact_attention, exact) = rounded_apart(every_operation(&exact)?);
    for kernel in Bf16Kernel::available() {
        if kernel == Bf16Kernel::Int16 {
            continue; // rounds the operands otherwise
        }
        let options = CpuOptions { base: BaseDtype::Bf16, kernel: Some(kernel), ..CpuOptions::default() };
        let (attention, others) = rounded_apart(every_operation(&Cpu::<f32>::with_options(options)?)?);
        assert_close(&others, &exact, 2e-6);
        let tolerance = if kernel == Bf16Kernel::Upcast { 2e-6 } else { 1e-2 };
        assert_close(&attention, &exact_attention, tolerance);
    }
    Ok(())
}

/// Integers of 16 bits err by less than bf16.
#[test]
fn a_16_bit_base_agrees_with_f64() -> Result<()> {
    let exact = every_operation(&Cpu::<f64>::new())?;
    let options =
        CpuOptions { base: BaseDtype::Bf16, kernel: Some(Bf16Kernel::Int16), ..CpuOptions::default() };
    assert_close(&every_operation(&Cpu::<f32>::with_options(options)?)?, &exact, 5e-3);
    Ok(())
}

/// Scaled integers are rounded to bf16 by the kernels that multiply in it, to one part in 512 each, where activations stay as
/// they are; where those are integers too, they are rounded to one part in 254.
#[test]
fn an_8_bit_base_agrees_with_f64() -> Result<()> {
    let exact = every_operation(&Cpu::<f64>::with_options(CpuOptions {
        base: BaseDtype::Int8,
        ..CpuOptions::default()
    })?)?;
    for kernel in Bf16Kernel::available() {
        let options = CpuOptions { base: BaseDtype::Int8, kernel: Some(kernel), ..CpuOptions::default() };
        let is_upcast = matches!(kernel, Bf16Kernel::Int16 | Bf16Kernel::Upcast);
        let cpu = Cpu::<f32>::with_options(options)?;
        assert_close(&every_operation(&cpu)?, &exact, 2e-2);
        cpu.set_integers(false);
        assert_close(&every_operation(&cpu)?, &exact, if is_upcast { 2e-6 } else { 1e-2 });
    }
    Ok(())
}

#[test]
fn an_8_bit_base_is_close_to_the_full_one() -> Result<()> {
    let full = every_operation(&Cpu::<f64>::new())?;
    let narrow = every_operation(&Cpu::<f64>::with_options(CpuOptions {
        base: BaseDtype::Int8,
        ..CpuOptions::default()
    })?)?;
    // Elements in -1..1 are moved by at most half of 1 / 127 and by a quarter of it on average.
    assert_close(&narrow, &full, 2e-2);
    assert_ne!(narrow, full);
    Ok(())
}
