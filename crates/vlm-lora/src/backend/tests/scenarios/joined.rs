//! Linears of one input with their adapters, forward and backward, and what attention and activations read of them.

use safetensors::Dtype;

use super::{Run, in_bf16, stored, values};
use crate::backend::{
    AdaptedBackward, AdaptedOutput, Backend, Dropout, FrozenLinear, LowRank, LowRankGradients, Rope, Write,
};
use crate::{Result, Stored};

/// Rows and width of an input, widths of linears and ranks of their adapters, dropout.
type Case = (usize, usize, &'static [(usize, Option<usize>)], bool);

/// Ranks that are no multiple of what products are aligned to, linears without adapters, one alone, all without.
const CASES: [Case; 6] = [
    (5, 16, &[(24, Some(8)), (8, Some(8)), (8, None)], false),
    (70, 40, &[(48, Some(3)), (48, Some(5))], false),
    (70, 40, &[(48, Some(16)), (48, Some(16))], true),
    (33, 24, &[(40, Some(4))], false),
    (3, 8, &[(9, None), (9, None)], false),
    (2, 16, &[(12, Some(2)); 5], false),
];

/// A linear with its adapter.
struct Side<B: Backend> {
    weight: B::Weight,
    bias: B::Buffer,
    adapter: Option<Pair<B>>,
    n: usize,
}

struct Pair<B: Backend> {
    a: B::Buffer,
    b: B::Buffer,
    down: B::Buffer,
    da: B::Buffer,
    db: B::Buffer,
    r: usize,
    dropout: Option<Dropout>,
}

impl<B: Backend> Pair<B> {
    fn new(backend: &B, (m, n, k): (usize, usize, usize), r: usize, dropped: bool) -> Result<Self> {
        let random = |n, seed| backend.upload_f64(&in_bf16(values(n, seed)));
        Ok(Self {
            a: random(r * k, 1410 + n as u64)?,
            b: random(n * r, 1420 + r as u64)?,
            down: backend.zeros(m * r)?,
            da: random(r * k, 1430)?,
            db: random(n * r, 1440)?,
            r,
            dropout: dropped.then_some(Dropout { p: 0.25, key: 7 + n as u64 }),
        })
    }
}

impl<B: Backend> Run<'_, B> {
    /// Each case as it begins, after its matrices have changed, and with other ranks on the same frozen matrices.
    pub(super) fn joined(&mut self) -> Result<()> {
        CASES.into_iter().try_for_each(|case| self.joined_of(case))
    }

    fn joined_of(&mut self, case: Case) -> Result<()> {
        let (b, (m, k, outputs, dropped)) = (self.backend, case);
        let mut sides = self.sides(case)?;
        self.passes(case, &mut sides, "at first")?;
        for side in &mut sides {
            let Some(pair) = &mut side.adapter else { continue };
            pair.a = b.upload_f64(&in_bf16(values(pair.r * k, 1450)))?;
            b.copy(&pair.a, 0, pair.r, &mut pair.b, 0, Write::Add)?;
        }
        self.passes(case, &mut sides, "with other values")?;
        for (side, (n, r)) in sides.iter_mut().zip(outputs) {
            side.bias = self.random(*n, 1460)?;
            side.adapter = match r {
                Some(r) => Some(Pair::new(b, (m, *n, k), r + 1, dropped)?),
                None => None,
            };
        }
        self.passes(case, &mut sides, "with other ranks")?;
        let mut y = b.zeros(k)?;
        b.embed(&sides[0].weight, &[1], &mut y)?;
        self.keep(format!("rows below adapters {case:?}"), &y)?;
        let norms = b.weight_row_norms_squared(&sides[0].weight)?;
        self.keep(format!("norms beside adapters {case:?}"), &norms)
    }

    fn sides(&self, (m, k, outputs, dropped): Case) -> Result<Vec<Side<B>>> {
        let b = self.backend;
        let bytes: Vec<Vec<u8>> = outputs
            .iter()
            .enumerate()
            .map(|(index, (n, _))| stored(&in_bf16(values(n * k, 1400 + index as u64)), Dtype::BF16))
            .collect();
        let parts = bytes.iter().zip(outputs);
        let parts: Vec<_> = parts.map(|(bytes, (n, _))| (Stored { dtype: Dtype::BF16, bytes }, *n)).collect();
        let weights = b.weights(&parts, k)?;
        let one = |(weight, &(n, r)): (B::Weight, &(usize, Option<usize>))| {
            let adapter = r.map(|r| Pair::new(b, (m, n, k), r, dropped)).transpose()?;
            Ok(Side { weight, bias: self.random(n, 1405)?, adapter, n })
        };
        weights.into_iter().zip(outputs).map(one).collect()
    }

    fn passes(&mut self, case: Case, sides: &mut [Side<B>], when: &str) -> Result<()> {
        let (b, (m, k, ..)) = (self.backend, case);
        let x = b.upload_f64(&in_bf16(values(m * k, 1470)))?;
        let widths: Vec<usize> = sides.iter().map(|side| side.n).collect();
        let mut ys = match &widths[..] {
            [n] => vec![b.scratch(m * n)?],
            _ => b.scratch_side_by_side(m, &widths)?,
        };
        let addend = self.random(m * widths[0], 1480)?;
        let mut all = Vec::new();
        let count = sides.len();
        for (side, y) in sides.iter_mut().zip(&mut ys) {
            let Side { weight, bias, adapter, .. } = side;
            let adapter = adapter.as_mut().map(|Pair { a, b, down, r, dropout, .. }| {
                (LowRank { a: &*a, b: &*b, r: *r, scale: 0.5, dropout: *dropout }, down)
            });
            let linear = FrozenLinear { weight, bias: Some(&*bias) };
            all.push(AdaptedOutput { linear, adapter, addend: (count == 1).then_some(&addend), y });
        }
        b.adapted(&x, m, &mut all)?;
        for (index, y) in ys.iter().enumerate() {
            self.keep(format!("joined {index} {when} {case:?}"), y)?;
        }
        for pair in sides.iter().filter_map(|side| side.adapter.as_ref()) {
            self.keep(format!("joined down {when} {case:?}"), &pair.down)?;
        }
        self.read(case, &mut ys, when)?;
        self.joined_backward(case, sides, &ys, &x, when)
    }

    /// What stands side by side, as attention and activations read it, and as everybody else does.
    fn read(&mut self, case: Case, ys: &mut [B::Buffer], when: &str) -> Result<()> {
        let (b, (m, _, outputs, _)) = (self.backend, case);
        let [first, second, ..] = ys else { return Ok(()) };
        if outputs[0].0 == outputs[1].0 {
            let mut hidden = b.scratch_for_products(m * outputs[0].0)?;
            b.swiglu(first, second, &mut hidden)?;
            return self.keep(format!("joined swiglu {when} {case:?}"), &hidden);
        }
        let positions: Vec<u32> = (0..m as u32).collect();
        let heads = outputs[0].0 / 8;
        let rope = Rope { positions: &positions, heads, head_dim: 8, rotary: 100.0.into(), inverse: false };
        b.rope_both(first, second, rope, outputs[1].0 / 8)?;
        self.keep(format!("joined rope of q {when} {case:?}"), first)?;
        self.keep(format!("joined rope of k {when} {case:?}"), second)?;
        let mut rows = b.scratch(outputs[0].0)?;
        b.gather_rows(first, outputs[0].0, &[1], &mut rows)?;
        b.add(1.0, &rows, first)?;
        self.keep(format!("joined rows {when} {case:?}"), first)
    }

    fn joined_backward(
        &mut self,
        case: Case,
        sides: &mut [Side<B>],
        ys: &[B::Buffer],
        x: &B::Buffer,
        when: &str,
    ) -> Result<()> {
        let (b, (m, k, outputs, _)) = (self.backend, case);
        let widths: Vec<usize> = sides.iter().map(|side| side.n).collect();
        let mut dys = b.scratch_side_by_side(m, &widths)?;
        for (index, (dy, n)) in dys.iter_mut().zip(&widths).enumerate() {
            *dy = b.upload_f64(&in_bf16(values(m * n, 1490 + index as u64)))?;
        }
        if let ([first, second], true) = (ys, outputs.len() == 2) {
            // Written side by side, where they are to be so.
            let d = b.upload_f64(&in_bf16(values(m * widths[0], 1500)))?;
            let mut both = b.scratch_side_by_side(m, &widths)?;
            let [gate, up] = &mut both[..] else { return Ok(()) };
            b.swiglu_backward(&d, first, second, gate, up)?;
            dys = both;
        }
        let mut only = b.scratch_for_products(m * k)?;
        let mut dx = b.upload_f64(&values(m * k, 1510))?;
        for pass in 0..2 {
            let mut all = Vec::new();
            for (side, dy) in sides.iter_mut().zip(&dys) {
                let Side { weight, adapter, .. } = side;
                let adapter = adapter.as_mut().map(|Pair { a, b, down, da, db, r, dropout }| {
                    let pair = LowRank { a: &*a, b: &*b, r: *r, scale: 0.5, dropout: *dropout };
                    LowRankGradients { pair, down: &*down, da, db }
                });
                all.push(AdaptedBackward { weight, dy, adapter });
            }
            let target = if pass == 0 { (&mut only, Write::Set) } else { (&mut dx, Write::Add) };
            b.adapted_backward(Some(x), m, &mut all, Some(target))?;
        }
        self.keep(format!("joined dx, set, {when} {case:?}"), &only)?;
        self.keep(format!("joined dx, added, {when} {case:?}"), &dx)?;
        for pair in sides.iter().filter_map(|side| side.adapter.as_ref()) {
            self.keep(format!("joined da {when} {case:?}"), &pair.da)?;
            self.keep(format!("joined db {when} {case:?}"), &pair.db)?;
        }
        Ok(())
    }
}
