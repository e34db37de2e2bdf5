use super::attention::{AttentionSaved, Read, SelfAttention, scatter_to_all, select_rows};
use super::linear::Linear;
use super::mlp::{Mlp, MlpSaved};
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
pub(crate) struct BlockSaved<B: Backend> {
    /// The input.
    x: B::Buffer,
    /// Its norm, where adapters read it and the backend keeps it.
    normed: Option<B::Buffer>,
    attention: AttentionSaved<B>,
    /// The residual stream between attention and perceptron, and its norm.
    middle: B::Buffer,
    middle_normed: Option<B::Buffer>,
    mlp: MlpSaved<B>,
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
        read: Read<'_>,
    ) -> Result<(B::Buffer, BlockSaved<B>)> {
        let SelfAttention { q, k, v, .. } = &self.attention;
        let normed = self.norm1.forward_for(pass, &x, &[q, k, v])?;
        let x_read = select_rows(pass, &x, q.in_features, read.rows)?;
        let residual = x_read.as_ref().unwrap_or(&x);
        let (middle, attention) = self.attention.forward(pass, &normed, read, residual)?;
        let keeps = pass.backend.keeps_inputs();
        let normed = Some(normed).filter(|_| keeps && self.attention.reads_input());
        let (y, middle_normed, mlp) = self.second_half(pass, &middle)?;
        let middle_normed = Some(middle_normed).filter(|_| keeps && self.mlp.reads_input());
        Ok((y, BlockSaved { x, normed, attention, middle, middle_normed, mlp }))
    }

    /// As [`forward`](Self::forward), with nothing saved: what attention and perceptron add goes onto the input.
    fn forward_only(&self, pass: Pass<'_, B>, x: B::Buffer, read: Read<'_>) -> Result<B::Buffer> {
        let SelfAttention { q, k, v, .. } = &self.attention;
        let normed = self.norm1.forward_for(pass, &x, &[q, k, v])?;
        let x_read = select_rows(pass, &x, q.in_features, read.rows)?;
        let mut y = x_read.unwrap_or(x);
        self.attention.forward_onto(pass, &normed, read, &mut y)?;
        drop(normed);
        let normed = self.norm2.forward_for(pass, &y, &self.mlp.first_linears())?;
        self.mlp.forward_onto(pass, &normed, &mut y)?;
        Ok(y)
    }

    /// The perceptron with its norm and residual; the norm is given too.
    pub(crate) fn second_half(
        &self,
        pass: Pass<'_, B>,
        middle: &B::Buffer,
    ) -> Result<(B::Buffer, B::Buffer, MlpSaved<B>)> {
        let normed = self.norm2.forward_for(pass, middle, &self.mlp.first_linears())?;
        let (y, saved) = self.mlp.forward(pass, &normed, middle)?;
        Ok((y, normed, saved))
    }

    /// Turns the gradient of the rows that are read into that of the input, where that is wanted, and adds to the gradients of
    /// the adapters on the way down to the lowest one.
    pub(crate) fn backward(
        &self,
        grads: &mut Grads<'_, B>,
        saved: &BlockSaved<B>,
        mut dy: B::Buffer,
        read: Read<'_>,
        needs_input: bool,
    ) -> Result<Option<B::Buffer>> {
        let needs_middle = needs_input || self.norm1.trains() || self.attention.trains();
        self.second_half_backward(grads, saved, &mut dy, needs_middle)?;
        if !needs_middle {
            return Ok(None);
        }
        let reads = self.attention.reads_input();
        let SelfAttention { q, k, v, .. } = &self.attention;
        let normed = || self.norm1.forward_for(grads.pass(), &saved.x, &[q, k, v]);
        let again = (reads && saved.normed.is_none()).then(normed).transpose()?;
        let input = saved.normed.as_ref().or(again.as_ref());
        let needs_normed = needs_input || self.norm1.trains();
        let d_normed = self.attention.backward(grads, input, &saved.attention, &dy, read, needs_normed)?;
        if let Some(d_normed) = d_normed {
            let width = self.attention.q.in_features;
            let backend = grads.backend;
            dy = scatter_to_all(backend, dy, backend.len(&saved.x) / width, width, read.rows)?;
            let target = needs_input.then_some((&mut dy, Write::Add));
            self.norm1.backward(grads, &d_normed, &saved.x, target)?;
        }
        Ok(needs_input.then_some(dy))
    }
}

