//! The backend on an emulated device, and on a real one where there is one.

mod bytes;
mod counts;
mod emulator;
#[cfg(target_os = "linux")]
mod fake;
mod layers;
mod operands;
mod released;
mod staging;
mod together;

use self::emulator::Emulator;
#[cfg(target_os = "linux")]
pub(super) use self::emulator::compiler;
use super::device::CudaDtype;
use super::{Cuda, CudaOptions, library_folders};
use crate::backend::tests::compare::{assert_close, rounded_apart, worst};
use crate::backend::tests::scenarios::{AttentionCase, Output, attention, every_operation};
use crate::backend::{Backend, BaseDtype, Cpu, CpuOptions, Kernels as _};
use crate::{Error, Result};

/// The backend on an emulated device.
pub(crate) fn emulated(dtype: CudaDtype, integers: bool, reversed: bool) -> Cuda<Emulator> {
    Cuda::on(Emulator::new(dtype, reversed), dtype, integers)
}

fn exact(base: BaseDtype) -> Result<Cpu<f64>> {
    Cpu::with_options(CpuOptions { base, ..CpuOptions::default() })
}

/// Operands of products with frozen matrices are exact in bf16; attention rounds its operands and probabilities to one part
/// in 512 (bf16) or 4096 (f16), and scaled gradients to as much. Kernels for adapters take f32 as two numbers in bf16 where
/// the base is in bf16, which keeps 16 bits.
fn check<B: Backend>(cuda: &B, dtype: CudaDtype) -> Result<()> {
    let of_adapters = |output: &Output| output.name.starts_with("adapters");
    let split = |outputs: Vec<Output>| outputs.into_iter().partition::<Vec<_>, _>(of_adapters);
    let (attention, others) = rounded_apart(every_operation(cuda)?);
    let (exact_attention, exact) = rounded_apart(every_operation(&exact(BaseDtype::Bf16)?)?);
    let ((adapters, others), (exact_adapters, exact)) = (split(others), split(exact));
    assert_close(&others, &exact, 4e-6);
    assert_close(&adapters, &exact_adapters, if dtype == CudaDtype::Bfloat16 { 1.5e-5 } else { 4e-6 });
    let tolerance = match dtype {
        CudaDtype::Float32 => 4e-6,
        CudaDtype::Float16 => 2e-3,
        CudaDtype::Bfloat16 => 1.2e-2,
    };
    assert_close(&attention, &exact_attention, tolerance);
    Ok(())
}

#[test]
fn the_emulated_kernels_agree_with_f64_in_f32() -> Result<()> {
    check(&emulated(CudaDtype::Float32, false, false), CudaDtype::Float32)
}

#[test]
fn the_emulated_kernels_agree_with_f64_in_f16() -> Result<()> {
    check(&emulated(CudaDtype::Float16, false, false), CudaDtype::Float16)
}

#[test]
fn the_emulated_kernels_agree_with_f64_in_bf16() -> Result<()> {
    check(&emulated(CudaDtype::Bfloat16, false, false), CudaDtype::Bfloat16)
}

/// A missing barrier shows when threads take their turns in another order.
#[test]
fn the_order_of_threads_does_not_change_a_bit() -> Result<()> {
    for dtype in [CudaDtype::Float32, CudaDtype::Float16, CudaDtype::Bfloat16] {
        let (one, other) = (emulated(dtype, false, false), emulated(dtype, false, true));
        for (one, other) in every_operation(&one)?.iter().zip(every_operation(&other)?) {
            let bits = |output: &Output| output.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert!(bits(one) == bits(&other), "{} differs", one.name);
        }
    }
    Ok(())
}

#[test]
fn an_8_bit_base_agrees_with_f64() -> Result<()> {
    let cuda = emulated(CudaDtype::Float32, true, false);
    assert_close(&every_operation(&cuda)?, &every_operation(&exact(BaseDtype::Int8)?)?, 4e-6);
    Ok(())
}

