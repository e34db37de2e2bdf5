//! Attention as a graph of operations, in the form in which cuDNN knows it as one kernel: scores, scale, mask, softmax by its parts,
//! log-sum-exp, and the product with the values. Everything between is a tensor that is nowhere.
//!
//! The log-sum-exps are part of the form even where nobody reads them. The keys stand in it transposed, by their strides.

use std::ffi::c_int;
use std::sync::Arc;

use super::calls::{Attempt, Attribute, Descriptor, Functions, Handle, Raw};
use crate::backend::cuda::device::EvenShape;

/// Types of attributes.
pub(super) const HANDLE: c_int = 0;
const DATA_TYPE: c_int = 1;
const BOOLEAN: c_int = 2;
pub(super) const INT64: c_int = 3;
const MODE: c_int = 14;
pub(super) const DESCRIPTOR: c_int = 15;
const REDUCTION: c_int = 18;

/// Kinds of descriptors.
const POINTWISE: c_int = 0;
const OPERATION_POINTWISE: c_int = 13;
const GRAPH: c_int = 15;
const TENSOR: c_int = 17;
const MATMUL: c_int = 18;
const OPERATION_MATMUL: c_int = 19;
const REDUCE: c_int = 21;
const OPERATION_REDUCE: c_int = 22;

/// Elements of tensors, and what operations compute in.
#[derive(Debug, Clone, Copy)]
enum Element {
    Float32 = 0,
    Int32 = 4,
    Bfloat16 = 9,
    Boolean = 11,
}

/// What is computed of each element.
#[derive(Debug, Clone, Copy)]
enum Mode {
    Add = 0,
    Multiply = 1,
    Divide = 6,
    Subtract = 9,
    Exponential = 13,
    Logarithm = 15,
    AtLeast = 303,
    Index = 501,
    Select = 601,
}

/// What is computed of a row.
#[derive(Debug, Clone, Copy)]
enum Reduction {
    Sum = 0,
    Largest = 3,
}

/// Tensors that have an address when the graph runs, by the number that names each.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named {
    Q = 1,
    K,
    V,
    O,
    Lse,
    Scale,
    /// What stands for scores that are masked.
    Masked,
}

/// The number of the first tensor that is nowhere.
const VIRTUAL: i64 = 100;
/// What addresses are multiples of, in bytes.
pub(super) const ALIGNMENT: u64 = 16;

/// Where a tensor is.
#[derive(Debug, Clone, Copy)]
enum Place {
    Device(Named),
    /// A number that is read when the graph is queued.
    Host(Named),
    Nowhere,
}

/// Dimensions of a tensor, and how many elements lie between two along each.
type Layout = ([i64; 4], [i64; 4]);

/// Without gaps.
fn packed(dims: [i64; 4]) -> Layout {
    let [_, b, c, d] = dims;
    (dims, [b * c * d, c * d, d, 1])
}

const TENSOR_ALIGNMENT: Attribute<i64> = Attribute::new(900, INT64);
const TENSOR_ELEMENT: Attribute<c_int> = Attribute::new(901, DATA_TYPE);
const TENSOR_DIMS: Attribute<i64> = Attribute::new(902, INT64);
const TENSOR_APART: Attribute<i64> = Attribute::new(903, INT64);
const TENSOR_NAME: Attribute<i64> = Attribute::new(906, INT64);
const TENSOR_IS_NOWHERE: Attribute<bool> = Attribute::new(907, BOOLEAN);
const TENSOR_IS_NUMBER: Attribute<bool> = Attribute::new(908, BOOLEAN);

/// A graph, with what it is made of.
pub(super) struct Graph {
    descriptor: Descriptor,
    _parts: Vec<Descriptor>,
}