impl<B: Backend> Block<B> {
    /// Adds to `dy`, the gradient of the block's output, that of [`second_half`](Self::second_half)'s input, where that is
    /// wanted.
    fn second_half_backward(
        &self,
        grads: &mut Grads<'_, B>,
        saved: &BlockSaved<B>,
        dy: &mut B::Buffer,
        needs_middle: bool,
    ) -> Result<()> {
        let reads = self.mlp.reads_input();
        let normed = || self.norm2.forward_for(grads.pass(), &saved.middle, &self.mlp.first_linears());
        let again = (reads && saved.middle_normed.is_none()).then(normed).transpose()?;
        let input = saved.middle_normed.as_ref().or(again.as_ref());
        let needs_normed = needs_middle || self.norm2.trains();
        let d_normed = self.mlp.backward(grads, input, &saved.mlp, dy, needs_normed)?;
        let Some(d_normed) = d_normed else { return Ok(()) };
        let target = needs_middle.then_some((dy, Write::Add));
        self.norm2.backward(grads, &d_normed, &saved.middle, target)
    }
}

/// The blocks of a tower, one above the other.
pub(crate) struct Stack<B: Backend> {
    pub(crate) blocks: Vec<Block<B>>,
}

/// What is saved of each block for the backward pass.
pub(crate) enum Saved<B: Backend> {
    /// Nothing: no gradient goes down to here.
    Nothing,
    /// The input alone: the block runs again.
    Input(B::Buffer),
    /// All that the backward pass reads.
    Whole(BlockSaved<B>),
}

/// How much a forward pass over a stack keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Save {
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
        let is_last = index + 1 == self.blocks.len();
        Read { rows: read.rows.filter(|_| is_last), ..read }
    }

    /// The rows of the last block's output that are read.
    pub(crate) fn forward(
        &self,
        pass: Pass<'_, B>,
        mut x: B::Buffer,
        read: Read<'_>,
        save: Save,
    ) -> Result<(B::Buffer, Vec<Saved<B>>)> {
        let (lowest, checkpointing) = match save {
            Save::Nothing => (self.blocks.len(), false),
            Save::ForBackward { below, checkpointing } => (self.lowest(below), checkpointing),
        };
        let mut all = Vec::with_capacity(self.blocks.len());
        for (index, block) in self.blocks.iter().enumerate() {
            let read = self.read_of(index, read);
            if index < lowest {
                x = block.forward_only(pass, x, read)?;
                all.push(Saved::Nothing);
                continue;
            }
            let (y, saved) = block.forward(pass, x, read)?;
            all.push(if checkpointing { Saved::Input(saved.x) } else { Saved::Whole(saved) });
            x = y;
        }
        Ok((x, all))
    }

    /// The gradient of the stack's input, where `below` asks for it; `dy` is that of the rows that are read.
    pub(crate) fn backward(
        &self,
        grads: &mut Grads<'_, B>,
        saved: Vec<Saved<B>>,
        mut dy: B::Buffer,
        read: Read<'_>,
        below: bool,
    ) -> Result<Option<B::Buffer>> {
        let lowest = self.lowest(below);
        for (index, (block, saved)) in self.blocks.iter().zip(saved).enumerate().skip(lowest).rev() {
            let read = self.read_of(index, read);
            let saved = match saved {
                Saved::Whole(saved) => saved,
                Saved::Input(x) => block.forward(grads.pass(), x, read)?.1,
                Saved::Nothing => return Ok(None),
            };
            match block.backward(grads, &saved, dy, read, below || index > lowest)? {
                Some(dx) => dy = dx,
                None => return Ok(None),
            }
        }
        Ok(below.then_some(dy))
    }
}
