//! Operands that a kernel writes beside its numbers are those that a cast makes of them.

use crate::Stored;
use half::bf16;
use safetensors::Dtype;

use super::emulated;
use crate::Result;
use crate::backend::cuda::{Buffer, Cuda, CudaDtype, Device};
use crate::backend::tests::scenarios::values;
use crate::backend::{
    Attention, AttentionGradients, AttentionInputs, AttentionSaved, Backend as _, Kernels as _, Norm, Rope,
    Write,
};

const ROWS: usize = 6;
const WIDTH: usize = 24;

/// The product of a buffer as it is, and of another one with the same numbers.
fn both_matmuls<D: Device>(cuda: &Cuda<D>, x: &Buffer<D>) -> Result<[Vec<u32>; 2]> {
    let bytes: Vec<u8> =
        values(5 * WIDTH, 7).into_iter().flat_map(|value| bf16::from_f64(value).to_le_bytes()).collect();
    let weight = cuda.weight(Stored { dtype: Dtype::BF16, bytes: &bytes }, 5, WIDTH)?;
    let product = |x: &Buffer<D>| -> Result<Vec<u32>> {
        let mut y = cuda.scratch(ROWS * 5)?;
        cuda.linear(x, ROWS, &weight, None, &mut y)?;
        Ok(cuda.download(&y)?.into_iter().map(f32::to_bits).collect())
    };
    Ok([product(x)?, product(&cuda.upload(&cuda.download(x)?)?)?])
}

#[test]
fn operands_that_kernels_write_are_those_of_a_cast() -> Result<()> {
    for dtype in [CudaDtype::Float32, CudaDtype::Float16, CudaDtype::Bfloat16] {
        let cuda = emulated(dtype, false, false);
        let new = |seed: u64| cuda.upload_f64(&values(ROWS * WIDTH, seed));
        let parameter = |seed: u64| cuda.upload_f64(&values(WIDTH, seed));
        let (x, up, dy, weight, bias) = (new(1)?, new(2)?, new(3)?, parameter(4)?, parameter(5)?);
        let mut outputs: Vec<_> = (0..12).map(|_| cuda.scratch(ROWS * WIDTH)).collect::<Result<_>>()?;
        let [rms, layer, swiglu, dgate, dup, gelu, dgelu, rope, drms, dlayer, o, dv] = &mut outputs[..]
        else {
            unreachable!()
        };
        let rms_norm = Norm::RootMeanSquare { weight: &weight, eps: 1e-5 };
        let layer_norm = Norm::Layer { weight: &weight, bias: &bias, eps: 1e-5 };
        cuda.norm(&x, rms_norm, rms)?;
        cuda.norm(&x, layer_norm, layer)?;
        cuda.swiglu(&x, &up, swiglu)?;
        cuda.swiglu_backward(&dy, &x, &up, dgate, dup)?;
        cuda.gelu(&x, gelu)?;
        cuda.gelu_backward(&dy, &x, dgelu)?;
        cuda.copy(&x, 0, ROWS * WIDTH, rope, 0, Write::Set)?;
        let positions = &[0, 1, 2, 3, 4, 5];
        cuda.rope(
            rope,
            Rope { positions, heads: 3, head_dim: WIDTH / 3, rotary: 100.0.into(), inverse: true },
        )?;
        cuda.copy(&up, 0, ROWS * WIDTH, drms, 0, Write::Set)?;
        cuda.norm_backward(&dy, &x, rms_norm, drms, Write::Add)?;
        cuda.norm_backward(&dy, &x, layer_norm, dlayer, Write::Set)?;
        let shape = Attention {
            heads: 3,
            kv_heads: 3,
            head_dim: WIDTH / 3,
            causal: true,
            q_offsets: &[0, 2, 6],
            k_offsets: &[0, 2, 6],
        };
        let mut lse = cuda.scratch(ROWS * 3)?;
        cuda.attention(shape, AttentionInputs { q: &x, k: &up, v: &dy }, o, &mut lse)?;
        let (mut dq, mut dk) = (new(0)?, new(0)?);
        let saved = AttentionSaved { q: &x, k: &up, v: &dy, o, lse: &lse };
        let gradients = AttentionGradients { dq: &mut dq, dk: &mut dk, dv };
        cuda.attention_backward(shape, &dy, saved, gradients)?;
        for (index, output) in outputs.iter_mut().enumerate() {
            let [ours, cast] = both_matmuls(&cuda, output)?;
            assert_eq!(ours, cast, "output {index} in {dtype:?}");
            // Nobody multiplies what stood there before.
            cuda.add(1.0, &x, output)?;
            let [ours, cast] = both_matmuls(&cuda, output)?;
            assert_eq!(ours, cast, "output {index} in {dtype:?}, changed");
        }
    }
    Ok(())
}

#[test]
fn what_only_products_read_is_kept_as_their_operand() -> Result<()> {
    let bytes: Vec<u8> =
        values(5 * WIDTH, 7).into_iter().flat_map(|value| bf16::from_f64(value).to_le_bytes()).collect();
    for dtype in [CudaDtype::Float32, CudaDtype::Float16, CudaDtype::Bfloat16] {
        let cuda = emulated(dtype, false, false);
        let new = |len: usize, seed: u64| cuda.upload_f64(&values(len, seed));
        let (x, weight, bias) = (new(ROWS * WIDTH, 1)?, new(WIDTH, 2)?, new(WIDTH, 3)?);
        let norm = Norm::Layer { weight: &weight, bias: &bias, eps: 1e-5 };
        let matrix = cuda.weight(Stored { dtype: Dtype::BF16, bytes: &bytes }, 5, WIDTH)?;
        let (q_offsets, head_dim) = (&[0, ROWS][..], WIDTH / 3);
        let shape =
            Attention { heads: 3, kv_heads: 3, head_dim, causal: false, q_offsets, k_offsets: q_offsets };
        let product_of = |read: &Buffer<_>| -> Result<Vec<u32>> {
            let mut y = cuda.scratch(ROWS * 5)?;
            cuda.linear(read, ROWS, &matrix, None, &mut y)?;
            Ok(cuda.download(&y)?.into_iter().map(f32::to_bits).collect())
        };
        let both = |[mut normed, mut o]: [Buffer<_>; 2]| -> Result<[Vec<u32>; 2]> {
            cuda.norm(&x, norm, &mut normed)?;
            let mut lse = cuda.scratch(ROWS * 3)?;
            cuda.attention(shape, AttentionInputs { q: &x, k: &x, v: &x }, &mut o, &mut lse)?;
            Ok([product_of(&normed)?, product_of(&o)?])
        };
        let len = ROWS * WIDTH;
        let whole = both([cuda.scratch(len)?, cuda.scratch(len)?])?;
        let alone = both([cuda.scratch_for_products(len)?, cuda.scratch_for_products(len)?])?;
        assert_eq!(whole, alone, "{dtype:?}");
    }
    Ok(())
}