impl Graph {
    /// Attention of this shape, with log-sum-exps in rows of the heads where they are wanted. Without a handle it is of no device.
    pub(super) fn attention(
        functions: &Arc<Functions>,
        handle: Option<Handle>,
        shape: &EvenShape,
        has_lse: bool,
    ) -> Attempt<Self> {
        let functions = Arc::clone(functions);
        let mut builder = Builder { functions, parts: Vec::new(), operations: Vec::new(), tensors: 0 };
        builder.attend(shape, has_lse)?;
        builder.finish(handle)
    }

    pub(super) fn raw(&self) -> Raw {
        self.descriptor.raw()
    }
}

struct Builder {
    functions: Arc<Functions>,
    parts: Vec<Descriptor>,
    operations: Vec<Raw>,
    tensors: i64,
}

impl Builder {
    fn attend(&mut self, shape: &EvenShape, has_lse: bool) -> Attempt<()> {
        let EvenShape { sequences, length, heads, kv_heads, head_dim, causal, apart } = *shape;
        let [batch, s, h, kv, d] = [sequences, length, heads, kv_heads, head_dim].map(|size| size as i64);
        let [q_apart, k_apart, v_apart] = apart.map(|elements| elements as i64);
        let (scores, row) = (packed([batch, h, s, s]), packed([batch, h, s, 1]));
        let (rows, of_heads) = (h * d, |apart| [s * apart, d, apart, 1]);
        let q =
            self.tensor(Element::Bfloat16, ([batch, h, s, d], of_heads(q_apart)), Place::Device(Named::Q))?;
        let transposed = ([batch, kv, d, s], [s * k_apart, d, 1, k_apart]);
        let k = self.tensor(Element::Bfloat16, transposed, Place::Device(Named::K))?;
        let v =
            self.tensor(Element::Bfloat16, ([batch, kv, s, d], of_heads(v_apart)), Place::Device(Named::V))?;
        let o =
            self.tensor(Element::Bfloat16, ([batch, h, s, d], of_heads(rows)), Place::Device(Named::O))?;
        let products = self.tensor(Element::Float32, scores, Place::Nowhere)?;
        self.matmul(q, k, products)?;
        let scale = self.number(Named::Scale)?;
        let mut scaled = self.pointwise(&Pointwise::with(Mode::Multiply, products, scale), scores)?;
        if causal {
            scaled = self.mask(scaled, scores)?;
        }
        let by_heads = (row.0, [s * h, 1, h, 1]);
        let (of_lse, place) =
            if has_lse { (by_heads, Place::Device(Named::Lse)) } else { (row, Place::Nowhere) };
        let lse = self.tensor(Element::Float32, of_lse, place)?;
        let probabilities = self.softmax(scaled, scores, row, lse)?;
        self.matmul(probabilities, v, o)
    }

    /// The probabilities, in bf16, and the log-sum-exp of the scores.
    fn softmax(&mut self, scores: Raw, layout: Layout, row: Layout, lse: Raw) -> Attempt<Raw> {
        let largest = self.reduce(Reduction::Largest, scores, row)?;
        let below = self.pointwise(&Pointwise::with(Mode::Subtract, scores, largest), layout)?;
        let powers = self.pointwise(&Pointwise::of(Mode::Exponential, below), layout)?;
        let sum = self.reduce(Reduction::Sum, powers, row)?;
        let logarithm = self.pointwise(&Pointwise::of(Mode::Logarithm, sum), row)?;
        self.pointwise_to(&Pointwise::with(Mode::Add, largest, logarithm), lse)?;
        let probabilities = self.tensor(Element::Bfloat16, layout, Place::Nowhere)?;
        self.pointwise_to(&Pointwise::with(Mode::Divide, powers, sum), probabilities)?;
        Ok(probabilities)
    }

