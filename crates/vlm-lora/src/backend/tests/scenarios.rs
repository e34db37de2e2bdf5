//! Calls of every operation, forward and backward, that can be run on any backend and compared.

mod adapters;
mod attention_cases;
mod joined;
mod optimizer;

pub(crate) use attention_cases::{ATTENTION, AttentionCase};

use crate::Stored;
use half::{bf16, f16};
use safetensors::Dtype;

use crate::backend::{
    Attention, AttentionGradients, AttentionInputs, AttentionSaved, Backend, FrozenLinear, Gemm,
    LinearOutput, Norm, Rope, RowTarget, Write,
};
use crate::{Llama3Scaling, Result, Rotary, Tiles};

/// The values of one output of one call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
}

/// Numbers in `-1..1` that f32 holds exactly, the same for the same seed.
pub(crate) fn values(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 23) - 1.0
    };
    (0..n).map(|_| next()).collect()
}

pub(crate) fn in_bf16(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|value| bf16::from_f64(value).to_f64()).collect()
}

/// Every operation on `backend`, with its outputs in a fixed order.
pub(crate) fn every_operation<B: Backend>(backend: &B) -> Result<Vec<Output>> {
    let mut run = Run { backend, outputs: Vec::new() };
    run.weights()?;
    run.products()?;
    run.adapters()?;
    run.joined()?;
    run.norms()?;
    run.rotary()?;
    run.activations()?;
    for case in ATTENTION {
        run.attention(case)?;
    }
    run.rows()?;
    run.sums()?;
    run.loss()?;
    run.optimizer()?;
    run.several_tensors()?;
    run.pixels()?;
    Ok(run.outputs)
}

/// One case of attention on `backend`.
#[cfg(feature = "cuda")]
pub(crate) fn attention<B: Backend>(backend: &B, case: AttentionCase) -> Result<Vec<Output>> {
    let mut run = Run { backend, outputs: Vec::new() };
    run.attention(case)?;
    Ok(run.outputs)
}

/// The outputs of the passes through adapters of these sizes.
#[cfg(feature = "cuda")]
pub(crate) fn adapters<B: Backend>(backend: &B, case: adapters::Case) -> Result<Vec<Output>> {
    let mut run = Run { backend, outputs: Vec::new() };
    run.adapters_of(case)?;
    Ok(run.outputs)
}

/// The offsets of sequences of these lengths.
pub(crate) fn offsets(lengths: &[usize]) -> Vec<usize> {
    let mut total = 0;
    std::iter::once(0)
        .chain(lengths.iter().map(|length| {
            total += length;
            total
        }))
        .collect()
}

