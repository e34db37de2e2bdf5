//! Adapters by plain products: what a device does that has no kernels of its own for them.

use super::Backend;
use crate::Result;
use crate::backend::{
    AdaptedBackward, AdaptedOutput, Dropout, Gemm, LinearOutput, LowRankBackward, LowRankForward,
    LowRankGradients, Write, check,
};

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

/// As [`Backend::adapted`].
pub(in crate::backend) fn adapted<B: Backend>(
    backend: &B,
    x: &B::Buffer,
    m: usize,
    outputs: &mut [AdaptedOutput<'_, B::Weight, B::Buffer>],
) -> Result<()> {
    let products = outputs.iter_mut().map(|AdaptedOutput { linear, y, .. }| LinearOutput {
        weight: linear.weight,
        bias: linear.bias,
        y: &mut **y,
    });
    backend.linears(x, m, &mut products.collect::<Vec<_>>())?;
    let adapters = outputs.iter_mut().filter_map(|AdaptedOutput { adapter, y, .. }| {
        let (pair, down) = adapter.as_mut()?;
        Some(LowRankForward { pair: *pair, down: &mut **down, y: &mut **y })
    });
    let mut adapters = adapters.collect::<Vec<_>>();
    if !adapters.is_empty() {
        backend.adapters(x, m, &mut adapters)?;
    }
    for AdaptedOutput { addend, y, .. } in outputs {
        addend.map_or(Ok(()), |addend| backend.add(1.0, addend, y))?;
    }
    Ok(())
}

/// As [`Backend::adapted_backward`].
pub(in crate::backend) fn adapted_backward<B: Backend>(
    backend: &B,
    x: Option<&B::Buffer>,
    m: usize,
    linears: &mut [AdaptedBackward<'_, B::Weight, B::Buffer>],
    mut dx: Option<(&mut B::Buffer, Write)>,
) -> Result<()> {
    if let Some((dx, write)) = dx.as_mut() {
        for AdaptedBackward { weight, dy, .. } in &*linears {
            backend.linear_backward(dy, m, weight, dx, std::mem::replace(write, Write::Add))?;
        }
    }
    let adapters = linears.iter_mut().filter_map(|AdaptedBackward { dy, adapter, .. }| {
        let LowRankGradients { pair, down, da, db } = adapter.as_mut()?;
        Some(LowRankBackward { pair: *pair, down, dy, da: &mut **da, db: &mut **db })
    });
    let mut adapters = adapters.collect::<Vec<_>>();
    if adapters.is_empty() {
        return Ok(());
    }
    let x = x.ok_or_else(|| check::invalid_argument("adapters read their input".to_owned()))?;
    backend.adapters_backward(x, m, &mut adapters, dx.map(|(dx, _)| dx))
}
