//! Operands that a kernel writes beside its numbers are those that a cast makes of them.

use crate::Stored;
use half::bf16;
use safetensors::Dtype;

use super::emulated;
use crate::Result;
use crate::backend::cuda::{Buffer, Cuda, CudaDtype, Device};
use crate::backend::tests::scenarios::values;
use crate::backend::{Attention, Backend, Write};

const ROWS: usize = 6;
const WIDTH: usize = 24;

/// The product of a buffer as it is, and of another one with the same numbers.
fn both_matmuls<D: Device>(cuda: &Cuda<D>, x: &Buffer<D>) -> Result<[Vec<u32>; 2]> {
    let bytes: Vec<u8> =
        values(5 * WIDTH, 7).into_iter().flat_map(|value| bf16::from_f64(value).to_le_bytes()).collect();
    let weight = cuda.weight(Stored { dtype: Dtype::BF16, bytes: &bytes }, 5, WIDTH, false)?;
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
        cuda.rms_norm(&x, &weight, 1e-5, rms)?;
        cuda.layer_norm(&x, &weight, &bias, 1e-5, layer)?;
        cuda.swiglu(&x, &up, swiglu)?;
        cuda.swiglu_backward(&dy, &x, &up, dgate, dup)?;
        cuda.gelu(&x, gelu)?;
        cuda.gelu_backward(&dy, &x, dgelu)?;
        cuda.copy(&x, 0, ROWS * WIDTH, rope, 0, Write::Set)?;
        cuda.rope(rope, &[0, 1, 2, 3, 4, 5], 3, WIDTH / 3, 100.0, true)?;
        cuda.copy(&up, 0, ROWS * WIDTH, drms, 0, Write::Set)?;
        cuda.rms_norm_backward(&dy, &x, &weight, 1e-5, drms, Write::Add)?;
        cuda.layer_norm_backward(&dy, &x, &weight, 1e-5, dlayer, Write::Set)?;
        let shape = Attention {
            heads: 3,
            kv_heads: 3,
            head_dim: WIDTH / 3,
            causal: true,
            q_offsets: &[0, 2, 6],
            k_offsets: &[0, 2, 6],
        };
        let mut lse = cuda.scratch(ROWS * 3)?;
        cuda.attention(shape, &x, &up, &dy, o, &mut lse)?;
        let (mut dq, mut dk) = (new(0)?, new(0)?);
        cuda.attention_backward(shape, &dy, &x, &up, &dy, o, &lse, &mut dq, &mut dk, dv)?;
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
