//! Adapters of one input, forward and backward.

use super::{Run, in_bf16, values};
use crate::Result;
use crate::backend::{Backend, Dropout, LowRank, LowRankBackward, LowRankForward};

/// Rows and width of an input, and widths and ranks of its adapters.
pub(crate) type Case = (usize, usize, &'static [(usize, usize)]);

const CASES: [Case; 4] = [
    (1, 1, &[(1, 1)]),
    (70, 96, &[(64, 16), (32, 16), (33, 8)]),
    (130, 40, &[(100, 40), (7, 3), (65, 17), (5, 1), (6, 2)]),
    (1100, 10, &[(12, 4)]),
];

/// One adapter with all that its passes read and write.
struct Side<B: Backend> {
    a: B::Buffer,
    b: B::Buffer,
    down: B::Buffer,
    y: B::Buffer,
    da: B::Buffer,
    db: B::Buffer,
    dy: B::Buffer,
    r: usize,
    scale: f32,
    dropout: Option<Dropout>,
}

impl<B: Backend> Side<B> {
    fn new(backend: &B, (m, k): (usize, usize), (n, r): (usize, usize), index: usize) -> Result<Self> {
        let seed = 1310 + 10 * index as u64;
        let random = |n, seed| backend.upload_f64(&values(n, seed));
        Ok(Self {
            a: random(r * k, seed)?,
            b: random(n * r, seed + 1)?,
            down: backend.zeros(m * r)?,
            y: random(m * n, seed + 2)?,
            da: random(r * k, seed + 3)?,
            db: random(n * r, seed + 4)?,
            dy: backend.upload_f64(&in_bf16(values(m * n, seed + 5)))?,
            r,
            scale: 0.5 + index as f32,
            dropout: (index % 2 == 1).then_some(Dropout { p: 0.25, key: 7 + index as u64 }),
        })
    }

    fn forward(&mut self) -> LowRankForward<'_, B::Buffer> {
        let Self { a, b, down, y, r, scale, dropout, .. } = self;
        let pair = LowRank { a, b, r: *r, scale: *scale, dropout: *dropout };
        LowRankForward { pair, down, y }
    }

    fn backward(&mut self) -> LowRankBackward<'_, B::Buffer> {
        let Self { a, b, down, da, db, dy, r, scale, dropout, .. } = self;
        let pair = LowRank { a, b, r: *r, scale: *scale, dropout: *dropout };
        LowRankBackward { pair, down, dy, da, db }
    }
}

impl<B: Backend> Run<'_, B> {
    /// Ranks and widths within and beyond what a kernel takes at once, with and without dropout, more rows than are summed at
    /// once, more adapters than go together. Inputs and gradients are numbers that bf16 holds.
    pub(super) fn adapters(&mut self) -> Result<()> {
        CASES.into_iter().try_for_each(|case| self.adapters_of(case))
    }

    pub(super) fn adapters_of(&mut self, (m, k, outputs): Case) -> Result<()> {
        let b = self.backend;
        let x = b.upload_f64(&in_bf16(values(m * k, 1300)))?;
        let mut dx = self.random(m * k, 1301)?;
        let sides = outputs.iter().enumerate().map(|(index, &output)| Side::new(b, (m, k), output, index));
        let mut sides: Vec<Side<B>> = sides.collect::<Result<_>>()?;
        b.adapters(&x, m, &mut sides.iter_mut().map(Side::forward).collect::<Vec<_>>())?;
        let mut backward: Vec<_> = sides.iter_mut().map(Side::backward).collect();
        b.adapters_backward(&x, m, &mut backward, None)?;
        b.adapters_backward(&x, m, &mut backward, Some(&mut dx))?;
        self.keep(format!("adapters ({m}, {k}), dx"), &dx)?;
        for (index, side) in sides.iter().enumerate() {
            let outputs = [("down", &side.down), ("y", &side.y), ("dA", &side.da), ("dB", &side.db)];
            for (what, buffer) in outputs {
                self.keep(format!("adapters ({m}, {k}), {what} of {index}"), buffer)?;
            }
        }
        Ok(())
    }
}
