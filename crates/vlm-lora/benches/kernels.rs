//! The kernels of the CPU backend at the sizes of SmolVLM-500M: hidden 960, 15 query and 5 key heads of 64, intermediate 2560;
//! vision 768 and 3072; adapters of rank 16.
//!
//! Throughput is in floating-point operations a second (criterion's `elem/s`) for products and attention, in bytes read and
//! written for the rest.

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use safetensors::Dtype;
use vlm_lora::Result;
use vlm_lora::Stored;
use vlm_lora::backend::cpu::{Buffer, Weight};
use vlm_lora::backend::{
    AdamWStep, AdamWTensor, Attention, AttentionGradients, AttentionInputs, AttentionSaved, Backend as _,
    BaseDtype, Bf16Kernel, Cpu, CpuOptions, Gemm, IntegerKernel, Isa, Kernels as _, Norm, Rope, RowTarget,
    Write,
};

const ROWS: usize = 1024;
const HIDDEN: usize = 960;
const INNER: usize = 2560;
const HEADS: usize = 15;
const KV_HEADS: usize = 5;
const HEAD: usize = 64;
const RANK: usize = 16;
const VOCABULARY: usize = 49_280;

fn main_benches(c: &mut Criterion) {
    let mut run = || -> Result<()> {
        products(c)?;
        attention(c)?;
        rows(c)?;
        loss(c)?;
        layer(c)
    };
    run().expect("the sizes agree");
}

/// A value between -1 and 1 for every index.
fn values(n: usize) -> Vec<f32> {
    (0..n as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / 8_388_608.0 - 1.0).collect()
}

fn random(backend: &Cpu, n: usize) -> Result<Buffer<f32>> {
    backend.upload(&values(n))
}

fn weight(backend: &Cpu, n: usize, k: usize) -> Result<Weight<f32>> {
    let bytes: Vec<u8> = values(n * k).iter().flat_map(|v| (v * 0.05).to_le_bytes()).collect();
    backend.weight(Stored { dtype: Dtype::F32, bytes: &bytes }, n, k)
}

/// The backends to compare: f32, a bf16 base by every kernel of this CPU, and integers of 8 and 16 bits by every kernel.
fn backends() -> Result<Vec<(String, Cpu)>> {
    let mut backends = vec![("f32".to_owned(), Cpu::new())];
    let avx2 = CpuOptions { isa: Some(Isa::Avx2), ..CpuOptions::default() };
    backends.push(("f32 avx2".to_owned(), Cpu::with_options(avx2)?));
    for kernel in Bf16Kernel::available().into_iter().filter(|kernel| *kernel != Bf16Kernel::Int16) {
        let options = CpuOptions { base: BaseDtype::Bf16, kernel: Some(kernel), ..CpuOptions::default() };
        backends.push((format!("bf16 {kernel:?}"), Cpu::with_options(options)?));
    }
    for integers in IntegerKernel::available() {
        let kernels = [("int8", BaseDtype::Int8, None), ("int16", BaseDtype::Bf16, Some(Bf16Kernel::Int16))];
        for (name, base, kernel) in kernels {
            let options = CpuOptions { base, kernel, integers: Some(integers), ..CpuOptions::default() };
            backends.push((format!("{name} {}", integers.name()), Cpu::with_options(options)?));
        }
    }
    Ok(backends)
}

fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: impl Into<String>,
    label: &str,
    mut f: impl FnMut() -> Result<()>,
) {
    group.bench_function(BenchmarkId::new(name, label), |b| b.iter(|| f().expect("the sizes agree")));
}

