use super::attention::{AttentionKept, Layout, Read, SelfAttention, of_all, only_read};
use super::linear::Linear;
use super::mlp::{Mlp, MlpKept};
use super::norm::Norm;
use super::params::{Bias, Grads, Pass};
use crate::Result;
use crate::backend::{Backend, Write};

/// A pre-norm transformer block: `x += attention(norm1(x))`, `x += mlp(norm2(x))`.
pub(crate) struct Block<B: Backend> {
    pub(crate) norm1: Norm<B>,
    pub(crate) attention: SelfAttention<B>,
    pub(crate) norm2: Norm<B>,
    pub(crate) mlp: Mlp<B>,
}

/// What the backward pass of a block needs.
pub(crate) struct BlockKept<B: Backend> {
    /// The input.
    x: B::Buffer,
    attention: AttentionKept<B>,
    /// The residual stream between attention and perceptron.
    middle: B::Buffer,
    mlp: MlpKept<B>,
}

impl<B: Backend> Block<B> {
    /// The biases of its norms and linears.
    pub(crate) fn biases_mut(&mut self) -> impl Iterator<Item = &mut Bias<B>> {
        let Self { norm1, attention: SelfAttention { q, k, v, out, .. }, norm2, mlp } = self;
        let norms = [norm1, norm2].into_iter().filter_map(|norm| norm.bias.as_mut());
        let linears = [q, k, v, out].into_iter().chain(mlp.linears_mut());
        norms.chain(linears.filter_map(|linear| linear.bias.as_mut()))
    }

    /// Its linears in the order of computation.
    pub(crate) fn linears(&self) -> Vec<&Linear<B>> {
        let SelfAttention { q, k, v, out, .. } = &self.attention;
        let mut linears = vec![q, k, v, out];
        linears.extend(self.mlp.linears());
        linears
    }

    /// As [`linears`](Self::linears).
    pub(crate) fn linears_mut(&mut self) -> Vec<&mut Linear<B>> {
        let SelfAttention { q, k, v, out, .. } = &mut self.attention;
        let mut linears = vec![q, k, v, out];
        linears.extend(self.mlp.linears_mut());
        linears
    }

    pub(crate) fn trains(&self) -> bool {
        self.norm1.trains() || self.attention.trains() || self.norm2.trains() || self.mlp.trains()
    }

    /// The rows of the block's output that are read, with what [`backward`](Self::backward) needs.
    pub(crate) fn forward(
        &self,
        pass: Pass<'_, B>,
        x: B::Buffer,
        layout: &Layout,
        read: Read<'_>,
    ) -> Result<(B::Buffer, BlockKept<B>)> {
        let normed = self.norm1.forward(pass, &x)?;
        let (mut middle, attention) = self.attention.forward(pass, &normed, layout, read)?;
        drop(normed);
        let x_read = only_read(pass, &x, self.attention.q.in_features, read)?;
        pass.backend.add(1.0, x_read.as_ref().unwrap_or(&x), &mut middle)?;
        let (y, mlp) = self.second_half(pass, &middle)?;
        Ok((y, BlockKept { x, attention, middle, mlp }))
    }

    /// The perceptron with its norm and residual.
    pub(crate) fn second_half(
        &self,
        pass: Pass<'_, B>,
        middle: &B::Buffer,
    ) -> Result<(B::Buffer, MlpKept<B>)> {
        let normed = self.norm2.forward(pass, middle)?;
        let (mut y, kept) = self.mlp.forward(pass, &normed)?;
        pass.backend.add(1.0, middle, &mut y)?;
        Ok((y, kept))
    }

