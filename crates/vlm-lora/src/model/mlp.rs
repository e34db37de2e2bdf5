use super::linear::{Linear, LinearSaved};
use super::params::{Grads, Pass};
use crate::Result;
use crate::backend::{Backend, Write};

/// The two-layer perceptron of a block.
pub(crate) enum Mlp<B: Backend> {
    /// `down(silu(gate(x)) · up(x))`, in the text model.
    Gated { gate: Linear<B>, up: Linear<B>, down: Linear<B> },
    /// `fc2(gelu(fc1(x)))`, in the vision tower.
    Plain { fc1: Linear<B>, fc2: Linear<B> },
}

/// What the backward pass needs: the inputs of the activation.
pub(crate) enum MlpSaved<B: Backend> {
    Gated {
        gate: B::Buffer,
        up: B::Buffer,
        /// The activations, where the last layer's adapter reads them and the backend keeps them.
        hidden: Option<B::Buffer>,
        saved: [LinearSaved<B>; 3],
    },
    Plain {
        fc1: B::Buffer,
        saved: [LinearSaved<B>; 2],
    },
}

impl<B: Backend> Mlp<B> {
    /// Its linears in the order of computation.
    pub(crate) fn linears(&self) -> Vec<&Linear<B>> {
        match self {
            Self::Gated { gate, up, down } => vec![gate, up, down],
            Self::Plain { fc1, fc2 } => vec![fc1, fc2],
        }
    }

    /// Those that read the input.
    pub(crate) fn first_linears(&self) -> Vec<&Linear<B>> {
        match self {
            Self::Gated { gate, up, .. } => vec![gate, up],
            Self::Plain { fc1, .. } => vec![fc1],
        }
    }

    /// As [`linears`](Self::linears).
    pub(crate) fn linears_mut(&mut self) -> Vec<&mut Linear<B>> {
        match self {
            Self::Gated { gate, up, down } => vec![gate, up, down],
            Self::Plain { fc1, fc2 } => vec![fc1, fc2],
        }
    }

    pub(crate) fn trains(&self) -> bool {
        self.linears().iter().any(|linear| linear.trains())
    }

    /// Whether the first layer has an adapter, so that the backward pass reads the input.
    pub(crate) fn reads_input(&self) -> bool {
        match self {
            Self::Gated { gate, up, .. } => gate.trains() || up.trains(),
            Self::Plain { fc1, .. } => fc1.trains(),
        }
    }

    /// The residual stream, of the normed input and of what stands there.
    pub(crate) fn forward(
        &self,
        pass: Pass<'_, B>,
        input: &B::Buffer,
        residual: &B::Buffer,
    ) -> Result<(B::Buffer, MlpSaved<B>)> {
        match self {
            Self::Gated { gate, up, down } => {
                let [(gate, gate_saved), (up, up_saved)] = Linear::forward_all([gate, up], pass, input)?;
                let hidden = swiglu(pass, &gate, &up, down)?;
                let (y, down_saved) = down.forward_added(pass, &hidden, residual)?;
                let hidden = Some(hidden).filter(|_| pass.backend.keeps_inputs() && down.trains());
                let saved = [gate_saved, up_saved, down_saved];
                Ok((y, MlpSaved::Gated { gate, up, hidden, saved }))
            }
            Self::Plain { fc1, fc2 } => {
                let (before, fc1_kept) = fc1.forward(pass, input)?;
                let (mut y, fc2_kept) = fc2.forward_of_gelu(pass, &before)?;
                pass.backend.add(1.0, residual, &mut y)?;
                Ok((y, MlpSaved::Plain { fc1: before, saved: [fc1_kept, fc2_kept] }))
            }
        }
    }

    /// Adds what [`forward`](Self::forward) computes to `y`, with nothing saved.
    pub(crate) fn forward_onto(&self, pass: Pass<'_, B>, input: &B::Buffer, y: &mut B::Buffer) -> Result<()> {
        match self {
            Self::Plain { fc1, fc2 } if fc1.adapter.is_none() && fc2.adapter.is_none() => {
                let rows = pass.backend.len(input) / fc1.in_features;
                pass.backend.perceptron_onto(input, rows, fc1.of_backend(pass), fc2.of_backend(pass), y)
            }
            Self::Plain { .. } => {
                *y = self.forward(pass, input, y)?.0;
                Ok(())
            }
            Self::Gated { gate, up, down } => {
                let [(gate, _), (up, _)] = Linear::forward_all([gate, up], pass, input)?;
                let hidden = swiglu(pass, &gate, &up, down)?;
                drop((gate, up));
                down.forward_onto(pass, &hidden, y)
            }
        }
    }