fn products(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("product");
    let shapes = [
        (ROWS, HIDDEN, HIDDEN),
        (ROWS, KV_HEADS * HEAD, HIDDEN),
        (ROWS, INNER, HIDDEN),
        (ROWS, HIDDEN, INNER),
        (ROWS, 3072, 768),
        (1, INNER, HIDDEN),
        (100, VOCABULARY, HIDDEN),
    ];
    for (label, backend) in backends()? {
        for (m, n, k) in shapes {
            group.throughput(Throughput::Elements(2 * (m * n * k) as u64));
            let w = weight(&backend, n, k)?;
            let (x, dy) = (random(&backend, m * k)?, random(&backend, m * n)?);
            let (mut y, mut dx) = (backend.zeros(m * n)?, backend.zeros(m * k)?);
            let size = format!("{m}x{k}x{n}");
            bench(&mut group, format!("linear {size}"), &label, || backend.linear(&x, m, &w, None, &mut y));
            bench(&mut group, format!("linear backward {size}"), &label, || {
                backend.linear_backward(&dy, m, &w, &mut dx, Write::Set)
            });
        }
    }
    let backend = Cpu::new();
    for (name, m, n, k, transpose_a, transpose_b) in [
        ("x·Aᵀ", ROWS, RANK, HIDDEN, false, true),
        ("u·Bᵀ", ROWS, INNER, RANK, false, true),
        ("dy·B", ROWS, RANK, INNER, false, false),
        ("dyᵀ·u", INNER, RANK, ROWS, true, false),
    ] {
        group.throughput(Throughput::Elements(2 * (m * n * k) as u64));
        let (a, b, mut out) = (random(&backend, m * k)?, random(&backend, n * k)?, backend.zeros(m * n)?);
        let shape = Gemm { m, n, k, transpose_a, transpose_b, alpha: 1.0, write: Write::Set };
        bench(&mut group, format!("adapter {name}"), "f32", || backend.gemm(shape, &a, &b, &mut out));
    }
    group.finish();
    Ok(())
}

fn attention(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("attention");
    let backend = Cpu::new();
    for (name, heads, kv_heads, causal) in
        [("causal 15/5", HEADS, KV_HEADS, true), ("full 12/12", 12, 12, false)]
    {
        let offsets = [0, ROWS];
        let shape =
            Attention { heads, kv_heads, head_dim: HEAD, causal, q_offsets: &offsets, k_offsets: &offsets };
        let (q, d_o) = (random(&backend, ROWS * heads * HEAD)?, random(&backend, ROWS * heads * HEAD)?);
        let (k, v) = (random(&backend, ROWS * kv_heads * HEAD)?, random(&backend, ROWS * kv_heads * HEAD)?);
        let (mut o, mut lse) = (backend.zeros(ROWS * heads * HEAD)?, backend.zeros(ROWS * heads)?);
        let pairs = if causal { ROWS * (ROWS + 1) / 2 } else { ROWS * ROWS };
        let flops = 4 * (heads * HEAD * pairs) as u64;
        group.throughput(Throughput::Elements(flops));
        bench(&mut group, name, "forward", || {
            backend.attention(shape, AttentionInputs { q: &q, k: &k, v: &v }, &mut o, &mut lse)
        });
        let mut dq = backend.zeros(ROWS * heads * HEAD)?;
        let (mut dk, mut dv) =
            (backend.zeros(ROWS * kv_heads * HEAD)?, backend.zeros(ROWS * kv_heads * HEAD)?);
        group.throughput(Throughput::Elements(flops / 2 * 5));
        bench(&mut group, name, "backward", || {
            let saved = AttentionSaved { q: &q, k: &k, v: &v, o: &o, lse: &lse };
            let gradients = AttentionGradients { dq: &mut dq, dk: &mut dk, dv: &mut dv };
            backend.attention_backward(shape, &d_o, saved, gradients)
        });
    }
    group.finish();
    Ok(())
}

fn rms<T>(weight: &T) -> Norm<'_, T> {
    Norm::RootMeanSquare { weight, eps: 1e-5 }
}

fn layer_norm<T>(weight: &T) -> Norm<'_, T> {
    Norm::Layer { weight, bias: weight, eps: 1e-5 }
}

fn rope(positions: &[u32], heads: usize, inverse: bool) -> Rope<'_> {
    Rope { positions, heads, head_dim: HEAD, rotary: 1e5.into(), inverse }
}

