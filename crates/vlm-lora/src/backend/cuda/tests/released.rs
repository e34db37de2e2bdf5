//! Operations at the shapes of the released model, on a real device, and at smaller ones of the same kind on the emulated one.

use half::bf16;
use safetensors::Dtype;

use super::{CUT_OFF, emulated, of_this_machine};
use crate::backend::cuda::{Cuda, CudaDtype, Device};
use crate::backend::tests::compare::{assert_close, worst};
use crate::backend::tests::scenarios::{AttentionCase, Output, adapters, attention, in_bf16, values};
use crate::backend::{Backend, BaseDtype, Cpu, CpuOptions, Kernels as _};
use crate::{Result, Stored};

/// Rows, results and depth of a product, sequences of the vision tower and of the text, rows and width of adapters' input.
struct Shapes {
    product: (usize, usize, usize),
    attention: [AttentionCase; 2],
    adapters: (usize, usize, &'static [(usize, usize)]),
}

const RELEASED: Shapes = Shapes {
    product: (16_384, 3072, 768),
    attention: [
        AttentionCase {
            heads: 12,
            kv_heads: 12,
            head_dim: 64,
            causal: false,
            queries: &[1024; 16],
            keys: &[1024; 16],
        },
        AttentionCase {
            heads: 15,
            kv_heads: 5,
            head_dim: 64,
            causal: true,
            queries: &[1013; 8],
            keys: &[1013; 8],
        },
    ],
    adapters: (8104, 960, &[(960, 16), (320, 16), (320, 16), (2560, 16)]),
};

const SMALL: Shapes = Shapes {
    product: (96, 64, 48),
    attention: [
        AttentionCase {
            heads: 2,
            kv_heads: 2,
            head_dim: 64,
            causal: false,
            queries: &[128; 2],
            keys: &[128; 2],
        },
        AttentionCase {
            heads: 3,
            kv_heads: 1,
            head_dim: 64,
            causal: true,
            queries: &[101; 2],
            keys: &[101; 2],
        },
    ],
    adapters: (600, 136, &[(128, 16), (72, 16), (72, 16), (200, 16)]),
};

fn product<B: Backend>(backend: &B, (m, n, k): (usize, usize, usize)) -> Result<Vec<Output>> {
    let bytes: Vec<u8> =
        values(n * k, 1).into_iter().flat_map(|value| bf16::from_f64(value).to_le_bytes()).collect();
    let weight = backend.weight(Stored { dtype: Dtype::BF16, bytes: &bytes }, n, k)?;
    let (x, bias) = (backend.upload_f64(&in_bf16(values(m * k, 2)))?, backend.upload_f64(&values(n, 3))?);
    let mut y = backend.zeros(m * n)?;
    backend.linear(&x, m, &weight, Some(&bias), &mut y)?;
    Ok(vec![Output { name: "product".to_owned(), values: backend.download_f64(&y)? }])
}

/// Holds the device against f32 on the CPU, whose own errors are a twentieth of what is allowed.
fn check<D: Device>(cuda: &Cuda<D>, shapes: &Shapes) -> Result<()> {
    let cpu = Cpu::<f32>::with_options(CpuOptions { base: BaseDtype::Full, ..CpuOptions::default() })?;
    let narrow = cuda.dtype() != CudaDtype::Float32;
    let compare = |ours: Vec<Output>, theirs: Vec<Output>, allowed: f64| {
        eprintln!("{} and more: off by {:.1e} ({allowed:.1e} allowed)", ours[0].name, worst(&ours, &theirs));
        assert_close(&ours, &theirs, allowed);
    };
    compare(product(cuda, shapes.product)?, product(&cpu, shapes.product)?, CUT_OFF);
    for case in shapes.attention {
        let allowed = if narrow { 1.2e-2 } else { CUT_OFF };
        compare(attention(cuda, case)?, attention(&cpu, case)?, allowed);
    }
    compare(adapters(cuda, shapes.adapters)?, adapters(&cpu, shapes.adapters)?, CUT_OFF);
    Ok(())
}

#[test]
fn shapes_like_the_released_ones_agree_with_the_cpu() -> Result<()> {
    for dtype in [CudaDtype::Float32, CudaDtype::Float16, CudaDtype::Bfloat16] {
        check(&emulated(dtype, false, false), &SMALL)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_real_device_agrees_at_released_shapes() -> Result<()> {
    let cuda = Cuda::open(&of_this_machine(None))?;
    eprintln!("on {}", cuda.name());
    check(&cuda, &RELEASED)?;
    let profile = cuda.profile()?;
    eprintln!("{} products found no plan with their bias: {:?}", profile.fallbacks.len(), profile.fallbacks);
    Ok(())
}
