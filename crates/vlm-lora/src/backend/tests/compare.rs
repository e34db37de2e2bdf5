//! Backends against each other.

use candle_core::{DType, Device};

use super::scenarios::{Output, every_operation};
use crate::Result;
use crate::backend::{Candle, Cpu};

/// Asserts that outputs agree within `tolerance` of each output's largest value (of 1, where that is less).
fn assert_close(actual: &[Output], expected: &[Output], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    let mut wrong = Vec::new();
    for (a, e) in actual.iter().zip(expected) {
        assert_eq!((&a.name, a.values.len()), (&e.name, e.values.len()));
        let largest = e.values.iter().fold(1.0_f64, |most, v| most.max(v.abs()));
        let error = a.values.iter().zip(&e.values).map(|(a, e)| (a - e).abs()).fold(0.0, f64::max);
        if error.is_nan() || error > tolerance * largest {
            wrong.push(format!("{}: off by {error:e}, largest {largest}", a.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), actual.len(), wrong.join("\n"));
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
    let on = |threads| {
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of a few threads");
        pool.install(|| every_operation(&Cpu::<f32>::new()))
    };
    let bits = |outputs: &[Output]| -> Vec<(String, Vec<u64>)> {
        outputs.iter().map(|o| (o.name.clone(), o.values.iter().map(|v| v.to_bits()).collect())).collect()
    };
    let one = bits(&on(1)?);
    for threads in [2, 3] {
        for (one, many) in one.iter().zip(bits(&on(threads)?)) {
            assert!(*one == many, "{} differs on {threads} threads", one.0);
        }
    }
    Ok(())
}