/// Sequences that are not whole tiles, of one query over many keys, with heads of both sizes of tiles.
#[test]
fn attention_by_tiles_agrees_with_f64() -> Result<()> {
    for dtype in [CudaDtype::Float32, CudaDtype::Float16, CudaDtype::Bfloat16] {
        let cuda = emulated(dtype, false, false);
        let exact = Cpu::<f64>::new();
        for case in TILES {
            let tolerance = match dtype {
                CudaDtype::Float32 => 4e-6,
                CudaDtype::Float16 => 2e-3,
                CudaDtype::Bfloat16 => 1.2e-2,
            };
            assert_close(&attention(&cuda, case)?, &attention(&exact, case)?, tolerance);
        }
    }
    Ok(())
}

const TILES: [AttentionCase; 3] = [
    AttentionCase { heads: 2, kv_heads: 1, head_dim: 96, causal: true, queries: &[65, 33], keys: &[65, 33] },
    AttentionCase { heads: 1, kv_heads: 1, head_dim: 128, causal: false, queries: &[40], keys: &[70] },
    AttentionCase {
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        causal: true,
        queries: &[1, 130],
        keys: &[200, 130],
    },
];

/// Options for the GPU that is there, its libraries looked for as the commands look for them.
pub(crate) fn of_this_machine(dtype: Option<CudaDtype>) -> CudaOptions {
    let library_folders = library_folders(|name| std::env::var_os(name));
    CudaOptions { dtype, library_folders, ..CudaOptions::default() }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_real_device_agrees_with_f64() -> Result<()> {
    for dtype in [CudaDtype::Float32, CudaDtype::Float16, CudaDtype::Bfloat16] {
        match Cuda::open(&of_this_machine(Some(dtype))) {
            Err(Error::Unsupported { what }) if dtype == CudaDtype::Bfloat16 => eprintln!("left out: {what}"),
            opened => {
                let cuda = opened?;
                eprintln!("on {}", cuda.name());
                check_on_device(&cuda, dtype)?;
            }
        }
    }
    Ok(())
}

/// What older GPUs run, translated by the driver for the one that is there.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_real_device_runs_the_kernels_of_older_ones() -> Result<()> {
    for dtype in [CudaDtype::Float16, CudaDtype::Float32] {
        let options = CudaOptions { ptx: Some((7, 5)), ..of_this_machine(Some(dtype)) };
        let cuda = Cuda::open(&options)?;
        eprintln!("on {}", cuda.name());
        check_on_device(&cuda, dtype)?;
    }
    Ok(())
}

/// Of products that tensor cores take with operands that are exact. They cut off what the emulation rounds: of each partial sum
/// less than a bit of 24, a few of them for each 16 numbers.
const CUT_OFF: f64 = 4e-5;

/// As [`check`], but products of buffers are in TF32 where the base is in bf16 or f16: 11 bits of each operand.
fn check_on_device(cuda: &Cuda, dtype: CudaDtype) -> Result<()> {
    if dtype == CudaDtype::Float32 {
        return check(cuda, dtype);
    }
    let in_tf32 = |output: &Output| output.name.starts_with("Gemm");
    let split = |outputs: Vec<Output>| outputs.into_iter().partition::<Vec<_>, _>(in_tf32);
    let (attention, others) = rounded_apart(every_operation(cuda)?);
    let (exact_attention, exact) = rounded_apart(every_operation(&exact(BaseDtype::Bf16)?)?);
    let ((products, others), (exact_products, exact)) = (split(others), split(exact));
    eprintln!(
        "{dtype:?}: off by {:.1e} ({CUT_OFF:.1e} allowed), products of buffers by {:.1e} (2e-3), attention by {:.1e} (1.2e-2)",
        worst(&others, &exact),
        worst(&products, &exact_products),
        worst(&attention, &exact_attention)
    );
    assert_close(&others, &exact, CUT_OFF);
    assert_close(&products, &exact_products, 2e-3);
    assert_close(&attention, &exact_attention, 1.2e-2);
    Ok(())
}