    /// Scores of keys that come later than their query are taken away.
    fn mask(&mut self, scores: Raw, layout: Layout) -> Attempt<Raw> {
        let mut index = |axis| {
            let numbers = self.tensor(Element::Int32, layout, Place::Nowhere)?;
            let count = Pointwise { axis: Some(axis), ..Pointwise::of(Mode::Index, scores) };
            self.pointwise_to(&count, numbers).map(|()| numbers)
        };
        let (query, key) = (index(2)?, index(3)?);
        let is_seen = self.tensor(Element::Boolean, layout, Place::Nowhere)?;
        let at_least = Pointwise { inside: Element::Boolean, ..Pointwise::with(Mode::AtLeast, query, key) };
        self.pointwise_to(&at_least, is_seen)?;
        let masked = self.number(Named::Masked)?;
        let select = Pointwise { choice: Some(is_seen), ..Pointwise::with(Mode::Select, scores, masked) };
        self.pointwise(&select, layout)
    }

    fn finish(self, handle: Option<Handle>) -> Attempt<Graph> {
        const OPERATIONS: Attribute<Raw> = Attribute::new(801, DESCRIPTOR);
        const OF: Attribute<Handle> = Attribute::new(800, HANDLE);
        let descriptor = Descriptor::new(&self.functions, GRAPH)?;
        descriptor.set(OPERATIONS, &self.operations)?;
        if let Some(handle) = handle {
            descriptor.set(OF, &[handle])?;
        }
        descriptor.finalize("the graph")?;
        Ok(Graph { descriptor, _parts: self.parts })
    }

    /// Finalizes a part and keeps it.
    fn keep(&mut self, part: Descriptor, what: &str) -> Attempt<Raw> {
        part.finalize(what)?;
        let raw = part.raw();
        self.parts.push(part);
        Ok(raw)
    }

    /// Finalizes an operation and appends it.
    fn append(&mut self, operation: Descriptor, what: &str) -> Attempt<()> {
        let raw = self.keep(operation, what)?;
        self.operations.push(raw);
        Ok(())
    }

    fn tensor(&mut self, element: Element, (dims, apart): Layout, place: Place) -> Attempt<Raw> {
        let tensor = Descriptor::new(&self.functions, TENSOR)?;
        let name = match place {
            Place::Device(named) | Place::Host(named) => named as i64,
            Place::Nowhere => {
                self.tensors += 1;
                VIRTUAL + self.tensors
            }
        };
        tensor.set(TENSOR_ELEMENT, &[element as c_int])?;
        tensor.set(TENSOR_DIMS, &dims)?;
        tensor.set(TENSOR_APART, &apart)?;
        tensor.set(TENSOR_NAME, &[name])?;
        tensor.set(TENSOR_ALIGNMENT, &[ALIGNMENT as i64])?;
        tensor.set(TENSOR_IS_NOWHERE, &[matches!(place, Place::Nowhere)])?;
        tensor.set(TENSOR_IS_NUMBER, &[matches!(place, Place::Host(_))])?;
        self.keep(tensor, "a tensor")
    }

    fn number(&mut self, named: Named) -> Attempt<Raw> {
        self.tensor(Element::Float32, packed([1; 4]), Place::Host(named))
    }

    /// `c = a · b`.
    fn matmul(&mut self, a: Raw, b: Raw, c: Raw) -> Attempt<()> {
        const INSIDE: Attribute<c_int> = Attribute::new(1500, DATA_TYPE);
        const A: Attribute<Raw> = Attribute::new(1520, DESCRIPTOR);
        const B: Attribute<Raw> = Attribute::new(1521, DESCRIPTOR);
        const C: Attribute<Raw> = Attribute::new(1522, DESCRIPTOR);
        const HOW: Attribute<Raw> = Attribute::new(1523, DESCRIPTOR);
        let how = Descriptor::new(&self.functions, MATMUL)?;
        how.set(INSIDE, &[Element::Float32 as c_int])?;
        let how = self.keep(how, "how a product is taken")?;
        let operation = Descriptor::new(&self.functions, OPERATION_MATMUL)?;
        operation.set(HOW, &[how])?;
        operation.set(A, &[a])?;
        operation.set(B, &[b])?;
        operation.set(C, &[c])?;
        self.append(operation, "a product")
    }