    /// Turns the gradient of the rows that are read into that of the input, where that is wanted, and adds to the gradients of
    /// the adapters on the way down to the lowest one.
    pub(crate) fn backward(
        &self,
        grads: &mut Grads<'_, B>,
        kept: &BlockKept<B>,
        mut dy: B::Buffer,
        (layout, read): (&Layout, Read<'_>),
        needs_input: bool,
    ) -> Result<Option<B::Buffer>> {
        let needs_middle = needs_input || self.norm1.trains() || self.attention.trains();
        let reads = self.mlp.reads_input();
        let input = reads.then(|| self.norm2.forward(grads.pass(), &kept.middle)).transpose()?;
        let needs_normed = needs_middle || self.norm2.trains();
        if let Some(d_normed) = self.mlp.backward(grads, input.as_ref(), &kept.mlp, &dy, needs_normed)? {
            let target = needs_middle.then_some((&mut dy, Write::Add));
            self.norm2.backward(grads, &d_normed, &kept.middle, target)?;
        }
        if !needs_middle {
            return Ok(None);
        }
        let reads = self.attention.reads_input();
        let input = reads.then(|| self.norm1.forward(grads.pass(), &kept.x)).transpose()?;
        let needs_normed = needs_input || self.norm1.trains();
        let read_layout = (layout, read);
        let d_normed = self.attention.backward(
            grads,
            input.as_ref(),
            &kept.attention,
            &dy,
            read_layout,
            needs_normed,
        )?;
        if let Some(d_normed) = d_normed {
            let width = self.attention.q.in_features;
            let backend = grads.backend;
            dy = of_all(backend, dy, (backend.len(&kept.x) / width, width), read)?;
            let target = needs_input.then_some((&mut dy, Write::Add));
            self.norm1.backward(grads, &d_normed, &kept.x, target)?;
        }
        Ok(needs_input.then_some(dy))
    }
}

/// The blocks of a tower, one above the other.
pub(crate) struct Stack<B: Backend> {
    pub(crate) blocks: Vec<Block<B>>,
}

/// What is kept of each block for the backward pass.
pub(crate) enum Kept<B: Backend> {
    /// Nothing: no gradient goes down to here.
    Nothing,
    /// The input alone: the block runs again.
    Input(B::Buffer),
    /// All that the backward pass reads.
    Whole(BlockKept<B>),
}

/// How much a forward pass over a stack keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing: there is no backward pass.
    Nothing,
    /// What the backward pass needs; `below` says whether it goes on below the stack.
    ForBackward { below: bool, checkpointing: bool },
}

impl<B: Backend> Stack<B> {
    pub(crate) fn trains(&self) -> bool {
        self.blocks.iter().any(Block::trains)
    }

    /// The lowest block that the backward pass visits.
    fn lowest(&self, below: bool) -> usize {
        if below { 0 } else { self.blocks.iter().position(Block::trains).unwrap_or(self.blocks.len()) }
    }

    /// The rows of block `index` that are read, where `read` are those of the last one.
    fn read_of<'a>(&self, index: usize, read: Read<'a>) -> Read<'a> {
        read.filter(|_| index + 1 == self.blocks.len())
    }

    /// The rows of the last block's output that are read.
    pub(crate) fn forward(
        &self,
        pass: Pass<'_, B>,
        mut x: B::Buffer,
        (layout, read): (&Layout, Read<'_>),
        keep: Keep,
    ) -> Result<(B::Buffer, Vec<Kept<B>>)> {
        let (lowest, checkpointing) = match keep {
            Keep::Nothing => (self.blocks.len(), false),
            Keep::ForBackward { below, checkpointing } => (self.lowest(below), checkpointing),
        };
        let mut all = Vec::with_capacity(self.blocks.len());
        for (index, block) in self.blocks.iter().enumerate() {
            let (y, kept) = block.forward(pass, x, layout, self.read_of(index, read))?;
            all.push(match () {
                () if index < lowest => Kept::Nothing,
                () if checkpointing => Kept::Input(kept.x),
                () => Kept::Whole(kept),
            });
            x = y;
        }
        Ok((x, all))
    }

    /// The gradient of the stack's input, where `below` asks for it; `dy` is that of the rows that are read.
    pub(crate) fn backward(
        &self,
        grads: &mut Grads<'_, B>,
        kept: Vec<Kept<B>>,
        mut dy: B::Buffer,
        (layout, read): (&Layout, Read<'_>),
        below: bool,
    ) -> Result<Option<B::Buffer>> {
        let lowest = self.lowest(below);
        for (index, (block, kept)) in self.blocks.iter().zip(kept).enumerate().skip(lowest).rev() {
            let read = self.read_of(index, read);
            let kept = match kept {
                Kept::Whole(kept) => kept,
                Kept::Input(x) => block.forward(grads.pass(), x, layout, read)?.1,
                Kept::Nothing => return Ok(None),
            };
            match block.backward(grads, &kept, dy, (layout, read), below || index > lowest)? {
                Some(dx) => dy = dx,
                None => return Ok(None),
            }
        }
        Ok(below.then_some(dy))
    }
}
