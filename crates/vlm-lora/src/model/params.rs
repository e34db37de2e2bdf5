use crate::Result;
use crate::backend::Backend;

/// A trainable tensor of the adapter with its gradient, both in f32 (f64 on an f64 backend).
pub struct Param<B: Backend> {
    /// PEFT's name in `adapter_model.safetensors`.
    pub name: String,
    /// Shape as in the file: `lora_A (r, in)`, `lora_B (out, r)`, magnitudes and biases `(out)`.
    pub shape: Vec<usize>,
    /// The values, row-major.
    pub value: B::Buffer,
    /// The gradient that [`loss_and_gradients`](super::Model::loss_and_gradients) adds to.
    pub grad: B::Buffer,
}

impl<B: Backend> Param<B> {
    /// How many values it holds.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The bias of a frozen layer, which the adapter's `bias` setting may let train.
pub(crate) struct Bias<B: Backend> {
    /// The tensor's full name in the checkpoint.
    pub(crate) name: String,
    /// The checkpoint's values.
    pub(crate) frozen: B::Buffer,
    /// Index among the parameters, where it is trained.
    pub(crate) param: Option<usize>,
}

impl<B: Backend> Bias<B> {
    /// The present values `(out)`.
    pub(crate) fn values<'a>(&'a self, pass: Pass<'a, B>) -> &'a B::Buffer {
        self.param.map_or(&self.frozen, |index| &pass.params[index].value)
    }

    /// Adds the sum of `dy (rows, out)` over its rows to the gradient, where there is one.
    pub(crate) fn backward(&self, grads: &mut Grads<'_, B>, dy: &B::Buffer) -> Result<()> {
        match self.param {
            Some(index) => grads.backend.column_dot(dy, None, &mut grads.params[index].grad),
            None => Ok(()),
        }
    }
}

/// What a forward pass reads beside activations and frozen weights.
pub(crate) struct Pass<'a, B: Backend> {
    pub(crate) backend: &'a B,
    pub(crate) params: &'a [Param<B>],
    /// Key of the dropout masks; `None` outside training.
    pub(crate) dropout: Option<u64>,
}

impl<B: Backend> Clone for Pass<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Pass<'_, B> {}

impl<B: Backend> Pass<'_, B> {
    /// A copy of `len` elements from `from` on.
    pub(crate) fn slice(&self, x: &B::Buffer, from: usize, len: usize) -> Result<B::Buffer> {
        let mut copy = self.backend.scratch(len)?;
        self.backend.copy(x, from, len, &mut copy, 0, crate::backend::Write::Set)?;
        Ok(copy)
    }
}

/// What a backward pass reads and adds to: the gradients are in `params`.
pub(crate) struct Grads<'a, B: Backend> {
    pub(crate) backend: &'a B,
    pub(crate) params: &'a mut [Param<B>],
    /// Key of the dropout masks, as in the forward pass.
    pub(crate) dropout: Option<u64>,
}

impl<B: Backend> Grads<'_, B> {
    /// A forward pass over the same parameters with the same masks.
    pub(crate) fn pass(&self) -> Pass<'_, B> {
        Pass { backend: self.backend, params: self.params, dropout: self.dropout }
    }
}