/// What works row by row or element by element is bound by memory.
fn rows(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("rows");
    let b = Cpu::<f32>::new();
    let bytes = |buffers: usize, width: usize| Throughput::Bytes((4 * buffers * ROWS * width) as u64);
    let (x, dy, w) = (random(&b, ROWS * HIDDEN)?, random(&b, ROWS * HIDDEN)?, random(&b, HIDDEN)?);
    let (mut y, mut dx) = (b.zeros(ROWS * HIDDEN)?, b.zeros(ROWS * HIDDEN)?);
    group.throughput(bytes(2, HIDDEN));
    bench(&mut group, "rms norm", "forward", || b.norm(&x, rms(&w), &mut y));
    bench(&mut group, "layer norm", "forward", || b.norm(&x, layer_norm(&w), &mut y));
    let positions: Vec<u32> = (0..ROWS as u32).collect();
    bench(&mut group, "rope", "15 heads", || b.rope(&mut y, rope(&positions, HEADS, false)));
    bench(&mut group, "dropout", "0.05", || b.dropout(&x, 0.05, 7, &mut dx));
    group.throughput(bytes(3, HIDDEN));
    bench(&mut group, "rms norm", "backward", || b.norm_backward(&dy, &x, rms(&w), &mut dx, Write::Set));
    bench(&mut group, "layer norm", "backward", || {
        b.norm_backward(&dy, &x, layer_norm(&w), &mut dx, Write::Set)
    });
    bench(&mut group, "add", "rows", || b.add(1.0, &x, &mut dx));
    let (gate, up, dy) = (random(&b, ROWS * INNER)?, random(&b, ROWS * INNER)?, random(&b, ROWS * INNER)?);
    let (mut act, mut other) = (b.zeros(ROWS * INNER)?, b.zeros(ROWS * INNER)?);
    group.throughput(bytes(3, INNER));
    bench(&mut group, "swiglu", "forward", || b.swiglu(&gate, &up, &mut act));
    bench(&mut group, "gelu", "backward", || b.gelu_backward(&dy, &gate, &mut act));
    group.throughput(bytes(5, INNER));
    bench(&mut group, "swiglu", "backward", || b.swiglu_backward(&dy, &gate, &up, &mut act, &mut other));
    group.throughput(bytes(2, INNER));
    bench(&mut group, "gelu", "forward", || b.gelu(&gate, &mut act));
    let (mut m, mut v) = (b.zeros(ROWS * INNER)?, b.zeros(ROWS * INNER)?);
    let step = AdamWStep {
        learning_rate: 1e-4,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        step: 10,
        grad_scale: 1.0,
    };
    group.throughput(bytes(7, INNER));
    bench(&mut group, "adamw", "2.6 M", || {
        b.adamw(vec![AdamWTensor { step, value: &mut act, grad: &dy, m: &mut m, v: &mut v }])
    });
    group.finish();
    Ok(())
}

fn loss(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("loss");
    let b = Cpu::<f32>::new();
    let rows = 100;
    let targets = vec![RowTarget { tokens: &[(7, 1.0)], weight: 1.0 }; rows];
    let mut logits = random(&b, rows * VOCABULARY)?;
    group.throughput(Throughput::Bytes((8 * rows * VOCABULARY) as u64));
    bench(&mut group, "cross-entropy", "100 rows", || b.cross_entropy(&mut logits, &targets, 1.0).map(drop));
    group.finish();
    Ok(())
}

/// The frozen part of a decoder layer, forward and backward to its input.
struct Layer<'a> {
    backend: &'a Cpu,
    projections: [Weight<f32>; 7],
    norm: Buffer<f32>,
    positions: Vec<u32>,
}

impl<'a> Layer<'a> {
    fn new(backend: &'a Cpu) -> Result<Self> {
        let w = |n, k| weight(backend, n, k);
        let kv = KV_HEADS * HEAD;
        Ok(Self {
            backend,
            projections: [
                w(HIDDEN, HIDDEN)?,
                w(kv, HIDDEN)?,
                w(kv, HIDDEN)?,
                w(HIDDEN, HIDDEN)?,
                w(INNER, HIDDEN)?,
                w(INNER, HIDDEN)?,
                w(HIDDEN, INNER)?,
            ],
            norm: random(backend, HIDDEN)?,
            positions: (0..ROWS as u32).collect(),
        })
    }

    fn project(&self, which: usize, x: &Buffer<f32>) -> Result<Buffer<f32>> {
        let (n, _) = self.backend.weight_shape(&self.projections[which]);
        let mut y = self.backend.zeros(ROWS * n)?;
        self.backend.linear(x, ROWS, &self.projections[which], None, &mut y)?;
        Ok(y)
    }

