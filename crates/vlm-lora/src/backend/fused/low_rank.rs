//! Adapters by plain products: what a device does that has no kernels of its own for them.

use super::Backend;
use crate::Result;
use crate::backend::{Dropout, Gemm, LowRankBackward, LowRankForward, check};

/// `x` after dropout; nothing where it is `x`.
fn dropped<B: Backend>(backend: &B, x: &B::Buffer, dropout: Option<Dropout>) -> Result<Option<B::Buffer>> {
    let Some(Dropout { p, key }) = dropout else { return Ok(None) };
    let mut y = backend.scratch(backend.len(x))?;
    backend.dropout(x, p, key, &mut y)?;
    Ok(Some(y))
}

/// As [`Backend::adapters`].
pub(super) fn forward<B: Backend>(
    backend: &B,
    x: &B::Buffer,
    m: usize,
    adapters: &mut [LowRankForward<'_, B::Buffer>],
) -> Result<()> {
    for LowRankForward { pair, down, y } in adapters {
        let (n, k) = check::low_rank(backend, x, m, pair)?;
        let dropped = dropped(backend, x, pair.dropout)?;
        let input = dropped.as_ref().unwrap_or(x);
        backend.gemm(Gemm::new(m, pair.r, k).transposed_b(), input, pair.a, down)?;
        backend.gemm(Gemm::new(m, n, pair.r).transposed_b().scaled(pair.scale).added(), down, pair.b, y)?;
    }
    Ok(())
}

/// As [`Backend::adapters_backward`].
pub(super) fn backward<B: Backend>(
    backend: &B,
    x: &B::Buffer,
    m: usize,
    adapters: &mut [LowRankBackward<'_, B::Buffer>],
    mut dx: Option<&mut B::Buffer>,
) -> Result<()> {
    for LowRankBackward { pair, down, dy, da, db } in adapters {
        let (n, k) = check::low_rank(backend, x, m, pair)?;
        let (r, scale) = (pair.r, pair.scale);
        backend.gemm(Gemm::new(n, r, m).transposed_a().scaled(scale).added(), dy, down, db)?;
        let mut d_down = backend.scratch(m * r)?;
        backend.gemm(Gemm::new(m, r, n).scaled(scale), dy, pair.b, &mut d_down)?;
        let dropped = dropped(backend, x, pair.dropout)?;
        let input = dropped.as_ref().unwrap_or(x);
        backend.gemm(Gemm::new(r, k, m).transposed_a().added(), &d_down, input, da)?;
        drop(dropped);
        let Some(dx) = dx.as_deref_mut() else { continue };
        let shape = Gemm::new(m, k, r);
        let Some(Dropout { p, key }) = pair.dropout else {
            backend.gemm(shape.added(), &d_down, pair.a, dx)?;
            continue;
        };
        let mut d_input = backend.scratch(m * k)?;
        backend.gemm(shape, &d_down, pair.a, &mut d_input)?;
        let mut masked = backend.scratch(m * k)?;
        backend.dropout(&d_input, p, key, &mut masked)?;
        backend.add(1.0, &masked, dx)?;
    }
    Ok(())
}
