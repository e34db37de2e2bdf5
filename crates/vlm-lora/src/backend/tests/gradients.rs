//! Every backward pass against central differences in f64.

use crate::Stored;
use safetensors::Dtype;

use super::scenarios::{ATTENTION, AttentionCase, offsets, stored, values};
use crate::Result;
use crate::backend::{
    Attention, AttentionGradients, AttentionInputs, AttentionSaved, Backend, Cpu, Kernels, Norm, Rope,
    RowTarget, Write,
};

type Inputs = Vec<Vec<f64>>;

/// Compares the gradients of `Σ dy · forward(inputs)` with central differences. The step of 1e-5 keeps truncation (~h²) and
/// cancellation (~1e-16 / h) near 1e-10.
fn assert_gradients(
    name: &str,
    inputs: &[Vec<f64>],
    forward: impl Fn(&[Vec<f64>]) -> Result<Vec<f64>>,
    backward: impl Fn(&[Vec<f64>], &[f64]) -> Result<Inputs>,
) -> Result<()> {
    const STEP: f64 = 1e-5;
    let dy = values(forward(inputs)?.len(), 77);
    let loss = |inputs: &[Vec<f64>]| -> Result<f64> {
        Ok(forward(inputs)?.iter().zip(&dy).map(|(y, dy)| y * dy).sum())
    };
    let analytic = backward(inputs, &dy)?;
    let mut moved = inputs.to_vec();
    for (which, gradient) in analytic.iter().enumerate() {
        assert_eq!(gradient.len(), inputs[which].len(), "{name}: input {which}");
        // A prime stride visits every row, column and head of large inputs without visiting every element.
        let stride = match gradient.len() {
            0..400 => 1,
            400..2000 => 7,
            _ => 37,
        };
        for i in (0..gradient.len()).step_by(stride) {
            let at = inputs[which][i];
            moved[which][i] = at + STEP;
            let above = loss(&moved)?;
            moved[which][i] = at - STEP;
            let below = loss(&moved)?;
            moved[which][i] = at;
            let numeric = (above - below) / (2.0 * STEP);
            let error = (gradient[i] - numeric).abs() / numeric.abs().max(1.0);
            assert!(error < 1e-7, "{name}: input {which}[{i}]: {} against {numeric}", gradient[i]);
        }
    }
    Ok(())
}

/// A backend and a shorthand for buffers of f64.
struct Bench(Cpu<f64>);

impl Bench {
    fn up(&self, values: &[f64]) -> <Cpu<f64> as Kernels>::Buffer {
        self.0.upload_f64(values).expect("the CPU takes any values")
    }

    fn zeros(&self, n: usize) -> <Cpu<f64> as Kernels>::Buffer {
        self.0.zeros(n).expect("the CPU has memory")
    }

    fn down(&self, buffer: &<Cpu<f64> as Kernels>::Buffer) -> Vec<f64> {
        self.0.download_f64(buffer).expect("the CPU gives its values")
    }
}

fn bench() -> Bench {
    Bench(Cpu::new())
}

#[test]
fn linear() -> Result<()> {
    let b = bench();
    for (m, n, k) in [(1, 1, 1), (3, 5, 4), (2, 9, 17)] {
        let bytes = stored(&values(n * k, 1), Dtype::F64);
        let weight = b.0.weight(Stored { dtype: Dtype::F64, bytes: &bytes }, n, k)?;
        assert_gradients(
            "linear",
            &[values(m * k, 2)],
            |inputs| {
                let mut y = b.zeros(m * n);
                b.0.linear(&b.up(&inputs[0]), m, &weight, None, &mut y)?;
                Ok(b.down(&y))
            },
            |_, dy| {
                let mut dx = b.zeros(m * k);
                b.0.linear_backward(&b.up(dy), m, &weight, &mut dx, Write::Set)?;
                Ok(vec![b.down(&dx)])
            },
        )?;
    }
    Ok(())
}

#[test]
fn norms() -> Result<()> {
    let b = bench();
    for (rows, width) in [(1, 2), (3, 5), (2, 33)] {
        let (weight, bias) = (b.up(&values(width, 3)), b.up(&values(width, 4)));
        let layer = Norm::Layer { weight: &weight, bias: &bias, eps: 1e-3 };
        let rms = Norm::RootMeanSquare { weight: &weight, eps: 1e-3 };
        assert_gradients(
            "layer norm",
            &[values(rows * width, 5)],
            |inputs| {
                let mut y = b.zeros(rows * width);
                b.0.norm(&b.up(&inputs[0]), layer, &mut y)?;
                Ok(b.down(&y))
            },
            |inputs, dy| {
                let mut dx = b.zeros(rows * width);
                b.0.norm_backward(&b.up(dy), &b.up(&inputs[0]), layer, &mut dx, Write::Set)?;
                Ok(vec![b.down(&dx)])
            },
        )?;
        assert_gradients(
            "rms norm",
            &[values(rows * width, 6)],
            |inputs| {
                let mut y = b.zeros(rows * width);
                b.0.norm(&b.up(&inputs[0]), rms, &mut y)?;
                Ok(b.down(&y))
            },
            |inputs, dy| {
                let mut dx = b.zeros(rows * width);
                b.0.norm_backward(&b.up(dy), &b.up(&inputs[0]), rms, &mut dx, Write::Set)?;
                Ok(vec![b.down(&dx)])
            },
        )?;
    }
    Ok(())
}

