//! What the backend asks of a device: memory, copies, launches, products, all in the order of the calls.

use process_group::ProcessGroup;

use crate::Result;

/// The element in which frozen matrices are kept and products with them are taken; sums are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CudaDtype {
    /// f32 throughout.
    Float32,
    /// f16, scaled by powers of two so that neither activations nor gradients overflow or vanish.
    Float16,
    /// bf16; from compute capability 8.0 on.
    Bfloat16,
}

impl CudaDtype {
    /// Bytes of an element.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Float16 | Self::Bfloat16 => 2,
        }
    }

    /// What the kernels call it.
    pub(super) fn precision(self) -> u8 {
        match self {
            Self::Float32 => 0,
            Self::Float16 => 1,
            Self::Bfloat16 => 2,
        }
    }

    /// Its usual short name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Float32 => "f32",
            Self::Float16 => "f16",
            Self::Bfloat16 => "bf16",
        }
    }
}

/// An address in the memory of a device; 0 is none.
pub type Address = u64;

/// An argument of a kernel, of the type that the kernel declares.
#[derive(Debug, Clone, Copy)]
pub enum Argument {
    /// A pointer or a `u64`.
    Word(u64),
    /// `u32`.
    U32(u32),
    /// `int`.
    I32(i32),
    /// `float`.
    F32(f32),
    /// `double`.
    F64(f64),
}

impl Argument {
    /// The bits in the low bytes of a word, where a little-endian reader of the declared type finds them.
    pub(super) fn bits(self) -> u64 {
        match self {
            Self::Word(value) => value,
            Self::U32(value) => value.into(),
            Self::I32(value) => value.cast_unsigned().into(),
            Self::F32(value) => value.to_bits().into(),
            Self::F64(value) => value.to_bits(),
        }
    }
}

macro_rules! from {
    ($($type:ty => $variant:ident),*) => {
        $(impl From<$type> for Argument {
            fn from(value: $type) -> Self {
                Self::$variant(value)
            }
        })*
    };
}
from!(u64 => Word, u32 => U32, i32 => I32, f32 => F32, f64 => F64);

/// One launch of a kernel.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The name in the source.
    pub kernel: &'a str,
    /// Blocks.
    pub grid: [u32; 2],
    /// Threads of a block: whole warps.
    pub threads: u32,
    /// In the order of declaration.
    pub arguments: &'a [Argument],
}

/// The type of the operands of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operands {
    /// f32 and nothing less.
    Exact,
    /// f32, multiplied in TF32 where the device can.
    Float32,
    /// f16.
    Float16,
    /// bf16.
    Bfloat16,
}

/// The factor of a product.
#[derive(Debug, Clone, Copy)]
pub enum Factor {
    /// A number.
    Value(f32),
    /// An f32 on the device.
    At(Address),
}

/// The type of the results of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Results {
    /// f32.
    Float32,
    /// That of the operands, in which a bias is too.
    Operands,
}

/// `C (m, n) (+)= factor · op(A) · op(B) (+ bias)`, all row-major.
#[derive(Debug, Clone, Copy)]
pub struct Matmul {
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// The summed dimension.
    pub k: usize,
    /// Whether A is stored `(k, m)`.
    pub transpose_a: bool,
    /// Whether B is stored `(n, k)`.
    pub transpose_b: bool,
    /// A.
    pub a: Address,
    /// B.
    pub b: Address,
    /// C.
    pub c: Address,
    /// Elements from one row to the next of A, B and C as they are stored.
    pub strides: [usize; 3],
    /// The type of C.
    pub results: Results,
    /// The type of A and B.
    pub operands: Operands,
    /// The factor.
    pub factor: Factor,
    /// Whether the result is added to C.
    pub accumulate: bool,
    /// What the result is added to instead, a matrix like C.
    pub addend: Option<Address>,
    /// A number for each column of C, which is added to all of its rows.
    pub bias: Option<Address>,
}

impl Matmul {
    /// With B there, and so many elements from one of its rows to the next.
    pub(super) fn with_b(self, b: Address, stride: usize) -> Self {
        let [of_a, _, of_c] = self.strides;
        Self { b, strides: [of_a, stride, of_c], ..self }
    }
}