/// Bytes of a matrix in a dtype.
pub(crate) fn stored(values: &[f64], dtype: Dtype) -> Vec<u8> {
    let element = |&value: &f64| match dtype {
        Dtype::F32 => (value as f32).to_le_bytes().to_vec(),
        Dtype::F16 => f16::from_f64(value).to_le_bytes().to_vec(),
        Dtype::BF16 => bf16::from_f64(value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    values.iter().flat_map(element).collect()
}

struct Run<'a, B: Backend> {
    backend: &'a B,
    outputs: Vec<Output>,
}

impl<B: Backend> Run<'_, B> {
    fn keep(&mut self, name: impl Into<String>, buffer: &B::Buffer) -> Result<()> {
        let values = self.backend.download_f64(buffer)?;
        self.outputs.push(Output { name: name.into(), values });
        Ok(())
    }

    fn random(&self, n: usize, seed: u64) -> Result<B::Buffer> {
        self.backend.upload_f64(&values(n, seed))
    }

    /// Products that are added to what is there.
    fn onto(
        &mut self,
        x: &B::Buffer,
        (m, n, k): (usize, usize, usize),
        weight: &B::Weight,
        bias: &B::Buffer,
        name: &str,
    ) -> Result<()> {
        let b = self.backend;
        for bias in [None, Some(bias)] {
            let mut y = self.random(m * n, 77)?;
            b.linear_onto(x, m, FrozenLinear { weight, bias }, &mut y)?;
            self.keep(format!("linear onto {name}, with bias: {}", bias.is_some()), &y)?;
        }
        let bytes = stored(&in_bf16(values(k * n, 78)), Dtype::BF16);
        let second = b.weight(Stored { dtype: Dtype::BF16, bytes: &bytes }, k, n)?;
        let (second, mut y) = (FrozenLinear { weight: &second, bias: None }, self.random(m * k, 79)?);
        b.perceptron_onto(x, m, FrozenLinear { weight, bias: Some(bias) }, second, &mut y)?;
        self.keep(format!("linear of gelu of linear {name}"), &y)
    }

    fn weights(&mut self) -> Result<()> {
        let b = self.backend;
        let dtypes = [Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::F64];
        for (case, (m, n, k)) in [
            (1, 1, 1),
            (5, 7, 9),
            (1, 33, 65),
            (70, 96, 64),
            (67, 50, 130),
            (4, 40, 100),
            (13, 64, 32),
            (300, 33, 70),
        ]
        .into_iter()
        .enumerate()
        {
            let seed = 10 * case as u64;
            let dtype = dtypes[case % dtypes.len()];
            // Numbers that bf16 holds, so that every dtype and every kernel sees the same; one byte ahead, unaligned.
            let matrix = in_bf16(values(n * k, seed));
            let bytes = [vec![0], stored(&matrix, dtype)].concat();
            let weight = b.weight(Stored { dtype, bytes: &bytes[1..] }, n, k)?;
            assert_eq!(b.weight_shape(&weight), (n, k));
            let exact = |n, seed| b.upload_f64(&in_bf16(values(n, seed)));
            let (x, dy, bias) = (exact(m * k, seed + 1)?, exact(m * n, seed + 2)?, self.random(n, seed + 3)?);
            let name = format!("({m}, {n}, {k}) {dtype:?}");
            let mut y = self.random(m * n, seed + 4)?;
            b.linear(&x, m, &weight, None, &mut y)?;
            self.keep(format!("linear {name}"), &y)?;
            b.linear(&x, m, &weight, Some(&bias), &mut y)?;
            self.keep(format!("linear with bias {name}"), &y)?;
            b.linear_of_gelu(&x, m, &weight, Some(&bias), &mut y)?;
            self.keep(format!("linear of gelu {name}"), &y)?;
            self.onto(&x, (m, n, k), &weight, &bias, &name)?;
            let mut second = b.zeros(m * n)?;
            let outputs = [(None, &mut y), (Some(&bias), &mut second)];
            let mut outputs = outputs.map(|(bias, y)| LinearOutput { weight: &weight, bias, y });
            b.linears(&x, m, &mut outputs)?;
            self.keep(format!("linears, first {name}"), &y)?;
            self.keep(format!("linears, second {name}"), &second)?;
            for write in [Write::Set, Write::Add] {
                let mut dx = self.random(m * k, seed + 5)?;
                b.linear_backward(&dy, m, &weight, &mut dx, write)?;
                self.keep(format!("linear backward {write:?} {name}"), &dx)?;
            }
            let norms = b.weight_row_norms_squared(&weight)?;
            self.keep(format!("row norms {name}"), &norms)?;
            let ids = [0, n as u32 - 1, n as u32 / 2];
            let mut rows = b.zeros(ids.len() * k)?;
            b.embed(&weight, &ids, &mut rows)?;
            self.keep(format!("embed {name}"), &rows)?;
        }
        Ok(())
    }

    fn products(&mut self) -> Result<()> {
        let shapes = [(1, 1, 1), (3, 5, 7), (64, 16, 48), (130, 16, 65), (16, 33, 257), (200, 320, 96)];
        for (case, (m, n, k)) in shapes.into_iter().enumerate() {
            for flags in 0..4 {
                let (transpose_a, transpose_b) = (flags & 1 == 1, flags & 2 == 2);
                let write = if (case + flags) % 2 == 0 { Write::Set } else { Write::Add };
                let (a, b) = (self.random(m * k, 200 + case as u64)?, self.random(k * n, 220 + case as u64)?);
                let mut c = self.random(m * n, 240 + case as u64)?;
                let shape = Gemm { m, n, k, transpose_a, transpose_b, alpha: 0.75, write };
                self.backend.gemm(shape, &a, &b, &mut c)?;
                self.keep(format!("{shape:?}"), &c)?;
            }
        }
        Ok(())
    }

    fn norms(&mut self) -> Result<()> {
        let b = self.backend;
        for (case, (rows, width)) in [(1, 1), (3, 17), (40, 64), (19, 960)].into_iter().enumerate() {
            let seed = 300 + 10 * case as u64;
            let (x, dy) = (self.random(rows * width, seed)?, self.random(rows * width, seed + 1)?);
            let (weight, bias) = (self.random(width, seed + 2)?, self.random(width, seed + 3)?);
            let layer = Norm::Layer { weight: &weight, bias: &bias, eps: 1e-2 };
            let rms = Norm::RootMeanSquare { weight: &weight, eps: 1e-2 };
            let mut y = b.zeros(rows * width)?;
            b.norm(&x, layer, &mut y)?;
            self.keep(format!("layer norm ({rows}, {width})"), &y)?;
            b.norm(&x, rms, &mut y)?;
            self.keep(format!("rms norm ({rows}, {width})"), &y)?;
            for write in [Write::Set, Write::Add] {
                let mut dx = self.random(rows * width, seed + 4)?;
                b.norm_backward(&dy, &x, layer, &mut dx, write)?;
                self.keep(format!("layer norm backward {write:?} ({rows}, {width})"), &dx)?;
                let mut dx = self.random(rows * width, seed + 4)?;
                b.norm_backward(&dy, &x, rms, &mut dx, write)?;
                self.keep(format!("rms norm backward {write:?} ({rows}, {width})"), &dx)?;
            }
        }
        Ok(())
    }

    fn rotary(&mut self) -> Result<()> {
        let scaling = Llama3Scaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 64,
        };
        for (heads, head_dim) in [(1, 2), (3, 10), (5, 64)] {
            for scaling in [None, Some(scaling)] {
                for inverse in [false, true] {
                    let positions = [0, 1, 2, 5, 0, 33, 70];
                    let mut x = self.random(positions.len() * heads * head_dim, 400 + heads as u64)?;
                    let rotary = Rotary { theta: 100_000.0, scaling };
                    self.backend
                        .rope(&mut x, Rope { positions: &positions, heads, head_dim, rotary, inverse })?;
                    let stretched = scaling.is_some();
                    self.keep(
                        format!("rope {heads} × {head_dim}, inverse {inverse}, stretched {stretched}"),
                        &x,
                    )?;
                }
            }
        }
        Ok(())
    }

    fn activations(&mut self) -> Result<()> {
        let b = self.backend;
        for n in [1, 15, 257, 20_000] {
            let scaled = |seed| -> Result<B::Buffer> {
                b.upload_f64(&values(n, seed).iter().map(|v| v * 8.0).collect::<Vec<_>>())
            };
            let (x, up, dy) = (scaled(500)?, scaled(501)?, scaled(502)?);
            let (mut y, mut other) = (b.zeros(n)?, b.zeros(n)?);
            b.swiglu(&x, &up, &mut y)?;
            self.keep(format!("swiglu {n}"), &y)?;
            b.swiglu_backward(&dy, &x, &up, &mut y, &mut other)?;
            self.keep(format!("swiglu backward, gate {n}"), &y)?;
            self.keep(format!("swiglu backward, up {n}"), &other)?;
            b.gelu(&x, &mut y)?;
            self.keep(format!("gelu {n}"), &y)?;
            b.gelu_backward(&dy, &x, &mut y)?;
            self.keep(format!("gelu backward {n}"), &y)?;
            b.dropout(&x, 0.25, 42, &mut y)?;
            self.keep(format!("dropout {n}"), &y)?;
        }
        Ok(())
    }

    fn attention(&mut self, case: AttentionCase) -> Result<()> {
        let b = self.backend;
        let (q_offsets, k_offsets) = (offsets(case.queries), offsets(case.keys));
        let AttentionCase { heads, kv_heads, head_dim, causal, .. } = case;
        let shape =
            Attention { heads, kv_heads, head_dim, causal, q_offsets: &q_offsets, k_offsets: &k_offsets };
        let (queries, keys) = (case.queries.iter().sum::<usize>(), case.keys.iter().sum::<usize>());
        let (q_len, k_len) = (queries * heads * head_dim, keys * kv_heads * head_dim);
        let q = b.upload_f64(&values(q_len, 600).iter().map(|v| v * 3.0).collect::<Vec<_>>())?;
        let (k, v, d_o) = (self.random(k_len, 601)?, self.random(k_len, 602)?, self.random(q_len, 603)?);
        let (mut o, mut lse) = (b.zeros(q_len)?, b.zeros(queries * heads)?);
        b.attention(shape, AttentionInputs { q: &q, k: &k, v: &v }, &mut o, &mut lse)?;
        self.keep(format!("o of {case:?}"), &o)?;
        self.keep(format!("lse of {case:?}"), &lse)?;
        let (mut dq, mut dk, mut dv) =
            (self.random(q_len, 604)?, self.random(k_len, 605)?, self.random(k_len, 606)?);
        let saved = AttentionSaved { q: &q, k: &k, v: &v, o: &o, lse: &lse };
        let gradients = AttentionGradients { dq: &mut dq, dk: &mut dk, dv: &mut dv };
        b.attention_backward(shape, &d_o, saved, gradients)?;
        self.keep(format!("dq of {case:?}"), &dq)?;
        self.keep(format!("dk of {case:?}"), &dk)?;
        self.keep(format!("dv of {case:?}"), &dv)
    }

    fn rows(&mut self) -> Result<()> {
        let b = self.backend;
        for width in [1, 7, 64] {
            let src = self.random(6 * width, 700)?;
            let mut dst = self.random(4 * width, 701)?;
            b.gather_rows(&src, width, &[5, 0, 5, 2], &mut dst)?;
            self.keep(format!("gather rows of {width}"), &dst)?;
            for write in [Write::Set, Write::Add] {
                let mut dst = self.random(9 * width, 702)?;
                b.scatter_rows(&src, width, &[8, 0, 3, 1, 2, 7], &mut dst, write)?;
                self.keep(format!("scatter rows of {width} {write:?}"), &dst)?;
                b.copy(&src, width, 3 * width, &mut dst, 5 * width, write)?;
                self.keep(format!("copy {width} {write:?}"), &dst)?;
            }
        }
        Ok(())
    }

    fn sums(&mut self) -> Result<()> {
        let b = self.backend;
        for (rows, width) in [(1, 1), (5, 9), (200, 33), (300, 960)] {
            let (x, s) = (self.random(rows * width, 800)?, self.random(width, 801)?);
            let mut y = self.random(rows * width, 802)?;
            b.add(0.5, &x, &mut y)?;
            b.add(-2.0, &s, &mut y)?;
            self.keep(format!("add ({rows}, {width})"), &y)?;
            let mut scaled = b.zeros(rows * width)?;
            b.scale_columns(&x, &s, &mut scaled)?;
            self.keep(format!("scale columns ({rows}, {width})"), &scaled)?;
            let mut out = self.random(width, 803)?;
            b.column_dot(&x, Some(&y), &mut out)?;
            self.keep(format!("column dot ({rows}, {width})"), &out)?;
            b.column_dot(&x, None, &mut out)?;
            self.keep(format!("column sum ({rows}, {width})"), &out)?;
            let squares = b.sum_squares(&[&x])?.wait()?;
            self.outputs.push(Output { name: format!("squares ({rows}, {width})"), values: vec![squares] });
            b.clear(vec![&mut y])?;
            self.keep("clear", &y)?;
        }
        Ok(())
    }

    fn loss(&mut self) -> Result<()> {
        let b = self.backend;
        for vocabulary in [4_usize, 37, 5000] {
            let last = vocabulary as u32 - 1;
            let tokens: [&[(u32, f32)]; 3] =
                [&[(1, 1.0)], &[(0, 0.25), (last, 0.5), (2, 0.25)], &[(last, 1.0)]];
            let weights = [1.0, 2.5, 0.0];
            let targets: Vec<RowTarget<'_>> =
                tokens.iter().zip(weights).map(|(tokens, weight)| RowTarget { tokens, weight }).collect();
            let logits: Vec<f64> = values(3 * vocabulary, 900).iter().map(|v| v * 10.0).collect();
            let mut logits = b.upload_f64(&logits)?;
            let losses = b.cross_entropy(&mut logits, &targets, 0.125)?.wait()?;
            self.outputs.push(Output { name: format!("losses of {vocabulary}"), values: losses });
            self.keep(format!("logit gradients of {vocabulary}"), &logits)?;
        }
        Ok(())
    }

    /// Tiles that follow each other in an image and that do not.
    fn pixels(&mut self) -> Result<()> {
        let image = |rows: usize, cols: usize, side: usize| {
            let bytes = (rows * cols + 1) * side * side * 3;
            Tiles { rows, cols, side, data: (0..bytes).map(|i| (i * i % 251) as u8).collect() }
        };
        let (split, single) = (image(1, 2, 12), image(0, 0, 12));
        let tiles = [(&split, 1), (&split, 2), (&single, 0), (&split, 0)];
        for (grid, patch) in [(3, 4), (2, 6), (12, 1)] {
            let patches = self.backend.patches(&tiles, grid, patch)?;
            self.keep(format!("patches {grid} of {patch}"), &patches)?;
        }
        Ok(())
    }
}