    /// The reduction of each row.
    fn reduce(&mut self, reduction: Reduction, x: Raw, row: Layout) -> Attempt<Raw> {
        const OPERATOR: Attribute<c_int> = Attribute::new(1600, REDUCTION);
        const INSIDE: Attribute<c_int> = Attribute::new(1601, DATA_TYPE);
        const X: Attribute<Raw> = Attribute::new(1610, DESCRIPTOR);
        const Y: Attribute<Raw> = Attribute::new(1611, DESCRIPTOR);
        const HOW: Attribute<Raw> = Attribute::new(1612, DESCRIPTOR);
        let how = Descriptor::new(&self.functions, REDUCE)?;
        how.set(OPERATOR, &[reduction as c_int])?;
        how.set(INSIDE, &[Element::Float32 as c_int])?;
        let how = self.keep(how, "how rows are reduced")?;
        let y = self.tensor(Element::Float32, row, Place::Nowhere)?;
        let operation = Descriptor::new(&self.functions, OPERATION_REDUCE)?;
        operation.set(HOW, &[how])?;
        operation.set(X, &[x])?;
        operation.set(Y, &[y])?;
        self.append(operation, "a reduction")?;
        Ok(y)
    }

    /// The result, which is nowhere.
    fn pointwise(&mut self, pointwise: &Pointwise, layout: Layout) -> Attempt<Raw> {
        let y = self.tensor(Element::Float32, layout, Place::Nowhere)?;
        self.pointwise_to(pointwise, y)?;
        Ok(y)
    }

    fn pointwise_to(&mut self, pointwise: &Pointwise, y: Raw) -> Attempt<()> {
        const MODES: Attribute<c_int> = Attribute::new(0, MODE);
        const INSIDE: Attribute<c_int> = Attribute::new(1, DATA_TYPE);
        const AXIS: Attribute<i64> = Attribute::new(9, INT64);
        const HOW: Attribute<Raw> = Attribute::new(750, DESCRIPTOR);
        const X: Attribute<Raw> = Attribute::new(751, DESCRIPTOR);
        const SECOND: Attribute<Raw> = Attribute::new(752, DESCRIPTOR);
        const Y: Attribute<Raw> = Attribute::new(753, DESCRIPTOR);
        const CHOICE: Attribute<Raw> = Attribute::new(758, DESCRIPTOR);
        let Pointwise { mode, inside, x, second, choice, axis } = *pointwise;
        let how = Descriptor::new(&self.functions, POINTWISE)?;
        how.set(MODES, &[mode as c_int])?;
        how.set(INSIDE, &[inside as c_int])?;
        if let Some(axis) = axis {
            how.set(AXIS, &[axis])?;
        }
        let how = self.keep(how, "how elements are computed")?;
        let operation = Descriptor::new(&self.functions, OPERATION_POINTWISE)?;
        operation.set(HOW, &[how])?;
        operation.set(X, &[x])?;
        operation.set(Y, &[y])?;
        if let Some(second) = second {
            operation.set(SECOND, &[second])?;
        }
        if let Some(choice) = choice {
            operation.set(CHOICE, &[choice])?;
        }
        self.append(operation, "an operation")
    }
}

/// A pointwise operation.
#[derive(Clone, Copy)]
struct Pointwise {
    mode: Mode,
    inside: Element,
    x: Raw,
    second: Option<Raw>,
    /// What decides between both.
    choice: Option<Raw>,
    /// The dimension along which is counted.
    axis: Option<i64>,
}

impl Pointwise {
    fn of(mode: Mode, x: Raw) -> Self {
        Self { mode, inside: Element::Float32, x, second: None, choice: None, axis: None }
    }

    fn with(mode: Mode, x: Raw, second: Raw) -> Self {
        Self { second: Some(second), ..Self::of(mode, x) }
    }
}