    /// The gradient of the normed input, where it is wanted. `input` is read by adapters of the first layer only.
    pub(crate) fn backward(
        &self,
        grads: &mut Grads<'_, B>,
        input: Option<&B::Buffer>,
        saved: &MlpSaved<B>,
        dy: &B::Buffer,
        needs_input: bool,
    ) -> Result<Option<B::Buffer>> {
        let backend = grads.backend;
        let rows = backend.len(dy) / self.linears().last().map_or(1, |last| last.out_features);
        let width = self.linears().first().map_or(0, |first| first.in_features);
        let new_dx = || needs_input.then(|| backend.scratch(rows * width)).transpose();
        match (self, saved) {
            (Self::Gated { gate, up, down }, MlpSaved::Gated { gate: g, up: u, hidden: kept, saved }) => {
                let pass = Pass { backend, params: &[], dropout: None };
                let again = || swiglu(pass, g, u, down);
                let hidden = (kept.as_ref(), again);
                let Some(d_hidden) = self.down_backward(grads, hidden, &saved[2], dy, needs_input)? else {
                    return Ok(None);
                };
                let mut both = Linear::scratch_of(backend, [gate, up], rows)?;
                let [dg, du] = &mut both[..] else {
                    return Err(super::adapter::invalid_argument(backend.name(), "two gradients"));
                };
                backend.swiglu_backward(&d_hidden, g, u, dg, du)?;
                drop(d_hidden);
                let mut dx = new_dx()?;
                let linears = [(gate, &saved[0], &*dg), (up, &saved[1], &*du)];
                Linear::backward_all(linears, grads, input, dx.as_mut().map(|dx| (dx, Write::Set)))?;
                Ok(dx)
            }
            (Self::Plain { fc1, .. }, MlpSaved::Plain { fc1: before, saved }) => {
                let hidden = (None, || gelu(backend, before));
                let Some(d_hidden) = self.down_backward(grads, hidden, &saved[1], dy, needs_input)? else {
                    return Ok(None);
                };
                let mut d_before = backend.scratch(backend.len(before))?;
                backend.gelu_backward(&d_hidden, before, &mut d_before)?;
                let mut dx = new_dx()?;
                fc1.backward(grads, input, &saved[0], &d_before, dx.as_mut().map(|dx| (dx, Write::Set)))?;
                Ok(dx)
            }
            _ => Err(super::adapter::invalid_argument(backend.name(), "saved values of another block")),
        }
    }

    /// The gradient of the last layer's input, where the backward pass goes on below it. `hidden` is that input where it was kept, and what
    /// computes it again.
    fn down_backward(
        &self,
        grads: &mut Grads<'_, B>,
        (kept, again): (Option<&B::Buffer>, impl Fn() -> Result<B::Buffer>),
        saved: &LinearSaved<B>,
        dy: &B::Buffer,
        needs_input: bool,
    ) -> Result<Option<B::Buffer>> {
        let (Self::Gated { down: last, .. } | Self::Plain { fc2: last, .. }) = self;
        let backend = grads.backend;
        let again = (last.trains() && kept.is_none()).then(again).transpose()?;
        let hidden = kept.or(again.as_ref());
        let width = backend.len(dy) / last.out_features * last.in_features;
        let goes_on = needs_input || self.reads_input();
        let mut d_hidden = goes_on.then(|| last.scratch_for_gradient(grads, width)).transpose()?;
        last.backward(grads, hidden, saved, dy, d_hidden.as_mut().map(|d| (d, Write::Set)))?;
        Ok(d_hidden)
    }
}

/// The activations, for a linear that reads them.
fn swiglu<B: Backend>(
    pass: Pass<'_, B>,
    gate: &B::Buffer,
    up: &B::Buffer,
    reader: &Linear<B>,
) -> Result<B::Buffer> {
    let mut y = Linear::scratch_for(pass, pass.backend.len(gate), &[reader])?;
    pass.backend.swiglu(gate, up, &mut y)?;
    Ok(y)
}

fn gelu<B: Backend>(backend: &B, x: &B::Buffer) -> Result<B::Buffer> {
    let mut y = backend.scratch(backend.len(x))?;
    backend.gelu(x, &mut y)?;
    Ok(y)
}