/// Sequences that all have one length, each of which looks at itself, and how their operands lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EvenShape {
    /// How many sequences.
    pub sequences: usize,
    /// Rows of each, of queries as of keys.
    pub length: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values, a divisor of `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Whether a row sees no later one.
    pub causal: bool,
    /// Elements from one row of queries, keys and values to the next: they may be columns of one matrix.
    pub apart: [usize; 3],
}

/// Attention over such sequences, with operands in bf16.
#[derive(Debug, Clone, Copy)]
pub struct EvenAttention {
    /// Of what.
    pub shape: EvenShape,
    /// The first query.
    pub q: Address,
    /// The first key.
    pub k: Address,
    /// The first value.
    pub v: Address,
    /// Where the results go, rows of `heads · head_dim` bf16.
    pub o: Address,
    /// Where the log-sum-exps of the scores go, rows of `heads` f32.
    pub lse: Option<Address>,
    /// What the scores are multiplied by.
    pub scale: f32,
}

/// A device with one queue, in which everything runs in the order of the calls, and beside it copies that go on while the
/// device works at the queue. Addresses that are passed in must come from
/// [`allocate`](Self::allocate) and hold as many bytes as are asked for: the backend sees to that.
pub trait Device: Send + Sync + 'static {
    /// A place in the queue, or the end of a copy beside it.
    type Mark: Send + Sync;

    /// The device in words.
    fn name(&self) -> String;
    /// Uninitialised memory, aligned to 256 bytes.
    fn allocate(&self, bytes: usize) -> Result<Address>;
    /// Gives memory back.
    fn free(&self, address: Address);
    /// Copies to the device; `bytes` may be changed as soon as the call returns.
    fn write(&self, to: Address, bytes: &[u8]) -> Result<()>;
    /// Waits for all that is queued and copies from the device.
    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<()>;
    /// Copies within the device.
    fn copy(&self, from: Address, to: Address, bytes: usize) -> Result<()>;
    /// Sets bytes to zero.
    fn clear(&self, at: Address, bytes: usize) -> Result<()>;
    /// The present end of the queue.
    fn mark(&self) -> Result<Self::Mark>;
    /// Copies to the device beside the queue, once it has come to `after`; `bytes` may be changed as soon as the call returns.
    /// What reads them must be queued behind a [`wait_for`](Self::wait_for) of the mark that is returned.
    fn write_async(&self, to: Address, bytes: &[u8], after: &Self::Mark) -> Result<Self::Mark>;
    /// What is queued from now on begins once `mark` has come.
    fn wait_for(&self, mark: &Self::Mark) -> Result<()>;
    /// Queues a kernel.
    fn launch(&self, launch: Launch<'_>) -> Result<()>;
    /// Queues a product; none of its dimensions is 0.
    fn matmul(&self, product: Matmul) -> Result<()>;
    /// Queues a product whose results C, of the type of the operands, become `gelu` of them, and says whether it did: there may be no
    /// way. Nothing is added to C.
    fn matmul_to_gelu(&self, product: Matmul) -> Result<bool>;
    /// Queues attention by a way of the device's own, and says whether it did: there may be none. What such a way gives is to be held
    /// against the kernels before it is used.
    fn attention(&self, attention: &EvenAttention) -> Result<bool> {
        let _ = attention;
        Ok(false)
    }
    /// From now on there is no such way, for this reason: it gave something else than the kernels.
    fn leave_attention(&self, why: String) {
        let _ = why;
    }
    /// Joins the devices of the other processes of a group, each of which calls this, unless that was done; in all of them the same reason
    /// where they cannot be joined.
    fn join(&self, group: &dyn ProcessGroup) -> Result<std::result::Result<(), String>> {
        let _ = group;
        Ok(Err(format!("{} cannot be joined with other devices", self.name())))
    }
    /// Fills a block of as many parts as there are processes, each of so many f32, in the order of the ranks; this process's is there. All
    /// [have joined](Self::join), and ask for the same number.
    fn all_gather(&self, (parts, count): (Address, usize), group: &dyn ProcessGroup) -> Result<()> {
        let _ = (parts, count, group);
        Err(super::check::fail("the devices were not joined"))
    }
}