#[test]
fn rope() -> Result<()> {
    let b = bench();
    let (positions, heads, head_dim) = ([0, 3, 17], 2, 6);
    let rotate = |values: &[f64], inverse| -> Result<Vec<f64>> {
        let mut x = b.up(values);
        let rope = Rope { positions: &positions, heads, head_dim, rotary: 10_000.0.into(), inverse };
        b.0.rope(&mut x, rope)?;
        Ok(b.down(&x))
    };
    assert_gradients(
        "rope",
        &[values(positions.len() * heads * head_dim, 7)],
        |inputs| rotate(&inputs[0], false),
        |_, dy| Ok(vec![rotate(dy, true)?]),
    )
}

#[test]
fn activations() -> Result<()> {
    let b = bench();
    let n = 67;
    let wide = |seed| values(n, seed).iter().map(|v| v * 5.0).collect::<Vec<_>>();
    assert_gradients(
        "swiglu",
        &[wide(8), wide(9)],
        |inputs| {
            let mut y = b.zeros(n);
            b.0.swiglu(&b.up(&inputs[0]), &b.up(&inputs[1]), &mut y)?;
            Ok(b.down(&y))
        },
        |inputs, dy| {
            let (mut dgate, mut dup) = (b.zeros(n), b.zeros(n));
            b.0.swiglu_backward(&b.up(dy), &b.up(&inputs[0]), &b.up(&inputs[1]), &mut dgate, &mut dup)?;
            Ok(vec![b.down(&dgate), b.down(&dup)])
        },
    )?;
    assert_gradients(
        "gelu",
        &[wide(10)],
        |inputs| {
            let mut y = b.zeros(n);
            b.0.gelu(&b.up(&inputs[0]), &mut y)?;
            Ok(b.down(&y))
        },
        |inputs, dy| {
            let mut dx = b.zeros(n);
            b.0.gelu_backward(&b.up(dy), &b.up(&inputs[0]), &mut dx)?;
            Ok(vec![b.down(&dx)])
        },
    )?;
    let drop = |values: &[f64]| -> Result<Vec<f64>> {
        let mut y = b.zeros(n);
        b.0.dropout(&b.up(values), 0.3, 5, &mut y)?;
        Ok(b.down(&y))
    };
    assert_gradients("dropout", &[wide(11)], |inputs| drop(&inputs[0]), |_, dy| Ok(vec![drop(dy)?]))
}

#[test]
fn attention() -> Result<()> {
    for case in ATTENTION.iter().filter(|case| case.head_dim < 64) {
        attention_case(*case)?;
    }
    // The head size of the released model, on sequences short enough for differences.
    let (queries, keys) = (&[3, 2], &[5, 2]);
    attention_case(AttentionCase { heads: 3, kv_heads: 1, head_dim: 64, causal: true, queries, keys })
}

fn attention_case(case: AttentionCase) -> Result<()> {
    let b = bench();
    let (q_offsets, k_offsets) = (offsets(case.queries), offsets(case.keys));
    let AttentionCase { heads, kv_heads, head_dim, causal, .. } = case;
    let shape = Attention { heads, kv_heads, head_dim, causal, q_offsets: &q_offsets, k_offsets: &k_offsets };
    let (queries, keys) = (case.queries.iter().sum::<usize>(), case.keys.iter().sum::<usize>());
    let (q_len, k_len) = (queries * heads * head_dim, keys * kv_heads * head_dim);
    let forward = |inputs: &[Vec<f64>]| {
        let (mut o, mut lse) = (b.zeros(q_len), b.zeros(queries * heads));
        let [q, k, v] = [0, 1, 2].map(|i| b.up(&inputs[i]));
        b.0.attention(shape, AttentionInputs { q: &q, k: &k, v: &v }, &mut o, &mut lse)?;
        Ok((o, lse))
    };
    assert_gradients(
        &format!("{case:?}"),
        &[values(q_len, 12), values(k_len, 13), values(k_len, 14)],
        |inputs| forward(inputs).map(|(o, _)| b.down(&o)),
        |inputs, dy| {
            let (o, lse) = forward(inputs)?;
            let (mut dq, mut dk, mut dv) = (b.zeros(q_len), b.zeros(k_len), b.zeros(k_len));
            let [q, k, v] = [0, 1, 2].map(|i| b.up(&inputs[i]));
            let saved = AttentionSaved { q: &q, k: &k, v: &v, o: &o, lse: &lse };
            let gradients = AttentionGradients { dq: &mut dq, dk: &mut dk, dv: &mut dv };
            b.0.attention_backward(shape, &b.up(dy), saved, gradients)?;
            Ok(vec![b.down(&dq), b.down(&dk), b.down(&dv)])
        },
    )
}

#[test]
fn cross_entropy() -> Result<()> {
    let b = bench();
    let vocabulary = 11;
    let tokens: [&[(u32, f32)]; 3] = [&[(1, 1.0)], &[(0, 0.25), (10, 0.5), (2, 0.25)], &[(4, 1.0)]];
    let targets: Vec<RowTarget<'_>> =
        tokens.iter().zip([1.0, 2.5, 0.0]).map(|(tokens, weight)| RowTarget { tokens, weight }).collect();
    assert_gradients(
        "cross-entropy",
        &[values(3 * vocabulary, 15)],
        |inputs| Ok(vec![b.0.cross_entropy(&mut b.up(&inputs[0]), &targets, 1.0)?.wait()?.iter().sum()]),
        |inputs, dy| {
            let mut logits = b.up(&inputs[0]);
            b.0.cross_entropy(&mut logits, &targets, dy[0])?;
            Ok(vec![b.down(&logits)])
        },
    )
}