    fn back(&self, which: usize, dy: &Buffer<f32>, dx: &mut Buffer<f32>, write: Write) -> Result<()> {
        self.backend.linear_backward(dy, ROWS, &self.projections[which], dx, write)
    }

    fn step(&self, x: &Buffer<f32>, dy: &Buffer<f32>) -> Result<Buffer<f32>> {
        let b = self.backend;
        let hidden = || b.zeros(ROWS * HIDDEN);
        let offsets = [0, ROWS];
        let shape = Attention {
            heads: HEADS,
            kv_heads: KV_HEADS,
            head_dim: HEAD,
            causal: true,
            q_offsets: &offsets,
            k_offsets: &offsets,
        };
        let rotate = |x: &mut Buffer<f32>, heads, inverse| b.rope(x, rope(&self.positions, heads, inverse));
        let mut h = hidden()?;
        b.norm(x, rms(&self.norm), &mut h)?;
        let (mut q, mut k, v) = (self.project(0, &h)?, self.project(1, &h)?, self.project(2, &h)?);
        rotate(&mut q, HEADS, false)?;
        rotate(&mut k, KV_HEADS, false)?;
        let (mut o, mut lse) = (hidden()?, b.zeros(ROWS * HEADS)?);
        b.attention(shape, AttentionInputs { q: &q, k: &k, v: &v }, &mut o, &mut lse)?;
        let mut x2 = self.project(3, &o)?;
        b.add(1.0, x, &mut x2)?;
        b.norm(&x2, rms(&self.norm), &mut h)?;
        let (gate, up) = (self.project(4, &h)?, self.project(5, &h)?);
        let mut act = b.zeros(ROWS * INNER)?;
        b.swiglu(&gate, &up, &mut act)?;
        let mut y = self.project(6, &act)?;
        b.add(1.0, &x2, &mut y)?;

        let mut dact = act;
        self.back(6, dy, &mut dact, Write::Set)?;
        let (mut dgate, mut dup) = (b.zeros(ROWS * INNER)?, b.zeros(ROWS * INNER)?);
        b.swiglu_backward(&dact, &gate, &up, &mut dgate, &mut dup)?;
        let mut dh = h;
        self.back(4, &dgate, &mut dh, Write::Set)?;
        self.back(5, &dup, &mut dh, Write::Add)?;
        let mut dx2 = hidden()?;
        b.add(1.0, dy, &mut dx2)?;
        b.norm_backward(&dh, &x2, rms(&self.norm), &mut dx2, Write::Add)?;
        let mut d_o = y;
        self.back(3, &dx2, &mut d_o, Write::Set)?;
        let (mut dq, mut dk, mut dv) = (hidden()?, b.zeros(b.len(&k))?, b.zeros(b.len(&v))?);
        let saved = AttentionSaved { q: &q, k: &k, v: &v, o: &o, lse: &lse };
        let gradients = AttentionGradients { dq: &mut dq, dk: &mut dk, dv: &mut dv };
        b.attention_backward(shape, &d_o, saved, gradients)?;
        rotate(&mut dq, HEADS, true)?;
        rotate(&mut dk, KV_HEADS, true)?;
        self.back(0, &dq, &mut dh, Write::Set)?;
        self.back(1, &dk, &mut dh, Write::Add)?;
        self.back(2, &dv, &mut dh, Write::Add)?;
        b.norm_backward(&dh, x, rms(&self.norm), &mut dx2, Write::Add)?;
        Ok(dx2)
    }
}

fn layer(c: &mut Criterion) -> Result<()> {
    let mut group = c.benchmark_group("layer");
    group.sample_size(10);
    let linears = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KV_HEADS * HEAD + 3 * HIDDEN * INNER;
    let scores = HEADS * HEAD * ROWS * (ROWS + 1) / 2;
    group.throughput(Throughput::Elements((2 * 2 * ROWS * linears + (4 + 10) * scores) as u64));
    for (label, backend) in backends()? {
        let (x, dy) = (random(&backend, ROWS * HIDDEN)?, random(&backend, ROWS * HIDDEN)?);
        let layer = Layer::new(&backend)?;
        bench(&mut group, "forward and backward, 1024 tokens", &label, || layer.step(&x, &dy).map(drop));
    }
    group.finish();
    Ok(())
}

criterion_group!(benches, main_benches);
criterion_main!(benches);
